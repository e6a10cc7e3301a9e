"""Settings to a running program: opens store, bus and blobs, makes the workers, and turns the crank."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundwatch.health import Work, alarms, silent_areas
from registry.blobs import Blobs, open_blobs
from registry.bus import Bus, Topic, open_bus
from registry.errors import ConfigError, NotFound
from registry.events import PermitsChanged, permits_changed
from registry.grid import area_grid
from registry.log import configure, get_logger
from registry.models import Area, DeliveryRecord, Permit, Zone
from registry.reach import Reach, host_of
from registry.settings import Settings, load_settings
from registry.snapshots import store_snapshot
from registry.store import ImportCounts, Store, open_store

if TYPE_CHECKING:
    from alerts.worker import AlertWorker
    from detector.reading import ReaderSettings
    from detector.worker import DetectorWorker
    from groundwatch.relay import Relay
    from ingest.poll import Poller, Progress
    from ingest.providers import Profile

log = get_logger(__name__)

_ANY_NUMBER = 1_000_000_000


def worker_name() -> str:
    """Who this process is, for leases and logs."""
    return f"{socket.gethostname()}:{os.getpid()}"


def utc_now() -> datetime:
    """The clock; everything below gets it handed in."""
    return datetime.now(UTC)


class App:
    """The configured program. Store, bus and blobs are opened, and workers made, when first asked for.

    So a detector on a bus of many machines never opens the store, which lies on another host.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], datetime] = utc_now,
        load: Callable[[], Settings] | None = None,
    ) -> None:
        """``load`` reads the settings again."""
        self.settings = settings
        self.now = now
        self.stopping = threading.Event()
        self.reloading = threading.Event()
        self._load = load or (lambda: settings)
        self._opened = ExitStack()

    def renewed(self) -> App:
        """The program as its settings are now, beside this one. Raises ConfigError where they are wrong."""
        app = App(self._load(), now=self.now, load=self._load)
        app.stopping, app.reloading = self.stopping, self.reloading
        return app

    @cached_property
    def store(self) -> Store:
        """The registry, with the areas that the configuration defines."""
        self._make_data()
        store = self._opened.enter_context(open_store(self.settings.store_path, now=self.now))
        self._put_areas(store, self.settings.defined_areas())
        return store

    @cached_property
    def blobs(self) -> Blobs:
        """The blobs."""
        return open_blobs(self.settings.blobs_url, self.settings.s3, self.settings.blob_cache)

    @cached_property
    def bus(self) -> Bus:
        """The bus that workers receive from."""
        if self.settings.is_embedded:
            self._make_data()
        work = self.settings.work
        bus = open_bus(
            self.settings.bus_url,
            lease_s=work.lease_s,
            max_attempts=work.max_attempts,
            kafka=self.settings.kafka,
        )
        self._opened.callback(bus.close)
        return bus

    @cached_property
    def outbox(self) -> Bus:
        """The bus inside the store's file, where whoever owns the store publishes: ``bus`` if embedded."""
        if self.settings.is_embedded:
            return self.bus
        self._make_data()
        # Attempts are the relay's: a bus that is down for long must not cost a pass.
        outbox = open_bus(f"sqlite:///{self.settings.store_path}", max_attempts=_ANY_NUMBER)
        self._opened.callback(outbox.close)
        return outbox

    def close(self) -> None:
        """Give back what was opened."""
        self._opened.close()

    def add_areas(self, areas: Sequence[Area]) -> int:
        """Store areas; returns how many are new or changed. Refuses one no grid can hold."""
        return self._put_areas(self.store, areas)

    def _put_areas(self, store: Store, areas: Sequence[Area]) -> int:
        for area in areas:
            area_grid(area.geometry, area.buffer_m)
        return sum(store.put_area(area) for area in areas)

    def _make_data(self) -> None:
        try:
            self.settings.data.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ConfigError(
                f"data {self.settings.data} can't be made ({exc.strerror}); name another folder"
            ) from exc

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
        return int(self.outbox.publish(Topic.PASSES, permits_changed(task, at=self.now())))

    def status(self) -> dict[str, Any]:
        """Counts, queues and the last pass of each area, for people and programs."""
        found = self.store.status()
        queues = [{"queue": topic.value, **self.bus.depth(topic).model_dump()} for topic in Topic]
        if not self.settings.is_embedded:
            queues.append({"queue": "outbox", **self.outbox.depth(Topic.PASSES).model_dump()})
        by_area = [
            {"area": area_id, "last_pass": f"{last:%Y-%m-%d %H:%M}" if last else "none yet"}
            for area_id, last in sorted(found.last_pass.items())
        ]
        counts = found.model_dump(mode="json", exclude={"last_pass", "revisit_days", "incidents"})
        incidents = {f"{status.value}_incidents": number for status, number in found.incidents.items()}
        silent = silent_areas(found, self.settings.operations, now=self.now())
        work = self._work(failed_deliveries=found.failed_deliveries)
        return {
            **counts,
            **incidents,
            "silent_areas": list(silent),
            "alarms": list(alarms(work, silent)),
            "queues": queues,
            "by_area": by_area,
        }

    def _work(self, *, failed_deliveries: int) -> Work:
        yesterday = self.now() - timedelta(days=1)
        letters = [letter for bus in self.buses for letter in bus.dead()]
        depth, flow = self.bus.depth(Topic.PASSES), self.store.flow(yesterday)
        return Work(
            waiting=depth.waiting + depth.in_flight,
            dead=len(letters),
            died=sum(letter.died >= yesterday for letter in letters),
            failed_deliveries=failed_deliveries,
            seen=flow.seen,
            inferred=flow.inferred,
        )

    def revive(self, dead_ids: Sequence[str] | None) -> int:
        """Put dead letters and failed deliveries (``notice@target``) back; None = all of them."""
        letters = {letter.id: bus for bus in self.buses for letter in bus.dead()}
        failed = {failed_name(record): record for record in self.store.failed_deliveries()}
        wanted = [*letters, *failed] if dead_ids is None else list(dead_ids)
        unknown = [name for name in wanted if name not in letters and name not in failed]
        if unknown:
            raise NotFound(f"nothing given up is called {unknown[0]!r}; see `groundwatch dead list`")
        for name in wanted:
            if name in letters:
                letters[name].revive(name)
            else:
                self.store.revive_delivery(failed[name])
        return len(wanted)

    @property
    def buses(self) -> tuple[Bus, ...]:
        """Where dead letters may lie: the bus, and the outbox where that is another."""
        return (self.bus,) if self.settings.is_embedded else (self.bus, self.outbox)

    def relay(self) -> Relay | None:
        """What ships the outbox to the bus; None where they are one."""
        from groundwatch.relay import Relay

        return None if self.settings.is_embedded else Relay(self.outbox, self.bus, worker=worker_name())

    def poller(self, progress: Progress | None = None) -> Poller:
        """Ingest, ready to poll all providers."""
        from ingest.catalog import open_catalog
        from ingest.poll import Poller

        catalogs = [
            open_catalog(
                provider, self.settings.http, page_size=self.settings.poll.page_size, reach=self.reach
            )
            for provider in self.settings.providers
        ]
        return Poller(
            self.store,
            catalogs,
            blobs=self.blobs,
            settings=self.settings,
            now=self.now,
            progress=progress or (lambda _done, _total, _what: None),
        )

    def detector(self) -> DetectorWorker:
        """The detector, with its model cards loaded."""
        from detector.models import load_cards, shipped_cards
        from detector.worker import DetectorWorker

        cards = load_cards((shipped_cards(), *self.settings.model_cards))
        return DetectorWorker(self.bus, self.blobs, cards=cards, reader=self.reader, now=self.now)

    @cached_property
    def reader(self) -> ReaderSettings:
        """How bands are read."""
        from detector.reading import ReaderSettings

        read, profiles = self.settings.read, self._profiles
        return ReaderSettings(
            threads=read.threads,
            timeout_s=read.timeout_s,
            retries=read.retries,
            backoff_s=read.backoff_s,
            local_files=any("file" in one.href_schemes for one in profiles),
            reach=self.reach,
            s3=read.s3,
        )

    @cached_property
    def _profiles(self) -> tuple[Profile, ...]:
        from ingest.providers import effective_profile

        return tuple(effective_profile(one) for one in self.settings.providers)

    @property
    def reach(self) -> Reach:
        """The hosts that text from outside may send us to."""
        read = self.settings.read
        own = frozenset(host_of(one.url) for one in self._profiles)
        return Reach(own=own, hosts=read.hosts, private_hosts=read.private_hosts)

    def alerter(self) -> AlertWorker:
        """The alerter."""
        from alerts.worker import AlertWorker

        return AlertWorker(self.store, self.blobs, self.settings, now=self.now)


def failed_name(record: DeliveryRecord) -> str:
    """What people call a failed delivery: the start of its notice's id, and its target."""
    return f"{record.notice_id[:8]}@{record.target}"


@contextmanager
def open_app(config: Path | None, *, verbose: bool = False) -> Iterator[App]:
    """The program as the configuration says; everything closed at the end."""

    def load() -> Settings:
        settings = load_settings(config)
        configure("debug" if verbose else settings.log.level, json_lines=settings.log.json_lines)
        return settings

    app = App(load(), load=load)
    try:
        yield app
    finally:
        app.close()
