"""Geometry at the door: GeoJSON in EPSG:4326 to shapely values, geodesic hectares. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

import shapely
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pyproj import Geod
from shapely.geometry import MultiPolygon, Polygon, box, mapping, shape
from shapely.geometry.base import BaseGeometry

MAX_VERTICES = 100_000
"""Most vertices a stored geometry may have; importers simplify above it and say so."""

WORLD = box(-180.0, -90.0, 180.0, 90.0)


def parse_area_geometry(value: object) -> BaseGeometry:
    """A valid, non-empty Polygon or MultiPolygon in lon/lat degrees, from GeoJSON or shapely.

    Raises ValueError (pydantic turns it into a validation error) with the remedy in the message.
    """
    geometry = _to_shapely(value)
    if not isinstance(geometry, Polygon | MultiPolygon):
        raise ValueError(f"geometry is a {geometry.geom_type}; give a Polygon or MultiPolygon")
    if geometry.is_empty:
        raise ValueError("geometry is empty; give a Polygon or MultiPolygon")
    _check_coordinates(geometry)
    if not geometry.is_valid:
        raise ValueError(f"geometry is invalid ({shapely.is_valid_reason(geometry)}); repair it first")
    if geometry.area == 0.0:
        raise ValueError("geometry has no area; give a polygon that encloses something")
    return geometry


def parse_any_geometry(value: object) -> BaseGeometry:
    """Any non-empty geometry in lon/lat degrees (points and lines included)."""
    geometry = _to_shapely(value)
    if geometry.is_empty:
        raise ValueError("geometry is empty")
    _check_coordinates(geometry)
    return geometry


def _to_shapely(value: object) -> BaseGeometry:
    if isinstance(value, BaseGeometry):
        return value
    if isinstance(value, str):
        value = _parsed(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"geometry is {type(value).__name__}; give a GeoJSON object")
    try:
        geometry: BaseGeometry = shape(dict(value))
    except Exception as exc:
        raise ValueError(f"geometry is not GeoJSON ({exc})") from exc
    return geometry


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"geometry is the text {text[:40]!r}; give a GeoJSON object") from exc


def _check_coordinates(geometry: BaseGeometry) -> None:
    vertices = int(shapely.get_num_coordinates(geometry))
    if vertices > MAX_VERTICES:
        raise ValueError(f"geometry has {vertices} vertices, at most {MAX_VERTICES} are allowed; simplify it")
    coordinates = shapely.get_coordinates(geometry)
    if not bool(((coordinates > -1e9) & (coordinates < 1e9)).all()):
        raise ValueError("geometry has a coordinate that is not a number; repair it first")
    if not WORLD.covers(box(*geometry.bounds)):
        west, south, east, north = geometry.bounds
        raise ValueError(
            f"geometry reaches {west:.6g},{south:.6g},{east:.6g},{north:.6g}, outside "
            "-180,-90,180,90; give longitude, latitude in degrees (EPSG:4326), split at 180"
        )


def _to_geojson(geometry: BaseGeometry) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(mapping(geometry)))
    return found


AreaGeometry = Annotated[
    BaseGeometry,
    PlainValidator(parse_area_geometry),
    PlainSerializer(_to_geojson, return_type=dict[str, Any]),
    WithJsonSchema({"type": "object", "description": "GeoJSON Polygon or MultiPolygon, EPSG:4326"}),
]
"""A pydantic field that holds a shapely (multi)polygon and travels as GeoJSON."""

AnyGeometry = Annotated[
    BaseGeometry,
    PlainValidator(parse_any_geometry),
    PlainSerializer(_to_geojson, return_type=dict[str, Any]),
    WithJsonSchema({"type": "object", "description": "GeoJSON geometry, EPSG:4326"}),
]


@cache
def _ellipsoid() -> Geod:
    return Geod(ellps="WGS84")


def hectares(geometry: BaseGeometry) -> float:
    """Area on the WGS 84 ellipsoid in hectares, of a lon/lat geometry, whatever its ring order."""
    if geometry.is_empty:
        return 0.0
    oriented = shapely.orient_polygons(geometry)
    square_metres, _ = _ellipsoid().geometry_area_perimeter(oriented)
    return abs(float(square_metres)) / 10_000.0


def distance_metres(a: BaseGeometry, b: BaseGeometry) -> float:
    """Shortest geodesic distance between two lon/lat geometries in metres (0 where they meet)."""
    if a.intersects(b):
        return 0.0
    near_a, near_b = shapely.get_coordinates(shapely.shortest_line(a, b))
    _, _, metres = _ellipsoid().inv(near_a[0], near_a[1], near_b[0], near_b[1])
    return float(metres)
