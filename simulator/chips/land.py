"""The land before anyone digs: woods, grass, fields in their seasons, waters, towns and roads by climate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from simulator.chips.canvas import FOREST, Canvas, Purpose, dice
from simulator.chips.layers import Float32, Material
from simulator.chips.shapes import (
    FAR,
    above,
    box,
    cell_number,
    cover,
    line_distance,
    noise,
    turned,
    window_around,
    wrapped,
)
from simulator.chips.spots import crossing

WOODS = frozenset(
    {
        Material.FOREST_EVERGREEN,
        Material.FOREST_DECIDUOUS,
        Material.FOREST_NEEDLE,
        Material.MANGROVE,
        Material.PLANTATION,
    }
)
"""Tree cover."""


@dataclass(frozen=True)
class Patch:
    """A kind of land that lies in patches over the base."""

    material: Material
    share: float
    """Of the land, on average."""
    largest: int = 128
    """Pixels across the largest patches: 64, 128 or 256."""
    soft: float = 0.12
    """Width of its edges in units of the field: .1 sharp, 1 a slow passage."""


@dataclass(frozen=True)
class Land:
    """What a climate's land is made of."""

    base: Material
    patches: tuple[Patch, ...]
    gallery: Material
    """Trees along streams."""
    fields: float
    """Chance that a chip holds farmland."""
    river: float
    """Chance of a river."""
    lake: float
    """Chance of a lake."""
    relief: float
    """Spread of heights in metres."""


M = Material
LANDS: Mapping[str, Land] = {
    "humid_tropics": Land(
        M.FOREST_EVERGREEN,
        (Patch(M.WETLAND, 0.04, 64), Patch(M.GRASS, 0.22), Patch(M.SECONDARY, 0.1, 64),
         Patch(M.SHRUB, 0.04, 64), Patch(M.PLANTATION, 0.05)),
        M.FOREST_EVERGREEN, 0.35, 0.45, 0.1, 25.0,
    ),
    "seasonal_tropics": Land(
        M.SAVANNA,
        (Patch(M.FOREST_DECIDUOUS, 0.34), Patch(M.GRASS, 0.2), Patch(M.SHRUB, 0.15, 64, 0.5),
         Patch(M.FOREST_EVERGREEN, 0.1, 64), Patch(M.SOIL, 0.03, 64)),
        M.FOREST_EVERGREEN, 0.5, 0.35, 0.12, 25.0,
    ),
    "dry_savanna": Land(
        M.SAVANNA,
        (Patch(M.GRASS, 0.3, 128, 0.6), Patch(M.SHRUB, 0.25, 64, 0.5), Patch(M.SOIL, 0.12, 64, 0.4),
         Patch(M.FOREST_DECIDUOUS, 0.22), Patch(M.ROCK, 0.02, 64)),
        M.FOREST_DECIDUOUS, 0.45, 0.25, 0.1, 15.0,
    ),
    "desert": Land(
        M.SOIL,
        (Patch(M.SAND, 0.3, 256, 0.3), Patch(M.SCREE, 0.16), Patch(M.ROCK, 0.18),
         Patch(M.SHRUB, 0.08, 64, 1.2), Patch(M.SALT, 0.02, 64)),
        M.SHRUB, 0.15, 0.15, 0.03, 40.0,
    ),
    "mediterranean": Land(
        M.SHRUB,
        (Patch(M.GRASS, 0.25, 128, 0.3), Patch(M.FOREST_NEEDLE, 0.18), Patch(M.FOREST_EVERGREEN, 0.14, 64),
         Patch(M.PLANTATION, 0.06, 64), Patch(M.SOIL, 0.06, 64), Patch(M.ROCK, 0.04, 64)),
        M.FOREST_DECIDUOUS, 0.6, 0.25, 0.1, 45.0,
    ),
    "temperate": Land(
        M.GRASS,
        (Patch(M.FOREST_DECIDUOUS, 0.34), Patch(M.FOREST_NEEDLE, 0.2), Patch(M.SHRUB, 0.06, 64)),
        M.FOREST_DECIDUOUS, 0.75, 0.35, 0.12, 30.0,
    ),
    "boreal": Land(
        M.FOREST_NEEDLE,
        (Patch(M.FOREST_DECIDUOUS, 0.16), Patch(M.WETLAND, 0.16, 128, 0.3), Patch(M.SHRUB, 0.1, 64, 0.4),
         Patch(M.GRASS, 0.08, 64), Patch(M.ROCK, 0.03, 64)),
        M.FOREST_DECIDUOUS, 0.2, 0.35, 0.35, 20.0,
    ),
}  # fmt: skip

GUESTS = (
    M.FOREST_EVERGREEN, M.FOREST_DECIDUOUS, M.FOREST_NEEDLE, M.PLANTATION,
    M.SHRUB, M.SAVANNA, M.GRASS, M.WETLAND,
)  # fmt: skip
"""What may join the mosaic of a climate."""


@dataclass(frozen=True)
class Place:
    """Where and when land is painted."""

    seed: int
    index: int
    climate: str
    years: float
    day: int

    def rng(self, purpose: Purpose, number: int = 0) -> np.random.Generator:
        """Dice of one of its features."""
        return dice(self.seed, self.index, purpose, number)

    @property
    def land(self) -> Land:
        """What its climate is made of."""
        return LANDS[self.climate]

    def wetness(self) -> float:
        """Stage of rivers and lakes, 0 low to 1 flood: a season of its own phase, and wet and dry years."""
        rng = self.rng(Purpose.WATER, 9)
        phase, strength = float(rng.uniform()), float(rng.uniform(0.15, 0.45))
        wet_years = rng.uniform(-0.35, 0.35, 16)
        season = math.cos(2 * math.pi * (self.day / 365.0 - phase))
        return float(np.clip(0.45 + strength * season + wet_years[int(max(self.years, 0.0)) % 16], 0.0, 1.0))


def forest_label(material: Material) -> int:
    """The bit of tree cover, where it is some."""
    return FOREST if material in WOODS else 0


def draw_relief(place: Place, size: int) -> Float32:
    """(size, size) heights in metres."""
    rng = place.rng(Purpose.RELIEF)
    height = place.land.relief * float(rng.uniform(0.2, 1.8))
    return (np.float32(height) * noise(rng, size, 256, slope=3.9)).astype(np.float32)


def paint_base(canvas: Canvas, place: Place, *, guests: float = 0.0) -> None:
    """The mosaic of what grows; on some chips there is much more of one kind than on others.

    On a share ``guests`` of the chips one or two kinds of other climates join it.
    """
    rng = place.rng(Purpose.LAND)
    land = place.land
    canvas.paint(
        land.base,
        np.ones((canvas.size, canvas.size), np.float32),
        labels=forest_label(land.base),
        variant=float(rng.uniform(0.2, 0.9)),
    )
    for patch in (*land.patches, *_guests(place, guests)):
        share = min(patch.share * math.exp(rng.normal(0.1, 0.8)), 0.8)
        field, tone = noise(rng, canvas.size, patch.largest, slope=3.9), float(rng.uniform(0.1, 0.95))
        grain = noise(rng, canvas.size, 16)
        if share < 0.008:
            continue
        level = NormalDist().inv_cdf(1.0 - share)
        mosaic = above(field + np.float32(0.08) * grain, level, patch.soft)
        label = forest_label(patch.material)
        if patch.material is Material.SECONDARY:
            tone *= 0.55
        canvas.paint(patch.material, mosaic, labels=label, variant=tone)


def _guests(place: Place, share: float) -> tuple[Patch, ...]:
    """One or two patches on that share of places; two on two of five of them."""
    rng = place.rng(Purpose.LAND, 1)
    wanted, kinds = float(rng.uniform()), rng.permutation(len(GUESTS))
    shares, sizes = rng.uniform(0.08, 0.35, 2), rng.integers(0, 2, 2)
    count = int(wanted < share) + int(wanted < 0.4 * share)
    return tuple(
        Patch(GUESTS[int(kinds[number])], float(shares[number]), (64, 128)[int(sizes[number])])
        for number in range(count)
    )


def paint_fields(canvas: Canvas, place: Place) -> None:
    """Blocks of fields in five crops' calendars; a field lies bare for a part of its year."""
    rng = place.rng(Purpose.FIELDS)
    wanted = bool(rng.uniform() < place.land.fields)
    share, turn = float(rng.uniform(0.12, 0.75)), float(rng.uniform(0.0, math.pi))
    small = place.climate in ("humid_tropics", "seasonal_tropics", "dry_savanna")
    length, depth = (float(v) for v in rng.uniform((5, 4), (14, 9)) * (1.0 if small else 1.8))
    region = noise(rng, canvas.size, 128)
    phases, bare_share = rng.uniform(0.0, 1.0, 5), rng.uniform(0.12, 0.4, 5)
    tones = rng.uniform(0.15, 0.75, 5)
    lot = rng.integers(0, 6, (64, 64))
    shift, trim = rng.uniform(0.0, length, 64), float(rng.uniform(0.0, 0.9))
    if not wanted:
        return
    whole = canvas.whole
    u, v = turned(whole.x, whole.y, (0.0, 0.0), turn)
    row = np.floor(v * np.float32(1.0 / depth))
    i = row.astype(np.int32) & 63
    moved = u + shift.astype(np.float32)[i]
    column = np.floor(moved * np.float32(1.0 / length))
    kinds = lot[i, column.astype(np.int32) & 63]
    from_edge = np.minimum(
        np.float32(depth / 2) - np.abs(v - (row + np.float32(0.5)) * np.float32(depth)),
        np.float32(length / 2) - np.abs(moved - (column + np.float32(0.5)) * np.float32(length)),
    )
    region = above(region, NormalDist().inv_cdf(1.0 - share), 0.1)
    canvas.paint(
        Material.SOIL if place.climate == "desert" else Material.GRASS, region, variant=float(tones[0])
    )
    farmed = region * cover(np.float32(trim / 2) - from_edge)
    for kind in range(5):
        since = (place.day / 365.0 - phases[kind]) % 1.0
        fallow = int(place.years) % 5 == kind and kind < 2
        chosen = farmed * (kinds == kind)
        if since > 1.0 - bare_share[kind] or fallow:
            canvas.paint(Material.PLOUGHED, chosen, variant=float(tones[kind]))
        else:
            canvas.paint(Material.CROP, chosen, variant=float(phases[kind]))


def paint_water(canvas: Canvas, place: Place, *, allowed: bool = True) -> None:
    """A river with bars on its inner bends and trees on its banks, or a lake with its shore."""
    wet = place.wetness()
    rng = place.rng(Purpose.WATER, 1)
    if rng.uniform() < place.land.river and allowed:
        _river(canvas, place, rng, wet)
    rng = place.rng(Purpose.WATER, 2)
    if rng.uniform() < place.land.lake:
        _lake(canvas, rng, wet)


def _river(canvas: Canvas, place: Place, rng: np.random.Generator, wet: float) -> None:
    size = canvas.size
    width = float(np.exp(rng.uniform(math.log(0.8), math.log(8.0))))
    silt, gallery = float(rng.uniform(0.05, 0.9)), float(rng.uniform(2.0, 9.0))
    line = crossing(size, rng, bend=(8.0, 30.0), off=0.35)
    rough = noise(rng, size, 32)
    away = line_distance(size, line, width + gallery + 8.0)
    bed = away - np.float32(width) + np.float32(0.25 * width) * rough
    banks = cover(bed - np.float32(gallery) + np.float32(2.0) * rough, 2.0)
    canvas.paint(place.land.gallery, banks, labels=forest_label(place.land.gallery), variant=0.6)
    canvas.paint(Material.SAND, cover(bed), variant=float(rng.uniform(0.2, 0.9)))
    stage = np.float32(0.75 * width * (1.0 - wet))
    water = Material.WATER_TURBID if silt > 0.3 else Material.WATER_CLEAR
    # Bars emerge on one side of each bend: where the bed is rough.
    canvas.paint(water, cover(bed + stage * (np.float32(0.6) + np.float32(0.5) * rough)), variant=silt)


def _lake(canvas: Canvas, rng: np.random.Generator, wet: float) -> None:
    size = canvas.size
    centre = (float(rng.uniform(0.1, 0.9)) * size, float(rng.uniform(0.1, 0.9)) * size)
    radius, turn = float(np.exp(rng.uniform(math.log(5.0), math.log(60.0)))), float(rng.uniform(0.0, math.pi))
    long, flat = float(rng.uniform(1.0, 2.2)), float(rng.uniform(0.5, 4.0))
    rough = noise(rng, size, 64 if radius > 25 else 32)
    clear, tone = bool(rng.uniform() < 0.5), float(rng.uniform(0.0, 0.8))
    at = window_around(size, *centre, 2.2 * radius * long + 6.0)
    if at is None:
        return
    u, v = turned(at.x, at.y, centre, turn)
    shore = (np.hypot(u / np.float32(long), v) - np.float32(radius)) + np.float32(0.3 * radius) * rough[
        at.cut
    ]
    canvas.paint(Material.MUD, cover(shore), at, variant=float(rng.uniform(0.2, 0.8)))
    level = np.float32(flat * (1.0 - wet) * 1.5)
    canvas.paint(
        Material.WATER_CLEAR if clear else Material.WATER_TURBID, cover(shore + level), at, variant=tone
    )


def paint_roads(canvas: Canvas, place: Place) -> None:
    """One or two roads across, mostly narrower than a pixel."""
    rng = place.rng(Purpose.ROADS)
    size = canvas.size
    for paved in (True, False):
        wanted = rng.uniform() < (0.4 if paved else 0.5)
        width = float(rng.uniform(0.25, 0.8))
        line = crossing(size, rng, bend=(4.0, 16.0), off=0.4, step=16.0)
        if wanted:
            away = line_distance(size, line, 3.0)
            material = Material.ASPHALT if paved else Material.DIRT_ROAD
            canvas.paint(material, _thin(away, width))


def _thin(away: Float32, half: float) -> Float32:
    """Cover of a line that may be narrower than a pixel."""
    return np.minimum(cover(away - np.float32(max(half, 0.5))), np.float32(min(2.0 * half, 1.0))) * (
        away < FAR
    )


def paint_town(canvas: Canvas, place: Place, *, number: int = 0, chance: float = 0.25) -> None:
    """A village or town: blocks of houses and gardens between streets; it grows a little every year."""
    rng = place.rng(Purpose.TOWN, number)
    wanted = bool(rng.uniform() < chance)
    size = canvas.size
    centre = (float(rng.uniform(0.1, 0.9)) * size, float(rng.uniform(0.1, 0.9)) * size)
    radius = float(np.exp(rng.uniform(math.log(8.0), math.log(50.0)))) * (1.0 + 0.015 * place.years)
    turn, block = float(rng.uniform(0.0, math.pi)), float(rng.uniform(5.0, 9.0))
    rough, houses = noise(rng, size, 32), noise(rng, size, 8, slope=1.5)
    tin, dense = bool(rng.uniform() < 0.5), float(rng.uniform(-0.6, 0.9))
    lot = rng.uniform(0.0, 1.0, (32, 32))
    at = window_around(size, *centre, 1.6 * radius + 4.0)
    if not wanted or at is None:
        return
    u, v = turned(at.x, at.y, centre, turn)
    edge = np.hypot(u, v) - np.float32(radius) + np.float32(0.3 * radius) * rough[at.cut]
    inside = cover(edge, 2.0)
    canvas.paint(
        Material.GRASS if place.climate != "desert" else Material.SOIL, 0.75 * inside, at, variant=0.4
    )
    street = np.minimum(wrapped(u, block), wrapped(v, block * 1.4))
    canvas.paint(
        Material.ASPHALT if not tin else Material.DIRT_ROAD,
        np.float32(0.7) * inside * cover(street - np.float32(0.4)),
        at,
    )
    built = (
        above(houses[at.cut] + np.float32(dense), 0.2, 0.8) * cover(edge + np.float32(1.0)) * (street > 0.9)
    )
    which = lot[cell_number(u, 3.0), cell_number(v, 3.0)]
    main = Material.ROOF_METAL if tin else Material.ROOF_TILE
    canvas.paint(main, 0.8 * built * (which < 0.6), at, variant=0.5)
    canvas.paint(Material.ROOF_DARK, 0.8 * built * ((which >= 0.6) & (which < 0.85)), at)
    canvas.paint(Material.CONCRETE, 0.9 * built * (which >= 0.85), at)
    hall = box(u - np.float32(0.5 * radius), v, 2.0 + 0.06 * radius, 1.5 + 0.04 * radius)
    canvas.paint(Material.ROOF_METAL, cover(hall), at, variant=0.8)
