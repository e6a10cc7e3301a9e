"""The drill of `make crash` in small: a fleet under fire ends where one process in peace does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fleet.drill import Drill, run_drill


@pytest.mark.timeout(900)
def test_a_fleet_under_fire_ends_where_one_process_does(tmp_path: Path) -> None:
    drill = Drill(areas=4, passes=20, detectors=2, kill_every_s=6.0, outage_s=5.0, seed=1)
    report = run_drill(tmp_path, drill, say=lambda _text: None)
    print(report)
    assert report.faults == []
    assert report.kills > 0
    assert report.repeated_events > 0
    assert len(report.recoveries) == 2
