"""Geometry at the door: what is refused and why, and areas and distances on the ellipsoid."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box, mapping

from registry.geometry import (
    MAX_VERTICES,
    AreaGeometry,
    distance_metres,
    hectares,
    parse_any_geometry,
    parse_area_geometry,
)

ADAPTER: TypeAdapter[Any] = TypeAdapter(AreaGeometry)
SQUARE = box(25.0, 45.0, 25.1, 45.1)


@pytest.mark.parametrize(
    "shape", [SQUARE, MultiPolygon([SQUARE, box(26, 45, 27, 46)]), box(-180, -90, 180, 90)]
)
def test_a_polygon_travels_as_geojson_and_comes_back_the_same(shape: Polygon) -> None:
    wire = ADAPTER.dump_json(ADAPTER.validate_python(shape))
    assert ADAPTER.validate_json(wire).equals_exact(shape)
    assert parse_area_geometry(json.dumps(mapping(shape))).equals_exact(shape)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Point(1, 1), "geometry is a Point; give a Polygon or MultiPolygon"),
        (LineString([(0, 0), (1, 1)]), "geometry is a LineString; give a Polygon"),
        (Polygon(), "geometry is empty; give a Polygon"),
        (Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), "invalid (Self-intersection[0.5 0.5]); repair it first"),
        (Polygon([(0, 0), (1, 1), (0, 0)]), "; repair it first"),
        (
            box(170, 0, 190, 1),
            "geometry reaches 170,0,190,1, outside -180,-90,180,90; give longitude, latitude",
        ),
        (box(45, 80, 46, 100), "outside -180,-90,180,90"),
        (box(500_000, 4_000_000, 500_100, 4_000_100), "in degrees (EPSG:4326)"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, math.inf], [1, 0], [0, 0]]]}, "not a number"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "geometry is not GeoJSON"),
        ({"type": "Blob"}, "geometry is not GeoJSON"),
        ({}, "geometry is not GeoJSON"),
        (7, "geometry is int; give a GeoJSON object"),
        (None, "geometry is NoneType; give a GeoJSON object"),
        ("POLYGON((0 0))", "geometry is the text 'POLYGON((0 0))'; give a GeoJSON object"),
    ],
)
def test_what_cannot_be_an_area_is_refused_with_the_remedy(value: object, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python(value)
    assert said in caught.value.errors()[0]["msg"]


def test_too_many_vertices_are_refused() -> None:
    many = shapely.segmentize(SQUARE, 0.4 / (MAX_VERTICES + 10))
    with pytest.raises(ValueError, match=rf"vertices, at most {MAX_VERTICES} are allowed; simplify it"):
        parse_area_geometry(many)


def test_any_geometry_takes_points_and_lines_too() -> None:
    assert parse_any_geometry({"type": "Point", "coordinates": [25, 45]}) == Point(25, 45)
    with pytest.raises(ValueError, match="geometry is empty"):
        parse_any_geometry(LineString())


def test_hectares_of_known_figures() -> None:
    # Whole WGS 84 ellipsoid: 510,065,621.724 km2 (NIMA TR8350.2).
    octant = Polygon([(0, 0), (90, 0), (0, 90)])  # its edges, equator and meridians, are geodesics
    assert hectares(octant) * 8 == pytest.approx(510_065_621.724 * 100, rel=1e-7)
    # One degree by one degree at the equator: 12,308.778 km2 between geodesics (GeographicLib).
    assert hectares(box(0, 0, 1, 1)) == pytest.approx(1_230_877.8, rel=1e-5)
    assert hectares(Polygon()) == 0.0


@given(st.floats(-179, 178), st.floats(-80, 79), st.floats(0.001, 1.0))
def test_hectares_do_not_depend_on_ring_order_and_add_up(west: float, south: float, size: float) -> None:
    whole = box(west, south, west + size, south + size)
    middle = west + size / 2
    left, right = box(west, south, middle, south + size), box(middle, south, west + size, south + size)
    assert hectares(whole.reverse()) == pytest.approx(hectares(whole), rel=1e-12)
    # The edges east-west are geodesics, which bow a little away from the parallel: not exactly equal.
    assert hectares(left) + hectares(right) == pytest.approx(hectares(whole), rel=2e-4)


def test_holes_do_not_count() -> None:
    inner = box(25.02, 45.02, 25.04, 45.04)
    holed = Polygon(SQUARE.exterior, [inner.exterior])
    assert hectares(holed) == pytest.approx(hectares(SQUARE) - hectares(inner), rel=1e-9)


def test_distances_on_the_ellipsoid() -> None:
    # A degree of latitude at the equator is 110,574 m, one of longitude 111,320 m (WGS 84).
    assert distance_metres(Point(0, 0), Point(0, 1)) == pytest.approx(110_574, abs=1)
    assert distance_metres(Point(0, 0), Point(1, 0)) == pytest.approx(111_320, abs=1)
    assert distance_metres(SQUARE, box(25.05, 45.05, 26, 46)) == 0.0


@given(st.floats(-170, 170), st.floats(-80, 80), st.floats(0.001, 0.1), st.floats(0.001, 0.1))
def test_distance_is_symmetric(lon: float, lat: float, east: float, north: float) -> None:
    a, b = Point(lon, lat), Point(lon + east, lat + north)
    assert distance_metres(a, b) == pytest.approx(distance_metres(b, a), rel=1e-9)
    assert np.isfinite(distance_metres(a, b))
