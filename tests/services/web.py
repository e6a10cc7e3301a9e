"""COGs over HTTP ranges (nginx), and a proxy that makes any server fail in the ways that networks do."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from registry.reach import Reach
from tests.conftest import service_missing
from tests.services.processes import free_port, server

LOOPBACK = Reach(private_hosts=("127.0.0.1",))
"""What a reader needs to read from the servers here."""

NGINX = """
daemon off;
{user}
worker_processes 1;
error_log stderr error;
pid {work}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log {work}/access.log;
    default_type application/octet-stream;
    client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ root {root}; }} }}
}}
"""


@contextlib.contextmanager
def files(folder: Path, work: Path) -> Iterator[str]:
    """nginx serves ``folder`` with range requests; yields its base URL. ``work`` takes its logs."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        service_missing("nginx (Debian: nginx-light)")
    port = free_port()
    work.mkdir(parents=True, exist_ok=True)
    user = "user root;" if os.geteuid() == 0 else ""  # the worker must read the folders of the tests
    config = work / "nginx.conf"
    config.write_text(NGINX.format(user=user, work=work, port=port, root=folder.resolve()))
    command = [str(nginx), "-e", "stderr", "-c", str(config), "-p", str(work)]
    with server(command, port=port, log=work / "nginx.log"):
        yield f"http://127.0.0.1:{port}"


@dataclass(frozen=True)
class Seen:
    """One request that passed the proxy."""

    method: str
    path: str
    """Path with query."""
    body: bytes
    headers: dict[str, str]
    status: int | None
    """What was answered; None = the connection was broken instead."""


@dataclass
class Fault:
    """What goes wrong with requests whose path matches, so many times."""

    pattern: str
    kind: str
    """status, truncate, reset, lose or stall."""
    times: int | None
    """None = every time."""
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    after: int = 0
    """Matching requests that go through before it strikes."""


@dataclass
class Proxy:
    """A reverse proxy on loopback: passes everything on, but for the faults it was told."""

    url: str
    upstream: str
    seen: list[Seen] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)
    _rewrites: list[tuple[str, Callable[[bytes], bytes]]] = field(default_factory=list)
    _asked: list[tuple[str, Callable[[bytes], bytes]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    closing: threading.Event = field(default_factory=threading.Event, repr=False)

    def answer(
        self,
        pattern: str,
        status: int,
        *,
        times: int | None = None,
        after: int = 0,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Answer requests whose path matches ``pattern`` with a status, ``times`` times (None = always),
        once ``after`` of them went through."""
        self._add(Fault(pattern, "status", times, status, headers or {}, after))

    def truncate(self, pattern: str, *, times: int | None = None) -> None:
        """Promise the whole body, send half of it, close."""
        self._add(Fault(pattern, "truncate", times))

    def reset(self, pattern: str, *, times: int | None = None) -> None:
        """Break the connection with a TCP reset instead of an answer."""
        self._add(Fault(pattern, "reset", times))

    def lose(self, pattern: str, *, times: int | None = None) -> None:
        """Pass the request on, then break the connection instead of answering."""
        self._add(Fault(pattern, "lose", times))

    def stall(self, pattern: str, *, times: int | None = None) -> None:
        """Send half of the body, then nothing until the proxy ends."""
        self._add(Fault(pattern, "stall", times))

    def rewrite(self, pattern: str, change: Callable[[bytes], bytes]) -> None:
        """Pass bodies of matching answers through ``change``."""
        with self._lock:
            self._rewrites.append((pattern, change))

    def rewrite_request(self, pattern: str, change: Callable[[bytes], bytes]) -> None:
        """Pass bodies of matching requests through ``change`` before the upstream sees them."""
        with self._lock:
            self._asked.append((pattern, change))

    def heal(self) -> None:
        """Forget all faults, rewrites and what was seen."""
        with self._lock:
            self._faults.clear()
            self._rewrites.clear()
            self._asked.clear()
            self.seen.clear()

    def count(self, pattern: str) -> int:
        """How many requests had a path that matches."""
        return sum(bool(re.search(pattern, one.path)) for one in self.seen)

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def take_fault(self, path: str) -> Fault | None:
        """The fault due for this request, used up by one."""
        with self._lock:
            for fault in self._faults:
                if fault.times != 0 and re.search(fault.pattern, path):
                    if fault.after > 0:
                        fault.after -= 1
                        continue
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault
        return None

    def rewritten_request(self, path: str, body: bytes) -> bytes:
        """The body as the upstream gets it."""
        for pattern, change in list(self._asked):
            if body and re.search(pattern, path):
                body = change(body)
        return body

    def rewritten(self, path: str, body: bytes) -> bytes:
        """The body as the rewrites leave it; links lead to the proxy, not past it."""
        body = body.replace(self.upstream.encode(), self.url.encode())
        for pattern, change in list(self._rewrites):
            if re.search(pattern, path):
                body = change(body)
        return body


@contextlib.contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy in front of ``upstream`` (a base URL without a slash at its end)."""
    handler = type("Handler", (_Handler,), {})
    listener = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    listener.daemon_threads = True
    known = Proxy(url=f"http://127.0.0.1:{listener.server_port}", upstream=upstream)
    handler.proxy = known  # type: ignore[attr-defined]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        known.closing.set()
        listener.shutdown()
        listener.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""

    def _handle(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.take_fault(self.path)
        if fault is not None and fault.kind == "reset":
            self._record(asked, None)
            self._reset()
        elif fault is not None and fault.kind == "status":
            self._record(asked, fault.status)
            self._send(fault.status, fault.headers, b"told to fail")
        else:
            status, headers, body = self._forward(asked)
            lost = fault is not None and fault.kind == "lose"
            self._record(asked, None if lost else status)
            if lost:
                self._reset()
            else:
                self._send(status, headers, body, fault)

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = _handle  # noqa: N815 - names that http.server calls

    def _record(self, asked: bytes, status: int | None) -> None:
        self.proxy.seen.append(Seen(self.command, self.path, asked, dict(self.headers), status))

    def _forward(self, asked: bytes) -> tuple[int, dict[str, str], bytes]:
        target = urlsplit(self.proxy.upstream)
        asked = self.proxy.rewritten_request(self.path, asked)
        connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=60)
        skipped = {"host", "connection", "accept-encoding", "content-length"}
        headers = {key: value for key, value in self.headers.items() if key.lower() not in skipped}
        try:
            connection.request(self.command, target.path + self.path, body=asked or None, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in {"connection", "date", "server"}}
        finally:
            connection.close()
        if "json" in kept.get("content-type", kept.get("Content-Type", "")):
            body = self.proxy.rewritten(self.path, body)
            kept = {k: v for k, v in kept.items() if k.lower() not in {"content-length", "transfer-encoding"}}
        return answer.status, kept, body

    def _send(self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None = None) -> None:
        self.send_response(status)
        for key, value in headers.items():
            if key.lower() not in {"content-length", "transfer-encoding"} or self.command == "HEAD":
                self.send_header(key, value)
        if self.command == "HEAD":
            self.end_headers()
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body if fault is None else body[: len(body) // 2])
            self.wfile.flush()
        if fault is not None:
            if fault.kind == "stall":
                self.proxy.closing.wait()
            self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        # rfile and wfile hold the socket too: only the real close sends the reset.
        os.close(self.connection.detach())
