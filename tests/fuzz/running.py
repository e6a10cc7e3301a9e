"""Many inputs through a door, in processes of their own; what came of them, and where it broke."""

from __future__ import annotations

import multiprocessing
import time
import traceback
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from random import Random

from tests.fuzz.targets import DOORS, Door

CHUNK = 250
"""Inputs of one piece of work."""


@dataclass
class Found:
    """What came of some inputs."""

    counts: Counter[str] = field(default_factory=Counter)
    """``let in`` and ``refused``."""
    faults: dict[str, str] = field(default_factory=dict)
    """Where it broke: the first input that did so, and how."""
    slowest_s: float = 0.0
    slowest: str = ""

    def add(self, other: Found) -> None:
        """Take in what another piece of work found."""
        self.counts += other.counts
        self.faults = {**other.faults, **self.faults}
        if other.slowest_s > self.slowest_s:
            self.slowest_s, self.slowest = other.slowest_s, other.slowest


def attempt(door: Door, name: str, found: Found) -> None:
    """One input, named by its seed."""
    raw = door.damaged(Random(name))
    began = time.perf_counter()
    try:
        found.counts["let in" if door.enter(raw) else "refused"] += 1
    except Exception as exc:
        place = traceback.extract_tb(exc.__traceback__)[-1]
        where = f"{type(exc).__name__} at {place.filename}:{place.lineno}"
        found.counts["faults"] += 1
        found.faults.setdefault(where, f"{name}: {' '.join(str(exc).split())[:300]}")
    seconds = time.perf_counter() - began
    if seconds > found.slowest_s:
        found.slowest_s, found.slowest = seconds, name


def work(number: int, seed: int, first: int, last: int) -> Found:
    """Inputs ``first`` to ``last`` of a door."""
    warnings.simplefilter("error")
    door, found = DOORS[number], Found()
    for index in range(first, last):
        attempt(door, f"{door.name}/{seed}/{index}", found)
    return found


def fuzz(number: int, seed: int, inputs: int, *, processes: int) -> Found:
    """All inputs of a door; a process that dies under one is a fault, too."""
    found = Found()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        pieces = [
            (first, pool.submit(work, number, seed, first, min(first + CHUNK, inputs)))
            for first in range(0, inputs, CHUNK)
        ]
        for first, piece in pieces:
            try:
                found.add(piece.result())
            except BrokenProcessPool:
                found.faults.setdefault("a process died", f"{DOORS[number].name}/{seed}/{first} or later")
                break
    return found
