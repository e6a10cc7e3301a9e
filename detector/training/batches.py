"""Crops out of a cache and what they are asked: whole numbers in, network input and targets out.

All chance comes from numbers that name the step (seed, epoch, step), so a training that goes on after a
kill draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.inputs import DARK, FAINT, Normalisation, Reference
from detector.plans import Head
from detector.training.cache import DARKEST, FAINTEST, STEPS_PER_DB, STEPS_PER_REFLECTANCE, Cache, Entry
from detector.training.plan import CHANGE_HEAD, Task, TrainingPlan
from registry.chips import BIT, CHANNELS, COMPONENTS, UNKNOWN, Change, Component, class_codes
from registry.models import S2_BANDS

OPTICAL = len(S2_BANDS)
IGNORED = 255
"""Code of a pixel that teaches nothing."""
LIMIT = 8.0
"""Normalised values are cut at this, as in detector.inputs."""


@dataclass(frozen=True)
class Recipe:
    """How a run turns chips into input and targets; the same in training, validation and calibration."""

    task: Task
    bands: tuple[str, ...]
    heads: tuple[Head, ...]
    normalisation: Normalisation

    @property
    def channels(self) -> list[int]:
        """Positions of the bands in a chip."""
        return [CHANNELS.index(name) for name in self.bands]


def recipe_of(plan: TrainingPlan, run: str, normalisation: Normalisation) -> Recipe:
    """The recipe of a run."""
    return Recipe(plan.runs[run].task, plan.bands_of(run), plan.heads_of(run), normalisation)


@dataclass(frozen=True)
class Batch:
    """Encoded crops."""

    pixels: Tensor
    """(n, dates, 14, s, s) int16 with the bits of the cache's unsigned numbers."""
    targets: Mapping[str, Tensor]
    """Per head (n, s, s) uint8 class codes; 255 = teaches nothing."""
    hidden: Mapping[str, Tensor]
    """Per head (n, classes) bool: classes nobody looked for, so that background may be one of them.
    Always on the CPU: what is decided by it must not wait for a GPU.
    """
    medians: Tensor
    """(n, dates, 14) median logarithm of each whole chip; NaN = no data."""

    def truth(self, head: str) -> Tensor:
        """The targets that an answer can be checked against: where some labels were not looked for,
        background is none.
        """
        codes = self.targets[head]
        unsure = self.hidden[head].any(dim=1).to(codes.device)[:, None, None] & (codes == 0)
        return torch.where(unsure, IGNORED, codes)

    def to(self, device: torch.device) -> Batch:
        """On a device."""
        return Batch(
            self.pixels.to(device, non_blocking=True),
            {name: one.to(device, non_blocking=True) for name, one in self.targets.items()},
            self.hidden,
            self.medians.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class Picks:
    """Which crops a batch is made of."""

    numbers: NDArray[np.int64]
    """(n,) of the chips."""
    corners: NDArray[np.int64]
    """(n, PLACES, 2) top and left of the places that a rich crop is chosen among; others are the first."""
    turns: NDArray[np.int64]
    """(n,) symmetries of the square."""


PLACES = 4
"""Places that a rich crop is chosen among."""
RARE_BITS = np.uint16(sum(BIT[one] for one in COMPONENTS if one is not Component.FOREST))
RARE_CHANGES = (int(Change.NEW_MINE), int(Change.FOREST_LOSS))


class Crops:
    """Draws batches out of a cache."""

    def __init__(self, cache: Cache, recipe: Recipe, numbers: Sequence[int] | None = None) -> None:
        self.cache = cache
        self.recipe = recipe
        self.numbers = tuple(range(len(cache.entries)) if numbers is None else numbers)
        self._pool = np.array(self.numbers, np.int64)
        self.tables = {head.name: code_table(head) for head in recipe.heads if head != CHANGE_HEAD}
        self._hidden = {
            head.name: np.stack([hidden_classes(head, entry) for entry in cache.entries])
            for head in recipe.heads
        }
        self._medians = np.array(
            [
                [[np.nan if one is None else one for one in date] for date in entry.medians]
                for entry in cache.entries
            ],
            np.float32,
        )

    def draw(self, rng: np.random.Generator, batch: int, crop: int, *, rich: float = 0.5) -> Batch:
        """Random crops, turned and mirrored; a share of them the richest of several in what is rare."""
        picks = self.picks(rng, batch, crop)
        each = zip(picks.numbers, picks.corners, picks.turns, strict=True)
        return self._gather(
            [
                (int(n), self._richest(int(n), at[: places(number, rich)], crop), int(turn))
                for number, (n, at, turn) in enumerate(each)
            ],
            crop,
        )

    def picks(self, rng: np.random.Generator, batch: int, crop: int) -> Picks:
        """What chance decides of a batch."""
        room = self.cache.size - crop
        if room < 0:
            raise ValueError(f"crops of {crop} px do not fit chips of {self.cache.size} px")
        return Picks(
            numbers=rng.choice(self._pool, size=batch, replace=len(self._pool) < batch),
            corners=rng.integers(0, room + 1, size=(batch, PLACES, 2)),
            turns=rng.integers(0, 8, size=batch),
        )

    def _richest(self, number: int, corners: NDArray[np.int64], crop: int) -> tuple[int, int]:
        """The corner whose crop shows most of what is rare."""
        rare = self.rare(number)
        counts = [int(rare[top : top + crop, left : left + crop].sum()) for top, left in corners]
        top, left = corners[int(np.argmax(counts))]
        return int(top), int(left)

    def rare(self, number: int) -> NDArray[np.bool_]:
        """(size, size) True where a chip shows what is rare."""
        if self.recipe.task is Task.CHANGE and self.cache.change is not None:
            changed: NDArray[np.bool_] = np.isin(self.cache.change[number], RARE_CHANGES)
            return changed
        mined: NDArray[np.bool_] = (self.cache.labels[number, -1] & RARE_BITS) != 0
        return mined

    def iterate(self, batch: int) -> Iterator[tuple[tuple[int, ...], Batch]]:
        """All chips in order, whole, with their numbers."""
        for start in range(0, len(self.numbers), batch):
            picked = self.numbers[start : start + batch]
            yield picked, self._gather([(number, (0, 0), 0) for number in picked], self.cache.size)

    def _gather(self, jobs: Sequence[tuple[int, tuple[int, int], int]], crop: int) -> Batch:
        pixels, labels, change = [], [], []
        for number, (top, left), turn in jobs:
            window = (..., slice(top, top + crop), slice(left, left + crop))
            pixels.append(turned(self.cache.pixels[number][window], turn))
            labels.append(turned(self.cache.labels[number, -1][window], turn))
            if self.cache.change is not None:
                change.append(turned(self.cache.change[number][window], turn))
        numbers = np.array([number for number, _, _ in jobs])
        stacked = np.stack(pixels).view(np.int16)
        stacked = stacked.reshape(len(jobs), -1, len(CHANNELS), crop, crop)
        if self.recipe.task is Task.SEGMENT:
            # Pairs serve too: their later date is segmented, the earlier one is its history.
            stacked = stacked[:, -1:]
        bits = np.stack(labels)
        targets = {name: torch.from_numpy(table[bits]) for name, table in self.tables.items()}
        if CHANGE_HEAD in self.recipe.heads:
            targets[CHANGE_HEAD.name] = torch.from_numpy(np.stack(change))
        return self.batch(torch.from_numpy(stacked), targets, numbers)

    def batch(self, pixels: Tensor, targets: Mapping[str, Tensor], numbers: NDArray[np.int64]) -> Batch:
        """Pixels and targets with what else is known of the chips of these numbers, on the same device."""
        return Batch(
            pixels=pixels,
            targets=targets,
            hidden={name: torch.from_numpy(table[numbers]) for name, table in self._hidden.items()},
            medians=carried(torch.from_numpy(self._medians[numbers]), pixels),
        )


def places(number: int, rich: float) -> int:
    """How many places crop ``number`` of a batch is chosen among; rich ones lie evenly between the others."""
    return PLACES if int((number + 1) * rich) > int(number * rich) else 1


def turned(array: NDArray[np.generic], turn: int) -> NDArray[np.generic]:
    """One of the eight symmetries of the square, over the last two axes."""
    if turn >= 4:
        array = np.swapaxes(array, -1, -2)
    return np.rot90(array, turn % 4, axes=(-2, -1))


def code_table(head: Head) -> NDArray[np.uint8]:
    """Label bits -> class code, for every sum of bits."""
    every = np.arange(65_536, dtype=np.uint32).astype(np.uint16)
    return class_codes(every, [Component(label) for label in head.labels])


def hidden_classes(head: Head, entry: Entry) -> NDArray[np.bool_]:
    """(classes,) True for labels that whoever labelled did not look for; never for background."""
    if head == CHANGE_HEAD:
        return np.zeros(head.classes, np.bool_)
    return np.array([False, *(Component(label) not in entry.known for label in head.labels)])


def physical(pixels: Tensor) -> Tensor:
    """(..., 14, s, s) encoded -> float32 reflectance and dB; NaN = no data."""
    values = pixels.to(torch.int32).bitwise_and(0xFFFF).to(torch.float32)
    optical = values[..., :OPTICAL, :, :] / float(STEPS_PER_REFLECTANCE) + float(DARKEST)
    radar = values[..., OPTICAL:, :, :] / float(STEPS_PER_DB) + float(FAINTEST)
    joined = torch.cat([optical, radar], dim=-3)
    return torch.where(pixels == 0, torch.nan, joined)


def carried(numbers: Tensor, beside: Tensor) -> Tensor:
    """Small numbers on the device of others; nothing that still runs there is waited for."""
    return numbers.to(beside.device, non_blocking=True)


def network_batch(values: Tensor, medians: Tensor, recipe: Recipe) -> Tensor:
    """(n, dates, 14, s, s) reflectance and dB -> (n, dates x bands, s, s), as detector.inputs has it.

    The reference is the training mean, the image's own median, or that of the earlier date (of the only
    date's history where the chip is one of a pair). What has no reference is not seen.
    """
    norm = recipe.normalisation
    channels = carried(torch.tensor(recipe.channels), values)
    logs = logarithms(values)[:, :, channels]
    mean = carried(torch.tensor([norm.mean[name] for name in recipe.bands]), values)
    spread = carried(torch.tensor([norm.spread[name] for name in recipe.bands]), values)
    if norm.reference is Reference.FIXED:
        zero = mean.expand(values.shape[0], values.shape[1], -1)
    elif norm.reference is Reference.RELATIVE:
        zero = medians[:, -values.shape[1] :, channels]
    else:
        zero = medians[:, :1, channels].expand(-1, values.shape[1], -1)
    scaled = (logs - zero[..., None, None]) / spread[:, None, None]
    return torch.nan_to_num(scaled.clamp(-LIMIT, LIMIT), nan=0.0).flatten(1, 2)


def logarithms(values: Tensor) -> Tensor:
    """ln(reflectance + DARK) and dB, not below their floors."""
    optical = torch.log(values[..., :OPTICAL, :, :].clamp(min=0.0) + float(DARK))
    floor = 10.0 * float(np.log10(FAINT))
    return torch.cat([optical, values[..., OPTICAL:, :, :].clamp(min=floor)], dim=-3)


def fit_normalisation(
    cache: Cache,
    bands: Sequence[str],
    reference: Reference,
    *,
    numbers: Sequence[int] | None = None,
    sample: int = 256,
) -> Normalisation:
    """Mean and spread of the logarithm per band over every third pixel of some chips, all dates.

    Where the reference is not fixed the spread is that of the difference to it.
    """
    chosen = list(range(len(cache.entries)) if numbers is None else numbers)
    chosen = chosen[:: max(1, len(chosen) // sample)]
    thin = np.stack([cache.pixels[number][:, ::3, ::3] for number in chosen]).view(np.int16)
    encoded = torch.from_numpy(thin).reshape(len(chosen), -1, len(CHANNELS), *thin.shape[-2:])
    logs = logarithms(physical(encoded)).numpy()
    medians = np.array(
        [[[np.nan if v is None else v for v in date] for date in cache.entries[n].medians] for n in chosen],
        np.float32,
    )
    mean = np.nanmean(logs, axis=(0, 1, 3, 4))
    if reference is Reference.RELATIVE:
        logs = logs - medians[..., None, None]
    elif reference is Reference.HISTORY:
        logs = logs - medians[:, :1, :, None, None]
    spread = np.nanstd(logs, axis=(0, 1, 3, 4))
    order = [CHANNELS.index(name) for name in bands]
    return Normalisation(
        reference=reference,
        mean={name: round(float(mean[at]), 5) for name, at in zip(bands, order, strict=True)},
        spread={name: round(max(float(spread[at]), 1e-3), 5) for name, at in zip(bands, order, strict=True)},
    )


def class_shares(
    cache: Cache, heads: Sequence[Head], numbers: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    """Per head, the share of each class among the pixels that teach it."""
    found = {}
    for head in heads:
        total = np.sum([_class_counts(head, cache, number) for number in numbers], axis=0)
        found[head.name] = total / max(total.sum(), 1.0)
    return found


def _class_counts(head: Head, cache: Cache, number: int) -> NDArray[np.float64]:
    counts = cache.entries[number].counts
    if head == CHANGE_HEAD:
        return np.array(counts[: head.classes], np.float64)
    if cache.task is Task.CHANGE:
        # A pair's own counts are of its changes.
        codes = code_table(head)[cache.labels[number, -1, ::4, ::4]]
        return np.bincount(codes[codes != IGNORED], minlength=head.classes).astype(np.float64)
    labels = np.array([counts[COMPONENTS.index(Component(label))] for label in head.labels], np.float64)
    return np.concatenate([[max(cache.size**2 - counts[-1] - labels.sum(), 0.0)], labels])


assert UNKNOWN == 1 << 15
