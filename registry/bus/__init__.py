"""The bus: at least once, in order per key. Two small protocols; local.py is the SQLite one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from registry.errors import ConfigError
from registry.events import Event
from registry.values import UtcDatetime, Value

if TYPE_CHECKING:
    from registry.bus.kafka_settings import KafkaSettings


class Topic(StrEnum):
    """The two streams."""

    PASSES = "passes"
    """PassFound and PermitsChanged, to detectors."""
    CHANGES = "changes"
    """ChangeFound, to alerters."""


class Lane(StrEnum):
    """How urgent: areas with a live event come before areas that only have history to catch up with."""

    LIVE = "live"
    BACKFILL = "backfill"


class Delivery(Protocol):
    """One event handed to one worker under a lease: settle it exactly once."""

    @property
    def event(self) -> Event: ...

    @property
    def attempt(self) -> int:
        """1 at the first try; a lost lease counts as a try."""

    @property
    def lane(self) -> Lane: ...

    def ack(self) -> None:
        """Done and durable: never deliver it again."""

    def retry(self, reason: str, *, after: float | None = None) -> None:
        """Deliver again after a back-off (or ``after`` seconds); the last try ends in the dead letters."""

    def reject(self, reason: str) -> None:
        """Move it to the dead letters; its neighbours go on."""

    def extend(self) -> None:
        """Still working: renew the lease."""


class DeadLetter(Value):
    """An event that was given up, with all that is needed to try it again."""

    id: str
    topic: Topic
    key: str
    reason: str
    attempts: int
    died: UtcDatetime
    body: str
    """The original event, as it came."""


class Depth(Value):
    """How much waits on a topic."""

    waiting: int
    in_flight: int
    dead: int


class Bus(Protocol):
    """Publish and receive. An event id is published once per topic; a repeat changes nothing."""

    def publish(self, topic: Topic, event: Event, *, lane: Lane = Lane.LIVE) -> bool:
        """Durable when it returns; False where this event id was published before, as far as is known.

        The local bus knows for good. A broker does not: there a repeat may be delivered again once the
        bus has forgotten the id, which changes nothing, because handlers are idempotent.
        """

    def receive(self, topic: Topic, *, worker: str) -> Delivery | None:
        """The oldest event whose key is free, live ones first, leased to ``worker``; None = none is ready."""

    def next_ready(self, topic: Topic) -> float | None:
        """Seconds until something may become ready (0 = now); None when the topic is empty."""

    def depth(self, topic: Topic) -> Depth: ...

    def dead(self, topic: Topic | None = None) -> Sequence[DeadLetter]: ...

    def revive(self, dead_id: str) -> None:
        """Put a dead letter back at the end of its key. Raises NotFound."""

    def close(self) -> None: ...


def open_bus(
    url: str, *, lease_s: float = 60.0, max_attempts: int = 12, kafka: KafkaSettings | None = None
) -> Bus:
    """``sqlite:///path/to/groundwatch.db`` or ``kafka://host:port[,host:port]/PREFIX``.

    Of a path after sqlite, a relative one has three slashes, an absolute one four. ``lease_s`` is how long
    a silent worker keeps its event, ``max_attempts`` how often one is tried. Raises ConfigError on another
    scheme or a URL that can't be used.
    """
    if url.startswith("sqlite:///"):
        from registry.bus.local import LocalBus

        return LocalBus(url.removeprefix("sqlite:///"), lease_s=lease_s, max_attempts=max_attempts)
    if url.startswith("kafka://"):
        servers, _, prefix = url.removeprefix("kafka://").partition("/")
        _check_kafka(servers, prefix)
        try:
            from registry.bus.kafka import KafkaBus
            from registry.bus.kafka_settings import KafkaSettings
        except ImportError as exc:
            raise ConfigError(
                f"bus {url} needs {exc.name}; install groundwatch with the extra 'fleet'"
            ) from exc
        settings = kafka or KafkaSettings()
        return KafkaBus(
            servers, prefix or PREFIX, settings=settings, lease_s=lease_s, max_attempts=max_attempts
        )
    raise ConfigError(
        f"bus {url.split('://')[0]!r} is not known; use sqlite:///PATH or kafka://HOST:PORT/PREFIX"
    )


PREFIX = "groundwatch"
"""What topics are called where the URL names no prefix."""

_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\]):\d{1,5}")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,200}")


def _check_kafka(servers: str, prefix: str) -> None:
    if "@" in servers:
        raise ConfigError("bus kafka://... holds a user; set kafka.username and kafka.password instead")
    if not all(_SERVER.fullmatch(one) for one in servers.split(",")):
        raise ConfigError(f"bus kafka://{servers} names no brokers; use kafka://HOST:PORT[,HOST:PORT]/PREFIX")
    if not _PREFIX.fullmatch(prefix):
        raise ConfigError(f"bus prefix {prefix!r} can't name topics; use letters, digits, dots, _ and -")
