"""Incidents against the truth, and the page that shows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import shapely
from PIL import Image
from shapely.geometry.base import BaseGeometry

from registry.geometry import hectares
from registry.models import (
    Incident,
    IncidentKind,
    IncidentStatus,
    Verdict,
    VerdictCase,
    VerdictShare,
)
from simulator.district import District, write_district
from simulator.page import write_page
from simulator.scoring import HEADER, match, table
from simulator.truth import TruthEvent, TruthStep

EAST = -56.43
START = date(2024, 5, 1)


def square(west: float, size: float = 0.002) -> BaseGeometry:
    return shapely.box(west, -9.84, west + size, -9.84 + size)


def event(name: str, *shapes: BaseGeometry, kind: IncidentKind = IncidentKind.EXCAVATION) -> TruthEvent:
    steps = tuple(
        TruthStep(
            on=START + timedelta(days=30 * number),
            hectares=hectares(one),
            outside_permit_ha=0.0,
            in_reserve_ha=0.0,
            geometry=one,
        )
        for number, one in enumerate(shapes)
    )
    also = (IncidentKind.FOREST_LOSS,) if kind is IncidentKind.EXCAVATION else ()
    return TruthEvent(name=name, kind=kind, also=also, expected=VerdictCase.OUTSIDE, steps=steps)


def incident(
    number: int,
    where: BaseGeometry,
    *,
    kind: IncidentKind = IncidentKind.EXCAVATION,
    case: VerdictCase = VerdictCase.OUTSIDE,
    confirmed: int | None = 20,
    last_seen: int = 90,
    status: IncidentStatus = IncidentStatus.CONFIRMED,
) -> Incident:
    size = hectares(where)
    return Incident(
        id=f"{number:08d}",
        area_id="pit",
        kind=kind,
        status=status,
        footprint=where,
        hectares=size,
        edge_hectares=0.1,
        anchor=(EAST, -9.84),
        first_seen=START + timedelta(days=5),
        confirmed_on=None if confirmed is None else START + timedelta(days=confirmed),
        last_seen=START + timedelta(days=last_seen),
        looks=4,
        probability=0.99,
        verdict=Verdict(
            judged_for=START,
            case=case,
            shares=(VerdictShare(case=case, hectares=size),),
            registry_version="v",
        ),
    )


def test_a_report_at_the_place_is_a_hit_with_its_delay_and_size() -> None:
    score = match([incident(1, square(EAST))], [event("pit", square(EAST))])
    (row,) = score.rows
    assert row.hit
    assert row.delay_days == 20
    assert row.overlap == pytest.approx(1.0)
    assert row.error_ha == pytest.approx(0.0)
    assert row.verdict_right
    assert (score.found, score.verdicts_right, score.false_alarms) == (1, 1, ())


def test_size_is_compared_with_the_truth_of_the_day_it_rests_on() -> None:
    small, large = square(EAST, 0.002), square(EAST, 0.004)
    truth = [event("pit", small, large)]
    early = match([incident(1, small, last_seen=29)], truth).rows[0]
    late = match([incident(1, small, last_seen=30)], truth).rows[0]
    assert early.error_ha == pytest.approx(0.0)
    assert late.error_ha == pytest.approx(hectares(small) - hectares(large))
    assert late.overlap == pytest.approx(0.25, abs=0.01)


def test_pieces_count_together_and_the_first_confirmation_counts() -> None:
    west, east = square(EAST), square(EAST + 0.002)
    pieces = [incident(1, east, confirmed=60), incident(2, west, confirmed=25, case=VerdictCase.INSIDE)]
    (row,) = match(pieces, [event("pit", west.union(east))]).rows
    assert [one.id for one in row.incidents] == ["00000002", "00000001"]
    assert row.delay_days == 25
    assert row.hectares == pytest.approx(hectares(west.union(east)))
    assert row.verdict is VerdictCase.OUTSIDE


def test_what_touches_nothing_is_a_false_alarm_and_what_was_not_confirmed_is_not() -> None:
    reports = [
        incident(1, square(EAST + 0.01)),
        incident(2, square(EAST + 0.02), status=IncidentStatus.PROVISIONAL, confirmed=None),
        incident(3, square(EAST + 0.03), status=IncidentStatus.CLEARED),
    ]
    score = match(reports, [event("pit", square(EAST))])
    assert [one.id for one in score.false_alarms] == ["00000001"]
    assert score.found == 0
    assert score.rows[0].truth_hectares == pytest.approx(hectares(square(EAST)))
    assert score.hectares_error is None


def test_a_brush_of_the_edge_is_no_hit() -> None:
    score = match([incident(1, square(EAST + 0.0019))], [event("pit", square(EAST))])
    assert not score.rows[0].hit
    assert len(score.false_alarms) == 1


def test_another_kind_at_the_place_is_true_too_where_the_event_says_so() -> None:
    felled = incident(1, square(EAST), kind=IncidentKind.FOREST_LOSS)
    score = match([felled], [event("pit", square(EAST))])
    assert (score.found, score.also_true, score.false_alarms) == (0, (felled,), ())
    dug = incident(2, square(EAST))
    only = match([dug], [event("clearing", square(EAST), kind=IncidentKind.FOREST_LOSS)])
    assert (only.also_true, only.false_alarms) == ((), (dug,))


def test_a_wrong_verdict_is_seen() -> None:
    score = match([incident(1, square(EAST), case=VerdictCase.INSIDE)], [event("pit", square(EAST))])
    assert score.verdicts_right == 0
    assert table(score)[0][-1] == "NO"


def test_the_table_has_a_row_per_event_and_false_alarm() -> None:
    truth = [event("pit", square(EAST)), event("hole", square(EAST + 0.01))]
    rows = table(match([incident(1, square(EAST)), incident(2, square(EAST + 0.05))], truth))
    assert all(len(row) == len(HEADER) for row in rows)
    assert [row[1] for row in rows] == ["yes", "MISSED", "-"]
    assert rows[2][0].startswith("false alarm 00000002")


@pytest.fixture(scope="module")
def district(tmp_path_factory: pytest.TempPathFactory) -> District:
    plain = write_district(tmp_path_factory.mktemp("page"), seed=3, months=1)
    return replace(plain, truth=(event("pit <grows>", square(EAST)), event("missed", square(EAST + 0.01))))


def page(folder: Path, district: District, reports: Sequence[Incident]) -> str:
    picture = folder / "picture.png"
    Image.new("RGB", (8, 4), "green").save(picture)
    (folder / "notices").mkdir()
    notice = folder / "notices" / "one & two.html"
    notice.write_text("hello")
    write_page(
        folder / "index.html",
        district=district,
        incidents=reports,
        pictures={reports[0].id: picture},
        notices={reports[0].id: [("1 confirmed", notice)]},
    )
    return (folder / "index.html").read_text(encoding="utf-8")


def test_the_page_asks_nothing_of_the_network_and_escapes_names(tmp_path: Path, district: District) -> None:
    html = page(tmp_path, district, [incident(1, square(EAST)), incident(2, square(EAST + 0.02))])
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert sources
    assert all(one.startswith(("data:image/", "notices/")) for one in sources)
    assert "http://" not in html
    assert "https://" not in html
    assert "pit &lt;grows&gt;" in html
    assert "<grows>" not in html
    assert "@import" not in html


def test_every_picture_on_the_page_has_words(tmp_path: Path, district: District) -> None:
    html = page(tmp_path, district, [incident(1, square(EAST))])
    pictures = re.findall(r"<img [^>]*>", html)
    assert len(pictures) == 3
    assert all(re.search(r'alt="[^"]{20,}"', one) for one in pictures)
    assert 'lang="en"' in html


def test_the_page_says_what_was_found_and_what_was_not(tmp_path: Path, district: District) -> None:
    html = page(tmp_path, district, [incident(1, square(EAST)), incident(2, square(EAST + 0.02))])
    numbers = re.findall(r"<dd>(.*?)</dd></div>", html)
    assert [re.sub(r"<[^>]*>", "", one) for one in numbers] == [
        "1 of 2",
        "1 of 2",
        "0 % on average",
        "20 days",
        "1",
    ]
    assert "false alarm: nothing happened here" in html
    assert "missed" in html
    assert html.count('class="permit"') + html.count('class="permit lapsed"') == 5
