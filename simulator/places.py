"""The district on paper: areas to watch, permits, a reserve. Fictional names. Pure."""

from __future__ import annotations

from typing import Any

from shapely.geometry import Polygon, mapping

from registry.geometry import hectares
from simulator.frame import Frame

PERMIT = Polygon([(1735, 545), (2490, 470), (2570, 840), (2540, 1130), (2555, 1500), (1790, 1475)])
"""Metres east and south of the district's corner, like every polygon here."""

RESERVE = Polygon([(190, 1760), (640, 1690), (1290, 1740), (1400, 2120), (1330, 2790), (240, 2830)])

MINE_ID = "serra-clara-mine"
RESERVE_ID = "tapir-reserve"
PLAIN_ID = "village-plain"

_AREAS = (
    (MINE_ID, "Serra Clara mine", "permitted", PERMIT, 300.0, ["mine"]),
    (
        RESERVE_ID,
        "Tapir forest reserve",
        "watched",
        Polygon(
            [(140, 1490), (1420, 1450), (1610, 1660), (1480, 1930), (1540, 2290), (1480, 2870), (170, 2880)]
        ),
        0.0,
        ["forest", "river"],
    ),
    (
        PLAIN_ID,
        "Village, fields and river",
        "watched",
        Polygon([(1600, 1850), (2880, 1850), (2880, 2870), (1560, 2870)]),
        0.0,
        ["control"],
    ),
)

_PERMITS: tuple[tuple[Polygon, dict[str, Any]], ...] = (
    (
        PERMIT,
        {
            "id": "867.204/2019",
            "holder": "Mineração Serra Clara Ltda",
            "status": "granted",
            "stage": "mining concession",
            "commodity": "manganese ore",
            "activities": "open pit; waste dump; processing plant; settling pond",
            "granted": "2021-02-26",
            "valid_from": "2021-03-15",
            "valid_to": "2031-03-14",
        },
    ),
    (
        Polygon([(1650, 40), (2420, 40), (2420, 400), (1650, 470)]),
        {
            "id": "866.017/2008",
            "holder": "Norte Metais S.A.",
            "status": "expired",
            "stage": "exploration",
            "commodity": "manganese ore",
            "activities": "drilling",
            "granted": "2010-06-02",
            "valid_from": "2010-06-02",
            "valid_to": "2016-06-01",
        },
    ),
    (
        Polygon([(2600, 1560), (2960, 1500), (2960, 1820), (2620, 1830)]),
        {
            "id": "867.911/2023",
            "holder": "Pedreira Três Irmãos",
            "status": "pending",
            "stage": "application",
            "commodity": "granite",
            "activities": "quarry",
            "applied": "2023-11-08",
        },
    ),
)


def _collection(features: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": features}


def _feature(frame: Frame, polygon: Polygon, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": mapping(frame.to_lonlat(polygon))}


def areas_geojson(frame: Frame) -> dict[str, Any]:
    """The mine, the reserve, and a control area where nothing happens."""
    return _collection(
        [
            _feature(
                frame, polygon, {"id": one, "name": name, "kind": kind, "buffer_m": buffer, "tags": tags}
            )
            for one, name, kind, polygon, buffer, tags in _AREAS
        ]
    )


def permits_geojson(frame: Frame) -> dict[str, Any]:
    """The mine's permit, an expired one beside it, and an application."""
    features = []
    for polygon, properties in _PERMITS:
        declared = round(hectares(frame.to_lonlat(polygon)), 2)
        features.append(_feature(frame, polygon, {**properties, "declared_ha": declared}))
    return _collection(features)


def zones_geojson(frame: Frame) -> dict[str, Any]:
    """The reserve."""
    properties = {"id": "MT-UC-0419", "name": "Reserva Florestal da Anta", "kind": "protected"}
    return _collection([_feature(frame, RESERVE, properties)])
