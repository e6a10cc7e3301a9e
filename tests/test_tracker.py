"""The bookkeeping of partitions: order per key, nothing lost over changes of owner, gaps, repeats."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from registry.bus import Lane
from registry.bus.tracker import Entry, Mark, Place, Taken, Tracker

LIVE: Place = ("p.passes", 0)
HISTORY: Place = ("p.passes-backfill", 0)
LANES = {LIVE: Lane.LIVE, HISTORY: Lane.BACKFILL}


def entry(offset: int, key: str = "pit", *, place: Place = LIVE, identity: str | None = None) -> Entry:
    name = identity or f"{place[0]}/{offset}"
    return Entry(place, offset, key, name, LANES[place], stamp=1_000 + offset, body=b"")


def owning(*entries: Entry, mark: Mark | None = None) -> Tracker:
    tracker = Tracker()
    tracker.own({LIVE: mark or Mark(low=0), HISTORY: Mark(low=0)})
    for one in entries:
        tracker.add(one)
    return tracker


def taken(tracker: Tracker, now: float = 0.0) -> Taken:
    found = tracker.take(now, 60.0, "w")
    assert found is not None
    return found


def test_live_comes_before_history_within_an_area_too() -> None:
    tracker = owning(entry(0, place=HISTORY), entry(7))
    assert taken(tracker).entry.place == LIVE


def test_the_lowest_unsettled_offset_passes_over_gaps() -> None:
    tracker = owning(entry(0, "a"), entry(1, "b"), entry(9, "c"))
    first, second, third = taken(tracker), taken(tracker), taken(tracker)
    tracker.settle(second)
    assert tracker.mark(LIVE).low == 0
    assert tracker.mark(LIVE).settled == (1,)
    tracker.settle(first)
    assert tracker.mark(LIVE).low == 9
    tracker.settle(third)
    assert tracker.mark(LIVE) == Mark(low=10)


def test_an_event_told_twice_is_passed_over() -> None:
    tracker = owning(entry(0, identity="x"), entry(1, identity="x"), entry(2))
    tracker.settle(taken(tracker))
    assert taken(tracker).entry.offset == 2


def test_a_partition_that_stays_keeps_what_is_under_way() -> None:
    tracker = owning(entry(0), entry(1))
    held = taken(tracker)
    tracker.own({LIVE: Mark(low=0)})
    assert tracker.holds(held)
    tracker.own({})
    assert not tracker.holds(held)
    assert tracker.next_ready() is None


def test_a_partition_that_was_made_anew_forgets_what_was_there() -> None:
    tracker = owning(entry(7, identity="old"), entry(8), mark=Mark(low=7, settled=(9,)))
    held = taken(tracker)
    tracker.restart(LIVE, 0)
    assert not tracker.holds(held)
    tracker.add(entry(0, identity="old"))
    assert taken(tracker).entry.offset == 0


class Handovers(RuleBasedStateMachine):
    """Two owners, one after the other, each with the marks of the one before; the log is never lost."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Entry] = []
        self.done: list[int] = []
        self.held: list[Taken] = []
        self.now = 0.0
        self.tracker = owning()

    @rule(key=st.sampled_from("abc"), gap=st.integers(0, 2))
    def publish(self, key: str, gap: int) -> None:
        offset = self.log[-1].offset + 1 + gap if self.log else gap
        self.log.append(entry(offset, key))
        self.tracker.add(self.log[-1])

    @rule()
    def take(self) -> None:
        found = self.tracker.take(self.now, 60.0, "w")
        if found is not None:
            assert found.entry.key not in {one.entry.key for one in self.held}
            self.held.append(found)

    @precondition(lambda self: self.held)
    @rule(index=st.integers(0, 9))
    def settle(self, index: int) -> None:
        one = self.held.pop(index % len(self.held))
        self.tracker.settle(one)
        self.done.append(one.entry.offset)

    @precondition(lambda self: self.held)
    @rule(wait=st.floats(0, 100))
    def put_back(self, wait: float) -> None:
        self.tracker.put_back(self.held.pop(), at=self.now + wait)

    @rule(seconds=st.floats(0, 200))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def hand_over(self) -> None:
        """The owner dies; another reads from its mark on."""
        mark = Mark.model_validate_json(self.tracker.mark(LIVE).model_dump_json())
        self.held.clear()
        self.tracker = owning(*[one for one in self.log if one.offset >= mark.low], mark=mark)

    @invariant()
    def nothing_is_repeated_and_each_key_is_in_order(self) -> None:
        assert len(self.done) == len(set(self.done))
        by_key: dict[str, list[int]] = {}
        keys = {one.offset: one.key for one in self.log}
        for offset in self.done:
            by_key.setdefault(keys[offset], []).append(offset)
        assert all(offsets == sorted(offsets) for offsets in by_key.values())

    def teardown(self) -> None:
        """Whatever happened: all that was published can be worked off."""
        self.hand_over()
        self.now += 1_000.0
        while (found := self.tracker.take(self.now, 60.0, "w")) is not None:
            self.tracker.settle(found)
            self.done.append(found.entry.offset)
        assert sorted(self.done) == [one.offset for one in self.log]


TestHandovers = Handovers.TestCase
TestHandovers.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
