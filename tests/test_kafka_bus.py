"""The bus on a real broker: the contract, and what only a broker brings."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient

from registry.bus import Topic, open_bus
from registry.bus.kafka import KafkaBus
from registry.bus.kafka_client import MAX_BYTES, ROOM
from registry.bus.kafka_reader import Reader
from registry.bus.kafka_settings import KafkaSettings
from registry.errors import ConfigError, Retry
from registry.events import MAX_EVENT_BYTES, Event
from tests.bus_contract import LEASE_S, MAX_ATTEMPTS, PATIENCE_S, BusContract, is_quiet, take
from tests.conftest import REPO
from tests.services import kafka
from tests.services.kafka import Broker
from tests.services.s3 import S3Server
from tests.storage_samples import Clock, make_event

# kafka-python leaves a socket to the collector where a client is closed while it connects (a busy machine).
pytestmark = pytest.mark.filterwarnings(
    r"ignore:unclosed <socket.socket fd=\d+, family=2, type=1, proto=6, laddr=:ResourceWarning"
)


@dataclass
class KafkaWorld:
    broker: Broker
    prefix: str
    clock: Clock = field(default_factory=Clock)
    opened: list[KafkaBus] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bus = self.open()

    def open(self) -> KafkaBus:
        bus = KafkaBus(
            self.broker.address,
            self.prefix,
            settings=self.broker.settings(),
            now=self.clock,
            lease_s=LEASE_S,
            max_attempts=MAX_ATTEMPTS,
        )
        self.opened.append(bus)
        return bus

    def advance(self, seconds: float) -> None:
        """Members come and go one after the other: Tansu gets stuck when one leaves while another joins."""
        for bus in self.opened:
            deadline = time.monotonic() + PATIENCE_S
            while not bus.is_settled() and time.monotonic() < deadline:
                time.sleep(0.02)
        self.clock.advance(seconds)
        time.sleep(0.3)  # whoever is silent over a lease leaves

    def close(self) -> None:
        for bus in self.opened:
            bus.close()


@pytest.fixture
def world(broker: Broker) -> Iterator[KafkaWorld]:
    made = KafkaWorld(broker, broker.new_prefix())
    yield made
    made.close()


class TestContract(BusContract):
    pass


def _raw(broker: Broker, topic: str, key: str, value: bytes) -> None:
    """A record as some other program may write it."""
    producer = KafkaProducer(bootstrap_servers=broker.address, max_request_size=MAX_BYTES + ROOM)
    producer.send(topic, key=key.encode(), value=value).get(timeout=10)
    producer.close()


def test_poison_goes_to_the_dead_letters_and_its_neighbours_go_on(world: KafkaWorld, broker: Broker) -> None:
    world.bus.publish(Topic.PASSES, make_event(1))
    topic = f"{world.prefix}.passes"
    too_big = b"y" * (MAX_BYTES - 200)
    for value in (b"\xff\xfe garbage", b'{"type": "unknown.v9"}', b"", too_big):
        _raw(broker, topic, "pit", value)
    world.bus.publish(Topic.PASSES, make_event(2))
    for number in (1, 2):
        delivery = take(world.bus)
        assert delivery.event == make_event(number)
        delivery.ack()
    assert is_quiet(world.bus)
    reasons = sorted(letter.reason for letter in world.bus.dead())
    assert len(reasons) == 4
    assert all("\n" not in reason and reason for reason in reasons)
    assert any(str(MAX_EVENT_BYTES) in reason for reason in reasons)


def test_what_died_can_be_revived_after_a_restart_of_everything(world: KafkaWorld) -> None:
    world.bus.publish(Topic.PASSES, make_event(1))
    take(world.bus).reject("no such band")
    world.bus.close()
    other = world.open()
    (letter,) = other.dead()
    other.revive(letter.id)
    assert take(other).event == make_event(1)
    assert other.dead() == []


def test_an_ack_is_known_to_others_before_its_offset_is_committed(
    world: KafkaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group may take a partition away between the ack and the reader's next turn, which commits."""
    world.bus.publish(Topic.PASSES, make_event(1))
    take(world.bus)  # the topics are made and the partition is ours
    world.bus.close()
    holder = world.open()
    with monkeypatch.context() as patch:
        patch.setattr(Reader, "_commit", lambda _self, _consumer: None)
        delivery = take(holder)
        assert delivery.attempt == 2
        delivery.ack()
        holder.close()
    assert is_quiet(world.open())


def test_an_event_told_twice_is_handled_once(world: KafkaWorld) -> None:
    world.bus.publish(Topic.PASSES, make_event(1))
    world.open().publish(Topic.PASSES, make_event(1))
    take(world.bus).ack()
    assert is_quiet(world.bus)


_HOLDER = """
import sys, time
from registry.bus import Topic
from registry.bus.kafka import KafkaBus
from registry.bus.kafka_settings import KafkaSettings
settings = KafkaSettings.model_validate_json(sys.argv[3])
bus = KafkaBus(sys.argv[1], sys.argv[2], settings=settings)
done = 0
while True:
    delivery = bus.receive(Topic.PASSES, worker="mortal")
    if delivery is None:
        time.sleep(0.01)
    elif done < int(sys.argv[4]):
        delivery.ack()
        done += 1
    else:
        print(delivery.event.id, delivery.attempt, flush=True)
        time.sleep(600)
"""


def _hold(broker: Broker, prefix: str, *, after: int) -> tuple[str, int]:
    """A process handles ``after`` events, takes another, and dies over it: (event id, attempt)."""
    settings = broker.settings().model_dump_json()
    command = [sys.executable, "-c", _HOLDER, broker.address, prefix, settings, str(after)]
    with subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        event_id, attempt = process.stdout.readline().split()
        time.sleep(0.5)  # marks are sent, not awaited
        process.kill()
    return event_id, int(attempt)


def test_a_killed_process_loses_nothing_and_repeats_only_what_it_held(broker: Broker) -> None:
    bus = KafkaBus(broker.address, broker.new_prefix(), settings=broker.settings())
    events = [make_event(number) for number in range(6)]
    for event in events:
        bus.publish(Topic.PASSES, event)
    assert _hold(broker, bus.prefix, after=2) == (events[2].id, 1)
    assert _hold(broker, bus.prefix, after=1) == (events[3].id, 1)
    got = []
    for _ in range(3):
        delivery = take(bus)
        got.append((delivery.event, delivery.attempt))
        delivery.ack()
    assert got == [(events[3], 2), (events[4], 1), (events[5], 1)]
    bus.close()


def test_work_goes_on_after_the_broker_was_killed(tmp_path: Path, s3_server: S3Server) -> None:
    with kafka.broker(tmp_path, s3_server) as mortal:
        bus = KafkaBus(mortal.address, "p", settings=mortal.settings(timeout_s=3.0))
        events = [make_event(number) for number in range(3)]
        bus.publish(Topic.PASSES, events[0])
        bus.publish(Topic.PASSES, events[1])
        held = take(bus)
        mortal.kill()
        with pytest.raises(Retry, match="Kafka at"):
            bus.publish(Topic.PASSES, events[2])
        held.ack()
        mortal.start()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                bus.publish(Topic.PASSES, events[2])
                break
            except Retry:
                assert time.monotonic() < deadline
        assert [_acked(bus) for _ in range(2)] == [events[1], events[2]]
        bus.close()


@contextmanager
def _gate(s3: S3Server, trip: Callable[[str], bool]) -> Iterator[str]:
    """URL of a way to the object store on which requests that ``trip`` says yes to get lost."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if trip(f"{self.command} {self.path}"):
                self.close_connection = True
                return
            with closing(HTTPConnection(urlsplit(s3.url).netloc, timeout=30)) as onward:
                onward.request(self.command, self.path, body, dict(self.headers))
                answer = onward.getresponse()
                content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in (
                    "content-length",
                    "connection",
                    "transfer-encoding",
                    "server",
                    "date",
                ):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    for verb in ("GET", "PUT", "POST", "DELETE", "HEAD"):
        setattr(Handler, f"do_{verb}", Handler.pass_on)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_broker_that_dies_before_it_wrote_an_event_has_it_in_the_end(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """Tansu notes a producer's number before it writes: it may call a repeat a duplicate of nothing."""
    armed, died = threading.Event(), threading.Event()

    def trip(request: str) -> bool:
        if armed.is_set() and request.startswith("PUT") and ".passes/" in request and "/records/" in request:
            armed.clear()
            assert mortal.process is not None
            mortal.process.kill()
            died.set()
            return True
        return False

    with _gate(s3_server, trip) as url, kafka.broker(tmp_path, replace(s3_server, url=url)) as mortal:
        bus = KafkaBus(mortal.address, "p", settings=mortal.settings(timeout_s=20.0))
        events = [make_event(number) for number in range(3)]
        bus.publish(Topic.PASSES, events[0])
        armed.set()
        with ThreadPoolExecutor(1) as pool:
            published = pool.submit(bus.publish, Topic.PASSES, events[1])
            assert died.wait(PATIENCE_S)
            mortal.kill()
            mortal.start()
            assert published.result()
        bus.publish(Topic.PASSES, events[2])
        got = [_acked(bus)]
        while got[-1] != events[2]:
            got.append(_acked(bus))
        assert list(dict.fromkeys(one.id for one in got)) == [one.id for one in events]
        bus.close()


def _acked(bus: KafkaBus) -> Event:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            delivery = take(bus)
        except Retry:
            time.sleep(0.1)
            continue
        delivery.ack()
        return delivery.event
    raise AssertionError("nothing came after the broker was back")


def test_topics_whose_partitions_do_not_match_are_refused(world: KafkaWorld, broker: Broker) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker.address)
    for name, count in ((f"{world.prefix}.passes", 3), (f"{world.prefix}.progress", 1)):
        admin.create_topics({name: {"num_partitions": count, "replication_factor": 1}})
    admin.close()
    with pytest.raises(ConfigError, match="differ in partitions"):
        world.bus.publish(Topic.PASSES, make_event(1))


def test_urls_of_brokers() -> None:
    for url, says in (
        ("kafka://user:secret@host:9092", "kafka.username"),
        ("kafka://host", "HOST:PORT"),
        ("kafka://host:9092/a b", "can't name topics"),
        ("redis://host", "is not known"),
    ):
        with pytest.raises(ConfigError, match=says) as caught:
            open_bus(url)
        assert "secret" not in str(caught.value)


def test_a_password_is_never_shown() -> None:
    settings = KafkaSettings.model_validate(
        {"security": "SASL_SSL", "username": "watch", "password": "topsecret1", "ca_file": "ca.pem"}
    )
    assert "topsecret1" not in repr(settings)
    assert settings.connection()["sasl_plain_password"] == "topsecret1"
    assert settings.connection()["ssl_cafile"] == "ca.pem"
