"""MAIN PATH of ingest: areas -> search -> passes not seen yet or changed -> recorded and published.

Everything is repeatable: what was recorded is recognised, and a cursor moves only after all that lies
before it is recorded. A crash at any point costs a second look, never a pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta

from shapely.geometry.base import BaseGeometry

from ingest.answers import Query
from ingest.catalog import Catalog
from ingest.cursors import Cursor
from ingest.gather import MARGIN, Ask, Gatherer, Source
from ingest.issue import Issuer
from ingest.marks import AreaMarks
from ingest.providers import Batching
from registry.blobs import Blobs
from registry.bus import Lane
from registry.errors import InputError
from registry.log import get_logger
from registry.models import Area
from registry.setting_models import Settings
from registry.store import Store
from registry.values import Value

log = get_logger(__name__)

Progress = Callable[[int, int, str], None]
"""Told after each step: steps done, steps in all, what was done."""

SLICE = timedelta(days=183)
"""Days of history that are read and recorded at a time."""

TILES_SEEN = timedelta(days=60)
"""Age of the passes that tell which tiles an area lies in."""


class PollReport(Value):
    """What a poll or a backfill did."""

    areas: int = 0
    requests: int = 0
    """Sent to providers, repeats included."""
    items: int = 0
    """STAC items looked at."""
    scenes: int = 0
    """Usable scenes that meet an area."""
    new: int = 0
    """Passes never seen before."""
    revised: int = 0
    """Passes whose scenes came, went or changed."""
    withdrawn: int = 0
    """Passes that the provider took back."""
    reissued: int = 0
    """Passes that got another partner."""
    unchanged: int = 0
    """Passes that were known as they are."""
    published: int = 0
    """Events handed to the bus."""
    problems: tuple[str, ...] = ()
    """Items and areas that were left out, one line each."""
    notes: tuple[str, ...] = ()
    """What providers claim and do not do."""
    failures: tuple[str, ...] = ()
    """Collections that could not be read; the next poll reads on where this one stopped."""


class Poller:
    """Looks for passes over the areas of the store, at all providers."""

    def __init__(
        self,
        store: Store,
        catalogs: Sequence[Catalog],
        *,
        blobs: Blobs,
        settings: Settings,
        now: Callable[[], datetime],
        progress: Progress = lambda _done, _total, _what: None,
    ) -> None:
        self._store = store
        self._catalogs = tuple(catalogs)
        self._sources = [
            Source(one, collection) for one in catalogs for collection in one.profile.collections
        ]
        self._blobs = blobs
        self._settings = settings
        self._now = now
        self._progress = progress

    def poll(self) -> PollReport:
        """Everything that came since the last poll; for a new area, everything since ``poll.start``.

        Raises the first error where no provider could be read at all.
        """
        now, sent = self._now(), self._sent()
        gatherer, marks = self._gatherer(), self._marks()
        cursors = {one.name: Cursor.from_text(self._store.cursor(_cursor_name(one))) for one in self._sources}
        areas = self._store.areas()
        self._reissue(gatherer, areas, marks)
        rounds = [(new, batch) for new, some in marks.by_unread(areas) for batch in self._batches(some)]
        gatherer.looked = self._counting(sum(self._looks(new, now) for new, _ in rounds))
        for new, batch in rounds:
            self._read_history(gatherer, batch, new, now)
            marks.joined(batch, new - gatherer.failed.keys())
            self._read_news(gatherer, batch, new, cursors, now)
        marks.settle(areas)
        self._move(gatherer, cursors, now)
        return self._report(gatherer, areas, sent)

    def backfill(
        self, area_ids: Collection[str] | None, since: date, until: date | None = None
    ) -> PollReport:
        """Read again what was acquired from ``since`` to ``until`` (both included; None = today).

        Passes are issued again where outline or settings changed since. Raises NotFound for an unknown
        area, InputError for days in the wrong order, the first error where no provider could be read.
        """
        now, sent = self._now(), self._sent()
        last = until or now.date()
        if last < since:
            raise InputError(f"until {last} lies before since {since}; give the earlier day as since")
        areas = self._store.areas() if area_ids is None else tuple(self._store.area(one) for one in area_ids)
        gatherer, everyone = self._gatherer(force=True), {one.name for one in self._sources}
        self._reissue(gatherer, areas, self._marks())
        slices = list(_slices(_midnight(since), _midnight(last + timedelta(days=1)), now))
        steps = [(batch, *one) for batch in self._batches(areas) for one in slices]
        gatherer.looked = self._counting(len(steps))
        for batch, first, end in steps:
            gatherer.look(batch, _window(first, end, everyone), since=first, until=end, lane=Lane.BACKFILL)
        return self._report(gatherer, areas, sent)

    # -- which areas, how many at a time ---------------------------------------------------------

    def _batches(self, areas: Iterable[Area]) -> Iterator[list[Area]]:
        """Neighbours together: they share tiles, so that one request serves many of them."""
        ordered = sorted(areas, key=_place_in_line)
        size = self._settings.poll.areas_per_query
        for first in range(0, len(ordered), size):
            yield ordered[first : first + size]

    # -- what to ask -----------------------------------------------------------------------------

    def _read_history(
        self, gatherer: Gatherer, batch: Sequence[Area], new: Collection[str], now: datetime
    ) -> None:
        """All since ``poll.start`` at the sources that are new to these areas."""
        for since, until in _slices(self._start(), None, now) if new else ():
            gatherer.look(batch, _window(since, until, new), since=since, until=until, lane=Lane.BACKFILL)

    def _read_news(
        self,
        gatherer: Gatherer,
        batch: Sequence[Area],
        new: Collection[str],
        cursors: Mapping[str, Cursor],
        now: datetime,
    ) -> None:
        """What came since the last poll at the other sources: by update where they can, else by window."""
        lookback = timedelta(days=self._settings.poll.lookback_days)

        def ask(source: Source, place: BaseGeometry) -> Query | None:
            if source.name in new:
                return None
            cursor = cursors[source.name]
            updates = cursor.updates_since(now)
            return Query(
                collection=source.collection,
                geometry=place,
                since=cursor.window_start(start=self._start(), lookback=lookback) - MARGIN,
                updated_since=updates,
                floor=self._start(),
                mark=cursor.mark,
                tiles=() if updates is None else self._tiles(source, batch, now),
            )

        if len(new) < len(self._sources):
            gatherer.look(batch, ask, since=self._start())

    def _tiles(self, source: Source, areas: Iterable[Area], now: datetime) -> tuple[str, ...]:
        """Tiles of these areas as their passes tell them; none where an area has none yet."""
        if source.catalog.profile.batching is not Batching.TILES:
            return ()
        tiles: set[str] = set()
        for area in areas:
            passes = self._store.passes(area.id, sensor=source.collection.sensor, since=now - TILES_SEEN)
            own = {scene.tile for one in passes for scene in one.scenes if scene.tile}
            if not own:
                return ()
            tiles |= own
        return tuple(sorted(tiles))

    def _start(self) -> datetime:
        return _midnight(self._settings.poll.start)

    # -- beginning and end -----------------------------------------------------------------------

    def _gatherer(self, *, force: bool = False) -> Gatherer:
        issuer = Issuer(self._store, self._blobs, self._settings.detection_for, self._now)
        return Gatherer(self._store, self._sources, issuer, force=force)

    def _looks(self, new: Collection[str], now: datetime) -> int:
        """How often a batch is looked at: once per stretch of history, once for news."""
        history = len(list(_slices(self._start(), None, now))) if new else 0
        return history + int(len(new) < len(self._sources))

    def _counting(self, total: int) -> Callable[[str], None]:
        steps = itertools.count(1)
        return lambda what: self._progress(next(steps), total, what)

    def _sent(self) -> int:
        return sum(one.requests for one in self._catalogs)

    def _reissue(self, gatherer: Gatherer, areas: Iterable[Area], marks: AreaMarks) -> None:
        """First of all: what comes next must find its history issued for the same thresholds."""
        issued = []
        for area in areas:
            try:
                issued.append((area, gatherer.issuer.reissue_if_changed(area, marks.issued(area))))
            except InputError as exc:
                gatherer.left_out(area, exc)
        marks.set_issued(issued)

    def _marks(self) -> AreaMarks:
        names = [one.name for one in self._sources]
        return AreaMarks(self._store, start=self._settings.poll.start, sources=names)

    def _move(self, gatherer: Gatherer, cursors: Mapping[str, Cursor], now: datetime) -> None:
        """Cursors of the sources that answered everything move on, now that all is recorded."""
        for source in self._sources:
            answers = gatherer.answers[source.name]
            if source.name not in gatherer.failed and answers:
                moved = cursors[source.name].moved(answers, now)
                self._store.set_cursor(_cursor_name(source), moved.to_text())

    def _report(self, gatherer: Gatherer, areas: Sequence[Area], sent: int) -> PollReport:
        if gatherer.failed and len(gatherer.failed) == len(self._sources):
            raise next(iter(gatherer.failed.values()))
        report = PollReport(
            areas=len(areas),
            requests=self._sent() - sent,
            items=gatherer.items,
            scenes=gatherer.scenes,
            **asdict(gatherer.issuer.counts),
            problems=tuple(gatherer.problems),
            notes=tuple(gatherer.notes),
            failures=tuple(str(exc) for exc in gatherer.failed.values()),
        )
        log.info("poll done", **report.model_dump(include={"areas", "requests", "items", "new", "revised"}))
        return report


def _window(since: datetime, until: datetime | None, sources: Collection[str]) -> Ask:
    """Asks these sources for all that was acquired from ``since`` on, before ``until``."""
    end = None if until is None else until + MARGIN

    def ask(source: Source, place: BaseGeometry) -> Query | None:
        if source.name not in sources:
            return None
        return Query(collection=source.collection, geometry=place, since=since - MARGIN, until=end)

    return ask


def _slices(
    since: datetime, until: datetime | None, now: datetime
) -> Iterator[tuple[datetime, datetime | None]]:
    """Stretches of history, oldest first, so that partners are there before those that need them."""
    end = until or now
    while since + SLICE < end:
        yield since, since + SLICE
        since += SLICE
    yield since, until


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _place_in_line(area: Area) -> tuple[int, float, str]:
    """Stripes of one degree, west to east, each from south to north: neighbours follow each other."""
    point = area.geometry.representative_point()
    return int(point.x // 1), point.y, area.id


def _cursor_name(source: Source) -> str:
    return f"poll/{source.name}"
