"""Reading over a network that fails, in one process: GDAL must not remember what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.reading import ReaderSettings, read_window
from registry.errors import Retry
from registry.models import BandFile, Scene
from tests.services import web
from tests.test_stack import GRID, scene_of, write_raster

QUICK = ReaderSettings(threads=2, retries=1, backoff_s=0.01, timeout_s=2, reach=web.LOOPBACK)
SECRET = "s3cr3t-signature"
SHAPE: dict[str, Any] = {"epsg": 32634, "left": 499_000, "top": 5_001_000, "step": 10, "size": (300, 300)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    served = tmp_path / "served"
    served.mkdir()
    return served


@pytest.fixture
def proxy(folder: Path, tmp_path: Path) -> Iterator[web.Proxy]:
    work = tmp_path / "nginx"
    work.mkdir()
    with web.files(folder, work) as url, web.proxy(url.rstrip("/")) as running:
        yield running


def remote(path: Path, proxy: web.Proxy) -> tuple[Scene, BandFile]:
    file = BandFile(href=f"{proxy.url}/{path.name}?sig={SECRET}", nodata=0)
    return scene_of(path, bands={"B04": file}), file


def local(path: Path) -> Any:
    scene = scene_of(path)
    return read_window(scene, scene.bands["B04"], GRID, classes=False, reader=QUICK).values


FAULTS: dict[str, Callable[[web.Proxy], None]] = {
    "404": lambda proxy: proxy.answer("/b.tif", 404),
    "503": lambda proxy: proxy.answer("/b.tif", 503),
    "429": lambda proxy: proxy.answer("/b.tif", 429),
    "truncated": lambda proxy: proxy.truncate("/b.tif"),
    "reset": lambda proxy: proxy.reset("/b.tif"),
    "stalled": lambda proxy: proxy.stall("/b.tif"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_server_means_later_and_a_mended_one_is_read(
    folder: Path, proxy: web.Proxy, fault: str
) -> None:
    path = write_raster(folder / "b.tif", **SHAPE)
    scene, file = remote(path, proxy)
    FAULTS[fault](proxy)
    with pytest.raises(Retry) as caught:
        read_window(scene, file, GRID, classes=False, reader=QUICK)
    message = str(caught.value)
    assert scene.id in message
    assert "\n" not in message
    assert SECRET not in message
    proxy.heal()
    values = read_window(scene, file, GRID, classes=False, reader=QUICK).values
    assert np.array_equal(values, local(path), equal_nan=True)


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_fails_twice_is_asked_again(folder: Path, proxy: web.Proxy, status: int) -> None:
    path = write_raster(folder / "b.tif", **SHAPE)
    scene, file = remote(path, proxy)
    proxy.answer("/b.tif", status, times=2)
    values = read_window(scene, file, GRID, classes=False, reader=QUICK).values
    assert np.array_equal(values, local(path), equal_nan=True)
    assert [one.status for one in proxy.seen].count(status) == 2


def test_a_file_that_is_replaced_is_read_anew(folder: Path, proxy: web.Proxy) -> None:
    path = write_raster(folder / "b.tif", **SHAPE)
    scene, file = remote(path, proxy)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(Retry):
        read_window(scene, file, GRID, classes=False, reader=QUICK)
    path.write_bytes(whole)
    values = read_window(scene, file, GRID, classes=False, reader=QUICK).values
    assert np.array_equal(values, local(path), equal_nan=True)


def test_only_the_window_travels(folder: Path, proxy: web.Proxy) -> None:
    large = SHAPE | {"left": 480_000, "top": 5_020_000, "size": (4000, 4000)}
    path = write_raster(folder / "b.tif", **large)
    scene, file = remote(path, proxy)
    values = read_window(scene, file, GRID, classes=False, reader=QUICK).values
    assert np.array_equal(values, local(path), equal_nan=True)
    asked = [one.headers.get("Range", "") for one in proxy.seen if one.method == "GET"]
    assert all(span.startswith("bytes=") for span in asked)
    spans = [span.removeprefix("bytes=").split("-") for span in asked]
    travelled = sum(int(last) - int(first) + 1 for first, last in spans)
    assert travelled < 0.1 * path.stat().st_size
