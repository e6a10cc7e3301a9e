"""The SQLite bus under calls in any order, against a model of lists."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from registry.bus import Topic
from registry.bus.local import LocalBus, LocalDelivery
from tests.bus_contract import LEASE_S
from tests.storage_samples import Clock, make_event


class BusMachine(RuleBasedStateMachine):
    """Calls in any order: a key has one event in flight, the oldest; none is lost, none comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.bus = LocalBus(":memory:", now=self.clock, lease_s=LEASE_S, max_attempts=3)
        self.open: dict[str, list[str]] = {"a": [], "b": [], "c": []}
        self.held: list[LocalDelivery] = []
        self.stale: list[LocalDelivery] = []
        self.dead: set[str] = set()
        self.published = 0

    def teardown(self) -> None:
        self.bus.close()

    @rule(key=st.sampled_from("abc"))
    def publish(self, key: str) -> None:
        event = make_event(self.published, area=key)
        self.published += 1
        assert self.bus.publish(Topic.PASSES, event)
        self.open[key].append(event.id)

    @rule()
    def receive(self) -> None:
        delivery = self.bus.receive(Topic.PASSES, worker="w")
        self._notice_deaths()
        if delivery is not None:
            key = delivery.event.key
            assert delivery.event.id == self.open[key][0]
            assert key not in {one.event.key for one in self.held}
            self.held.append(delivery)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["ack", "reject", "retry", "retry now"]))
    def settle(self, data: st.DataObject, how: str) -> None:
        delivery = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.stale.append(delivery)
        if how == "ack":
            delivery.ack()
            self.open[delivery.event.key].remove(delivery.event.id)
        elif how == "reject":
            delivery.reject("no")
        else:
            delivery.retry("later", after=0.0 if how == "retry now" else None)
        self._notice_deaths()

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), how=st.sampled_from(["ack", "reject", "retry"]))
    def settle_late(self, data: st.DataObject, how: str) -> None:
        delivery = data.draw(st.sampled_from(self.stale))
        delivery.ack() if how == "ack" else getattr(delivery, how)("too late")

    @precondition(lambda self: self.dead)
    @rule()
    def revive(self) -> None:
        letter = self.bus.dead()[0]
        self.bus.revive(letter.id)
        self.dead.remove(letter.id)
        self.open[letter.key].append(letter.id)

    @rule(seconds=st.sampled_from([1.0, 10.0, LEASE_S]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if seconds == LEASE_S:  # every lease has run out; whether it was taken over is not ours to say
            self.stale += self.held
            self.held = []
            while (delivery := self.bus.receive(Topic.PASSES, worker="next")) is not None:
                self.held.append(delivery)
            self._notice_deaths()

    def _notice_deaths(self) -> None:
        for letter in self.bus.dead():
            if letter.id not in self.dead:
                self.dead.add(letter.id)
                self.open[letter.key].remove(letter.id)

    @invariant()
    def nothing_is_lost(self) -> None:
        depth = self.bus.depth(Topic.PASSES)
        assert depth.waiting + depth.in_flight == sum(len(ids) for ids in self.open.values())
        assert depth.dead == len(self.dead)
        assert (self.bus.next_ready(Topic.PASSES) is None) == (depth.waiting + depth.in_flight == 0)


BusMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAnyOrder = BusMachine.TestCase
