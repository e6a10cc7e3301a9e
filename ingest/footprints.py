"""Footprints as providers draw them and areas as they are asked for: repaired, split at 180, buffered."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import shapely
from shapely.affinity import scale, translate
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from registry.geometry import parse_area_geometry

WIDEST = 60.0
"""Degrees of longitude; a footprint that seems wider runs over the antimeridian or is nonsense."""

METRES_PER_DEGREE = 110_574.0
"""Of latitude at the equator, where it is shortest: buffers come out a little too wide, never narrow."""


def footprint(geojson: object) -> BaseGeometry:
    """A valid (multi)polygon inside -180..180, -90..90. Raises ValueError with one line.

    A ring over the antimeridian is split there, whether it was drawn past 180 or around the world.
    """
    if not isinstance(geojson, dict) or geojson.get("type") not in {"Polygon", "MultiPolygon"}:
        kind = geojson.get("type") if isinstance(geojson, dict) else type(geojson).__name__
        raise ValueError(f"geometry is a {kind}; a footprint must be a Polygon or MultiPolygon")
    if not all(map(math.isfinite, _numbers(geojson.get("coordinates")))):
        raise ValueError("geometry has a coordinate that is not a number; the provider must correct it")
    geometry = shapely.force_2d(shapely.geometry.shape(geojson))
    parts = [_unrolled(part) for part in shapely.get_parts(geometry)]
    _check_bounds(parts)
    whole = wrapped(shapely.union_all([_polygons(shapely.make_valid(part)) for part in parts]))
    return parse_area_geometry(whole)


def _numbers(coordinates: object) -> Iterator[float]:
    if isinstance(coordinates, list | tuple):
        for one in coordinates:
            yield from _numbers(one)
    else:
        yield float(coordinates) if isinstance(coordinates, int | float) else math.nan


def _unrolled(polygon: Polygon) -> Polygon:
    """A ring drawn around the world, from 179 to -179, as one that goes on past 180."""
    west, _, east, _ = polygon.bounds if not polygon.is_empty else (0.0, 0.0, 0.0, 0.0)
    if east - west <= 180.0:
        return polygon
    return shapely.transform(polygon, lambda xy: xy + (xy[:, :1] < 0) * [360.0, 0.0])


def _check_bounds(parts: Iterable[BaseGeometry]) -> None:
    for part in parts:
        west, south, east, north = part.bounds if not part.is_empty else (math.nan,) * 4
        if not (-360.0 <= west <= east <= 360.0 and -90.0 <= south <= north <= 90.0):
            raise ValueError(
                f"geometry reaches {west:.6g},{south:.6g},{east:.6g},{north:.6g}, outside the world; "
                "it must be longitude, latitude in degrees"
            )
        if east - west > WIDEST:
            raise ValueError(
                f"geometry is {east - west:.4g} degrees wide, more than {WIDEST:.0f}; split it at 180"
            )


def _polygons(geometry: BaseGeometry) -> BaseGeometry:
    """What has area in it; a repaired ring can leave lines behind."""
    parts = [one for one in shapely.get_parts(geometry) if isinstance(one, Polygon)]
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def wrapped(geometry: BaseGeometry) -> BaseGeometry:
    """The same place inside -180..180: what lies past the antimeridian comes in from the other side."""
    west, _, east, _ = geometry.bounds
    if west >= -180.0 and east <= 180.0:
        return geometry
    pieces = [
        translate(geometry.intersection(box(shift - 180.0, -90.0, shift + 180.0, 90.0)), xoff=-shift)
        for shift in (-360.0, 0.0, 360.0)
    ]
    return _polygons(shapely.union_all([piece for piece in pieces if not piece.is_empty]))


def buffered(geometry: BaseGeometry, metres: float) -> BaseGeometry:
    """An area with ``metres`` around it, in degrees; a little too wide rather than too narrow."""
    if metres <= 0.0:
        return geometry
    return wrapped(shapely.union_all([_buffered(part, metres) for part in shapely.get_parts(geometry)]))


def _buffered(polygon: Polygon, metres: float) -> BaseGeometry:
    degrees = metres / METRES_PER_DEGREE
    _, south, _, north = polygon.bounds
    shrink = max(0.01, math.cos(math.radians(min(89.9, max(abs(south), abs(north)) + degrees))))
    squeezed = scale(polygon, xfact=shrink, yfact=1.0, origin=(0.0, 0.0))
    grown = scale(squeezed.buffer(degrees), xfact=1.0 / shrink, yfact=1.0, origin=(0.0, 0.0))
    return grown.intersection(box(-540.0, -90.0, 540.0, 90.0))


def query_geometry(areas: Iterable[BaseGeometry]) -> BaseGeometry:
    """One small geometry that holds all areas: the box of each part, joined where they meet."""
    boxes = [box(*part.bounds) for area in areas for part in shapely.get_parts(area)]
    return shapely.union_all(boxes)
