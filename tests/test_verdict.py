"""Hectares per permit and case at a date: shares add up, no centroid decides, ignorance accuses nobody."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import rotate
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from detector.validity import permit_case
from detector.verdict import change_date, judge, judge_all
from registry.detection import VerdictSettings
from registry.events import RegistrySnapshot
from registry.geometry import hectares
from registry.grid import Grid
from registry.models import (
    Area,
    AreaKind,
    Growth,
    Holder,
    Incident,
    IncidentKind,
    IncidentStatus,
    Permit,
    PermitStatus,
    Verdict,
    VerdictCase,
    Zone,
    ZoneKind,
)

FRAME = Grid(epsg=32635, left=400_000, top=5_010_000, width=1000, height=1000)
ON = date(2022, 6, 1)
RULE = VerdictSettings(grace_m=20.0)
Case = VerdictCase


def land(left: float, bottom: float, right: float, top: float) -> BaseGeometry:
    """A rectangle in metres from the frame's south-west corner, as lon/lat."""
    west, south, _, _ = FRAME.bounds
    return FRAME.to_world(box(west + left, south + bottom, west + right, south + top))


AREA = Area(id="gora", name="Gora", kind=AreaKind.PERMITTED, geometry=land(0, 0, 5000, 5000))


def permit(name: str, geometry: BaseGeometry, **changes: Any) -> Permit:
    fields: dict[str, Any] = {
        "id": name,
        "source": "cadastre",
        "source_id": name,
        "holders": (Holder(name="Stone Ltd"),),
        "status": PermitStatus.GRANTED,
        "valid_from": date(2015, 1, 1),
        "valid_to": date(2030, 1, 1),
        "geometry": geometry,
        "area_ha": hectares(geometry),
        "content_hash": name,
    }
    return Permit.model_validate(fields | changes)


def zone(name: str, geometry: BaseGeometry, kind: ZoneKind = ZoneKind.PROTECTED) -> Zone:
    return Zone(
        id=name, source="wdpa", source_id=name, name=name, kind=kind, geometry=geometry, content_hash=""
    )


def incident(
    geometry: BaseGeometry, kind: IncidentKind = IncidentKind.EXCAVATION, **changes: Any
) -> Incident:
    point = geometry.representative_point()
    fields: dict[str, Any] = {
        "id": "one",
        "area_id": "gora",
        "kind": kind,
        "status": IncidentStatus.CONFIRMED,
        "footprint": geometry,
        "hectares": hectares(geometry),
        "edge_hectares": 0.1,
        "anchor": (point.x, point.y),
        "first_seen": ON,
        "last_seen": ON,
        "looks": 3,
        "probability": 0.99,
    }
    return Incident.model_validate(fields | changes)


def verdict(
    footprint: BaseGeometry,
    *permits: Permit,
    zones: tuple[Zone, ...] = (),
    on: date = ON,
    kind: IncidentKind = IncidentKind.EXCAVATION,
    grace: float = 20.0,
) -> Verdict:
    snapshot = RegistrySnapshot(area=AREA, permits=permits, zones=zones)
    return judge(incident(footprint, kind), snapshot, on=on, settings=VerdictSettings(grace_m=grace))


def sizes(found: Verdict) -> dict[tuple[Case, str | None], float]:
    return {
        (share.case, share.permit_id or share.zone_id): round(share.hectares, 3) for share in found.shares
    }


BLOCK = land(1000, 1000, 1100, 1100)
"""One hectare."""


def test_inside_a_valid_permit_is_no_suspicion() -> None:
    found = verdict(BLOCK, permit("a", land(900, 900, 1200, 1200)))
    assert found.case is Case.INSIDE
    assert not found.suspect
    assert [share.permit_label for share in found.shares] == ["cadastre a (Stone Ltd)"]
    assert found.judged_for == ON


def test_across_the_boundary_hectares_are_apportioned_not_decided_by_the_centroid() -> None:
    found = verdict(BLOCK, permit("a", land(500, 900, 1060, 1200)))
    assert found.case is Case.OUTSIDE
    assert found.suspect
    assert sizes(found) == pytest.approx(
        {(Case.INSIDE, "a"): 0.6, (Case.NEAR, "a"): 0.2, (Case.OUTSIDE, "a"): 0.2}, rel=2e-3
    )
    distances = {share.case: share.distance_m for share in found.shares}
    assert distances[Case.INSIDE] is None
    assert distances[Case.NEAR] == pytest.approx(0.0, abs=0.1)
    assert distances[Case.OUTSIDE] == pytest.approx(20.0, abs=0.1)


def test_within_the_grace_buffer_of_a_valid_permit_is_no_suspicion() -> None:
    near = permit("a", land(500, 900, 995, 1200))
    thin = land(1000, 1000, 1010, 1100)
    assert verdict(thin, near).case is Case.NEAR
    assert not verdict(thin, near).suspect
    assert verdict(thin, near, grace=0.0).case is Case.OUTSIDE
    assert verdict(thin, near, grace=0.0).shares[0].distance_m == pytest.approx(5.0, abs=0.1)


def test_grace_is_in_metres_far_north_too() -> None:
    frame = Grid(epsg=32633, left=500_000, top=7_600_000, width=100, height=100)
    area = AREA.model_copy(update={"geometry": frame.to_world(box(500_000, 7_599_000, 503_000, 7_600_000))})
    footprint = frame.to_world(box(500_100, 7_599_100, 500_200, 7_599_200))
    own = permit("a", frame.to_world(box(500_000, 7_599_000, 500_150, 7_599_300)))
    snapshot = RegistrySnapshot(area=area, permits=(own,), zones=())
    found = judge(incident(footprint), snapshot, on=ON, settings=RULE)
    assert sizes(found) == pytest.approx(
        {(Case.INSIDE, "a"): 0.5, (Case.NEAR, "a"): 0.2, (Case.OUTSIDE, "a"): 0.3}, rel=3e-3
    )


def test_a_sliver_below_a_pixel_is_counted_but_does_not_decide() -> None:
    found = verdict(BLOCK, permit("a", land(500, 900, 1099.5, 1200)), grace=0.0)
    assert found.case is Case.INSIDE
    assert sizes(found)[(Case.OUTSIDE, "a")] == pytest.approx(0.005, rel=0.01)


def test_overlapping_permits_are_counted_once_and_the_favourable_one_holds() -> None:
    valid = permit("b", land(900, 900, 1050, 1200))
    lapsed = permit("a", land(900, 900, 1200, 1200), valid_to=date(2021, 1, 1))
    found = verdict(BLOCK, lapsed, valid, grace=0.0)
    assert sizes(found) == pytest.approx({(Case.INSIDE, "b"): 0.5, (Case.EXPIRED, "a"): 0.5}, rel=2e-3)
    assert found.case is Case.EXPIRED
    twins = verdict(BLOCK, permit("b", land(900, 900, 1200, 1200)), permit("a", land(900, 900, 1200, 1200)))
    assert sizes(twins) == pytest.approx({(Case.INSIDE, "a"): 1.0}, rel=2e-3)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Case.INSIDE),
        ({"valid_to": date(2022, 6, 1)}, Case.INSIDE),
        ({"valid_to": date(2022, 5, 31)}, Case.EXPIRED),
        ({"valid_from": date(2022, 6, 2)}, Case.NOT_YET_VALID),
        ({"valid_from": None, "granted": date(2022, 6, 2)}, Case.NOT_YET_VALID),
        ({"valid_from": None, "granted": None}, Case.INSIDE),
        ({"valid_to": None}, Case.INSIDE_UNKNOWN_VALIDITY),
        ({"valid_to": None, "status": PermitStatus.EXPIRED}, Case.EXPIRED),
        ({"status": PermitStatus.EXPIRED}, Case.INSIDE_UNKNOWN_VALIDITY),
        ({"status": PermitStatus.EXPIRED, "release": "2031-02-01"}, Case.INSIDE),
        ({"status": PermitStatus.EXPIRED, "release": "2029-02-01"}, Case.INSIDE_UNKNOWN_VALIDITY),
        ({"status": PermitStatus.PENDING}, Case.NOT_GRANTED),
        ({"status": PermitStatus.UNKNOWN}, Case.INSIDE),
        ({"status": PermitStatus.UNKNOWN, "valid_from": None}, Case.INSIDE_UNKNOWN_VALIDITY),
        ({"activities": ("Open-pit mining",)}, Case.INSIDE),
        ({"activities": ("Extração de areia",)}, Case.INSIDE),
        ({"activities": ("dumping ground",)}, Case.ACTIVITY_NOT_PERMITTED),
        ({"activities": ("exploration", "water")}, Case.ACTIVITY_NOT_PERMITTED),
        ({"activities": ("vegetation clearing",)}, Case.ACTIVITY_NOT_PERMITTED),
        ({"activities": ("dumping", "zqx 17")}, Case.INSIDE_UNKNOWN_VALIDITY),
        ({"activities": ("dumping",), "valid_to": date(2020, 1, 1)}, Case.EXPIRED),
    ],
)
def test_a_permit_is_read_for_the_date(changes: dict[str, Any], expected: Case) -> None:
    assert permit_case(permit("a", BLOCK, **changes), IncidentKind.EXCAVATION, ON) is expected


@pytest.mark.parametrize(
    ("activities", "expected"),
    [
        ((), Case.INSIDE),
        (("excavation",), Case.INSIDE),
        (("preparatory works",), Case.INSIDE),
        (("logging",), Case.INSIDE),
        (("exploration",), Case.ACTIVITY_NOT_PERMITTED),
        (("stockpile",), Case.ACTIVITY_NOT_PERMITTED),
    ],
)
def test_forest_loss_needs_a_right_to_clear_or_to_dig(activities: tuple[str, ...], expected: Case) -> None:
    assert permit_case(permit("a", BLOCK, activities=activities), IncidentKind.FOREST_LOSS, ON) is expected


def test_a_verdict_is_for_the_date_of_the_change_not_for_today() -> None:
    lapsing = permit("a", land(900, 900, 1200, 1200), valid_to=date(2022, 12, 31))
    assert verdict(BLOCK, lapsing, on=date(2022, 12, 31)).case is Case.INSIDE
    assert verdict(BLOCK, lapsing, on=date(2023, 1, 1)).case is Case.EXPIRED
    old = incident(
        BLOCK,
        growth=(Growth(acquired=ON, hectares=1.0),),
        last_seen=date(2025, 1, 1),
        first_seen=date(2022, 1, 1),
    )
    assert change_date(old) == ON
    assert change_date(old.model_copy(update={"growth": ()})) == date(2022, 1, 1)
    snapshot = RegistrySnapshot(area=AREA, permits=(lapsing,), zones=())
    (judged,) = judge_all([old], snapshot, settings=RULE)
    assert judged.verdict is not None
    assert (judged.verdict.case, judged.verdict.judged_for) == (Case.INSIDE, ON)
    assert judged.verdict.registry_version == snapshot.version


def test_without_permits_it_is_outside_without_distance() -> None:
    found = verdict(BLOCK)
    assert found.case is Case.OUTSIDE
    assert [(share.distance_m, share.permit_id) for share in found.shares] == [(None, None)]


def test_distance_is_to_the_nearest_valid_permit() -> None:
    lapsed = permit("near", land(1110, 1000, 1200, 1100), valid_to=date(2020, 1, 1))
    valid = permit("far", land(1400, 1000, 1500, 1100))
    further = permit("further", land(2400, 1000, 2500, 1100))
    (share,) = verdict(BLOCK, further, lapsed, valid).shares
    assert (share.case, share.permit_id) == (Case.OUTSIDE, "far")
    assert share.distance_m == pytest.approx(300.0, abs=0.5)


def test_no_grace_around_a_permit_that_is_not_valid() -> None:
    lapsed = permit("a", land(1100, 1000, 1200, 1100), valid_to=date(2020, 1, 1))
    assert sizes(verdict(BLOCK, lapsed)) == pytest.approx({(Case.OUTSIDE, None): 1.0}, rel=2e-3)


def test_zones_come_on_top_and_are_the_most_severe() -> None:
    own = permit("a", land(900, 900, 1200, 1200))
    park = zone("park", land(1080, 900, 1300, 1200))
    river = zone("river", land(1000, 1000, 1100, 1010), ZoneKind.WATER)
    found = verdict(BLOCK, own, zones=(river, park, zone("else", land(3000, 3000, 3100, 3100))))
    assert found.case is Case.PROTECTED_ZONE
    assert sizes(found) == pytest.approx(
        {(Case.INSIDE, "a"): 1.0, (Case.PROTECTED_ZONE, "park"): 0.2, (Case.PROTECTED_ZONE, "river"): 0.1},
        rel=2e-3,
    )
    assert [share.zone_label for share in found.shares] == ["", "park (protected)", "river (water)"]
    touching = zone("beside", land(1100, 900, 1300, 1200))
    assert verdict(BLOCK, own, zones=(touching,)).case is Case.INSIDE


def test_a_footprint_in_parts_with_holes_is_apportioned() -> None:
    ring = shapely.difference(land(1000, 1000, 1100, 1100), land(1030, 1030, 1060, 1060))
    both = shapely.union_all([ring, land(1500, 1000, 1600, 1100)])
    found = verdict(both, permit("a", land(900, 900, 1200, 1200)), grace=0.0)
    assert sizes(found) == pytest.approx({(Case.INSIDE, "a"): 0.91, (Case.OUTSIDE, "a"): 1.0}, rel=2e-3)


places = st.tuples(
    st.floats(0, 1800), st.floats(0, 1800), st.floats(5, 900), st.floats(5, 900), st.floats(0, 90)
)
validity = st.sampled_from(
    [
        {},
        {"valid_to": None},
        {"valid_to": date(2020, 1, 1)},
        {"valid_from": date(2024, 1, 1)},
        {"status": PermitStatus.PENDING},
        {"activities": ("dumping",)},
    ]
)


def turned(place: tuple[float, float, float, float, float]) -> BaseGeometry:
    left, bottom, width, height, angle = place
    west, south, _, _ = FRAME.bounds
    shape = rotate(box(west + left, south + bottom, west + left + width, south + bottom + height), angle)
    return FRAME.to_world(shape)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(places, min_size=1, max_size=3),
    st.lists(st.tuples(places, validity), max_size=6),
    st.lists(places, max_size=2),
    st.floats(0, 200),
    st.randoms(use_true_random=False),
)
def test_permit_shares_add_up_to_the_incident(
    parts: list[Any], rights: list[Any], parks: list[Any], grace: float, chance: Any
) -> None:
    footprint = shapely.union_all([turned(part) for part in parts])
    permits = [permit(f"p{n}", turned(place), **changes) for n, (place, changes) in enumerate(rights)]
    zones = tuple(zone(f"z{n}", turned(place)) for n, place in enumerate(parks))
    found = verdict(footprint, *permits, zones=zones, grace=grace)
    total = hectares(footprint)
    shares = [share for share in found.shares if share.zone_id is None]
    assert sum(share.hectares for share in shares) == pytest.approx(total, abs=1e-6)
    keys = [(share.case, share.permit_id) for share in shares]
    assert len(keys) == len(set(keys))
    for share in found.shares:
        assert share.hectares <= total + 1e-6
    chance.shuffle(permits)
    assert verdict(footprint, *permits, zones=zones[::-1], grace=grace).shares == found.shares
