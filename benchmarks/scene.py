"""One pass to read: a Sentinel-2 and a Sentinel-1 scene as tiled GeoTIFFs, and as STAC items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pystac
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds
from scipy.ndimage import gaussian_filter, zoom
from shapely.geometry import box, mapping

from registry.grid import Grid
from registry.models import MASK_BAND, BandFile, Pass, Scene, Sensor, pass_id

NATIVE_M = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10,
    "B8A": 20, "B09": 60, "B11": 20, "B12": 20, MASK_BAND: 20,
}  # fmt: skip
"""Metres per pixel in which each Sentinel-2 band is delivered."""

EPSG = 32721
LEFT, TOP = 600_000, 9_300_040
TILE_M = 30_720
"""Side of the written scenes: 3 x 3 internal blocks of 1024 pixels at 10 m."""
SCALE, OFFSET = 1e-4, -0.1
RADAR_NODATA = -32768.0
WHEN = datetime(2024, 7, 1, 13, 50, tzinfo=UTC)


@dataclass(frozen=True)
class BenchPass:
    """A pass over an area, in the terms of both contestants."""

    grid: Grid
    optical: Pass
    radar: Pass
    items: tuple[pystac.Item, pystac.Item]
    """The same scenes as STAC items: Sentinel-2, Sentinel-1."""


def write_pass(folder: Path, *, area_km: float) -> BenchPass:
    """Write both scenes below ``folder``; the area lies in the midst of them, off the blocks."""
    random = np.random.default_rng(5)
    side = round(area_km * 100)
    inset = (TILE_M // 10 - side) // 2
    grid = Grid(epsg=EPSG, left=LEFT + inset * 10, top=TOP - inset * 10, width=side, height=side)
    ground = _ground(random)
    optical = {band: _written(folder, band, step, ground, random) for band, step in NATIVE_M.items()}
    radar = {band: _written(folder, band, 10, ground, random) for band in ("VV", "VH")}
    return BenchPass(
        grid=grid,
        optical=_pass("s2", Sensor.S2, WHEN, optical),
        radar=_pass("s1", Sensor.S1, WHEN - timedelta(days=2), radar),
        items=(_item("s2", WHEN, optical), _item("s1", WHEN - timedelta(days=2), radar)),
    )


def in_neighbouring_zone(passed: BenchPass) -> BenchPass:
    """The same scenes for an area whose grid lies in the UTM zone to the west."""
    inner = passed.grid
    left, bottom, right, top = transform_bounds(inner.crs, f"EPSG:{EPSG - 1}", *inner.bounds)
    corner = (round((left + right) / 20) * 10, round((bottom + top) / 20) * 10)
    side = inner.width * 10 // 2 // 10 * 10
    grid = Grid(
        epsg=EPSG - 1, left=corner[0] - side, top=corner[1] + side, width=inner.width, height=inner.height
    )
    return replace(passed, grid=grid)


def _ground(random: np.random.Generator) -> NDArray[np.float32]:
    """(n, n) at 10 m, smooth, about 0..1."""
    coarse = gaussian_filter(random.normal(size=(TILE_M // 80, TILE_M // 80)), 4)
    ground = zoom(coarse / coarse.std() * 0.2 + 0.5, 8, order=1)
    clipped: NDArray[np.float32] = np.clip(ground, 0.0, 1.0).astype(np.float32)
    return clipped


def _written(
    folder: Path, band: str, step: int, ground: NDArray[np.float32], random: np.random.Generator
) -> Path:
    side = TILE_M // step
    field = ground[:: step // 10, :: step // 10][:side, :side]
    numbers, extra = _numbers(band, field, random)
    path = folder / f"{band}.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=side, width=side, dtype=numbers.dtype,
        crs=f"EPSG:{EPSG}", transform=from_origin(LEFT, TOP, step, step), tiled=True,
        compress="deflate", **extra,
    ) as sink:  # fmt: skip
        sink.write(numbers, 1)
    return path


def _numbers(
    band: str, field: NDArray[np.float32], random: np.random.Generator
) -> tuple[NDArray[np.generic], dict[str, object]]:
    """The band's numbers with the block size, predictor and no data of the usual archives."""
    if band == MASK_BAND:
        classes = np.where(field > 0.85, 9, np.where(field < 0.1, 3, 4)).astype(np.uint8)
        return classes, {"blockxsize": 512, "blockysize": 512, "nodata": 0}
    if band in ("VV", "VH"):
        speckle = random.gamma(4.4, 1 / 4.4, field.shape)
        power = ((0.02 + 0.1 * field) * speckle).astype(np.float32)
        return power, {"blockxsize": 512, "blockysize": 512, "predictor": 3, "nodata": RADAR_NODATA}
    noise = random.normal(0.0, 60.0, field.shape)
    numbers = np.clip(1200 + 3000 * field + noise, 1, 20_000).astype(np.uint16)
    return numbers, {"blockxsize": 1024, "blockysize": 1024, "predictor": 2, "nodata": 0}


def _pass(name: str, sensor: Sensor, acquired: datetime, files: Mapping[str, Path]) -> Pass:
    scene = Scene(
        id=name,
        provider="bench",
        collection=name,
        sensor=sensor,
        acquired=acquired,
        footprint=box(*_lonlat()),
        epsg=EPSG,
        bands={band: _band_file(band, path) for band, path in files.items()},
    )
    return Pass(
        id=pass_id("bench", name),
        area_id="bench",
        key=name,
        sensor=sensor,
        acquired=acquired,
        scenes=(scene,),
    )


def _band_file(band: str, path: Path) -> BandFile:
    if band == MASK_BAND:
        return BandFile(href=str(path), nodata=0.0)
    if band in ("VV", "VH"):
        return BandFile(href=str(path), nodata=RADAR_NODATA)
    return BandFile(href=str(path), scale=SCALE, offset=OFFSET, nodata=0.0)


def _item(name: str, acquired: datetime, files: Mapping[str, Path]) -> pystac.Item:
    """With the projection extension, which spares readers to open a file before they plan."""
    item = pystac.Item(
        id=name,
        geometry=mapping(box(*_lonlat())),
        bbox=list(_lonlat()),
        datetime=acquired,
        properties={"proj:code": f"EPSG:{EPSG}"},
        stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
        collection=name,
    )
    for band, path in files.items():
        step = NATIVE_M.get(band, 10)
        side = TILE_M // step
        item.add_asset(
            band,
            pystac.Asset(
                href=str(path),
                media_type=pystac.MediaType.GEOTIFF,
                roles=["data"],
                extra_fields={
                    "proj:shape": [side, side],
                    "proj:transform": [step, 0, LEFT, 0, -step, TOP, 0, 0, 1],
                },
            ),
        )
    return item


def _lonlat() -> tuple[float, float, float, float]:
    found: tuple[float, float, float, float] = transform_bounds(
        f"EPSG:{EPSG}", "EPSG:4326", LEFT, TOP - TILE_M, LEFT + TILE_M, TOP
    )
    return found
