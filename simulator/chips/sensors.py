"""A painted ground on a day -> what Sentinel-2 and Sentinel-1 deliver of it, with its labels. Pure.

The main path is ``take``: paint, light, air, optics, radar, labels.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np

from registry.chips import UNKNOWN, Bits, Chip
from registry.models import S2_BANDS
from simulator.chips.air import Air, Sun, crop, draw_air, through_air
from simulator.chips.climate import Place, draw_day, place_of, season_of, sun_of
from simulator.chips.labels import paint_labels, window_of
from simulator.chips.layers import Ground, Layer
from simulator.chips.optics import Lattice, through_optics
from simulator.chips.palette import Float32
from simulator.chips.recipe import Recipe
from simulator.chips.speckle import RadarPass, draw_pass, see
from simulator.chips.spectra import KINDS, Season, look
from simulator.chips.texture import BANK, DB, TEXTURES, bank, grains, matrix_of

_PLACE, _LOOK = 101, 103
"""Streams of random numbers: what stays at a place, what is of one look."""

_NOISE = np.float32(0.0011)
"""The detectors' own noise in reflectance."""


@dataclass(frozen=True)
class Shot:
    """One look at a place, and how it came about."""

    chip: Chip
    air: Air
    sun: Sun
    radar: RadarPass
    baseline: str
    native: Mapping[str, Float32] = field(default_factory=dict)
    """Sentinel-2 bands on their own grids, if asked for."""


def shoot(
    ground: Ground, *, seed: int, index: int, look: int, recipe: Recipe, day: int = 0, name: str = ""
) -> Chip:
    """The chip of one look; the same arguments give the same bytes. ``day`` 0 = drawn."""
    return take(ground, seed=seed, index=index, look=look, recipe=recipe, day=day, name=name).chip


def take(
    ground: Ground,
    *,
    seed: int,
    index: int,
    look: int,
    recipe: Recipe,
    day: int = 0,
    name: str = "",
    clear: bool = False,
    keep_native: bool = False,
) -> Shot:
    """One look at ``ground``: ``look`` numbers the looks at a place, ``day`` is of the year.

    ``clear`` draws only skies that a clear history would keep.
    """
    place = place_at(ground, seed, index)
    rng = np.random.default_rng([seed, index, _LOOK, look])
    day = day or draw_day(rng, ground.climate)
    harsh = str(rng.choice(recipe.atmospheres)) == "harsh"
    season = season_of(rng, place, day, spectra_at(seed, index, recipe))
    sun = sun_of(place, day)
    air = draw_air(rng, ground.size, sun, harsh=harsh, clear=clear)
    radar = draw_pass(rng, harsh=harsh)

    light = paint(ground, place, season, sun, radar, seed=seed, index=index)
    east, south = slopes(ground)
    seen = light[:12] * _gains(rng, harsh)
    if east is not None and south is not None:
        level = open_water(ground)
        east, south = east * (1.0 - level), south * (1.0 - level)
        seen *= illumination(east, south, sun)
    seen = through_air(seen, air)
    baseline = "02.14" if rng.random() < 0.3 else "05.09"
    optical, native = through_optics(
        seen, _lattice(rng, place), _noise(rng, ground.size), baseline=baseline, keep_native=keep_native
    )
    facing = None if east is None else (east if radar.looks_east else -east)
    pixels = np.concatenate([optical, see(light[12:], facing, radar, rng)])
    labels = _hide(paint_labels(ground), air)
    _cut_edges(pixels, labels, rng)
    chip = Chip(
        name=name or f"sim-{seed}-{index}",
        pixels=pixels,
        labels=labels,
        place=f"sim-{seed}-{index}",
        acquired=(date(2022, 1, 1) + timedelta(days=day - 1)).isoformat(),
        facts={
            **ground.facts,
            "climate": ground.climate,
            "sky": air.kind,
            "atmosphere": "harsh" if harsh else "usual",
            "spectra": season.spectra,
            "partner_lag_days": str(radar.lag_days),
        },
    )
    return Shot(chip, air, sun, radar, baseline, native)


def place_at(ground: Ground, seed: int, index: int) -> Place:
    """What is drawn once per (seed, index)."""
    return place_of(np.random.default_rng([seed, index, _PLACE]), ground.climate, BANK - ground.size)


def spectra_at(seed: int, index: int, recipe: Recipe) -> str:
    """A place keeps its half of the measured spectra."""
    return str(np.random.default_rng([seed, index, _PLACE, 1]).choice(recipe.spectra))


def paint(
    ground: Ground,
    place: Place,
    season: Season,
    sun: Sun,
    radar: RadarPass,
    *,
    seed: int,
    index: int,
) -> Float32:
    """(14, size, size) reflectance and gamma0 of the ground itself, each layer over those before it.

    From the top layer down, so that what is covered is never worked out.
    """
    size = ground.size
    canvas = np.zeros((size * size, 14), np.float32)
    free = np.ones(size * size, np.float32)
    row, column = place.texture
    fields = np.ascontiguousarray(bank()[row : row + size, column : column + size]).reshape(size * size, -1)
    shadow = min(max(0.75 + 0.35 / math.tan(math.radians(sun.elevation)), 0.85), 1.7)
    for layer in reversed(ground.layers):
        seen = _visible(layer, free, size)
        if seen.at.size == 0:
            continue
        kind = KINDS[layer.material]
        base = look(layer.material, layer.variant, layer.age, season) + _draw(layer, seed, index)
        if kind.radar.smooth:
            base[12:] += np.float32(radar.wind_db) * DB
        matrix = matrix_of(kind.texture) * np.float32(layer.grain)
        if kind.texture in ("canopy", "stands"):
            # Crowns throw longer shadows under a low sun.
            matrix[0, :12] *= np.float32(shadow)
        new = _coloured(np.take(fields, seen.at, axis=0), base, matrix)
        if isinstance(seen.shade, np.ndarray) or seen.shade != 1.0:
            new[:, :12] *= seen.shade
        new *= seen.share[:, None]
        new += np.take(canvas, seen.at, axis=0)
        canvas[seen.at] = new
        free[seen.at] -= seen.share
    return np.ascontiguousarray(canvas.T).reshape(14, size, size)


@dataclass(frozen=True)
class _Visible:
    """The pixels of one layer that no later layer hides."""

    at: np.ndarray[tuple[int], np.dtype[np.intp]]
    """Flat index in the ground."""
    share: Float32
    """(pixels,) of each that shows this layer."""
    shade: Float32 | float
    """(pixels, 1) or one number."""


def _visible(layer: Layer, free: Float32, size: int) -> _Visible:
    inside = np.flatnonzero(layer.cover > 1e-3)
    width = layer.cover.shape[1]
    at = inside + (inside // width) * (size - width) + (layer.top * size + layer.left)
    share = layer.cover.ravel()[inside] * free[at]
    shows = share > 1e-3
    if not shows.all():
        inside, at, share = inside[shows], at[shows], share[shows]
    shade = layer.shade
    return _Visible(at, share, np.ravel(shade)[inside][:, None] if isinstance(shade, np.ndarray) else shade)


def _coloured(noise: Float32, base: Float32, matrix: Float32) -> Float32:
    """(pixels, 14): the look of a layer with its texture."""
    found = noise @ matrix
    found += base
    return np.asarray(np.exp(found, out=found), np.float32)


def _draw(layer: Layer, seed: int, index: int) -> Float32:
    """(14,) what makes one object differ from its kind; the same at every look at the place."""
    key = zlib.crc32(f"{seed}:{index}:{layer.material.value}:{layer.variant:.4f}".encode())
    # A stretch of the bank of white noise is a far cheaper die than a generator of its own.
    start = key % (BANK * BANK - 32)
    normal = grains().ravel()[start : start + 17]
    texture = KINDS[layer.material].texture
    matrix = matrix_of(texture)
    found = np.float32(0.75) * normal[0] * matrix[2] + np.float32(0.9) * normal[1] * matrix[4]
    found[:12] += np.float32(0.012) * normal[3:15]
    found[12:] = np.float32(TEXTURES[texture].apart) * (normal[2] + np.float32(0.4) * normal[15:17]) * DB
    return np.asarray(found, np.float32)


def slopes(ground: Ground) -> tuple[Float32 | None, Float32 | None]:
    """Rise over run to the east and to the south; None on flat ground."""
    if ground.relief.size == 0:
        return None, None
    south, east = np.gradient(ground.relief, 10.0)
    return np.asarray(east, np.float32), np.asarray(south, np.float32)


def open_water(ground: Ground) -> Float32:
    """(size, size) share of each pixel under open water, which lies level whatever the relief says."""
    level = np.zeros((ground.size, ground.size), np.float32)
    for layer in ground.layers:
        wet = np.float32(KINDS[layer.material].radar.smooth)
        window = level[window_of(layer)]
        window += layer.cover * (wet - window)
    return level


def illumination(east: Float32, south: Float32, sun: Sun) -> Float32:
    """Light on slopes against flat ground: the sun's part by the angle, the sky's part even."""
    angle = math.radians(sun.azimuth)
    along = east * np.float32(math.sin(angle)) - south * np.float32(math.cos(angle))
    facing = -along / np.float32(math.tan(math.radians(sun.elevation)))
    return np.asarray(np.clip(1.0 + 0.8 * facing, 0.35, 1.6), np.float32)


def _gains(rng: np.random.Generator, harsh: bool) -> Float32:
    """(12, 1, 1) view and sun angle, calibration: what differs from pass to pass over the same ground."""
    common = 1.0 + rng.normal(0.0, 0.06 if harsh else 0.022)
    tilt = rng.normal(0.0, 0.03 if harsh else 0.008) * np.linspace(-1.0, 1.0, 12)
    own = rng.normal(0.0, 0.02 if harsh else 0.005, 12)
    return np.asarray(common * (1.0 + tilt + own), np.float32)[:, None, None]


def _lattice(rng: np.random.Generator, place: Place) -> Lattice:
    """5 m CE95 between passes is .20 pixels along each axis."""
    south, east = rng.normal(0.0, 0.20, 2)
    return Lattice(place.lattice[0], place.lattice[1], float(south), float(east))


def _noise(rng: np.random.Generator, size: int) -> Float32:
    return np.stack([_NOISE * crop(rng, grains(), size) for _ in S2_BANDS])


def _hide(labels: Bits, air: Air) -> Bits:
    hidden = air.hidden
    if hidden is not None:
        labels[hidden] |= np.uint16(UNKNOWN)
    return labels


def _cut_edges(pixels: Float32, labels: Bits, rng: np.random.Generator) -> None:
    """Now and then the swath of one sensor ends inside the chip."""
    chance = rng.random()
    if chance > 0.045:
        return
    size = labels.shape[0]
    angle, depth = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(0.05, 0.45) * size
    rows, columns = np.mgrid[:size, :size].astype(np.float32) - np.float32(size / 2)
    beyond = rows * math.sin(angle) + columns * math.cos(angle) > size / 2 - depth
    if chance < 0.02:
        pixels[:12, beyond] = np.nan
        labels[beyond] |= np.uint16(UNKNOWN)
    else:
        pixels[12:, beyond] = np.nan
