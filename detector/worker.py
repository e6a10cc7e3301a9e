"""MAIN PATH of the detector: PassFound -> look -> ledger -> fold -> incidents -> verdicts -> publish.

Every step leaves a blob whose name carries what it depends on, so an event that comes again finds what
is done and goes on from there: the result depends on the passes, never on how often or in which order
they came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from detector.components import ComponentMaps, name_components
from detector.evidence import fold
from detector.incidents import update
from detector.ledger import Ledger, LedgerEntry, StateFiles, basis
from detector.looking import Look, look_at
from detector.models import Card
from detector.pictures import picture_incidents
from detector.products import Layer, write_products
from detector.reading import ReaderSettings
from detector.state import State, start
from detector.verdict import judge_all
from registry.blobs import Blobs
from registry.bus import Bus, Delivery, Topic
from registry.errors import Reject
from registry.events import (
    ChangeFound,
    Event,
    PassFound,
    PermitsChanged,
    RegistrySnapshot,
    Task,
    change_found,
)
from registry.log import bound, get_logger
from registry.metrics import observe, timed
from registry.models import Incident, Target
from registry.snapshots import load_snapshot

log = get_logger(__name__)


class DetectorWorker:
    """Handles PassFound and PermitsChanged; knows bus, blobs and event, never the store."""

    def __init__(
        self,
        bus: Bus,
        blobs: Blobs,
        *,
        cards: Mapping[str, Card],
        reader: ReaderSettings,
        now: Callable[[], datetime],
    ) -> None:
        self._bus, self._blobs, self._now = bus, blobs, now
        self._cards = cards
        self._reader = reader

    def handle(self, event: Event, delivery: Delivery | None = None) -> None:  # noqa: ARG002 - the bus's shape
        """Detect on a pass, or judge an area again. A repeat changes nothing. Raises Retry or Reject."""
        task = event.data
        if isinstance(task, PassFound):
            with bound(pass_name=task.pass_.name):
                change = self._detect(task)
        elif isinstance(task, PermitsChanged):
            change = self._judge_again(task)
        else:
            raise Reject(f"event {event.id} is {event.type}; detectors handle pass-found and permits-changed")
        if change is not None:
            self._bus.publish(Topic.CHANGES, change_found(change, at=self._now()))
            if isinstance(task, PassFound):
                age = self._now() - task.pass_.acquired
                observe("groundwatch_found_age_seconds", age.total_seconds())
            log.info("change published", incidents=len(change.incidents), clear=change.clear_fraction)

    def _detect(self, task: PassFound) -> ChangeFound | None:
        snapshot = load_snapshot(self._blobs, task.registry)
        books = self._books(task, snapshot)
        with timed("groundwatch_stage_seconds", stage="look"):
            look = self._look(task, books)
        with timed("groundwatch_stage_seconds", stage="fold"):
            folded = [book.brought_up_to_date() for book in books]
        if any(book.is_behind() for book in books):
            log.info("history is being read again, nothing is told before it is complete")
            return None
        layers = {one.target: Layer(one.state, one.digest) for one in folded}
        if not task.pass_.withdrawn:
            with timed("groundwatch_stage_seconds", stage="products"):
                write_products(
                    self._blobs,
                    task.pass_,
                    task.grid,
                    task.area,
                    layers,
                    components=self._maps(task).name(task.pass_.name),
                    clear_fraction=look.clear_fraction if look else None,
                    notes=look.notes if look else (),
                )
        for book in books:
            book.tidy()
        return self._change(task, snapshot, folded, look=look)

    def _judge_again(self, task: PermitsChanged) -> ChangeFound | None:
        snapshot = load_snapshot(self._blobs, task.registry)
        books = self._books(task, snapshot)
        if any(book.is_empty() or book.is_behind() for book in books):
            return None
        return self._change(task, snapshot, [book.brought_up_to_date() for book in books], look=None)

    def _books(self, task: Task, snapshot: RegistrySnapshot) -> list[Book]:
        return [Book.open(self._blobs, task, target, self._cards, snapshot) for target in task.area.targets]

    def _maps(self, task: Task) -> ComponentMaps:
        return ComponentMaps.of(self._blobs, task, self._cards)

    def _look(self, task: PassFound, books: list[Book]) -> Look | None:
        """Read and score the pass and write its ledger rows, unless all of it is there already."""
        if task.pass_.withdrawn:
            for book in books:
                book.ledger.withdraw(task.pass_)
            return None
        if all(book.ledger.stored(task.pass_) and book.is_folded() for book in books):
            return None
        look = look_at(task, cards=self._cards, reader=self._reader, blobs=self._blobs, maps=self._maps(task))
        for book in books:
            book.ledger.write(task.pass_, task.grid, look.rows[book.target])
        return look

    def _change(
        self, task: Task, snapshot: RegistrySnapshot, folded: list[Folded], *, look: Look | None
    ) -> ChangeFound:
        incidents = [one for part in folded for one in part.incidents]
        with timed("groundwatch_stage_seconds", stage="judge"):
            judged = judge_all(incidents, snapshot, settings=task.settings.verdict)
        pass_ = task.pass_ if isinstance(task, PassFound) else None
        return ChangeFound(
            area=task.area,
            pass_id=pass_.id if pass_ else None,
            pass_revision=pass_.revision if pass_ else None,
            acquired=max((part.acquired for part in folded if part.acquired), default=None),
            ledger_digest="/".join(part.digest for part in folded),
            registry_version=snapshot.version,
            settings_digest=task.settings.digest,
            incidents=judged,
            clear_fraction=look.clear_fraction if look else None,
            notes=look.notes if look else (),
        )


@dataclass(frozen=True)
class Folded:
    """A ledger folded to its end."""

    target: Target
    state: State
    incidents: tuple[Incident, ...]
    digest: str
    """Identifies the ledger and the way it was folded."""
    acquired: datetime | None
    """Newest acquisition in the ledger."""


@dataclass(frozen=True)
class Book:
    """One target's ledger of an area, with the states folded from it."""

    task: Task
    target: Target
    ledger: Ledger
    states: StateFiles
    maps: ComponentMaps
    snapshot: RegistrySnapshot = field(repr=False)
    blobs: Blobs = field(repr=False)

    @classmethod
    def open(
        cls, blobs: Blobs, task: Task, target: Target, cards: Mapping[str, Card], snapshot: RegistrySnapshot
    ) -> Book:
        """The book of ``target`` under the task's settings and the cards they allow."""
        models = task.settings.models
        used = [*getattr(models, target.value), *getattr(models, f"{target.value}_sar")]
        texts = [f"{name} {cards[name].digest}" for name in used if name in cards]
        ledger = Ledger(
            blobs, area_id=task.area.id, target=target, basis=basis(task.grid, task.settings, texts)
        )
        states = StateFiles(blobs, area_id=task.area.id, target=target, fold_digest=task.settings.fold_digest)
        maps = ComponentMaps.of(blobs, task, cards)
        return cls(task, target, ledger, states, maps, snapshot, blobs)

    def is_empty(self) -> bool:
        """Whether no pass is in it."""
        return not self.ledger.entries()

    def is_folded(self) -> bool:
        """Whether its newest state is stored."""
        chain = self.ledger.chain(self.ledger.entries())
        return self.states.resume(chain).index == len(chain) - 1

    def is_behind(self) -> bool:
        """Whether an older book of this area reaches further: this one is still being filled.

        After a change of settings or outline the whole history is read again, oldest first. Until it has
        caught up its incidents are not news, and above all their absence is not.
        """
        entries, elsewhere = self.ledger.entries(), self.ledger.newest_elsewhere()
        return elsewhere is not None and (not entries or entries[-1].acquired < elsewhere)

    def brought_up_to_date(self) -> Folded:
        """Fold what is not folded yet, in order of acquisition; keep snapshots on the way and the newest."""
        entries = self.ledger.entries()
        chain = self.ledger.chain(entries)
        resume = self.states.resume(chain)
        settings = self.task.settings
        state = resume.state or start(self.task.grid.shape, floor=settings.evidence.floor)
        incidents = resume.incidents
        for index in range(resume.index, len(entries)):
            state = fold(state, self.ledger.read(entries[index]), target=self.target, settings=settings)
            incidents = self._objects(state, incidents, entries[: index + 1])
            if (index + 1) % settings.snapshot_every == 0 or index + 1 == len(entries):
                self.states.save(chain[index + 1], state, incidents)
        newest = entries[-1].acquired if entries else None
        identity = f"{chain[-1]}{settings.fold_digest}"
        return Folded(self.target, state, incidents, identity, newest)

    def tidy(self) -> None:
        """Drop states that only a far re-fold would need."""
        chain = self.ledger.chain(self.ledger.entries())
        self.states.prune(chain, every=self.task.settings.snapshot_every)

    def _objects(
        self, state: State, incidents: tuple[Incident, ...], entries: tuple[LedgerEntry, ...]
    ) -> tuple[Incident, ...]:
        updated = update(
            incidents,
            state,
            grid=self.task.grid,
            area=self.task.area,
            target=self.target,
            acquired=entries[-1].acquired,
            settings=self.task.settings,
        )
        # Both do something where there is news, and a picture ends the news: components first.
        named = name_components(updated, maps=self.maps, ledger=self.ledger, entries=entries)
        return picture_incidents(
            self.blobs,
            named,
            snapshot=self.snapshot,
            grid=self.task.grid,
            ledger=self.ledger,
            entries=entries,
        )
