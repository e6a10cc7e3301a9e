"""A real S3 service on loopback (moto): it enforces put-if-absent, and keeps everything in memory."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from registry.s3_settings import S3Settings
from tests.conftest import service_missing
from tests.services.processes import free_port, server

KEY = "AKIAQ7TESTKEYID23456"
SECRET = "wJalrTestSecret+K7MDENG/bPxRfiCYEXAMPLE"


@dataclass
class S3Server:
    """A running service."""

    url: str
    """http://127.0.0.1:PORT."""
    pid: int
    _http: httpx.Client = field(repr=False)
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def new_bucket(self) -> str:
        """Make an empty bucket; returns its name."""
        name = f"blobs-{next(self._numbers)}"
        self._send("PUT", name)
        return name

    def settings(self, **changes: object) -> S3Settings:
        """Settings that lead here, patient for a second only."""
        given = {
            "endpoint": self.url,
            "region": "us-east-1",
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            "allow_http": True,
            "timeout_s": 5.0,
            "retry_s": 1.0,
        }
        return S3Settings.model_validate(given | changes)

    def put(self, bucket: str, key: str, data: bytes, *, public: bool = False) -> None:
        """Store an object as another program would; ``public`` = for unsigned requests too."""
        self._send("PUT", f"{bucket}/{key}", data, {"x-amz-acl": "public-read" if public else "private"})

    def keys(self, bucket: str) -> list[str]:
        """All keys of a bucket, sorted."""
        answer = self._send("GET", f"{bucket}?list-type=2").text
        return [part.partition("</Key>")[0] for part in answer.split("<Key>")[1:]]

    def _send(
        self, method: str, path: str, data: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        answer = self._http.request(method, f"{self.url}/{path}", content=data, headers=headers)
        answer.raise_for_status()
        return answer


@contextlib.contextmanager
def s3_server(work: Path) -> Iterator[S3Server]:
    """A server runs meanwhile; ``work`` takes its log."""
    if importlib.util.find_spec("moto") is None:
        service_missing("moto, an S3 service (PyPI: moto[server])")
    port = free_port()
    # -P: the modules beside the script are called like packages that moto may import.
    command = [sys.executable, "-P", str(Path(__file__).with_name("moto_s3.py")), "-H", "127.0.0.1"]
    with (
        server([*command, "-p", str(port)], port=port, log=work / "moto.log") as running,
        httpx.Client() as http,
    ):
        yield S3Server(f"http://127.0.0.1:{port}", running.pid, http)
