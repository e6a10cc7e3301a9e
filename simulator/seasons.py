"""What a day of the year does to the world: leaves, crops, soil moisture, the river's stage. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from simulator.frame import Floats
from simulator.spectra import (
    CROP,
    FIRST_FIELD,
    LOOKS,
    SOIL,
    SOIL_DAMP,
    STUBBLE,
    Surface,
    optical,
)

LEAF_LAG = {
    Surface.EVERGREEN: 30,
    Surface.DECIDUOUS: 45,
    Surface.SAVANNA: 25,
    Surface.PASTURE: 20,
    Surface.SHRUB: 25,
    Surface.WETLAND: 60,
    Surface.RIVER: 15,
}
"""Days by which a surface follows the rains."""


@dataclass(frozen=True)
class Crop:
    """The calendar of one field."""

    sown: int
    """Day of the year of the main sowing."""
    length: int
    """Days from sowing to harvest."""
    second: int
    """Days of a second crop right after the first; 0 = none."""
    perennial: bool
    """Sown pasture or cane: green all year, paler when dry."""
    vigour: float
    """Cover at the height of the season, 0 to 1."""
    soil: float
    """Brightness of the soil, about 1."""
    tilled: bool = False
    """Kept bare after the harvest, as few farmers do: the hardest look-alike of a dug ground."""


def wetness(day: date, lag: int = 0) -> float:
    """0 at the end of the dry season (mid-August) to 1 at the height of the rains (mid-February)."""
    ordinal = (day - timedelta(days=lag)).timetuple().tm_yday
    wave = 0.5 + 0.5 * math.cos(2.0 * math.pi * (ordinal - 46) / 365.0)
    return wave * wave * (3.0 - 2.0 * wave)


def river_stage(day: date, wobble: float) -> float:
    """Share of the river's bed under water, 0.25 in the dry season to 1 in flood."""
    return min(1.0, max(0.25, 0.32 + 0.52 * wetness(day, 15) + wobble))


def crop_cover(crop: Crop, day: date) -> tuple[float, float]:
    """(green cover, straw cover) of a field on ``day``; the rest is soil."""
    if crop.perennial:
        return crop.vigour * (0.45 + 0.5 * wetness(day, 20)), 0.3 * (1.0 - wetness(day, 20))
    since = (day.timetuple().tm_yday - crop.sown) % 365
    green = crop.vigour * _growth(since, crop.length)
    end = crop.length
    if crop.second:
        green = max(green, 0.9 * crop.vigour * _growth(since - crop.length - 8, crop.second))
        end += 8 + crop.second
    straw = 0.75 * math.exp(-max(0, since - end) / 120.0) if since > end else 0.1
    if since > end and not crop.tilled:
        # Weeds and volunteers follow the harvest as long as it rains.
        green = max(green, 0.30 * crop.vigour * wetness(day, 20))
    ploughed = since > 335
    return green, 0.05 if ploughed else straw * (1.0 - green)


def _growth(since: int, length: int) -> float:
    if not 0 <= since <= length + 6:
        return 0.0
    rise = 1.0 / (1.0 + math.exp(-(since - 0.30 * length) / (0.055 * length)))
    fall = 1.0 / (1.0 + math.exp((since - 0.90 * length) / (0.045 * length)))
    return rise * fall


def field_spectrum(crop: Crop, day: date) -> Floats:
    """Reflectance of a field in the 12 bands."""
    green, straw = crop_cover(crop, day)
    wet = wetness(day)
    soil = crop.soil * (wet * np.asarray(SOIL_DAMP) + (1.0 - wet) * np.asarray(SOIL))
    mixed = green * np.asarray(CROP) + straw * np.asarray(STUBBLE) + max(0.0, 1.0 - green - straw) * soil
    return np.asarray(mixed / 10_000.0, np.float32)


def spectrum_table(crops: tuple[Crop, ...], day: date) -> Floats:
    """(numbers, 12) reflectance of every world number on ``day``."""
    table = np.zeros((FIRST_FIELD + len(crops), 12), np.float32)
    for surface in LOOKS:
        table[surface] = optical(surface, wetness(day, LEAF_LAG.get(surface, 0)))
    for number, crop in enumerate(crops):
        table[FIRST_FIELD + number] = field_spectrum(crop, day)
    return table


def backscatter_table(crops: tuple[Crop, ...], day: date, rain_db: float) -> Floats:
    """(numbers, 2) gamma0 VV, VH in dB of every world number; ``rain_db`` is what a shower adds to soil."""
    table = np.zeros((FIRST_FIELD + len(crops), 2), np.float32)
    season = wetness(day)
    for surface, look in LOOKS.items():
        added = look.damp * (0.6 * season - 0.3 + rain_db)
        table[surface] = look.vv + added, look.vh + 0.8 * added
    for number, crop in enumerate(crops):
        green, _ = crop_cover(crop, day)
        added = (1.0 - 0.5 * green) * 1.8 * (0.6 * season - 0.3 + rain_db)
        table[FIRST_FIELD + number] = -13.6 + 3.0 * green + added, -21.4 + 4.6 * green + 0.8 * added
    return table


def texture_strength(crops: tuple[Crop, ...]) -> Floats:
    """(numbers,) spread of brightness from cell to cell."""
    strength = np.full(FIRST_FIELD + len(crops), 0.085, np.float32)
    for surface, look in LOOKS.items():
        strength[surface] = look.texture
    return strength
