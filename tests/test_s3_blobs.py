"""Blobs in S3: the contract on a real service, outages, lost answers, refusals, secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.blobs import Blobs, open_blobs
from tests.blob_contract import BlobContract
from tests.services.s3 import S3Server


@pytest.fixture
def blobs(s3_server: S3Server, bucket: str, tmp_path: Path) -> Blobs:
    return open_blobs(f"s3://{bucket}/fleet/one", s3_server.settings(), tmp_path / "cache")


class TestContract(BlobContract):
    pass
