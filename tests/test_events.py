"""Events on the wire: golden files pin the form of every version, and what is not an event is rejected.

After a deliberate change of the form: ``python -m tests.test_events`` writes the golden files again.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from registry import events
from registry.detection import DetectionSettings
from registry.errors import Reject
from registry.events import (
    ChangeFound,
    Event,
    PassFound,
    PermitsChanged,
    RegistryRef,
    RegistrySnapshot,
    change_found,
    pass_found,
    permits_changed,
)
from registry.grid import area_grid
from registry.models import (
    Area,
    AreaKind,
    BandFile,
    Components,
    ComponentShare,
    Growth,
    Incident,
    IncidentKind,
    IncidentStatus,
    Pass,
    Pictures,
    Scene,
    Sensor,
    Verdict,
    VerdictCase,
    VerdictShare,
    pass_id,
)
from registry.values import digest

GOLDEN = Path(__file__).parent / "golden"
AT = datetime(2024, 8, 1, 12, 0, tzinfo=UTC)
SQUARE = box(25.0, 45.0, 25.02, 45.02)
AREA = Area(
    id="pit-north",
    name="Carrière du Nord",
    kind=AreaKind.PERMITTED,
    geometry=SQUARE,
    buffer_m=250.0,
    tags=("limestone",),
)


def sample_pass(sensor: Sensor, day: int, band: str) -> Pass:
    acquired = datetime(2024, 7, day, 9, 20, 31, tzinfo=UTC)
    scene = Scene(
        id=f"{sensor.value}-{day}",
        href=f"https://stac.example.org/items/{day}",
        provider="earth-search",
        collection=f"{sensor.value}-l2a",
        sensor=sensor,
        platform="sentinel-2a",
        acquired=acquired,
        datatake="GS2A_20240701T092031_047123",
        tile="35TLL",
        relative_orbit=93,
        orbit_state="descending",
        baseline="05.10",
        version="2024-07-01T15:00:00Z",
        footprint=box(24.0, 44.0, 26.0, 46.0),
        epsg=32635,
        bands={band: BandFile(href="https://h.org/b.tif", scale=1e-4, offset=-0.1, nodata=0.0, index=2)},
        offset_check=True,
        cloud_percent=12.5,
    )
    return Pass(
        id=pass_id(AREA.id, f"{sensor.value}/{day}"),
        area_id=AREA.id,
        key=f"{sensor.value}/{day}",
        sensor=sensor,
        acquired=acquired,
        relative_orbit=93,
        revision=2,
        scenes=(scene,),
    )


def sample_incident() -> Incident:
    verdict = Verdict(
        judged_for=date(2024, 7, 1),
        case=VerdictCase.OUTSIDE,
        shares=(
            VerdictShare(
                case=VerdictCase.OUTSIDE,
                hectares=0.8,
                permit_id="p",
                permit_label="sigmine 1",
                distance_m=61.5,
            ),
            VerdictShare(case=VerdictCase.PROTECTED_ZONE, hectares=0.2, zone_id="z", zone_label="Reserve"),
        ),
        registry_version="0" * 64,
    )
    return Incident(
        id="1f0e8a7e-0000-5000-8000-000000000001",
        area_id=AREA.id,
        kind=IncidentKind.EXCAVATION,
        status=IncidentStatus.CONFIRMED,
        footprint=box(25.005, 45.005, 25.006, 45.006),
        hectares=0.87,
        edge_hectares=0.11,
        anchor=(25.0055, 45.0055),
        last_clear_before=date(2024, 5, 2),
        first_seen=date(2024, 5, 12),
        confirmed_on=date(2024, 7, 1),
        last_seen=date(2024, 7, 1),
        looks=3,
        probability=0.997,
        revision=2,
        growth=(Growth(acquired=date(2024, 7, 1), hectares=0.87),),
        verdict=verdict,
        pictures=Pictures(side_by_side="pictures/1f0e8a7e/r2-01234567.png"),
        components=Components(
            model="mining-rgbnir-swir",
            looks=3,
            newest=date(2024, 7, 1),
            shares=(ComponentShare(component="excavation", share=0.62),),
        ),
        sensors=(Sensor.S2, Sensor.S1),
        absorbed=("1f0e8a7e-0000-5000-8000-000000000002",),
    )


def samples() -> dict[str, Event]:
    """One event of each version, with every field filled."""
    task = {
        "area": AREA,
        "grid": area_grid(AREA.geometry, AREA.buffer_m),
        "registry": RegistryRef(version="0" * 64, blob=f"registry/{AREA.id}/{'0' * 64}.json"),
        "settings": DetectionSettings(),
    }
    found = PassFound.model_validate(
        {**task, "pass": sample_pass(Sensor.S2, 1, "B04"), "partner": sample_pass(Sensor.S1, 3, "VV")}
    )
    change = ChangeFound(
        area=AREA,
        pass_id=found.pass_.id,
        pass_revision=2,
        acquired=AT,
        ledger_digest="a" * 64,
        registry_version="0" * 64,
        settings_digest="b" * 64,
        incidents=(sample_incident(),),
        clear_fraction=0.83,
        notes=("offset found applied",),
    )
    return {
        "pass-found.v1": pass_found(found, at=AT),
        "permits-changed.v1": permits_changed(PermitsChanged.model_validate(task), at=AT),
        "change-found.v1": change_found(change, at=AT),
    }


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes().strip()


NAMES = ("pass-found.v1", "permits-changed.v1", "change-found.v1")


@pytest.mark.parametrize("name", NAMES)
def test_the_wire_form_is_pinned(name: str) -> None:
    """Reading and writing gives the same bytes: no field came, went, or changed its name or form."""
    parsed = Event.from_json(golden(name))
    assert parsed.to_json() == golden(name), "a deliberate change? run: python -m tests.test_events"
    assert parsed.type == f"org.groundwatch.{name}"
    assert parsed.dataschema == f"urn:groundwatch:schema:{name}"
    assert parsed.key == parsed.subject == AREA.id


@pytest.mark.parametrize("name", NAMES)
def test_the_id_is_what_it_stands_for(name: str) -> None:
    """The same content gives the id in the golden file, whenever and wherever it is made."""
    event = Event.from_json(golden(name))
    make = {PassFound: pass_found, PermitsChanged: permits_changed, ChangeFound: change_found}[
        type(event.data)
    ]
    again = make(event.data, at=datetime(2030, 1, 1, tzinfo=UTC))  # type: ignore[operator]
    assert again.id == event.id
    assert again.source == event.source


def test_every_known_type_has_a_golden_file() -> None:
    assert {f"org.groundwatch.{name}" for name in NAMES} == set(events._TYPES)
    assert {path.stem for path in GOLDEN.glob("*.json")} >= set(NAMES)


def test_events_survive_the_wire() -> None:
    for event in samples().values():
        assert Event.from_json(event.to_json()) == event


def test_another_revision_partner_or_settings_is_another_event() -> None:
    event = samples()["pass-found.v1"]
    data = event.data
    assert isinstance(data, PassFound)
    revised = data.model_copy(update={"pass_": data.pass_.model_copy(update={"revision": 3})})
    tuned = data.model_copy(update={"settings": DetectionSettings(snapshot_every=11)})
    ids = {pass_found(one, at=AT).id for one in (data, revised, tuned)}
    assert len(ids) == 3


def changed(name: str, *path: str | int, to: Any) -> bytes:
    plain = json.loads(golden(name))
    inner = plain
    for part in path[:-1]:
        inner = inner[part]
    if to is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return json.dumps(plain).encode()


PASS, CHANGE = "pass-found.v1", "change-found.v1"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "event is not a CloudEvents JSON object: Expecting value"),
        (b"\xff\xfe", "event is not a CloudEvents JSON object"),
        (b"[]", "event is not a CloudEvents JSON object"),
        (b"{}", "event has no or an unknown 'type'; known types: ['org.groundwatch.change-found.v1'"),
        (
            changed(PASS, "type", to="org.groundwatch.pass-found.v9"),
            "unknown 'org.groundwatch.pass-found.v9'",
        ),
        (changed(PASS, "type", to=["a"]), "event is not a CloudEvents JSON object"),
        (changed(PASS, "data", to=...), "event has no or an unknown 'data'"),
        (changed(PASS, "data", to=[]), "event is not valid at top"),
        (changed(PASS, "subject", to="../etc"), "event is not valid at subject: String should match pattern"),
        (
            changed(PASS, "subject", to="pit-south"),
            "subject is pit-south, but the data are of area pit-north",
        ),
        (changed(PASS, "data", "surprise", to=1), "not valid at surprise: Extra inputs are not permitted"),
        (changed(PASS, "data", "settings", "surprise", to=1), "not valid at settings.surprise"),
        (changed(PASS, "specversion", to="0.3"), "event is not valid at specversion"),
        (changed(PASS, "time", to="2024-08-01T00:00:00"), "has no time zone; write it with one, such as Z"),
        (changed(PASS, "data", "grid", "width", to=0), "event is not valid at grid.width"),
        (
            changed(PASS, "data", "area", "geometry", to={"type": "Point", "coordinates": [0, 0]}),
            "is a Point",
        ),
        (changed(PASS, "data", "pass", "scenes", 0, "bands", to={}), "scene has no bands"),
        (
            changed(PASS, "data", "pass", "area_id", to="elsewhere"),
            "is of area elsewhere, not pit-north",
        ),
        (
            changed(PASS, "data", "partner", "area_id", to="elsewhere"),
            "is of area elsewhere, not pit-north",
        ),
        (changed(PASS, "data", "partner", "sensor", to="sentinel-2"), "has the pass's own sensor"),
        (changed(PASS, "data", "settings", "evidence", "floor", to=1.0), "settings.evidence.floor"),
        (
            changed(CHANGE, "data", "incidents", 0, "hectares", to=float("nan")),
            "event is not a CloudEvents JSON object: NaN is not JSON",
        ),
        (
            changed(CHANGE, "data", "incidents", 0, "hectares", to=float("inf")),
            "event is not a CloudEvents JSON object: Infinity is not JSON",
        ),
        (golden(CHANGE).replace(b"0.997", b"1e999"), "incidents.0.probability"),
        (b'{"type":' + b"[" * 100_000, "event is not a CloudEvents JSON object"),
    ],
)
def test_what_is_not_an_event_is_rejected_in_one_line(raw: bytes, said: str) -> None:
    with pytest.raises(Reject) as caught:
        Event.from_json(raw)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (PASS, ("traceparent",)),
        (CHANGE, ("traceparent",)),
        (CHANGE, ("data", "surprise")),
        (CHANGE, ("data", "incidents", 0, "surprise")),
        (CHANGE, ("data", "incidents", 0, "components", "surprise")),
    ],
)
def test_extensions_and_what_a_newer_detector_adds_are_passed_over(
    name: str, path: tuple[str | int, ...]
) -> None:
    assert Event.from_json(changed(name, *path, to="00-4bf9-00f0-01")).to_json() == golden(name).strip()


def test_a_huge_event_is_rejected_before_it_is_parsed() -> None:
    raw = b" " * (events.MAX_EVENT_BYTES + 1)
    with pytest.raises(Reject, match=r"event has 8000001 bytes, at most 8000000 are read"):
        Event.from_json(raw)


@given(st.sampled_from(NAMES), st.data())
def test_a_damaged_event_is_rejected_or_still_an_event(name: str, data: st.DataObject) -> None:
    raw = bytearray(golden(name))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        Event.from_json(bytes(raw))
    except Reject as exc:
        assert "\n" not in str(exc)  # noqa: PT017 - either outcome is right


def test_the_name_of_a_snapshot_carries_its_content() -> None:
    empty = RegistrySnapshot(area=AREA, permits=(), zones=())
    moved = RegistrySnapshot(area=AREA.model_copy(update={"buffer_m": 1.0}), permits=(), zones=())
    assert empty.version == digest(empty)
    assert empty.blob == f"registry/{AREA.id}/{empty.version}.json"
    assert moved.version != empty.version


def write_golden() -> None:
    """Write the golden files again, after a deliberate change."""
    for name, event in samples().items():
        (GOLDEN / f"{name}.json").write_bytes(event.to_json() + b"\n")


if __name__ == "__main__":
    write_golden()
