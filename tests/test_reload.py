"""New settings for a running program: taken over between two events, or refused as a whole."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx

from groundwatch.crank import Crank, run
from groundwatch.wiring import App
from registry.bus import Topic
from registry.settings import load_settings
from tests.services.processes import free_port
from tests.storage_samples import change_event, make_area, make_incident, square

PATIENCE_S = 60.0
CONFIG = """
data: data
providers: []
areas:
{areas}
operations:
  listen: 127.0.0.1:{port}
"""
AREA = """  {name}:
    geometry: {{type: Polygon, coordinates: [[[25.0, 45.0], [25.01, 45.0], [25.01, 45.01], [25.0, 45.0]]]}}
"""


def _until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_a_running_process_takes_new_settings_and_refuses_bad_ones(tmp_path: Path) -> None:
    port, config, log = free_port(), tmp_path / "groundwatch.yml", tmp_path / "log"
    silent = f"http://127.0.0.1:{port}/metrics"

    def write(*areas: str) -> None:
        config.write_text(CONFIG.format(areas="".join(AREA.format(name=one) for one in areas), port=port))

    def says(line: str) -> Callable[[], bool]:
        def look() -> bool:
            try:
                return line in httpx.get(silent).text
            except httpx.TransportError:
                return False

        return look

    write("pit")
    with log.open("wb") as sink:
        command = [sys.executable, "-m", "groundwatch", "run"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=sink, stdin=subprocess.DEVNULL)
    try:
        _until(says("groundwatch_silent_areas 1.0"), "started")
        config.write_text("areas: [mistake\n")
        process.send_signal(signal.SIGHUP)
        _until(says("groundwatch_config_refused 1.0"), "refused")
        assert says("groundwatch_silent_areas 1.0")()
        assert "groundwatch.yml:" in log.read_text(), "the log names file and line"
        write("pit", "wood")
        process.send_signal(signal.SIGHUP)
        _until(says("groundwatch_silent_areas 2.0"), "taken over")
        assert says("groundwatch_config_refused 0.0")()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_S) == 0, log.read_text()[-2000:]
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


class _Turning:
    """A clock that asks for something at its n-th look."""

    def __init__(self) -> None:
        self.looks = 0
        self.at: dict[int, Callable[[], None]] = {}

    def __call__(self) -> datetime:
        self.looks += 1
        self.at.pop(self.looks, lambda: None)()
        return datetime.now(UTC)


def _app(folder: Path, clock: _Turning, target: str) -> App:
    config = folder / "groundwatch.yml"
    config.write_text(
        f"data: {folder}/data\nproviders: []\nwork: {{idle_s: 0.1}}\nalerts:\n  targets:\n    archive: file://{folder}/{target}\n"
    )
    return App(load_settings(config, {}), now=clock, load=lambda: load_settings(config, {}))


def test_nothing_is_lost_or_done_twice_across_a_reload(tmp_path: Path) -> None:
    clock = _Turning()
    app = _app(tmp_path, clock, "old")
    app.store.put_area(make_area())
    for number in range(6):
        incidents = [make_incident(f"i{one}", square(25.0 + one / 10)) for one in range(number + 1)]
        app.bus.publish(Topic.CHANGES, change_event(str(number), *incidents))
    clock.at[clock.looks + 12] = app.reloading.set
    done, successor = Crank(app, frozenset({"notify"})).work()
    assert successor is not None
    before = done.changes_done
    assert 0 < before < 6, "the reload came amid the work"
    app.close()
    _app(tmp_path, clock, "new")
    again = successor.renewed()
    total = run(again, once=True, roles=("notify",))
    assert before + total.changes_done == 6
    assert again.bus.depth(Topic.CHANGES).model_dump() == {"waiting": 0, "in_flight": 0, "dead": 0}
    told = [path.name for path in (*tmp_path.glob("old/**/*"), *tmp_path.glob("new/**/*")) if path.is_file()]
    assert len(again.store.notices()) == 6
    assert told
    assert {one.target for one in again.store.deliveries()} == {"archive"}
    again.close()
    successor.close()


def test_settings_that_a_worker_refuses_leave_the_old_ones(tmp_path: Path) -> None:
    clock = _Turning()
    app = _app(tmp_path, clock, "old")
    (tmp_path / "groundwatch.yml").write_text(
        f"data: {tmp_path}/data\nproviders: []\nalerts:\n  targets:\n    broken: nonsense-of-a-url\n"
    )
    app.reloading.set()
    clock.at[clock.looks + 10] = app.stopping.set
    _, successor = Crank(app, frozenset({"notify"})).work()
    assert successor is None
    assert not app.reloading.is_set()
    app.close()
