"""The chips of a training: what teaches, what decides when to stop, what the figures are measured on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from detector.training.cache import Cache, fill
from detector.training.plan import Data, Task
from detector.training.sources import ChipSource
from detector.training.split import Split, by_place, by_time, place_share

Bar = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]
"""A progress bar of so many steps with a caption; yields what is told of steps done."""


@dataclass(frozen=True)
class Part:
    """Some chips of a cache."""

    cache: Cache
    numbers: tuple[int, ...]
    about: str

    def halves(self) -> tuple[Part, Part]:
        """By place: one half to calibrate on, one to measure on."""
        first = tuple(n for n in self.numbers if place_share(self._place(n), salt="calibrate") < 0.5)
        second = tuple(n for n in self.numbers if n not in set(first))
        if not first or not second:
            return self, self
        return Part(self.cache, first, self.about), Part(self.cache, second, self.about)

    def _place(self, number: int) -> str:
        return self.cache.entries[number].place


@dataclass(frozen=True)
class Material:
    """Chips by what they are for; a place is in one of them only."""

    train: Part
    shifted: Part
    """Early stopping and choices between models."""
    held_out: Part
    """Calibration and figures."""


@dataclass(frozen=True)
class Three:
    """Three sources that share no place: simulated worlds of other seeds."""

    train: ChipSource
    shifted: ChipSource
    held_out: ChipSource


@dataclass(frozen=True)
class One:
    """One source that is split: labelled chips."""

    source: ChipSource
    validate_from: str | None = None
    """ISO day from which chips validate; None = split by place."""
    test_from: str = "9999-12-31"


Sources = Three | One


def gather(sources: Sources, data: Data, task: Task, cache: Path, *, processes: int, bar: Bar) -> Material:
    """The chips of one task, made or found in the cache."""
    wanted = data.pairs if task is Task.CHANGE else data.chips

    def part(source: ChipSource, count: int, what: str) -> Part:
        with bar(count if source.count is None else min(count, source.count), what) as advance:
            made = fill(source, cache, task, count, processes=processes, advance=advance)
        return Part(made, tuple(range(len(made.entries))), source.about)

    if isinstance(sources, Three):
        noun = "pairs" if task is Task.CHANGE else "chips"
        return Material(
            train=part(sources.train, wanted, f"training {noun}"),
            shifted=part(sources.shifted, data.validation, f"shifted {noun}"),
            held_out=part(sources.held_out, data.validation, f"held-out {noun}"),
        )
    whole = part(sources.source, sources.source.count or wanted, "labelled chips")
    split = _split(whole, sources)
    return Material(
        train=Part(whole.cache, split.train, whole.about),
        shifted=Part(whole.cache, split.validate, whole.about),
        held_out=Part(whole.cache, split.test or split.validate, whole.about),
    )


def _split(whole: Part, sources: One) -> Split:
    if sources.validate_from is not None:
        return by_time(whole.cache.entries, validate_from=sources.validate_from, test_from=sources.test_from)
    return by_place(whole.cache.entries)
