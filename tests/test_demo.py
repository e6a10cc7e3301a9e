"""The demo as a person runs it, on a shorter record."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from groundwatch.demo import run_demo
from registry.errors import Exists

MONTHS = 12
"""The pit begins to grow in the eleventh month of seed 1's district."""


@pytest.mark.timeout(900)  # a year of passes: five minutes are not enough on two slow cores
def test_the_demo_finds_tells_and_shows_what_happened(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    result = run_demo(out, seed=1, months=MONTHS)
    said = capfd.readouterr().err
    events = [row for row in result.rows if not row["event"].startswith("false alarm")]
    assert len(events) == 2, "two changes begin within the record"
    assert any(row["found"] == "yes" and row["right"] == "yes" for row in events)
    queued = [int(number) for number in re.findall(r"passes_queued +(\d+)", said)]
    assert len(queued) == 3
    assert queued[0] > queued[1] > queued[2] == 0
    notices = sorted(result.notices.iterdir())
    assert notices
    for notice in notices:
        found = {path.suffix for path in notice.iterdir()}
        assert {".html", ".txt", ".eml", ".geojson", ".png"} <= found, notice.name
    html = result.page.read_text(encoding="utf-8")
    assert html.count("<article") >= 1
    for link in re.findall(r'href="(notices/[^"]+)"', html):
        assert (out / link).is_file()
    (shape,) = notices[0].glob("*.geojson")
    assert json.loads(shape.read_text())["features"]
    with pytest.raises(Exists, match="holds a demo already"):
        run_demo(out, seed=1, months=MONTHS)
