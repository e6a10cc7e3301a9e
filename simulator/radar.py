"""A Sentinel-1 pass of the district: terrain-corrected gamma0 in linear power, VV and VH. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np

from simulator.frame import MARGIN, SUB, Floats
from simulator.noise import block_mean, blur, fractal, generator
from simulator.seasons import backscatter_table, wetness
from simulator.spectra import Surface
from simulator.world import State, World

LOOKS = 4.4
"""Equivalent number of looks of GRD products (ESA product specification)."""

NODATA = -32768.0

ROUGH_DB = 1.1
"""Spread in dB from place to place within one surface."""


@dataclass(frozen=True)
class Track:
    """A relative orbit: from where the radar looks."""

    relative_orbit: int
    ascending: bool
    first: int
    """Days from START to its first pass; then every 12."""
    hour: int
    minute: int
    """UTC of its passes."""

    @property
    def looks_east(self) -> bool:
        """Ascending passes look right, to the east; descending ones to the west."""
        return self.ascending


TRACKS = (
    Track(relative_orbit=141, ascending=False, first=2, hour=9, minute=34),
    Track(relative_orbit=32, ascending=True, first=7, hour=22, minute=17),
)


class Radar:
    """Renders passes over one world; keeps what does not change from pass to pass."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.quantiles = gamma_quantiles(LOOKS)

    @cached_property
    def roughness(self) -> Floats:
        """Decibels by which places differ within their kind: the same at every pass."""
        cells = self.world.frame.cells
        field = fractal(cells, generator(self.world.seed, 50), slope=1.6, largest=40)
        return np.asarray(ROUGH_DB * field, np.float32)

    def shoot(self, day: date, track: Track) -> Mapping[str, Floats]:
        """gamma0 (pixels, pixels) of VV and VH, linear power, at 10 m."""
        world = self.world
        rng = generator(world.seed, 51, day.toordinal(), track.relative_orbit)
        state = world.state(day)
        rain = rain_db(rng, day)
        table = backscatter_table(world.ground.crops, day, rain)
        wind = float(rng.uniform(-2.5, 3.5))
        table[[Surface.RIVER, Surface.POND]] += wind
        relief = self._relief(state, track)
        front = fractal(world.frame.cells, rng, slope=3.6, largest=400.0) * np.float32(0.25 * rain)
        bands = {}
        for column, band in enumerate(("VV", "VH")):
            decibels = table[:, column][state.numbers] + self.roughness + relief + front
            clean = block_mean(np.power(np.float32(10.0), decibels * np.float32(0.1)), SUB)
            bands[band] = self._finish(clean, rng)
        return bands

    def _relief(self, state: State, track: Track) -> Floats:
        """What terrain correction leaves of slopes that face the radar, in dB; walls shine more."""
        towards = -1.0 if track.looks_east else 1.0
        facing = -towards * state.slope_east
        return np.asarray(np.clip(6.0 * facing, -2.5, 3.5), np.float32)

    def _finish(self, clean: Floats, rng: np.random.Generator) -> Floats:
        """Resolution of 20 x 22 m, speckle with that correlation, and few enough digits to pack well."""
        size = clean.shape[0]
        speckle = self._speckle(rng, size)
        seen = blur(clean, 0.6) * speckle + np.float32(2.5e-4)
        return _rounded(seen[MARGIN:-MARGIN, MARGIN:-MARGIN])

    def _speckle(self, rng: np.random.Generator, size: int) -> Floats:
        field = blur(rng.standard_normal((size, size), dtype=np.float32), 0.72)
        grid, values = self.quantiles
        return np.asarray(np.interp(field / field.std(), grid, values), np.float32)


def rain_db(rng: np.random.Generator, day: date) -> float:
    """Decibels that wet ground adds on this pass: mostly nothing, in the rains often a shower before."""
    if rng.random() < 0.08 + 0.45 * wetness(day):
        return float(rng.uniform(0.3, 1.1))
    return 0.0


def gamma_quantiles(looks: float) -> tuple[np.ndarray, np.ndarray]:
    """(normal deviates, Gamma values of mean 1 and shape ``looks``) of equal probability."""
    values = np.linspace(1e-6, 8.0, 40_000)
    density = np.exp((looks - 1.0) * np.log(values) - looks * values)
    chance = np.cumsum(density) / density.sum()
    grid = np.linspace(-4.5, 4.5, 400)
    normal = np.array([0.5 * (1.0 + math.erf(z / math.sqrt(2.0))) for z in grid])
    return grid, np.interp(normal, chance, values)


def _rounded(power: Floats) -> Floats:
    """Keep 11 bits of the mantissa (0.05 %): far below speckle, and files half the size."""
    bits = np.ascontiguousarray(power, np.float32).view(np.uint32)
    kept = (bits + np.uint32(1 << 11)) & np.uint32(0xFFFFF000)
    return kept.view(np.float32)
