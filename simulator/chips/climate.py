"""Where on earth a chip lies and what the calendar does there: sun, leaf, soil moisture. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulator.chips.air import Sun
from simulator.chips.spectra import Season


@dataclass(frozen=True)
class Climate:
    """One of recipe.CLIMATES."""

    latitude: tuple[float, float]
    """Degrees from the equator, lowest and highest."""
    vigour: tuple[float, float]
    """Leaf at the worst and at the best time of the year."""
    moisture: tuple[float, float]
    """Of the upper soil at the driest and the wettest time."""
    leafy: int
    """Day of the year of most leaf."""
    wet: int
    """Day of the year of the wettest soil."""
    soils: tuple[float, float]
    """Where its soils lie along palette.SOIL, 5th and 95th percentile."""
    passes: tuple[int, int] = (1, 365)
    """Days of the year on which the land is free of snow."""


CLIMATE: Mapping[str, Climate] = {
    "humid_tropics": Climate((0.0, 9.0), (0.72, 1.0), (0.35, 0.8), 180, 150, (0.2, 0.8)),
    "seasonal_tropics": Climate((8.0, 18.0), (0.30, 1.0), (0.08, 0.75), 240, 215, (0.2, 0.85)),
    "dry_savanna": Climate((9.0, 18.0), (0.02, 0.80), (0.02, 0.55), 250, 225, (0.25, 0.9)),
    "desert": Climate((18.0, 31.0), (0.02, 0.25), (0.0, 0.12), 60, 30, (0.45, 1.0)),
    "mediterranean": Climate((34.0, 43.0), (0.10, 0.88), (0.05, 0.7), 105, 20, (0.3, 0.95)),
    "temperate": Climate((44.0, 55.0), (0.05, 1.0), (0.25, 0.8), 175, 10, (0.0, 0.28), (60, 330)),
    "boreal": Climate((56.0, 63.0), (0.05, 0.95), (0.35, 0.8), 190, 110, (0.0, 0.25), (120, 280)),
}


@dataclass(frozen=True)
class Place:
    """What is drawn once per place."""

    climate: str
    latitude: float
    """Degrees north; the south is its mirror image, which augmentation makes."""
    soil: float
    """Its own soil along palette.SOIL, 0 to 1."""
    texture: tuple[int, int]
    """Row and column of its crop of the bank of random fields."""
    lattice: tuple[int, int]
    """10 m pixels below and right of the tile's last 60 m lines."""


def place_of(rng: np.random.Generator, climate: str, room: int) -> Place:
    """Draw it; ``room``: cells of the bank left over by the chip."""
    known = CLIMATE[climate]
    low, high = known.soils
    return Place(
        climate=climate,
        latitude=float(rng.uniform(*known.latitude)),
        soil=float(np.clip(low + (high - low) * rng.beta(1.6, 1.6), 0.0, 1.0)),
        texture=(int(rng.integers(0, room + 1)), int(rng.integers(0, room + 1))),
        lattice=(int(rng.integers(0, 6)), int(rng.integers(0, 6))),
    )


def draw_day(rng: np.random.Generator, climate: str) -> int:
    """Day of the year of a pass when the land is free of snow."""
    low, high = CLIMATE[climate].passes
    return int(rng.integers(low, high + 1))


def season_of(rng: np.random.Generator, place: Place, day: int, spectra: str) -> Season:
    """The calendar's part and the weather's: early and late rains, a shower before."""
    known = CLIMATE[place.climate]
    vigour = _swing(known.vigour, day - known.leafy - float(rng.normal(0.0, 12.0)))
    moisture = _swing(known.moisture, day - known.wet) + float(rng.normal(0.0, 0.12))
    return Season(
        vigour=min(max(vigour + float(rng.normal(0.0, 0.05)), 0.0), 1.0),
        moisture=min(max(moisture, 0.0), 1.0),
        year=(day % 365) / 365.0,
        soil=place.soil,
        spectra=spectra,
    )


def _swing(bounds: tuple[float, float], days: float) -> float:
    """``bounds``'s upper value at 0 days, its lower half a year off."""
    return bounds[0] + (bounds[1] - bounds[0]) * 0.5 * (1.0 + math.cos(2.0 * math.pi * days / 365.0))


def sun_of(place: Place, day: int) -> Sun:
    """At 10:30 mean solar time, when Sentinel-2 passes."""
    decline = math.radians(-23.44 * math.cos(2.0 * math.pi * (day + 10) / 365.0))
    latitude, hour = math.radians(place.latitude), math.radians(-22.5)
    high = math.sin(latitude) * math.sin(decline) + math.cos(latitude) * math.cos(decline) * math.cos(hour)
    east = -math.cos(decline) * math.sin(hour)
    north = math.cos(latitude) * math.sin(decline) - math.sin(latitude) * math.cos(decline) * math.cos(hour)
    return Sun(
        elevation=max(math.degrees(math.asin(high)), 8.0),
        azimuth=math.degrees(math.atan2(east, north)) % 360.0,
    )
