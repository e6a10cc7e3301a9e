"""Metrics and health of a real process, and the page that describes them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from groundwatch.health import Health, silent_areas
from registry import metrics
from registry.metrics import METRICS
from registry.operations_settings import OperationsSettings
from registry.stored import StoreStatus
from tests.conftest import REPO
from tests.services.processes import free_port

PATIENCE_S = 30.0
CONFIG = """
data: data
providers:
  - name: nobody
    url: http://127.0.0.1:9/
http:
  retries: 0
areas:
  pit:
    geometry: {{type: Polygon, coordinates: [[[25.0, 45.0], [25.01, 45.0], [25.01, 45.01], [25.0, 45.0]]]}}
operations:
  listen: 127.0.0.1:{port}
"""


@contextmanager
def _running(folder: Path) -> Iterator[httpx.Client]:
    port = free_port()
    (folder / "groundwatch.yml").write_text(CONFIG.format(port=port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "groundwatch", "run"], cwd=folder, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            _until_answering(client, process)
            yield client
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_S) == 0, (folder / "log").read_text()[-2000:]
    finally:
        process.kill()
        process.wait()


def _until_answering(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.get("/healthz")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"no answer; the process ended with {process.poll()}")


def test_a_process_serves_its_metrics_and_health(tmp_path: Path) -> None:
    with _running(tmp_path) as client:
        assert client.get("/healthz").status_code == 200
        deadline = time.monotonic() + PATIENCE_S
        while (ready := client.get("/readyz")).status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert ready.text == "ok\n"
        assert client.get("/elsewhere").status_code == 404
        text = client.get("/metrics").text
    exported = set(re.findall(r"^# TYPE (groundwatch_\w+) ", text, re.MULTILINE))
    assert {name for name in exported if not name.endswith("_created")} == set(METRICS)
    assert 'groundwatch_polls_total{result="failed"} 1.0' in text
    assert "groundwatch_silent_areas 1.0" in text
    assert 'groundwatch_queue_events{queue="passes",state="waiting"} 0.0' in text


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with _running(tmp_path):
        done = subprocess.run(
            [sys.executable, "-m", "groundwatch", "run"], cwd=tmp_path, capture_output=True, text=True
        )
    assert done.returncode == 2
    assert "operations.listen" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_metric_is_described() -> None:
    page = (REPO / "docs" / "operations.md").read_text(encoding="utf-8")
    described = dict(re.findall(r"^\| `(groundwatch_\w+)` \| (\w+) \|", page, re.MULTILINE))
    assert described == {name: metric.kind.value for name, metric in METRICS.items()}
    for name, metric in METRICS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` "))
        assert all(f"`{label}`" in row for label in metric.labels), name


def test_nothing_is_kept_where_nobody_listens() -> None:
    metrics.count("groundwatch_polls_total", result="done")
    with metrics.timed("groundwatch_stage_seconds", stage="look"):
        metrics.alive()


def test_health_needs_signs_of_life() -> None:
    health = Health(stall_s=60.0)
    assert health.is_alive()
    health.last_sign -= 61.0
    assert not health.is_alive()


@pytest.mark.parametrize(
    ("age_days", "revisit_days", "silent"),
    [
        (14.9, None, False),
        (15.1, None, True),
        (None, None, True),
        (9.9, 2.5, False),
        (10.1, 2.5, True),
        (14.9, 5.0, False),
        (15.1, 5.0, True),
    ],
)
def test_silence_is_longer_than_the_own_revisit_makes_likely(
    age_days: float | None, revisit_days: float | None, silent: bool
) -> None:
    now = datetime(2026, 7, 1, tzinfo=UTC)
    status = StoreStatus(
        areas=1,
        permits=0,
        zones=0,
        passes=9,
        notices=0,
        pending_deliveries=0,
        failed_deliveries=0,
        last_pass={"pit": None if age_days is None else now - timedelta(days=age_days)},
        revisit_days={} if revisit_days is None else {"pit": revisit_days},
    )
    assert bool(silent_areas(status, OperationsSettings(), now=now)) is silent
