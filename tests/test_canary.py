"""Canaries: a secret in every place that takes one, failures everywhere, and no trace of them anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.romania import AREA
from tests.services import program
from tests.services.processes import free_port
from tests.test_hostile import stranger

CANARIES = {
    "PROVIDER_TOKEN": "canaryTokenA1b2c3d4e5f6",
    "PROVIDER_KEY": "canaryHeaderB2c3d4e5f6a1",
    "MAIL_PASSWORD": "canaryMailC3d4e5f6a1b2",
    "HOOK_TOKEN": "canaryHookD4e5f6a1b2c3",
    "BLOB_SECRET": "canaryBlobE5f6a1b2c3d4",
    "BLOB_TOKEN": "canarySessionA7b8c9d0",
    "READ_SECRET": "canaryReadF6a1b2c3d4e5",
    "BROKER_PASSWORD": "canaryKafkaA9b8c7d6e5f4",
}

CONFIG = """
data: data
log: {{level: debug}}
providers:
  - name: stranger
    profile: earth-search
    url: {stac}
    token: ${{PROVIDER_TOKEN}}
    headers: {{X-Api-Key: "${{PROVIDER_KEY}}"}}
http: {{retries: 1, backoff_s: 0.01, timeout_s: 2}}
read:
  s3: {{access_key_id: reader, secret_access_key: "${{READ_SECRET}}"}}
s3:
  endpoint: http://127.0.0.1:{closed}
  allow_http: true
  region: us-east-1
  access_key_id: writer
  secret_access_key: ${{BLOB_SECRET}}
  session_token: ${{BLOB_TOKEN}}
  timeout_s: 1
  retry_s: 0
kafka:
  security: SASL_PLAINTEXT
  username: groundwatch
  password: ${{BROKER_PASSWORD}}
  timeout_s: 1
alerts:
  targets:
    mail: mailto://user:${{MAIL_PASSWORD}}@127.0.0.1:{closed}/?from=a@example.org&to=b@example.org&mode=insecure
    hook: json://user:${{HOOK_TOKEN}}@127.0.0.1:{closed}/path?token=${{HOOK_TOKEN}}
"""


def indiscreet(handler: BaseHTTPRequestHandler) -> None:
    """A server that refuses, and repeats in its answer all it was told."""
    body = json.dumps({"refused": dict(handler.headers), "path": handler.path}).encode()
    handler.send_response(401)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def stac() -> Iterator[str]:
    with stranger(indiscreet) as url:
        yield url


COMMANDS = (
    ("check",),
    ("area", "add", "area.geojson"),
    ("poll",),
    ("run", "--once"),
    ("status",),
    ("dead", "list"),
    ("detect", "--once"),
    ("notify", "--once"),
    ("backfill", "--since", "2024-01-01"),
)


@pytest.mark.parametrize("ground", ["embedded", "s3", "kafka", "broken"])
def test_no_canary_sings(tmp_path: Path, stac: str, ground: str) -> None:
    closed = free_port()
    extra = {
        "embedded": "",
        "s3": "blobs: s3://bucket/prefix\n",
        "kafka": f"bus: kafka://127.0.0.1:{closed}/gw\n",
        "broken": "poll: {interval: ${PROVIDER_TOKEN}}\nlog: ${HOOK_TOKEN}\n",
    }[ground]
    text = CONFIG.format(stac=stac, closed=closed)
    if ground == "broken":
        text = text.replace("log: {level: debug}\n", "")
    (tmp_path / "groundwatch.yml").write_text(text + extra)
    (tmp_path / "area.geojson").write_text(json.dumps(AREA))
    said, failed = "", 0
    for command in COMMANDS:
        done = program.run(("-v", *command), tmp_path, environment=CANARIES)
        said += done.stdout + done.stderr
        failed += done.returncode != 0
    assert failed >= 2, said[-2000:]
    assert "Traceback" in said
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    for name, canary in CANARIES.items():
        assert canary not in said, f"{name} was printed: {_around(said, canary)}"
        assert canary.encode() not in kept, f"{name} lies in the data folder"


def _around(text: str, found: str) -> str:
    at = text.index(found)
    return text[max(0, at - 300) : at + 100]
