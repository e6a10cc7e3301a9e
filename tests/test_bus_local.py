"""The SQLite bus: the contract, killed and competing processes, damaged rows, full disks."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from registry.bus import Bus, Lane, Topic, open_bus
from registry.bus.local import Backoff, LocalBus, enqueue
from registry.errors import ConfigError, Retry
from registry.sqlite import connect, immediate
from tests.bus_contract import LEASE_S, MAX_ATTEMPTS, BusContract, take
from tests.conftest import REPO
from tests.storage_samples import START, Clock, make_event


class LocalWorld:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.handles: list[LocalBus] = []
        self.bus = self.open()

    def open(self) -> LocalBus:
        bus = LocalBus(
            self.path,
            now=self.clock,
            lease_s=LEASE_S,
            max_attempts=MAX_ATTEMPTS,
            chance=lambda: 0.5,
        )
        self.handles.append(bus)
        return bus

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def damage(self, event_id: str, body: bytes) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("UPDATE bus SET body = ? WHERE id = ?", (body, event_id))
            connection.commit()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LocalWorld]:
    world = LocalWorld(tmp_path / "groundwatch.db")
    yield world
    for bus in world.handles:
        bus.close()


class TestContract(BusContract):
    pass


def test_open_bus_opens_it(tmp_path: Path) -> None:
    bus: Bus = open_bus(f"sqlite:///{tmp_path}/deep/groundwatch.db")
    assert bus.publish(Topic.PASSES, make_event(1))
    bus.close()
    with pytest.raises(ConfigError, match="amqp"):
        open_bus("amqp://x")


def test_events_survive_closing(world: LocalWorld) -> None:
    world.bus.publish(Topic.PASSES, make_event(1))
    world.bus.close()
    assert take(world.open()).event == make_event(1)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[]", b'{"type": "org.groundwatch.pass-found.v1"}'])
def test_a_damaged_body_goes_to_the_dead_letters(world: LocalWorld, body: bytes) -> None:
    broken, next_one = make_event(1), make_event(2)
    world.bus.publish(Topic.PASSES, broken)
    world.bus.publish(Topic.PASSES, next_one)
    world.damage(broken.id, body)
    assert take(world.bus).event == next_one
    (dead,) = world.bus.dead()
    assert dead.id == broken.id
    assert "event" in dead.reason
    assert "\n" not in dead.reason
    world.bus.revive(broken.id)
    world.advance(LEASE_S)
    take(world.bus).ack()
    assert world.bus.receive(Topic.PASSES, worker="w1") is None
    assert [one.id for one in world.bus.dead()] == [broken.id]


def test_enqueue_belongs_to_the_callers_transaction(world: LocalWorld) -> None:
    with closing(connect(world.path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert enqueue(connection, Topic.PASSES, make_event(1), START)
        connection.execute("ROLLBACK")
        assert world.bus.next_ready(Topic.PASSES) is None
        with immediate(connection):
            assert enqueue(connection, Topic.PASSES, make_event(1), START)
            assert not enqueue(connection, Topic.PASSES, make_event(1), START)
    assert take(world.bus).event == make_event(1)


def test_back_off_is_exponential_capped_and_jittered() -> None:
    backoff = Backoff(base_s=2.0, factor=3.0, cap_s=50.0, jitter=0.5)
    assert [backoff.delay(attempt, 0.0) for attempt in (1, 2, 3, 4, 10_000)] == [2.0, 6.0, 18.0, 50.0, 50.0]
    assert backoff.delay(2, 0.5) == 4.5


def test_workers_without_work_do_not_take_the_write_lock(world: LocalWorld) -> None:
    with closing(connect(world.path)) as connection, immediate(connection):
        assert world.bus.receive(Topic.PASSES, worker="w1") is None
        assert world.bus.next_ready(Topic.PASSES) is None


_HOLD = """
import sys
from datetime import datetime
from registry.bus import Topic
from registry.bus.local import LocalBus
bus = LocalBus(sys.argv[1], now=lambda: datetime.fromisoformat(sys.argv[2]), lease_s=60.0)
print(bus.receive(Topic.PASSES, worker="doomed").attempt, flush=True)
sys.stdin.read()
"""


def test_a_killed_workers_lease_passes_on(world: LocalWorld) -> None:
    world.bus.publish(Topic.PASSES, make_event(1))
    command = [sys.executable, "-c", _HOLD, str(world.path), START.isoformat()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPO) as doomed:
        assert doomed.stdout is not None
        assert doomed.stdout.readline() == b"1\n"
        assert world.bus.receive(Topic.PASSES, worker="w2") is None
        doomed.send_signal(signal.SIGKILL)
        doomed.wait()
    world.advance(LEASE_S)
    delivery = take(world.bus, worker="w2")
    assert (delivery.event, delivery.attempt) == (make_event(1), 2)


_COMPETE = """
import random, sys
from pathlib import Path
from registry.bus import Topic
from registry.bus.local import LocalBus
path, worker = Path(sys.argv[1]), sys.argv[2]
draw = random.Random(worker)
bus = LocalBus(path, max_attempts=1000)
# One line per delivery, appended before and after: O_APPEND keeps short lines whole and in order.
with open(path.parent / "trace", "ab", buffering=0) as trace:
    while (ready := bus.next_ready(Topic.PASSES)) is not None:
        delivery = bus.receive(Topic.PASSES, worker=worker)
        if delivery is None:
            continue
        key, id_ = delivery.event.key, delivery.event.id
        trace.write(f"{worker} + {key} {id_}\\n".encode())
        again = draw.random() < 0.3
        trace.write(f"{worker} {'r' if again else '-'} {key} {id_}\\n".encode())
        delivery.retry("again", after=0.0) if again else delivery.ack()
"""


def test_competing_processes_keep_each_keys_order(tmp_path: Path) -> None:
    path = tmp_path / "groundwatch.db"
    events = [make_event(number, area=f"a{number % 4}") for number in range(60)]
    with closing(LocalBus(path)) as bus:
        for event in events:
            bus.publish(Topic.PASSES, event)
    command = [sys.executable, "-c", _COMPETE, str(path)]
    workers = [subprocess.Popen([*command, f"w{number}"], cwd=REPO) for number in range(3)]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    _check_trace((tmp_path / "trace").read_text().splitlines(), [event.id for event in events])


def _check_trace(lines: list[str], published: list[str]) -> None:
    held: dict[str, str] = {}
    done: list[str] = []
    for line in lines:
        worker, what, key, id_ = line.split()
        if what == "+":
            assert key not in held, f"two workers hold {key}"
            held[key] = worker
            continue
        assert held.pop(key) == worker
        if what == "-":
            done.append(id_)
    assert Counter(done) == Counter(published)
    rank = {id_: number for number, id_ in enumerate(published)}
    for number in range(4):
        order = [rank[id_] for id_ in done if rank[id_] % 4 == number]
        assert order == sorted(order)


def test_opening_at_once_lays_the_table_out_once(tmp_path: Path) -> None:
    code = f"from registry.bus.local import LocalBus; LocalBus({str(tmp_path / 'x.db')!r}).close()"
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=REPO) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4


def test_not_a_database_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at by SQLite " * 40)
    with pytest.raises(ConfigError, match=r"notes\.txt is not a groundwatch database") as caught:
        LocalBus(path)
    assert "\n" not in str(caught.value)


def test_a_file_of_the_first_layout_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(LocalBus(path)) as bus:
        bus.publish(Topic.PASSES, make_event(1))
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP INDEX bus_heads; ALTER TABLE bus DROP COLUMN lane;"
            "CREATE INDEX bus_heads ON bus (topic, seq, free_at) WHERE free_at IS NOT NULL;"
            "PRAGMA user_version = 1"
        )
    with closing(LocalBus(path)) as bus:
        delivery = bus.receive(Topic.PASSES, worker="w")
        assert delivery is not None
        assert (delivery.event, delivery.lane) == (make_event(1), Lane.LIVE)


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    LocalBus(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(ConfigError, match="layout 9"):
        LocalBus(path)


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(LocalBus(path)) as bus:
        bus.publish(Topic.PASSES, make_event(1))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"), closing(LocalBus(path)) as bus:
        bus.receive(Topic.PASSES, worker="w1")


def test_publishing_on_a_full_disk_is_a_retry(small_disk: Path) -> None:
    path = small_disk / "groundwatch.db"
    with closing(LocalBus(path)) as bus:
        with pytest.raises(Retry, match="disk") as caught:
            publish_many(bus, 10_000)
        assert "\n" not in str(caught.value)
        published = bus.depth(Topic.PASSES).waiting
        assert published > 0
        (small_disk / "ballast").unlink()
        assert not bus.publish(Topic.PASSES, make_event(published - 1))
        assert bus.publish(Topic.PASSES, make_event(published))
        assert take(bus).event == make_event(0)


def publish_many(bus: LocalBus, count: int) -> None:
    for number in range(count):
        bus.publish(Topic.PASSES, make_event(number))


def test_after_is_honoured_without_jitter(world: LocalWorld) -> None:
    world.bus.publish(Topic.PASSES, make_event(1))
    take(world.bus).retry("later", after=0.0)
    assert world.bus.next_ready(Topic.PASSES) == 0.0
    take(world.bus).retry("later", after=timedelta(days=1).total_seconds())
    assert world.bus.next_ready(Topic.PASSES) == pytest.approx(86_400.0)
