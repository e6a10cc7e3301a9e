"""Settings to a running program: opens store, bus and blobs, makes the workers, and turns the crank."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.blobs import Blobs, open_blobs
from registry.bus import Bus, Topic, open_bus
from registry.errors import NotFound
from registry.events import PermitsChanged, permits_changed
from registry.grid import area_grid
from registry.log import configure, get_logger
from registry.models import Area, DeliveryRecord, Permit, Zone
from registry.settings import Settings, load_settings
from registry.snapshots import store_snapshot
from registry.store import ImportCounts, Store, open_store

if TYPE_CHECKING:
    from alerts.worker import AlertWorker
    from detector.worker import DetectorWorker
    from ingest.poll import Poller, PollReport

log = get_logger(__name__)


@dataclass(frozen=True)
class Tally:
    """What one round did."""

    passes_queued: int = 0
    passes_done: int = 0
    changes_done: int = 0
    delivered: int = 0
    retried: int = 0
    rejected: int = 0
    problems: tuple[str, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        numbers = {name: getattr(self, name) + getattr(other, name) for name in self.summary()}
        return Tally(**numbers, problems=self.problems + other.problems)

    def summary(self) -> dict[str, int]:
        """The numbers by name."""
        return {name: value for name, value in vars(self).items() if name != "problems"}


def utc_now() -> datetime:
    """The clock; everything below gets it handed in."""
    return datetime.now(UTC)


@dataclass
class App:
    """The configured program: the three stores and, made on demand, the workers."""

    settings: Settings
    store: Store
    bus: Bus
    blobs: Blobs
    now: Callable[[], datetime] = utc_now
    stopping: threading.Event = field(default_factory=threading.Event)

    def add_areas(self, areas: Sequence[Area]) -> int:
        """Store areas; returns how many are new or changed. Refuses one no grid can hold."""
        for area in areas:
            area_grid(area.geometry, area.buffer_m)
        return sum(self.store.put_area(area) for area in areas)

    def import_permits(self, permits: Sequence[Permit]) -> tuple[ImportCounts, int]:
        """Store permits and queue the areas near them to be judged again."""
        return self._judging_again(lambda: self.store.import_permits(permits))

    def import_zones(self, zones: Sequence[Zone]) -> tuple[ImportCounts, int]:
        """Store zones and queue the areas near them to be judged again."""
        return self._judging_again(lambda: self.store.import_zones(zones))

    def _judging_again(self, store: Callable[[], ImportCounts]) -> tuple[ImportCounts, int]:
        areas = self.store.areas()
        before = {area.id: self.store.snapshot(area.id).version for area in areas}
        counts = store()
        changed = [area for area in areas if self.store.snapshot(area.id).version != before[area.id]]
        return counts, sum(self._judge_again(area) for area in changed)

    def _judge_again(self, area: Area) -> int:
        if not self.store.passes(area.id):
            return 0
        task = PermitsChanged(
            area=area,
            grid=area_grid(area.geometry, area.buffer_m),
            registry=store_snapshot(self.blobs, self.store.snapshot(area.id)),
            settings=self.settings.detection_for(area.id),
        )
        return int(self.bus.publish(Topic.PASSES, permits_changed(task, at=self.now())))

    def status(self) -> dict[str, Any]:
        """Counts, queues and the last pass of each area, for people and programs."""
        found = self.store.status()
        queues = [{"queue": topic.value, **self.bus.depth(topic).model_dump()} for topic in Topic]
        by_area = [
            {"area": area_id, "last_pass": f"{last:%Y-%m-%d %H:%M}" if last else "none yet"}
            for area_id, last in sorted(found.last_pass.items())
        ]
        counts = found.model_dump(mode="json", exclude={"last_pass", "incidents"})
        incidents = {f"{status.value}_incidents": number for status, number in found.incidents.items()}
        return {**counts, **incidents, "queues": queues, "by_area": by_area}

    def revive(self, dead_ids: Sequence[str] | None) -> int:
        """Put dead letters and failed deliveries (``notice@target``) back; None = all of them."""
        letters = {letter.id for letter in self.bus.dead()}
        failed = {failed_name(record): record for record in self.store.failed_deliveries()}
        wanted = [*letters, *failed] if dead_ids is None else list(dead_ids)
        unknown = [name for name in wanted if name not in letters and name not in failed]
        if unknown:
            raise NotFound(f"nothing given up is called {unknown[0]!r}; see `groundwatch dead list`")
        for name in wanted:
            if name in letters:
                self.bus.revive(name)
            else:
                self.store.revive_delivery(failed[name])
        return len(wanted)

    def poller(self) -> Poller:
        """Ingest, ready to poll."""
        from ingest.poll import Poller

        return Poller(self.store, self.blobs, self.settings, now=self.now)

    def detector(self) -> DetectorWorker:
        """The detector, with its model cards loaded."""
        from detector.worker import DetectorWorker

        return DetectorWorker(self.bus, self.blobs, settings=self.settings, now=self.now)

    def alerter(self) -> AlertWorker:
        """The alerter."""
        from alerts.worker import AlertWorker

        return AlertWorker(self.store, self.blobs, self.settings, now=self.now)

    def backfill(self, area_ids: Sequence[str], since: datetime, until: datetime | None) -> Tally:
        """Queue the passes of a period, all areas where none is named."""
        wanted = tuple(area_ids) or tuple(area.id for area in self.store.areas())
        return polled(self.poller().backfill(wanted, since, until or self.now()))

    def run(self, *, once: bool, roles: Sequence[str]) -> Tally:
        """Turn the crank until stopped; ``once``: until nothing is left to do now."""
        with self._graceful():
            from groundwatch.crank import Crank

            crank = Crank(self, frozenset(roles))
            total = crank.turn(once=once)
            while not once and not self.stopping.is_set():
                self.stopping.wait(crank.idle_seconds())
                total = total + crank.turn(once=once)
        return total

    @contextmanager
    def _graceful(self) -> Iterator[None]:
        """SIGTERM and SIGINT finish the event in hand, then stop; a second one stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, _frame: object) -> None:
            if self.stopping.is_set():
                raise KeyboardInterrupt
            log.info("stopping after the work in hand", signal=signal.Signals(number).name)
            self.stopping.set()

        previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def failed_name(record: DeliveryRecord) -> str:
    """What people call a failed delivery: the start of its notice's id, and its target."""
    return f"{record.notice_id[:8]}@{record.target}"


def polled(report: PollReport) -> Tally:
    """What ingest did, as a tally."""
    queued = report.passes_new + report.passes_revised
    return Tally(passes_queued=queued, problems=report.problems)


@contextmanager
def open_app(config: Path | None, *, verbose: bool = False) -> Iterator[App]:
    """The program as the configuration says; everything closed at the end."""
    settings = load_settings(config)
    configure(level="DEBUG" if verbose else settings.log.level)
    settings.data.mkdir(parents=True, exist_ok=True)
    store = open_store(settings.store_path, now=utc_now)
    bus = open_bus(settings.bus_url)
    try:
        yield App(settings=settings, store=store, bus=bus, blobs=open_blobs(settings.blobs_url))
    finally:
        bus.close()
        store.close()
