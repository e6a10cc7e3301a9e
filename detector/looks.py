"""One row of the ledger laid over the state: what all its pixels share, and views of their arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.state import NO_SCORE, UNITS, Float32, Int16, LedgerRow, UInt8, to_day
from registry.detection import DetectionSettings, EvidenceSettings, SourceWeights
from registry.models import Sensor, Target

BLOCK = 1 << 15
"""Pixels worked on at once: what fits the processor's cache."""

LOOK_PLANE = {Sensor.S2: "look_s2", Sensor.S1: "look_s1"}
"""Where the day of a sensor's newest look is kept."""
BEFORE_PLANE = {Sensor.S2: "before_s2", Sensor.S1: "before_s1"}
"""Where a sensor's yearly mean before any change is kept."""


@dataclass(frozen=True)
class Look:
    """What is the same for all pixels of a row."""

    day: int
    sin: float
    cos: float
    sign: float
    """+1 where change raises the score, -1 where it lowers it."""
    sensor: Sensor
    source: SourceWeights
    settings: DetectionSettings

    @classmethod
    def of(cls, row: LedgerRow, *, target: Target, settings: DetectionSettings) -> Look:
        """The look of a row, towards the target's kind of change."""
        day = to_day(row.acquired)
        angle = 2.0 * math.pi * day / 365.25
        return cls(
            day=day,
            # Rounded, because the last digit of a sine differs between machines.
            sin=round(math.sin(angle) * 4096) / 4096,
            cos=round(math.cos(angle) * 4096) / 4096,
            sign=1.0 if target is Target.TRANSFORMED else -1.0,
            sensor=row.sensor,
            source=settings.evidence.s2 if row.sensor is Sensor.S2 else settings.evidence.s1,
            settings=settings,
        )

    @property
    def evidence(self) -> EvidenceSettings:
        """The filter's thresholds."""
        return self.settings.evidence


@dataclass(frozen=True)
class Pixels:
    """Flat views of the arrays that a row is folded into, and of the row."""

    planes: Mapping[str, NDArray[Any]]
    sums: Float32
    score: Int16
    weight: UInt8

    @classmethod
    def of(cls, planes: Mapping[str, NDArray[Any]], sums: Float32, row: LedgerRow) -> Pixels:
        """Views of all pixels; the planes and sums are what gets written."""
        flat = {name: plane.reshape(-1) for name, plane in planes.items()}
        return cls(flat, sums.reshape(sums.shape[0], -1), row.score.reshape(-1), row.weight.reshape(-1))

    def part(self, which: slice) -> Pixels:
        """Views of some pixels."""
        planes = {name: plane[which] for name, plane in self.planes.items()}
        return Pixels(planes, self.sums[:, which], self.score[which], self.weight[which])

    def blocks(self) -> Iterator[Pixels]:
        """Parts that fit the processor's cache; those without a look are left out."""
        for begin in range(0, self.score.size, BLOCK):
            block = self.part(slice(begin, begin + BLOCK))
            if block.weight.any():
                yield block

    def tensor(self, name: str) -> Tensor:
        """A copy of a plane as int32."""
        return torch.from_numpy(self.planes[name].astype(np.int32))

    def looks(self, look: Look) -> tuple[Tensor, Tensor, Tensor]:
        """(seen, seen clearly, score with change upwards in logits, 0 where unseen)."""
        again = self.tensor(LOOK_PLANE[look.sensor]) == look.day
        seen = torch.from_numpy((self.weight > 0) & (self.score != NO_SCORE)) & ~again
        clear = seen & torch.from_numpy(self.weight > 1)
        score = torch.from_numpy(self.score.astype(np.float32)) * (look.sign / UNITS)
        return seen, clear, torch.where(seen, score, torch.zeros(()))
