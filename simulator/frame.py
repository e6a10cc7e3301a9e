"""Where and when the simulated district is: its lattice, its calendar, its sun. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from registry.grid import Grid

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

START = date(2023, 7, 1)
"""First day of the district's record: dry season, so that histories begin with many clear looks."""

SUB = 2
"""World cells per 10 m pixel along one axis: mixed pixels come from averaging them."""

MARGIN = 10
"""Pixels of world beyond the district, so that shifts and blur never meet an edge."""


@dataclass(frozen=True)
class Frame:
    """The district's lattice inside Sentinel-2 tile 21LWK (a fictional valley in Mato Grosso, Brazil)."""

    epsg: int = 32721
    """UTM zone 21 south."""
    left: int = 561_240
    """Easting of the west edge, metres, on the 60 m lattice of the tile."""
    top: int = 8_913_600
    """Northing of the north edge, metres, on the 60 m lattice of the tile."""
    size: int = 300
    """Pixels of 10 m along one side; a multiple of 6, so that 60 m bands fit."""
    tile: str = "21LWK"
    """MGRS tile."""
    latitude: float = -9.83
    """Degrees north, for the sun."""

    @property
    def cells(self) -> int:
        """World cells along one side, margin included."""
        return (self.size + 2 * MARGIN) * SUB

    @property
    def grid(self) -> Grid:
        """The 10 m grid of the district."""
        return Grid(epsg=self.epsg, left=self.left, top=self.top, width=self.size, height=self.size)

    def axes(self) -> tuple[Floats, Floats]:
        """(x, y) of every world cell centre: metres east and south of the north-west corner."""
        step = 10.0 / SUB
        line = ((np.arange(self.cells) + 0.5) * step - 10.0 * MARGIN).astype(np.float32)
        x, y = np.meshgrid(line, line)
        return x, y

    def to_lonlat(self, local: BaseGeometry) -> BaseGeometry:
        """A geometry in local metres (east, south) as lon/lat degrees, rounded to about a centimetre."""
        corner = np.array([self.left, self.top], np.float64)
        metres = shapely.transform(local, lambda xy: corner + xy * np.array([1.0, -1.0]))
        return shapely.set_precision(self.grid.to_world(metres), 1e-7)


@dataclass(frozen=True)
class Sun:
    """Where the sun stands."""

    zenith: float
    """Degrees from the vertical."""
    azimuth: float
    """Degrees clockwise from north."""

    @property
    def slope(self) -> float:
        """tan(zenith): metres of shadow per metre of height."""
        return math.tan(math.radians(self.zenith))

    @property
    def towards(self) -> tuple[float, float]:
        """Unit vector (east, south) on the ground that points to the sun."""
        azimuth = math.radians(self.azimuth)
        return math.sin(azimuth), -math.cos(azimuth)


def sun_at(day: date, latitude: float, *, solar_hour: float = 10.27) -> Sun:
    """The sun at ``solar_hour`` (Sentinel-2 crosses at 10:30 mean local time); Cooper's declination."""
    ordinal = day.timetuple().tm_yday
    declination = math.radians(23.45) * math.sin(2 * math.pi * (284 + ordinal) / 365)
    hour = math.radians(15.0 * (solar_hour - 12.0))
    phi = math.radians(latitude)
    height = math.sin(phi) * math.sin(declination) + math.cos(phi) * math.cos(declination) * math.cos(hour)
    east = -math.cos(declination) * math.sin(hour)
    north = math.cos(phi) * math.sin(declination) - math.sin(phi) * math.cos(declination) * math.cos(hour)
    return Sun(math.degrees(math.acos(height)), math.degrees(math.atan2(east, north)) % 360.0)


def day_number(day: date) -> int:
    """Days since START."""
    return (day - START).days


def moment(day: date, hour: int, minute: int, second: float) -> datetime:
    """A UTC moment on ``day``."""
    whole = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
    return whole + timedelta(seconds=second)
