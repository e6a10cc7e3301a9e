"""Rasters as bytes: tiled GeoTIFF for what is computed with, COG for what people open.

The same arrays and tags give the same bytes: nothing of the clock or the machine enters a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.shutil import copy as copy_raster
from rasterio.transform import Affine
from rasterio.windows import Window as RasterWindow

from registry.errors import NotFound, Reject
from registry.grid import RESOLUTION, Grid

BLOCK = 256
"""Edge of a tile in pixels."""

Array = NDArray[Any]
Colours = Mapping[int, tuple[int, int, int, int]]
"""RGBA per value."""


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels; ``stop`` is exclusive."""

    row_start: int
    row_stop: int
    column_start: int
    column_stop: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return (self.row_stop - self.row_start, self.column_stop - self.column_start)

    def cut(self, grid: Grid) -> Grid:
        """The part of ``grid`` that it covers, as a grid of its own."""
        rows, columns = self.shape
        return Grid(
            epsg=grid.epsg,
            left=grid.left + self.column_start * RESOLUTION,
            top=grid.top - self.row_start * RESOLUTION,
            width=columns,
            height=rows,
        )


@dataclass(frozen=True)
class Raster:
    """What a file says."""

    bands: Array
    """(bands, h, w)."""
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Style:
    """How a COG should appear."""

    names: tuple[str, ...]
    """Description of each band."""
    nodata: int | None = None
    colours: Colours | None = None
    overviews: str = "nearest"
    """How overviews are made: nearest for classes, average for amounts."""


def encode_geotiff(bands: Array, grid: Grid, *, names: Sequence[str], tags: Mapping[str, str]) -> bytes:
    """(bands, h, w) on the grid as a tiled GeoTIFF, ZSTD level 1: fast to write and to read in windows."""
    options = {"compress": "ZSTD", "ZSTD_LEVEL": 1, "predictor": 2, "interleave": "band"}
    return _encode(bands, grid, names=names, tags=tags, options=options)


def encode_cog(bands: Array, grid: Grid, style: Style, *, tags: Mapping[str, str]) -> bytes:
    """(bands, h, w) uint8 on the grid as a cloud-optimised GeoTIFF, DEFLATE."""
    plain = _encode(bands, grid, names=style.names, tags=tags, options={}, style=style)
    with MemoryFile(plain) as source, MemoryFile(ext=".tif") as target:
        copy_raster(
            source.name,
            target.name,
            driver="COG",
            compress="DEFLATE",
            predictor="NO" if style.colours else "STANDARD",
            blocksize=512,
            overview_resampling=style.overviews,
        )
        return bytes(target.read())


def _encode(
    bands: Array,
    grid: Grid,
    *,
    names: Sequence[str],
    tags: Mapping[str, str],
    options: Mapping[str, Any],
    style: Style | None = None,
) -> bytes:
    count, height, width = bands.shape
    if (height, width) != grid.shape:
        raise ValueError(f"raster is {height} x {width}, the grid {grid.height} x {grid.width}")
    tile = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK}
    with MemoryFile(ext=".tif") as memory:
        with memory.open(
            driver="GTiff",
            count=count,
            height=height,
            width=width,
            dtype=bands.dtype,
            crs=grid.crs,
            transform=Affine(*grid.geotransform),
            nodata=style.nodata if style else None,
            **tile,
            **options,
        ) as file:
            file.write(bands)
            file.update_tags(**tags)
            _describe(file, names, style)
        return bytes(memory.read())


def _describe(file: Any, names: Sequence[str], style: Style | None) -> None:
    for number, name in enumerate(names, start=1):
        file.set_band_description(number, name)
    if style and style.colours:
        file.write_colormap(1, dict(style.colours))
    elif style and file.count == 3:
        file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def read_raster(path: str, *, bands: Sequence[int] | None = None, window: Window | None = None) -> Raster:
    """Bands (1-based; None = all) of a stored raster, whole or a window of it.

    ``path`` is what Blobs.path gives. Raises NotFound where there is none, Reject where it is damaged.
    """
    box = (
        RasterWindow.from_slices(
            (window.row_start, window.row_stop), (window.column_start, window.column_stop)
        )
        if window
        else None
    )
    try:
        with rasterio.open(path) as file:
            values = file.read(list(bands) if bands else None, window=box)
            return Raster(bands=np.asarray(values), tags=dict(file.tags()))
    except RasterioError as exc:
        if "No such file" in str(exc) or "does not exist" in str(exc):
            raise NotFound(f"raster {path} does not exist") from exc
        raise Reject(f"raster {path} is damaged ({exc}); delete it, it is made again") from exc
