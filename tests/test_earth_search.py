"""Real Earth Search items, unchanged but for hrefs, through a real STAC API, ingest and reading."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from shapely.geometry import box, mapping

from detector.reading import ReaderSettings
from detector.stack import read_stack
from ingest.items import read_item
from ingest.providers import load_profile
from registry.grid import Grid
from registry.models import MASK_BAND, Scene, Sensor
from tests import romania
from tests.services import stac, web
from tests.test_stack import gdal_says, pass_of

RGBNIR = """
detection:
  models:
    transformed: [transformed-spectral-rgbnir]
    forest: [forest-spectral-rgbnir]
"""
"""Of tile 33TWL only these bands and the scene classes are at hand."""


def items_of(folder: Path, base: str) -> list[dict[str, Any]]:
    """The items, with the assets that lie here at ``base`` and the others where nothing is."""
    found = []
    for path in sorted(folder.glob("*/*.json")):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = f"{base.rstrip('/')}/{path.parent.name}/{asset['href'].rpartition('/')[2]}"
        found.append(item)
    return found


def with_crs(folder: Path, copy: Path) -> Path:
    """A copy whose files name their CRS themselves: those of 33TWL leave it to a sidecar file."""
    shutil.copytree(folder, copy)
    for path in copy.glob("*/*.tif"):
        with rasterio.open(path) as source:
            data, profile = source.read(), source.profile | {"driver": "GTiff"}
        path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)
        with rasterio.open(path, "w", **profile) as sink:
            sink.write(data)
    return copy


@pytest.mark.parametrize(("tile", "lon", "lat"), [("33TWL", 15.6, 45.5), ("29RKH", -11.4, 24.8)])
def test_real_items_become_looks(
    tmp_path: Path, real_data: Path, pgstac: stac.PgStac, tile: str, lon: float, lat: float
) -> None:
    folder, work = with_crs(real_data / f"earthsearch_{tile}", tmp_path / "served"), tmp_path / "nginx"
    work.mkdir()
    with web.files(folder, work) as url:
        items = items_of(folder, url)
        pgstac.put(items)
        home = romania.make_home(tmp_path / "home", pgstac.url, targets=f"    a: file://{tmp_path}/n\n")
        if tile == "33TWL":
            with (home.folder / "groundwatch.yml").open("a") as config:
                config.write(RGBNIR)
        place = {"type": "Feature", "properties": {"id": "tile", "name": tile, "kind": "watched"}}
        place["geometry"] = mapping(box(lon, lat, lon + 0.03, lat + 0.02))
        (home.folder / "tile.geojson").write_text(
            json.dumps({"type": "FeatureCollection", "features": [place]})
        )
        home.run("area", "add", "tile.geojson")
        home.run("backfill", "--since", "2015-01-01")
    status = home.json("status")
    assert status["passes"] == len(items)
    assert [letter["reason"] for letter in home.json("dead", "list")] == []
    rows = [name for name in home.results() if name.startswith("ledger/tile/forest/")]
    assert len(rows) == len(items)


def test_every_band_of_a_real_item_is_read_as_gdal_reads_it_in_reflectance(
    tmp_path: Path, real_data: Path
) -> None:
    folder = real_data / "earthsearch_29RKH"
    with web.files(folder, tmp_path) as url:
        _check_bands(folder, items_of(folder, url)[0])


def _check_bands(folder: Path, item: dict[str, Any]) -> None:
    profile = load_profile("earth-search")
    collection = next(one for one in profile.collections if one.sensor is Sensor.S2)
    scene = read_item(item, profile=profile, collection=collection)
    assert isinstance(scene, Scene), scene
    with rasterio.open(folder / scene.id / "B04.tif") as source:
        left, top, epsg = source.bounds.left + 40_000, source.bounds.top - 30_000, source.crs.to_epsg()
    grid = Grid(epsg=epsg, left=int(left // 10 * 10), top=int(top // 10 * 10), width=200, height=150)
    bands = set(scene.bands) - {MASK_BAND}
    assert len(bands) == 12
    reader = ReaderSettings(threads=2, reach=web.LOOPBACK)
    stack = read_stack(pass_of(scene), None, grid, bands, reader=reader)
    assert set(stack.bands) == bands
    for name in bands:
        oracle = gdal_says(folder / scene.id / f"{name}.tif", grid, classes=False) * scene.bands[name].scale
        assert np.nanmax(np.abs(stack.bands[name] - oracle)) < 1e-5, name
    assert stack.scl is not None
    classes = gdal_says(folder / scene.id / "SCL.tif", grid, classes=True)
    assert np.array_equal(stack.scl, np.nan_to_num(classes).astype(np.uint8))
