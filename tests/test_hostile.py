"""What strangers write must not make us read this machine, ask its neighbours, or eat its memory."""

from __future__ import annotations

import gzip
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import requests

from detector.reading import ReaderSettings, openable, read_window
from ingest.catalog import open_catalog
from ingest.http import Refused, Sender
from registry.errors import ConfigError, GroundwatchError, Reject
from registry.models import BandFile
from registry.reach import Reach
from registry.setting_models import HttpSettings, ProviderSettings
from tests.services import web
from tests.test_stack import GRID, scene_of, write_raster

STRICT = ReaderSettings(threads=1, retries=0, timeout_s=2, local_files=False)
HTTP = HttpSettings(retries=0, backoff_s=0.0, timeout_s=5)
SIGNED = "/vsicurl?pc_url_signing=yes&pc_collection=c&url="
SHAPE: dict[str, Any] = {"epsg": 32634, "left": 499_000, "top": 5_001_000, "step": 10, "size": (300, 300)}


@pytest.mark.parametrize(
    "href",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "../../etc/passwd",
        "/vsicurl/http://127.0.0.1/a.tif",
        "/vsizip//vsicurl/http://127.0.0.1/a.zip/a.tif",
        "/vsimem/a.tif",
        "/vsistdin/",
        "/vsis3/bucket/key",
        "ftp://93.184.216.34/a.tif",
        "GTIFF_DIR:1:/etc/passwd",
        "http://[::1",
        "//[x",
        "<VRTDataset/>",
        "http://127.0.0.1/a.tif",
        "http://169.254.169.254/latest/meta-data/",
        "http://user:secret@93.184.216.34/a.tif",
        f"{SIGNED}http%3A%2F%2F169.254.169.254%2F",
        f"{SIGNED}file%3A%2F%2F%2Fetc%2Fpasswd",
        f"{SIGNED}http%3A%2F%2F93.184.216.34%2Fa.tif&header_file=/etc/passwd",
        f"{SIGNED}http%3A%2F%2F93.184.216.34%2Fa.tif&url=http%3A%2F%2F127.0.0.1%2F",
        "/vsicurl?header.X=1&url=http%3A%2F%2F93.184.216.34%2Fa.tif",
        "/vsicurl?url=http%3A%2F%2F93.184.216.34%2Fa.tif",
    ],
)
def test_an_href_that_leads_inwards_is_refused(href: str) -> None:
    with pytest.raises(Reject) as caught:
        openable(href, STRICT)
    assert "\n" not in str(caught.value)


def test_a_signed_href_is_built_anew_from_its_three_parts() -> None:
    href = f"{SIGNED}https%3A%2F%2F93.184.216.34%2Fa.tif"
    assert openable(href, STRICT) == href


def test_a_file_that_names_other_files_is_not_opened(tmp_path: Path) -> None:
    inner = write_raster(tmp_path / "inner.tif", **SHAPE)
    scene = scene_of(inner)
    disguised = tmp_path / "b04.tif"
    disguised.write_text(
        '<VRTDataset rasterXSize="300" rasterYSize="300"><SRS>EPSG:32634</SRS>'
        "<GeoTransform>499000, 10, 0, 5001000, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        f"<SourceFilename>{inner}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with rasterio.open(disguised) as plain:
        assert plain.driver == "VRT"  # GDAL itself is taken in
    file = BandFile(href=str(disguised))
    with pytest.raises(Reject, match="can't be read"):
        read_window(scene, file, GRID, classes=False, reader=ReaderSettings(retries=0))


def test_a_file_that_unfolds_into_one_giant_block_is_refused(tmp_path: Path) -> None:
    side = 24_000
    path = tmp_path / "bomb.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype="uint16",
        count=1,
        width=side,
        height=side,
        blockysize=side,
        crs="EPSG:32634",
        transform=rasterio.Affine(10, 0, 400_000, 0, -10, 5_100_000),
        compress="DEFLATE",
        SPARSE_OK=True,
    ):
        pass
    assert path.stat().st_size < 10_000
    scene = scene_of(path)
    with pytest.raises(Reject, match=r"blocks of 1,152,000,000 bytes.*tile it"):
        read_window(scene, scene.bands["B04"], GRID, classes=False, reader=ReaderSettings(retries=0))


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def stranger(answer: Answer) -> Iterator[str]:
    """A provider that answers as it likes."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Keep the test's output clean."""

        def do_GET(self) -> None:
            answer(self)

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}"
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def redirect(target: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def ask(url: str, *, secret: bool = False, reach: Reach = web.LOOPBACK) -> tuple[str, Any]:
    sender = Sender("stranger", HTTP, reach=reach, secret=secret)
    headers = {"X-Api-Key": "canary-key"} if secret else {}
    with requests.Session() as session:
        return sender.send(session, requests.Request("GET", url, headers=headers))


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/", "http://localhost:1/", "http://10.0.0.1/"]
)
def test_a_redirect_inwards_is_not_followed(target: str) -> None:
    with stranger(redirect(target)) as url, pytest.raises(Reject, match="private address"):
        ask(url)


def test_a_redirect_without_end_is_left() -> None:
    with stranger(redirect("/again")) as url, pytest.raises(ConfigError, match="5 redirects"):
        ask(url)


def test_a_redirect_on_the_same_host_is_followed() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/slash/":
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(b'{"ok": true}')
        else:
            redirect("/slash/")(handler)

    with stranger(answer) as url:
        assert ask(f"{url}/slash", secret=True)[1] == {"ok": True}


def test_a_key_does_not_travel_to_another_server() -> None:
    seen: list[str | None] = []

    def listen(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers.get("X-Api-Key"))
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"{}")

    with stranger(listen) as other, stranger(redirect(other)) as url:
        with pytest.raises(ConfigError, match="the token is not sent there") as caught:
            ask(url, secret=True)
        assert ask(url)[1] == {}
    assert seen == [None]
    assert "canary-key" not in str(caught.value)


def test_an_answer_that_unfolds_without_end_is_cut_off() -> None:
    packed = gzip.compress(bytes(300_000_000), compresslevel=1)

    def bomb(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(packed)))
        handler.end_headers()
        with io.BytesIO(packed) as body:
            handler.wfile.write(body.read())

    assert len(packed) < 3_000_000
    with stranger(bomb) as url, pytest.raises(Reject, match=r"more than 256,000,000 bytes"):
        ask(url)


def test_a_json_tower_is_an_answer_that_is_no_json() -> None:
    def tower(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"[" * 200_000)

    with stranger(tower) as url, pytest.raises(GroundwatchError, match="not JSON"):
        ask(url)


def test_a_refusal_shows_a_short_excerpt_only() -> None:
    def shout(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(400)
        handler.end_headers()
        handler.wfile.write(b"no " * 100_000)

    with stranger(shout) as url, pytest.raises(Refused) as caught:
        ask(url)
    assert len(str(caught.value)) < 800


def test_a_next_page_on_an_inner_host_is_not_asked() -> None:
    one = open_catalog(
        ProviderSettings(name="stranger", profile="earth-search", url="http://93.184.216.34/v1"), HTTP
    )
    with pytest.raises(Reject, match="private address"):
        one._follow({"href": "http://127.0.0.1:9200/_search"}, "http://93.184.216.34/v1/search", {})


def test_numbers_survive_all_this(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "b.tif", **SHAPE)
    scene = scene_of(path)
    reader = ReaderSettings(retries=0)
    values = read_window(scene, scene.bands["B04"], GRID, classes=False, reader=reader).values
    assert np.isfinite(values).any()
