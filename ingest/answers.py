"""What a catalog is asked and what it answers. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from ingest.items import ItemProblem
from ingest.providers import CollectionProfile
from registry.models import Scene
from registry.values import utc_text


@dataclass(frozen=True)
class Mark:
    """The item that was touched last: where the next look at updates begins."""

    updated: datetime
    """When the provider touched it."""
    acquired: datetime
    """Its sensing time."""


@dataclass(frozen=True)
class Query:
    """What is asked of one collection."""

    collection: CollectionProfile
    geometry: BaseGeometry
    """Lon/lat degrees; everything that meets it."""
    since: datetime
    """First sensing time of the window."""
    until: datetime | None = None
    """Last sensing time; None = no end."""
    updated_since: datetime | None = None
    """Only items touched from then on, where the server can do that; else the window."""
    floor: datetime | None = None
    """First sensing time that counts among the items touched; None = ``since``."""
    mark: Mark | None = None
    """An item that is known to be there, to prove the server's filter with."""
    tiles: tuple[str, ...] = ()
    """Ask by these MGRS tiles instead of the geometry, where the server can do that."""

    def parameters(self, *, updated: bool, by_tile: bool, sort: bool) -> dict[str, Any]:
        """The search, in pystac-client's words: by update or by window, by tile or by place."""
        asked: dict[str, Any] = {"collections": [self.collection.id]}
        name, conditions = self.collection.properties.updated, []
        if by_tile:
            codes = [f"{self.collection.tile_prefix}{tile}" for tile in self.tiles]
            conditions.append({"op": "in", "args": [{"property": self.collection.tile_query}, codes]})
        else:
            asked["intersects"] = mapping(self.geometry)
        if updated and self.updated_since is not None:
            bound = utc_text(self.updated_since)  # a plain text: some servers fail on {"timestamp": ...}
            conditions.append({"op": ">=", "args": [{"property": name}, bound]})
        else:
            until = utc_text(self.until) if self.until else ".."
            asked["datetime"] = f"{utc_text(self.since)}/{until}"
        if conditions:
            whole = conditions[0] if len(conditions) == 1 else {"op": "and", "args": conditions}
            asked |= {"filter": whole, "filter_lang": "cql2-json"}
        if sort:
            by = f"properties.{name}" if updated else "properties.datetime"
            asked["sortby"] = [{"field": by, "direction": "asc"}]
        return asked


@dataclass(frozen=True)
class Answer:
    """What came back."""

    scenes: tuple[Scene, ...]
    """One per item id, newest version, in order of acquisition and id."""
    problems: tuple[ItemProblem, ...]
    complete: bool
    """True = the whole window was asked, so what is missing is not there."""
    items: int
    """Items that were looked at."""
    newest: Mark | None
    """The item touched last; None where an item does not say when it was touched."""
    notes: tuple[str, ...] = ()
    """What the server does not do although it claims to, one line each."""


@dataclass
class Reading:
    """What has been read of one answer so far."""

    items: int = 0
    scenes: dict[str, Scene] = field(default_factory=dict)
    problems: dict[str, ItemProblem] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)
    newest: Mark | None = None
    all_dated: bool = True

    def answer(self, *, complete: bool) -> Answer:
        """All of it, in a fixed order."""
        scenes = sorted(self.scenes.values(), key=lambda one: (one.acquired, one.id))
        newest = self.newest if self.all_dated else None
        problems = tuple(self.problems.values())
        notes = tuple(sorted(self.notes))
        return Answer(tuple(scenes), problems, complete, self.items, newest, notes)

    def take(self, scene: Scene, moment: datetime | None) -> None:
        """Keep a scene that was touched at ``moment``: of several versions of an item the newest."""
        known = self.scenes.get(scene.id)
        if known is None or known.version < scene.version:
            self.scenes[scene.id] = scene
        self.all_dated = self.all_dated and moment is not None
        if moment is not None and (self.newest is None or moment > self.newest.updated):
            self.newest = Mark(moment, scene.acquired)
