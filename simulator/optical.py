"""A Sentinel-2 pass of the district: 12 bands at native resolution and the scene classification. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np

from registry.models import S2_BANDS
from simulator.frame import MARGIN, SUB, Bytes, Floats, Sun, sun_at
from simulator.noise import block_mean, blur, fractal, gaussian_gain, generator
from simulator.seasons import spectrum_table, texture_strength
from simulator.sky import Coarse, Sky, classify, make_sky, through
from simulator.spectra import BARE, Surface
from simulator.world import State, World

NATIVE = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 10),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20),
    **dict.fromkeys(("B01", "B09"), 60),
}
"""Metres per pixel of each band."""

BOA_OFFSET = -1000
"""Added to a pixel's number before it is divided by 10000, from baseline 04.00 on."""

LEAF_CONTRAST = np.array([-1, -1, -0.8, -1, -0.5, 0.4, 0.5, 0.5, 0.5, 0.5, -0.4, -0.7], np.float32)
"""Which way a greener patch moves each band."""


@dataclass(frozen=True)
class OpticalPass:
    """What the sensor delivers."""

    bands: Mapping[str, np.ndarray[tuple[int, int], np.dtype[np.uint16]]]
    """DN = reflectance x 10000 + 1000 at native resolution; 0 = no data."""
    scl: Bytes
    """Scene classification at 20 m."""
    cloud_percent: float
    """Share of the district that the classification calls cloud."""
    sun: Sun
    sky: Sky


class Camera:
    """Renders passes over one world; keeps what does not change from pass to pass."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.strength = texture_strength(world.ground.crops)

    @cached_property
    def roughness(self) -> Floats:
        """Light and dark of crowns, furrows and stones: the same at every pass."""
        cells, seed = self.world.frame.cells, self.world.seed
        crowns = blur(generator(seed, 30).standard_normal((cells, cells), dtype=np.float32), 0.75)
        stands = fractal(cells, generator(seed, 31), slope=2.3, largest=50)
        return np.asarray(0.80 * crowns / crowns.std() + 0.50 * stands, np.float32)

    @cached_property
    def greenness(self) -> Floats:
        """Patches that are a little greener or drier than their kind."""
        return fractal(self.world.frame.cells, generator(self.world.seed, 32), slope=2.5, largest=110)

    def shoot(self, day: date, platform: str) -> OpticalPass:
        """The pass of ``day``."""
        world = self.world
        sun = sun_at(day, world.frame.latitude)
        state = world.state(day)
        sky = make_sky(day, sun, world.frame, world.seed)
        ground = self._ground(state, day, sun)
        seen = through(self._optics(ground, day, platform), sky)
        rng = generator(world.seed, 33, day.toordinal())
        seen += rng.normal(0.0, 0.0011, seen.shape).astype(np.float32)
        inner = seen[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
        scl = classify(_coarse(inner, sky, state), world.seed, day)
        bands = {name: _numbers(inner[number], NATIVE[name]) for number, name in enumerate(S2_BANDS)}
        cloudy = float(np.isin(scl, (8, 9, 10)).mean()) * 100.0
        return OpticalPass(bands=bands, scl=scl, cloud_percent=cloudy, sun=sun, sky=sky)

    def _ground(self, state: State, day: date, sun: Sun) -> Floats:
        """(12, pixels, pixels) reflectance at 10 m before optics and atmosphere."""
        table = spectrum_table(self.world.ground.crops, day)
        shading = _illumination(state, sun)
        rough = np.exp(self.strength[state.numbers] * self.roughness) * shading
        patch = np.float32(0.35) * self.strength[state.numbers] * self.greenness
        layers = [
            block_mean(table[:, band][state.numbers] * rough * (1.0 + LEAF_CONTRAST[band] * patch), SUB)
            for band in range(len(S2_BANDS))
        ]
        return np.stack(layers)

    def _optics(self, ground: Floats, day: date, platform: str) -> Floats:
        """Blur of the telescope, the pass's shift against the lattice, view angle and platform gain."""
        rng = generator(self.world.seed, 34, day.toordinal())
        east, south = rng.normal(0.0, 0.13, 2)
        size = ground.shape[-1]
        rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
        shift = np.exp(-2j * np.pi * (columns * east + rows * south)).astype(np.complex64)
        gain = gaussian_gain(size, 0.52) * shift
        blurred = np.fft.irfft2(np.fft.rfft2(ground) * gain, s=(size, size)).astype(np.float32)
        view = 1.0 + 0.035 * np.sin(2 * np.pi * (day.timetuple().tm_yday - 20) / 365) + rng.normal(0, 0.012)
        gains = view * (1.0 + rng.normal(0.0, 0.004, len(S2_BANDS)))
        if platform != "sentinel-2a":
            gains *= 0.992
        return np.asarray(blurred * gains.astype(np.float32)[:, None, None], np.float32)


def _illumination(state: State, sun: Sun) -> Floats:
    """cos of the incidence angle against flat ground, softened by skylight and by the correction."""
    east, south = sun.towards
    facing = 1.0 - sun.slope * (state.slope_east * east + state.slope_south * south)
    return np.asarray(np.clip(1.0 + 0.85 * (facing - 1.0), 0.42, 1.45), np.float32)


def _coarse(inner: Floats, sky: Sky, state: State) -> Coarse:
    cut = slice(MARGIN * SUB, -MARGIN * SUB)
    numbers = state.numbers[cut, cut]
    water = (numbers == Surface.RIVER) | (numbers == Surface.POND)
    bare = np.isin(numbers, [int(one) for one in BARE])
    edge = slice(MARGIN, -MARGIN)
    return Coarse(
        red=block_mean(inner[3], 2),
        nir=block_mean(inner[7], 2),
        visible=block_mean(inner[1:4].mean(axis=0), 2),
        cloud=block_mean(sky.cloud[edge, edge], 2),
        shade=block_mean(sky.shade[edge, edge], 2),
        water=block_mean(water.astype(np.float32), 2 * SUB),
        bare=block_mean(bare.astype(np.float32), 2 * SUB),
    )


def _numbers(reflectance: Floats, metres: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    native = block_mean(reflectance, metres // 10)
    numbers = np.clip(np.rint(native * 10_000.0 - BOA_OFFSET), 1, 28_000)
    return np.asarray(numbers, np.uint16)
