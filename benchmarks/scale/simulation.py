"""A fleet as a discrete-event simulation: clumps of passes, partitions, failures, rebalances, outages.

Pure: the chance comes from a seed, all times are seconds since the start.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

DAY = 86_400.0
HOUR = 3_600.0


@dataclass(frozen=True)
class World:
    """What comes in, and what goes wrong."""

    areas: int
    days: float = 10.0
    passes_per_day: float = 0.45
    """Of one area: Sentinel-2 every 5 days, Sentinel-1 every 12 from two sides, swaths overlap."""
    areas_per_clump: int = 400
    """Areas that one datatake covers at most; its products are published together."""
    published_h: tuple[float, float] = (6.0, 14.0)
    """Hours from sensing to publication, median and 95th percentile of datatakes."""
    clump_s: float = 1_200.0
    """Seconds over which the products of a datatake appear."""
    provider_outages_per_month: float = 1.0
    provider_outage_h: float = 3.0


@dataclass(frozen=True)
class Fleet:
    """What works it off."""

    detectors: int
    service_s: float
    """Of one pass, median."""
    partitions: int = 12
    spread: float = 0.35
    """Sigma of the logarithm of the service time."""
    poll_s: float = 1_800.0
    poll_request_s: float = 0.2
    """One batched query at the provider."""
    areas_per_query: int = 250
    publish_rate: float = 300.0
    """Passes per second that the relay ships to the broker."""
    mtbf_h: float = 72.0
    """Mean hours between two failures of a detector."""
    session_s: float = 45.0
    """Until the partitions of a dead detector go to others."""
    rebalance_s: float = 5.0
    """In which nobody is handed work."""
    restart_s: float = 60.0
    notice_share: float = 0.02
    """Of passes, those that lead to a notice."""
    send_s: float = 0.5
    """Of one message; one is sent at a time."""


@dataclass
class Outcome:
    """Latencies in seconds."""

    passes: int = 0
    own: list[float] = field(default_factory=list)
    """From publication to the published change."""
    alerts: list[float] = field(default_factory=list)
    """From publication to the delivered notice: what groundwatch adds."""
    sensed: list[float] = field(default_factory=list)
    """From sensing to the delivered notice."""
    failures: int = 0
    busy: float = 0.0
    """Share of the detectors' time."""
    longest_queue: int = 0


@dataclass(frozen=True, order=True)
class _Pass:
    seen: float
    published: float
    sensed: float
    partition: int


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


def simulate(world: World, fleet: Fleet, *, seed: int = 1) -> Outcome:
    """Some days of a fleet."""
    chance = Random(seed)  # noqa: S311 - a simulation, no secret
    arriving = _seen(_published(world, chance), world, fleet, chance)
    return _Run(fleet, chance, arriving, world.days * DAY).outcome()


def _published(world: World, chance: Random) -> list[tuple[float, float, int]]:
    """(published, sensed, area) of every pass: a datatake's areas appear together."""
    found = []
    mu = math.log(world.published_h[0] * HOUR)
    sigma = math.log(world.published_h[1] / world.published_h[0]) / 1.645
    for first in range(0, world.areas, world.areas_per_clump):
        areas = range(first, min(first + world.areas_per_clump, world.areas))
        sensed = chance.uniform(0.0, DAY / world.passes_per_day)
        while sensed < world.days * DAY:
            appears = sensed + chance.lognormvariate(mu, sigma)
            found += [(appears + chance.uniform(0.0, world.clump_s), sensed, area) for area in areas]
            sensed += DAY / world.passes_per_day * chance.uniform(0.7, 1.3)
    return found


def _seen(
    published: Sequence[tuple[float, float, int]], world: World, fleet: Fleet, chance: Random
) -> list[_Pass]:
    """When ingest has put each on the bus: the next poll that works, its queries, then the relay."""
    outages = []
    moment = chance.expovariate(world.provider_outages_per_month / 30.0 / DAY)
    while moment < world.days * DAY:
        outages.append((moment, moment + world.provider_outage_h * HOUR))
        moment += chance.expovariate(world.provider_outages_per_month / 30.0 / DAY)
    asking = math.ceil(world.areas / fleet.areas_per_query) * fleet.poll_request_s
    every = max(fleet.poll_s, asking)
    found, shipped = [], 0.0
    for appears, sensed, area in sorted(published):
        poll = math.ceil(appears / every) * every
        while any(begin <= poll < end for begin, end in outages):
            poll += every
        told = poll + asking * (area + 1) / world.areas
        found.append((told, appears, sensed, area))
    result = []
    for told, appears, sensed, area in sorted(found):
        shipped = max(shipped + 1.0 / fleet.publish_rate, told)
        result.append(_Pass(shipped, appears, sensed, area * 7919 % fleet.partitions))
    return result


class _Run:
    """Partitions with queues, detectors that own partitions, and what befalls them."""

    def __init__(self, fleet: Fleet, chance: Random, arriving: Sequence[_Pass], end: float) -> None:
        self._fleet, self._chance, self._end = fleet, chance, end
        self._arriving = arriving
        self._queues: list[deque[_Pass]] = [deque() for _ in range(fleet.partitions)]
        self._alive = [True] * fleet.detectors
        self._owner: list[int] = []
        self._works: list[tuple[int, _Pass] | None] = [None] * fleet.detectors
        """Work's number and pass of each detector."""
        self._number = 0
        self._paused_until = 0.0
        self._sender_free = 0.0
        self._events: list[tuple[float, int, str, int, int]] = []
        self._order = 0
        self._waiting = 0
        self._found = Outcome(passes=len(arriving))

    def outcome(self) -> Outcome:
        """Run to the end of the work."""
        self._share_out()
        for detector in range(self._fleet.detectors):
            self._at(self._chance.expovariate(1 / (self._fleet.mtbf_h * HOUR)), "dies", detector)
        index = 0
        while index < len(self._arriving) or self._waiting or any(self._works):
            due = self._events[0][0] if self._events else math.inf
            if index < len(self._arriving) and self._arriving[index].seen <= due:
                self._comes(self._arriving[index])
                index += 1
            else:
                now, _, what, detector, number = heapq.heappop(self._events)
                getattr(self, f"_{what}")(now, detector, number)
        self._found.busy /= self._fleet.detectors * self._end
        return self._found

    def _at(self, moment: float, what: str, detector: int, number: int = 0) -> None:
        self._order += 1
        heapq.heappush(self._events, (moment, self._order, what, detector, number))

    def _comes(self, one: _Pass) -> None:
        self._queues[one.partition].append(one)
        self._waiting += 1
        self._found.longest_queue = max(self._found.longest_queue, self._waiting)
        owner = self._owner[one.partition] if self._owner else -1
        if owner >= 0:
            self._take(one.seen, owner)

    def _take(self, now: float, detector: int, _number: int = 0) -> None:
        if not self._alive[detector] or self._works[detector] is not None:
            return
        if now < self._paused_until:
            self._at(self._paused_until, "take", detector)
            return
        own = [queue for part, queue in enumerate(self._queues) if self._owner[part] == detector and queue]
        if not own:
            return
        one = min(own, key=lambda queue: queue[0].seen).popleft()
        self._waiting -= 1
        self._number += 1
        self._works[detector] = (self._number, one)
        takes = self._fleet.service_s * self._chance.lognormvariate(0.0, self._fleet.spread)
        self._found.busy += takes
        self._at(now + takes, "done", detector, self._number)

    def _done(self, now: float, detector: int, number: int) -> None:
        held = self._works[detector]
        if held is None or held[0] != number:
            return  # it died over it
        one, self._works[detector] = held[1], None
        self._found.own.append(now - one.published)
        if self._chance.random() < self._fleet.notice_share:
            self._sender_free = max(now, self._sender_free) + self._fleet.send_s
            self._found.alerts.append(self._sender_free - one.published)
            self._found.sensed.append(self._sender_free - one.sensed)
        self._take(now, detector)

    def _dies(self, now: float, detector: int, _number: int) -> None:
        self._alive[detector] = False
        self._found.failures += 1
        held, self._works[detector] = self._works[detector], None
        if held is not None:
            self._queues[held[1].partition].appendleft(held[1])
            self._waiting += 1
        self._at(now + self._fleet.session_s, "rebalance", detector)
        self._at(now + self._fleet.restart_s, "returns", detector)

    def _returns(self, now: float, detector: int, _number: int) -> None:
        self._alive[detector] = True
        self._rebalance(now, detector, 0)
        self._at(now + self._chance.expovariate(1 / (self._fleet.mtbf_h * HOUR)), "dies", detector)

    def _rebalance(self, now: float, _detector: int, _number: int) -> None:
        self._paused_until = now + self._fleet.rebalance_s
        self._share_out()
        for detector in range(self._fleet.detectors):
            self._take(now, detector)

    def _share_out(self) -> None:
        living = [detector for detector, alive in enumerate(self._alive) if alive]
        self._owner = [living[part % len(living)] if living else -1 for part in range(self._fleet.partitions)]
