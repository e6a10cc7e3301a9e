"""The bus of one machine: a table in the store's SQLite file, shared by any number of processes."""

from __future__ import annotations

import random
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from registry.bus import DeadLetter, Depth, Lane, Topic, table
from registry.bus.backoff import Backoff
from registry.bus.table import Claim, Head, State, enqueue
from registry.errors import Reject, Retry
from registry.events import Event
from registry.log import get_logger
from registry.sqlite import connect, immediate, translated

__all__ = ["Backoff", "LocalBus", "LocalDelivery", "enqueue"]

log = get_logger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class LocalDelivery:
    """An event under a lease; see Delivery. Once the lease is lost, settling changes nothing."""

    def __init__(self, bus: LocalBus, claim: Claim, event: Event) -> None:
        self._bus = bus
        self._claim = claim
        self.event = event
        self.attempt = claim.attempt
        self.lane = claim.lane

    def ack(self) -> None:
        """See Delivery."""
        self._bus._finish(self._claim)

    def retry(self, reason: str, *, after: float | None = None) -> None:
        """See Delivery."""
        self._bus._put_back(self._claim, reason, after=after)

    def reject(self, reason: str) -> None:
        """See Delivery."""
        self._bus._bury(self._claim, reason)

    def extend(self) -> None:
        """Renew the lease. Raises Retry where another worker holds the event by now."""
        self._bus._extend(self._claim)


class LocalBus:
    """See Bus. May be shared between threads; other processes open the same file."""

    def __init__(
        self,
        path: str | Path,
        *,
        now: Callable[[], datetime] = _utc_now,
        lease_s: float = 60.0,
        max_attempts: int = 12,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``chance`` draws the jitter from [0, 1). See ``registry.sqlite.connect`` for errors."""
        self._path = path
        self._now = now
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._backoff = backoff or Backoff()
        self._chance = chance
        self._lock = threading.RLock()
        self._connection = connect(path)
        with self._reading() as connection:
            ready = table.is_laid_out(connection)
        if not ready:
            with self._writing() as connection:
                table.lay_out(connection)

    def publish(self, topic: Topic, event: Event, *, lane: Lane = Lane.LIVE) -> bool:
        """See Bus."""
        with self._writing() as connection:
            return enqueue(connection, topic, event, self._now(), lane=lane)

    def receive(self, topic: Topic, *, worker: str) -> LocalDelivery | None:
        """See Bus. What cannot be read, or was lost with too many workers, goes to the dead letters."""
        while self._has_free(topic):
            with self._writing() as connection:
                head = table.oldest_free(connection, topic, moment=self._moment())
                delivery = None if head is None else self._claim(connection, topic, head, worker)
            if delivery is not None:
                return delivery
        return None

    def next_ready(self, topic: Topic) -> float | None:
        """See Bus."""
        with self._reading() as connection:
            soonest = table.soonest(connection, topic)
        return None if soonest is None else max(0.0, soonest - self._moment())

    def depth(self, topic: Topic) -> Depth:
        """See Bus."""
        with self._reading() as connection:
            return table.depth(connection, topic, moment=self._moment())

    def dead(self, topic: Topic | None = None) -> Sequence[DeadLetter]:
        """See Bus. Oldest first."""
        with self._reading() as connection:
            return table.dead_letters(connection, topic)

    def revive(self, dead_id: str) -> None:
        """See Bus. Its attempts start anew."""
        with self._writing() as connection:
            table.revive(connection, dead_id, moment=self._moment())

    def close(self) -> None:
        """See Bus."""
        with self._lock:
            self._connection.close()

    def _has_free(self, topic: Topic) -> bool:
        # Looking takes no write lock: idle workers that poll hold up nobody.
        with self._reading() as connection:
            return table.oldest_free(connection, topic, moment=self._moment()) is not None

    def _claim(
        self, connection: sqlite3.Connection, topic: Topic, head: Head, worker: str
    ) -> LocalDelivery | None:
        """Lease ``head`` to ``worker``, or bury it."""
        try:
            event = self._readable(head)
        except Reject as exc:
            log.warning("event given up", topic=topic, key=head.key, reason=str(exc))
            table.bury(connection, topic, head.key, head.seq, moment=self._moment(), reason=str(exc))
            return None
        claim = Claim(topic, head.key, head.seq, secrets.token_hex(8), head.attempts + 1, head.lane)
        table.lease(connection, claim, worker=worker, until=self._moment() + self._lease_s)
        return LocalDelivery(self, claim, event)

    def _readable(self, head: Head) -> Event:
        """The event; a body that is damaged and an event that takes its workers down are rejected."""
        if head.state == State.LEASED and head.attempts >= self._max_attempts:
            raise Reject(f"gave up after {head.attempts} attempts: worker {head.worker} died or hung over it")
        return Event.from_json(head.body)

    def _finish(self, claim: Claim) -> None:
        with self._settling(claim) as connection:
            if connection is not None:
                table.finish(connection, claim.topic, claim.key, claim.seq, moment=self._moment())

    def _bury(self, claim: Claim, reason: str) -> None:
        with self._settling(claim) as connection:
            if connection is not None:
                moment = self._moment()
                table.bury(connection, claim.topic, claim.key, claim.seq, moment=moment, reason=reason)

    def _put_back(self, claim: Claim, reason: str, *, after: float | None) -> None:
        if claim.attempt >= self._max_attempts:
            self._bury(claim, f"gave up after {claim.attempt} attempts: {reason}")
            return
        delay = self._backoff.delay(claim.attempt, self._chance()) if after is None else max(0.0, after)
        with self._settling(claim) as connection:
            if connection is not None:
                table.free(connection, claim, at=self._moment() + delay, reason=reason)

    def _extend(self, claim: Claim) -> None:
        with self._settling(claim) as connection:
            if connection is None:
                raise Retry(f"the lease on an event of {claim.key} was lost to another worker")
            table.renew(connection, claim, until=self._moment() + self._lease_s)

    def _moment(self) -> float:
        return self._now().timestamp()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, translated(self._path):
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, translated(self._path), immediate(self._connection):
            yield self._connection

    @contextmanager
    def _settling(self, claim: Claim) -> Iterator[sqlite3.Connection | None]:
        """A write transaction if the lease is still ours, else None and a word in the log."""
        with self._writing() as connection:
            ours = table.is_ours(connection, claim)
            if not ours:
                log.warning("lease was lost", topic=claim.topic, key=claim.key, attempt=claim.attempt)
            yield connection if ours else None
