"""GeoJSON of class maps: corners against rasterio's, specks, the antimeridian, nothing found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.features import shapes
from rasterio.transform import from_origin
from rasterio.warp import transform_geom
from scipy.ndimage import gaussian_filter, label
from shapely.geometry import MultiPolygon, shape

from detector.images import Image
from detector.oneoff_files import write_polygons
from registry.geometry import hectares

LABELS = {1: "forest", 2: "transformed"}


def _image(size: int, *, crs: str = "EPSG:32634", left: float = 500_000, pixel: float = 10.0) -> Image:
    transform = from_origin(left, 5_000_000, pixel, pixel)
    profile = {"crs": CRS.from_string(crs), "transform": transform, "width": size, "height": size}
    return Image(Path("map.tif"), {}, None, profile)


def _ragged(size: int) -> NDArray[np.uint8]:
    """Two classes in patches with holes, specks, and corners that touch."""
    rough = gaussian_filter(np.random.default_rng(3).normal(size=(size, size)), 2.0)
    classes: NDArray[np.uint8] = np.digitize(rough, (0.02, 0.12)).astype(np.uint8)
    return classes


def _features(path: Path) -> list[dict[str, Any]]:
    found: dict[str, Any] = json.loads(path.read_text())
    assert found["type"] == "FeatureCollection"
    features: list[dict[str, Any]] = found["features"]
    return features


def test_every_corner_lies_where_rasterio_puts_it(tmp_path: Path) -> None:
    image, classes = _image(120), _ragged(120)
    sizes = write_polygons(tmp_path / "map.geojson", image, classes, labels=LABELS)
    features = _features(tmp_path / "map.geojson")
    profile = image.profile
    oracle = [
        (LABELS[int(code)], shape(transform_geom(profile["crs"], "EPSG:4326", geometry)))
        for geometry, code in shapes(
            classes, mask=classes > 0, connectivity=4, transform=profile["transform"]
        )
    ]
    oracle.sort(key=lambda one: -hectares(one[1]))
    assert len(features) == len(sizes) == len(oracle) > 50
    assert int(shapely.get_num_interior_rings([polygon for _, polygon in oracle]).sum()) > 20
    written = [(one["properties"]["class"], one["properties"]["hectares"]) for one in features]
    assert written == [(name, pytest.approx(size, abs=1e-4)) for name, size in sizes]
    for name in LABELS.values():
        ours = [shape(one["geometry"]) for one in features if one["properties"]["class"] == name]
        theirs = [polygon for kind, polygon in oracle if kind == name]
        found, wanted = (np.sort(shapely.get_coordinates(some), axis=0) for some in (ours, theirs))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-7)  # one centimetre
        assert sum(map(hectares, ours)) == pytest.approx(sum(map(hectares, theirs)), rel=1e-5)


def test_what_is_smaller_than_asked_is_left_out_and_nothing_else(tmp_path: Path) -> None:
    image, classes = _image(1100), _ragged(1100)  # more rows than are counted at a time
    sizes = write_polygons(tmp_path / "map.geojson", image, classes, labels=LABELS, least_ha=0.5)
    pixels = np.concatenate([np.bincount(label(classes == code)[0].ravel())[1:] for code in LABELS])
    certain = image.pixel_hectares() * pixels
    assert len(sizes) == (certain >= 0.5).sum() < len(pixels)
    assert min(size for _, size in sizes) >= 0.5


def test_over_the_antimeridian_a_polygon_is_split_there(tmp_path: Path) -> None:
    image = _image(50, crs="EPSG:32701", left=240_000, pixel=1000.0)  # zone 1 begins in it
    sizes = write_polygons(tmp_path / "map.geojson", image, np.ones((50, 50), np.uint8), labels=LABELS)
    (one,) = _features(tmp_path / "map.geojson")
    geometry = shape(one["geometry"])
    assert isinstance(geometry, MultiPolygon)
    west, east = sorted(geometry.geoms, key=lambda part: part.bounds[0])
    assert (west.bounds[0], east.bounds[2]) == (-180.0, 180.0)
    assert west.bounds[2] < -179.0 < 179.0 < east.bounds[0]
    assert sizes[0][1] == pytest.approx(250_000, rel=0.01)


def test_a_map_without_anything_is_an_empty_collection(tmp_path: Path) -> None:
    assert write_polygons(tmp_path / "m.geojson", _image(9), np.zeros((9, 9), np.uint8), labels=LABELS) == ()
    assert _features(tmp_path / "m.geojson") == []
