"""The fuzzing of `make fuzz` in small: whatever comes in ends as a value or as one clean line."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.items import ItemProblem, read_item
from ingest.providers import load_profile
from registry.errors import InputError, Reject
from registry.events import Event
from registry.imports import read_permits
from registry.models import Permit, Scene
from tests.fuzz.targets import DOORS, GOLDEN, Door, enter_event
from tests.stac_items import s2_item

INPUTS = {"events": 400, "STAC items": 400, "YAML files": 60, "permit files": 60}
"""Each door's, in seconds of `make test`; `make fuzz` takes 100,000."""


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_damaged_input_ends_as_a_value_or_a_clean_error(door: Door) -> None:
    came = {door.enter(door.damaged(Random(f"{door.name}/0/{index}"))) for index in range(INPUTS[door.name])}
    assert came == {True, False}, "damage that always or never matters finds nothing"


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(chance=st.randoms(use_true_random=False))
def test_damage_that_hypothesis_looks_for_is_refused_cleanly(chance: Random) -> None:
    for door in DOORS[:2]:
        door.enter(door.damaged(chance))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(raw=st.binary(max_size=200))
def test_noise_is_no_event(raw: bytes) -> None:
    assert not enter_event(raw)


def _event(path: tuple[str, ...], key: str, value: object) -> bytes:
    tree = json.loads((GOLDEN / "pass-found.v1.json").read_bytes())
    part = tree
    for name in path:
        part = part[name]
    part[key] = value
    return json.dumps(tree).encode()


@pytest.mark.parametrize(
    "raw",
    [
        _event(("data", "area"), "name", "half a pair \ud800"),
        _event(("data",), "two\r\nlines", 1),
        _event((), "time", "0001-01-01T00:00:00+23:59"),
        _event(("data", "area", "geometry"), "coordinates", "x" * 20_000),
        _event((), "type", "x\n" * 5_000),
    ],
    ids=["surrogate", "lines", "year 0", "long", "long type"],
)
def test_events_that_once_broke_us_are_refused_in_one_short_line(raw: bytes) -> None:
    with pytest.raises(Reject) as caught:
        Event.from_json(raw)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_500


@pytest.mark.parametrize(
    "change",
    [
        {"id": "two\nlines", "properties": None},
        {"id": "half a pair \ud800"},
        {"properties": {"datetime": "0001-01-01T00:00:00+23:59"}},
        {"geometry": {"type": "Polygon", "coordinates": [[[10**400, 0], [1, 1], [0, 1]]]}},
    ],
    ids=["lines", "surrogate", "year 0", "huge"],
)
def test_items_that_once_broke_us_are_told_of_in_one_line(change: dict[str, object]) -> None:
    profile = load_profile("earth-search")
    read = read_item(s2_item() | change, profile=profile, collection=profile.collections[0])
    assert isinstance(read, ItemProblem)
    assert "\n" not in str(read)
    str(read).encode()


def test_a_number_without_end_counts_as_absent() -> None:
    profile = load_profile("earth-search")
    item = s2_item(properties={"eo:cloud_cover": 10**400})
    read = read_item(item, profile=profile, collection=profile.collections[0])
    assert isinstance(read, Scene)
    assert read.cloud_percent is None


def test_attributes_nested_without_end_can_be_read_back(tmp_path: Path) -> None:
    deep: object = "end"
    for _ in range(300):
        deep = {"x": deep}
    corners = [[25.0, 45.0], [25.1, 45.0], [25.1, 45.1], [25.0, 45.0]]
    feature = {
        "type": "Feature",
        "properties": {"id": "A-1", "deep": deep},
        "geometry": {"type": "Polygon", "coordinates": [corners]},
    }
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    (permit,) = read_permits(path).rows
    assert Permit.model_validate_json(permit.model_dump_json()) == permit


def test_a_zip_whose_stream_is_broken_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.geojson", "permits " * 5_000)
    raw = bytearray(path.read_bytes())
    raw[40:60] = b"\xff" * 20
    path.write_bytes(raw)
    with pytest.raises(InputError, match="zip file"):
        read_permits(path)
