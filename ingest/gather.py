"""Asks every source about a batch of areas, and hands each area the scenes that meet it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import shapely
from shapely.geometry.base import BaseGeometry

from ingest.answers import Answer, Query
from ingest.catalog import Catalog
from ingest.footprints import buffered, query_geometry
from ingest.issue import Issuer
from ingest.providers import CollectionProfile
from registry.bus import Lane
from registry.errors import ConfigError, GroundwatchError, InputError, Reject, Retry
from registry.log import bound, get_logger
from registry.models import Area, Pass, Scene
from registry.store import Store

log = get_logger(__name__)

MARGIN = timedelta(hours=1)
"""Read around a window and then left out, so that no acquisition is cut in two at its edge."""

GONE_CHECKS = 100
"""Most scenes of one run that are looked up one by one because an answer lacks them."""


@dataclass(frozen=True)
class Source:
    """One collection of one provider."""

    catalog: Catalog
    collection: CollectionProfile

    @property
    def name(self) -> str:
        """Provider and collection."""
        return f"{self.catalog.name}/{self.collection.id}"


Ask = Callable[[Source, BaseGeometry], Query | None]
"""What to ask a source about a place; None = nothing."""


@dataclass
class Gatherer:
    """What one poll or backfill asks, and what it has gathered so far."""

    store: Store
    sources: Sequence[Source]
    issuer: Issuer
    force: bool = False
    """Publish unchanged passes too."""
    items: int = 0
    scenes: int = 0
    problems: dict[str, None] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    failed: dict[str, GroundwatchError] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    gone_checks: int = 0
    looked: Callable[[str], None] = lambda _what: None
    """Told after each look what was read."""

    def look(
        self,
        batch: Sequence[Area],
        ask: Ask,
        *,
        since: datetime,
        until: datetime | None = None,
        lane: Lane = Lane.LIVE,
    ) -> None:
        """Ask every source that has not failed, then record area by area and publish on ``lane``.

        Passes acquired before ``since`` or from ``until`` on are left to another look.
        """
        shapes = [buffered(area.geometry, area.buffer_m) for area in batch]
        tree = shapely.STRtree(shapes)
        place = query_geometry(shapes)
        found: dict[str, list[Scene]] = defaultdict(list)
        read: list[tuple[Source, Query, Answer]] = []
        for source in self.sources:
            query = ask(source, place)
            answer = None if query is None else self._ask(source, query)
            if query is None or answer is None:
                continue
            read.append((source, query, answer))
            for scene in answer.scenes:
                meets = tree.query(scene.footprint, predicate="intersects")
                self.scenes += bool(len(meets))
                for index in meets:
                    found[batch[index].id].append(scene)
        for area in batch:
            self._record(area, found[area.id], read, since=since, until=until, lane=lane)
        self.looked(f"{len(batch)} areas from {since:%Y-%m-%d}")

    def left_out(self, area: Area, reason: InputError) -> None:
        """Note an area that cannot be worked on; the others go on."""
        self.problems[f"area {area.id}: {reason}"] = None
        with bound(area=area.id):
            log.warning("area left out", reason=str(reason))

    def _ask(self, source: Source, query: Query) -> Answer | None:
        if source.name in self.failed:
            return None
        try:
            answer = source.catalog.search(query)
        except (Retry, Reject, ConfigError) as exc:
            self.failed[source.name] = exc
            log.warning("provider cannot be read", provider=source.name, reason=str(exc))
            return None
        self.items += answer.items
        self.answers[source.name].append(answer)
        self.notes.update(dict.fromkeys(answer.notes))
        for problem in answer.problems:
            if str(problem) not in self.problems:
                log.warning("item left out", provider=source.name, item=problem.item, reason=problem.reason)
            self.problems[str(problem)] = None
        return answer

    def _record(
        self,
        area: Area,
        scenes: Sequence[Scene],
        read: Sequence[tuple[Source, Query, Answer]],
        *,
        since: datetime,
        until: datetime | None,
        lane: Lane,
    ) -> None:
        gone = self._gone(area, read)
        if not (scenes or gone):
            return
        try:
            self.issuer.record(area, scenes, gone=gone, since=since, until=until, force=self.force, lane=lane)
        except InputError as exc:
            self.left_out(area, exc)

    def _gone(self, area: Area, read: Sequence[tuple[Source, Query, Answer]]) -> dict[str, set[str]]:
        """By pass key, recorded scenes that a whole window lacks and the provider says it does not have."""
        gone: dict[str, set[str]] = defaultdict(set)
        for source, query, answer in read:
            if not answer.complete:
                continue
            there = {scene.id for scene in answer.scenes} | {problem.item for problem in answer.problems}
            stored = self.store.passes(
                area.id,
                sensor=source.collection.sensor,
                since=query.since + MARGIN,
                until=query.until and query.until - MARGIN,
            )
            for one, scene in _scenes_of(source, stored):
                if scene.id not in there and self._is_gone(source, scene):
                    gone[one.key].add(scene.id)
        return gone

    def _is_gone(self, source: Source, scene: Scene) -> bool:
        self.gone_checks += 1
        if self.gone_checks > GONE_CHECKS:
            return False
        try:
            return source.catalog.is_gone(source.collection.id, scene.id)
        except (Retry, Reject, ConfigError) as exc:
            log.warning("cannot tell whether a scene was taken back", item=scene.id, reason=str(exc))
            return False


def _scenes_of(source: Source, passes: Iterable[Pass]) -> Iterator[tuple[Pass, Scene]]:
    for one in passes:
        for scene in one.scenes if not one.withdrawn else ():
            if (scene.provider, scene.collection) == (source.catalog.name, source.collection.id):
                yield one, scene
