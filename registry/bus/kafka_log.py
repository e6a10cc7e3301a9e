"""Looking into topics from outside any group: where they end, and the latest record of each key."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from kafka import KafkaConsumer, TopicPartition

from registry.bus.kafka_client import Cluster, translated
from registry.bus.tracker import Place
from registry.errors import Retry

POLL_MS = 200

TAIL = 60
"""Records that ``latest`` reads of a long partition where its end is enough."""


class Latest(NamedTuple):
    """The last record of a key."""

    value: bytes
    headers: Mapping[str, bytes]


class Log:
    """Reads what topics hold. May be shared between threads: one looks at a time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._read: dict[str, dict[Place, int]] = {}
        """By topic: offsets up to which ``_latest`` knows it."""
        self._latest: dict[str, dict[str, Latest]] = {}
        self._groups: dict[str, KafkaConsumer] = {}
        """By group: who asks what it committed; none of them joins."""

    def ends(self, topics: Sequence[str]) -> dict[Place, int]:
        """The offset after the last record of every partition."""
        with self._lock, translated(self._cluster.servers):
            return self._ends(topics)

    def begins(self, places: Iterable[Place]) -> dict[Place, int]:
        """The first offset of each that the broker still holds."""
        with self._lock, translated(self._cluster.servers):
            found = self._consumer.beginning_offsets([TopicPartition(*place) for place in places])
            return {(at.topic, at.partition): int(offset) for at, offset in found.items()}

    def committed(self, group: str, places: Iterable[Place]) -> dict[Place, int]:
        """What the group committed; 0 where nothing."""
        with self._lock, translated(self._cluster.servers):
            if group not in self._groups:
                self._groups[group] = self._cluster.consumer(group_id=group)
            asked = self._groups[group]
            return {place: int(asked.committed(TopicPartition(*place)) or 0) for place in places}

    def latest(self, topic: str) -> dict[str, Latest]:
        """The latest record of each key of a compacted topic; its value is empty where it was taken back.

        What was read once is remembered, so only the news is fetched.
        """
        with self._lock, translated(self._cluster.servers):
            self._catch_up(topic, self._ends([topic]))
            return dict(self._latest.get(topic, {}))

    def tail(self, topic: str, partitions: Iterable[int]) -> dict[str, Latest]:
        """The same from the last TAIL records of some partitions, and what was read before."""
        with self._lock, translated(self._cluster.servers):
            ends = self._ends([topic])
            wanted = {(topic, partition): ends[(topic, partition)] for partition in set(partitions)}
            read = self._read.setdefault(topic, {})
            for at, end in wanted.items():
                read[at] = max(read.get(at, 0), end - TAIL)
            self._catch_up(topic, wanted)
            return dict(self._latest.get(topic, {}))

    def close(self) -> None:
        """Drop the connection."""
        with self._lock:
            made = [self._consumer] if "_consumer" in self.__dict__ else []
            for consumer in (*made, *self._groups.values()):
                consumer.close(autocommit=False, timeout_ms=1_000)

    @cached_property
    def _consumer(self) -> KafkaConsumer:
        return self._cluster.consumer(group_id=None)

    def _ends(self, topics: Sequence[str]) -> dict[Place, int]:
        found = [
            TopicPartition(topic, partition)
            for topic in topics
            for partition in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]
        timeout_ms = round(self._cluster.settings.timeout_s * 1000)
        ends = self._consumer.end_offsets(found, timeout_ms=timeout_ms)
        return {(at.topic, at.partition): int(end) for at, end in ends.items()}

    def _catch_up(self, topic: str, ends: dict[Place, int]) -> None:
        read = self._read.setdefault(topic, {})
        behind = {at: end for at, end in ends.items() if read.get(at, 0) < end}
        if not behind:
            return
        parts = [TopicPartition(*at) for at in behind]
        self._consumer.assign(parts)
        begins = self._consumer.beginning_offsets(parts)
        for part in parts:
            place = (part.topic, part.partition)
            read[place] = max(read.get(place, 0), int(begins[part]))
            self._consumer.seek(part, read[place])
        self._read_on(topic, behind)

    def _read_on(self, topic: str, ends: dict[Place, int]) -> None:
        read, latest = self._read[topic], self._latest.setdefault(topic, {})
        deadline = time.monotonic() + self._cluster.settings.timeout_s
        while any(read[at] < end for at, end in ends.items()):
            if time.monotonic() > deadline:
                raise Retry(
                    f"Kafka at {self._cluster.servers} is slow: topic {topic} was not read to its end"
                )
            for part, records in self._consumer.poll(timeout_ms=POLL_MS).items():
                for record in records:
                    key = (record.key or b"").decode(errors="replace")
                    headers = {name: value or b"" for name, value in record.headers or ()}
                    latest[key] = Latest(record.value or b"", headers)
                read[(part.topic, part.partition)] = self._consumer.position(part)
