"""Servers that last for the whole test session; import what a test module needs, or register as a plugin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import kafka, s3, stac, web


@pytest.fixture(scope="session")
def pgstac_server() -> Iterator[stac.PgStac]:
    """A stac-fastapi-pgstac on PostGIS, shared; call ``reset`` before use."""
    with stac.pgstac() as running:
        yield running


@pytest.fixture
def pgstac(pgstac_server: stac.PgStac) -> stac.PgStac:
    """The shared server, emptied, with the collections ``sentinel-2-l2a`` and ``sentinel-1-rtc``."""
    pgstac_server.reset("sentinel-2-l2a", "sentinel-1-rtc")
    return pgstac_server


@pytest.fixture
def rustac(tmp_path: Path) -> Iterator[stac.Rustac]:
    """A rustac of its own for the test; ``serve`` gives it items."""
    with stac.rustac(tmp_path) as running:
        yield running


@pytest.fixture
def pgstac_proxy(pgstac: stac.PgStac) -> Iterator[web.Proxy]:
    """A proxy in front of the shared STAC API."""
    with web.proxy(pgstac.url) as running:
        yield running


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.S3Server]:
    """An S3 service with no buckets, shared."""
    with s3.s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def bucket(s3_server: s3.S3Server) -> str:
    """A new, empty bucket of the shared service."""
    return s3_server.new_bucket()


@pytest.fixture
def s3_proxy(s3_server: s3.S3Server) -> Iterator[web.Proxy]:
    """A proxy in front of the shared S3 service."""
    with web.proxy(s3_server.url) as running:
        yield running


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka.Broker]:
    """A Kafka broker, shared; take a prefix of its own for each test."""
    with kafka.broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running
