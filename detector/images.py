"""Images that somebody already has: bands by name out of a GeoTIFF, in any CRS, checked at the door."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.warp import reproject, transform_geom
from shapely.geometry import shape

from detector.quality import cloud_mask
from detector.units import check_units
from registry.errors import InputError, Reject
from registry.geometry import hectares
from registry.models import BANDS, MASK_BAND, S1_BANDS, S2_BANDS

Float32 = NDArray[np.float32]

MAX_PIXELS = 12_100 * 12_100
"""Largest image read in one piece: one Sentinel-2 tile."""

PLAUSIBLE_MEDIAN = (0.0005, 1.5)
"""Reflectance whose median lies outside was scaled twice, not at all, or is no reflectance."""


@dataclass(frozen=True)
class Scaling:
    """physical value = number * scale + offset."""

    scale: float = 1e-4
    offset: float = 0.0


@dataclass(frozen=True)
class Image:
    """Bands on one raster grid."""

    path: Path
    bands: Mapping[str, Float32]
    """(h, w) reflectance, or gamma0 linear power; NaN = not seen."""
    scl: NDArray[np.uint8] | None
    """(h, w) scene classes where the file has them."""
    profile: Mapping[str, Any]
    """crs, transform, width, height as rasterio states them."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return (int(self.profile["height"]), int(self.profile["width"]))

    def pixel_hectares(self) -> float:
        """Size of the middle pixel on the WGS 84 ellipsoid."""
        transform = self.profile["transform"]
        row, column = self.shape[0] // 2, self.shape[1] // 2
        corners = [transform * (column + dx, row + dy) for dx, dy in ((0, 0), (1, 0), (1, 1), (0, 1))]
        pixel = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
        return hectares(shape(transform_geom(self.profile["crs"], "EPSG:4326", pixel)))


def parse_bands(text: str) -> tuple[str, ...]:
    """``B02,B03,B04,B08`` to names. Raises InputError for an unknown or repeated name."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [name for name in names if name not in BANDS]
    if unknown or not names:
        raise InputError(
            f"band {unknown[0] if unknown else text!r} is not known; name bands out of {', '.join(BANDS)}"
        )
    if len(set(names)) != len(names):
        raise InputError(f"bands {text!r} name one twice; name each band of the file once, in its order")
    return names


def described_bands(path: Path) -> tuple[str, ...]:
    """The bands as the file describes them. Raises InputError where it names not each by its own."""
    with opened(path) as source:
        names = source.descriptions
    if any(name not in BANDS for name in names) or len(set(names)) != len(names):
        raise InputError(f"{path} does not describe its bands; name them in the file's order with --bands")
    return tuple(names)


def read_image(path: Path, bands: Sequence[str], *, scaling: Scaling) -> Image:
    """Read ``path``. Raises InputError with one line where the file is not an image of these bands."""
    with opened(path) as source:
        check_source(source, path, bands)
        numbers = {name: _read(source, index + 1) for index, name in enumerate(bands)}
        return _to_image(path, numbers, scaling, grid_of(source))


def grid_of(source: Any) -> dict[str, Any]:
    """crs, transform, width and height of an open file."""
    return {key: source.profile[key] for key in ("crs", "transform", "width", "height")}


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, open. Raises InputError where it can't be read, then or in the ``with`` block.

    One that lies nowhere is refused later, in words of our own.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            source = rasterio.open(path)
        with source:
            yield source
    except RasterioError as exc:
        raise InputError(
            f"{path} cannot be read as an image: {_first_line(exc)}; give a complete GeoTIFF"
        ) from exc


def check_source(source: Any, path: Path, bands: Sequence[str]) -> None:
    """Raise InputError where an open file does not hold these bands."""
    if source.count != len(bands):
        raise InputError(
            f"{path} has {source.count} bands, --bands names {len(bands)}; name each band of the file"
        )
    if source.width * source.height > MAX_PIXELS:
        raise InputError(
            f"{path} has {source.width} x {source.height} pixels, at most {MAX_PIXELS} are read; cut it"
        )
    if source.crs is None:
        raise InputError(f"{path} names no coordinate system; set it with gdal_edit.py -a_srs EPSG:n")
    described = [said if said in BANDS else "?" for said in source.descriptions]
    if any(said not in ("?", name) for said, name in zip(described, bands, strict=True)):
        raise InputError(
            f"{path} says its bands are {','.join(described)}, --bands says {','.join(bands)}; correct it"
        )


def _read(source: Any, index: int) -> NDArray[Any]:
    data = source.read(index, masked=True)
    return _as_numbers(data)


def read_onto(source: Any, index: int, name: str, grid: Mapping[str, Any]) -> NDArray[Any]:
    """The band on another grid, bilinear (SCL nearest); integers without a nodata value say it with 0."""
    nodata = source.nodata
    if nodata is None and np.dtype(source.dtypes[index - 1]).kind in "ui":
        nodata = 0
    onto = np.full((grid["height"], grid["width"]), np.nan, dtype=np.float32)
    reproject(
        rasterio.band(source, index),
        onto,
        src_nodata=nodata,
        dst_transform=grid["transform"],
        dst_crs=grid["crs"],
        dst_nodata=float("nan"),
        resampling=Resampling.nearest if name == MASK_BAND else Resampling.bilinear,
        tolerance=0.0,
    )
    return onto


def _as_numbers(data: Any) -> NDArray[Any]:
    numbers: NDArray[Any] = np.ma.filled(data.astype(np.float32), np.nan)
    return numbers


def _to_image(
    path: Path, numbers: Mapping[str, NDArray[Any]], scaling: Scaling, profile: Mapping[str, Any]
) -> Image:
    bands = physical_bands(numbers, scaling, decibel=in_decibel(numbers))
    check_plausible(path, bands, scaling)
    scl = numbers.get(MASK_BAND)
    classes = None if scl is None else np.nan_to_num(scl, nan=0.0).astype(np.uint8)
    return Image(path=path, bands=bands, scl=classes, profile=profile)


def physical_bands(
    numbers: Mapping[str, NDArray[Any]], scaling: Scaling, *, decibel: bool
) -> dict[str, Float32]:
    """Numbers of a file by band -> reflectance and linear power.

    NaN where any band of the same instrument has no data: radar may end within an optical image.
    """
    optical = {name: numbers[name] for name in numbers if name in S2_BANDS}
    radar = {name: numbers[name] for name in numbers if name in S1_BANDS}
    physical = {name: values * scaling.scale + scaling.offset for name, values in optical.items()}
    for name, values in radar.items():
        physical[name] = np.power(10.0, values / 10.0) if decibel else values
    found: dict[str, Float32] = {}
    for instrument in (optical, radar):
        seen = _with_data(instrument)
        found |= {name: np.where(seen, physical[name], np.nan).astype(np.float32) for name in instrument}
    return found


def _with_data(bands: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_] | bool:
    """(h, w) where every band is a number; zero in all is how files without a nodata tag say "no data"."""
    if not bands:
        return True
    values = np.stack(list(bands.values()))
    seen: NDArray[np.bool_] = np.isfinite(values).all(axis=0) & (values != 0).any(axis=0)
    return seen


def in_decibel(numbers: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the file's radar is in decibel: only there is backscatter negative on most land."""
    radar = [numbers[name] for name in numbers if name in S1_BANDS]
    known = [values[np.isfinite(values) & (values != 0)] for values in radar]
    return any(values.size and float(np.median(values)) < 0.0 for values in known)


def check_plausible(path: Path, bands: Mapping[str, Float32], scaling: Scaling) -> None:
    """Raise InputError where these can't be reflectance and linear power, with the option to correct."""
    optical = {name: band for name, band in bands.items() if name in S2_BANDS}
    if optical:
        _check_median(path, optical, scaling)
    try:
        check_units(bands)
    except Reject as exc:
        raise InputError(f"{path}: {exc}") from exc


def _check_median(path: Path, bands: Mapping[str, Float32], scaling: Scaling) -> None:
    every = np.stack(list(bands.values()))
    if not np.isfinite(every).any():
        raise InputError(
            f"{path} has no pixel with data where the pictures overlap; check the files and their CRS"
        )
    median = float(np.nanmedian(every))
    low, high = PLAUSIBLE_MEDIAN
    if not low <= median <= high:
        raise InputError(
            f"{path} has median reflectance {median:.4g} with --scale {scaling.scale:g} "
            f"--offset {scaling.offset:g}, expected {low:g} to {high:g}; correct --scale and --offset"
        )


def _first_line(exc: BaseException) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0]


def seen_pixels(image: Image) -> NDArray[np.bool_]:
    """(h, w) where every band has data and neither scene class nor brightness says cloud."""
    finite = np.isfinite(np.stack(list(image.bands.values()))).all(axis=0)
    seen: NDArray[np.bool_] = finite & ~cloud_mask(image.bands, image.scl)
    return seen
