"""The area's grid: snapped to the Sentinel-2 lattice, covering, in the right zone."""

from __future__ import annotations

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from shapely.geometry import MultiPolygon, Point, Polygon, box

from registry.errors import InputError
from registry.grid import MAX_PIXELS, RESOLUTION, Grid, area_grid, utm_epsg


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"),
    [
        (25.0, 45.0, 32635),
        (-60.0, -3.0, 32721),
        (-60.0001, -3.0, 32720),
        (-180.0, 10.0, 32601),
        (179.999, -17.0, 32760),
        (180.0, 0.0, 32660),
        (0.0, -0.0001, 32731),
        (0.0, 0.0, 32631),
    ],
)
def test_zones(lon: float, lat: float, epsg: int) -> None:
    assert utm_epsg(lon, lat) == epsg


def test_a_grid_by_hand() -> None:
    to_world = Transformer.from_crs(32635, 4326, always_xy=True)
    corners = [(500_003, 5_000_007), (500_018, 5_000_007), (500_018, 5_000_041), (500_003, 5_000_041)]
    grid = area_grid(Polygon([to_world.transform(*corner) for corner in corners]), 0.0)
    assert grid == Grid(epsg=32635, left=500_000, top=5_000_050, width=2, height=5)
    assert grid.shape == (5, 2)
    assert grid.crs == "EPSG:32635"
    assert grid.bounds == (500_000, 5_000_000, 500_020, 5_000_050)
    assert grid.geotransform == (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_050.0)


places = st.tuples(
    st.floats(-179.9, 179.5), st.floats(-79.0, 79.0), st.floats(0.0005, 0.3), st.floats(0.0005, 0.3)
)


@given(places, st.sampled_from([0.0, 1.0, 250.0, 2_000.0]))
def test_a_grid_covers_its_area_and_is_snapped(
    place: tuple[float, float, float, float], buffer_m: float
) -> None:
    west, south, width, height = place
    area = box(west, south, west + width, south + height)
    grid = area_grid(area, buffer_m)
    left, bottom, right, top = grid.bounds
    assert all(edge % RESOLUTION == 0 for edge in grid.bounds)
    assert grid.epsg // 100 == (326 if (south + south + height) / 2 >= 0 else 327)
    # The whole outline, not only its corners: edges in degrees are curves in metres.
    outline = grid.from_world(shapely.segmentize(area, 0.001))
    west_m, south_m, east_m, north_m = outline.bounds
    assert left <= west_m - buffer_m + 0.01
    assert bottom <= south_m - buffer_m + 0.01
    assert right >= east_m + buffer_m - 0.01
    assert top >= north_m + buffer_m - 0.01
    # And no more than a pixel too much on each side.
    assert right - left <= east_m - west_m + 2 * buffer_m + 2 * RESOLUTION + 1
    assert top - bottom <= north_m - south_m + 2 * buffer_m + 2 * RESOLUTION + 1


@given(places)
def test_world_and_grid_are_inverse(place: tuple[float, float, float, float]) -> None:
    west, south, width, height = place
    area = box(west, south, west + width, south + height)
    grid = area_grid(area, 0.0)
    back = grid.to_world(grid.from_world(area))
    assert shapely.hausdorff_distance(back, area) < 1e-8


def test_the_southern_hemisphere_counts_from_ten_million() -> None:
    grid = area_grid(box(-60.02, -3.02, -60.0, -3.0), 0.0)
    assert grid.epsg == 32720
    assert 9_660_000 < grid.top < 9_670_000


def test_an_area_across_the_equator_has_one_grid() -> None:
    grid = area_grid(box(25.0, -0.01, 25.01, 0.03), 0.0)
    assert grid.epsg == 32635
    assert grid.bounds[1] < 0 < grid.top


def test_an_area_split_at_the_antimeridian_has_one_grid_across_it() -> None:
    area = MultiPolygon([box(179.95, -17.1, 180.0, -17.0), box(-180.0, -17.1, -179.97, -17.0)])
    grid = area_grid(area, 0.0)
    assert grid.epsg in (32760, 32701)
    assert grid.width * RESOLUTION == pytest.approx(0.08 * 106_500, rel=0.03)


def test_the_same_area_gives_the_same_grid_whatever_its_ring_order() -> None:
    area = Point(25.0, 45.0).buffer(0.05)
    assert area_grid(area, 30.0) == area_grid(area.reverse(), 30.0)


def test_an_area_too_large_for_one_grid_is_refused() -> None:
    with pytest.raises(InputError, match=rf"at most {MAX_PIXELS} are allowed .* split it into smaller areas"):
        area_grid(box(25.0, 45.0, 28.0, 47.0), 0.0)
    with pytest.raises(InputError, match="split it"):
        area_grid(box(-170.0, -60.0, 170.0, 60.0), 0.0)


@pytest.mark.parametrize("epsg", [32600, 32761, 4326, 3857])
def test_other_systems_are_no_grids(epsg: int) -> None:
    with pytest.raises(ValueError, match="epsg"):
        Grid(epsg=epsg, left=0, top=0, width=1, height=1)
