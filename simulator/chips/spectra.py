"""What a material looks like on a day: ln(reflectance) in 12 bands and ln(gamma0) of VV and VH. Pure.

Between the tables (palette, plants, water, texture) and the painter (sensors): seasons, soil moisture, age.
Backscatter: medians in dB of the TerraMesh tiles [T] and the Presto points [P] per land cover; what a mine
lays open is set between them by its roughness [K].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulator.chips.layers import Material
from simulator.chips.palette import (
    ASH,
    ASPHALT,
    CHAR,
    CONCRETE,
    DARK_ROOF,
    DIRT,
    GRAVEL,
    GREENHOUSE,
    LITTER,
    METAL,
    ORE,
    SALT,
    SAND,
    SNOW,
    SOIL,
    TILE,
    Float32,
    Table,
    table,
)
from simulator.chips.plants import PLANTS
from simulator.chips.texture import DB
from simulator.chips.water import Water, reflectance

FIELD = 0.76
"""The ground against a dry, sieved sample of it: roughness, crust, sparse litter."""


@dataclass(frozen=True)
class Season:
    """What the calendar does to the ground of one place on one day."""

    vigour: float
    """Leaf of what follows the rains or the sun, 0 cured or leafless to 1 full."""
    moisture: float
    """Of the upper soil, 0 dry to 1 wet."""
    year: float
    """Share of the year gone, for crops' calendars."""
    soil: float
    """The place's own soil along SOIL, 0 to 1."""
    spectra: str
    """recipe.SPECTRA."""


@dataclass(frozen=True)
class Radar:
    """Backscatter of a material."""

    vv: float
    """gamma0 in dB, dry."""
    vh: float
    """gamma0 in dB, dry."""
    damp: float = 0.0
    """dB that a soaked ground adds."""
    smooth: bool = False
    """Open water: wind, not moisture, decides."""


@dataclass(frozen=True)
class Kind:
    """How a material is made of tables."""

    radar: Radar
    texture: str
    """Key of texture.TEXTURES."""
    table: Table | None = None
    """Endmembers along variant; None where the material has a function of its own."""
    bright: float = 1.0
    """The ground against the table."""
    soil: float = 0.0
    """Share of the place's own soil mixed in."""
    thirst: float = 0.0
    """How much moisture darkens it, 0 to 1."""
    greening: float = 0.0
    """Years after which plants have taken 60 % of what they will; 0 = never."""


_GOLD = table(
    # Washed sand and gravel, wet to dry: [E] sand, gravel and pale soil [M]; wet ones [T] Brazil's beach.
    (
        (700, 830, 1120, 1480, 1600, 1620, 1660, 1680, 1660, 1520, 1500, 1150),
        (1240, 1480, 1960, 2450, 2610, 2690, 2790, 2850, 2880, 2850, 3500, 3150),
        (1500, 1790, 2330, 2860, 3020, 3110, 3220, 3300, 3330, 3300, 4150, 3850),
    ),
    (
        (620, 760, 1080, 1560, 1700, 1740, 1780, 1800, 1770, 1640, 1600, 1250),
        (1080, 1310, 1830, 2520, 2720, 2830, 2930, 2970, 2980, 3000, 3700, 3300),
        (1360, 1620, 2180, 2930, 3140, 3260, 3380, 3430, 3450, 3480, 4400, 4050),
    ),
)

_MUD = table(
    # Wet sediment [M] soil and sand under a film of water.
    ((480, 590, 860, 1080, 1180, 1230, 1270, 1290, 1280, 1180, 1050, 750),),
    ((430, 540, 820, 1150, 1280, 1340, 1380, 1390, 1370, 1280, 1180, 860),),
)

KINDS: Mapping[Material, Kind] = {
    Material.FOREST_EVERGREEN: Kind(Radar(-7.3, -13.1, 0.3), "canopy"),
    Material.FOREST_DECIDUOUS: Kind(Radar(-8.2, -13.8, 0.4), "stands"),
    Material.FOREST_NEEDLE: Kind(Radar(-8.3, -13.6, 0.4), "stands"),
    Material.MANGROVE: Kind(Radar(-7.0, -13.4, 0.2), "canopy"),
    Material.PLANTATION: Kind(Radar(-8.0, -13.6, 0.3), "canopy"),
    Material.SECONDARY: Kind(Radar(-9.2, -15.0, 0.7), "stands"),
    Material.SHRUB: Kind(Radar(-12.0, -17.9, 1.0), "range"),
    Material.SAVANNA: Kind(Radar(-11.6, -17.2, 1.0), "range"),
    Material.GRASS: Kind(Radar(-13.3, -19.7, 1.6), "field"),
    Material.WETLAND: Kind(Radar(-10.0, -16.4, 0.6), "range"),
    Material.CROP: Kind(Radar(-12.8, -19.2, 1.5), "field"),
    Material.PLOUGHED: Kind(Radar(-13.2, -21.2, 1.8), "bare", SOIL, FIELD, 0.0, 1.0, 0.6),
    Material.SOIL: Kind(Radar(-14.4, -21.6, 1.6), "bare", SOIL, FIELD, 0.0, 1.0, 5.0),
    Material.SAND: Kind(Radar(-16.2, -22.3, 1.0), "bare", SAND, 0.82, 0.0, 0.7),
    Material.MUD: Kind(Radar(-15.0, -22.0, 0.5), "bare", _MUD, 1.0, 0.2),
    Material.SALT: Kind(Radar(-15.5, -23.0, 1.2), "bare", SALT, 0.8, 0.1, 0.5),
    Material.SNOW: Kind(Radar(-14.5, -21.9), "snow", SNOW),
    Material.ROCK: Kind(Radar(-10.6, -17.4, 0.3), "broken", GRAVEL, 0.78, 0.15, 0.3),
    Material.SCREE: Kind(Radar(-9.8, -17.0, 0.3), "broken", GRAVEL, 0.80, 0.1, 0.3),
    Material.WATER_CLEAR: Kind(Radar(-18.5, -25.5, smooth=True), "water"),
    Material.WATER_TURBID: Kind(Radar(-18.2, -25.2, smooth=True), "water"),
    Material.WATER_GREEN: Kind(Radar(-18.6, -25.6, smooth=True), "water"),
    Material.SEA: Kind(Radar(-17.0, -24.5, smooth=True), "water"),
    Material.ROOF_METAL: Kind(Radar(-4.2, -11.2), "plain", METAL, 0.85),
    Material.ROOF_TILE: Kind(Radar(-4.8, -11.8), "built", TILE, 0.72),
    Material.ROOF_DARK: Kind(Radar(-5.0, -11.8), "built", DARK_ROOF, 0.95),
    Material.CONCRETE: Kind(Radar(-9.4, -16.4), "plain", CONCRETE, 0.75, 0.1, 0.2),
    Material.ASPHALT: Kind(Radar(-13.8, -21.0), "plain", ASPHALT, 1.0, 0.1, 0.2),
    Material.DIRT_ROAD: Kind(Radar(-13.4, -20.2, 0.9), "plain", DIRT, 0.76, 0.4, 0.7),
    Material.GREENHOUSE: Kind(Radar(-9.0, -15.8), "plain", GREENHOUSE, 0.9),
    Material.CHAR: Kind(Radar(-11.6, -18.4, 1.2), "range", CHAR, 1.0, 0.2, 0.4, 0.7),
    Material.ASH: Kind(Radar(-12.4, -19.4, 1.2), "range", ASH, 1.0, 0.2, 0.5, 0.5),
    Material.SLASH: Kind(Radar(-9.8, -16.2, 0.8), "stands", LITTER, 0.80, 0.15, 0.4, 1.6),
    Material.CLEARED: Kind(Radar(-12.2, -19.0, 1.2), "range", SOIL, FIELD, 0.0, 0.9, 1.2),
    Material.SUBSOIL: Kind(Radar(-13.0, -20.0, 1.1), "bare", SOIL, 0.76, 0.0, 0.8, 4.0),
    Material.PIT_FLOOR: Kind(Radar(-13.6, -20.2, 0.8), "bare", ORE, 0.92, 0.12, 0.6),
    Material.SEAM: Kind(Radar(-11.4, -18.2, 0.5), "broken", ORE, 0.80, 0.0, 0.4),
    Material.BENCH_FACE: Kind(Radar(-10.8, -17.6, 0.5), "broken", ORE, 0.82, 0.05, 0.3),
    Material.HAUL_ROAD: Kind(Radar(-14.2, -21.0, 0.7), "plain", ORE, 1.08, 0.25, 0.6),
    Material.WASTE_ROCK: Kind(Radar(-10.4, -17.4, 0.5), "broken", ORE, 0.95, 0.20, 0.4, 9.0),
    Material.SPOIL: Kind(Radar(-11.4, -18.4, 0.8), "broken", ORE, 0.95, 0.45, 0.6, 5.0),
    Material.STOCKPILE: Kind(Radar(-9.8, -16.8, 0.5), "broken", ORE, 0.85, 0.0, 0.4),
    Material.FILL: Kind(Radar(-10.6, -17.8, 0.6), "bare", GRAVEL, 0.75, 0.45, 0.5, 8.0),
    Material.TAILINGS_DRY: Kind(Radar(-15.6, -22.8, 1.2), "bare", ORE, 1.06, 0.05, 0.7, 14.0),
    Material.TAILINGS_WET: Kind(Radar(-16.4, -23.6, 0.4), "bare"),
    Material.PROCESS_WATER: Kind(Radar(-18.8, -25.8, smooth=True), "water"),
    Material.GOLD_SEDIMENT: Kind(Radar(-13.6, -20.4, 0.6), "bare", _GOLD, 0.88, 0.12, 0.4, 4.0),
    Material.GOLD_POND: Kind(Radar(-18.0, -25.0, smooth=True), "water"),
}


def look(material: Material, variant: float, age: float, season: Season) -> Float32:
    """(14,) ln(reflectance) and ln(gamma0) of flat ground, before any draw."""
    kind = KINDS[material]
    bright = np.maximum(_reflectance(material, variant, season), np.float32(2e-4))
    if kind.greening and age > 0.0:
        bright = _greened(bright, age / kind.greening, season)
    radar = backscatter(kind.radar, season)
    if kind.greening and age > 0.0:
        radar = radar + np.float32(1.5 * _taken(age / kind.greening)) * DB
    return np.concatenate([np.log(bright), radar]).astype(np.float32)


def backscatter(radar: Radar, season: Season) -> Float32:
    """(2,) ln(gamma0) of VV and VH."""
    damp = 0.0 if radar.smooth else radar.damp * season.moisture
    return np.asarray(np.array([radar.vv + damp, radar.vh + 0.8 * damp]) * DB, np.float32)


def along(table: Table, spectra: str, variant: float) -> Float32:
    """(12,) between the two nearest rows, in the logarithm."""
    rows = table[spectra]
    at = min(max(variant, 0.0), 1.0) * (len(rows) - 1)
    low = min(int(at), len(rows) - 2) if len(rows) > 1 else 0
    share = np.float32(at - low)
    high = rows[min(low + 1, len(rows) - 1)]
    return np.asarray(rows[low] ** (1.0 - share) * high**share, np.float32)


def _reflectance(material: Material, variant: float, season: Season) -> Float32:
    if material in PLANTS:
        return _grown(material, variant, season)
    if material in _WATERS:
        return reflectance(_WATERS[material](variant, season))
    if material is Material.TAILINGS_WET:
        dry = along(ORE, season.spectra, variant)
        return _wetted(dry * np.float32(0.9), 1.0)
    kind = KINDS[material]
    assert kind.table is not None  # every other material has a table (a test says so)
    bright = along(kind.table, season.spectra, variant) * np.float32(kind.bright)
    if kind.soil:
        own = along(SOIL, season.spectra, season.soil) * np.float32(FIELD)
        bright = (1.0 - np.float32(kind.soil)) * bright + np.float32(kind.soil) * own
    return _wetted(bright, kind.thirst * season.moisture)


_WET = np.array([0.45, 0.45, 0.45, 0.45, 0.46, 0.47, 0.48, 0.50, 0.52, 0.65, 0.85, 1.05], np.float32)
"""ln by which soaking darkens a soil: most where water absorbs (Lobell & Asner 2002)."""


def _wetted(bright: Float32, wet: float) -> Float32:
    return np.asarray(bright * np.exp(-np.float32(wet) * _WET), np.float32)


def _grown(material: Material, variant: float, season: Season) -> Float32:
    plant = PLANTS[material]
    green = along(plant.green, season.spectra, variant)
    if material is Material.CROP:
        return _crop(green, along(plant.dry, season.spectra, 0.5), variant, season)
    dry = along(plant.dry, season.spectra, variant)
    leaf = np.float32(1.0 - plant.deciduous * (1.0 - season.vigour))
    return np.asarray(leaf * green + (1.0 - leaf) * _wetted(dry, 0.25 * season.moisture), np.float32)


def _crop(green: Float32, ripe: Float32, variant: float, season: Season) -> Float32:
    """A field through its year: ploughed, closing, green, ripe, stubble."""
    phase = (season.year + variant) % 1.0
    leaf = _ramp(phase, 0.12, 0.30) - _ramp(phase, 0.46, 0.60)
    straw = _ramp(phase, 0.46, 0.60) - _ramp(phase, 0.80, 0.95)
    tone = min(max(season.soil + 0.12 * math.sin(40.0 * variant), 0.0), 1.0)
    soil = _wetted(along(SOIL, season.spectra, tone) * np.float32(FIELD), season.moisture)
    # Closed crops differ: a field's own density, from its variant.
    leaf *= 0.72 + 0.28 * math.sin(23.0 * variant) ** 2
    rest = max(0.0, 1.0 - leaf - straw)
    return np.asarray(leaf * green + straw * ripe + rest * soil, np.float32)


def _ramp(at: float, low: float, high: float) -> float:
    t = min(max((at - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


def _taken(ages: float) -> float:
    return 1.0 - math.exp(-0.9 * ages)


def _greened(bright: Float32, ages: float, season: Season) -> Float32:
    """Old ground darkens a little, and plants come in; dry places green less."""
    herbs = along(PLANTS[Material.SECONDARY].green, season.spectra, 0.2)
    dry = along(PLANTS[Material.SECONDARY].dry, season.spectra, 0.2)
    plants = np.float32(season.vigour) * herbs + np.float32(1.0 - season.vigour) * dry
    share = np.float32(0.6 * _taken(ages))
    dull = np.float32(math.exp(-0.08 * min(ages, 2.0)))
    return np.asarray((1.0 - share) * bright * dull + share * plants, np.float32)


def _clear(variant: float, season: Season) -> Water:
    dissolved = 0.25 + 0.9 * variant + (0.5 if season.spectra == "set_b" else 0.0)
    return Water(1.0 + 4.0 * variant, dissolved, 2.0)


def _turbid(variant: float, season: Season) -> Water:
    colour = 0.036 if season.spectra == "set_a" else 0.055
    return Water(12.0 * 45.0**variant, 0.9, 5.0, colour)


def _sea(variant: float, season: Season) -> Water:
    """Little dissolved matter (.02 to .3 per m; Babin et al. 2003), so that blue light comes back; sand and
    clay as pale or brown as the land's soil.
    """
    colour = 0.006 + 0.026 * (1.0 - season.soil) + (0.008 if season.spectra == "set_b" else 0.0)
    return Water(0.4 * 700.0**variant, 0.03 + 0.2 * season.moisture, 1.0 + 1.5 * variant, colour, glint=0.003)


def _green(variant: float, season: Season) -> Water:
    return Water(5.0 if season.spectra == "set_a" else 9.0, 0.9, 8.0 * 18.0**variant, glint=0.006)


def _process(variant: float, season: Season) -> Water:
    """Turquoise rock flour, ochre iron, black coal fines: between the nearest two."""
    shift = 1.0 if season.spectra == "set_a" else 1.4
    kinds = (
        Water(45.0 * shift, 0.06, 1.0, 0.004, 0.006),
        Water(220.0 / shift, 0.6, 2.0, 0.085, 0.013),
        Water(60.0 * shift, 2.5, 1.0, 0.060, 0.0015),
    )
    at = min(max(variant, 0.0), 1.0) * 2.0
    low = min(int(at), 1)
    share = at - low
    a, b = kinds[low], kinds[low + 1]
    return Water(
        a.sediment ** (1 - share) * b.sediment**share,
        a.dissolved ** (1 - share) * b.dissolved**share,
        1.5,
        a.colour ** (1 - share) * b.colour**share,
        a.slope ** (1 - share) * b.slope**share,
    )


def _gold(variant: float, season: Season) -> Water:
    """Settled and greening to freshly stirred: suspended sediment over three orders of magnitude."""
    colour = 0.030 if season.spectra == "set_a" else 0.046
    algae = 45.0 * max(0.0, 0.5 - variant) * 2.0
    return Water(7.0 * 220.0 ** (variant**1.1), 1.2 - 0.7 * variant, 2.0 + algae, colour)


_WATERS = {
    Material.WATER_CLEAR: _clear,
    Material.WATER_TURBID: _turbid,
    Material.WATER_GREEN: _green,
    Material.SEA: _sea,
    Material.PROCESS_WATER: _process,
    Material.GOLD_POND: _gold,
}
