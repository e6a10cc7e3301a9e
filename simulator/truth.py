"""What really happened in the district, as polygons with dates: the answer to compare with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Self

import shapely
from rasterio import Affine
from rasterio.features import shapes
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from registry.geometry import AreaGeometry, hectares
from registry.models import IncidentKind, VerdictCase
from registry.values import Value
from simulator.frame import MARGIN, SUB, Bools
from simulator.places import PERMIT, RESERVE
from simulator.projects import Project
from simulator.world import World


class TruthStep(Value):
    """One day on which an event grew."""

    on: date
    hectares: float
    """Whole event so far."""
    outside_permit_ha: float
    in_reserve_ha: float
    geometry: AreaGeometry
    """Whole event so far."""


class TruthEvent(Value):
    """One change that a perfect watcher would report."""

    name: str
    kind: IncidentKind
    also: tuple[IncidentKind, ...] = ()
    """Other kinds that are true at the same place: neither a hit nor a false alarm."""
    expected: VerdictCase
    """What the permit rule should say."""
    steps: tuple[TruthStep, ...]
    """In order; never empty."""

    @property
    def started(self) -> date:
        """Day of the first step."""
        return self.steps[0].on

    @property
    def hectares(self) -> float:
        """Final size."""
        return self.steps[-1].hectares

    @property
    def footprint(self) -> BaseGeometry:
        """Final outline, lon/lat."""
        return self.steps[-1].geometry

    def at(self, day: date) -> TruthStep | None:
        """The newest step made by ``day``."""
        made = [step for step in self.steps if step.on <= day]
        return made[-1] if made else None

    @classmethod
    def from_features(cls, features: list[Mapping[str, Any]]) -> Self:
        """Read back what ``to_features`` wrote for one event."""
        first = features[0]["properties"]
        steps = tuple(
            TruthStep(
                geometry=one["geometry"],
                **{
                    key: one["properties"][key]
                    for key in ("on", "hectares", "outside_permit_ha", "in_reserve_ha")
                },
            )
            for one in sorted(features, key=lambda one: one["properties"]["step"])
        )
        return cls(
            name=first["name"],
            kind=first["kind"],
            also=first["also"],
            expected=first["expected"],
            steps=steps,
        )

    def to_features(self) -> list[dict[str, Any]]:
        """One GeoJSON feature per step."""
        return [
            {
                "type": "Feature",
                "properties": {
                    "name": self.name,
                    "kind": str(self.kind),
                    "also": [str(kind) for kind in self.also],
                    "expected": str(self.expected),
                    "step": number,
                    "on": step.on.isoformat(),
                    "hectares": step.hectares,
                    "outside_permit_ha": step.outside_permit_ha,
                    "in_reserve_ha": step.in_reserve_ha,
                },
                "geometry": mapping(step.geometry),
            }
            for number, step in enumerate(self.steps, start=1)
        ]


def find_truth(world: World, until: date) -> tuple[TruthEvent, ...]:
    """The events that began by ``until``, with the steps made by then."""
    events = (_event(world, project, until) for project in world.projects)
    return tuple(event for event in events if event is not None)


def _event(world: World, project: Project, until: date) -> TruthEvent | None:
    steps = [_step(world, project, number, on) for number, on in enumerate(project.steps, 1) if on <= until]
    if not steps:
        return None
    return TruthEvent(
        name=project.name,
        kind=IncidentKind(project.kind),
        also=tuple(IncidentKind(kind) for kind in project.also),
        expected=VerdictCase(project.verdict),
        steps=tuple(steps),
    )


def _step(world: World, project: Project, number: int, on: date) -> TruthStep:
    local = outline(project.mask(number))
    frame = world.frame
    outside, reserved = local.difference(PERMIT), local.intersection(RESERVE)
    geometry = frame.to_lonlat(local)
    return TruthStep(
        on=on,
        hectares=round(hectares(geometry), 4),
        outside_permit_ha=round(hectares(frame.to_lonlat(outside)), 4),
        in_reserve_ha=round(hectares(frame.to_lonlat(reserved)), 4),
        geometry=geometry,
    )


def outline(mask: Bools) -> BaseGeometry:
    """World cells as a (multi)polygon in local metres (east, south)."""
    step = 10.0 / SUB
    # Row numbers grow southwards as local metres do, so the transform has a positive step.
    transform = Affine(step, 0, -10.0 * MARGIN, 0, step, -10.0 * MARGIN)
    found = shapes(mask.astype("uint8"), mask=mask, transform=transform)
    return shapely.union_all([shape(geometry) for geometry, _ in found])


def truth_geojson(events: tuple[TruthEvent, ...]) -> dict[str, Any]:
    """All events, one feature per step."""
    features = [feature for event in events for feature in event.to_features()]
    return {"type": "FeatureCollection", "features": features}


def read_truth(collection: Mapping[str, Any]) -> tuple[TruthEvent, ...]:
    """The events of a truth.geojson."""
    named: dict[str, list[Mapping[str, Any]]] = {}
    for feature in collection["features"]:
        named.setdefault(feature["properties"]["name"], []).append(feature)
    return tuple(TruthEvent.from_features(features) for features in named.values())
