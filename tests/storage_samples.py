"""Small values for tests of storage: areas, passes, incidents, events, and a clock to turn by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from registry.detection import DetectionSettings
from registry.events import ChangeFound, Event, PassFound, RegistryRef, change_found, pass_found
from registry.grid import area_grid
from registry.models import (
    Area,
    AreaKind,
    BandFile,
    Incident,
    IncidentKind,
    IncidentStatus,
    Notice,
    NoticeKind,
    Pass,
    Permit,
    Scene,
    Sensor,
    Zone,
    pass_id,
)
from registry.values import digest, stable_id

START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.moment = START

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def square(west: float = 25.0, south: float = 45.0, size: float = 0.01) -> BaseGeometry:
    return box(west, south, west + size, south + size)


def make_area(id_: str = "pit", **changes: object) -> Area:
    fields = {"id": id_, "name": f"The {id_}", "kind": AreaKind.PERMITTED, "geometry": square()}
    return Area.model_validate(fields | changes)


def make_permit(source_id: str, geometry: BaseGeometry, **changes: object) -> Permit:
    fields = {
        "id": stable_id("permit", "test", source_id),
        "source": "test",
        "source_id": source_id,
        "geometry": geometry,
        "area_ha": 1.0,
        "content_hash": digest({"source_id": source_id, "wkt": geometry.wkt}),
    }
    return Permit.model_validate(fields | changes)


def make_zone(source_id: str, geometry: BaseGeometry, **changes: object) -> Zone:
    fields = {
        "id": stable_id("zone", "test", source_id),
        "source": "test",
        "source_id": source_id,
        "name": f"Reserve {source_id}",
        "geometry": geometry,
        "content_hash": digest({"source_id": source_id, "wkt": geometry.wkt}),
    }
    return Zone.model_validate(fields | changes)


def make_pass(
    day: int,
    *,
    area: str = "pit",
    sensor: Sensor = Sensor.S2,
    revision: int = 1,
    withdrawn: bool = False,
    key: str | None = None,
) -> Pass:
    """A pass acquired ``day`` days after START."""
    acquired = START + timedelta(days=day)
    key = key or f"{sensor}/{day}"
    scene = Scene(
        id=f"S-{day}",
        provider="test",
        collection="c",
        sensor=sensor,
        acquired=acquired,
        footprint=square(24.0, 44.0, 2.0),
        bands={"B04" if sensor is Sensor.S2 else "VV": BandFile(href=f"https://e.org/{day}.tif", scale=1e-4)},
    )
    return Pass(
        id=pass_id(area, key),
        area_id=area,
        key=key,
        sensor=sensor,
        acquired=acquired,
        revision=revision,
        scenes=(scene,),
        withdrawn=withdrawn,
    )


def found_event(
    one: Pass,
    *,
    partner: Pass | None = None,
    area: Area | None = None,
    settings: DetectionSettings | None = None,
) -> Event:
    """The PassFound of ``one``."""
    area = area or make_area(one.area_id)
    data = PassFound.model_validate(
        {
            "area": area,
            "grid": area_grid(area.geometry, area.buffer_m),
            "registry": RegistryRef(version="0" * 64, blob="registry/x.json"),
            "settings": settings or DetectionSettings(),
            "pass": one,
            "partner": partner,
        }
    )
    return pass_found(data, at=START)


def make_event(number: int, *, area: str = "pit") -> Event:
    """Some event of an area; the same number gives the same id."""
    return found_event(make_pass(number, area=area))


def make_incident(id_: str, geometry: BaseGeometry | None = None, **changes: object) -> Incident:
    place = geometry or square()
    centre = place.centroid
    fields = {
        "id": id_,
        "area_id": "pit",
        "kind": IncidentKind.EXCAVATION,
        "status": IncidentStatus.CONFIRMED,
        "footprint": place,
        "hectares": 1.5,
        "edge_hectares": 0.2,
        "anchor": (centre.x, centre.y),
        "first_seen": date(2024, 5, 1),
        "last_seen": date(2024, 5, 11),
        "looks": 3,
        "probability": 0.995,
    }
    return Incident.model_validate(fields | changes)


def make_change(
    ledger: str, *incidents: Incident, area: str = "pit", acquired: datetime = START
) -> ChangeFound:
    """An area's list of incidents; ``ledger`` tells one change from another."""
    return ChangeFound(
        area=make_area(area),
        pass_id=stable_id("pass", area, ledger),
        pass_revision=1,
        acquired=acquired,
        ledger_digest=digest({"ledger": ledger}),
        registry_version="0" * 64,
        settings_digest=DetectionSettings().digest,
        incidents=incidents,
    )


def change_event(ledger: str, *incidents: Incident, area: str = "pit") -> Event:
    return change_found(make_change(ledger, *incidents, area=area), at=START)


def make_notice(incident: Incident, kind: NoticeKind = NoticeKind.CONFIRMED, *, step: str = "") -> Notice:
    return Notice(
        id=stable_id("notice", incident.id, kind, incident.revision, step),
        kind=kind,
        incident=incident,
        area_name="The pit",
        area_kind=AreaKind.PERMITTED,
        created=START,
    )
