"""The outlines of mines: three families of plans, and how big, long and ragged real mines are.

Measured once from the real outlines (equal-area projection, each part of a polygon for itself):

=====================  =====  ======================  ===================  ===================
source                 parts  area, ha (P10 50 90)    elongation (same)    compactness (same)
=====================  =====  ======================  ===================  ===================
asm_west_africa_gt       450  .47 / 1.8 / 11          1.15 / 1.9 / 3.4     .20 / .47 / .81
amazon_mining_watch   47,893  6.8 / 27 / 88           1.15 / 1.3 / 2.6     .35 / .68 / .77
gem_coal_boundaries      329  180 / 2,800 / 13,500    1.14 / 1.9 / 3.9     .16 / .46 / .71
=====================  =====  ======================  ===================  ===================

Sources: Couttenier et al. 2022 (CC BY 4.0), Earth Genome (CC BY 4.0), Global Energy Monitor (CC BY 4.0).
Elongation is of the smallest turned rectangle, compactness 4 pi area / perimeter^2. The second source draws
patches of about 20 ha, the third permits: only the first shows single mines' shapes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulator.chips.layers import Float32
from simulator.chips.shapes import noise, true_distance, turned

ARTISANAL_HA = (1.84, 1.25)
"""Median and spread of the logarithm of the area of an artisanal mine in hectares."""
ELONGATION = (1.9, 0.4)
"""Median and spread of the logarithm of the elongation."""
SMOOTH = 6.0
"""Slope of noise that moves an edge without fraying it."""
RAGGED = {"plan_a": 0.15, "plan_b": 0.22, "plan_c": 0.27}
"""How far an outline leaves its ellipse, as a share of its radius."""


def draw_elongation(rng: np.random.Generator) -> float:
    """How much longer than wide."""
    return float(np.clip(ELONGATION[0] * math.exp(rng.normal(0.0, ELONGATION[1])), 1.0, 4.5))


def draw_artisanal_area(rng: np.random.Generator) -> float:
    """Pixels (of 0.01 ha) an artisanal mine covers in the end, at least 60."""
    hectares = ARTISANAL_HA[0] * math.exp(rng.normal(0.0, ARTISANAL_HA[1]))
    return float(np.clip(100.0 * hectares, 60.0, 6_000.0))


@dataclass(frozen=True)
class Outline:
    """A shape that grows: at scale 1 it is full, at smaller ones the same place earlier."""

    family: str
    centre: tuple[float, float]
    """x, y of the full shape."""
    turn: float
    """Direction of its long axis and of its growth, radians."""
    half: tuple[float, float]
    """Half axes in pixels, along and across."""
    waves: tuple[tuple[float, float], ...]
    """plan_a: amplitude and phase of the 2nd, 3rd, ... harmonic of the radius."""
    sides: tuple[tuple[float, float], ...]
    """plan_b: direction and relative offset of each straight side."""
    ragged: Float32
    """plan_c: (size, size) noise that moves the edge."""
    drift: float = 0.8
    """How far the early shape sits behind the full one's centre: 0 grows to all sides, 1 forward only."""

    def distance(self, x: Float32, y: Float32, scale: float, cut: tuple[slice, slice]) -> Float32:
        """Pixels to the edge, negative inside, in the window with these columns and rows."""
        u, v = turned(x, y, self.centre, self.turn)
        scale = max(scale, 0.02)
        u = u + np.float32(self.drift * (1.0 - scale) * self.half[0])
        u = u * np.float32(1.0 / (scale * self.half[0]))
        v = v * np.float32(1.0 / (scale * self.half[1]))
        if self.family == "plan_b":
            # Straight sides; their largest overshoot is the distance in units of the mean half axis.
            field = np.full((u + v).shape, -1.0, np.float32)
            for angle, offset in self.sides:
                side = u * np.float32(math.cos(angle)) + v * np.float32(math.sin(angle))
                np.maximum(field, side - np.float32(offset), out=field)
        elif self.family == "plan_a":
            bearing = np.arctan2(v, u)
            radius = np.float32(1.0)
            for k, (amplitude, phase) in enumerate(self.waves, start=2):
                radius = radius + np.float32(amplitude) * np.cos(np.float32(k) * bearing + np.float32(phase))
            field = np.asarray(np.hypot(u, v) / radius - np.float32(1.0), np.float32)
        else:
            field = np.hypot(u, v) - np.float32(1.0) + self.ragged[cut]
        return true_distance(np.asarray(field, np.float32))


def draw_outline(
    rng: np.random.Generator,
    family: str,
    *,
    size: int,
    centre: tuple[float, float],
    radius: float,
    turn: float,
    elongation: float,
    lobes: int = 4,
    drift: float = 0.8,
) -> Outline:
    """An outline of about ``radius`` pixels' mean radius; more ``lobes`` scallop the edge of dumps."""
    half = (radius * math.sqrt(elongation), radius / math.sqrt(elongation))
    ragged = RAGGED[family]
    waves = tuple(
        (rng.normal(0.0, ragged / (k - 1) ** 0.75), rng.uniform(0, 2 * math.pi)) for k in range(2, 2 + lobes)
    )
    count = int(rng.integers(5, 9))
    angles = np.sort((np.arange(count) + rng.uniform(-0.3, 0.3, count)) * 2 * math.pi / count)
    sides = tuple(zip(angles.tolist(), rng.uniform(0.74, 1.05, count).tolist(), strict=True))
    wavelength = min((16, 32, 64, 128), key=lambda length: abs(length - 1.8 * radius))
    # Clipped, lest islands break off.
    field = np.float32(ragged) * np.clip(noise(rng, size, wavelength, slope=SMOOTH), -1.3, 1.3)
    return Outline(family, centre, turn, half, waves, sides, field, drift)
