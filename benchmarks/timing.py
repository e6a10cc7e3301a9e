"""Interleaved timing: what is compared runs in turns, so that a noisy machine is noisy for all."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """Seconds of each contestant, per round."""

    seconds: Mapping[str, tuple[float, ...]]

    def median(self, name: str) -> float:
        """Median seconds of a contestant."""
        return statistics.median(self.seconds[name])

    def ratio(self, peer: str, own: str) -> tuple[float, float, float]:
        """(median, lowest, highest) over the rounds of the peer's seconds over ours."""
        ratios = [theirs / ours for theirs, ours in zip(self.seconds[peer], self.seconds[own], strict=True)]
        return statistics.median(ratios), min(ratios), max(ratios)


def interleaved(contestants: Mapping[str, Callable[[], object]], *, rounds: int) -> Timings:
    """Run every contestant once to warm up, then in turns; the order turns round with each round."""
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            gc.collect()
            begin = time.perf_counter()
            contestants[name]()
            seconds[name].append(time.perf_counter() - begin)
    return Timings({name: tuple(values) for name, values in seconds.items()})
