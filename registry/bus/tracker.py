"""What one process knows of the partitions it reads: whose turn it is, what is under way, what is done.

Pure bookkeeping, no broker. A partition is read ahead; of each key one event is handed out at a time, a
failed one keeps its place in its key, and the keys do not wait for each other. What is done above the
lowest unsettled offset, and how often each event was tried, is written down in a ``Mark``, so that
whoever takes the partition over repeats little and gives up what takes its workers down.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import Field

from registry.bus import Lane
from registry.values import Value

REMEMBERED = 20_000
"""Ids of settled events that are recognised when they come again, per partition."""

Place = tuple[str, int]
"""(topic, partition)."""


@dataclass(frozen=True)
class Entry:
    """One record as it came."""

    place: Place
    offset: int
    key: str
    identity: str
    """Same for the same event; differs once it was revived."""
    lane: Lane
    stamp: int
    """When it was published, ms: orders records of different partitions."""
    body: bytes


class Claim(Value):
    """An event that was handed out."""

    attempts: int = Field(ge=0)
    until: float
    """End of the lease or of the back-off, Unix seconds."""
    is_leased: bool = False
    worker: str = ""


class Mark(Value):
    """How far a partition is worked off."""

    low: int = Field(ge=0)
    """Lowest offset that is not settled."""
    settled: tuple[int, ...] = ()
    """Settled offsets above it."""
    claims: Mapping[int, Claim] = {}
    """By offset: what was handed out before and is not settled."""

    def since(self, low: int) -> Mark:
        """The same, where all below ``low`` is settled too."""
        return Mark(
            low=max(self.low, low),
            settled=tuple(offset for offset in self.settled if offset >= low),
            claims={offset: claim for offset, claim in self.claims.items() if offset >= low},
        )


@dataclass(frozen=True)
class Taken:
    """An event handed out; settles only as long as it is the one that holds the lease."""

    entry: Entry
    attempt: int
    number: int
    """Differs for every handing out."""
    holder: str
    """Who had it before and never settled it; empty where nobody."""


@dataclass
class _Partition:
    """One partition that this process owns."""

    next: int
    """Offset after the last one that came in."""
    waiting: OrderedDict[int, Entry] = field(default_factory=OrderedDict)
    settled: set[int] = field(default_factory=set)
    claims: dict[int, Claim] = field(default_factory=dict)
    known: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Identities that came, the last REMEMBERED."""

    @property
    def low(self) -> int:
        """Lowest offset that is not settled; brokers leave gaps, so it is counted from what waits."""
        return next(iter(self.waiting), self.next)


class Tracker:
    """The partitions of one topic (both lanes) in one process. The caller guards it against threads."""

    def __init__(self) -> None:
        self._partitions: dict[Place, _Partition] = {}
        self._heads: dict[str, list[Entry]] = {}
        """By key: what waits, in the order in which it is handed out."""
        self._leased: dict[str, Taken] = {}
        """By key: what is under way."""
        self._numbers = 0

    # -- partitions come and go ----------------------------------------------------------------

    def own(self, places: Mapping[Place, Mark]) -> None:
        """From now on exactly these partitions are ours; those that we had stay as they are."""
        for place in [one for one in self._partitions if one not in places]:
            self._drop(place)
        for place, mark in places.items():
            if place not in self._partitions:
                settled = {offset for offset in mark.settled if offset >= mark.low}
                claims = {offset: claim for offset, claim in mark.claims.items() if offset >= mark.low}
                self._partitions[place] = _Partition(mark.low, settled=settled, claims=claims)

    def restart(self, place: Place, offset: int) -> None:
        """The partition was made anew: what we knew of it is of no use, its records begin at ``offset``."""
        self._drop(place)
        self._partitions[place] = _Partition(offset)

    def places(self) -> Iterator[Place]:
        """What is ours."""
        return iter(self._partitions)

    def position(self, place: Place) -> int:
        """The offset to read next."""
        return self._partitions[place].next

    def ahead(self, place: Place) -> int:
        """Records read beyond the lowest unsettled one."""
        partition = self._partitions[place]
        return partition.next - partition.low

    def mark(self, place: Place) -> Mark:
        """How far the partition is."""
        one = self._partitions[place]
        low = one.low
        one.settled = {offset for offset in one.settled if offset > low}
        return Mark(low=low, settled=tuple(sorted(one.settled)), claims=dict(one.claims))

    def _drop(self, place: Place) -> None:
        for entry in self._partitions.pop(place).waiting.values():
            self._forget(entry)

    # -- records in, events out ----------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """A record that was read. One that is settled, or says what another one said, is passed over."""
        partition = self._partitions.get(entry.place)
        if partition is None or entry.offset < partition.next:
            return
        partition.next = entry.offset + 1
        if entry.offset in partition.settled:
            self._remember(partition, entry)
        elif entry.identity in partition.known:
            partition.settled.add(entry.offset)
        else:
            self._remember(partition, entry)
            partition.waiting[entry.offset] = entry
            queue = self._heads.setdefault(entry.key, [])
            queue.append(entry)
            queue.sort(key=_turn)

    def take(self, now: float, lease_s: float, worker: str) -> Taken | None:
        """Hand out the event whose turn it is; this counts as an attempt."""
        free = [entry for entry in self._turns() if self._free_at(entry) <= now]
        if not free:
            return None
        entry = min(free, key=_turn)
        claims = self._partitions[entry.place].claims
        before = claims.get(entry.offset, Claim(attempts=0, until=0.0))
        attempt = before.attempts + 1
        claims[entry.offset] = Claim(attempts=attempt, until=now + lease_s, is_leased=True, worker=worker)
        self._numbers += 1
        taken = Taken(entry, attempt, self._numbers, before.worker)
        self._leased[entry.key] = taken
        return taken

    def next_ready(self) -> float | None:
        """When something may be handed out, Unix seconds; None where nothing waits."""
        turns = [self._free_at(entry) for entry in self._turns()]
        leases = [self._claim(taken).until for taken in self._leased.values()]
        return min([*turns, *leases], default=None)

    def expired(self, now: float) -> bool:
        """Whether a lease ended without a word from its holder."""
        return any(self._claim(taken).until <= now for taken in self._leased.values())

    # -- settling ------------------------------------------------------------------------------

    def holds(self, taken: Taken) -> bool:
        """Whether it is still the one to settle the event."""
        return self._leased.get(taken.entry.key) == taken

    def settle(self, taken: Taken) -> None:
        """Done, or given up: never again."""
        partition, entry = self._partitions[taken.entry.place], taken.entry
        del self._leased[entry.key]
        del partition.waiting[entry.offset]
        partition.claims.pop(entry.offset, None)
        partition.settled.add(entry.offset)
        self._forget(entry)

    def put_back(self, taken: Taken, *, at: float) -> None:
        """Free again from ``at`` on, in its place."""
        entry = taken.entry
        del self._leased[entry.key]
        claim = Claim(attempts=taken.attempt, until=at)
        self._partitions[entry.place].claims[entry.offset] = claim

    def renew(self, taken: Taken, *, until: float) -> None:
        """Move the end of the lease."""
        claims = self._partitions[taken.entry.place].claims
        claims[taken.entry.offset] = claims[taken.entry.offset].model_copy(update={"until": until})

    # -- inside --------------------------------------------------------------------------------

    def _turns(self) -> Iterator[Entry]:
        """The first of each key that has nothing under way."""
        return (queue[0] for key, queue in self._heads.items() if key not in self._leased)

    def _free_at(self, entry: Entry) -> float:
        claim = self._partitions[entry.place].claims.get(entry.offset)
        # A lease of whoever had the partition before us ended with that process's membership.
        return 0.0 if claim is None or claim.is_leased else claim.until

    def _claim(self, taken: Taken) -> Claim:
        return self._partitions[taken.entry.place].claims[taken.entry.offset]

    def _forget(self, entry: Entry) -> None:
        queue = self._heads[entry.key]
        queue.remove(entry)
        if not queue:
            del self._heads[entry.key]
        leased = self._leased.get(entry.key)
        if leased is not None and leased.entry is entry:
            del self._leased[entry.key]

    def _remember(self, partition: _Partition, entry: Entry) -> None:
        partition.known[entry.identity] = None
        if len(partition.known) > REMEMBERED:
            partition.known.popitem(last=False)


def _turn(entry: Entry) -> tuple[bool, int, str, int, int]:
    """Live ones first, then by age; within a partition by offset."""
    return (entry.lane is not Lane.LIVE, entry.stamp, entry.place[0], entry.place[1], entry.offset)
