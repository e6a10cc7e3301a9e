"""Which new incident continues the thread of one that vanished. Pure.

A late pass re-folds an area and can rename an incident; people who were told of the old one must
not be told again that something was opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import shapely
from shapely.geometry.base import BaseGeometry

from registry.models import Incident

SAME_PLACE_IOU = 0.2
"""Intersection over union from which two footprints are one place."""


def successors(vanished: Sequence[Incident], appeared: Sequence[Incident]) -> Mapping[str, str]:
    """Vanished id -> the appeared id that continues it: same kind and place, best first, one to one.

    An incident that says it absorbed another is at its place however small the overlap.
    """
    if not vanished or not appeared:
        return {}
    tree = shapely.STRtree([new.footprint for new in appeared])
    olds, news = tree.query([old.footprint for old in vanished], predicate="intersects")
    likeness = [
        (-_likeness(vanished[i], appeared[j]), vanished[i].id, appeared[j].id)
        for i, j in zip(olds, news, strict=True)
    ]
    found: dict[str, str] = {}
    taken: set[str] = set()
    for negative, old_id, new_id in sorted(likeness):
        if -negative >= SAME_PLACE_IOU and old_id not in found and new_id not in taken:
            found[old_id] = new_id
            taken.add(new_id)
    return found


def _likeness(old: Incident, new: Incident) -> float:
    if old.kind != new.kind:
        return 0.0
    return overlap(old.footprint, new.footprint) + (1.0 if old.id in new.absorbed else 0.0)


def overlap(a: BaseGeometry, b: BaseGeometry) -> float:
    """Intersection over union; in degrees, since at one place the scale cancels out."""
    shared = a.intersection(b).area
    return float(shared / (a.area + b.area - shared))
