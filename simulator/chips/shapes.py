"""Shapes and noise of chips, fast: distances in pixels (negative inside), and a bank of fractal fields.

Rows run south, columns run east; x is the column and y the row of a pixel's centre. Everything is float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from simulator.chips.layers import Float32
from simulator.noise import fractal, generator

BANK = 512
"""Pixels a side of a stored noise field."""
KINDS = 3
"""Stored fields per wavelength."""
NARROWEST = 2
"""Pixels a side of the smallest window: a slope needs two."""
LOTS = 32
"""Rows and columns of plots that differ; a power of two."""
BANK_SEED = 20_261


@lru_cache(maxsize=64)
def _bank(largest: int, slope: float, number: int) -> Float32:
    stored = fractal(BANK, generator(BANK_SEED, largest, number), slope=slope, largest=largest)
    stored.setflags(write=False)
    return stored


def noise(rng: np.random.Generator, size: int, largest: int, *, slope: float = 3.4) -> Float32:
    """(size, size) of mean about 0 and spread about 1, nothing longer than ``largest`` pixels; a view."""
    number, row, column, turn = (int(rng.integers(n)) for n in (KINDS, BANK, BANK, 4))
    stored = _bank(largest, slope, number)
    if size <= BANK:
        # Crops that would run over the edge start earlier: a view costs nothing, a wrapped copy does.
        row, column = row % (BANK - size + 1), column % (BANK - size + 1)
        cut = stored[row : row + size, column : column + size]
    else:
        repeats = -(-size // BANK)
        cut = np.tile(stored, (repeats, repeats))[:size, :size]
    cut = cut[::-1] if turn & 1 else cut
    return cut[:, ::-1] if turn & 2 else cut


@dataclass(frozen=True)
class Window:
    """A rectangle of the canvas."""

    top: int
    left: int
    height: int
    width: int

    @property
    def x(self) -> Float32:
        """(1, width) columns."""
        return np.arange(self.left, self.left + self.width, dtype=np.float32)[None, :]

    @property
    def y(self) -> Float32:
        """(height, 1) rows."""
        return np.arange(self.top, self.top + self.height, dtype=np.float32)[:, None]

    @property
    def cut(self) -> tuple[slice, slice]:
        """Its rows and columns of the canvas."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def within(self, other: Window) -> Window | None:
        """What it shares with another; None where that is nothing."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.height, other.top + other.height)
        right = min(self.left + self.width, other.left + other.width)
        return Window(top, left, bottom - top, right - left) if bottom > top and right > left else None

    def seen_from(self, outer: Window) -> tuple[slice, slice]:
        """Its rows and columns counted from an outer window's corner."""
        top, left = self.top - outer.top, self.left - outer.left
        return slice(top, top + self.height), slice(left, left + self.width)


def window_around(size: int, x: float, y: float, reach: float) -> Window | None:
    """The part of the canvas within ``reach`` of a point; None where there is none wide enough for slopes."""
    top, left = max(0, math.floor(y - reach)), max(0, math.floor(x - reach))
    bottom, right = min(size, math.ceil(y + reach) + 1), min(size, math.ceil(x + reach) + 1)
    if bottom < top + NARROWEST or right < left + NARROWEST:
        return None
    return Window(top, left, bottom - top, right - left)


def cover(distance: Float32, soft: float = 1.0) -> Float32:
    """Share of a pixel inside an edge at ``distance``; ``soft`` is the width of the edge in pixels."""
    share = np.clip(np.float32(0.5) - distance * np.float32(1.0 / soft), 0.0, 1.0)
    return np.asarray(share, np.float32)


def wrapped(field: Float32, period: float) -> Float32:
    """What is left of a field after whole periods: much faster than np.mod."""
    share = field * np.float32(1.0 / period)
    return np.asarray((share - np.floor(share)) * np.float32(period), np.float32)


def cell_number(field: Float32, period: float) -> NDArray[np.int32]:
    """Which period a field is in, counted round from 0 to LOTS - 1."""
    number = np.floor(field * np.float32(1.0 / period)).astype(np.int32)
    return np.asarray(number & np.int32(LOTS - 1), np.int32)


def from_border(u: Float32, v: Float32, pitch: tuple[float, float]) -> Float32:
    """Distance from the nearest line of a grid."""
    to_u = np.float32(pitch[0] / 2) - np.abs(wrapped(u, pitch[0]) - np.float32(pitch[0] / 2))
    to_v = np.float32(pitch[1] / 2) - np.abs(wrapped(v, pitch[1]) - np.float32(pitch[1] / 2))
    return np.asarray(np.minimum(to_u, to_v), np.float32)


def above(field: Float32, level: float, soft: float = 0.15) -> Float32:
    """Cover of where a noise field exceeds ``level``, with an edge ``soft`` units of the field wide."""
    return cover(np.float32(level) - field, soft)


def turned(x: Float32, y: Float32, centre: tuple[float, float], turn: float) -> tuple[Float32, Float32]:
    """Coordinates along and across a direction ``turn`` (radians) from a centre."""
    cos, sin = np.float32(math.cos(turn)), np.float32(math.sin(turn))
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    return dx * cos + dy * sin, dy * cos - dx * sin


def box(u: Float32, v: Float32, half_u: float, half_v: float) -> Float32:
    """Distance to a rectangle's edge, with mitred corners."""
    return np.maximum(np.abs(u) - np.float32(half_u), np.abs(v) - np.float32(half_v))


def oval(u: Float32, v: Float32, half_u: float, half_v: float) -> Float32:
    """Roughly the distance to an ellipse's edge."""
    r = np.hypot(u * np.float32(1.0 / half_u), v * np.float32(1.0 / half_v))
    return np.asarray((r - np.float32(1.0)) * np.float32(min(half_u, half_v)), np.float32)


def segment(
    x: Float32, y: Float32, start: tuple[float, float], end: tuple[float, float]
) -> tuple[Float32, Float32]:
    """Distance to a straight piece, and the share of the way along it (0 to 1)."""
    ax, ay = start
    ex, ey = end[0] - ax, end[1] - ay
    length2 = max(ex * ex + ey * ey, 1e-6)
    dx, dy = x - np.float32(ax), y - np.float32(ay)
    along = np.clip((dx * np.float32(ex) + dy * np.float32(ey)) * np.float32(1.0 / length2), 0.0, 1.0)
    away = np.hypot(dx - along * np.float32(ex), dy - along * np.float32(ey))
    return away.astype(np.float32, copy=False), along.astype(np.float32, copy=False)


FAR = np.float32(1e3)


def line_distance(size: int, points: Sequence[tuple[float, float]], reach: float) -> Float32:
    """(size, size) distance to a line of straight pieces, right up to ``reach``, FAR beyond."""
    away = np.full((size, size), FAR, np.float32)
    for start, end in pairwise(points):
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        half = max(abs(start[0] - end[0]), abs(start[1] - end[1])) / 2
        part = window_around(size, *middle, half + reach)
        if part is not None:
            near = away[part.cut]
            np.minimum(near, segment(part.x, part.y, start, end)[0], out=near)
    return away


def along_line(
    size: int, points: Sequence[tuple[float, float]], reach: float
) -> tuple[Float32, Float32, Float32]:
    """Per pixel: distance to the line (FAR beyond ``reach``), pixels along it, offset to a side."""
    away = np.full((size, size), FAR, np.float32)
    along = np.zeros((size, size), np.float32)
    side = np.full((size, size), FAR, np.float32)
    done = 0.0
    for start, end in pairwise(points):
        length = math.hypot(end[0] - start[0], end[1] - start[1])
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        half = max(abs(start[0] - end[0]), abs(start[1] - end[1])) / 2
        part = window_around(size, *middle, half + reach)
        if part is not None:
            distance, share = segment(part.x, part.y, start, end)
            nearer = distance < away[part.cut]
            cross = (part.x - np.float32(start[0])) * np.float32(end[1] - start[1])
            cross = cross - (part.y - np.float32(start[1])) * np.float32(end[0] - start[0])
            np.copyto(away[part.cut], distance, where=nearer)
            np.copyto(along[part.cut], share * np.float32(length) + np.float32(done), where=nearer)
            np.copyto(side[part.cut], np.copysign(distance, cross), where=nearer)
        done += length
    return away, along, side


def meander(
    rng: np.random.Generator,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    bend: float,
    step: float,
) -> list[tuple[float, float]]:
    """Points about ``step`` apart from start to end, swinging to both sides by up to ``bend`` pixels."""
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    count = max(3, int(length / step))
    t = np.linspace(0.0, 1.0, count + 1)
    waves = max(1.0, length / max(6.0 * bend, 24.0))
    swing = np.zeros(count + 1)
    for k in (0.5, 1.0, 2.0):
        swing += rng.uniform(0.4, 1.0) / k * np.sin(2 * math.pi * (k * waves * t + rng.uniform()))
    nx, ny = -(end[1] - start[1]) / length, (end[0] - start[0]) / length
    xs = start[0] + (end[0] - start[0]) * t + nx * bend * 0.6 * swing
    ys = start[1] + (end[1] - start[1]) * t + ny * bend * 0.6 * swing
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def slope_of(distance: Float32) -> tuple[Float32, Float32]:
    """Unit direction in which a distance grows: (east, south)."""
    south, east = np.gradient(distance)
    length = np.hypot(south, east) + np.float32(1e-6)
    return east / length, south / length


def true_distance(field: Float32) -> Float32:
    """A field that is negative inside as roughly the distance in pixels to its zero line."""
    south, east = np.gradient(field)
    steep = np.maximum(np.hypot(south, east), np.float32(1e-3))
    return np.asarray(field / steep, np.float32)
