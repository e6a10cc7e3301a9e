"""Areas, permits and zones in the store: found by id, or by place through an R-Tree."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

import shapely
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from sqlite_utils import Database

from registry.errors import NotFound
from registry.events import RegistrySnapshot
from registry.geometry import WORLD
from registry.models import Area, Permit, Zone
from registry.store_base import StoreBase, text_of
from registry.stored import ImportCounts
from registry.values import digest

SNAPSHOT_MARGIN_M = 5_000.0
"""Metres around an area, beyond its buffer, within which permits and zones can matter to it."""

_METRES_PER_DEGREE = 110_500.0
"""A little less than a degree of latitude is anywhere, so that boxes come out larger, never smaller."""


class Places(StoreBase):
    """The part of the store that knows where things are."""

    def put_area(self, area: Area) -> bool:
        """Add or replace an area; False where it was there as it is.

        A new outline or buffer makes a new grid: its passes are marked to be issued again.
        """
        with self._writing() as db:
            before = _area(db, area.id)
            if before == area:
                return False
            _put(db, "areas", area, hash_=digest(area), place=area_box(area))
            if before is not None and _outline(before) != _outline(area):
                db.execute("UPDATE passes SET settings_digest = '' WHERE area_id = ?", [area.id])
            return True

    def areas(self, near: BaseGeometry | None = None) -> tuple[Area, ...]:
        """All areas by id, or those whose snapshot would hold something at ``near`` (lon/lat)."""
        with self._reading() as db:
            found = tuple(Area.model_validate_json(text) for text in _contents(db, "areas", near))
        return tuple(area for area in found if near is None or area_box(area).intersects(near))

    def area(self, area_id: str) -> Area:
        """Raises NotFound."""
        with self._reading() as db:
            return _known_area(db, area_id)

    def remove_area(self, area_id: str) -> None:
        """Stop watching. Its incidents and notices stay; its passes are forgotten. Raises NotFound."""
        with self._writing() as db:
            _known_area(db, area_id)
            db.execute("DELETE FROM areas_boxes WHERE num = (SELECT num FROM areas WHERE id = ?)", [area_id])
            db.execute("DELETE FROM areas WHERE id = ?", [area_id])
            db.execute("DELETE FROM passes WHERE area_id = ?", [area_id])

    def import_permits(self, permits: Iterable[Permit]) -> ImportCounts:
        """Add or replace by id. A row whose attributes and geometry are the same stays as first seen."""
        return self._import("permits", permits)

    def permits(self, near: BaseGeometry | None = None) -> tuple[Permit, ...]:
        """All permits by id, or those that touch ``near`` (lon/lat)."""
        with self._reading() as db:
            return _permits(db, near)

    def import_zones(self, zones: Iterable[Zone]) -> ImportCounts:
        """Add or replace by id; see ``import_permits``."""
        return self._import("zones", zones)

    def zones(self, near: BaseGeometry | None = None) -> tuple[Zone, ...]:
        """All zones by id, or those that touch ``near`` (lon/lat)."""
        with self._reading() as db:
            return _zones(db, near)

    def snapshot(self, area_id: str) -> RegistrySnapshot:
        """The area with the permits and zones that touch ``area_box``. Raises NotFound."""
        with self._reading() as db:
            area = _known_area(db, area_id)
            place = area_box(area)
            return RegistrySnapshot(area=area, permits=_permits(db, place), zones=_zones(db, place))

    def _import(self, table: str, values: Iterable[Permit] | Iterable[Zone]) -> ImportCounts:
        counts = {"added": 0, "changed": 0, "unchanged": 0}
        with self._writing() as db:
            for value in values:
                counts[_import_one(db, table, value)] += 1
        return ImportCounts(**counts)


def area_box(area: Area) -> BaseGeometry:
    """The area's bounding box in degrees, grown by its buffer and SNAPSHOT_MARGIN_M."""
    west, south, east, north = area.geometry.bounds
    margin = (area.buffer_m + SNAPSHOT_MARGIN_M) / _METRES_PER_DEGREE
    highest = min(89.0, max(abs(south), abs(north)) + margin)
    wide = margin / math.cos(math.radians(highest))
    return shapely.intersection(box(west - wide, south - margin, east + wide, north + margin), WORLD)


def _outline(area: Area) -> tuple[bytes, float]:
    return (shapely.to_wkb(area.geometry), area.buffer_m)


def _area(db: Database, area_id: str) -> Area | None:
    row = db.execute("SELECT content FROM areas WHERE id = ?", [area_id]).fetchone()
    return None if row is None else Area.model_validate_json(row[0])


def _known_area(db: Database, area_id: str) -> Area:
    area = _area(db, area_id)
    if area is None:
        raise NotFound(f"area {area_id} does not exist; list them with: groundwatch area list")
    return area


def _permits(db: Database, near: BaseGeometry | None) -> tuple[Permit, ...]:
    found = (Permit.model_validate_json(text) for text in _contents(db, "permits", near))
    return tuple(permit for permit in found if near is None or permit.geometry.intersects(near))


def _zones(db: Database, near: BaseGeometry | None) -> tuple[Zone, ...]:
    found = (Zone.model_validate_json(text) for text in _contents(db, "zones", near))
    return tuple(zone for zone in found if near is None or zone.geometry.intersects(near))


def _contents(db: Database, table: str, near: BaseGeometry | None) -> Sequence[str]:
    """Stored values by id, all of them or those whose box touches that of ``near``."""
    where, bounds = "", []
    if near is not None:
        west, south, east, north = near.bounds
        where = (
            f" WHERE num IN (SELECT num FROM {table}_boxes"
            " WHERE west <= ? AND east >= ? AND south <= ? AND north >= ?)"
        )
        bounds = [east, west, north, south]
    return [row[0] for row in db.execute(f"SELECT content FROM {table}{where} ORDER BY id", bounds)]


def _import_one(db: Database, table: str, value: Permit | Zone) -> str:
    row = db.execute(f"SELECT content_hash, content FROM {table} WHERE id = ?", [value.id]).fetchone()
    if row is not None and row[0] == value.content_hash and _as_released(value, row[1]) == row[1]:
        return "unchanged"
    _put(db, table, value, hash_=value.content_hash, place=value.geometry)
    return "added" if row is None else "changed"


def _as_released(value: Permit | Zone, stored: str) -> str:
    """``value`` as it would be stored had it come with the stored release.

    A register that is published daily must not look changed every day.
    """
    if isinstance(value, Permit):
        value = value.model_copy(update={"release": json.loads(stored)["release"]})
    return text_of(value, f"row {value.id}")


def _put(db: Database, table: str, value: Area | Permit | Zone, *, hash_: str, place: BaseGeometry) -> None:
    num = db.execute(
        f"INSERT INTO {table} (id, content_hash, content) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE"
        " SET content_hash = excluded.content_hash, content = excluded.content RETURNING num",
        [value.id, hash_, text_of(value, f"{table} row {value.id}")],
    ).fetchone()[0]
    west, south, east, north = place.bounds
    db.execute(
        f"INSERT OR REPLACE INTO {table}_boxes (num, west, east, south, north) VALUES (?, ?, ?, ?, ?)",
        [num, west, east, south, north],
    )
