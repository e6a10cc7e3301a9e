"""The sky over one pass: haze and smoke, thin cloud, clouds with their shadows. Pure.

What the aerosol correction leaves of haze is an additive path radiance that falls with wavelength, and a loss
of contrast; smoke is bluer still. Thin cirrus is nearly white and takes little in the short-wave infrared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulator.chips.palette import Float32
from simulator.chips.texture import BANK, billows, veils
from simulator.sky import CLOUD_COLOUR

_MICROMETRES = np.array(
    [0.443, 0.492, 0.560, 0.665, 0.704, 0.740, 0.783, 0.833, 0.865, 0.945, 1.614, 2.202], np.float32
)
_CIRRUS = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.99, 0.98, 0.97, 0.80, 0.62, 0.48], np.float32)
_SKYLIGHT = np.array([0.36, 0.32, 0.25, 0.20, 0.18, 0.17, 0.16, 0.15, 0.14, 0.13, 0.08, 0.06], np.float32)
"""Share of the light that reaches the ground from the sky: what is left in a cloud's shadow."""

OPAQUE = 0.35
"""Cloud of this opacity hides the ground."""
VEILED = 0.022
"""Path radiance in the green from which a pixel counts as hazy."""


@dataclass(frozen=True)
class Sun:
    """Where the light comes from."""

    elevation: float
    """Degrees above the horizon."""
    azimuth: float
    """Degrees, clockwise from north."""


@dataclass(frozen=True)
class Air:
    """One sky over one chip."""

    even: float
    """Path radiance at .56 um that the correction left everywhere, in reflectance; may be negative."""
    exponent: float
    """How fast it falls with wavelength: 1 dust, 2 smoke."""
    veil: Float32 | None
    """(h, w) more of it, in patches."""
    cirrus: Float32 | None
    """(h, w) reflectance of thin high cloud."""
    cloud: Float32 | None
    """(h, w) opacity, 0 to 1."""
    shade: Float32 | None
    """(h, w) share of the sunlight that clouds take."""
    bright: float
    """Reflectance of thick cloud."""
    kind: str
    """clear, haze, smoke, cirrus or cloud: the chip's fact."""

    @property
    def hidden(self) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]] | None:
        """(h, w) where nothing of the ground is to be seen; None = nowhere."""
        return None if self.cloud is None else self.cloud > OPAQUE


def crop(rng: np.random.Generator, field: Float32, size: int) -> Float32:
    """A random window of a bank's field."""
    row, column = (int(value) for value in rng.integers(0, BANK - size + 1, 2))
    return field[row : row + size, column : column + size]


def draw_air(rng: np.random.Generator, size: int, sun: Sun, *, harsh: bool, clear: bool) -> Air:
    """The sky of one pass; ``clear``: one of the looks that a clear history is made of."""
    even = float(rng.normal(0.001, 0.010 if harsh else 0.004))
    exponent = float(rng.uniform(0.8, 2.2) if harsh else rng.uniform(1.1, 1.7))
    chance = rng.random()
    parts = (0.02, 0.06, 0.10) if clear else (0.20, 0.40, 0.62) if harsh else (0.12, 0.22, 0.36)
    plain = Air(even, exponent, None, None, None, None, 0.0, "clear")
    if chance > parts[2]:
        return plain
    if chance > parts[1]:
        return _hazy(rng, size, plain, strong=harsh and not clear, clear=clear)
    if chance > parts[0]:
        deep = float(rng.uniform(0.02, 0.10 if harsh else 0.06)) * (0.3 if clear else 1.0)
        field = np.clip(0.6 + 0.5 * crop(rng, veils(), size), 0.0, 2.0)
        return _with(plain, cirrus=np.asarray(deep * field, np.float32), kind="cirrus")
    if clear:
        return _cloudy(rng, size, plain, sun, float(rng.uniform(0.01, 0.06)))
    return _cloudy(rng, size, plain, sun, float(rng.beta(1.0, 2.2)) * 0.9 + 0.02)


def _hazy(rng: np.random.Generator, size: int, plain: Air, *, strong: bool, clear: bool) -> Air:
    smoke = rng.random() < 0.4
    depth = float(rng.uniform(0.01, 0.13 if strong else 0.07)) * (0.25 if clear else 1.0)
    field = crop(rng, veils(), size)
    patchy = float(rng.uniform(0.2, 1.0))
    veil = np.asarray(depth * np.clip(1.0 + patchy * 0.6 * field, 0.0, 3.0), np.float32)
    steep = float(rng.uniform(1.6, 2.4) if smoke else rng.uniform(0.9, 1.5))
    return _with(plain, veil=veil, exponent=steep, kind="smoke" if smoke else "haze")


def _cloudy(rng: np.random.Generator, size: int, plain: Air, sun: Sun, cover: float) -> Air:
    """Cumulus; their shadows fall away from the sun by the height of the base."""
    margin = 64
    field = crop(rng, billows(), size + 2 * margin)
    level = float(np.quantile(field[::4, ::4], 1.0 - min(cover, 0.98)))
    opacity = _opacity(field - np.float32(level), float(rng.uniform(2.0, 6.0)))
    away = float(rng.uniform(500.0, 1600.0)) / max(math.tan(math.radians(sun.elevation)), 0.35) / 10.0
    angle = math.radians(sun.azimuth)
    south, east = round(away * math.cos(angle)), round(-away * math.sin(angle))
    south, east = max(-margin, min(margin, south)), max(-margin, min(margin, east))
    here = (slice(margin, margin + size), slice(margin, margin + size))
    there = (slice(margin - south, margin - south + size), slice(margin - east, margin - east + size))
    return _with(
        plain,
        cloud=np.ascontiguousarray(opacity[here]),
        shade=np.asarray(np.float32(0.8) * opacity[there], np.float32),
        bright=float(rng.uniform(0.45, 0.85)),
        kind="cloud",
    )


def _opacity(depth: Float32, density: float) -> Float32:
    """Thin at the edge, soon dense."""
    deep = np.maximum(depth, np.float32(0.0))
    return np.asarray(np.float32(0.97) * (1.0 - np.exp(-np.float32(density) * deep)), np.float32)


def _with(
    plain: Air,
    *,
    kind: str,
    veil: Float32 | None = None,
    cirrus: Float32 | None = None,
    cloud: Float32 | None = None,
    shade: Float32 | None = None,
    bright: float = 0.0,
    exponent: float | None = None,
) -> Air:
    return Air(plain.even, exponent or plain.exponent, veil, cirrus, cloud, shade, bright, kind)


def through_air(ground: Float32, air: Air) -> Float32:
    """(12, h, w) reflectance as the corrected product shows it; ``ground`` is changed in place."""
    falls = (np.float32(0.56) / _MICROMETRES) ** np.float32(air.exponent)
    if air.shade is not None:
        for band in range(12):
            ground[band] *= 1.0 - air.shade * (1.0 - _SKYLIGHT[band])
    ground += np.float32(air.even) * falls[:, None, None]
    if air.veil is not None:
        for band in range(12):
            # What scatters light into the view also takes some of the ground's away.
            ground[band] *= 1.0 - np.float32(1.6) * falls[band] * air.veil
            ground[band] += falls[band] * air.veil
    if air.cirrus is not None:
        for band in range(12):
            ground[band] *= 1.0 - np.float32(1.3) * _CIRRUS[band] * air.cirrus
            ground[band] += _CIRRUS[band] * air.cirrus
    if air.cloud is not None:
        thick = np.float32(air.bright) * (0.75 + 0.25 * air.cloud)
        for band in range(12):
            ground[band] += air.cloud * (thick * CLOUD_COLOUR[band] - ground[band])
    return ground


def veiled(air: Air) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]] | None:
    """(h, w) where cloud, haze or thin cloud is in the way; None = nowhere."""
    seen = None
    for found in (
        None if air.cloud is None else air.cloud > OPAQUE,
        None if air.veil is None else air.veil > VEILED,
        None if air.cirrus is None else air.cirrus > VEILED,
    ):
        if found is not None:
            seen = found if seen is None else seen | found
    return seen
