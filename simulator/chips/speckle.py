"""Sentinel-1 over a chip: gamma0 with correlated speckle, terrain, rain, two orbits. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from simulator.chips.air import crop
from simulator.chips.palette import Float32
from simulator.chips.texture import BANK, DB, veils
from simulator.noise import generator
from simulator.radar import LOOKS, gamma_quantiles

FLOOR = np.float32(8e-4)
"""What is left of the radar's own noise, about -31 dB in VH; it adds to what the ground returns."""

_WIDTHS = (0.97, 0.89)
"""Gaussian width of a resolution cell of 20 x 22 m in 10 m pixels, down and across: speckle of two of the
TerraMesh tiles correlates by .70 and .74 with the next pixel, by .25 and .33 with the one after."""
_SEED = 20260102


@dataclass(frozen=True)
class RadarPass:
    """What one pass of the radar is like."""

    looks_east: bool
    """Ascending passes look to the east, descending ones to the west."""
    lag_days: int
    """Days before the Sentinel-2 pass."""
    wind_db: float
    """What waves add over water."""
    drift_db: tuple[float, float]
    """What this pass has too much, VV and VH."""


def draw_pass(rng: np.random.Generator, *, harsh: bool) -> RadarPass:
    """One pass: either orbit, up to 24 days older than its partner."""
    drift = rng.normal(0.0, 0.5 if harsh else 0.25, 2)
    return RadarPass(
        looks_east=bool(rng.random() < 0.5),
        lag_days=int(rng.integers(0, 25)),
        wind_db=float(rng.uniform(-2.5, 4.0)),
        drift_db=(float(drift[0]), float(drift[1])),
    )


@lru_cache(maxsize=1)
def speckles() -> Float32:
    """(2, BANK, BANK) of mean 1: Gamma of 4.4 looks with the correlation of the resolution cell."""
    grid, values = gamma_quantiles(LOOKS)
    fields = np.empty((2, BANK, BANK), np.float32)
    for number in range(2):
        white = generator(_SEED, number).standard_normal((BANK, BANK), dtype=np.float32)
        field = _smeared(white)
        fields[number] = np.interp(field / field.std(), grid, values)
        fields[number] /= fields[number].mean()
    return fields


def _smeared(white: Float32) -> Float32:
    """Blurred by the resolution cell; wraps at the edges."""
    down, across = np.fft.fftfreq(BANK)[:, None], np.fft.rfftfreq(BANK)[None, :]
    gain = np.exp(-2.0 * np.pi**2 * ((_WIDTHS[0] * down) ** 2 + (_WIDTHS[1] * across) ** 2))
    return np.fft.irfft2(np.fft.rfft2(white) * gain, s=white.shape).astype(np.float32)


def see(power: Float32, facing: Float32 | None, passed: RadarPass, rng: np.random.Generator) -> Float32:
    """(2, h, w) gamma0 in linear power; ``power`` (2, h, w) is the ground's own, changed in place.

    ``facing``: slope towards the radar (rise over run), or None on flat ground.
    """
    size = power.shape[-1]
    if facing is not None:
        # gamma0 leaves little of terrain; slopes that face the radar still shine.
        power *= np.exp(np.clip(6.0 * facing, -3.0, 4.0) * DB)
    power *= np.exp(np.asarray(passed.drift_db, np.float32) * DB)[:, None, None]
    front = np.exp(np.float32(0.25) * DB * crop(rng, veils(), size))
    for band in range(2):
        power[band] = (_blurred(power[band]) * front + FLOOR * (1.0 if band else 1.4)) * _fresh(rng, size)
    return power


def _fresh(rng: np.random.Generator, size: int) -> Float32:
    """A crop of the bank in one of eight positions."""
    field = crop(rng, speckles()[int(rng.integers(0, 2))], size)
    turn = int(rng.integers(0, 8))
    if turn & 1:
        field = field[::-1]
    if turn & 2:
        field = field[:, ::-1]
    return field.T if turn & 4 else field


def _blurred(power: Float32) -> Float32:
    """Three taps along each axis: the resolution cell."""
    near, centre = np.float32(0.24), np.float32(0.52)
    rows = centre * power
    rows[1:] += near * power[:-1]
    rows[:-1] += near * power[1:]
    rows[0] += near * power[0]
    rows[-1] += near * power[-1]
    both = centre * rows
    both[:, 1:] += near * rows[:, :-1]
    both[:, :-1] += near * rows[:, 1:]
    both[:, 0] += near * rows[:, 0]
    both[:, -1] += near * rows[:, -1]
    return both
