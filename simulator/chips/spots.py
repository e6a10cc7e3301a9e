"""Where things lie on a canvas of ``size`` pixels a side."""

from __future__ import annotations

import math

import numpy as np

from simulator.chips.shapes import (
    meander,
)

Rng = np.random.Generator


def somewhere(size: int, rng: Rng) -> tuple[float, float]:
    """A place not too near the edges."""
    x, y = rng.uniform(0.12, 0.88, 2) * size
    return float(x), float(y)


def crossing(
    size: int, rng: Rng, *, bend: tuple[float, float], off: float = 0.3, step: float = 10.0
) -> list[tuple[float, float]]:
    """A winding line across the canvas that passes within ``off`` of its side from the middle."""
    angle, aside = float(rng.uniform(0.0, 2 * math.pi)), float(rng.uniform(-off, off)) * size
    cos, sin = math.cos(angle), math.sin(angle)
    middle = (size / 2 - aside * sin, size / 2 + aside * cos)
    ends = [(middle[0] + s * 0.8 * size * cos, middle[1] + s * 0.8 * size * sin) for s in (-1, 1)]
    return meander(rng, ends[0], ends[1], bend=float(rng.uniform(*bend)), step=step)
