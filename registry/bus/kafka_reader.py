"""The one thread that owns a Kafka consumer: it reads ahead, keeps the membership alive, commits.

A consumer may be used by one thread only, and must be asked for records often, or the group takes its
partitions away. Work takes as long as it takes in other threads, which see the tracker alone.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from registry.bus import Lane, Topic
from registry.bus.kafka_client import Cluster, translated
from registry.bus.tracker import Entry, Mark, Place, Tracker
from registry.errors import GroundwatchError, Retry
from registry.log import get_logger

log = get_logger(__name__)

POLL_MS = 50
"""Longest wait for records before other duties are looked at."""

READ_AHEAD = 1_000
"""Records that a partition is read beyond its lowest unsettled one."""

JOIN_SESSIONS = 2.5
"""Session timeouts after which a member that was not let in tries under a new name."""

ANSWER_S = 5.0
"""Longest wait of another thread for this one."""

REVIVED = "revived"
"""Header of an event that was put back from the dead letters."""


class Reader:
    """Reads one stream into ``tracker``; every access to the tracker holds ``lock``."""

    def __init__(
        self,
        cluster: Cluster,
        topic: Topic,
        *,
        tracker: Tracker,
        lock: threading.Lock,
        marks: Callable[[Iterable[Place]], Mapping[Place, Mark]],
        now: Callable[[], float],
    ) -> None:
        """``marks`` looks up how far partitions are worked off."""
        self._cluster, self._topic = cluster, topic
        self._lanes = cluster.lanes(topic)
        self._tracker, self._lock = tracker, lock
        self._marks, self._now = marks, now
        self._wanted, self._closing = threading.Event(), threading.Event()
        self._assigned: set[Place] | None = None
        """What the group gave us and the tracker does not know yet."""
        self._joined = False
        self._committed: dict[Place, int] = {}
        self._questions = 0
        self._answered = 0
        self._is_empty = False
        self._answer = threading.Condition()
        self._trouble: Retry | None = None
        self._thread = threading.Thread(target=self._run, name=f"kafka {topic.value}", daemon=True)
        self._thread.start()

    def want(self) -> None:
        """Be a member of the group, now or again. Raises Retry where the broker did not let us."""
        self._wanted.set()
        if self._trouble is not None:
            raise Retry(str(self._trouble))

    def is_worked_off(self) -> bool:
        """Whether, at this moment, the group's share that is ours holds nothing that was not read."""
        with self._answer:
            self._questions += 1
            question = self._questions
            self._answer.wait_for(lambda: self._answered >= question, timeout=ANSWER_S)
            return self._answered >= question and self._is_empty

    def close(self) -> None:
        """Leave the group; what is not settled stays for others."""
        self._closing.set()
        self._wanted.set()
        self._thread.join()

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wanted.wait()
            if self._closing.is_set():
                return
            try:
                self._membership()
                self._trouble = None
            except GroundwatchError as exc:
                self._trouble = exc if isinstance(exc, Retry) else Retry(str(exc))
                log.warning("bus failed, will be tried again", topic=self._topic, reason=str(exc))
                self._closing.wait(1.0)
            except Exception as exc:  # a bug here must not end all work in silence
                self._trouble = Retry(f"the bus reader failed: {type(exc).__name__}: {exc}")
                log.error("bus reader failed, starting anew", exc=exc, topic=self._topic)
                self._closing.wait(1.0)

    def _membership(self) -> None:
        """From joining the group to leaving it."""
        with translated(self._cluster.servers):
            consumer = self._cluster.consumer(group_id=self._cluster.group(self._topic))
            try:
                consumer.subscribe(topics=list(self._lanes), listener=_Listener(self))
                give_up = time.monotonic() + self._cluster.settings.session_timeout_s * JOIN_SESSIONS
                while not self._closing.is_set() and not self._is_hung():
                    self._turn(consumer)
                    if self._joined:
                        give_up = math.inf
                    elif time.monotonic() > give_up:
                        # A coordinator may wait for a leader that has died; a new member gets it going.
                        log.warning("not let into the group, trying as a new member", topic=self._topic)
                        return
            finally:
                self._commit(consumer)
                self.took()
                self._committed.clear()
                consumer.close(autocommit=False, timeout_ms=3_000)

    def _is_hung(self) -> bool:
        """A lease ended without a word: leave, so that others get the event."""
        with self._lock:
            hung = self._tracker.expired(self._now())
        if hung:
            log.warning("a worker is silent over its event, leaving it to others", topic=self._topic)
            self._wanted.clear()
        return hung

    def _turn(self, consumer: KafkaConsumer) -> None:
        with self._lock:
            places = list(self._tracker.places())
            full = [place for place in places if self._tracker.ahead(place) >= READ_AHEAD]
        held = consumer.assignment()
        paused = {TopicPartition(*place) for place in full} & held
        consumer.resume(*(consumer.paused() - paused))
        consumer.pause(*paused)
        records = consumer.poll(timeout_ms=POLL_MS)
        self._trouble = None
        if self._assigned is not None:
            self._take_over(consumer)  # what was read belongs to the old positions
        else:
            self._keep(records)
        self._commit(consumer)
        self._reply(consumer)

    def _take_over(self, consumer: KafkaConsumer) -> None:
        assigned, self._assigned = self._assigned or set(), None
        with self._lock:
            kept = set(self._tracker.places()) & assigned
        marks = dict(self._marks(assigned - kept))
        with self._lock:
            self._tracker.own({**{place: Mark(low=0) for place in kept}, **marks})
            positions = {place: self._tracker.position(place) for place in assigned}
        for place, offset in positions.items():
            consumer.seek(TopicPartition(*place), offset)
        self._committed = {place: low for place, low in self._committed.items() if place in kept}
        log.info("partitions taken over", topic=self._topic, partitions=len(assigned), kept=len(kept))

    def _keep(self, records: Mapping[Any, Iterable[Any]]) -> None:
        entries = [_entry(record, self._lanes[record.topic]) for some in records.values() for record in some]
        with self._lock:
            for entry in entries:
                if entry.offset < self._tracker.position(entry.place):
                    # The client went back to the start, because the offset that we asked for is not there.
                    log.warning("topic was made anew, reading it from its start", topic=entry.place[0])
                    self._tracker.restart(entry.place, entry.offset)
                self._tracker.add(entry)

    def _commit(self, consumer: KafkaConsumer) -> None:
        with self._lock:
            lows = {place: self._tracker.mark(place).low for place in self._tracker.places()}
        moved = {place: low for place, low in lows.items() if self._committed.get(place) != low}
        if not moved:
            return
        offsets = {TopicPartition(*place): OffsetAndMetadata(low, "", -1) for place, low in moved.items()}
        try:
            consumer.commit(offsets, timeout_ms=3_000)
        except Exception as exc:
            log.debug("offsets not committed", topic=self._topic, reason=f"{type(exc).__name__}: {exc}")
        else:
            self._committed |= moved

    def _reply(self, consumer: KafkaConsumer) -> None:
        """Tell who asked whether all is read."""
        with self._answer:
            question = self._questions
            if question == self._answered:
                return
        empty = self._has_read_all(consumer)
        with self._answer:
            self._answered, self._is_empty = question, empty
            self._answer.notify_all()

    def _has_read_all(self, consumer: KafkaConsumer) -> bool:
        if self._assigned is not None or not self._joined:
            return False
        with self._lock:
            positions = {place: self._tracker.position(place) for place in self._tracker.places()}
        try:
            ends = consumer.end_offsets([TopicPartition(*place) for place in positions], timeout_ms=3_000)
        except KafkaError:
            return False  # nobody knows; what is under way must not suffer for it
        return all(position >= ends[TopicPartition(*place)] for place, position in positions.items())

    def gave(self, places: set[Place]) -> None:
        """The group gave us these partitions: called while polling."""
        self._assigned, self._joined = places, True

    def took(self) -> None:
        """The group counts us out: called while polling."""
        with self._lock:
            self._tracker.own({})
        self._joined = False


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # kafka-python has no types
    """Only takes note: the consumer must not be used inside these calls."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing: what stays ours goes on, and ``gave`` says what does."""

    def on_partitions_assigned(self, assigned: Any) -> None:
        """See Reader.gave."""
        self._reader.gave({(one.topic, one.partition) for one in assigned})

    def on_partitions_lost(self, lost: Any) -> None:  # noqa: ARG002
        """See Reader.took."""
        self._reader.took()


def _entry(record: Any, lane: Lane) -> Entry:
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers or ()}
    body = record.value or b""
    identity = headers.get("id") or hashlib.sha256(body).hexdigest()
    key = record.key.decode(errors="replace") if record.key else f"{record.topic}/{record.partition}"
    return Entry(
        place=(record.topic, record.partition),
        offset=record.offset,
        key=key,
        identity=f"{identity} {headers.get(REVIVED, '')}",
        lane=lane,
        stamp=record.timestamp,
        body=body,
    )
