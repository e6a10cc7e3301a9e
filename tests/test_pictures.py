"""Before and after: which looks are chosen, what the picture shows, and when one is made."""

from __future__ import annotations

import io
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image

from detector.drawing import HEIGHT, INCIDENT, MAX_BYTES, PERMIT, WIDTH, Outline, Panel, Plate, draw
from detector.ledger import LedgerEntry
from detector.pictures import choose_looks, is_due, picture_incidents
from detector.products import write_preview
from detector.state import source_name
from registry.blobs import Blobs
from registry.events import RegistrySnapshot
from registry.geometry import hectares
from registry.models import (
    Growth,
    Incident,
    IncidentKind,
    IncidentStatus,
    Pictures,
    Sensor,
)
from tests.storage_samples import START, make_pass, make_permit
from tests.test_products import AREA, GRID, bands_of, blobs, files, ledger_of, row_of

__all__ = ["blobs"]


# ---------------------------------------------------------------- pictures: which looks


def entry(day: date) -> LedgerEntry:
    at = datetime(day.year, day.month, day.day, 9, 20, tzinfo=UTC)
    return LedgerEntry(blob=f"b{day}", pass_name=f"p{day}", acquired=at)


NEWS = date(2022, 7, 10)


def told(**changes: Any) -> Incident:
    footprint = GRID.to_world(shapely.box(400_300, 5_009_600, 400_400, 5_009_700))
    fields: dict[str, Any] = {
        "id": "one",
        "area_id": "pit",
        "kind": IncidentKind.FOREST_LOSS,
        "status": IncidentStatus.CONFIRMED,
        "footprint": footprint,
        "hectares": hectares(footprint),
        "edge_hectares": 0.36,
        "anchor": footprint.representative_point().coords[0],
        "last_clear_before": date(2022, 6, 10),
        "first_seen": date(2022, 6, 20),
        "confirmed_on": NEWS,
        "last_seen": NEWS,
        "looks": 3,
        "probability": 0.99,
        "growth": (Growth(acquired=NEWS, hectares=hectares(footprint)),),
    }
    return Incident.model_validate(fields | changes)


def chosen(days: list[date], cloudy: Collection[date] = (), **changes: Any) -> tuple[date, date] | None:
    pair = choose_looks(
        told(**changes), [entry(day) for day in sorted(days)], lambda one: one.acquired.date() not in cloudy
    )
    return (pair[0].acquired.date(), pair[1].acquired.date()) if pair else None


WEEKS = [date(2021, 1, 1) + timedelta(days=7 * n) for n in range(110)]


def test_before_is_the_last_clear_look_without_change_and_after_the_first_with_news() -> None:
    assert chosen([date(2022, 6, 3), date(2022, 6, 10), date(2022, 6, 20), NEWS, date(2022, 8, 1)]) == (
        date(2022, 6, 10),
        NEWS,
    )


def test_a_clouded_pass_is_not_chosen() -> None:
    days = [date(2022, 6, 3), date(2022, 6, 10), date(2022, 6, 20), NEWS, date(2022, 8, 1)]
    assert chosen(days, {NEWS, date(2022, 6, 10)}) == (date(2022, 6, 3), date(2022, 8, 1))
    assert chosen(days, {NEWS, date(2022, 8, 1)}) == (date(2022, 6, 10), date(2022, 6, 20))
    assert chosen(days, {date(2022, 6, 3), date(2022, 6, 10)}) is None
    assert chosen(days, set(days)) is None


def test_before_prefers_the_season_of_after_to_the_latest_look() -> None:
    winter: dict[str, Any] = {"last_clear_before": date(2022, 1, 20), "first_seen": date(2022, 6, 20)}
    before, after = chosen(WEEKS, **winter) or (NEWS, NEWS)
    assert after == min(day for day in WEEKS if day >= NEWS)
    assert before.year == 2021
    assert 5 <= before.month <= 9
    only_winter = [day for day in WEEKS if not 4 <= day.month <= 10] + [NEWS]
    assert chosen(only_winter, **winter) == (max(d for d in WEEKS if d <= date(2022, 1, 20)), NEWS)


def test_a_picture_is_due_with_news_or_when_a_clear_look_has_come() -> None:
    assert is_due(told())
    made = Pictures(side_by_side="pictures/one/r001-x.png", after_acquired=NEWS)
    assert not is_due(told(pictures=made))
    assert is_due(told(pictures=made, revision=2))
    assert is_due(told(pictures=made.model_copy(update={"after_acquired": date(2022, 6, 20)})))
    assert not is_due(told(status=IncidentStatus.PROVISIONAL, growth=()))


# ---------------------------------------------------------------- pictures: what they show


@pytest.fixture
def studio(blobs: Blobs) -> dict[str, Any]:
    """Three clear passes and a clouded one, with a clearing that appears in the last two."""
    ledger = ledger_of(blobs)
    for day, cleared, weight in ((0, False, 2), (40, True, 0), (50, True, 2), (60, True, 2)):
        one = make_pass(day)
        bands = bands_of()
        if cleared:
            for name, bright in (("B02", 0.12), ("B03", 0.15), ("B04", 0.2)):
                bands[name][30:40, 30:40] = bright
        ledger.write(one, GRID, row_of(one, weight=weight))
        write_preview(blobs, one, GRID, bands)
    permit = make_permit("p7", GRID.to_world(shapely.box(400_350, 5_009_400, 400_600, 5_009_800)))
    return {
        "snapshot": RegistrySnapshot(area=AREA, permits=(permit,), zones=()),
        "grid": GRID,
        "ledger": ledger,
        "entries": ledger.entries(),
    }


def seen_change() -> Incident:
    first = (START + timedelta(days=40)).date()
    step = Growth(acquired=first, hectares=1.0)
    return told(first_seen=first, last_clear_before=START.date(), growth=(step,), confirmed_on=first)


def test_a_picture_shows_both_sides_with_outlines_and_is_small(blobs: Blobs, studio: dict[str, Any]) -> None:
    (pictured,) = picture_incidents(blobs, [seen_change()], **studio)
    made = pictured.pictures
    assert made.before_acquired == START.date()
    assert made.after_acquired == (START + timedelta(days=50)).date()
    assert made.side_by_side is not None
    assert made.side_by_side.startswith("pictures/one/r001-")
    data = blobs.get(made.side_by_side)
    assert len(data) < 300_000
    image = Image.open(io.BytesIO(data)).convert("RGB")
    assert image.size == (WIDTH, HEIGHT)
    pixels = np.asarray(image).astype(int)
    for colour in (INCIDENT, PERMIT):
        near = np.abs(pixels[80:580] - np.array(colour)).max(axis=2) < 24
        assert near[:, : WIDTH // 2].sum() > 200
        assert near[:, WIDTH // 2 :].sum() > 200
    middle = slice(300, 360)
    before, after = pixels[middle, 200:350], pixels[middle, 750:900]
    assert after.mean() > before.mean() + 20
    for blob in (made.before, made.after):
        assert blob is not None
        assert blobs.exists(blob)


def test_a_picture_is_made_once_and_the_same_everywhere(blobs: Blobs, studio: dict[str, Any]) -> None:
    first = picture_incidents(blobs, [seen_change()], **studio)
    before = files(blobs)
    assert picture_incidents(blobs, first, **studio) == first
    assert picture_incidents(blobs, [seen_change()], **studio) == first
    assert files(blobs) == before
    assert first[0].pictures.side_by_side is not None
    blobs.delete(first[0].pictures.side_by_side)
    picture_incidents(blobs, [seen_change()], **studio)
    assert files(blobs) == before


def test_without_a_clear_pair_there_is_no_picture(blobs: Blobs, studio: dict[str, Any]) -> None:
    (bare,) = picture_incidents(blobs, [seen_change()], **(studio | {"entries": studio["entries"][:2]}))
    assert bare.pictures == Pictures()
    outside = GRID.to_world(shapely.box(500_000, 5_009_600, 500_100, 5_009_700))
    (lost,) = picture_incidents(blobs, [seen_change().model_copy(update={"footprint": outside})], **studio)
    assert lost.pictures == Pictures()


def test_where_clouds_hide_everything_two_radar_looks_of_one_orbit_are_shown(blobs: Blobs) -> None:
    ledger = ledger_of(blobs)
    looks = [
        (0, Sensor.S1, 82, 2),
        (1, Sensor.S2, 7, 2),
        (2, Sensor.S1, 155, 2),
        (50, Sensor.S2, 7, 0),
        (60, Sensor.S1, 82, 2),
    ]
    for day, sensor, orbit, weight in looks:
        one = make_pass(day, sensor=sensor)
        row = replace(row_of(one, weight=weight), source=source_name(sensor, "card", orbit))
        ledger.write(one, GRID, row)
        power = np.full(GRID.shape, 0.1 if day < 60 else 0.02, dtype=np.float32)
        write_preview(blobs, one, GRID, bands_of() | {"VV": power, "VH": power / 4})
    (pictured,) = picture_incidents(
        blobs, [seen_change()], snapshot=RegistrySnapshot(area=AREA, permits=(), zones=()), grid=GRID,
        ledger=ledger, entries=ledger.entries(),
    )  # fmt: skip
    made = pictured.pictures
    assert (made.before_acquired, made.after_acquired) == (START.date(), (START + timedelta(days=60)).date())
    assert made.side_by_side is not None
    pixels = np.asarray(Image.open(io.BytesIO(blobs.get(made.side_by_side))).convert("RGB")).astype(int)
    assert pixels[100:200, 100:200].mean() > pixels[100:200, 700:800].mean() + 20


@pytest.mark.parametrize("size", [44, 700])
def test_even_noise_makes_a_small_file(size: int) -> None:
    chance = np.random.default_rng(3)
    before, after = (chance.integers(1, 255, (3, size, size)).astype(np.uint8) for _ in range(2))
    edge = size * 10.0
    plate = Plate(
        before=Panel(before, "Before: 2022-06-10 09:20 UTC, Sentinel-2A"),
        after=Panel(after, "After: 2022-07-10 09:20 UTC, Sentinel-2B"),
        frame=(0.0, 0.0, edge, edge),
        outlines=(Outline(shapely.box(edge * 0.4, edge * 0.4, edge * 0.6, edge * 0.6), INCIDENT, "x" * 400),),
        title="t" * 400,
        subtitle="s",
        source="c",
    )
    data = draw(plate)
    assert len(data) <= MAX_BYTES
    assert data == draw(plate)
    with suppress(OSError):
        Image.open(io.BytesIO(data)).verify()


def test_a_picture_without_any_data_is_still_a_picture() -> None:
    empty = Panel(np.zeros((3, 44, 44), dtype=np.uint8), "Before")
    plate = Plate(empty, empty, (0.0, 0.0, 440.0, 440.0), (), "t", "s", "c")
    assert Image.open(io.BytesIO(draw(plate))).size == (WIDTH, HEIGHT)
