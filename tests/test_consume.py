"""The workers' loop on a real bus: what a handler raises decides what becomes of the event."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from registry.bus import Delivery, Topic
from registry.bus.consume import POLL_S, UNEXPECTED_TRIES, Handled, consume
from registry.bus.local import LocalBus
from registry.errors import ConfigError, GroundwatchError, Halt, InputError, Reject, Retry
from registry.events import Event
from tests.storage_samples import Clock, make_event


class Desk:
    """A bus, a clock that waiting turns, and a diary of what was handled."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.bus = LocalBus(path, now=self.clock, max_attempts=5, chance=lambda: 0.0)
        self.diary: list[str] = []
        self.waited: list[float] = []

    def publish(self, *areas: str) -> None:
        for number, area in enumerate(areas):
            self.bus.publish(Topic.PASSES, make_event(number, area=area))

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.clock.advance(seconds)

    def work(self, errors: Mapping[str, list[Any]] | None = None, **options: object) -> Handled:
        """Consume once; each area raises its errors in turn, then succeeds."""

        def handle(event: Event, delivery: Delivery) -> None:
            self.diary.append(event.key)
            left = (errors or {}).get(event.key, [])
            if left:
                raise left.pop(0)

        return self.run(handle, **options)

    def run(self, handle: Callable[[Event, Delivery], None], **options: object) -> Handled:
        chosen = {"worker": "w", "once": True, "wait": self.wait} | options
        return consume(self.bus, Topic.PASSES, handle, **chosen)  # type: ignore[arg-type]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "groundwatch.db")
    with closing(desk.bus):
        yield desk


def test_once_handles_everything_and_ends(desk: Desk) -> None:
    desk.publish("a", "b", "a")
    assert desk.work() == Handled(done=3)
    assert desk.diary == ["a", "b", "a"]
    assert desk.waited == []


def test_once_waits_for_back_offs(desk: Desk) -> None:
    desk.publish("a", "b", "a")
    assert desk.work({"a": [Retry("503"), Retry("503", after=40.0)]}) == Handled(done=3, retried=2)
    assert desk.diary == ["a", "b", "a", "a", "a"]
    assert sum(desk.waited) == pytest.approx(42.0, abs=0.1)
    assert max(desk.waited) <= POLL_S


def test_a_rejected_event_is_dead_at_once(desk: Desk) -> None:
    desk.publish("a", "b", "a")
    assert desk.work({"a": [Reject("no such band")]}) == Handled(done=2, rejected=1)
    assert [letter.reason for letter in desk.bus.dead()] == ["no such band"]


@pytest.mark.parametrize("error", [ValueError("odd\nvalue"), KeyError("x"), InputError("bad"), MemoryError()])
def test_an_unexpected_error_is_tried_a_few_times(desk: Desk, error: Exception) -> None:
    desk.publish("a", "b")
    tries = [error] * UNEXPECTED_TRIES
    assert desk.work({"a": list(tries)}) == Handled(done=1, retried=UNEXPECTED_TRIES - 1, rejected=1)
    (letter,) = desk.bus.dead()
    assert letter.attempts == UNEXPECTED_TRIES
    assert "\n" not in letter.reason
    assert isinstance(error, GroundwatchError) or letter.reason.startswith(type(error).__name__)


def test_a_failing_disk_is_tried_until_the_bus_gives_up(desk: Desk) -> None:
    desk.publish("a")
    assert desk.work({"a": [OSError(28, "No space left on device")] * 5}) == Handled(retried=5)
    assert "No space left" in desk.bus.dead()[0].reason


def test_it_halts_when_everything_is_rejected(desk: Desk) -> None:
    desk.publish(*(f"a{number}" for number in range(30)))
    errors = {f"a{number}": [Reject("wrong model")] for number in range(30)}
    with pytest.raises(Halt, match="7 passes events in a row"):
        desk.work(errors, halt_after=7)
    assert len(desk.bus.dead()) == 7
    assert desk.bus.depth(Topic.PASSES).waiting == 23


def test_retries_between_rejections_do_not_keep_it_going(desk: Desk) -> None:
    desk.publish(*(f"a{number}" for number in range(8)))
    errors = {f"a{number}": [(Retry if number % 2 else Reject)("x")] * 9 for number in range(8)}
    with pytest.raises(Halt):
        desk.work(errors, halt_after=4)


def test_a_success_between_rejections_keeps_it_going(desk: Desk) -> None:
    desk.publish(*(f"a{number}" for number in range(9)))
    errors = {f"a{number}": [Reject("x")] for number in range(9) if number % 3}
    assert desk.work(errors, halt_after=3) == Handled(done=3, rejected=6)


def test_halting_and_interrupting_give_the_work_back(desk: Desk) -> None:
    desk.publish("a")
    with pytest.raises(Halt, match="enough"):
        desk.work({"a": [Halt("enough")]})
    with pytest.raises(KeyboardInterrupt):
        desk.work({"a": [KeyboardInterrupt()]})
    with pytest.raises(Halt, match="access_key_id"):
        desk.work({"a": [ConfigError("S3 refuses the key; check s3.access_key_id")]})
    delivery = desk.bus.receive(Topic.PASSES, worker="w2")
    assert delivery is not None
    assert delivery.attempt == 4


def test_it_stops_when_told(desk: Desk) -> None:
    desk.publish("a", "b", "c")
    assert desk.work(stop=lambda: len(desk.diary) == 2, once=False) == Handled(done=2)
    assert desk.bus.depth(Topic.PASSES).waiting == 1


def test_without_once_it_goes_on_waiting(desk: Desk) -> None:
    def wait(seconds: float) -> None:
        desk.wait(seconds)
        if len(desk.waited) == 3:
            desk.publish("late")

    assert desk.work(once=False, stop=lambda: bool(desk.diary), wait=wait) == Handled(done=1)
    assert desk.waited == [POLL_S] * 3


def test_the_lease_is_renewed_while_the_handler_works(desk: Desk) -> None:
    desk.publish("a")
    renewed = threading.Event()

    def handle(event: Event, delivery: Delivery) -> None:
        desk.clock.advance(59.0)
        extend = delivery.extend
        # The heartbeat finds the method by name on each beat: told here, it still renews for real.
        delivery.extend = lambda: (extend(), renewed.set())  # type: ignore[assignment, func-returns-value, method-assign]
        assert renewed.wait(60.0)
        desk.clock.advance(59.0)
        assert desk.bus.receive(Topic.PASSES, worker="thief") is None

    assert desk.run(handle, heartbeat_s=0.001) == Handled(done=1)


def test_a_stolen_event_is_not_acknowledged_twice(desk: Desk) -> None:
    desk.publish("a", "a")
    stolen: list[Delivery | None] = []

    def handle(event: Event, delivery: Delivery) -> None:
        if not stolen:
            desk.clock.advance(3600.0)
            stolen.append(desk.bus.receive(Topic.PASSES, worker="thief"))

    desk.run(handle, stop=lambda: bool(stolen), heartbeat_s=3600.0)
    assert stolen[0] is not None
    assert desk.bus.depth(Topic.PASSES).in_flight == 1
    stolen[0].ack()
    assert desk.bus.depth(Topic.PASSES).waiting == 1


def test_a_bus_that_fails_ends_once_and_is_waited_for_otherwise(desk: Desk) -> None:
    desk.publish("a")

    class Flaky(LocalBus):
        failures = 2

        def receive(self, topic: Topic, *, worker: str) -> object:  # type: ignore[override]
            if self.failures:
                self.failures -= 1
                raise Retry("database is busy")
            return super().receive(topic, worker=worker)

    with closing(Flaky(desk.bus._path, now=desk.clock)) as flaky:
        desk.bus, bus = flaky, desk.bus
        with pytest.raises(Retry, match="busy"):
            desk.work()
        assert desk.work(once=False, stop=lambda: bool(desk.diary)) == Handled(done=1)
        desk.bus = bus
