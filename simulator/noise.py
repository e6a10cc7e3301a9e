"""Random fields with a given roughness, blurs and shapes: the texture of the world. Pure numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from simulator.frame import Floats


def generator(seed: int, *stream: int) -> np.random.Generator:
    """An independent generator for one purpose, so that order of use never matters."""
    return np.random.default_rng([seed, *stream])


def fractal(size: int, rng: np.random.Generator, *, slope: float, largest: float) -> Floats:
    """A (size, size) field of mean 0 and spread 1 with power ~ k^-slope.

    ``largest`` is the longest wavelength kept, in cells. The field wraps around its edges.
    """
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    lowest = 1.0 / largest
    gain = (radius**2 + lowest**2) ** (-slope / 4.0)
    gain[0, 0] = 0.0
    field = np.fft.irfft2(spectrum * gain, s=(size, size)).astype(np.float32)
    return np.asarray(field / np.float32(field.std()), np.float32)


def gaussian_gain(size: int, sigma: float) -> Floats:
    """Transfer function (for rfft2 of a square) of a Gaussian blur of ``sigma`` cells."""
    radius2 = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.rfftfreq(size)[None, :] ** 2
    return np.exp(-2.0 * (math.pi * sigma) ** 2 * radius2).astype(np.float32)


def blur(field: Floats, sigma: float) -> Floats:
    """Gaussian blur of a square field (wraps at the edges)."""
    size = field.shape[0]
    blurred = np.fft.irfft2(np.fft.rfft2(field) * gaussian_gain(size, sigma), s=(size, size))
    return blurred.astype(np.float32)


def smoothstep(field: Floats, low: float, high: float) -> Floats:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((field - np.float32(low)) / np.float32(high - low), 0.0, 1.0).astype(np.float32)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def ellipse(
    x: Floats, y: Floats, *, centre: tuple[float, float], axes: tuple[float, float], turn: float = 0.0
) -> Floats:
    """Roughly the distance in metres to an ellipse's edge, negative inside; ``turn`` in degrees."""
    angle = math.radians(turn)
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    u = (dx * math.cos(angle) + dy * math.sin(angle)) / axes[0]
    v = (dy * math.cos(angle) - dx * math.sin(angle)) / axes[1]
    distance = (np.hypot(u, v) - 1.0) * min(axes)
    return np.asarray(distance, np.float32)


def box_distance(
    x: Floats, y: Floats, *, centre: tuple[float, float], half: tuple[float, float], turn: float = 0.0
) -> Floats:
    """Distance in metres to a turned rectangle's edge, negative inside; ``turn`` in degrees."""
    angle = math.radians(turn)
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    u = np.abs(dx * math.cos(angle) + dy * math.sin(angle)) - half[0]
    v = np.abs(dy * math.cos(angle) - dx * math.sin(angle)) - half[1]
    outside = np.hypot(np.maximum(u, 0.0), np.maximum(v, 0.0))
    return np.asarray(outside + np.minimum(np.maximum(u, v), 0.0), np.float32)


def curve(points: Sequence[tuple[float, float]], *, step: float = 8.0) -> Floats:
    """A smooth Catmull-Rom curve through ``points``, as an (n, 2) array about ``step`` metres apart."""
    p = np.asarray(points, np.float64)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    pieces = []
    for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True):
        t = np.linspace(0.0, 1.0, max(2, int(np.hypot(*(c - b)) / step)), endpoint=False)[:, None]
        cubic = 2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
        pieces.append(0.5 * cubic)
    return np.vstack([*pieces, p[-2:-1]]).astype(np.float32)


def distance_to(line: Floats, x: Floats, y: Floats) -> Floats:
    """Metres to the nearest point of ``line``, per cell."""
    return along_line(line, x, y)[0]


def along_line(line: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Per cell: metres to the nearest point of ``line``, share of the way along, side (-1 left, +1 right)."""
    # The distance is smooth, so half the cells along each axis are enough; linear filling does the rest.
    cx, cy = x[::2, ::2], y[::2, ::2]
    best = np.full(cx.shape, np.inf, np.float32)
    nearest = np.zeros(cx.shape, np.int32)
    for number, (px, py) in enumerate(line):
        d2 = (cx - px) ** 2 + (cy - py) ** 2
        nearer = d2 < best
        best[nearer] = d2[nearer]
        nearest[nearer] = number
    heading = np.gradient(line, axis=0)[nearest]
    away = np.stack([cx, cy], axis=-1) - line[nearest]
    side = np.where(heading[..., 0] * away[..., 1] - heading[..., 1] * away[..., 0] < 0.0, -1.0, 1.0)
    along = nearest.astype(np.float32) / np.float32(len(line))
    sides = np.repeat(np.repeat(side.astype(np.float32), 2, axis=0), 2, axis=1)
    return fill_between(np.sqrt(best)), fill_between(along), sides


def fill_between(coarse: Floats) -> Floats:
    """Twice the cells along each axis by linear interpolation."""
    rows = np.repeat(coarse, 2, axis=0)
    rows[1:-1:2] = 0.5 * (coarse[:-1] + coarse[1:])
    both = np.repeat(rows, 2, axis=1)
    both[:, 1:-1:2] = 0.5 * (rows[:, :-1] + rows[:, 1:])
    return both


def block_mean(field: Floats, factor: int) -> Floats:
    """Mean over ``factor`` x ``factor`` blocks of the last two axes."""
    *lead, height, width = field.shape
    blocks = field.reshape(*lead, height // factor, factor, width // factor, factor)
    return np.asarray(blocks.mean(axis=(-3, -1)), np.float32)
