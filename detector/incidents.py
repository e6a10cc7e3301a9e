"""Pixels to objects that persist: incidents with ids, footprints, growth and a lifecycle. Pure.

An object is grown from seeds (confirmed pixels; apart from these, provisional ones) into the connected
pixels whose log odds speak for change, 4-connected, inside the watched area. Objects smaller than the
minimum mapping unit are dropped, lone small ones must be surer. What people were told of keeps its pixels
until the evidence is against them, and stays, if in several parts, until it is reclaimed but for half a
minimum mapping unit; reclaimed pixels leave the footprint on the way.
Objects are matched with earlier footprints (``detector.matching``).

Before confirmation nobody is told, and ``revision`` stays 1. It is 1 at confirmation and rises when the
incident is reclaimed or has grown enough to be news against what was last told; footprint and hectares
follow the state all along. A reclaimed incident is over: new change at its place is a new incident. A
provisional one that is not seen any more stays, cleared, until it is older than ``provisional_max_days``.
Everything is ordered by id: the same input gives the same incidents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import shapely
from shapely.geometry.base import BaseGeometry

from detector.matching import Match, match
from detector.objects import (
    DEGREES,
    PIXEL_HA,
    Mask,
    Patch,
    Planes,
    burn,
    drawable,
    edge_pixels,
    find_patches,
    joined,
    outline_all,
    rounded,
    watched,
)
from detector.state import PixelStatus, State
from registry.detection import DetectionSettings
from registry.geometry import hectares
from registry.grid import RESOLUTION, Grid
from registry.models import (
    KIND_OF_TARGET,
    Area,
    Growth,
    Incident,
    IncidentKind,
    IncidentStatus,
    Target,
)
from registry.values import stable_id


def update(
    previous: Sequence[Incident],
    state: State,
    *,
    grid: Grid,
    area: Area,
    target: Target,
    acquired: date,
    settings: DetectionSettings,
) -> tuple[Incident, ...]:
    """The incidents of ``target``'s kind after a pass of ``acquired`` was folded into ``state``.

    ``previous`` are those after the pass before, of which other kinds are left out. The result is ordered
    by id. Raises ValueError where the state is not on the grid.
    """
    if state.shape != grid.shape:
        raise ValueError(f"state is {state.shape}, the grid {grid.shape}; fold it on the same grid")
    scene = _Scene(state, grid, area, target, _day(acquired), settings)
    earlier = sorted((one for one in previous if one.kind is scene.kind), key=lambda one: one.id)
    held = _burned([one for one in earlier if one.status is IncidentStatus.CONFIRMED], grid)
    patches = find_patches(state, watched(grid, area), held, settings.objects)
    outlines = outline_all(patches, grid)
    confirmed = [patch.confirmed for patch in patches]
    taken = {one.id for one in earlier}
    found = []
    for matched in match(earlier, outlines, confirmed, grid, settings.objects):
        patch = joined([patches[at] for at in matched.objects])
        if scene.stands(patch, matched):
            land = shapely.union_all([outlines[at] for at in matched.objects])
            found.append(scene.incident(patch, land, matched, taken))
    gone = taken - {one.id for one in found} - {lost for one in found for lost in one.absorbed}
    left = [scene.unmatched(one) for one in earlier if one.id in gone]
    return tuple(sorted([*found, *(one for one in left if one is not None)], key=lambda one: one.id))


@dataclass(frozen=True)
class _Scene:
    """What ``update`` looks at."""

    state: State
    grid: Grid
    area: Area
    target: Target
    today: date
    settings: DetectionSettings

    @property
    def kind(self) -> IncidentKind:
        return KIND_OF_TARGET[self.target]

    def stands(self, patch: Patch, matched: Match) -> bool:
        """Whether enough is left of what was told of: half a minimum mapping unit, or nothing reclaimed."""
        before = matched.incident
        if before is None or before.status is not IncidentStatus.CONFIRMED:
            return True
        enough = self.settings.objects.minimum_mapping_unit_ha / 2
        return patch.size_ha >= enough - 1e-9 or not self._reclaimed(before)

    def _reclaimed(self, before: Incident) -> bool:
        """Whether any of its ground is reclaimed."""
        pixels = self.state.status[_burned([before], self.grid)]
        return bool((pixels == PixelStatus.RECLAIMED).any())

    def incident(self, patch: Patch, land: BaseGeometry, matched: Match, taken: set[str]) -> Incident:
        """The object as an incident: the earlier one brought up to date, or a new one."""
        before = matched.incident
        fresh = self._measured(patch, land, before.id if before else self._new_id(land, taken))
        taken.add(fresh.id)
        if before is not None:
            fresh = _carried(before, fresh, matched.absorbed)
        if fresh.status is IncidentStatus.PROVISIONAL:
            return fresh
        return self._grown(before, fresh) if before and before.growth else self._confirmed(fresh)

    def _measured(self, patch: Patch, land: BaseGeometry, name: str) -> Incident:
        """Everything that follows from the state alone."""
        planes = Planes(self.state, patch)
        world = rounded(self.grid.to_world(drawable(land)))
        lon, lat = shapely.get_coordinates(self.grid.to_world(land.representative_point()))[0].tolist()
        first, clear = planes.first_seen(self.today)
        return Incident(
            id=name,
            area_id=self.area.id,
            kind=self.kind,
            status=IncidentStatus.CONFIRMED if patch.confirmed else IncidentStatus.PROVISIONAL,
            footprint=world,
            hectares=round(hectares(rounded(self.grid.to_world(land))), 6),
            edge_hectares=round(edge_pixels(patch.pixels) * PIXEL_HA, 6),
            anchor=(round(lon, DEGREES), round(lat, DEGREES)),
            last_clear_before=clear,
            first_seen=first,
            confirmed_on=planes.confirmed_on() if patch.confirmed else None,
            last_seen=planes.last_seen(first),
            looks=planes.looks(),
            probability=planes.probability(),
            sensors=planes.sensors(),
        )

    def _confirmed(self, fresh: Incident) -> Incident:
        step = Growth(acquired=self.today, hectares=fresh.hectares)
        confirmed_on = fresh.confirmed_on or self.today
        return fresh.model_copy(update={"revision": 1, "growth": (step,), "confirmed_on": confirmed_on})

    def _grown(self, before: Incident, fresh: Incident) -> Incident:
        """News where it grew enough since people were told."""
        rule = self.settings.objects
        last = before.growth[-1].hectares
        enough = max(rule.growth_min_ha, rule.growth_min_share * last)
        return self._news(fresh, before) if fresh.hectares - last >= enough - 1e-9 else fresh

    def _news(self, fresh: Incident, before: Incident) -> Incident:
        step = Growth(acquired=self.today, hectares=fresh.hectares)
        return fresh.model_copy(update={"revision": before.revision + 1, "growth": (*before.growth, step)})

    def unmatched(self, before: Incident) -> Incident | None:
        """An earlier incident of which no object is left: reclaimed, cleared, forgotten or as it was."""
        if before.status is IncidentStatus.CONFIRMED:
            if not self._reclaimed(before):
                return before
            return self._news(before.model_copy(update={"status": IncidentStatus.RECLAIMED}), before)
        if before.status is IncidentStatus.RECLAIMED:
            return before
        age = (self.today - before.last_seen).days
        if age > self.settings.lifecycle.provisional_max_days:
            return None
        return before.model_copy(update={"status": IncidentStatus.CLEARED})

    def _new_id(self, land: BaseGeometry, taken: set[str]) -> str:
        """A uuid5 of area, kind and anchor pixel; another incident at that very pixel gets the next one."""
        point = land.representative_point()
        pixel = (int(point.x // RESOLUTION), int(point.y // RESOLUTION))
        number = 0
        while (found := self._id_at(pixel, number)) in taken:
            number += 1
        return found

    def _id_at(self, pixel: tuple[int, int], number: int) -> str:
        again = (number,) if number else ()
        return stable_id("incident", self.area.id, self.kind, self.grid.epsg, *pixel, *again)


def _carried(before: Incident, fresh: Incident, absorbed: Sequence[str]) -> Incident:
    """What an incident keeps: dates, history, verdict; pictures and components until they are made again."""
    kept = {
        "revision": before.revision,
        "growth": before.growth,
        "verdict": before.verdict,
        "pictures": before.pictures,
        "components": before.components,
        "confirmed_on": before.confirmed_on or fresh.confirmed_on,
        "last_seen": max(before.last_seen, fresh.last_seen),
        "absorbed": tuple(sorted({*before.absorbed, *absorbed})),
    }
    if before.first_seen <= fresh.first_seen:
        kept |= {"first_seen": before.first_seen, "last_clear_before": before.last_clear_before}
    return fresh.model_copy(update=kept)


def _burned(incidents: Sequence[Incident], grid: Grid) -> Mask:
    return burn([grid.from_world(one.footprint) for one in incidents], grid)


def _day(moment: date) -> date:
    return moment.astimezone(UTC).date() if isinstance(moment, datetime) else moment
