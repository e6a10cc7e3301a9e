"""What every bus must do. A backend subclasses BusContract and gives a ``world`` fixture."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import pytest

from registry.bus import Bus, Delivery, Lane, Topic
from registry.errors import NotFound, Retry
from tests.storage_samples import change_event, make_event

LEASE_S = 60.0
MAX_ATTEMPTS = 4


class World(Protocol):
    """A bus with leases of LEASE_S and MAX_ATTEMPTS, whose time passes only by ``advance``."""

    bus: Bus

    def open(self) -> Bus:
        """Another handle on the same bus, as another process has it."""

    def advance(self, seconds: float) -> None:
        """Let time pass."""


PATIENCE_S = 30.0
"""Longest wait, in real time, for a broker that hands a key on; the local bus answers at once."""


def take(bus: Bus, topic: Topic = Topic.PASSES, *, worker: str = "w1") -> Delivery:
    deadline = time.monotonic() + PATIENCE_S
    while (delivery := bus.receive(topic, worker=worker)) is None:
        assert time.monotonic() < deadline, "nothing to receive"
        time.sleep(0.01)
    return delivery


def is_quiet(bus: Bus, topic: Topic = Topic.PASSES) -> bool:
    """Whether nothing is left to do, once what comes late has come."""
    deadline = time.monotonic() + PATIENCE_S
    while (ready := bus.next_ready(topic)) == 0.0 and time.monotonic() < deadline:
        if bus.receive(topic, worker="nobody") is not None:
            return False
        time.sleep(0.01)
    return ready is None


def eventually(is_so: Callable[[], bool]) -> bool:
    """Whether it becomes so: what another handle did may take a moment to be seen."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_so()


class BusContract:
    def test_what_is_published_is_received_once(self, world: World) -> None:
        event = make_event(1)
        assert world.bus.publish(Topic.PASSES, event)
        delivery = take(world.bus)
        assert delivery.event == event
        assert delivery.attempt == 1
        delivery.ack()
        assert is_quiet(world.bus)
        world.advance(10 * LEASE_S)
        assert is_quiet(world.bus)

    def test_nothing_to_receive_on_an_empty_topic(self, world: World) -> None:
        assert world.bus.receive(Topic.PASSES, worker="w1") is None
        assert is_quiet(world.bus)

    def test_an_id_is_published_once_for_good(self, world: World) -> None:
        event = make_event(1)
        assert world.bus.publish(Topic.PASSES, event)
        assert not world.bus.publish(Topic.PASSES, event)
        take(world.bus).ack()
        assert not world.bus.publish(Topic.PASSES, event)
        assert is_quiet(world.bus)

    def test_a_dead_id_is_not_published_again(self, world: World) -> None:
        event = make_event(1)
        world.bus.publish(Topic.PASSES, event)
        take(world.bus).reject("broken")
        assert not world.bus.publish(Topic.PASSES, event)
        assert len(world.bus.dead()) == 1

    def test_topics_are_apart(self, world: World) -> None:
        world.bus.publish(Topic.PASSES, make_event(1))
        assert world.bus.receive(Topic.CHANGES, worker="w1") is None
        world.bus.publish(Topic.CHANGES, change_event("a"))
        take(world.bus, Topic.CHANGES).reject("no")
        assert [one.topic for one in world.bus.dead()] == [Topic.CHANGES]
        assert world.bus.dead(Topic.PASSES) == []
        assert take(world.bus).event == make_event(1)

    def test_events_of_a_key_come_in_order_one_at_a_time(self, world: World) -> None:
        events = [make_event(number) for number in (3, 1, 2)]
        for event in events:
            world.bus.publish(Topic.PASSES, event)
        for event in events:
            delivery = take(world.bus)
            assert delivery.event == event
            assert world.bus.receive(Topic.PASSES, worker="w2") is None
            delivery.ack()

    def test_keys_do_not_wait_for_each_other(self, world: World) -> None:
        for area in ("a", "a", "b", "c"):
            world.bus.publish(Topic.PASSES, make_event(world.bus.depth(Topic.PASSES).waiting, area=area))
        held = [take(world.bus, worker=f"w{number}") for number in range(3)]
        assert [one.event.key for one in held] == ["a", "b", "c"]
        assert world.bus.receive(Topic.PASSES, worker="w4") is None

    def test_live_areas_come_before_those_with_history_only(self, world: World) -> None:
        for number, (area, lane) in enumerate(
            [("old", Lane.BACKFILL), ("old", Lane.BACKFILL), ("new", Lane.LIVE)]
        ):
            world.bus.publish(Topic.PASSES, make_event(number, area=area), lane=lane)
        first = take(world.bus)
        assert (first.event.key, first.lane) == ("new", Lane.LIVE)
        second = take(world.bus)
        assert (second.event.key, second.lane) == ("old", Lane.BACKFILL)

    def test_a_retried_event_keeps_its_place_in_its_key(self, world: World) -> None:
        first, second, other = make_event(1), make_event(2), make_event(1, area="other")
        for event in (first, second, other):
            world.bus.publish(Topic.PASSES, event)
        take(world.bus).retry("busy", after=30.0)
        assert take(world.bus).event == other
        assert world.bus.receive(Topic.PASSES, worker="w1") is None
        world.advance(30.0)
        again = take(world.bus)
        assert (again.event, again.attempt) == (first, 2)
        again.ack()
        assert take(world.bus).event == second

    def test_next_ready_tells_how_long_to_wait(self, world: World) -> None:
        world.bus.publish(Topic.PASSES, make_event(1))
        assert world.bus.next_ready(Topic.PASSES) == 0.0
        take(world.bus).retry("busy", after=30.0)
        assert world.bus.next_ready(Topic.PASSES) == pytest.approx(30.0, abs=0.01)
        world.advance(31.0)
        assert world.bus.next_ready(Topic.PASSES) == 0.0
        delivery = take(world.bus)
        assert world.bus.next_ready(Topic.PASSES) == pytest.approx(LEASE_S, abs=0.01)
        delivery.ack()
        assert is_quiet(world.bus)

    def test_the_back_off_grows_and_ends_in_the_dead_letters(self, world: World) -> None:
        event = make_event(1)
        world.bus.publish(Topic.PASSES, event)
        waits = []
        for attempt in range(1, MAX_ATTEMPTS):
            delivery = take(world.bus)
            assert delivery.attempt == attempt
            delivery.retry(f"failed {attempt}")
            waits.append(world.bus.next_ready(Topic.PASSES) or 0.0)
            world.advance(waits[-1] + 0.001)
        assert waits == sorted(waits)
        assert 0.0 < waits[0] < waits[-1]
        take(world.bus).retry("failed at last")
        (dead,) = world.bus.dead(Topic.PASSES)
        assert (dead.id, dead.key, dead.attempts) == (event.id, "pit", MAX_ATTEMPTS)
        assert "failed at last" in dead.reason
        assert dead.body.encode() == event.to_json()

    def test_a_rejected_event_lets_its_neighbours_go_on(self, world: World) -> None:
        first, second = make_event(1), make_event(2)
        world.bus.publish(Topic.PASSES, first)
        world.bus.publish(Topic.PASSES, second)
        take(world.bus).reject("no such band")
        assert take(world.bus).event == second
        (dead,) = world.bus.dead()
        assert (dead.id, dead.reason, dead.attempts) == (first.id, "no such band", 1)

    def test_a_revived_event_comes_at_the_end_of_its_key(self, world: World) -> None:
        events = [make_event(number) for number in range(3)]
        for event in events:
            world.bus.publish(Topic.PASSES, event)
        take(world.bus).reject("broken")
        world.bus.revive(events[0].id)
        assert world.bus.dead() == []
        for event in (events[1], events[2], events[0]):
            delivery = take(world.bus)
            assert (delivery.event, delivery.attempt) == (event, 1)
            delivery.ack()

    def test_only_dead_letters_can_be_revived(self, world: World) -> None:
        event = make_event(1)
        world.bus.publish(Topic.PASSES, event)
        for id_ in (event.id, "nothing"):
            with pytest.raises(NotFound, match=id_):
                world.bus.revive(id_)

    def test_an_expired_lease_is_taken_over_and_counted(self, world: World) -> None:
        world.bus.publish(Topic.PASSES, make_event(1))
        take(world.bus, worker="lost")
        other = world.open()
        world.advance(LEASE_S - 1.0)
        assert other.receive(Topic.PASSES, worker="w2") is None
        world.advance(1.0)
        assert take(other, worker="w2").attempt == 2

    @pytest.mark.parametrize("settle", ["ack", "retry", "reject"])
    def test_a_lost_lease_settles_nothing(self, world: World, settle: str) -> None:
        world.bus.publish(Topic.PASSES, make_event(1))
        late = take(world.bus, worker="slow")
        world.advance(LEASE_S)
        holder = take(world.open(), worker="w2")
        late.ack() if settle == "ack" else getattr(late, settle)("too late")
        assert eventually(lambda: world.bus.depth(Topic.PASSES).in_flight == 1)
        assert world.bus.dead() == []
        with pytest.raises(Retry, match="lost"):
            late.extend()
        holder.ack()
        assert is_quiet(world.bus)

    def test_a_settled_delivery_cannot_be_settled_again(self, world: World) -> None:
        world.bus.publish(Topic.PASSES, make_event(1))
        delivery = take(world.bus)
        delivery.ack()
        delivery.retry("once more")
        delivery.reject("no")
        assert is_quiet(world.bus)
        assert world.bus.dead() == []

    def test_a_lease_can_be_renewed(self, world: World) -> None:
        world.bus.publish(Topic.PASSES, make_event(1))
        delivery = take(world.bus)
        for _ in range(5):
            world.advance(LEASE_S - 1.0)
            delivery.extend()
        assert world.bus.receive(Topic.PASSES, worker="w2") is None
        delivery.ack()
        assert is_quiet(world.bus)

    def test_an_event_that_kills_its_workers_ends_in_the_dead_letters(self, world: World) -> None:
        poison, neighbour = make_event(1), make_event(2)
        world.bus.publish(Topic.PASSES, poison)
        world.bus.publish(Topic.PASSES, neighbour)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            assert take(world.bus, worker=f"w{attempt}").attempt == attempt
            world.advance(LEASE_S)
        assert take(world.bus).event == neighbour
        (dead,) = world.bus.dead()
        assert (dead.id, dead.attempts) == (poison.id, MAX_ATTEMPTS)
        assert f"w{MAX_ATTEMPTS}" in dead.reason

    def test_depth_counts(self, world: World) -> None:
        for number in range(4):
            world.bus.publish(Topic.PASSES, make_event(number))
        take(world.bus).reject("no")
        take(world.bus)
        depth = world.bus.depth(Topic.PASSES)
        assert (depth.waiting, depth.in_flight, depth.dead) == (2, 1, 1)
        world.advance(LEASE_S)
        depth = world.bus.depth(Topic.PASSES)
        assert (depth.waiting, depth.in_flight, depth.dead) == (3, 0, 1)

    def test_other_handles_see_the_same(self, world: World) -> None:
        world.bus.publish(Topic.PASSES, make_event(1))
        other = world.open()
        delivery = take(other)
        assert world.bus.receive(Topic.PASSES, worker="w2") is None
        delivery.ack()
        assert is_quiet(world.bus)
