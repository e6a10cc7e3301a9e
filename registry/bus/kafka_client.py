"""Clients of one Kafka cluster, made alike. With kafka.py and kafka_reader.py the only importers of kafka."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import (
    AuthorizationError,
    KafkaConfigurationError,
    KafkaError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
)

from registry.bus import Lane, Topic
from registry.bus.kafka_settings import KafkaSettings
from registry.errors import ConfigError, GroundwatchError, Retry

MAX_BYTES = 10_000_000
"""Largest record: an event of MAX_EVENT_BYTES with its headers."""

ROOM = 100_000
"""Bytes that a dead letter may have more than the record that died: its reason must fit in too."""


@dataclass(frozen=True)
class Cluster:
    """Where the brokers are and how the topics are called."""

    servers: str
    """host:port[,host:port]."""
    prefix: str
    settings: KafkaSettings

    @property
    def dead(self) -> str:
        """The topic of the dead letters."""
        return f"{self.prefix}.dead"

    @property
    def progress(self) -> str:
        """The topic of the marks: partition n holds those of every partition n."""
        return f"{self.prefix}.progress"

    def topic(self, topic: Topic, lane: Lane) -> str:
        """Name of the topic of a lane; changes have one lane."""
        backfill = lane is Lane.BACKFILL and topic is Topic.PASSES
        return f"{self.prefix}.{topic.value}{'-backfill' if backfill else ''}"

    def lanes(self, topic: Topic) -> dict[str, Lane]:
        """All topics of one stream, by name."""
        return {self.topic(topic, lane): lane for lane in reversed(Lane)}

    def group(self, topic: Topic) -> str:
        """The consumer group that works a stream off."""
        return f"{self.prefix}.{topic.value}"

    def producer(self, **options: Any) -> KafkaProducer:
        """Acknowledged by all replicas, sent again until then, one request after the other."""
        timeout_ms = round(self.settings.timeout_s * 1000)
        return KafkaProducer(
            bootstrap_servers=self.servers.split(","),
            max_request_size=MAX_BYTES + ROOM,
            request_timeout_ms=timeout_ms,
            delivery_timeout_ms=timeout_ms + 1_000,
            max_block_ms=timeout_ms,
            bootstrap_timeout_ms=timeout_ms,
            reconnect_backoff_max_ms=2_000,
            acks="all",
            # Not idempotent: a broker that notes an event's number before it wrote the event calls the repeat
            # a duplicate, and it is lost. Written twice it changes nothing. One at a time keeps the order.
            enable_idempotence=False,
            max_in_flight_requests_per_connection=1,
            **{**self.settings.connection(), **options},
        )

    def consumer(self, **options: Any) -> KafkaConsumer:
        """A consumer that commits nothing by itself."""
        timeout_ms = round(self.settings.timeout_s * 1000)
        session_ms = round(self.settings.session_timeout_s * 1000)
        return KafkaConsumer(
            bootstrap_servers=self.servers.split(","),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=max(200, session_ms // 6),
            fetch_max_wait_ms=500,
            max_partition_fetch_bytes=MAX_BYTES + ROOM,
            request_timeout_ms=max(timeout_ms, session_ms + 1_000),
            bootstrap_timeout_ms=timeout_ms,
            reconnect_backoff_max_ms=2_000,
            **{**self.settings.connection(), **options},
        )

    def ensure_topics(self) -> None:
        """Make the topics that are missing. Raises ConfigError where their partitions don't match."""
        with translated(self.servers):
            timeout_ms = round(self.settings.timeout_s * 1000)
            admin = KafkaAdminClient(
                bootstrap_servers=self.servers.split(","),
                request_timeout_ms=timeout_ms,
                bootstrap_timeout_ms=timeout_ms,
                **self.settings.connection(),
            )
            try:
                known = set(admin.list_topics())
                for name, options in self._wanted().items():
                    if name not in known:
                        _create(admin, name, options)
                found = admin.describe_topics(list(self._wanted()))
                counts = {one["name"]: len(one["partitions"]) for one in found}
            finally:
                admin.close()
        self._check(counts)

    def _check(self, counts: Mapping[str, int]) -> None:
        lanes = {name: counts[name] for name in self.lanes(Topic.PASSES)}
        if len(set(lanes.values())) > 1:
            raise ConfigError(f"topics differ in partitions: {lanes}; give each as many as the other")
        most = max(count for name, count in counts.items() if name != self.dead)
        if counts[self.progress] < most:
            raise ConfigError(
                f"topic {self.progress} has {counts[self.progress]} partitions; give it at least {most}"
            )

    def _wanted(self) -> dict[str, dict[str, Any]]:
        keep_ms = str(round(self.settings.retention_days * 86_400_000))
        plain = {"retention.ms": keep_ms, "max.message.bytes": str(MAX_BYTES)}
        # Compacted within the hour, not at a gigabyte: who starts reads all that is left of it.
        compact = {
            "cleanup.policy": "compact",
            "max.message.bytes": str(MAX_BYTES + ROOM),
            "segment.ms": "3600000",
            "min.cleanable.dirty.ratio": "0.1",
        }
        streams = [name for topic in Topic for name in self.lanes(topic)]
        return {
            **{name: self._options(self.settings.partitions, plain) for name in streams},
            self.progress: self._options(self.settings.partitions, compact),
            self.dead: self._options(1, compact),
        }

    def _options(self, partitions: int, configs: dict[str, str]) -> dict[str, Any]:
        return {
            "num_partitions": partitions,
            "replication_factor": self.settings.replication,
            "configs": configs,
        }


def _create(admin: KafkaAdminClient, name: str, options: dict[str, Any]) -> None:
    with suppress(TopicAlreadyExistsError):  # another process was quicker
        admin.create_topics({name: options})


@contextmanager
def translated(servers: str) -> Iterator[None]:
    """Turn Kafka's errors into groundwatch's, in one line that names the brokers and the remedy."""
    try:
        yield
    except GroundwatchError:
        raise
    except (AuthorizationError, SaslAuthenticationFailedError) as exc:
        raise ConfigError(
            f"Kafka at {servers} refuses us: {_told(exc)}; check kafka.username, kafka.password and its ACLs"
        ) from exc
    except KafkaConfigurationError as exc:
        raise ConfigError(f"Kafka settings can't be used: {_told(exc)}; mend the section kafka") from exc
    except (KafkaError, OSError) as exc:
        raise Retry(f"Kafka at {servers} does not answer as it should: {_told(exc)}") from exc


def _told(exc: BaseException) -> str:
    text = " ".join(str(exc).split())
    return f"{type(exc).__name__}{f' ({text[:300]})' if text else ''}"
