"""Pixels to persistent objects: ids, merges, splits, growth, lifecycle, valid outlines."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import shapes
from rasterio.transform import Affine
from shapely.geometry import box, shape

from detector.incidents import update
from detector.objects import Patch, outline, watched
from detector.state import UNITS, PixelStatus, SensorBit, State, start, to_day
from registry.detection import DetectionSettings, ObjectSettings
from registry.geometry import hectares
from registry.grid import Grid, area_grid
from registry.models import Area, AreaKind, Incident, IncidentKind, IncidentStatus, Sensor, Target

DAY = date(2020, 6, 1)
SETTINGS = DetectionSettings()
AREA = Area(id="gora", name="Gora", kind=AreaKind.WATCHED, geometry=box(25.000, 45.000, 25.008, 45.0055))
GRID = area_grid(AREA.geometry, 0.0)


def day(offset: int) -> date:
    return DAY + timedelta(days=offset)


def paint(state: State, rows: slice, columns: slice, **values: Any) -> State:
    """The state with planes set over a block."""
    planes = {}
    for name, value in values.items():
        plane = getattr(state, name).copy()
        plane[rows, columns] = value
        planes[name] = plane
    return replace(state, **planes)


def confirmed(state: State, rows: slice, columns: slice, *, since: int = 0, nats: float = 8.0) -> State:
    return paint(
        state,
        rows,
        columns,
        status=PixelStatus.CONFIRMED,
        log_odds=round(nats * UNITS),
        sensors=SensorBit.S2,
        n_pos=3,
        first_seen=to_day(day(since)),
        last_positive=to_day(day(since + 20)),
        confirmed_on=to_day(day(since + 20)),
        last_clear_before=to_day(day(since - 10)),
    )


def provisional(state: State, rows: slice, columns: slice) -> State:
    made = confirmed(state, rows, columns, nats=3.0)
    return paint(made, rows, columns, status=PixelStatus.PROVISIONAL, confirmed_on=0)


def run(
    previous: tuple[Incident, ...], state: State, *, on: int = 20, **objects: Any
) -> tuple[Incident, ...]:
    chosen = SETTINGS.model_copy(update={"objects": ObjectSettings(**objects)})
    return update(
        previous, state, grid=GRID, area=AREA, target=Target.FOREST, acquired=day(on), settings=chosen
    )


EMPTY = start(GRID.shape)


def test_a_confirmed_block_is_one_incident_with_its_dates_and_size() -> None:
    state = confirmed(EMPTY, slice(10, 15), slice(20, 30))
    state = paint(
        state, slice(10, 11), slice(20, 21), first_seen=to_day(day(-5)), last_clear_before=to_day(day(-8))
    )
    (found,) = run((), state)
    assert found.kind is IncidentKind.FOREST_LOSS
    assert found.status is IncidentStatus.CONFIRMED
    assert found.revision == 1
    assert found.hectares == pytest.approx(0.5, rel=2e-3)
    assert found.hectares == pytest.approx(hectares(found.footprint), abs=1e-6)
    assert found.edge_hectares == pytest.approx(0.26)
    assert (found.first_seen, found.last_clear_before) == (day(-5), day(-8))
    assert (found.confirmed_on, found.last_seen) == (day(20), day(20))
    assert (found.looks, found.sensors) == (3, (Sensor.S2,))
    assert found.probability == pytest.approx(1 / (1 + np.exp(-8.0)), abs=1e-6)
    assert [(step.acquired, step.hectares) for step in found.growth] == [(day(20), found.hectares)]
    assert found.footprint.contains(shapely.Point(found.anchor))
    assert np.array_equal(
        np.round(shapely.get_coordinates(found.footprint), 7), shapely.get_coordinates(found.footprint)
    )


def test_seeds_grow_into_connected_pixels_with_evidence_but_not_across_corners() -> None:
    state = confirmed(EMPTY, slice(10, 14), slice(10, 14))
    state = paint(state, slice(10, 14), slice(14, 18), log_odds=1)
    state = paint(state, slice(14, 18), slice(18, 22), log_odds=1)
    (found,) = run((), state)
    assert found.hectares == pytest.approx(0.32, rel=2e-3)


def test_evidence_without_a_seed_is_no_incident() -> None:
    assert run((), paint(EMPTY, slice(10, 20), slice(10, 20), log_odds=3 * UNITS)) == ()


def test_smaller_than_the_minimum_mapping_unit_is_dropped() -> None:
    nine, ten = confirmed(EMPTY, slice(3, 6), slice(3, 6)), confirmed(EMPTY, slice(3, 5), slice(3, 8))
    assert run((), nine) == ()
    assert len(run((), ten)) == 1
    assert len(run((), nine, minimum_mapping_unit_ha=0.09)) == 1


def test_a_lone_small_object_must_be_surer_than_one_with_company() -> None:
    small = confirmed(EMPTY, slice(3, 5), slice(3, 8), nats=4.7)
    assert run((), small) == ()
    assert len(run((), small, lone_min_log_odds=4.6)) == 1
    assert len(run((), confirmed(small, slice(7, 9), slice(3, 8), nats=4.7))) == 2
    assert run((), confirmed(small, slice(8, 10), slice(3, 8), nats=4.7)) == ()


def test_only_inside_the_area_and_its_buffer() -> None:
    half = AREA.model_copy(update={"geometry": box(25.000, 45.000, 25.004, 45.0055)})
    assert watched(GRID, half).sum() * 0.01 == pytest.approx(hectares(half.geometry), rel=0.02)
    everywhere = confirmed(EMPTY, slice(None), slice(None))
    for area in (half, half.model_copy(update={"buffer_m": 50.0})):
        (found,) = update(
            (), everywhere, grid=GRID, area=area, target=Target.FOREST, acquired=DAY, settings=SETTINGS
        )
        allowed = GRID.from_world(area.geometry).buffer(area.buffer_m)
        inside = allowed.intersection(box(*GRID.bounds))
        assert found.hectares == pytest.approx(inside.area / 10_000, rel=0.02)
        assert allowed.buffer(8.0).covers(GRID.from_world(found.footprint))


def test_ids_persist_while_it_grows_and_growth_is_news_only_when_it_is_enough() -> None:
    state = confirmed(EMPTY, slice(10, 20), slice(10, 20))
    (first,) = run((), state)
    state = confirmed(state, slice(20, 21), slice(10, 19), since=5)
    (second,) = run((first,), state, on=30)
    assert (second.id, second.revision, second.growth) == (first.id, 1, first.growth)
    assert second.hectares > first.hectares
    state = confirmed(state, slice(20, 21), slice(10, 20), since=5)
    (third,) = run((second,), state, on=40)
    assert (third.id, third.revision) == (first.id, 2)
    assert [step.acquired for step in third.growth] == [day(20), day(40)]
    (same,) = run((third,), state, on=50)
    assert same == third
    assert (third.first_seen, third.confirmed_on) == (first.first_seen, first.confirmed_on)


def test_growth_of_a_large_one_needs_the_share() -> None:
    state = confirmed(EMPTY, slice(10, 30), slice(10, 30))
    (first,) = run((), state)
    (second,) = run((first,), confirmed(state, slice(30, 31), slice(10, 30)), on=30)
    assert second.revision == 1
    (third,) = run((second,), confirmed(state, slice(30, 33), slice(10, 30)), on=30)
    assert third.revision == 2


def test_told_pixels_stay_until_the_evidence_is_against_them() -> None:
    state = confirmed(EMPTY, slice(10, 20), slice(10, 15))
    state = paint(state, slice(10, 20), slice(15, 17), log_odds=UNITS)
    state = confirmed(state, slice(10, 20), slice(17, 22))
    (first,) = run((), state)
    faded = paint(state, slice(10, 20), slice(15, 17), log_odds=-UNITS)
    (second,) = run((first,), faded, on=30)
    assert (second.id, second.hectares) == (first.id, first.hectares)
    parted = paint(state, slice(10, 20), slice(15, 17), log_odds=-3 * UNITS)
    (third,) = run((first,), parted, on=30)
    assert third.id == first.id
    assert third.hectares == pytest.approx(1.0, rel=2e-3)


@pytest.mark.parametrize(("left", "right"), [(0, 9), (9, 0)])
def test_a_merge_keeps_the_oldest_and_says_what_it_absorbed(left: int, right: int) -> None:
    both = confirmed(EMPTY, slice(10, 20), slice(20, 30), since=right)
    both = confirmed(both, slice(10, 15), slice(10, 14), since=left)
    first = run((), both)
    assert len(first) == 2
    oldest = min(first, key=lambda one: one.first_seen)
    whole = confirmed(both, slice(10, 15), slice(14, 20), since=12)
    (merged,) = run(first, whole, on=40)
    assert merged.id == oldest.id
    assert merged.absorbed == tuple({one.id for one in first} - {oldest.id})
    (later,) = run((merged,), whole, on=50)
    assert later == merged


def test_one_that_was_told_of_outranks_an_older_provisional_one() -> None:
    state = provisional(EMPTY, slice(10, 15), slice(10, 14))
    state = confirmed(state, slice(10, 20), slice(20, 30), since=9)
    first = run((), state)
    told = next(one for one in first if one.status is IncidentStatus.CONFIRMED)
    (merged,) = run(first, confirmed(state, slice(10, 15), slice(14, 20), since=12), on=40)
    assert merged.id == told.id


def test_what_was_told_of_stays_one_incident_when_it_comes_apart() -> None:
    state = confirmed(EMPTY, slice(10, 20), slice(10, 40))
    (whole,) = run((), state)
    parted = paint(state, slice(10, 20), slice(20, 25), status=PixelStatus.RECLAIMED, log_odds=-4 * UNITS)
    (parts,) = run((whole,), parted, on=300)
    assert (parts.id, parts.revision) == (whole.id, 1)
    assert parts.footprint.geom_type == "MultiPolygon"
    assert parts.hectares == pytest.approx(2.5, rel=2e-3)
    assert parts.footprint.contains(shapely.Point(parts.anchor))


def test_a_split_of_a_provisional_one_leaves_the_id_with_the_largest_part() -> None:
    state = provisional(EMPTY, slice(10, 20), slice(10, 40))
    (whole,) = run((), state)
    parted = paint(state, slice(10, 20), slice(20, 25), status=PixelStatus.NONE, log_odds=-UNITS)
    parts = run((whole,), parted, on=30)
    assert len(parts) == 2
    large = max(parts, key=lambda one: one.hectares)
    small = min(parts, key=lambda one: one.hectares)
    assert large.id == whole.id
    assert small.id != whole.id
    assert large.footprint.disjoint(small.footprint)


def test_what_appears_beside_an_earlier_footprint_does_not_take_its_id() -> None:
    state = confirmed(EMPTY, slice(10, 20), slice(10, 20))
    (first,) = run((), state)
    second = run((first,), confirmed(state, slice(10, 30), slice(22, 40)), on=30)
    assert len(second) == 2
    kept = next(one for one in second if one.id == first.id)
    assert kept.footprint.equals(first.footprint)


def test_a_shifted_object_within_the_match_buffer_is_the_same_incident() -> None:
    (first,) = run((), provisional(EMPTY, slice(10, 20), slice(10, 20)))
    (second,) = run((first,), provisional(EMPTY, slice(10, 20), slice(21, 31)), on=30)
    assert second.id == first.id
    third = run((first,), provisional(EMPTY, slice(10, 20), slice(24, 34)), on=30)
    assert [one.status for one in third if one.id == first.id] == [IncidentStatus.CLEARED]


def test_provisional_becomes_confirmed_under_the_same_id_at_revision_one() -> None:
    (first,) = run((), provisional(EMPTY, slice(10, 20), slice(10, 20)), on=10)
    assert (first.status, first.revision, first.growth) == (IncidentStatus.PROVISIONAL, 1, ())
    assert first.confirmed_on is None
    (second,) = run((first,), confirmed(EMPTY, slice(10, 20), slice(10, 20)), on=20)
    assert (second.id, second.status, second.revision) == (first.id, IncidentStatus.CONFIRMED, 1)
    assert len(second.growth) == 1


def test_a_provisional_one_that_goes_is_cleared_then_forgotten_and_can_come_back() -> None:
    seen = provisional(EMPTY, slice(10, 20), slice(10, 20))
    (first,) = run((), seen)
    (cleared,) = run((first,), EMPTY, on=30)
    assert (cleared.id, cleared.status) == (first.id, IncidentStatus.CLEARED)
    (back,) = run((cleared,), seen, on=40)
    assert (back.id, back.status) == (first.id, IncidentStatus.PROVISIONAL)
    assert run((cleared,), EMPTY, on=20 + 121) == ()


def test_a_confirmed_one_is_kept_to_half_the_mapping_unit_and_then_reclaimed() -> None:
    block = slice(10, 20), slice(10, 20)
    (first,) = run((), confirmed(EMPTY, *block))
    gone = {"status": PixelStatus.RECLAIMED, "log_odds": -4 * UNITS}
    six_left = paint(confirmed(EMPTY, *block), slice(10, 19), slice(10, 20), **gone)
    six_left = paint(six_left, slice(19, 20), slice(16, 20), **gone)
    (kept,) = run((first,), six_left, on=200)
    assert (kept.id, kept.status, kept.revision) == (first.id, IncidentStatus.CONFIRMED, 1)
    assert kept.hectares == pytest.approx(0.06, rel=1e-2)
    four_left = paint(six_left, slice(19, 20), slice(14, 16), **gone)
    (ended,) = run((kept,), four_left, on=400)
    assert (ended.id, ended.status, ended.revision) == (first.id, IncidentStatus.RECLAIMED, 2)
    assert ended.footprint.equals(kept.footprint)
    assert run((ended,), four_left, on=410) == (ended,)
    again = run((ended,), confirmed(four_left, *block, since=500), on=520)
    assert len(again) == 2
    assert len({one.id for one in again}) == 2


def test_other_kinds_are_left_out_and_order_does_not_matter() -> None:
    state = confirmed(confirmed(EMPTY, slice(3, 9), slice(3, 9)), slice(30, 39), slice(30, 39))
    first = run((), state)
    foreign = first[0].model_copy(update={"kind": IncidentKind.EXCAVATION, "id": "x"})
    assert run((first[1], foreign, first[0]), state, on=30) == run(first, state, on=30)
    assert [one.id for one in first] == sorted(one.id for one in first)


def test_a_moment_is_taken_for_its_day_in_utc() -> None:
    state = confirmed(EMPTY, slice(3, 9), slice(3, 9))
    at = datetime(2020, 6, 21, 9, 20, tzinfo=UTC)
    (found,) = update((), state, grid=GRID, area=AREA, target=Target.FOREST, acquired=at, settings=SETTINGS)
    assert type(found.growth[0].acquired) is date


def test_a_state_on_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="fold it on the same grid"):
        run((), start((3, 3)))


def test_an_outline_of_very_many_vertices_is_thinned_but_not_its_hectares() -> None:
    grid = Grid(epsg=32635, left=500_000, top=5_000_000, width=300, height=300)
    area = AREA.model_copy(update={"geometry": grid.to_world(box(*grid.bounds))})
    noise = np.random.default_rng(1).random(grid.shape) < 0.75
    everything = slice(0, 300), slice(0, 300)
    state = confirmed(start(grid.shape), *everything)
    state = replace(state, status=np.where(noise, state.status, 0).astype(np.uint8))
    state = replace(state, log_odds=np.where(noise, state.log_odds, -1024).astype(np.int16))
    found = update((), state, grid=grid, area=area, target=Target.FOREST, acquired=DAY, settings=SETTINGS)
    largest = max(found, key=lambda one: one.hectares)
    assert shapely.get_num_coordinates(largest.footprint) <= 5_000
    assert largest.hectares == pytest.approx(noise.sum() * 0.01, rel=0.02)


@settings(deadline=None, max_examples=200)
@given(arrays(np.bool_, (9, 9)))
def test_an_outline_is_valid_and_holds_exactly_its_pixels(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    state = replace(EMPTY, log_odds=EMPTY.log_odds)
    state = confirmed(state, slice(4, 5), slice(4, 5))
    odds = state.log_odds.copy()
    odds[:9, :9] = np.where(mask, 2048, odds[:9, :9])
    found = run((), replace(state, log_odds=odds), minimum_mapping_unit_ha=0.01, lone_below_ha=0.0)
    for one in found:
        assert one.footprint.is_valid
        assert one.footprint.geom_type == "Polygon"
        land = GRID.from_world(one.footprint)
        assert land.area == pytest.approx(round(land.area / 100) * 100, abs=1.0)


@settings(deadline=None, max_examples=200)
@given(arrays(np.bool_, (8, 8)).filter(lambda mask: bool(mask.any())))
def test_outlines_agree_with_gdal_over_the_whole_grid(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    land = outline(Patch(box=(slice(2, 10), slice(3, 11)), pixels=mask, confirmed=True), GRID)
    whole = np.zeros(GRID.shape, dtype=np.uint8)
    whole[2:10, 3:11] = mask
    expected = shapely.union_all(
        [shape(part) for part, value in shapes(whole, transform=Affine(*GRID.geotransform)) if value == 1]
    )
    assert land.is_valid
    assert land.symmetric_difference(expected).area == pytest.approx(0.0, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(3, 9)), min_size=1, max_size=6))
def test_ids_never_change_hands_while_a_state_only_grows(blocks: list[tuple[int, int, int]]) -> None:
    state, history = EMPTY, []
    previous: tuple[Incident, ...] = ()
    for step, (row, column, size) in enumerate(blocks):
        state = confirmed(state, slice(row, row + size), slice(column, column + size), since=step)
        previous = run(previous, state, on=20 + step)
        history.append(previous)
        assert len({one.id for one in previous}) == len(previous)
    for before, after in pairwise(history):
        gone = {one.id for one in before} - {one.id for one in after}
        assert gone <= {lost for one in after for lost in one.absorbed}
        for one in after:
            ancestors = [old for old in before if old.id == one.id]
            assert all(one.footprint.intersects(old.footprint) for old in ancestors)
