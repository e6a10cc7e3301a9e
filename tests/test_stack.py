"""Reading against GDAL as the oracle: every pixel equals rasterio's own warp with exact settings."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject, transform_bounds
from scipy.ndimage import gaussian_filter
from shapely.geometry import box

from detector.reading import ReaderSettings, read_window
from detector.stack import read_stack
from registry.errors import Reject, Retry
from registry.grid import Grid
from registry.models import BandFile, Pass, Scene, Sensor, pass_id

READER = ReaderSettings(threads=2, retries=1, backoff_s=0.01)
GRID = Grid(epsg=32634, left=500_040, top=5_000_060, width=90, height=80)
SOUTH = Grid(epsg=32721, left=600_040, top=9_000_060, width=90, height=80)
WHEN = datetime(2024, 5, 1, 9, 20, tzinfo=UTC)


def write_raster(
    path: Path,
    *,
    epsg: int,
    left: float,
    top: float,
    step: float,
    size: tuple[int, int],
    dtype: str = "uint16",
    nodata: float | None = 0,
    holes: bool = False,
    seed: int = 0,
) -> Path:
    """A smooth random raster with some noise, as a tiled GeoTIFF."""
    random = np.random.default_rng(seed)
    data = 2000 + 3000 * gaussian_filter(random.normal(size=size), 3) + random.normal(0, 50, size)
    data = np.clip(data, 1, 20_000)
    if dtype == "float32":
        data = data / 10_000
    if holes:
        data[random.random(size) < 0.03] = nodata
        data[size[0] // 2 : size[0] // 2 + 5, : size[1] // 3] = nodata
    profile = {
        "driver": "GTiff",
        "dtype": dtype,
        "count": 1,
        "height": size[0],
        "width": size[1],
        "nodata": nodata,
    }
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    with rasterio.open(
        path, "w", **profile, **tiles, crs=f"EPSG:{epsg}", transform=from_origin(left, top, step, step)
    ) as sink:
        sink.write(data.astype(dtype), 1)
    return path


def scene_of(path: Path, *, band: str = "B04", **changes: Any) -> Scene:
    with rasterio.open(path) as source:
        lonlat = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
        nodata, epsg = source.nodata, source.crs.to_epsg()
    values: dict[str, Any] = {
        "id": path.stem,
        "provider": "test",
        "collection": "c",
        "sensor": Sensor.S1 if band in ("VV", "VH") else Sensor.S2,
        "acquired": WHEN,
        "footprint": box(*lonlat),
        "epsg": epsg,
        "bands": {band: BandFile(href=str(path), nodata=nodata)},
    }
    return Scene(**(values | changes))


def pass_of(*scenes: Scene, acquired: datetime = WHEN) -> Pass:
    return Pass(
        id=pass_id("a", scenes[0].id),
        area_id="a",
        key=scenes[0].id,
        sensor=scenes[0].sensor,
        acquired=acquired,
        scenes=scenes,
    )


def gdal_says(path: Path, grid: Grid, *, classes: bool) -> Any:
    """The oracle: an exact warp, coordinates computed for every pixel."""
    with rasterio.open(path) as source:
        out = np.full(grid.shape, np.nan, np.float32)
        reproject(
            source.read(1).astype(np.float32),
            out,
            src_transform=source.transform,
            src_crs=source.crs,
            src_nodata=source.nodata,
            dst_transform=rasterio.Affine(*grid.geotransform),
            dst_crs=CRS.from_epsg(grid.epsg),
            dst_nodata=np.nan,
            init_dest_nodata=True,
            resampling=Resampling.nearest if classes else Resampling.bilinear,
            tolerance=0.0,
            num_threads=1,
            # Rotated grids look to GDAL like a slight shrinking, for which it widens its kernel.
            XSCALE=max(1.0, source.res[0] / 10),
            YSCALE=max(1.0, source.res[1] / 10),
        )
    return out


CASES: dict[str, tuple[Grid, dict[str, Any]]] = {
    "10 m": (GRID, {"epsg": 32634, "left": 499_000, "top": 5_001_000, "step": 10, "size": (300, 300)}),
    "20 m": (GRID, {"epsg": 32634, "left": 499_000, "top": 5_001_000, "step": 20, "size": (150, 150)}),
    "60 m": (GRID, {"epsg": 32634, "left": 499_020, "top": 5_001_000, "step": 60, "size": (60, 60)}),
    "20 m, at the raster's edge": (
        GRID,
        {"epsg": 32634, "left": 500_400, "top": 4_999_800, "step": 20, "size": (150, 150)},
    ),
    "60 m, at the raster's far edge": (
        GRID,
        {"epsg": 32634, "left": 499_020, "top": 5_001_000, "step": 60, "size": (20, 20)},
    ),
    "south": (SOUTH, {"epsg": 32721, "left": 599_000, "top": 9_001_000, "step": 20, "size": (150, 150)}),
    "neighbouring zone, 10 m": (
        GRID,
        {"epsg": 32633, "left": 970_000, "top": 5_019_000, "step": 10, "size": (500, 500)},
    ),
    "neighbouring zone, 20 m": (
        GRID,
        {"epsg": 32633, "left": 970_000, "top": 5_019_000, "step": 20, "size": (250, 250)},
    ),
    "neighbouring zone, 60 m": (
        GRID,
        {"epsg": 32633, "left": 970_000, "top": 5_019_000, "step": 60, "size": (90, 90)},
    ),
    "Lambert Europe": (
        GRID,
        {"epsg": 3035, "left": 5_183_000, "top": 2_514_000, "step": 20, "size": (150, 150)},
    ),
}


@pytest.mark.parametrize("holes", [False, True], ids=["full", "holes"])
@pytest.mark.parametrize("classes", [False, True], ids=["bilinear", "nearest"])
@pytest.mark.parametrize("case", CASES)
def test_every_pixel_equals_gdals_exact_warp(tmp_path: Path, case: str, classes: bool, holes: bool) -> None:
    grid, shape = CASES[case]
    path = write_raster(tmp_path / "b.tif", **shape, holes=holes)
    scene = scene_of(path)
    ours = read_window(scene, scene.bands["B04"], grid, classes=classes, reader=READER).values
    oracle = gdal_says(path, grid, classes=classes)
    assert np.isfinite(oracle).mean() > 0.05, "the case must meet the grid"
    _assert_same(ours, oracle, warped=shape["epsg"] != grid.epsg, classes=classes)


def _assert_same(ours: Any, oracle: Any, *, warped: bool, classes: bool) -> None:
    """One CRS: float32 rounding. Across CRSs: coordinates differ by up to .002 m, so a centre on the very
    border of two source pixels may fall on the other side (nearest, and no data: under 1 in 1,000)."""
    differs = np.isfinite(ours) != np.isfinite(oracle)
    assert differs.mean() <= (1e-3 if warped else 0.0)
    both = np.isfinite(ours) & np.isfinite(oracle)
    gap = np.abs(ours[both] - oracle[both])
    if classes:
        assert (gap > 0).mean() <= (1e-3 if warped else 0.0)
    else:
        assert gap.max() <= (1.0 if warped else 0.01), gap.max()


def test_radar_is_resampled_in_linear_power_and_loses_its_border(tmp_path: Path) -> None:
    shape: dict[str, Any] = {"epsg": 32633, "left": 970_000, "top": 5_019_000, "step": 10, "size": (500, 500)}
    path = write_raster(tmp_path / "vv.tif", **shape, dtype="float32", nodata=-32768.0)
    scene = scene_of(path, band="VV")
    stack = read_stack(pass_of(scene), None, GRID, {"VV"}, reader=READER)
    oracle = gdal_says(path, GRID, classes=False)
    assert np.nanmax(np.abs(stack.bands["VV"] - oracle)) < 1e-4


def test_the_real_all_band_item_reads_as_gdal_reads_it(real_data: Path) -> None:
    folder = real_data / "earthsearch_29RKH" / "S2A_29RKH_20200219_0_L2A"
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as source:
            middle = (source.bounds.left + source.width * source.res[0] / 2, source.bounds.top - 30_000)
            epsg = source.crs.to_epsg()
        grid = Grid(
            epsg=epsg, left=int(middle[0] // 10 * 10), top=int(middle[1] // 10 * 10), width=200, height=150
        )
        scene = scene_of(path)
        ours = read_window(scene, scene.bands["B04"], grid, classes=path.stem == "SCL", reader=READER).values
        _assert_same(
            ours, gdal_says(path, grid, classes=path.stem == "SCL"), warped=False, classes=path.stem == "SCL"
        )


def test_the_real_romania_series_reads_as_gdal_reads_it(real_data: Path) -> None:
    folder = real_data / "romania_s2" / "cogs" / "S2_ROMANIA_20170701_L2A"
    grid = Grid(epsg=32634, left=590_000, top=5_006_800, width=100, height=100)
    for name in ("red", "swir16", "scl"):
        scene = scene_of(folder / f"{name}.tif")
        ours = read_window(scene, scene.bands["B04"], grid, classes=name == "scl", reader=READER).values
        _assert_same(
            ours,
            gdal_says(folder / f"{name}.tif", grid, classes=name == "scl"),
            warped=True,
            classes=name == "scl",
        )


def test_scenes_of_a_pass_are_mosaicked_and_the_partner_is_fused(tmp_path: Path) -> None:
    whole: dict[str, Any] = {"epsg": 32634, "left": 499_000, "top": 5_001_000, "step": 10, "size": (300, 300)}
    half: dict[str, Any] = {"epsg": 32634, "left": 500_500, "top": 5_001_000, "step": 10, "size": (300, 300)}
    west = scene_of(write_raster(tmp_path / "west.tif", **(whole | {"size": (300, 150)}), seed=1))
    east = scene_of(write_raster(tmp_path / "east.tif", **half, seed=2))
    radar = scene_of(write_raster(tmp_path / "vv.tif", **whole, dtype="float32", nodata=-32768.0), band="VV")
    partner = pass_of(radar, acquired=datetime(2024, 4, 29, 9, 20, tzinfo=UTC))
    stack = read_stack(pass_of(west, east), partner, GRID, {"B04", "B08", "VV"}, reader=READER)
    assert set(stack.bands) == {"B04", "VV"}
    assert stack.partner_age_days == pytest.approx(2.0)
    one, other = (gdal_says(tmp_path / name, GRID, classes=False) for name in ("west.tif", "east.tif"))
    expected = np.where(np.isfinite(one), one, other)
    assert np.array_equal(np.isfinite(stack.bands["B04"]), np.isfinite(expected))
    assert np.nanmax(np.abs(stack.bands["B04"] - expected)) < 0.01


@pytest.mark.parametrize(("level", "applied"), [(3000, False), (1200, True)])
def test_an_offset_that_was_applied_already_is_not_applied_again(
    tmp_path: Path, level: int, applied: bool
) -> None:
    shape: dict[str, Any] = {"epsg": 32634, "left": 499_000, "top": 5_001_000, "step": 10, "size": (300, 300)}
    path = write_raster(tmp_path / "b.tif", **shape)
    with rasterio.open(path, "r+") as sink:
        sink.write(np.clip(sink.read(1).astype(int) - 2000 + level, 200, None).astype(np.uint16), 1)
    file = BandFile(href=str(path), nodata=0, scale=1e-4, offset=-0.1)
    scene = scene_of(path, bands={"B02": file}, offset_check=True)
    stack = read_stack(pass_of(scene), None, GRID, {"B02"}, reader=READER)
    numbers = gdal_says(path, GRID, classes=False) * 1e-4
    expected = numbers if applied else np.maximum(numbers - 0.1, 0.0)
    assert np.abs(stack.bands["B02"] - expected).max() < 1e-5
    assert bool(stack.notes) == applied


@pytest.mark.parametrize(
    ("break_it", "error", "says"),
    [
        ("missing", Retry, "not there"),
        ("garbage", Reject, "can't be read"),
        ("truncated", Reject, "can't be read"),
        ("epsg", Reject, "the item says EPSG:32633"),
        ("elsewhere", Reject, "elsewhere than the item's footprint"),
        ("band", Reject, "names band 7"),
        ("scheme", Reject, "only http, https, s3 and files"),
        ("vsi", Reject, "only http, https, s3 and files"),
        ("no crs", Reject, "names no CRS"),
    ],
)
def test_bad_files_get_one_line_and_the_next_read_works(
    tmp_path: Path, break_it: str, error: type[Exception], says: str
) -> None:
    shape: dict[str, Any] = {"epsg": 32634, "left": 499_000, "top": 5_001_000, "step": 10, "size": (300, 300)}
    good = write_raster(tmp_path / "good.tif", **shape)
    bad = write_raster(tmp_path / "bad.tif", **shape)
    scene, file = scene_of(bad), BandFile(href=str(bad), nodata=0)
    if break_it == "missing":
        bad.unlink()
    elif break_it == "garbage":
        bad.write_bytes(b"no image at all" * 100)
    elif break_it == "truncated":
        bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 3])
    elif break_it == "epsg":
        scene = scene.model_copy(update={"epsg": 32633})
    elif break_it == "elsewhere":
        scene = scene.model_copy(update={"footprint": box(0, 0, 1, 1)})
    elif break_it == "band":
        file = file.model_copy(update={"index": 7})
    elif break_it == "scheme":
        file = file.model_copy(update={"href": "ftp://127.0.0.1/b.tif"})
    elif break_it == "vsi":
        file = file.model_copy(update={"href": "/vsizip//etc/x.zip/b.tif"})
    elif break_it == "no crs":
        with rasterio.open(bad) as source:
            data, profile = source.read(), source.profile | {"crs": None}
        with rasterio.open(bad, "w", **profile) as sink:
            sink.write(data)
    with pytest.raises(error) as caught:
        read_window(scene, file, GRID, classes=False, reader=READER)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    scene = scene_of(good)
    assert np.isfinite(
        read_window(scene, scene.bands["B04"], GRID, classes=False, reader=READER).values
    ).all()
