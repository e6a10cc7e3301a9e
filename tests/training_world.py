"""A small synthetic source of chips: forest, with pits and ponds that can be told by their colour; and a
plan that is trained on them in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detector.inputs import Reference
from detector.plans import Head
from detector.training.plan import Data, Run, Schedule, Task, TrainingPlan
from registry.chips import BIT, CHANNELS, Change, Chip, ChipPair, Component
from registry.models import S2_BANDS

FOREST = np.array([0.02, 0.03, 0.05, 0.03, 0.08, 0.2, 0.26, 0.28, 0.3, 0.3, 0.14, 0.07])
PIT = np.array([0.12, 0.15, 0.19, 0.24, 0.26, 0.28, 0.3, 0.31, 0.32, 0.32, 0.38, 0.34])
POND = np.array([0.08, 0.1, 0.13, 0.12, 0.09, 0.06, 0.05, 0.05, 0.04, 0.04, 0.02, 0.02])
RGBNIR = ("B02", "B03", "B04", "B08")
TREES = BIT[Component.FOREST]
MINE = BIT[Component.TRANSFORMED]
WORKS = Head(name="works", labels=("excavation",))
WATER = Head(name="water", labels=("settling_pond", "dam"))


@dataclass(frozen=True)
class Discs:
    """Round pits and ponds in a forest."""

    seed: int = 0
    size: int = 64
    limit: int | None = None
    known: tuple[Component, ...] = tuple(Component)
    per_place: int = 2

    @property
    def key(self) -> str:
        return f"{self.seed:08d}{self.size:06d}{len(self.known):06d}"

    @property
    def about(self) -> str:
        return f"simulated discs, seed {self.seed}"

    @property
    def count(self) -> int | None:
        return self.limit

    def chip(self, index: int) -> Chip:
        return self._drawn(index, pit=True)

    def pair(self, index: int) -> ChipPair:
        before, after = self._drawn(index, pit=False), self._drawn(index, pit=True)
        new = after.has(Component.TRANSFORMED) & ~before.has(Component.TRANSFORMED)
        change = np.where(new, Change.NEW_MINE, Change.NONE).astype(np.uint8)
        change[before.has(Component.TRANSFORMED)] = Change.STABLE_MINE
        return ChipPair(replace(before, name=f"{before.name}-before"), after, change)

    def _drawn(self, index: int, *, pit: bool) -> Chip:
        rng = np.random.default_rng([self.seed, index])
        rows, columns = np.mgrid[: self.size, : self.size]
        spectrum = np.broadcast_to(FOREST[:, None, None], (12, self.size, self.size)).copy()
        labels = np.full((self.size, self.size), TREES, np.uint16)
        for what, colour, label in (
            ("pond", POND, Component.SETTLING_POND),
            ("pit", PIT, Component.EXCAVATION),
        ):
            centre = rng.uniform(0.2, 0.8, 2) * self.size
            inside = np.hypot(rows - centre[0], columns - centre[1]) < rng.uniform(0.12, 0.25) * self.size
            if what == "pond" or pit:
                spectrum[:, inside] = colour[:, None]
                labels[inside] = BIT[label] | MINE
        noise = np.random.default_rng([self.seed, index, int(pit)])
        optical = spectrum * noise.normal(1.0, 0.05, spectrum.shape)
        forest = (labels & TREES) != 0
        radar = np.stack([np.where(forest, 0.15, 0.05), np.where(forest, 0.04, 0.005)])
        radar = radar * noise.gamma(4.4, 1 / 4.4, radar.shape)
        pixels = np.concatenate([optical, radar]).astype(np.float32)
        pixels[:, :2, :2] = np.nan
        return Chip(
            name=f"disc-{self.seed}-{index:05d}",
            pixels=pixels,
            labels=labels,
            known=self.known,
            place=f"place-{self.seed}-{index // self.per_place}",
            acquired=f"2024-{1 + index % 12:02d}-15",
            facts={"mine_type": "open_pit" if index % 2 else "alluvial", "material": "gold"},
        )


assert len(CHANNELS) == 14
assert len(S2_BANDS) == 12


@contextmanager
def no_bar(_total: int, _what: str) -> Iterator[Any]:
    yield lambda _steps: None


def small_plan(**changes: Any) -> TrainingPlan:
    runs = {
        "base": Run(bands="msi_sar", schedule="s", band_dropout=0.5, card=False),
        "small-rgbnir": Run(bands="rgbnir", schedule="s", start="base"),
        "small-sar": Run(bands="msi_sar", schedule="s", start="base"),
        "small-change": Run(task=Task.CHANGE, bands="rgbnir", schedule="s", reference=Reference.HISTORY),
    }
    settings: dict[str, Any] = {
        "heads": {
            "works": (Component.EXCAVATION,),
            "transformed": (Component.TRANSFORMED,),
            "forest": (Component.FOREST,),
        },
        "band_sets": {"msi_sar": CHANNELS, "rgbnir": RGBNIR},
        "runs": runs,
        "schedules": {"s": Schedule(epochs=2, steps=10, batch=4, crop=32, learning_rate=1e-2)},
        "data": Data(chips=12, pairs=8, validation=8),
        "width": 6,
        "ema": 0.8,
    }
    return TrainingPlan(**(settings | changes))
