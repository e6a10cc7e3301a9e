"""What a run left behind, in the form in which two runs must be equal."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from groundwatch.wiring import App
from registry.bus import Topic
from registry.bus.kafka import KafkaBus
from registry.bus.tracker import Place
from registry.models import DeliveryStatus
from registry.settings import load_settings

_REVISION = re.compile(r"_r\d{3,}")
"""Names carry a pass's revision, which counts how often it was heard of, not what it is."""

_PICTURE = re.compile(r"(pictures/[0-9a-f-]+/r\d{3})-[0-9a-f]{8}")
"""Pictures are named by the names of what they show; that they are the same is checked by their bytes."""


@dataclass(frozen=True)
class Outcome:
    """Final state, incidents with their verdicts, and what people were told."""

    states: Counter[str]
    """SHA-256 of every kept state."""
    incidents: tuple[str, ...]
    """Every incident that stands, as JSON, with SHA-256 of its picture."""
    missing: tuple[str, ...]
    """Passes without a ledger row, as AREA/PASS."""
    dead: tuple[str, ...]
    undelivered: tuple[str, ...]
    notices: int
    repeated: int
    """Messages that came more than once."""
    unheard: int
    """Notices recorded as delivered whose message never came."""


@dataclass(frozen=True)
class Progress:
    """How far a run is, seen from the host that owns the store."""

    passes: frozenset[str]
    """What is known of the sky; see ``sky_of``."""
    outbox: int
    """Events on their way to the bus."""
    waiting: int
    """Events on the bus, those being worked on among them."""
    pending: int
    """Deliveries not made yet."""

    def is_done(self, sky: frozenset[str]) -> bool:
        """Whether ``sky`` is known as it is in the end, and nothing is left to do."""
        return self.passes == sky and not (self.outbox or self.waiting or self.pending)

    def __str__(self) -> str:
        known, left = len(self.passes), (self.outbox, self.waiting, self.pending)
        return f"{known} passes; to ship, waiting, to send: {left}"


def progress_of(app: App, ends: Callable[[Topic], Mapping[Place, int]]) -> Progress:
    """Look at store and bus, in the order in which work flows: what has left a place is seen further on.

    ``ends`` tells where a topic ends.
    """
    sky = sky_of(app)
    outbox = app.outbox.depth(Topic.PASSES)
    bus, waiting = app.bus, 0
    assert isinstance(bus, KafkaBus)
    for topic in Topic:
        depth = bus.depth_up_to(topic, ends(topic))
        waiting += depth.waiting + depth.in_flight
    return Progress(
        passes=sky,
        outbox=outbox.waiting + outbox.in_flight,
        waiting=waiting,
        pending=app.store.status().pending_deliveries,
    )


def sky_of(app: App) -> frozenset[str]:
    """Every pass with the versions of its scenes."""
    return frozenset(
        f"{area.id} {one.key} {sorted((scene.id, scene.version) for scene in one.scenes)}"
        for area in app.store.areas()
        for one in app.store.passes(area.id)
    )


def open_home(folder: Path) -> App:
    """The program configured there, for looking at it from outside."""
    return App(load_settings(folder / "groundwatch.yml"))


def outcome_of(app: App, mails: Iterable[EmailMessage]) -> Outcome:
    """Read everything back."""
    came = Counter(str(mail["Message-ID"]) for mail in mails)
    told = app.store.deliveries()
    delivered = [one for one in told if one.status is DeliveryStatus.DELIVERED]
    return Outcome(
        states=_states(app),
        incidents=_incidents(app),
        missing=tuple(_missing(app)),
        dead=tuple(f"{letter.key}: {letter.reason}" for bus in app.buses for letter in bus.dead()),
        undelivered=tuple(one.error for one in told if one.status is not DeliveryStatus.DELIVERED),
        notices=len(told),
        repeated=came.total() - len(came),
        unheard=max(0, len(delivered) - len(came)),
    )


def _states(app: App) -> Counter[str]:
    found: Counter[str] = Counter()
    for name in app.blobs.list("state/"):
        data = app.blobs.get(name)
        plain = data if name.endswith(".npz") else _named_alike(data.decode()).encode()
        found[f"{name.rpartition('/')[0]} {hashlib.sha256(plain).hexdigest()}"] += 1
    return found


def _incidents(app: App) -> tuple[str, ...]:
    found = []
    for stored in app.store.incidents():
        picture = stored.incident.pictures.side_by_side
        shown = hashlib.sha256(app.blobs.get(picture)).hexdigest() if picture else "no picture"
        found.append(f"{_named_alike(stored.incident.model_dump_json())} {shown}")
    return tuple(sorted(found))


def _named_alike(text: str) -> str:
    return _PICTURE.sub(r"\1", _REVISION.sub("", text))


def _missing(app: App) -> Iterable[str]:
    rows = {(parts[1], parts[-1].partition(".")[0]) for parts in _split(app.blobs.list("ledger/"))}
    for area in app.store.areas():
        for pass_ in app.store.passes(area.id):
            if (area.id, pass_.name) not in rows:
                yield f"{area.id}/{pass_.name}"


def _split(names: Iterable[str]) -> Iterable[list[str]]:
    return (name.split("/") for name in names)
