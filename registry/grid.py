"""The area's 10 m grid: one UTM zone per area, snapped to the Sentinel-2 lattice. Pure."""

from __future__ import annotations

import math
from functools import cache
from typing import Self

import numpy as np
import shapely
from pydantic import Field, model_validator
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from registry.errors import InputError
from registry.values import Value

RESOLUTION = 10
"""Metres per pixel of every area grid."""

MAX_PIXELS = 12_100 * 12_100
"""Largest grid: one Sentinel-2 tile of 110 km and a margin; larger areas are split by the user."""


class Grid(Value):
    """A north-up raster grid in one UTM zone."""

    epsg: int = Field(ge=32601, le=32760)
    """EPSG code of the UTM zone (326xx north, 327xx south)."""
    left: int
    """Easting of the left edge of the first column, metres, a multiple of 10."""
    top: int
    """Northing of the top edge of the first row, metres, a multiple of 10."""
    width: int = Field(ge=1)
    """Columns of 10 m."""
    height: int = Field(ge=1)
    """Rows of 10 m."""

    @model_validator(mode="after")
    def _fits_into_memory(self) -> Self:
        if self.width * self.height > MAX_PIXELS:
            raise ValueError(
                f"grid has {self.width} x {self.height} pixels, at most {MAX_PIXELS} are allowed"
            )
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return (self.height, self.width)

    @property
    def crs(self) -> str:
        """The coordinate reference system as ``EPSG:n``."""
        return f"EPSG:{self.epsg}"

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """(left, bottom, right, top) in metres."""
        right = self.left + self.width * RESOLUTION
        bottom = self.top - self.height * RESOLUTION
        return (self.left, bottom, right, self.top)

    @property
    def geotransform(self) -> tuple[float, float, float, float, float, float]:
        """(a, b, c, d, e, f) of the affine pixel-to-world transform."""
        return (float(RESOLUTION), 0.0, float(self.left), 0.0, -float(RESOLUTION), float(self.top))

    def to_world(self, geometry: BaseGeometry) -> BaseGeometry:
        """Grid metres to lon/lat degrees."""
        return transformed(geometry, _transformer(self.epsg, inverse=True))

    def from_world(self, geometry: BaseGeometry) -> BaseGeometry:
        """Lon/lat degrees to grid metres."""
        return transformed(geometry, _transformer(self.epsg, inverse=False))


@cache
def _transformer(epsg: int, *, inverse: bool) -> Transformer:
    source, target = (epsg, 4326) if inverse else (4326, epsg)
    return Transformer.from_crs(source, target, always_xy=True)


def transformed(geometry: BaseGeometry, transformer: Transformer) -> BaseGeometry:
    """The geometry in the transformer's other system, corner by corner."""
    return shapely.transform(geometry, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))


def utm_epsg(lon: float, lat: float) -> int:
    """EPSG code of the UTM zone of a point (regular zones; Norway and Svalbard not special)."""
    zone = min(60, int((lon + 180.0) // 6.0) + 1)
    return (32600 if lat >= 0 else 32700) + zone


def _centre(geometry: BaseGeometry) -> tuple[float, float]:
    """Middle of the bounds in lon/lat; of an area split at the antimeridian the middle across it."""
    west, south, east, north = geometry.bounds
    if east - west > 180.0:
        turned = shapely.transform(geometry, lambda xy: xy + (xy[:, :1] < 0.0) * [360.0, 0.0])
        west, _, east, _ = turned.bounds
    return ((west + east) / 2.0 + 180.0) % 360.0 - 180.0, (south + north) / 2.0


def area_grid(geometry: BaseGeometry, buffer_m: float) -> Grid:
    """The grid that covers ``geometry`` (lon/lat) with ``buffer_m`` metres around it.

    Raises InputError where the area is larger than one grid may be.
    """
    epsg = utm_epsg(*_centre(geometry))
    forward = _transformer(epsg, inverse=False)
    # Straight edges in degrees curve in UTM: densify so that the bounds hold the whole polygon.
    metres = transformed(shapely.segmentize(geometry, 0.01), forward)
    west, south, east, north = metres.bounds
    # Exact for a round buffer; shapely's own has corners and falls short by up to a thousandth.
    west, south, east, north = west - buffer_m, south - buffer_m, east + buffer_m, north + buffer_m
    if not all(math.isfinite(edge) for edge in (west, south, east, north)):
        raise InputError(f"area spans more than UTM zone EPSG:{epsg} can hold; split it by longitude")
    left, top = math.floor(west / RESOLUTION) * RESOLUTION, math.ceil(north / RESOLUTION) * RESOLUTION
    width = max(1, math.ceil((east - left) / RESOLUTION))
    height = max(1, math.ceil((top - south) / RESOLUTION))
    if width * height > MAX_PIXELS:
        raise InputError(
            f"area needs {width} x {height} pixels of 10 m, at most {MAX_PIXELS} are allowed "
            "(about 121 x 121 km); split it into smaller areas"
        )
    return Grid(epsg=epsg, left=left, top=top, width=width, height=height)
