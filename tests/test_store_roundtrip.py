"""Whatever is stored comes back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from registry.models import Area, Permit, Zone
from registry.store import Store, open_store
from tests.storage_samples import (
    Clock,
    found_event,
    make_area,
    make_pass,
    make_permit,
    make_zone,
    square,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "groundwatch.db", now=Clock()) as store:
        yield store


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
PLACES = st.builds(
    square,
    st.floats(-179.0, 178.0),
    st.floats(-89.0, 88.0),
    st.floats(1e-5, 0.9),
)
DAYS = st.dates(date(1900, 1, 1), date(2200, 1, 1))
ANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ANY
@given(
    name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
    geometry=PLACES,
    buffer_m=st.floats(0.0, 20_000.0),
    tags=st.lists(TEXT, max_size=3),
)
def test_any_area_comes_back(store: Store, **fields: object) -> None:
    area = make_area("any", **fields)
    store.put_area(area)
    assert store.area("any") == area
    assert store.areas(near=area.geometry) == (area,)
    assert not store.put_area(Area.model_validate_json(area.model_dump_json()))


@ANY
@given(
    source_id=TEXT,
    place=PLACES,
    raw=st.dictionaries(TEXT, JSON, max_size=4),
    stage=TEXT,
    valid_to=st.none() | DAYS,
)
def test_any_permit_comes_back(
    store: Store, source_id: str, place: BaseGeometry, raw: object, stage: str, valid_to: date | None
) -> None:
    permit = make_permit(source_id, place, raw=raw, stage=stage, valid_to=valid_to)
    store.import_permits([permit])
    (found,) = [one for one in store.permits(near=place) if one.id == permit.id]
    assert found == permit
    assert store.import_permits([Permit.model_validate_json(permit.model_dump_json())]).unchanged == 1


@ANY
@given(source_id=TEXT, place=PLACES, name=TEXT)
def test_any_zone_comes_back(store: Store, source_id: str, place: BaseGeometry, name: str) -> None:
    zone = make_zone(source_id, place, name=name)
    store.import_zones([zone])
    (found,) = [one for one in store.zones(near=place) if one.id == zone.id]
    assert found == zone
    assert store.import_zones([Zone.model_validate_json(zone.model_dump_json())]).unchanged == 1


@ANY
@given(
    acquired=st.datetimes(datetime(2015, 1, 1), datetime(2100, 1, 1)),
    key=TEXT,
    revision=st.integers(1, 10**6),
    withdrawn=st.booleans(),
)
def test_any_pass_comes_back(
    store: Store, acquired: datetime, key: str, revision: int, withdrawn: bool
) -> None:
    base = make_pass(1, area="any", key=key, revision=revision, withdrawn=withdrawn)
    one = base.model_copy(update={"acquired": acquired.replace(tzinfo=UTC)})
    store.put_area(make_area("any"))
    store.remove_area("any")
    store.record_passes([found_event(one)])
    assert store.latest_pass("any", one.key) == one
    assert store.passes("any", since=one.acquired) == (one,)
    assert store.passes("any", until=one.acquired) == ()
