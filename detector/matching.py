"""Which objects of today are which incident of before. Pure.

Earlier incidents choose in order of standing: those people were told of first, then the oldest.

- One that was told of takes every confirmed object on its ground: a merge keeps the oldest id, and ground
  that comes apart as it greens over stays one incident of several parts rather than news about old change.
- A provisional one takes the object that shares most ground with it, else what lies within the match
  buffer; the other parts of a split are incidents of their own.

An incident whose ground went to another is absorbed by it, which is not a withdrawal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from registry.detection import ObjectSettings
from registry.grid import RESOLUTION, Grid
from registry.models import Incident, IncidentStatus

_SHARED_M2 = RESOLUTION * RESOLUTION / 2
"""Square metres in common that are no rounding: half a pixel."""


@dataclass(frozen=True)
class Match:
    """Objects of today that are one incident."""

    objects: tuple[int, ...]
    """Their numbers."""
    incident: Incident | None = None
    """The earlier incident they continue; None = it is new."""
    absorbed: tuple[str, ...] = ()
    """Ids of other incidents whose ground they took."""


def match(
    earlier: Sequence[Incident],
    objects: Sequence[BaseGeometry],
    confirmed: Sequence[bool],
    grid: Grid,
    settings: ObjectSettings,
) -> list[Match]:
    """Every one of ``objects`` (grid metres) in one Match; reclaimed incidents are over and match nothing.

    ``confirmed`` says of each object whether it is: a confirmed incident never becomes provisional again.
    """
    live = sorted((one for one in earlier if one.status is not IncidentStatus.RECLAIMED), key=_standing)
    lands = [_valid(grid.from_world(one.footprint)) for one in live]
    shared = _overlaps(lands, objects)
    owner: dict[int, int] = {}
    for number, one in enumerate(live):
        free = [at for at in shared[number] if at not in owner]
        if _told(one):
            owner |= {at: number for at in free if confirmed[at]}
        elif free:
            owner[_largest(free, shared[number], objects)] = number
    near = _overlaps([land.buffer(settings.match_buffer_m) for land in lands], objects)
    for number, one in enumerate(live):
        free = [at for at in near[number] if at not in owner]
        if free and number not in owner.values() and not _told(one):
            owner[_largest(free, near[number], objects)] = number
    return _matches(live, objects, owner, _absorbed(live, shared, owner, objects))


def _matches(
    live: Sequence[Incident],
    objects: Sequence[BaseGeometry],
    owner: dict[int, int],
    absorbed: dict[int, list[str]],
) -> list[Match]:
    parts: dict[int, list[int]] = {}
    for at, number in owner.items():
        parts.setdefault(number, []).append(at)
    continued = [
        Match(
            tuple(sorted(ats)),
            live[number],
            tuple(sorted(lost for at in ats for lost in absorbed.get(at, ()))),
        )
        for number, ats in sorted(parts.items())
    ]
    return [*continued, *(Match((at,)) for at in range(len(objects)) if at not in owner)]


def _told(one: Incident) -> bool:
    return one.status is IncidentStatus.CONFIRMED


def _standing(one: Incident) -> tuple[bool, str, str]:
    return (not _told(one), one.first_seen.isoformat(), one.id)


def _valid(land: BaseGeometry) -> BaseGeometry:
    return land if land.is_valid else shapely.make_valid(land)


def _overlaps(lands: Sequence[BaseGeometry], objects: Sequence[BaseGeometry]) -> list[dict[int, float]]:
    """For each land: square metres in common with each object that it really overlaps."""
    found: list[dict[int, float]] = [{} for _ in lands]
    if not lands or not objects:
        return found
    of_land, of_object = STRtree(objects).query(lands, predicate="intersects")
    sizes = shapely.area(shapely.intersection(np.array(lands)[of_land], np.array(objects)[of_object]))
    for land, thing, size in zip(of_land.tolist(), of_object.tolist(), sizes.tolist(), strict=True):
        if size >= _SHARED_M2:
            found[land][thing] = size
    return found


def _largest(free: Sequence[int], overlaps: dict[int, float], objects: Sequence[BaseGeometry]) -> int:
    """The object with most ground in common; of equals the larger, then the first."""
    return max(free, key=lambda at: (round(overlaps[at], 3), round(objects[at].area, 3), -at))


def _absorbed(
    live: Sequence[Incident],
    shared: Sequence[dict[int, float]],
    owner: dict[int, int],
    objects: Sequence[BaseGeometry],
) -> dict[int, list[str]]:
    """Per object: incidents that share ground with it and got no object themselves."""
    owners = set(owner.values())
    absorbed: dict[int, list[str]] = {}
    for number, one in enumerate(live):
        taken = [at for at in shared[number] if at in owner]
        if number not in owners and taken:
            absorbed.setdefault(_largest(taken, shared[number], objects), []).append(one.id)
    return {at: sorted(ids) for at, ids in absorbed.items()}
