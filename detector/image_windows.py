"""A large file in windows: looked over once at low resolution, then read piece by piece in other threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as FileWindow
from rasterio.windows import transform as transform_of

from detector.images import (
    Image,
    Scaling,
    check_plausible,
    check_source,
    grid_of,
    in_decibel,
    opened,
    physical_bands,
    read_onto,
)
from detector.quality import cloud_mask
from detector.windows import Bands, Numbers, Window
from registry.errors import InputError
from registry.models import MASK_BAND

Float32 = NDArray[np.float32]

CACHE_MB = 512
"""What GDAL keeps of files that are read in windows; by itself it takes a twentieth of the memory."""
OVERVIEW_PX = 1024
"""Longest side of the look over a file; a smaller file is looked at whole."""


@dataclass(frozen=True)
class ImageFile:
    """A file whose bands, units and place were checked; called as a reader it hands over windows."""

    path: Path
    names: tuple[str, ...]
    scaling: Scaling
    decibel: bool
    """Whether the file's radar is in decibel."""
    profile: Mapping[str, Any]
    """crs, transform, width, height of the grid that windows are cut from."""
    own_grid: bool
    """Whether that is the file's own; else it is resampled."""
    every: int
    """The overview has one pixel in so many, along each axis."""
    overview: Image
    """The whole file, thinned; clouds and no data are NaN."""
    picture: Image
    """The same as it looks, with its clouds."""
    _open: threading.local = field(default_factory=threading.local, repr=False, compare=False)
    _sources: list[Any] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def look(
        cls,
        path: Path,
        bands: Sequence[str],
        *,
        scaling: Scaling,
        onto: Mapping[str, Any] | None = None,
    ) -> Self:
        """Open, check and look over, on its own grid or ``onto`` another.

        Raises InputError with one line where it is not these bands.
        """
        with opened(path) as source:
            check_source(source, path, bands)
            grid = grid_of(source)
            own = onto is None or grid == dict(onto)
            grid = grid if onto is None else dict(onto)
            every = max(1, -(-max(grid["width"], grid["height"]) // OVERVIEW_PX))
            transform = grid["transform"] * grid["transform"].scale(every)
            thin = {"height": -(-grid["height"] // every), "width": -(-grid["width"] // every)}
            thinned = grid | thin | {"transform": transform}
            if own:
                numbers = _numbers(source, bands, out_shape=(thin["height"], thin["width"]))
            else:
                numbers = _resampled(source, bands, thinned)
        decibel = in_decibel(numbers)
        shown = physical_bands(numbers, scaling, decibel=decibel)
        check_plausible(path, shown, scaling)
        overview = Image(path, _clear(numbers, scaling, decibel=decibel), scl=None, profile=thinned)
        picture = Image(path, shown, scl=None, profile=thinned)
        return cls(path, tuple(bands), scaling, decibel, grid, own, every, overview, picture)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return (int(self.profile["height"]), int(self.profile["width"]))

    @property
    def whole(self) -> Image:
        """Place and size of the full file, without its pixels."""
        return Image(path=self.path, bands={}, scl=None, profile=self.profile)

    def __call__(self, window: Window) -> Sequence[Bands]:
        """The window's bands in physical units, NaN where not seen clearly. Raises InputError."""
        try:
            numbers = self._read(window)
        except RasterioError as exc:
            raise InputError(f"{self.path} cannot be read: {exc}; give a complete GeoTIFF") from exc
        bands = _clear(numbers, self.scaling, decibel=self.decibel)
        return [{name: Numbers(band, top=window.top, left=window.left) for name, band in bands.items()}]

    def _read(self, window: Window) -> dict[str, NDArray[Any]]:
        place = FileWindow(window.left, window.top, window.width, window.height)
        if self.own_grid:
            return _numbers(self._source(), self.names, window=place)
        size = {"height": window.height, "width": window.width}
        grid = {**self.profile, **size, "transform": transform_of(place, self.profile["transform"])}
        return _resampled(self._source(), self.names, grid)

    def _source(self) -> Any:
        """This thread's own handle: GDAL's are not shared."""
        if not hasattr(self._open, "source"):
            self._open.source = rasterio.open(self.path)
            self._sources.append(self._open.source)
        return self._open.source

    def close(self) -> None:
        """Close every thread's handle."""
        for source in self._sources:
            source.close()


def _numbers(source: Any, names: Sequence[str], **how: Any) -> dict[str, NDArray[Any]]:
    data = source.read(masked=True, **how)
    return dict(zip(names, np.ma.filled(data.astype(np.float32), np.nan), strict=True))


def _resampled(source: Any, names: Sequence[str], grid: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    return {name: read_onto(source, index, name, grid) for index, name in enumerate(names, start=1)}


def _clear(numbers: Mapping[str, NDArray[Any]], scaling: Scaling, *, decibel: bool) -> dict[str, Float32]:
    bands = physical_bands(numbers, scaling, decibel=decibel)
    scl = numbers.get(MASK_BAND)
    hidden = cloud_mask(bands, None if scl is None else np.nan_to_num(scl, nan=0.0).astype(np.uint8))
    return {name: np.where(hidden, np.float32(np.nan), band) for name, band in bands.items()}
