"""Composed grounds: places drawn again, labels that hold together, mines that grow, the truth of change."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest

from registry.chips import BIT, Bits, Change, Component, Mask
from simulator.chips.canvas import Canvas, Purpose
from simulator.chips.compose import compose, compose_pair
from simulator.chips.labels import paint_labels, paint_materials, window_of
from simulator.chips.land import Place, paint_base
from simulator.chips.layers import Ground, Layer, Material
from simulator.chips.lookalikes import PAINTERS, draw_look_alikes, paint_look_alikes
from simulator.chips.recipe import (
    CLIMATES,
    FAMILIES,
    HELD_OUT,
    MINE_TYPES,
    SHIFTED,
    TRAIN,
    Recipe,
)

C = Component
HEADS = (
    (C.PREPARATORY_WORKS, C.EXCAVATION, C.INFRASTRUCTURE),
    (C.DUMPING_GROUND, C.STOCKPILE, C.OVERBURDEN),
    (C.SETTLING_POND, C.TAILINGS, C.DAM),
    (C.OUTCROP, C.PRODUCTION_SLOPE, C.TRANSPORT_SLOPE),
)
PARTS = tuple(component for head in HEADS for component in head)
MINES = [(mine_type, family) for mine_type in MINE_TYPES for family in FAMILIES]
YEARS = (0.0, 2.0, 4.0, 6.0, 8.0)
ANYWHERE = replace(TRAIN, climates=CLIMATES, families=FAMILIES)


def mines_of(mine_type: str, family: str) -> Recipe:
    return replace(ANYWHERE, mine_types=(mine_type,), families=(family,), mine_share=1.0)


def has(labels: Bits, component: Component) -> Mask:
    marked: Mask = (labels & BIT[component]) != 0
    return marked


@lru_cache(maxsize=1)
def many() -> tuple[Ground, ...]:
    """Every type of mine by every family, at several ages, and land without mines."""
    mined = [
        compose(3, 10 * row + number, mines_of(*kind), years=2.0 + 3.0 * number, day=40 + 100 * number)
        for row, kind in enumerate(MINES)
        for number in range(3)
    ]
    plain = [
        compose(4, number, replace(ANYWHERE, mine_share=0.0), years=float(number % 10), day=1 + 15 * number)
        for number in range(24)
    ]
    return (*mined, *plain)


def same(one: Layer, other: Layer) -> bool:
    fields = ("material", "top", "left", "labels", "keep", "variant", "grain", "age")
    return (
        all(getattr(one, name) == getattr(other, name) for name in fields)
        and np.array_equal(one.cover, other.cover)
        and np.array_equal(np.asarray(one.shade), np.asarray(other.shade))
    )


def test_a_place_is_the_same_whenever_it_is_drawn() -> None:
    first, again = (compose(1, 5, TRAIN, years=4.0, day=200) for _ in range(2))
    assert len(first.layers) == len(again.layers)
    assert all(same(a, b) for a, b in zip(first.layers, again.layers, strict=True))
    assert np.array_equal(first.relief, again.relief)
    assert first.facts == again.facts
    other = compose(1, 6, TRAIN, years=4.0, day=200)
    assert not np.array_equal(paint_materials(first), paint_materials(other))


def test_what_a_recipe_mines_does_not_move_the_land() -> None:
    plain = compose(1, 5, replace(TRAIN, mine_share=0.0), years=4.0, day=200)
    other = compose(1, 5, replace(TRAIN, families=("plan_c",), mine_share=0.0), years=4.0, day=200)
    assert np.array_equal(paint_materials(plain), paint_materials(other))
    mined = compose(1, 5, mines_of("opencast", "plan_a"), years=4.0, day=200)
    again = compose(1, 5, mines_of("opencast", "plan_b"), years=4.0, day=200)
    land = [int(ground.facts["land_layers"]) for ground in (mined, again)]
    assert land[0] == land[1] < len(mined.layers)
    assert all(same(a, b) for a, b in zip(mined.layers[: land[0]], again.layers[: land[1]], strict=True))


def test_guests_from_other_climates_join_the_land_of_training_alone() -> None:
    def kinds(recipe: Recipe, index: int) -> set[Material]:
        ground = compose(6, index, replace(recipe, mine_share=0.0, climates=("desert",)), years=4.0, day=200)
        return {layer.material for layer in ground.layers}

    woods = {Material.FOREST_EVERGREEN, Material.FOREST_NEEDLE, Material.PLANTATION}
    always, never = replace(TRAIN, guests=1.0), replace(TRAIN, guests=0.0)
    assert any(woods & kinds(always, index) for index in range(8))
    assert not any(woods & kinds(never, index) for index in range(8))
    assert all(kinds(always, index) >= kinds(never, index) for index in range(8))
    assert TRAIN.guests > HELD_OUT.guests == SHIFTED.guests == 0.0


def test_layers_lie_inside_the_ground_and_cover_shares() -> None:
    for ground in many():
        assert ground.layers[0].cover.shape == (ground.size, ground.size)
        assert ground.layers[0].cover.min() == 1.0
        for layer in ground.layers:
            rows, columns = window_of(layer)
            assert 0 <= rows.start < rows.stop <= ground.size
            assert 0 <= columns.start < columns.stop <= ground.size
            assert layer.cover.dtype == np.float32
            assert layer.cover.min() >= 0.0 <= layer.variant <= 1.0
            assert layer.cover.max() <= 1.0
            shade = np.asarray(layer.shade)
            assert shade.shape in ((), layer.cover.shape)
            assert shade.min() > 0.2
            assert shade.max() < 1.7


def test_labels_of_a_head_are_disjoint_and_inside_the_mine() -> None:
    for ground in many():
        labels = paint_labels(ground)
        for head in HEADS:
            assert np.sum([has(labels, component) for component in head], axis=0).max() <= 1
        any_part = np.any([has(labels, component) for component in PARTS], axis=0)
        assert not (any_part & ~has(labels, C.TRANSFORMED)).any()
        assert not (has(labels, C.FOREST) & has(labels, C.TRANSFORMED)).any()


def test_no_mine_without_a_mine() -> None:
    for ground in many():
        if not ground.facts["mine_type"]:
            assert not has(paint_labels(ground), C.TRANSFORMED).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_component_occurs_in_every_family(family: str) -> None:
    found = dict.fromkeys(PARTS, 0)
    for ground in many():
        if ground.facts["family"] == family:
            labels = paint_labels(ground)
            for component in PARTS:
                found[component] += int(has(labels, component).sum())
    assert all(count > 40 for count in found.values()), found


def test_a_mine_shows_several_components() -> None:
    shown = []
    for ground in many():
        labels = paint_labels(ground)
        if has(labels, C.TRANSFORMED).sum() > 400:
            shown.append(sum(bool(has(labels, component).any()) for component in PARTS))
    assert len(shown) >= 25
    assert np.median(shown) >= 6
    assert min(shown) >= 2


@pytest.mark.parametrize(("mine_type", "family"), [kind for kind in MINES if kind[0] != "alluvial"])
def test_an_industrial_mine_grows_over_the_same_ground(mine_type: str, family: str) -> None:
    kept, areas = [], []
    for index in range(4):
        times = [
            has(paint_labels(compose(9, index, mines_of(mine_type, family), years=y, day=180)), C.TRANSFORMED)
            for y in (1.0, 3.0, 5.0)
        ]
        areas.append([int(mine.sum()) for mine in times])
        kept += [(a & b).sum() / a.sum() for a, b in pairwise(times) if a.any()]
    # What was dug stays dug, but for what is planted again.
    assert np.mean(kept) > 0.9
    total = np.sum(areas, axis=0)
    assert total[0] < total[2]


def test_alluvial_reaches_are_worked_then_grow_over() -> None:
    recipe = replace(mines_of("alluvial", "plan_a"), climates=("humid_tropics",))
    green = sum(
        layer.material is Material.WATER_GREEN and layer.labels != 0
        for index in range(6)
        for layer in compose(12, index, recipe, years=8.0, day=180).layers
    )
    assert green > 0
    opened, reclaimed = 0, 0
    for index in range(8):
        early, late = (
            has(paint_labels(compose(12, index, recipe, years=y, day=180)), C.TRANSFORMED) for y in (2.0, 9.5)
        )
        opened += int((late & ~early).sum())
        reclaimed += int((early & ~late).sum())
    assert opened > 100
    assert reclaimed > 100


def test_change_follows_the_labels() -> None:
    seen = np.zeros(6, np.int64)
    for index in range(24):
        pair = compose_pair(2, index, ANYWHERE, years=(2.0, 5.0), days=(150, 170))
        was, now = paint_labels(pair.before), paint_labels(pair.after)
        mined_before, mined = has(was, C.TRANSFORMED), has(now, C.TRANSFORMED)
        assert np.array_equal(pair.change == Change.NEW_MINE, mined & ~mined_before)
        assert np.array_equal(pair.change == Change.STABLE_MINE, mined & mined_before)
        lost = has(was, C.FOREST) & ~has(now, C.FOREST) & ~mined
        assert np.array_equal(pair.change == Change.FOREST_LOSS, lost)
        untouched = pair.change == Change.NONE
        assert not (untouched & (mined | mined_before)).any()
        seen += np.bincount(pair.change.ravel(), minlength=6)
    assert (seen[: Change.HIDDEN] > 500).all(), seen


def test_nothing_changes_in_no_time() -> None:
    for index in range(6):
        pair = compose_pair(2, index, ANYWHERE, years=(4.0, 4.0), days=(100, 100))
        assert set(np.unique(pair.change)) <= {Change.NONE, Change.STABLE_MINE}


def test_look_alikes_occur_and_change() -> None:
    names = {name for ground in many() for name in ground.facts["look_alike"].split(",") if name}
    assert len(names) >= 12
    assert names <= set(PAINTERS)
    other = [
        int((compose_pair(4, i, replace(ANYWHERE, mine_share=0.0), years=(1.0, 4.0), days=(60, 240)).change
             == Change.OTHER).sum())
        for i in range(8)
    ]  # fmt: skip
    assert sum(count > 300 for count in other) >= 4


def test_rivers_with_bars_run_wide_or_in_gravel_and_their_bars_drown() -> None:
    def river(index: int, years: float) -> Canvas:
        place, canvas = Place(5, index, "temperate", years, 200), Canvas(128, sun=2.4)
        PAINTERS["sandbars"](canvas, place, place.rng(Purpose.LOOK_ALIKE, 2))
        return canvas

    def water(canvas: Canvas) -> float:
        seen = np.zeros((128, 128), np.float32)
        for layer in canvas.layers:
            wet = layer.material in (Material.WATER_CLEAR, Material.WATER_TURBID)
            seen[window_of(layer)] += layer.cover * (np.float32(wet) - seen[window_of(layer)])
        return float(seen.sum())

    in_gravel = []
    for index in range(12):
        stages = [Place(5, index, "temperate", years, 200).wetness() for years in YEARS]
        low, high = (river(index, YEARS[int(pick(stages))]) for pick in (np.argmin, np.argmax))
        assert 0.0 < water(low) < water(high)
        in_gravel.append(any(layer.material is Material.FOREST_DECIDUOUS for layer in high.layers))
    assert {True, False} == set(in_gravel)


def test_the_sea_leaves_no_room_for_a_mine() -> None:
    kinds = {
        mined: {
            name
            for index in range(400)
            for name in draw_look_alikes(Place(5, index, "temperate", 1.0, 200), mined=mined)
        }
        for mined in (False, True)
    }
    assert kinds[False] - kinds[True] == {"coast", "snow"}


def test_snow_lies_where_winters_are_and_hides_no_woods() -> None:
    snowy = 0
    for index in range(400):
        place = Place(5, index, "boreal", 1.0, 200)
        if "snow" not in draw_look_alikes(place, mined=False):
            continue
        snowy += 1
        bare, canvas = Canvas(64, sun=2.4), Canvas(64, sun=2.4)
        for one in (bare, canvas):
            paint_base(one, place)
        paint_look_alikes(canvas, place, ("snow",))
        woods = [
            int(((paint_labels(Ground(64, tuple(one.layers), "boreal")) & BIT[Component.FOREST]) > 0).sum())
            for one in (bare, canvas)
        ]
        assert woods[0] == woods[1]
    assert 60 < snowy < 140
    for climate in ("humid_tropics", "seasonal_tropics", "dry_savanna", "desert", "mediterranean"):
        assert not any(
            "snow" in draw_look_alikes(Place(5, index, climate, 1.0, 200), mined=False) for index in range(50)
        )


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="give gold with alluvial"):
        compose(1, 1, replace(TRAIN, mine_types=("open_pit",), materials=("gold",)), years=1.0, day=1)
    with pytest.raises(ValueError, match="give the earlier time first"):
        compose_pair(1, 1, TRAIN, years=(3.0, 2.0), days=(1, 1))


@pytest.mark.parametrize("size", [64, 192, 640])
def test_chips_of_other_sizes(size: int) -> None:
    ground = compose(1, 2, replace(TRAIN, size=size, mine_share=1.0), years=6.0, day=90)
    assert paint_labels(ground).shape == (size, size)
    assert ground.relief.shape == (size, size)
