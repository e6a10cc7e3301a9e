"""Metrics and health of one process over HTTP. The only importer of prometheus_client.

/metrics for Prometheus, /healthz (is it alive? restart it if not), /readyz (does it reach what it needs?).
It must not be open to the world: there is no login. Nothing served holds a secret or the name of a place.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

from groundwatch.health import Health
from registry.errors import ConfigError
from registry.log import get_logger
from registry.metrics import METRICS, Kind, Metric, record_with

log = get_logger(__name__)

_ALIVE = "groundwatch_up_timestamp_seconds"


class PrometheusRecorder:
    """See Recorder."""

    def __init__(self, health: Health) -> None:
        self.registry = CollectorRegistry()
        self._health = health
        self._known: dict[str, Any] = {
            name: _collector(name, one, self.registry) for name, one in METRICS.items()
        }

    def count(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """See Recorder."""
        self._at(name, labels).inc(value)

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """See Recorder."""
        self._at(name, labels).observe(value)

    def show(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """See Recorder. A sign of life counts for the health too; it is exported in wall-clock time."""
        if name == _ALIVE:
            self._health.last_sign = value
            self._known[name].set_to_current_time()
        else:
            self._at(name, labels).set(value)

    def _at(self, name: str, labels: Mapping[str, str]) -> Any:
        collector = self._known[name]
        return collector.labels(**labels) if labels else collector


def _collector(name: str, metric: Metric, registry: CollectorRegistry) -> Any:
    if metric.kind is Kind.COUNTER:
        return Counter(name, metric.help, metric.labels, registry=registry)
    if metric.kind is Kind.GAUGE:
        return Gauge(name, metric.help, metric.labels, registry=registry)
    return Histogram(name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)


Start = Callable[..., Any]
Answer = Iterable[bytes]


def _application(recorder: PrometheusRecorder, health: Health) -> Callable[[dict[str, Any], Start], Answer]:
    metrics = make_wsgi_app(recorder.registry)

    def application(environ: dict[str, Any], start: Start) -> Answer:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return list(metrics(environ, start))
        if path == "/healthz":
            return _say(start, "" if health.is_alive() else f"no sign of life for {health.stall_s:g} s")
        if path == "/readyz":
            return _say(start, health.trouble)
        start("404 Not Found", [("Content-Type", "text/plain")])
        return [b"try /metrics, /healthz or /readyz\n"]

    return application


def _say(start: Start, trouble: str) -> Answer:
    start("503 Service Unavailable" if trouble else "200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{trouble or 'ok'}\n".encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: probes come every few seconds."""


def check_name(listen: str) -> None:
    """Raises ConfigError where HOST:PORT names no address of this machine; it need not be free yet."""
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind((address[0], 0))
    except (OSError, OverflowError) as exc:
        raise ConfigError(f"operations.listen {listen} can't be had ({exc}); name another") from exc


@contextmanager
def serving(listen: str, health: Health) -> Iterator[None]:
    """Serve meanwhile at ``listen`` (HOST:PORT). Raises ConfigError where that can't be had."""
    host, _, port = listen.rpartition(":")
    recorder = PrometheusRecorder(health)
    try:
        server = make_server(
            host.strip("[]"),
            int(port),
            _application(recorder, health),
            server_class=_Server,
            handler_class=_Quiet,
        )
    except (OSError, OverflowError) as exc:
        raise ConfigError(
            f"operations.listen {listen} can't be had ({exc}); free it or name another"
        ) from exc
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    record_with(recorder)
    log.info("metrics and health are served", at=listen)
    try:
        yield
    finally:
        record_with(None)
        server.shutdown()
        server.server_close()
        thread.join()
