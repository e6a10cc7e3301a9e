"""Slack's webhook and bot API on loopback, as documented at docs.slack.dev: answers, limits, faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKENS = "T1AAAAAAA/B2BBBBBBB/secretWebhookKey9876543"
BOT = "xoxb-111111111111-222222222222-secretbotkey"
MAX_TEXT = 40_000


@dataclass
class SlackServer:
    """``posts`` holds the payloads of accepted messages, ``files`` what completed its upload."""

    url: str = ""
    posts: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    """Title -> content."""
    fail: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    """Beginning of a path -> the answer it gets instead: status, headers, body."""
    uploads: dict[str, bytes] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    slack: SlackServer

    def do_GET(self) -> None:
        self._route(b"")

    def do_POST(self) -> None:
        self._route(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""

    def _route(self, body: bytes) -> None:
        path = urlsplit(self.path).path
        for start, answer in self.slack.fail.items():
            if path.startswith(start):
                self._answer(*answer)
                return
        if path.startswith("/services/"):
            self._webhook(path.removeprefix("/services/"), body)
        elif path.startswith("/upload/"):
            self._upload(path.removeprefix("/upload/"), body)
        elif self.headers.get("Authorization") != f"Bearer {BOT}":
            self._json(ok=False, error="invalid_auth")
        else:
            self._bot(path.removeprefix("/api/"), body)

    def _webhook(self, tokens: str, body: bytes) -> None:
        if tokens != TOKENS:
            self._answer(404, {}, b"no_service")
        elif self._kept(json.loads(body)):
            self._answer(200, {}, b"ok")
        else:
            self._answer(400, {}, b"invalid_payload")

    def _bot(self, method: str, body: bytes) -> None:
        if method == "chat.postMessage":
            if self._kept(json.loads(body)):
                self._json(ok=True, channel="C0123456789", ts="1700000000.000100")
            else:
                self._json(ok=False, error="msg_too_long")
        elif method == "files.getUploadURLExternal":
            query = parse_qs(urlsplit(self.path).query)
            file_id = f"F{len(self.slack.lengths):09d}"
            self.slack.lengths[file_id] = int(query["length"][0])
            self._json(ok=True, upload_url=f"{self.slack.url}/upload/{file_id}", file_id=file_id)
        elif method == "files.completeUploadExternal":
            self._complete(json.loads(body))
        else:
            self._json(ok=False, error="unknown_method")

    def _kept(self, payload: dict[str, Any]) -> bool:
        texts = [one.get("text", "") for one in payload.get("attachments", [])]
        if not texts or max(map(len, texts)) > MAX_TEXT:
            return False
        self.slack.posts.append(payload)
        return True

    def _upload(self, file_id: str, body: bytes) -> None:
        boundary = self.headers["Content-Type"].partition("boundary=")[2].encode()
        part = body.split(b"--" + boundary)[1]
        content = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        if len(content) != self.slack.lengths.get(file_id):
            self._answer(400, {}, b"length differs from what was announced")
            return
        self.slack.uploads[file_id] = content
        self._answer(200, {}, f"OK - {len(content)}".encode())

    def _complete(self, payload: dict[str, Any]) -> None:
        if payload["channel_id"] != "C0123456789":
            self._json(ok=False, error="channel_not_found")
            return
        for one in payload["files"]:
            self.slack.files[one["title"]] = self.slack.uploads[one["id"]]
        self._json(ok=True, files=payload["files"])

    def _json(self, **answer: object) -> None:
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def slack_server() -> Iterator[SlackServer]:
    """A Slack that runs meanwhile."""
    slack = SlackServer()
    handler = type("Handler", (_Handler,), {"slack": slack})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    slack.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield slack
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
