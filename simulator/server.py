"""Serve a district on loopback as a provider would: a real STAC API and a file server with ranges."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from registry.errors import ConfigError, Retry

if TYPE_CHECKING:
    from simulator.district import District

HOST = "127.0.0.1"

READY_S = 20.0
"""Longest wait for a server to answer."""


@dataclass(frozen=True)
class Served:
    """Where the district can be reached."""

    stac_url: str
    """Root of the STAC API."""
    files_url: str
    """Root of the COGs; answers range requests."""
    publish: Callable[[Sequence[Mapping[str, Any]]], None]
    """Serve exactly these items from now on, at the same addresses."""


@contextmanager
def serving(district: District, *, items: Sequence[Mapping[str, Any]] | None = None) -> Iterator[Served]:
    """Serve ``district`` (or only ``items`` of it) until the block ends; free ports, loopback only.

    The API is ``rustac serve`` with its memory backend: paging, bbox, datetime and ids are right; filter
    and sortby are silently ignored. Raises ConfigError where rustac is not installed.
    """
    with ExitStack() as stack:
        files_url = stack.enter_context(_files(district.folder))
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="groundwatch-stac-")))
        port, api = free_port(), stack.enter_context(ExitStack())

        def publish(wanted: Sequence[Mapping[str, Any]]) -> None:
            api.close()
            api.enter_context(_stac_api(write_catalogue(work, district.collections, wanted, files_url), port))

        publish(district.items if items is None else items)
        yield Served(stac_url=f"http://{HOST}:{port}", files_url=files_url, publish=publish)


def write_catalogue(
    folder: Path,
    collections: Sequence[Mapping[str, Any]],
    items: Sequence[Mapping[str, Any]],
    files_url: str,
) -> tuple[Path, ...]:
    """The collections and one item collection as files, with asset hrefs below ``files_url``."""
    written = []
    for collection in collections:
        path = folder / f"{collection['id']}.json"
        path.write_text(json.dumps(collection))
        written.append(path)
    features = [_with_urls(item, files_url) for item in items]
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return (*written, path)


def _with_urls(item: Mapping[str, Any], files_url: str) -> dict[str, Any]:
    assets = {
        name: {**asset, "href": f"{files_url}/{asset['href']}"} for name, asset in item["assets"].items()
    }
    return {**item, "assets": assets}


@contextmanager
def _stac_api(documents: Sequence[Path], port: int) -> Iterator[None]:
    program = Path(sysconfig.get_path("scripts")) / "rustac"
    if not program.exists():
        raise ConfigError("rustac is not installed; install groundwatch with the extra 'demo'")
    url = f"http://{HOST}:{port}"
    arguments = [str(program), "serve", *map(str, documents), "--addr", f"{HOST}:{port}"]
    # Its log goes nowhere: a full pipe would stop it.
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with ended(process):
        wait_until_ready(url, process)
        yield


@contextmanager
def _files(folder: Path) -> Iterator[str]:
    # A process of its own: GDAL holds Python's lock while it opens a URL, so a thread could never answer.
    # The socket is bound here, so that the port is known and cannot be taken in between.
    with socket.create_server((HOST, 0)) as listener:
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        handle = listener.fileno()
        arguments = [sys.executable, "-m", "simulator.server", str(folder.resolve()), str(handle)]
        process = subprocess.Popen(
            arguments,
            pass_fds=(handle,),
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.DEVNULL,
        )
    with ended(process):
        wait_until_ready(url, process)
        yield url


def serve_files(folder: str, handle: int) -> None:
    """Answer for the files below ``folder`` on the listening socket ``handle`` until the process is ended."""
    application = Starlette(routes=[Mount("/", StaticFiles(directory=folder))])
    config = uvicorn.Config(application, log_level="warning", access_log=False, lifespan="off", ws="none")
    # A socket that knows it is TCP: with uvicorn's own `fd` each answer waits 40 ms for an acknowledgement.
    with socket.socket(fileno=handle) as listener:
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End this one process when the block ends."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Poll until ``url`` answers. Raises Retry where the process ended or stays silent."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Retry(f"the server for {url} ended at once with code {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=2.0):  # noqa: S310 - our own server
                return
        except urllib.error.HTTPError:
            return  # it answers: the file server has nothing at its root
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise Retry(f"the server for {url} did not answer within {READY_S:g} s")


if __name__ == "__main__":
    serve_files(sys.argv[1], int(sys.argv[2]))
