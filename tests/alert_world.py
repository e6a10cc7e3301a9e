"""Incidents, changes and notices for the tests of alerts."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from typing import Any

from PIL import Image
from shapely.geometry import Polygon

from registry.events import ChangeFound, Event, change_found
from registry.models import (
    Area,
    AreaKind,
    Components,
    ComponentShare,
    Growth,
    Incident,
    IncidentKind,
    IncidentStatus,
    Notice,
    NoticeKind,
    Pictures,
    Sensor,
    Verdict,
    VerdictCase,
    VerdictShare,
)
from registry.values import stable_id

NOW = datetime(2024, 7, 15, 6, 0, tzinfo=UTC)
PICTURE = "pictures/pit/r1-12345678.png"

AREA = Area(
    id="serra-verde",
    name="Serra Verde, north pit",
    kind=AreaKind.PERMITTED,
    geometry=Polygon([(25.0, 45.1), (25.2, 45.1), (25.2, 45.3), (25.0, 45.3)]),
    tags=("north", "gold"),
)


def verdict(
    case: VerdictCase = VerdictCase.OUTSIDE, *, hectares: float = 1.9, rest: float = 0.44, label: str = ""
) -> Verdict:
    label = label or "SIGMINE 810.123/2019, Mineração Serra Verde Ltda"
    shares = [
        VerdictShare(case=case, hectares=hectares, permit_id="p1", permit_label=label, distance_m=143.2),
        VerdictShare(case=VerdictCase.INSIDE, hectares=rest, permit_id="p1", permit_label=label),
    ]
    return Verdict(judged_for=date(2024, 7, 14), case=case, shares=tuple(shares), registry_version="v1")


def incident(place: str = "pit", **changes: Any) -> Incident:
    """A confirmed excavation of 2.34 ha, its outline clockwise as GIS programs write it."""
    facts: dict[str, Any] = {
        "id": stable_id("incident", place),
        "area_id": AREA.id,
        "kind": IncidentKind.EXCAVATION,
        "status": IncidentStatus.CONFIRMED,
        "footprint": Polygon([(25.1, 45.2), (25.1, 45.203), (25.104, 45.203), (25.104, 45.2)]),
        "hectares": 2.34,
        "edge_hectares": 0.31,
        "anchor": (25.102, 45.2015),
        "last_clear_before": date(2024, 5, 2),
        "first_seen": date(2024, 6, 11),
        "confirmed_on": date(2024, 7, 14),
        "last_seen": date(2024, 7, 14),
        "looks": 4,
        "probability": 0.9972,
        "growth": (Growth(acquired=date(2024, 7, 14), hectares=2.34),),
        "verdict": verdict(),
        "pictures": Pictures(side_by_side=PICTURE, before_acquired=date(2024, 5, 2)),
        "components": Components(
            model="mining-rgbnir-swir",
            looks=3,
            newest=date(2024, 7, 13),
            shares=(
                ComponentShare(component="excavation", share=0.62),
                ComponentShare(component="settling_pond", share=0.18),
            ),
        ),
        "sensors": (Sensor.S2, Sensor.S1),
    }
    return Incident(**(facts | changes))


def grown(one: Incident, hectares: float = 4.0) -> Incident:
    """The same incident, one revision later and larger."""
    step = Growth(acquired=date(2024, 8, 3), hectares=hectares)
    return one.model_copy(
        update={"revision": one.revision + 1, "hectares": hectares, "growth": (*one.growth, step)}
    )


def notice(kind: NoticeKind = NoticeKind.CONFIRMED, one: Incident | None = None, **changes: Any) -> Notice:
    one = one or incident()
    facts: dict[str, Any] = {
        "id": stable_id("notice", one.id, kind, one.revision),
        "kind": kind,
        "incident": one,
        "area_name": AREA.name,
        "area_kind": AREA.kind,
        "previous_hectares": None,
        "created": NOW,
    }
    return Notice(**(facts | changes))


def change(*incidents: Incident, ledger: str = "a") -> Event:
    data = ChangeFound(
        area=AREA,
        pass_id="p" + ledger,
        pass_revision=1,
        acquired=NOW,
        ledger_digest=ledger,
        registry_version="v1",
        settings_digest="s1",
        incidents=incidents,
    )
    return change_found(data, at=NOW)


def picture(width: int = 120, height: int = 60) -> bytes:
    """A real PNG."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), (120, 90, 60)).save(out, "PNG")
    return out.getvalue()
