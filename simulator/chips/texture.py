"""How reflectance and backscatter vary within one material: measured directions and strengths. Pure.

Directions are principal components of ln(reflectance) within a land-cover class of the TerraMesh validation
tiles (CC-BY-SA 4.0), between 3 and 15 pixels ("medium", about 30 to 150 m) and above ("coarse"). Bands at
60 m lose that detail in the sensor, so B01 takes B02's row and B09 takes B8A's. ``fine`` is what lies below
3 pixels against medium, measured in the four 10 m bands and raised by what their optics take away.
Backscatter: spread of the local mean in dB, less what speckle leaves in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from simulator.chips.palette import Float32
from simulator.noise import blur, fractal, generator

BANK = 1024
"""Cells along one side of the bank of random fields."""
FIELDS = 6
"""Fine, medium and coarse, twice: once for each of two directions."""
DB = np.float32(np.log(10.0) / 10.0)
"""Natural logarithm per dB."""

_SEED = 20260101


@dataclass(frozen=True)
class Texture:
    """One kind of roughness."""

    first: tuple[float, ...]
    """(12,) one standard deviation of ln(reflectance) along the strongest direction at medium scale."""
    second: tuple[float, ...]
    """(12,) the next: greener or wetter."""
    fine: tuple[float, float]
    """Fine against medium, for each direction."""
    coarse: tuple[float, float]
    """Coarse against medium."""
    radar: tuple[float, float, float]
    """dB of the local mean at fine, medium and coarse scale."""
    apart: float = 0.6
    """dB by which objects of the kind differ: a field's crop and furrows."""
    broad: tuple[float, ...] = ()
    """(12,) the strongest direction at coarse scale, where not ``first``: moist or dry, old or young."""

    def matrix(self) -> Float32:
        """(FIELDS, 14): what each field of the bank adds to ln(reflectance) and ln(gamma0)."""
        first, second = np.array(self.first), np.array(self.second)
        found = np.zeros((FIELDS, 14))
        broad = np.array(self.broad) if self.broad else first
        for row, (one, two) in enumerate(zip(*self._strengths(), strict=True)):
            found[row, :12] = one * (broad if row == 2 else first)
            found[3 + row, :12] = two * second
            # VV and VH rise and fall together (measured correlation .45 to .9 of the local means).
            found[row, 12:] = self.radar[row] * DB * np.array([0.9, 0.9])
            found[3 + row, 12:] = self.radar[row] * DB * np.array([0.35, -0.3])
        return np.asarray(found, np.float32)

    def _strengths(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        return (self.fine[0], 1.0, self.coarse[0]), (self.fine[1], 1.0, self.coarse[1])


TEXTURES: Mapping[str, Texture] = {
    # [Brazil trees] closed canopy.
    "canopy": Texture(
        (0.050, 0.055, 0.046, 0.068, 0.042, 0.021, 0.019, 0.020, 0.018, 0.018, 0.034, 0.052),
        (-0.006, -0.008, 0.018, -0.030, 0.015, 0.050, 0.053, 0.061, 0.050, 0.050, 0.005, -0.014),
        (1.35, 1.0),
        (1.0, 0.7),
        (0.2, 0.3, 0.35),
        broad=(0.075, 0.079, 0.058, 0.140, 0.064, -0.033, -0.044, -0.040, -0.037, -0.038, 0.067, 0.120),
    ),
    # [Chile, Denmark trees] stands of different height, edges, shade.
    "stands": Texture(
        (0.090, 0.100, 0.113, 0.117, 0.102, 0.082, 0.080, 0.094, 0.080, 0.078, 0.068, 0.066),
        (-0.050, -0.060, -0.032, -0.080, 0.012, 0.062, 0.070, 0.065, 0.069, 0.065, 0.008, -0.018),
        (1.0, 0.8),
        (0.9, 0.9),
        (0.3, 0.5, 0.6),
        broad=(0.100, 0.100, 0.105, 0.128, 0.092, 0.010, -0.008, -0.010, -0.008, -0.012, 0.073, 0.066),
    ),
    # [Tanzania rangeland and crops] grass, shrubs, bare patches.
    "range": Texture(
        (0.140, 0.148, 0.129, 0.143, 0.094, 0.055, 0.047, 0.048, 0.039, 0.039, 0.060, 0.079),
        (-0.012, -0.017, 0.001, -0.019, 0.010, 0.038, 0.040, 0.044, 0.038, 0.038, -0.014, -0.032),
        (0.85, 0.7),
        (1.0, 0.8),
        (0.4, 0.9, 1.1),
    ),
    # [Denmark rangeland and crops] leaf cover within a field.
    "field": Texture(
        (0.080, 0.095, 0.075, 0.077, 0.065, 0.068, 0.066, 0.068, 0.060, 0.060, 0.050, 0.052),
        (-0.080, -0.090, -0.010, -0.080, 0.010, 0.050, 0.052, 0.045, 0.043, 0.043, 0.010, -0.010),
        (0.75, 0.6),
        (0.8, 0.9),
        (0.2, 0.6, 0.9),
        1.6,
    ),
    # [Tanzania, Brazil bare] soil, sand: brightness, then moisture.
    "bare": Texture(
        (0.125, 0.120, 0.110, 0.105, 0.098, 0.092, 0.088, 0.085, 0.082, 0.080, 0.088, 0.105),
        (0.012, 0.010, 0.004, -0.004, -0.006, -0.004, 0.000, 0.004, 0.006, 0.010, 0.040, 0.052),
        (0.60, 0.6),
        (1.0, 1.0),
        (0.3, 0.6, 1.0),
        1.2,
    ),
    # Tipped and blasted ground [K], between bare and built: heaps, blocks, tracks.
    "broken": Texture(
        (0.150, 0.152, 0.150, 0.150, 0.146, 0.142, 0.140, 0.140, 0.136, 0.134, 0.138, 0.146),
        (0.030, 0.028, 0.012, -0.014, -0.016, -0.012, -0.006, 0.002, 0.010, 0.016, 0.046, 0.060),
        (0.85, 0.7),
        (0.8, 1.0),
        (0.6, 0.8, 0.8),
    ),
    # [Chile built] roofs, yards, trees.
    "built": Texture(
        (0.220, 0.234, 0.243, 0.287, 0.134, 0.060, 0.050, 0.051, 0.045, 0.045, 0.085, 0.107),
        (-0.030, -0.049, -0.027, -0.049, 0.077, 0.072, 0.073, 0.058, 0.071, 0.071, 0.053, 0.051),
        (1.3, 0.8),
        (0.6, 0.6),
        (1.6, 1.2, 0.6),
    ),
    # Paved and roofed: even [K].
    "plain": Texture(
        (0.060, 0.060, 0.060, 0.060, 0.060, 0.058, 0.058, 0.058, 0.056, 0.056, 0.058, 0.062),
        (0.020, 0.018, 0.010, -0.008, -0.008, -0.008, -0.006, -0.004, -0.002, 0.002, 0.020, 0.030),
        (0.9, 0.7),
        (0.7, 0.7),
        (0.5, 0.5, 0.4),
    ),
    # [Brazil water] plumes and streaks; near infrared follows little.
    "water": Texture(
        (0.045, 0.050, 0.055, 0.075, 0.080, 0.085, 0.085, 0.090, 0.085, 0.060, 0.050, 0.050),
        (-0.030, -0.030, -0.010, 0.020, 0.020, 0.030, 0.030, 0.035, 0.030, 0.030, 0.040, 0.040),
        (0.25, 0.3),
        (1.3, 1.0),
        (0.2, 0.4, 0.7),
    ),
    # [Canada snow].
    "snow": Texture(
        (0.060, 0.060, 0.064, 0.068, 0.066, 0.064, 0.062, 0.062, 0.062, 0.060, 0.090, 0.090),
        (0.020, 0.020, 0.022, 0.024, 0.010, 0.006, 0.004, 0.006, 0.002, 0.000, -0.050, -0.050),
        (0.5, 0.5),
        (1.5, 1.0),
        (0.3, 0.5, 1.0),
    ),
}


@lru_cache(maxsize=len(TEXTURES))
def matrix_of(kind: str) -> Float32:
    """Texture.matrix of a key of TEXTURES; not to be changed in place."""
    return TEXTURES[kind].matrix()


@lru_cache(maxsize=1)
def bank() -> Float32:
    """(BANK, BANK, FIELDS) random fields of mean 0 and spread 1; every chip takes its own crop."""
    fields = np.empty((BANK, BANK, FIELDS), np.float32)
    for direction in range(2):
        fields[..., 3 * direction] = _fine(direction)
        fields[..., 3 * direction + 1] = _medium(direction)
        fields[..., 3 * direction + 2] = fractal(
            BANK, generator(_SEED, 3, direction), slope=3.2, largest=60.0
        )
    return fields


def _fine(direction: int) -> Float32:
    """Nearly white, with the darker tail of shade between crowns and stones."""
    field = generator(_SEED, 1, direction).standard_normal((BANK, BANK), dtype=np.float32)
    if direction == 0:
        field -= np.float32(0.22) * (field * field - np.float32(1.0))
    return np.asarray(field / field.std(), np.float32)


def _medium(direction: int) -> Float32:
    """Clumps of 20 to 100 m."""
    rng = generator(_SEED, 2, direction)
    clumps = blur(rng.standard_normal((BANK, BANK), dtype=np.float32), 1.2)
    groups = fractal(BANK, rng, slope=2.6, largest=12.0)
    mixed = 0.7 * clumps / clumps.std() + 0.7 * groups
    return np.asarray(mixed / mixed.std(), np.float32)


@lru_cache(maxsize=1)
def grains() -> Float32:
    """(BANK, BANK) white noise of spread 1: what the detectors add."""
    return generator(_SEED, 4).standard_normal((BANK, BANK), dtype=np.float32)


@lru_cache(maxsize=1)
def veils() -> Float32:
    """(BANK, BANK) smooth fields of spread 1: haze, smoke, the edges of fronts."""
    return fractal(BANK, generator(_SEED, 5), slope=3.6, largest=220.0)


@lru_cache(maxsize=1)
def billows() -> Float32:
    """(BANK, BANK) fields of spread 1 with the outline of cumulus."""
    groups = fractal(BANK, generator(_SEED, 6), slope=3.8, largest=140.0)
    puffs = np.abs(fractal(BANK, generator(_SEED, 7), slope=3.1, largest=26.0))
    field = groups + np.float32(0.30) * (1.0 - puffs)
    return np.asarray((field - field.mean()) / field.std(), np.float32)
