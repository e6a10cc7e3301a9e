"""What each surface looks like: reflectance in the 12 Sentinel-2 bands, texture, backscatter.

Reflectance x 10000 in the order B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12. Sources, measured for
this table: [T] medians per land-cover class of the TerraMesh validation tiles (Sentinel-2 L2A + S1 RTC,
Brazil, Tanzania, Denmark, Chile); [E] medians of earthlib 1.1.0 spectra averaged over the bands' widths,
times 0.6-0.8 where a laboratory's dry, flat sample is brighter than the ground; [P] medians of the Presto
evaluation points; [M] mixtures of those; [K] set by hand within published ranges (turbid water, ash).
Backscatter: gamma0 in dB, [T] and [P] likewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from simulator.frame import Floats


class Surface(IntEnum):
    """A surface of the world; fields follow from FIRST_FIELD on, each with its own calendar."""

    EVERGREEN = 0
    DECIDUOUS = 1
    SAVANNA = 2
    PASTURE = 3
    SHRUB = 4
    WETLAND = 5
    RIVER = 6
    POND = 7
    SAND = 8
    MUD = 9
    TRACK = 10
    YARD = 11
    ROOF_METAL = 12
    ROOF_TILE = 13
    ROOF_DARK = 14
    ROCK = 15
    PIT_FLOOR = 16
    PIT_BENCH = 17
    STRIPPED = 18
    DUMP = 19
    HAUL_ROAD = 20
    SLASH = 21
    BURNT = 22
    CLEARED = 23
    STOCKPILE = 24


FIRST_FIELD = 32
"""World cells with this number or more belong to field ``number - FIRST_FIELD``."""


@dataclass(frozen=True)
class Look:
    """One surface."""

    wet: tuple[int, ...]
    """Reflectance x 10000 at the height of the rains."""
    dry: tuple[int, ...]
    """Reflectance x 10000 at the end of the dry season."""
    texture: float
    """Spread of brightness from cell to cell (5 m), as a share."""
    vv: float
    """gamma0 VV in dB."""
    vh: float
    """gamma0 VH in dB."""
    damp: float = 0.0
    """dB that a soaked ground adds."""


_FOREST = (176, 177, 343, 188, 643, 1984, 2399, 2562, 2665, 2671, 1116, 456)  # [T] Brazil trees
_FOREST_DRY = (190, 205, 372, 245, 700, 1850, 2220, 2380, 2500, 2510, 1250, 560)  # [T] x [P] trees
_LEAFY = (190, 205, 430, 262, 790, 2250, 2720, 2920, 3010, 3020, 1450, 640)  # [T] Brazil, Denmark trees
_LEAFLESS = (300, 372, 590, 640, 1010, 1610, 1830, 1990, 2170, 2230, 2190, 1310)  # [M] trees, litter [E]
_GRASS_WET = (180, 230, 560, 400, 1020, 2480, 2920, 3160, 3240, 3260, 2050, 1130)  # [T] Denmark rangeland
_GRASS_DRY = (470, 590, 870, 1180, 1580, 1960, 2180, 2290, 2520, 2540, 3250, 2280)  # [T] Tanzania rangeland
_SAVANNA_WET = (190, 225, 460, 350, 880, 2060, 2420, 2600, 2700, 2720, 1750, 900)  # [M]
_SAVANNA_DRY = (360, 440, 660, 800, 1180, 1650, 1880, 2010, 2200, 2240, 2640, 1700)  # [M]
_RIVER_WET = (640, 790, 1130, 1190, 1080, 560, 540, 470, 400, 360, 140, 100)  # [K] sediment load
_RIVER_DRY = (420, 450, 640, 480, 420, 260, 260, 220, 200, 190, 90, 70)  # [T] river, darker
_POND = (760, 990, 1460, 1560, 1480, 860, 830, 700, 560, 470, 150, 110)  # [K] settling pond
_SAND = (1090, 1330, 1690, 1970, 2140, 2210, 2270, 2340, 2370, 2340, 2950, 2640)  # [T] bare, [E] sand
_MUD = (620, 750, 1080, 1330, 1500, 1620, 1700, 1760, 1790, 1790, 1950, 1560)  # [M] sand, water
_SOIL_RED = (400, 510, 820, 1430, 1680, 1880, 2010, 2060, 2100, 2170, 3080, 2600)  # [E] red soil, [T] crops
_SOIL_DAMP = (310, 390, 600, 1010, 1210, 1390, 1500, 1560, 1610, 1650, 2250, 1790)  # [E] x .78 damp
_TRACK = (620, 800, 1200, 1880, 2130, 2300, 2420, 2480, 2510, 2560, 3480, 3010)  # [E] dirt
_YARD = (560, 700, 1010, 1430, 1700, 2050, 2240, 2340, 2420, 2450, 2850, 2250)  # [T] Chile built
_METAL = (2050, 2420, 2720, 2640, 2700, 2720, 2690, 2630, 2600, 2540, 2900, 2680)  # [E] metal, painted
_TILE = (520, 610, 930, 1820, 2060, 2240, 2330, 2340, 2340, 2460, 3700, 3550)  # [E] tile
_DARK = (720, 790, 900, 1030, 1100, 1150, 1180, 1200, 1210, 1230, 1400, 1350)  # [E] shingle, asphalt
_ROCK = (810, 900, 1100, 1330, 1420, 1500, 1560, 1620, 1650, 1680, 2120, 1930)  # [E] gravel
_FLOOR = (930, 1130, 1480, 1830, 1960, 2050, 2120, 2150, 2170, 2180, 2780, 2480)  # [E] soil median x .7
_BENCH = (640, 790, 1110, 1560, 1730, 1840, 1920, 1960, 1980, 2010, 2620, 2330)  # [E] soil, dirt x .75
_STRIP = (520, 680, 1090, 1930, 2230, 2440, 2570, 2610, 2640, 2710, 3700, 3080)  # [E] red soil
_DUMP = (880, 1030, 1310, 1650, 1780, 1880, 1960, 2010, 2030, 2050, 2560, 2270)  # [E] gravel, dirt
_DUMP_WET = (690, 810, 1040, 1320, 1440, 1530, 1600, 1640, 1660, 1670, 2010, 1720)  # [E] x .8 damp
_SLASH = (330, 430, 680, 920, 1230, 1620, 1830, 1990, 2130, 2220, 2740, 1830)  # [E] litter, bark + [T]
_BURNT = (300, 340, 420, 520, 590, 680, 740, 800, 840, 890, 1600, 1560)  # [E] char
_REGROWTH = (330, 420, 720, 960, 1360, 2020, 2290, 2420, 2520, 2560, 2750, 1910)  # [M] red soil, grass
_STOCK = (430, 500, 620, 770, 850, 920, 970, 1010, 1030, 1050, 1420, 1340)  # [K] ore

LOOKS: dict[Surface, Look] = {
    Surface.EVERGREEN: Look(_FOREST, _FOREST_DRY, 0.30, -7.2, -13.0, 0.3),
    Surface.DECIDUOUS: Look(_LEAFY, _LEAFLESS, 0.27, -8.0, -14.0, 0.4),
    Surface.SAVANNA: Look(_SAVANNA_WET, _SAVANNA_DRY, 0.22, -10.2, -16.2, 0.9),
    Surface.PASTURE: Look(_GRASS_WET, _GRASS_DRY, 0.09, -12.6, -19.2, 1.6),
    Surface.SHRUB: Look(_SAVANNA_WET, _GRASS_DRY, 0.18, -11.0, -17.0, 1.0),
    Surface.WETLAND: Look(_GRASS_WET, _SAVANNA_WET, 0.14, -9.4, -16.4, 0.8),
    Surface.RIVER: Look(_RIVER_WET, _RIVER_DRY, 0.03, -18.5, -25.0),
    Surface.POND: Look(_POND, _POND, 0.05, -19.0, -25.5),
    Surface.SAND: Look(_SAND, _SAND, 0.08, -15.8, -22.6, 1.2),
    Surface.MUD: Look(_MUD, _SAND, 0.10, -14.6, -21.8, 0.8),
    Surface.TRACK: Look(_TRACK, _TRACK, 0.07, -13.6, -20.4, 1.0),
    Surface.YARD: Look(_YARD, _YARD, 0.16, -9.6, -15.6, 0.6),
    Surface.ROOF_METAL: Look(_METAL, _METAL, 0.16, -4.2, -11.2),
    Surface.ROOF_TILE: Look(_TILE, _TILE, 0.12, -4.8, -11.6),
    Surface.ROOF_DARK: Look(_DARK, _DARK, 0.12, -5.0, -11.8),
    Surface.ROCK: Look(_ROCK, _ROCK, 0.13, -10.4, -17.2, 0.3),
    Surface.PIT_FLOOR: Look(_FLOOR, _FLOOR, 0.07, -14.2, -20.8, 0.8),
    Surface.PIT_BENCH: Look(_BENCH, _BENCH, 0.08, -11.8, -18.6, 0.6),
    Surface.STRIPPED: Look(_STRIP, _STRIP, 0.08, -12.9, -19.8, 1.1),
    Surface.DUMP: Look(_DUMP_WET, _DUMP, 0.09, -11.6, -18.8, 0.7),
    Surface.HAUL_ROAD: Look(_FLOOR, _TRACK, 0.05, -14.2, -21.2, 0.8),
    Surface.SLASH: Look(_SLASH, _SLASH, 0.18, -10.0, -16.6, 0.8),
    Surface.BURNT: Look(_BURNT, _BURNT, 0.14, -11.8, -18.6, 1.2),
    Surface.CLEARED: Look(_REGROWTH, _REGROWTH, 0.17, -11.9, -18.4, 1.3),
    Surface.STOCKPILE: Look(_STOCK, _STOCK, 0.10, -9.8, -17.0, 0.4),
}

CROP = (190, 225, 620, 290, 1080, 3250, 4080, 4320, 4420, 4430, 1950, 880)
"""A closed crop [T] Denmark, Chile fields; x 10000."""
STUBBLE = (560, 700, 1010, 1370, 1680, 1990, 2190, 2310, 2480, 2520, 3420, 2520)
"""Harvested, straw on the ground [T] Tanzania, Denmark; x 10000."""
SOIL = _SOIL_RED
"""Ploughed red soil, dry; x 10000."""
SOIL_DAMP = _SOIL_DAMP
"""Ploughed red soil after rain; x 10000."""

BARE = frozenset(
    {
        Surface.SAND,
        Surface.TRACK,
        Surface.YARD,
        Surface.ROOF_METAL,
        Surface.ROOF_TILE,
        Surface.PIT_FLOOR,
        Surface.PIT_BENCH,
        Surface.STRIPPED,
        Surface.DUMP,
        Surface.HAUL_ROAD,
    }
)
"""Bright surfaces that a scene classification sometimes calls cloud."""


def optical(surface: Surface, wetness: float) -> Floats:
    """Reflectance (0 to 1) of a surface in the 12 bands at ``wetness`` 0 (dry) to 1 (rains)."""
    look = LOOKS[surface]
    mixed = wetness * np.asarray(look.wet) + (1.0 - wetness) * np.asarray(look.dry)
    return np.asarray(mixed / 10_000.0, np.float32)
