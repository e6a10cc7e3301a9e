"""Two real STAC APIs: stac-fastapi-pgstac on PostGIS (everything right, items can be added while it
runs) and rustac (in memory, read-only, silently ignores filter and sortby)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import service_missing
from tests.services.processes import free_port, server

Item = Mapping[str, Any]
"""A STAC item as parsed JSON."""


def collection(name: str) -> dict[str, Any]:
    """The least a server wants of a collection."""
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": f"{name} for tests",
        "license": "proprietary",
        "links": [],
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2014-01-01T00:00:00Z", None]]},
        },
    }


@dataclass
class PgStac:
    """A running stac-fastapi-pgstac; items put into it are visible at the next request."""

    url: str
    """Base URL of the API, without a slash at its end."""
    http: httpx.Client = field(repr=False)

    def reset(self, *collections: str) -> None:
        """Drop everything, then create these empty collections."""
        for known in self._get("/collections")["collections"]:
            self._send("DELETE", f"/collections/{known['id']}")
        for name in collections:
            self._send("POST", "/collections", collection(name))

    def put(self, items: Iterable[Item]) -> None:
        """Create items, or replace those with the same id."""
        for item in items:
            where = f"/collections/{item['collection']}/items"
            if self.http.get(f"{self.url}{where}/{item['id']}").status_code == 200:
                self._send("PUT", f"{where}/{item['id']}", item)
            else:
                self._send("POST", where, item)

    def load(self, items: Iterable[Item]) -> None:
        """Create many items of one collection at once (none of them there yet)."""
        by_id = {str(item["id"]): dict(item) for item in items}
        name = next(iter(by_id.values()))["collection"]
        self._send("POST", f"/collections/{name}/bulk_items", {"items": by_id, "method": "upsert"})

    def delete(self, collection_name: str, item_id: str) -> None:
        """Take an item away, as a provider that withdraws it."""
        self._send("DELETE", f"/collections/{collection_name}/items/{item_id}")

    def _get(self, path: str) -> Any:
        answer = self.http.get(f"{self.url}{path}")
        answer.raise_for_status()
        return answer.json()

    def _send(self, method: str, path: str, body: Any = None) -> None:
        answer = self.http.request(method, f"{self.url}{path}", json=body)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")


@contextlib.contextmanager
def pgstac() -> Iterator[PgStac]:
    """PostgreSQL with PostGIS in a folder of its own, pgstac's schema, and the API on top."""
    with _postgres() as database:
        migrate = [_tool("pypgstac"), "migrate", "--dsn", f"postgresql://{database['PGUSER']}@127.0.0.1:"]
        migrate[-1] += f"{database['PGPORT']}/{database['PGDATABASE']}"
        _checked(migrate)
        port = free_port()
        command = [
            *(sys.executable, "-m", "uvicorn", "stac_fastapi.pgstac.app:create_app", "--factory"),
            *("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"),
        ]
        env = {**database, "ENABLE_TRANSACTIONS_EXTENSIONS": "TRUE"}
        log = Path(database["PGLOG"]).with_name("api.log")
        with server(command, port=port, log=log, env=env), httpx.Client(timeout=60) as http:
            yield PgStac(url=f"http://127.0.0.1:{port}", http=http)


@contextlib.contextmanager
def _postgres() -> Iterator[dict[str, str]]:
    """A database cluster that lasts as long as the block; yields its PG* variables."""
    binaries = _postgres_binaries()
    folder = Path(tempfile.mkdtemp(prefix="groundwatch-pg-"))
    as_owner: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        as_owner = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    data, port = folder / "data", free_port()
    options = (
        f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} "
        "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=64MB"
    )
    control = [*as_owner, str(binaries / "pg_ctl"), "-D", str(data)]
    try:
        init = [*as_owner, str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "stac"]
        _checked([*init, "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"])
        _checked([*control, "-l", str(folder / "pg.log"), "-w", "-o", options, "start"])
        try:
            at = ["-h", "127.0.0.1", "-p", str(port), "-U", "stac"]
            _checked([str(binaries / "createdb"), *at, "stac"])
            yield {
                "PGHOST": "127.0.0.1",
                "PGPORT": str(port),
                "PGUSER": "stac",
                "PGPASSWORD": "unused",
                "PGDATABASE": "stac",
                "PGLOG": str(folder / "pg.log"),
            }
        finally:
            _checked([*control, "-m", "immediate", "-w", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _postgres_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    on_path = shutil.which("pg_ctl")
    if found:
        return found[-1].parent
    if on_path is None:
        service_missing("PostgreSQL with PostGIS (Debian: postgresql-15-postgis-3)")
    return Path(str(on_path)).parent


@dataclass
class Rustac:
    """A rustac server on a fixed port; new items need a restart, done by ``serve``."""

    port: int
    folder: Path
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    @property
    def url(self) -> str:
        """Base URL of the API."""
        return f"http://127.0.0.1:{self.port}"

    def serve(self, items: Iterable[Item]) -> None:
        """Answer with exactly these items from now on."""
        self._running.close()
        path = self.folder / "items.json"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
        command = [_tool("rustac"), "serve", "--create-collections", "-a", self.url.removeprefix("http://")]
        log = self.folder / "rustac.log"
        self._running.enter_context(server([*command, str(path)], port=self.port, log=log))

    def close(self) -> None:
        """End the server."""
        self._running.close()


@contextlib.contextmanager
def rustac(folder: Path) -> Iterator[Rustac]:
    """A rustac that serves nothing yet; its files lie in ``folder``."""
    running = Rustac(port=free_port(), folder=folder)
    try:
        yield running
    finally:
        running.close()


def _tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        service_missing(f"{name} (pip install -e '.[test,demo]')")
    return str(found)


def _checked(command: list[str]) -> None:
    with tempfile.TemporaryFile() as output:  # pg_ctl's server keeps a pipe open for ever
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
        if done.returncode:
            output.seek(0)
            raise RuntimeError(f"{command}: {done.returncode} {output.read()[-2000:].decode()}")
