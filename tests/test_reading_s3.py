"""Bands out of buckets: the pixels of a local file, keys that stay in their thread, refusals, faults."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.testing import assert_array_equal

from detector.reading import ReaderSettings, openable, read_window
from registry.errors import Reject, Retry
from registry.models import BandFile
from registry.s3_settings import S3ReadSettings
from tests.services import web
from tests.services.s3 import KEY, SECRET, S3Server
from tests.test_reading_http import QUICK, SHAPE
from tests.test_stack import GRID, scene_of, write_raster

TOKEN = "FwoGZXIvYXdzTestSessionToken0123456789"


@pytest.fixture
def cog(tmp_path: Path, s3_server: S3Server, bucket: str) -> Path:
    """A raster on the disk, and under the key ``tiles/b.tif`` in the bucket."""
    served = tmp_path / "served"
    served.mkdir()
    path = write_raster(served / "b.tif", **SHAPE)
    s3_server.put(bucket, "tiles/b.tif", path.read_bytes())
    return path


def entering(url: str, **changes: object) -> ReaderSettings:
    """Reads buckets of the service at ``url``."""
    given = {"endpoint": url, "region": "us-east-1", "access_key_id": KEY, "secret_access_key": SECRET}
    return replace(QUICK, s3=S3ReadSettings.model_validate(given | changes))


def read(cog: Path, href: str, reader: ReaderSettings) -> Any:
    file = BandFile(href=href, nodata=0)
    return read_window(scene_of(cog, bands={"B04": file}), file, GRID, classes=False, reader=reader).values


def test_file_http_and_s3_give_equal_pixels(
    cog: Path, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    reader = entering(s3_server.url)
    with web.files(cog.parent, tmp_path / "nginx") as url:
        http = read(cog, f"{url}/b.tif", reader)
    local = read(cog, cog.as_uri(), reader)
    assert np.isfinite(local).any()
    assert_array_equal(http, local)
    assert_array_equal(read(cog, f"s3://{bucket}/tiles/b.tif", reader), local)


def test_only_the_window_travels_and_it_is_signed(
    cog: Path, s3_proxy: web.Proxy, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys of the environment do not join those of the settings."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-somebody-else")
    read(cog, f"s3://{bucket}/tiles/b.tif", entering(s3_proxy.url))
    assert s3_proxy.seen
    for one in s3_proxy.seen:
        sent = {name.lower(): value for name, value in one.headers.items()}
        assert sent["range"].startswith("bytes=")
        assert f"Credential={KEY}/" in sent["authorization"]
        assert "x-amz-security-token" not in sent
        assert "x-amz-request-payer" not in sent


def test_a_session_token_and_who_pays_are_sent(cog: Path, s3_proxy: web.Proxy, bucket: str) -> None:
    reader = entering(s3_proxy.url, session_token=TOKEN, requester_pays=True)
    read(cog, f"s3://{bucket}/tiles/b.tif", reader)
    sent = {name.lower(): value for name, value in s3_proxy.seen[-1].headers.items()}
    assert sent["x-amz-security-token"] == TOKEN
    assert sent["x-amz-request-payer"] == "requester"


def test_a_public_bucket_is_read_without_keys(
    cog: Path, s3_server: S3Server, s3_proxy: web.Proxy, bucket: str
) -> None:
    s3_server.put(bucket, "public/b.tif", cog.read_bytes(), public=True)
    nobody = entering(s3_proxy.url, access_key_id=None, secret_access_key=None, anonymous=True)
    values = read(cog, f"s3://{bucket}/public/b.tif", nobody)
    assert_array_equal(values, read(cog, str(cog), QUICK))
    assert all("authorization" not in map(str.lower, one.headers) for one in s3_proxy.seen)
    with pytest.raises(Retry, match=r"403.*read\.s3"):
        read(cog, f"s3://{bucket}/tiles/b.tif", nobody)


def test_keys_stay_in_the_reading_thread(cog: Path, s3_server: S3Server, bucket: str) -> None:
    before = dict(os.environ)
    read(cog, f"s3://{bucket}/tiles/b.tif", entering(s3_server.url))
    assert dict(os.environ) == before
    with ThreadPoolExecutor(1) as pool:

        def seen_elsewhere() -> Any:
            with rasterio.Env():
                return rasterio.env.get_gdal_config("AWS_SECRET_ACCESS_KEY")

        with rasterio.Env():
            assert rasterio.env.get_gdal_config("AWS_SECRET_ACCESS_KEY") is None
        assert pool.submit(seen_elsewhere).result() is None


def test_two_services_are_read_side_by_side(cog: Path, s3_server: S3Server, bucket: str) -> None:
    """Options belong to a thread: another service's do not leak in."""
    href = f"s3://{bucket}/tiles/b.tif"

    def attempt(number: int) -> bool:
        if number % 2:
            with pytest.raises(Retry):
                read(cog, href, entering("http://127.0.0.1:1", access_key_id="other"))
            return True
        return bool(np.isfinite(read(cog, href, entering(s3_server.url))).any())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(attempt, range(8)))


FAULTS: dict[str, Callable[[web.Proxy], None]] = {
    "404": lambda proxy: proxy.answer("/b.tif", 404),
    "403": lambda proxy: proxy.answer("/b.tif", 403),
    "503": lambda proxy: proxy.answer("/b.tif", 503),
    "truncated": lambda proxy: proxy.truncate("/b.tif"),
    "reset": lambda proxy: proxy.reset("/b.tif"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_service_means_later_and_a_mended_one_is_read(
    cog: Path, s3_proxy: web.Proxy, bucket: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """GDAL must not remember what went wrong, and nobody may tell the keys."""
    href, reader = f"s3://{bucket}/tiles/b.tif", replace(entering(s3_proxy.url), retries=0)
    FAULTS[fault](s3_proxy)
    with caplog.at_level(logging.DEBUG), pytest.raises(Retry) as caught:
        read(cog, href, reader)
    assert "\n" not in str(caught.value)
    assert not any(word in str(caught.value) + caplog.text for word in (KEY, SECRET, "Signature"))
    s3_proxy.heal()
    assert_array_equal(read(cog, href, reader), read(cog, str(cog), reader))


@pytest.mark.parametrize("key", ["nothing.tif", "tiles/nothing.tif"])
def test_a_key_that_is_not_there_is_tried_again_by_the_bus(
    cog: Path, s3_server: S3Server, bucket: str, key: str
) -> None:
    with pytest.raises(Retry, match="not there"):
        read(cog, f"s3://{bucket}/{key}", replace(entering(s3_server.url), retries=50, backoff_s=9.0))


@pytest.mark.parametrize(
    "href",
    [
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3:///key",
        "s3://b/../x",
        "s3://u:p4ssw0rd@b/k",
        "s3://b/k?x=1",
    ],
)
def test_an_odd_href_is_refused(href: str) -> None:
    with pytest.raises(Reject, match="BUCKET/KEY") as caught:
        openable(href, QUICK)
    assert "p4ssw0rd" not in str(caught.value)


def test_anonymous_and_keys_contradict_each_other() -> None:
    for changes in ({"requester_pays": True}, {"access_key_id": KEY, "secret_access_key": SECRET}):
        with pytest.raises(ValueError, match="anonymous"):
            S3ReadSettings.model_validate({"anonymous": True, **changes})
