"""Geometry as people deliver it to geometry that can be stored, saying what was done. Pure.

Works in lon/lat degrees. Each step returns the geometry and what a person should know of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import GeometryCollection, MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import LinearRing

from registry.geometry import MAX_VERTICES, hectares

FIRST_TOLERANCE = 1e-6
"""Degrees (0.1 m): where simplifying begins; far below a pixel of 10 m."""

AREA_DIFFERENCE = 0.05
"""Share by which declared and computed area may differ before it is noted."""

METRES_PER_DEGREE = 111_320.0
"""Along a meridian or the equator; for telling tolerances only."""


class Unusable(Exception):
    """This geometry cannot be stored: its row is reported with the message, the others go on."""


@dataclass(frozen=True)
class Repaired:
    """A geometry that can be stored, and what was done to it."""

    geometry: BaseGeometry
    notes: tuple[str, ...] = field(default=())


def repaired(geometry: BaseGeometry | None) -> Repaired:
    """A valid Polygon or MultiPolygon inside the world, of at most MAX_VERTICES vertices.

    Raises Unusable where there is no polygon to be had.
    """
    if geometry is None or geometry.is_empty:
        raise Unusable("row has no geometry; draw one or take the row out")
    if geometry.geom_type not in ("Polygon", "MultiPolygon", "GeometryCollection"):
        raise Unusable(f"geometry is a {geometry.geom_type}, not a polygon; give the outline as a polygon")
    geometry = shapely.force_2d(geometry)
    _check_degrees(geometry)
    notes: list[str] = []
    for step in (_split_at_180, _simplified, _made_valid):
        geometry = step(geometry, notes)
    if geometry.is_empty or geometry.area == 0.0:
        raise Unusable("polygon encloses no area; draw it again")
    return Repaired(geometry, tuple(notes))


def needs_repair(geometries: NDArray[np.object_]) -> NDArray[np.bool_]:
    """True for each geometry that ``repaired`` would change or refuse: one pass over a whole file."""
    kinds = shapely.get_type_id(geometries)
    plain = (kinds == shapely.GeometryType.POLYGON) | (kinds == shapely.GeometryType.MULTIPOLYGON)
    fine = plain & ~shapely.is_empty(geometries) & ~shapely.has_z(geometries)
    fine &= shapely.get_num_coordinates(geometries) <= MAX_VERTICES
    west, south, east, north = shapely.bounds(geometries).T
    fine &= (west >= -180) & (east <= 180) & (south >= -90) & (north <= 90) & (east - west <= 180)
    fine[fine] = shapely.is_valid(geometries[fine]) & (shapely.area(geometries[fine]) > 0)
    needs: NDArray[np.bool_] = ~fine
    return needs


def area_note(declared_ha: float | None, computed_ha: float) -> str:
    """What to note where the register's own figure differs from the polygon; empty where it does not."""
    if not declared_ha:
        return ""
    difference = computed_ha / declared_ha - 1.0
    if abs(difference) <= AREA_DIFFERENCE:
        return ""
    return f"declared {declared_ha:,.2f} ha, the polygon has {computed_ha:,.2f} ha ({difference:+.0%})"


def _check_degrees(geometry: BaseGeometry) -> None:
    coordinates = shapely.get_coordinates(geometry)
    if not np.isfinite(coordinates).all():
        raise Unusable("a coordinate is not a number, or lies outside its coordinate system; check the CRS")
    x, y = np.abs(coordinates).max(axis=0)
    if y <= 90.0 and x <= 540.0:
        return
    if x <= 90.0 and y <= 180.0:
        raise Unusable(f"latitude reaches {y:.6g}, beyond 90: longitude and latitude look swapped; swap them")
    raise Unusable(
        f"coordinates reach {max(x, y):.6g}, which is not degrees; give the file's CRS, e.g. --crs EPSG:32722"
    )


def _split_at_180(geometry: BaseGeometry, notes: list[str]) -> BaseGeometry:
    """Cut a polygon that crosses the antimeridian, whichever way it was written, at 180 degrees."""
    west, south, east, north = geometry.bounds
    inside = west >= -180.0 and south >= -90.0 and east <= 180.0 and north <= 90.0
    if inside and east - west <= 180.0:
        return geometry
    whole = shapely.union_all([_valid(_unrolled(part)) for part in _polygons(geometry)])
    if whole.is_empty or (inside and whole.bounds == geometry.bounds):
        return geometry if inside else whole
    west, _, east, _ = whole.bounds
    turns = range(math.floor((west + 180.0) / 360.0), math.ceil((east + 180.0) / 360.0))
    pieces = [_wound_back(whole, 360.0 * turn) for turn in turns]
    if len(turns) > 1:
        notes.append("crosses the antimeridian: split at 180 degrees into parts")
    else:
        notes.append("longitudes brought between -180 and 180")
    return _only_polygons(shapely.union_all(pieces))


def _wound_back(whole: BaseGeometry, degrees: float) -> BaseGeometry:
    strip = shapely.intersection(whole, box(-180.0 + degrees, -90.0, 180.0 + degrees, 90.0))
    return shapely.transform(_only_polygons(strip), lambda points: points - np.array([degrees, 0.0]))


def _unrolled(polygon: Polygon) -> Polygon:
    """Follow each ring without jumps: a step of more than half the world goes the other way round."""
    shell = _unrolled_ring(polygon.exterior)
    middle = shell[:, 0].mean()
    holes = [_unrolled_ring(hole) for hole in polygon.interiors]
    return Polygon(shell, [hole - [_turns(hole[:, 0].mean() - middle), 0.0] for hole in holes])


def _unrolled_ring(ring: LinearRing) -> NDArray[np.float64]:
    points = shapely.get_coordinates(ring)
    steps = np.diff(points[:, 0])
    points[1:, 0] -= np.cumsum([_turns(step) for step in steps])
    if abs(points[-1, 0] - points[0, 0]) > 180.0:
        raise Unusable("polygon goes round a pole; cut it along a meridian")
    return points


def _turns(degrees: float) -> float:
    return 360.0 * round(float(degrees) / 360.0) if abs(degrees) > 180.0 else 0.0


def _simplified(geometry: BaseGeometry, notes: list[str]) -> BaseGeometry:
    before = int(shapely.get_num_coordinates(geometry))
    tolerance = FIRST_TOLERANCE
    found = geometry
    while int(shapely.get_num_coordinates(found)) > MAX_VERTICES:
        # Without topology it is ten times faster; what it breaks is made valid afterwards.
        found = shapely.simplify(geometry, tolerance, preserve_topology=False)
        if int(shapely.get_num_coordinates(found)) <= MAX_VERTICES:
            found = _valid(found)
        tolerance *= 2.0
    if found is not geometry:
        metres = tolerance / 2.0 * METRES_PER_DEGREE
        share = found.area / geometry.area - 1.0 if geometry.area else 0.0
        notes.append(
            f"{before:,} vertices simplified to {int(shapely.get_num_coordinates(found)):,}, "
            f"at most {MAX_VERTICES:,} are kept; no edge moved by more than {metres:.1f} m, area {share:+.3%}"
        )
    return found


def _made_valid(geometry: BaseGeometry, notes: list[str]) -> BaseGeometry:
    if geometry.is_valid and geometry.geom_type != "GeometryCollection":
        return geometry
    reason = shapely.is_valid_reason(geometry)
    found = _valid(geometry)
    if geometry.is_valid:
        notes.append("points and lines beside the polygons left out")
    else:
        notes.append(f"invalid geometry repaired ({reason}); {hectares(found):,.2f} ha after repair")
    return found


def _valid(geometry: BaseGeometry) -> BaseGeometry:
    if geometry.is_valid:
        return _only_polygons(geometry)
    return _only_polygons(shapely.make_valid(geometry, method="structure", keep_collapsed=False))


def _polygons(geometry: BaseGeometry) -> list[Polygon]:
    if isinstance(geometry, Polygon):
        return [geometry]
    if isinstance(geometry, MultiPolygon | GeometryCollection):
        return [polygon for part in geometry.geoms for polygon in _polygons(part)]
    return []


def _only_polygons(geometry: BaseGeometry) -> BaseGeometry:
    if isinstance(geometry, Polygon | MultiPolygon):
        return geometry
    parts = _polygons(geometry)
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)
