"""Chips made once and kept as flat arrays on disk, so that a training never waits for their making.

A cache's folder is named after the key of its source, so nothing stale is ever read. Workers write pixels,
this process writes one line per finished chip: after a kill it goes on where the lines end.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from shutil import disk_usage
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from detector.inputs import logarithm
from detector.training.plan import Task
from detector.training.sources import ChipSource
from detector.training.workers import end_with
from registry.chips import BIT, CHANNELS, COMPONENTS, UNKNOWN, Change, Chip, Component
from registry.errors import InputError
from registry.models import S1_BANDS, S2_BANDS
from registry.values import Value

UInt16 = NDArray[np.uint16]
Advance = Callable[[int], None]

STEPS_PER_REFLECTANCE = np.float32(1e4)
DARKEST = np.float32(-0.2)
"""Reflectance of the number 1; 0 is no data, and the brightest is 6.3."""
STEPS_PER_DB = np.float32(100.0)
FAINTEST = np.float32(-100.0)
"""dB of the number 1."""
LAYOUT = 2
"""Another layout or encoding is another cache."""
WAIT_S = 0.2
"""Between two looks whether another process is done with a cache."""
GROUP = 4
"""Chips per order to a worker."""


class Entry(Value):
    """What is known of one chip besides its pixels."""

    index: int
    name: str
    place: str
    acquired: str
    known: tuple[Component, ...]
    facts: Mapping[str, str]
    medians: tuple[tuple[float | None, ...], ...]
    """Per date, per channel: median logarithm (detector.inputs); null = no data."""
    counts: tuple[int, ...]
    """Pixels per component, or per class of change; the last is of unknown pixels."""


@dataclass(frozen=True)
class Cache:
    """Finished chips."""

    folder: Path
    task: Task
    entries: tuple[Entry, ...]
    pixels: UInt16
    """(n, dates x 14, size, size), encoded."""
    labels: UInt16
    """(n, dates, size, size) bits, the later date last."""
    change: NDArray[np.uint8] | None
    """(n, size, size) of Change; None with one date."""

    @property
    def size(self) -> int:
        """Side of a chip in pixels."""
        return int(self.pixels.shape[-1])


def encode(pixels: NDArray[np.float32]) -> UInt16:
    """(14, h, w) to whole numbers: reflectance in steps of 1e-4, gamma0 in steps of 0.01 dB."""
    optical = (pixels[: len(S2_BANDS)] - DARKEST) * STEPS_PER_REFLECTANCE
    radar = pixels[len(S2_BANDS) :]
    decibel = (10.0 * np.log10(np.maximum(radar, 1e-9)) - FAINTEST) * STEPS_PER_DB
    numbers = np.concatenate([optical, np.where(np.isfinite(radar), decibel, np.nan)])
    seen = np.isfinite(numbers)
    return np.where(seen, np.clip(np.rint(np.nan_to_num(numbers)), 1, 65535), 0).astype(np.uint16)


def decode(numbers: UInt16) -> NDArray[np.float32]:
    """The pixels again, gamma0 in linear power."""
    values = numbers.astype(np.float32)
    optical = values[: len(S2_BANDS)] / STEPS_PER_REFLECTANCE + DARKEST
    radar = np.power(10.0, (values[len(S2_BANDS) :] / STEPS_PER_DB + FAINTEST) / 10.0)
    pixels = np.concatenate([optical, radar]).astype(np.float32)
    return np.where(numbers == 0, np.float32(np.nan), pixels)


def fill(
    source: ChipSource,
    root: Path,
    task: Task,
    count: int,
    *,
    processes: int = 1,
    advance: Advance | None = None,
) -> Cache:
    """The first ``count`` chips of the source, made where they are not there yet; many may read at a time.

    ``advance`` is told of each chip. What the source has fewer of is fewer.
    """
    count = count if source.count is None else min(count, source.count)
    folder = root / f"{task}-{source.size}-l{LAYOUT}-{source.key[:20]}"
    folder.mkdir(parents=True, exist_ok=True)
    entries = _read_entries(folder)
    if all(index in entries for index in range(count)):
        # Nobody need wait for who makes more of them.
        if advance:
            advance(count)
        return _opened(folder, task, source.size, [entries[index] for index in range(count)])
    with _locked(folder, advance):
        entries = _read_entries(folder, mend=True)
        missing = [index for index in range(count) if index not in entries]
        if advance:
            advance(count - len(missing))
        if missing:
            _extend(folder, task, source.size, count)
            with (folder / "entries.jsonl").open("a") as lines:
                for entry in _made(source, folder, task, missing, processes):
                    lines.write(entry.model_dump_json() + "\n")
                    lines.flush()
                    entries[entry.index] = entry
                    if advance:
                        advance(1)
    return _opened(folder, task, source.size, [entries[index] for index in range(count)])


@contextmanager
def _locked(folder: Path, advance: Advance | None) -> Iterator[None]:
    """One process fills a cache, others wait; ``advance`` may end the waiting by raising."""
    with (folder / "lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if advance:
                    advance(0)
                time.sleep(WAIT_S)
        yield


def _read_entries(folder: Path, *, mend: bool = False) -> dict[int, Entry]:
    """Finished chips up to a line that is cut short, by a kill or because it is being written.

    Whoever holds the lock may ``mend``: take that line off.
    """
    path = folder / "entries.jsonl"
    if not path.is_file():
        return {}
    found: dict[int, Entry] = {}
    kept: list[str] = []
    for line in path.read_text().splitlines():
        try:
            entry = Entry.model_validate_json(line)
        except ValidationError:
            break
        found[entry.index] = entry
        kept.append(line)
    if mend:
        text = "".join(f"{line}\n" for line in kept)
        if text != path.read_text():
            path.write_text(text)
    return found


def _shapes(task: Task, size: int) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    dates = 2 if task is Task.CHANGE else 1
    shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
        "pixels.u16": ((dates * len(CHANNELS), size, size), np.dtype(np.uint16)),
        "labels.u16": ((dates, size, size), np.dtype(np.uint16)),
    }
    if task is Task.CHANGE:
        shapes["change.u8"] = ((size, size), np.dtype(np.uint8))
    return shapes


def _extend(folder: Path, task: Task, size: int, count: int) -> None:
    """Room for ``count`` chips. Raises InputError where the disk has less: a write into a file that has
    no room left ends a process without a word.
    """
    bytes_of = {
        name: count * int(np.prod(shape)) * kind.itemsize
        for name, (shape, kind) in _shapes(task, size).items()
    }
    used = sum(one.stat().st_blocks * 512 for name in bytes_of if (one := folder / name).is_file())
    missing, free = sum(bytes_of.values()) - used, disk_usage(folder).free
    if missing > free:
        raise InputError(
            f"{count} chips need {missing / 1e9:.1f} GB more under {folder.parent}, {free / 1e9:.1f} GB are "
            "free; give another --cache or a plan with fewer chips"
        )
    for name, needed in bytes_of.items():
        path = folder / name
        path.touch()
        if path.stat().st_size < needed:
            os.truncate(path, needed)


def _opened(folder: Path, task: Task, size: int, entries: Sequence[Entry]) -> Cache:
    arrays = _arrays(folder, task, size, mode="r")
    count = len(entries)
    change = arrays.get("change.u8")
    return Cache(
        folder=folder,
        task=task,
        entries=tuple(entries),
        pixels=arrays["pixels.u16"][:count],
        labels=arrays["labels.u16"][:count],
        change=None if change is None else change[:count],
    )


def _arrays(folder: Path, task: Task, size: int, *, mode: Literal["r", "r+"]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for name, (shape, kind) in _shapes(task, size).items():
        count = (folder / name).stat().st_size // (int(np.prod(shape)) * kind.itemsize)
        found[name] = np.memmap(folder / name, dtype=kind, mode=mode, shape=(count, *shape))
    return found


def _made(
    source: ChipSource, folder: Path, task: Task, indices: Sequence[int], processes: int
) -> Iterator[Entry]:
    """Entries as they are finished, in the order of ``indices``."""
    if processes <= 1 or len(indices) <= GROUP:
        arrays = _arrays(folder, task, source.size, mode="r+")
        yield from (_make(source, arrays, task, index) for index in indices)
        return
    groups = [indices[start : start + GROUP] for start in range(0, len(indices), GROUP)]
    # spawn: the parent may hold torch's threads, which a forked child would find locked.
    pool = ProcessPoolExecutor(
        processes,
        mp_context=get_context("spawn"),
        initializer=_begin,
        initargs=(source, folder, task, os.getpid()),
    )
    try:
        for entries in pool.map(_make_group, groups):
            yield from entries
    finally:
        pool.shutdown(cancel_futures=True)


_WORK: dict[str, tuple[ChipSource, dict[str, NDArray[Any]], Task]] = {}
"""What a worker process was set up with."""


def _begin(source: ChipSource, folder: Path, task: Task, parent: int) -> None:
    # As many processes as cores, each with as many threads of BLAS, would only wait for each other.
    threadpool_limits(1)
    _WORK["work"] = (source, _arrays(folder, task, source.size, mode="r+"), task)
    end_with(parent)


def _make_group(indices: Sequence[int]) -> list[Entry]:
    source, arrays, task = _WORK["work"]
    return [_make(source, arrays, task, index) for index in indices]


def _make(source: ChipSource, arrays: Mapping[str, NDArray[Any]], task: Task, index: int) -> Entry:
    if task is Task.CHANGE:
        pair = source.pair(index)
        dates = [pair.before, pair.after]
        arrays["change.u8"][index] = pair.change
        codes = [code for code in Change if code is not Change.UNKNOWN]
        counts = [int((pair.change == code).sum()) for code in codes]
        counts.append(int((pair.change == Change.UNKNOWN).sum()))
    else:
        dates = [source.chip(index)]
        counts = [int(dates[0].has(component).sum()) for component in COMPONENTS]
        counts.append(int(dates[0].unknown.sum()))
    for date, chip in enumerate(dates):
        first = date * len(CHANNELS)
        arrays["pixels.u16"][index, first : first + len(CHANNELS)] = encode(chip.pixels)
        arrays["labels.u16"][index, date] = chip.labels
    last = dates[-1]
    return Entry(
        index=index,
        name=last.name,
        place=last.place or last.name,
        acquired=last.acquired,
        known=last.known,
        facts={str(key): str(value) for key, value in last.facts.items()},
        medians=tuple(_medians(chip) for chip in dates),
        counts=tuple(counts),
    )


def _medians(chip: Chip) -> tuple[float | None, ...]:
    found: list[float | None] = []
    for name, band in zip(CHANNELS, chip.pixels, strict=True):
        sample = band[::3, ::3]
        sample = sample[np.isfinite(sample)]
        found.append(round(float(np.median(logarithm(name, sample))), 5) if sample.size else None)
    return tuple(found)


assert UNKNOWN not in BIT.values()
assert CHANNELS[-len(S1_BANDS) :] == S1_BANDS
