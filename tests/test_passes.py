"""Scenes to passes: the same whatever the order and the repeats."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from ingest.passes import (
    acquisition_key,
    current,
    fingerprint,
    group,
    partner_of,
    revised,
)
from registry.detection import PartnerSettings
from registry.models import Pass, Scene, Sensor
from tests.stac_items import NOON, s1_item, s2_item, scene

AREA = box(25.1, 45.1, 25.2, 45.2)
LOWER, UPPER = (25.0, 45.0, 26.4, 45.55), (25.0, 45.5, 26.4, 46.0)
"""A tile whose products were split between two ground stations."""

NEWER, OLDER = "05.11", "04.00"


def passes_of(scenes: Sequence[Scene]) -> dict[str, tuple[Scene, ...]]:
    return {key: current(found) for key, found in group(scenes, area=AREA).items()}


def ids(scenes: Sequence[Scene]) -> list[str]:
    return sorted(one.id for one in scenes)


def as_pass(scenes: Sequence[Scene], stored: Pass | None = None, gone: Sequence[str] = ()) -> Pass:
    found = revised(stored, scenes, area_id="pit", key="k", area=AREA, gone=gone)
    assert found is not None
    return found


def test_tiles_of_one_datatake_are_one_pass_and_another_datatake_is_not() -> None:
    one, beside, later = scene(s2_item()), scene(s2_item(tile="35TMK", seconds=14)), scene(s2_item(day=5))
    found = passes_of([later, beside, one])
    assert [ids(scenes) for scenes in found.values()] == [ids([one, beside]), ids([later])]


def test_a_scene_that_misses_the_area_is_no_part_of_its_pass() -> None:
    assert passes_of([scene(s2_item(where=(27.0, 45.0, 28.0, 46.0)))]) == {}


def test_the_key_does_not_know_the_baseline() -> None:
    assert acquisition_key(scene(s2_item(baseline=OLDER)), 25.0) == acquisition_key(
        scene(s2_item(baseline=NEWER)), 25.0
    )


def test_of_several_baselines_the_newest_counts_by_number() -> None:
    products = [scene(s2_item(baseline=one)) for one in ("02.14", OLDER, "10.00", NEWER, "99.99")]
    (kept,) = current(products)
    assert kept.baseline == "10.00", "neither the last as text nor 99.99, which is no version"


def test_station_split_products_both_stay_even_when_one_was_reprocessed() -> None:
    lower = scene(s2_item(where=LOWER))
    upper = scene(s2_item(where=UPPER, sequence=1, seconds=9))
    assert ids(current([lower, upper])) == ids([lower, upper])
    again = scene(s2_item(where=LOWER, baseline=NEWER))
    assert ids(current([lower, upper, again])) == ids([again, upper])
    whole = scene(s2_item(baseline=NEWER, sequence=2))
    assert ids(current([lower, upper, whole])) == ids([whole])


def test_the_same_product_in_two_collections_counts_once() -> None:
    one = scene(s2_item())
    copy = one.model_copy(update={"collection": "sentinel-2-c1-l2a"})
    assert [kept.collection for kept in current([one, copy])] == ["sentinel-2-c1-l2a"]


def test_radar_sliced_anew_replaces_the_old_slices() -> None:
    early, late = NOON, NOON + timedelta(days=30)
    old = [scene(s1_item(where=(25, 45, 26, 45.5), updated=early))]
    old.append(scene(s1_item(where=(25, 45.5, 26, 46), updated=early)).model_copy(update={"id": "upper"}))
    new = scene(s1_item(where=(25, 45, 26, 46), updated=late)).model_copy(update={"id": "anew"})
    assert ids(current(old)) == ids(old), "slices of one strip stay together"
    assert ids(current([*old, new])) == ["anew"]


def bare(day: int = 0, seconds: float = 0.0, **changes: object) -> Scene:
    """A scene of a provider that knows neither datatake nor tile nor orbit."""
    one = scene(s2_item(day=day, seconds=seconds))
    nothing = {"datatake": None, "tile": None, "relative_orbit": None, "baseline": None, "platform": ""}
    return one.model_copy(update=nothing | changes)


def test_without_datatake_the_time_of_the_local_day_tells_passes_apart() -> None:
    scenes = [bare(), bare(seconds=20, id="beside"), bare(day=1)]
    assert [len(found) for found in passes_of(scenes).values()] == [2, 1]
    # Just before and after midnight UTC, far east: one overpass at half past ten in the morning.
    midnight = NOON.replace(hour=23, minute=59, second=58)
    east = [bare(acquired=midnight), bare(acquired=midnight + timedelta(seconds=9), id="beside")]
    assert len({acquisition_key(one, 160.0) for one in east}) == 1
    evening, morning = NOON.replace(hour=16), NOON.replace(hour=4)
    assert len({acquisition_key(bare(acquired=one), 25.0) for one in (evening, morning)}) == 2
    assert len({acquisition_key(bare(relative_orbit=one), 25.0) for one in (79, 122)}) == 2


def test_a_repeat_is_the_same_pass_and_a_change_the_next_revision() -> None:
    first = as_pass([scene(s2_item())])
    assert first.revision == 1
    assert as_pass([scene(s2_item())], first) is first
    late = as_pass([scene(s2_item(tile="35TMK", seconds=14))], first)
    assert (late.revision, len(late.scenes), late.id) == (2, 2, first.id), "the first tile stays"
    touched = as_pass([scene(s2_item(updated=NOON + timedelta(days=9)))], late)
    assert (touched.revision, len(touched.scenes)) == (3, 2)
    assert as_pass([scene(s2_item())], touched) is touched, "an older version changes nothing"


def test_a_scene_taken_back_is_a_revision_that_says_so_and_may_come_again() -> None:
    one, two = scene(s2_item()), scene(s2_item(tile="35TMK", seconds=14))
    both = as_pass([one, two])
    less = as_pass([], both, gone=[two.id])
    assert (less.revision, ids(less.scenes), less.withdrawn) == (2, [one.id], False)
    none = as_pass([], less, gone=[one.id])
    assert (none.revision, none.withdrawn) == (3, True)
    assert as_pass([], none, gone=[one.id]) is none
    again = as_pass([one], none)
    assert (again.revision, again.withdrawn, ids(again.scenes)) == (4, False, [one.id])
    assert revised(None, [], area_id="pit", key="k", area=AREA) is None


def test_a_signature_that_expires_is_no_change_but_another_file_is() -> None:
    def with_href(href: str) -> Scene:
        one = scene(s2_item())
        bands = {name: band.model_copy(update={"href": href}) for name, band in one.bands.items()}
        return one.model_copy(update={"bands": bands})

    assert fingerprint([with_href("https://x/a.tif?sig=1")]) == fingerprint(
        [with_href("https://x/a.tif?sig=2")]
    )
    assert fingerprint([with_href("https://x/a.tif")]) != fingerprint([with_href("https://x/b.tif")])


POOL = [
    scene(s2_item()),
    scene(s2_item(updated=NOON + timedelta(days=40))),  # the same item, touched later
    scene(s2_item(baseline=NEWER)),
    scene(s2_item(baseline="99.99")),
    scene(s2_item(baseline=OLDER, where=LOWER, sequence=3)),
    scene(s2_item(tile="35TMK", where=LOWER, seconds=14)),
    scene(s2_item(tile="35TMK", where=UPPER, sequence=1, seconds=21)),
    scene(s2_item(tile="35TMK", where=LOWER, baseline=NEWER, seconds=14)),
    scene(s2_item(day=5)),
    scene(s2_item(day=5)).model_copy(update={"provider": "another"}),
    bare(day=7),
    bare(day=7, seconds=30, id="beside"),
    scene(s1_item()),
    scene(s1_item(updated=NOON + timedelta(days=3))).model_copy(update={"id": "reprocessed"}),
    scene(s1_item(day=6)),
]


@given(order=st.permutations(POOL), repeats=st.lists(st.sampled_from(POOL), max_size=6))
@settings(deadline=None)
def test_shuffles_and_repeats_give_the_same_passes(order: list[Scene], repeats: list[Scene]) -> None:
    assert passes_of([*order, *repeats]) == passes_of(POOL)


@given(order=st.permutations(POOL), cuts=st.lists(st.integers(0, len(POOL)), max_size=5))
@settings(deadline=None)
def test_arrival_in_any_portions_ends_with_the_same_scenes(order: list[Scene], cuts: list[int]) -> None:
    stored: dict[str, Pass] = {}
    edges = [0, *sorted(cuts), len(order)]
    for first, end in pairwise(edges):
        for key, found in group(order[first:end], area=AREA).items():
            one = revised(stored.get(key), found, area_id="pit", key=key, area=AREA)
            assert one is not None
            stored[key] = one
    assert {key: one.scenes for key, one in stored.items()} == passes_of(POOL)
    assert len({one.id for one in stored.values()}) == len(stored)


def test_the_partner_is_the_latest_of_the_other_sensor_before_it_within_its_age() -> None:
    optical = as_pass([scene(s2_item(day=30))])
    radar = [as_pass([scene(s1_item(day=one))]) for one in (2, 7, 20, 31)]
    radar = [one.model_copy(update={"id": f"r{index}"}) for index, one in enumerate(radar)]
    limits = PartnerSettings(s1_max_age_days=24.0, s2_max_age_days=45.0)
    assert partner_of(optical, [optical, *radar], limits) == radar[2], "day 31 is after it"
    withdrawn = [*radar[:2], radar[2].model_copy(update={"withdrawn": True}), radar[3]]
    assert partner_of(optical, withdrawn, limits) == radar[1], "day 2 is too old"
    assert partner_of(optical, radar[:1], limits) is None
    assert partner_of(radar[3], [optical, *radar], limits) == optical
    assert optical.sensor is Sensor.S2
