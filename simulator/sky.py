"""Clouds, their shadows, haze, and the scene classification that half understands them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

import numpy as np

from simulator.frame import MARGIN, Bools, Bytes, Floats, Frame, Sun
from simulator.noise import blur, fractal, generator, smoothstep
from simulator.seasons import wetness

CANVAS = 640
"""Pixels of sky along one side: the district, and room for clouds outside whose shadows fall inside."""

HAZE_COLOUR = np.array([1.35, 1.16, 0.92, 0.72, 0.64, 0.58, 0.53, 0.47, 0.44, 0.38, 0.16, 0.10], np.float32)
"""Additive path radiance by band, about wavelength^-1.3, against 1 at 0.54 um."""

CLOUD_COLOUR = np.array([1.0, 1.0, 0.99, 1.0, 1.01, 1.02, 1.03, 1.04, 1.04, 0.72, 0.80, 0.66], np.float32)
"""Brightness of a thick cloud by band: water vapour at 0.945 um and droplets in the SWIR absorb."""


@dataclass(frozen=True)
class Sky:
    """What stands between the ground and the sensor on one pass; all arrays (pixels, pixels) at 10 m."""

    cloud: Floats
    """Opacity 0 to 1."""
    bright: Floats
    """Reflectance of the cloud itself."""
    shade: Floats
    """Share of direct sunlight that clouds take, 0 to 1."""
    haze: Floats
    """Path radiance left after atmospheric correction, in reflectance at 0.54 um; may be negative."""
    offset: tuple[float, float]
    """Shadow minus cloud in metres (east, south)."""

    @property
    def cover(self) -> float:
        """Share of the district under cloud that hides the ground."""
        inner = self.cloud[MARGIN:-MARGIN, MARGIN:-MARGIN]
        return float((inner > 0.25).mean())


def make_sky(day: date, sun: Sun, frame: Frame, seed: int) -> Sky:
    """The sky of one pass: rains bring broken and closed cloud, the dry season smoke and clear days."""
    rng = generator(seed, 40, day.toordinal())
    size = frame.size + 2 * MARGIN
    season = wetness(day)
    if rng.random() < 0.16 + 0.40 * season:
        cover = float(np.clip(rng.beta(1.1 + 1.3 * season, 1.7), 0.02, 1.0))
    else:
        cover = float(rng.beta(0.35, 9.0))
    field = _cloud_field(rng)
    threshold = float(np.quantile(field, 1.0 - cover)) if cover < 0.985 else -9.0
    opacity = _opacity(field - threshold, float(rng.uniform(2.0, 6.0))) if cover > 0.012 else 0.0 * field
    height = rng.uniform(650.0, 1500.0)
    east, south = (-height * sun.slope * part for part in sun.towards)
    start = (CANVAS - size) // 2
    window = (slice(start, start + size), slice(start, start + size))
    fallen = np.roll(opacity, (round(south / 10), round(east / 10)), axis=(0, 1))
    texture = 0.34 + 0.30 * opacity + 0.13 * blur(field, 1.0) - 0.10 * blur(fallen, 2.0)
    return Sky(
        cloud=opacity[window] * np.float32(0.97),
        bright=np.clip(texture[window], 0.24, 1.0).astype(np.float32),
        shade=np.asarray(0.82 * blur(fallen, 1.0)[window], np.float32),
        haze=_haze(rng, size, day),
        offset=(east, south),
    )


def _opacity(depth: Floats, density: float) -> Floats:
    """Thin at the edge, soon dense; a faint veil around, as the product's blur and mist leave it."""
    deep = np.maximum(depth, 0.0)
    core = blur((1.0 - np.exp(-density * deep**1.35)).astype(np.float32), 0.9)
    return np.asarray(np.clip(core + 0.05 * blur(core, 7.0), 0.0, 1.0), np.float32)


def _cloud_field(rng: np.random.Generator) -> Floats:
    """Cumulus: large groups with billowing edges."""
    groups = fractal(CANVAS, rng, slope=3.5 + 0.9 * rng.random(), largest=float(rng.uniform(50, 240)))
    billows = np.abs(fractal(CANVAS, rng, slope=3.1, largest=26.0))
    return np.asarray(groups + 0.30 * (1.0 - billows), np.float32)


def _haze(rng: np.random.Generator, size: int, day: date) -> Floats:
    """An even error of the aerosol correction; on some days thin cloud or smoke in veils."""
    smoke = math.exp(-(((day.timetuple().tm_yday - 250) / 32.0) ** 2))
    even = rng.normal(0.001, 0.004) + 0.012 * smoke * rng.random()
    veil = 0.0
    if rng.random() < 0.22 + 0.3 * smoke:
        veil = float(rng.uniform(0.006, 0.035))
    patches = fractal(CANVAS, rng, slope=3.4, largest=200.0)[:size, :size]
    return np.asarray(even + veil * smoothstep(patches, -0.4, 1.6), np.float32)


def through(ground: Floats, sky: Sky) -> Floats:
    """(12, pixels, pixels) reflectance as the corrected product shows it: haze, shade, cloud over ground."""
    # Shade takes the direct beam; skylight, bluer, still lights the ground.
    skylight = np.array([0.36, 0.32, 0.25, 0.20, 0.18, 0.17, 0.16, 0.15, 0.14, 0.13, 0.08, 0.06], np.float32)
    lit = 1.0 - sky.shade[None] * (1.0 - skylight[:, None, None])
    seen = ground * lit + sky.haze[None] * HAZE_COLOUR[:, None, None]
    white = sky.bright[None] * CLOUD_COLOUR[:, None, None]
    return np.asarray(seen * (1.0 - sky.cloud[None]) + white * sky.cloud[None], np.float32)


@dataclass(frozen=True)
class Coarse:
    """What the scene classification works from, at 20 m."""

    red: Floats
    nir: Floats
    visible: Floats
    cloud: Floats
    shade: Floats
    water: Floats
    """Share of the cell that is water."""
    bare: Floats
    """Share of the cell that is bright bare ground."""


def classify(coarse: Coarse, seed: int, day: date) -> Bytes:
    """Sentinel-2's scene classification with its habits: misses thin cloud, edges and half of the
    shadows; calls bright bare ground cloud now and then; takes dark slopes for shadow."""
    rng = generator(seed, 41, day.toordinal())
    size = coarse.red.shape[0]
    doubt = fractal(size, rng, slope=1.4, largest=30)
    mood = fractal(size, rng, slope=2.6, largest=50)
    cloud = coarse.cloud + 0.06 * doubt
    ndvi = (coarse.nir - coarse.red) / np.maximum(coarse.nir + coarse.red, 0.01)
    found = np.where(ndvi > 0.42, 4, 5).astype(np.uint8)
    found[(coarse.visible < 0.035) & (coarse.nir < 0.12)] = 2
    found[(coarse.water > 0.5) & (ndvi < 0.25)] = 6
    found[(ndvi > 0.30) & (ndvi < 0.42) & (doubt > 1.5)] = 7
    _put_cloud(found, cloud, coarse, mood, doubt)
    return found


def _put_cloud(found: Bytes, cloud: Floats, coarse: Coarse, mood: Floats, doubt: Floats) -> None:
    shadow: Bools = coarse.shade + 0.08 * doubt > 0.40
    found[shadow & (found != 6)] = 3
    found[(coarse.shade > 0.25) & ~shadow & (doubt > 0.8)] = 2
    # Bright bare ground is taken for cloud where the algorithm's mood and the brightness meet.
    mistaken = (coarse.bare > 0.6) & (coarse.visible > 0.15) & (mood > 1.15)
    found[mistaken] = 8
    found[(cloud > 0.10) & (mood > 0.55)] = 10
    found[(cloud > 0.20) & (cloud <= 0.30) & (mood <= 0.55)] = 7
    found[cloud > 0.30] = 8
    found[cloud > 0.62] = 9
