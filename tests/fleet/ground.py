"""What a fleet stands on: broker, object store, and a gate in front of it that can be shut."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from registry.bus import Topic
from registry.bus.kafka_client import Cluster
from registry.bus.kafka_settings import KafkaSettings
from registry.bus.tracker import Place
from registry.events import Event, PassFound
from tests.services import kafka
from tests.services.kafka import Broker
from tests.services.s3 import KEY, SECRET, s3_server

CHUNK = 1 << 16

PREFIX = "fleet"

LULL_MS = 1_500
"""Silence of the broker after which a topic counts as read to its end."""

YAML = """
bus: kafka://{broker}/{prefix}
kafka:
  partitions: 6
  session_timeout_s: 6
  timeout_s: 10
blobs: s3://{bucket}/fleet
s3:
  endpoint: {s3}
  region: us-east-1
  access_key_id: {key}
  secret_access_key: {secret}
  allow_http: true
  timeout_s: 5
  retry_s: 2
"""


@dataclass
class Gate:
    """A TCP relay on loopback. Shut, it breaks what is open and takes nothing new."""

    port: int
    upstream: int
    _open: threading.Event = field(default_factory=threading.Event, repr=False)
    _lines: set[socket.socket] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def url(self) -> str:
        """Where clients go."""
        return f"http://127.0.0.1:{self.port}"

    def shut(self) -> None:
        """From now on nothing gets through."""
        self._open.clear()
        with self._lock:
            for line in list(self._lines):
                _break(line)

    def reopen(self) -> None:
        """Back to normal."""
        self._open.set()

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener was closed: the end
            while True:
                client, _ = listener.accept()
                if self._open.is_set():
                    threading.Thread(target=self._relay, args=(client,), daemon=True).start()
                else:
                    client.close()

    def _relay(self, client: socket.socket) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.upstream)) as server, client:
            with self._lock:
                self._lines |= {client, server}
            back = threading.Thread(target=_pour, args=(server, client), daemon=True)
            back.start()
            _pour(client, server)
            back.join()
            with self._lock:
                self._lines -= {client, server}


def _pour(source: socket.socket, target: socket.socket) -> None:
    """Copy until one side ends, then end the other."""
    with suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    _break(target)


def _break(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


@contextmanager
def gate(upstream: int) -> Iterator[Gate]:
    """A gate in front of a server on loopback, open at first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        standing = Gate(port=listener.getsockname()[1], upstream=upstream)
        standing.reopen()
        thread = threading.Thread(target=standing._serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield standing
        finally:
            standing.shut()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=5)


@dataclass
class Ground:
    """The broker, which survives a restart, and the object store behind its gate."""

    broker: Broker
    gate: Gate
    yaml: str
    """What every member's configuration says of them."""
    _readers: dict[Topic, KafkaConsumer] = field(default_factory=dict, repr=False)

    def restart_broker(self) -> None:
        """SIGKILL, then up again at the same address with what it had stored."""
        self.broker.kill()
        self.broker.start()

    def repeat_events(self, seed: int, *, share: float = 0.2) -> int:
        """Put some of the events on the topic of passes there a second time; how many."""
        chance = random.Random(seed)
        records = [one for one in self._passes() if chance.random() < share]
        producer = KafkaProducer(bootstrap_servers=self.broker.address)
        for one in records:
            producer.send(one.topic, key=one.key, value=one.value, headers=one.headers)
        producer.flush()
        producer.close()
        return len(records)

    def ends(self, topic: Topic) -> dict[Place, int]:
        """Where a topic ends, by reading on to there: asked for it, Tansu on S3 gives an old number."""
        if topic not in self._readers:
            self._readers[topic] = self._consumer(topic)
        reader = self._readers[topic]
        _rest(reader)
        return {(part.topic, part.partition): reader.position(part) for part in reader.assignment()}

    def whereabouts(self, passes: Iterable[str]) -> tuple[str, ...]:
        """Where passes, as AREA/PASS, lie on the broker, beside what the group committed there."""
        records = {_pass_of(one): one for one in self._passes()}
        group = KafkaConsumer(
            bootstrap_servers=self.broker.address,
            group_id=f"{PREFIX}.{Topic.PASSES}",
            enable_auto_commit=False,
        )
        found = []
        for name in passes:
            one = records.get(name)
            if one is None:
                found.append(f"{name} is not on the broker")
                continue
            committed = group.committed(TopicPartition(one.topic, one.partition))
            found.append(f"{name} is at {one.topic}/{one.partition}@{one.offset}, committed {committed}")
        group.close(autocommit=False)
        return tuple(found)

    def close(self) -> None:
        """Let go of the broker."""
        for reader in self._readers.values():
            reader.close(autocommit=False)

    def _passes(self) -> list[Any]:
        """All records about passes."""
        consumer = self._consumer(Topic.PASSES)
        found = _rest(consumer)
        consumer.close(autocommit=False)
        return found

    def _consumer(self, topic: Topic) -> KafkaConsumer:
        """Over all lanes of a topic, from the beginning, in no group."""
        consumer = KafkaConsumer(bootstrap_servers=self.broker.address, enable_auto_commit=False)
        parts = [
            TopicPartition(lane, number)
            for lane in Cluster(self.broker.address, PREFIX, KafkaSettings()).lanes(topic)
            for number in consumer.partitions_for_topic(lane) or ()
        ]
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        return consumer


def _rest(consumer: KafkaConsumer) -> list[Any]:
    """Its records from where it stands until nothing comes any more."""
    found: list[Any] = []
    while records := consumer.poll(timeout_ms=LULL_MS):
        found += [one for some in records.values() for one in some]
    return found


def _pass_of(record: Any) -> str:
    task = Event.from_json(record.value).data
    return f"{task.area.id}/{task.pass_.name}" if isinstance(task, PassFound) else ""


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """Both services run meanwhile. The broker keeps its log in an object store of its own."""
    work = folder / "services"
    work.mkdir(parents=True)
    with ExitStack() as stack:
        s3 = stack.enter_context(s3_server(work))
        broker = stack.enter_context(kafka.broker(work, stack.enter_context(s3_server(work))))
        before = stack.enter_context(gate(int(s3.url.rpartition(":")[2])))
        text = YAML.format(
            broker=broker.address,
            prefix=PREFIX,
            bucket=s3.new_bucket(),
            s3=before.url,
            key=KEY,
            secret=SECRET,
        )
        standing = Ground(broker, before, text)
        stack.callback(standing.close)
        yield standing
