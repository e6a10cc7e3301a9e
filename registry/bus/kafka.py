"""The bus of many machines: topics on a Kafka cluster.

Events of an area share a partition, so they stay in order, and one process owns it. That process reads
ahead and hands out one event per area at a time (``tracker``), so that an area that fails holds up no
other. How far a partition is worked off is written to a topic of marks before an event is handed out and
after it is settled: Kafka's own offsets know only a lowest one, and nothing of attempts. Marks are sent,
not awaited: a process that dies at once may lose the last, and the event comes once more.
"""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property, partial

from kafka import KafkaProducer
from kafka.errors import KafkaError

from registry.bus import DeadLetter, Depth, Lane, Topic
from registry.bus.backoff import Backoff
from registry.bus.kafka_client import Cluster, translated
from registry.bus.kafka_log import Log
from registry.bus.kafka_reader import REVIVED, Reader
from registry.bus.kafka_settings import KafkaSettings
from registry.bus.tracker import Mark, Place, Taken, Tracker
from registry.errors import NotFound, Reject, Retry
from registry.events import Event
from registry.log import get_logger
from registry.values import canonical_json

log = get_logger(__name__)

PUBLISHED = 100_000
"""Ids of events published by this process that are recognised when they are published again."""

MARKS_MS = 50
"""Longest wait of a mark for others that are sent with it."""

_LETTER = "letter"
"""Header of a dead letter: all but the original, which is the record's value."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KafkaDelivery:
    """An event under a lease; see Delivery. Once the lease or the partition is lost, settling is nothing."""

    def __init__(self, bus: KafkaBus, topic: Topic, taken: Taken, event: Event) -> None:
        self._bus, self._topic, self._taken = bus, topic, taken
        self.event = event
        self.attempt = taken.attempt
        self.lane = taken.entry.lane

    def ack(self) -> None:
        """See Delivery."""
        self._bus._settle(self._topic, self._taken)

    def retry(self, reason: str, *, after: float | None = None) -> None:
        """See Delivery."""
        self._bus._put_back(self._topic, self._taken, reason, after=after)

    def reject(self, reason: str) -> None:
        """See Delivery."""
        self._bus._bury(self._topic, self._taken, reason)

    def extend(self) -> None:
        """Renew the lease. Raises Retry where it, or the partition, is another's by now."""
        self._bus._extend(self._topic, self._taken)


class _Stream:
    """What this process knows of one topic it receives from."""

    def __init__(self) -> None:
        self.tracker = Tracker()
        self.lock = threading.Lock()
        """Guards the tracker; never held while the broker is asked."""
        self.noting = threading.Lock()
        self.reader: Reader | None = None


class KafkaBus:
    """See Bus. May be shared between threads; other processes and machines use the same cluster."""

    def __init__(
        self,
        servers: str,
        prefix: str,
        *,
        settings: KafkaSettings,
        now: Callable[[], datetime] = _utc_now,
        lease_s: float = 60.0,
        max_attempts: int = 12,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``chance`` draws the jitter from [0, 1). Connects when first used."""
        self._cluster = Cluster(servers, prefix, settings)
        self._now, self._lease_s, self._max_attempts = now, lease_s, max_attempts
        self._backoff, self._chance = backoff or Backoff(), chance
        self._streams = {topic: _Stream() for topic in Topic}
        self._published: OrderedDict[tuple[Topic, str], None] = OrderedDict()
        self._opening = threading.RLock()

    @property
    def prefix(self) -> str:
        """What all its topics begin with."""
        return self._cluster.prefix

    def publish(self, topic: Topic, event: Event, *, lane: Lane = Lane.LIVE) -> bool:
        """See Bus. False where this process published the id before. Raises Retry if no broker takes it."""
        with self._opening:
            if (topic, event.id) in self._published:
                return False
        headers = {"id": event.id, "type": event.type, "lane": lane.value}
        self._send(self._cluster.topic(topic, lane), event.key, event.to_json(), headers)
        with self._opening:
            self._published[(topic, event.id)] = None
            if len(self._published) > PUBLISHED:
                self._published.popitem(last=False)
        return True

    def receive(self, topic: Topic, *, worker: str) -> KafkaDelivery | None:
        """See Bus. What cannot be read, or was lost with too many workers, goes to the dead letters."""
        self._reader(topic).want()
        while (taken := self._take(topic, worker)) is not None:
            try:
                return KafkaDelivery(self, topic, taken, self._readable(taken))
            except Reject as exc:
                log.warning("event given up", topic=topic, key=taken.entry.key, reason=str(exc))
                self._bury(topic, taken, str(exc))
        return None

    def next_ready(self, topic: Topic) -> float | None:
        """See Bus. Of what this process's share holds; 0.0 as long as it is joining or reading."""
        reader, stream = self._reader(topic), self._streams[topic]
        reader.want()
        if (soonest := self._soonest(stream)) is None:
            if not reader.is_worked_off():
                return 0.0
            # The reader may have read the rest between our look and its answer.
            if (soonest := self._soonest(stream)) is None:
                return None
        return max(0.0, soonest - self._moment())

    @staticmethod
    def _soonest(stream: _Stream) -> float | None:
        with stream.lock:
            return stream.tracker.next_ready()

    def depth(self, topic: Topic) -> Depth:
        """See Bus. Of the whole group, as the broker knows it."""
        return self.depth_up_to(topic, self._log.ends(list(self._cluster.lanes(topic))))

    def depth_up_to(self, topic: Topic, ends: Mapping[Place, int]) -> Depth:
        """The same, where partitions end at these offsets."""
        moment = self._moment()
        self._flush()
        waiting = in_flight = 0
        for place, mark in self._marks(self._cluster.group(topic), ends).items():
            leased = sum(one.is_leased and one.until > moment for one in mark.claims.values())
            waiting += max(0, ends[place] - mark.low - len(mark.settled)) - leased
            in_flight += leased
        return Depth(waiting=max(0, waiting), in_flight=in_flight, dead=len(self.dead(topic)))

    def dead(self, topic: Topic | None = None) -> Sequence[DeadLetter]:
        """See Bus. Oldest first."""
        found = [letter for letter, _ in self._letters().values() if topic in {None, letter.topic}]
        return sorted(found, key=lambda one: (one.died, one.id))

    def revive(self, dead_id: str) -> None:
        """See Bus. Its attempts start anew; it comes as a live event."""
        letters = self._letters()
        if dead_id not in letters:
            raise NotFound(f"dead letter {dead_id} does not exist; list them with: groundwatch dead list")
        letter, body = letters[dead_id]
        headers = {"id": letter.id, REVIVED: f"{self._moment():.3f}"}
        self._send(self._cluster.topic(letter.topic, Lane.LIVE), letter.key, body, headers)
        self._send(self._cluster.dead, letter.id, None, {})

    def is_settled(self) -> bool:
        """Whether this process has joined wherever it receives, and has read all that its share holds."""
        readers = [stream.reader for stream in self._streams.values() if stream.reader is not None]
        return all(reader.is_worked_off() for reader in readers)

    def close(self) -> None:
        """See Bus. Leaves the groups; what is not settled stays for others."""
        for stream in self._streams.values():
            if stream.reader is not None:
                stream.reader.close()
        for made in ("_marker", "_producer"):
            if made in self.__dict__:
                self._close_producer(self.__dict__[made])
        if "_log" in self.__dict__:
            self._log.close()

    # -- settling ------------------------------------------------------------------------------

    def _take(self, topic: Topic, worker: str) -> Taken | None:
        stream, moment = self._streams[topic], self._moment()
        with stream.lock:
            if stream.tracker.expired(moment):
                return None  # the reader leaves the group over it
            taken = stream.tracker.take(moment, self._lease_s, worker)
        if taken is not None:
            self._note(stream, taken.entry.place)
        return taken

    def _readable(self, taken: Taken) -> Event:
        """The event; a body that is damaged and an event that takes its workers down are rejected."""
        if taken.attempt > self._max_attempts:
            raise Reject(
                f"gave up after {self._max_attempts} attempts: worker {taken.holder} died or hung over it"
            )
        return Event.from_json(taken.entry.body)

    def _settle(self, topic: Topic, taken: Taken) -> None:
        stream = self._streams[topic]
        with stream.lock:
            if not self._is_ours(stream, taken):
                return
            stream.tracker.settle(taken)
        # Also where the offset says it all: that is committed a moment later, and the partition may go first.
        self._note(stream, taken.entry.place)

    def _put_back(self, topic: Topic, taken: Taken, reason: str, *, after: float | None) -> None:
        if taken.attempt >= self._max_attempts:
            self._bury(topic, taken, f"gave up after {taken.attempt} attempts: {reason}")
            return
        delay = self._backoff.delay(taken.attempt, self._chance()) if after is None else max(0.0, after)
        self._free(topic, taken, after=delay)

    def _free(self, topic: Topic, taken: Taken, *, after: float) -> None:
        stream = self._streams[topic]
        with stream.lock:
            if not self._is_ours(stream, taken):
                return
            stream.tracker.put_back(taken, at=self._moment() + after)
        self._note(stream, taken.entry.place)

    def _bury(self, topic: Topic, taken: Taken, reason: str) -> None:
        """Durable among the dead before it counts as settled; a crash in between buries it twice, as one."""
        with self._streams[topic].lock:
            if not self._is_ours(self._streams[topic], taken):
                return
        entry = taken.entry
        letter = DeadLetter(
            id=entry.identity.partition(" ")[0],
            topic=topic,
            key=entry.key,
            reason=reason,
            attempts=min(taken.attempt, self._max_attempts),
            died=self._now(),
            body="",
        )
        headers = {_LETTER: canonical_json(letter).decode()}
        try:
            self._send(self._cluster.dead, letter.id, entry.body, headers)
        except Retry:
            self._free(topic, taken, after=self._backoff.base_s)  # else its lease would hold up the process
            raise
        self._settle(topic, taken)

    def _letters(self) -> dict[str, tuple[DeadLetter, bytes]]:
        """Dead letters with the bytes as they came, by id."""
        found = {}
        for dead_id, (body, headers) in self._log.latest(self._cluster.dead).items():
            if _LETTER in headers:
                letter = DeadLetter.model_validate_json(headers[_LETTER])
                text = body.decode(errors="replace")
                found[dead_id] = (letter.model_copy(update={"body": text}), body)
        return found

    def _extend(self, topic: Topic, taken: Taken) -> None:
        stream = self._streams[topic]
        with stream.lock:
            if not stream.tracker.holds(taken):
                raise Retry(f"the lease on an event of {taken.entry.key} was lost to another worker")
            stream.tracker.renew(taken, until=self._moment() + self._lease_s)
        self._note(stream, taken.entry.place)

    def _is_ours(self, stream: _Stream, taken: Taken) -> bool:
        ours = stream.tracker.holds(taken)
        if not ours:
            log.warning("lease was lost", key=taken.entry.key, attempt=taken.attempt)
        return ours

    # -- the broker ----------------------------------------------------------------------------

    def _reader(self, topic: Topic) -> Reader:
        stream = self._streams[topic]
        with self._opening:
            if stream.reader is None:
                self._marker  # noqa: B018 - makes the topics
                stream.reader = Reader(
                    self._cluster,
                    topic,
                    tracker=stream.tracker,
                    lock=stream.lock,
                    marks=partial(self._marks, self._cluster.group(topic)),
                    now=self._moment,
                )
            return stream.reader

    @cached_property
    def _producer(self) -> KafkaProducer:
        with self._opening, translated(self._cluster.servers):
            self._cluster.ensure_topics()
            return self._cluster.producer()

    @cached_property
    def _marker(self) -> KafkaProducer:
        """For the marks: sent together, since nobody waits for them."""
        with self._opening, translated(self._cluster.servers):
            self._producer  # noqa: B018 - makes the topics
            return self._cluster.producer(linger_ms=MARKS_MS)

    @cached_property
    def _log(self) -> Log:
        with self._opening:
            self._producer  # noqa: B018 - makes the topics
            return Log(self._cluster)

    def _send(self, topic: str, key: str, body: bytes | None, headers: dict[str, str]) -> None:
        """Durable when it returns. Without a body it is a tombstone: what the key held is forgotten."""
        raw = [(name, value.encode()) for name, value in headers.items()]
        producer = self._producer
        try:
            with translated(self._cluster.servers):
                future = producer.send(topic, key=key.encode(), value=body, headers=raw)
                future.get(timeout=self._cluster.settings.timeout_s)
        except Retry:
            self._replace(producer)
            raise

    def _replace(self, failed: KafkaProducer) -> None:
        """Use another from here on, which does not wait behind what the failed one still tries to send."""
        with self._opening:
            if self.__dict__.get("_producer") is not failed:
                return
            del self._producer
        # It closes only once what it holds was sent or given up; nobody needs to wait for that.
        threading.Thread(target=self._close_at_last, args=(failed,), daemon=True).start()

    def _close_at_last(self, producer: KafkaProducer) -> None:
        while not self._close_producer(producer):
            pass

    def _close_producer(self, producer: KafkaProducer) -> bool:
        try:
            producer.close(timeout=self._cluster.settings.timeout_s)
        except KafkaError:
            return False  # it holds marks that nobody takes just now
        return True

    def _flush(self) -> None:
        with translated(self._cluster.servers):
            if "_marker" in self.__dict__:
                self._marker.flush(timeout=self._cluster.settings.timeout_s)

    def _note(self, stream: _Stream, place: Place) -> None:
        """Send a partition's mark. A lost one costs a repetition, so nobody waits or fails for it."""
        topic, partition = place
        producer = self.__dict__.get("_marker")
        with stream.noting, suppress(KafkaError):  # one at a time, so that marks keep their order
            with stream.lock:
                if producer is None or place not in set(stream.tracker.places()):
                    return
                body = canonical_json(stream.tracker.mark(place))
            key = f"{topic}/{partition}".encode()
            producer.send(self._cluster.progress, key=key, value=body, partition=partition)

    def _marks(self, group: str, places: Iterable[Place]) -> dict[Place, Mark]:
        """How far these partitions are worked off: by the marks, and by the offsets where those know more.

        Offsets are fenced by the group, marks are not; a process that wakes up late may have sent the last.
        """
        wanted = list(places)
        found = self._log.tail(self._cluster.progress, (partition for _, partition in wanted))
        committed = self._log.committed(group, wanted)
        begins = self._log.begins(wanted)
        marks = {}
        for place in wanted:
            last = found.get(f"{place[0]}/{place[1]}")
            mark = Mark.model_validate_json(last.value) if last else Mark(low=begins[place])
            marks[place] = mark.since(committed[place])
        return marks

    def _moment(self) -> float:
        return self._now().timestamp()
