"""What the one-off commands leave behind: score and class rasters, polygons, a picture for people."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from pyproj import Transformer
from rasterio._err import CPLE_BaseError  # what GDAL says as a file is closed comes as it is
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.features import shapes
from rasterio.warp import transform_geom
from rasterio.windows import Window as FileWindow
from scipy.ndimage import binary_erosion, label
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from detector.images import Image
from registry.errors import InputError
from registry.geometry import hectares
from registry.grid import transformed

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

COLOURS = {0: (0, 0, 0), 1: (255, 196, 0), 2: (230, 30, 90), 255: (128, 128, 128)}
"""Class colours, told apart also by people with red-green weakness."""

PANEL_PX = 520
"""Width of one picture panel."""

MARGIN_PX = 34
"""Room for the caption above and the legend below."""

STRIP = 1024
"""Rows that are counted at a time."""

DEGREE_DIGITS = 7
"""Decimals of longitude and latitude in GeoJSON: a centimetre."""

BLOCK_PX = 512
"""Side of the blocks of a raster that is written piece by piece."""

UNFINISHED = ".unfinished"
"""Folder within a result's folder that holds what is being written."""


@dataclass(frozen=True)
class Layer:
    """One described float band."""

    name: str
    data: Float32
    """(h, w); NaN = not seen."""


@contextmanager
def whole_results(out: Path) -> Iterator[Path]:
    """A folder to write results to; when all are whole they move to ``out``, one after the other.

    What a killed run left there goes with the next one; a kill amid the moves leaves the rest there.
    Raises InputError where they cannot be written, or another run is at it.
    """
    unfinished = out / UNFINISHED
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _alone(out):
            shutil.rmtree(unfinished, ignore_errors=True)
            try:
                unfinished.mkdir()
                yield unfinished
                _read_back(unfinished.glob("*.tif"))
                for file in sorted(unfinished.iterdir()):
                    file.replace(out / file.name)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    except (OSError, RasterioError, CPLE_BaseError) as exc:
        raise InputError(
            f"results cannot be written to {out}: {exc}; free some space or name another --out"
        ) from exc


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One run writes to a folder at a time; the lock goes with its process, however that ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InputError(f"another run is writing to {folder}; wait for it or name another --out") from None
    try:
        yield
    finally:
        os.close(handle)


def _read_back(rasters: Iterable[Path]) -> None:
    """Raise RasterioError where one is not whole: GDAL closes a file on a full disk without a word."""
    for path in rasters:
        with rasterio.open(path) as source:
            for _, window in source.block_windows(1):
                source.read(window=window)


class LayerFile:
    """A described float raster that is written piece by piece; NaN = not seen."""

    def __init__(self, path: Path, image: Image, names: Sequence[str]) -> None:
        profile = {"driver": "GTiff", "dtype": "float32", "count": len(names), "nodata": float("nan")}
        tiles = {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "BIGTIFF": "IF_SAFER"}
        self._names = names
        self._sink = rasterio.open(
            path, "w", **image.profile, **profile, **tiles, compress="deflate", predictor=3
        )
        for index, name in enumerate(names, start=1):
            self._sink.set_band_description(index, name)

    def __enter__(self) -> LayerFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.close()

    def write(self, top: int, left: int, layers: Mapping[str, Float32]) -> None:
        """The layers of one piece; fast where it is made of whole blocks."""
        height, width = next(iter(layers.values())).shape
        for index, name in enumerate(self._names, start=1):
            self._sink.write(layers[name], index, window=FileWindow(left, top, width, height))


def write_layers(path: Path, image: Image, layers: Sequence[Layer]) -> None:
    """Float bands on the image's grid, described by name, NaN as no data."""
    options = {"driver": "GTiff", "dtype": "float32", "count": len(layers), "nodata": float("nan")}
    with rasterio.open(path, "w", **image.profile, **options, compress="deflate", predictor=3) as sink:
        for index, layer in enumerate(layers, start=1):
            sink.write(layer.data.astype(np.float32), index)
            sink.set_band_description(index, layer.name)


def write_classes(
    path: Path,
    image: Image,
    classes: UInt8,
    *,
    labels: Mapping[int, str],
    colours: Mapping[int, tuple[int, int, int]] = COLOURS,
) -> None:
    """Class codes as a COG with colours and names; 255 = not seen."""
    options = {"driver": "COG", "dtype": "uint8", "count": 1, "nodata": 255, "compress": "deflate"}
    tags = {f"class_{code}": name for code, name in labels.items()}
    with rasterio.open(path, "w", **image.profile, **options) as sink:
        sink.write(classes, 1)
        sink.write_colormap(1, {code: (*colour, 255) for code, colour in colours.items()})
        sink.update_tags(**tags)


def write_polygons(
    path: Path, image: Image, classes: UInt8, *, labels: Mapping[int, str], least_ha: float = 0.0
) -> tuple[tuple[str, float], ...]:
    """GeoJSON (EPSG:4326) of the connected classes of at least ``least_ha``.

    Returns (class, geodesic hectares), largest first.
    """
    found = []
    wanted = np.isin(np.arange(256), list(labels))[classes]
    if least_ha > 0.0:
        # Specks go first: turning each into a polygon on the ellipsoid is what costs time.
        wanted &= in_patches(classes, list(labels), pixels=round(0.8 * least_ha / image.pixel_hectares()))
    to_world = _to_world(image.profile["crs"])
    for geometry, code in shapes(classes, mask=wanted, connectivity=4, transform=image.profile["transform"]):
        polygon = to_world(shape(geometry))
        size = hectares(polygon)
        if size >= least_ha:
            found.append((labels[int(code)], size, polygon))
    found.sort(key=lambda one: (-one[1], one[2].bounds))
    _write_features(path, found)
    return tuple((name, size) for name, size, _ in found)


def _to_world(crs: CRS) -> Callable[[BaseGeometry], BaseGeometry]:
    """Geometries of the image to lon/lat degrees, rounded to a centimetre."""
    transformer = Transformer.from_crs(crs.to_wkt(), "EPSG:4326", always_xy=True)

    def to_world(geometry: BaseGeometry) -> BaseGeometry:
        # Arrays, not rasterio's tuples: the maps of a whole tile have millions of corners.
        turned = shapely.transform(
            transformed(geometry, transformer), lambda corners: np.round(corners, DEGREE_DIGITS)
        )
        west, _, east, _ = turned.bounds
        if east - west <= 180.0:
            return turned
        # Over the antimeridian, where GDAL splits it.
        return shape(transform_geom(crs, "EPSG:4326", mapping(geometry), precision=DEGREE_DIGITS))

    return to_world


def _write_features(path: Path, found: Sequence[tuple[str, float, BaseGeometry]]) -> None:
    """(class, hectares, lon/lat geometry) as a collection with one feature per line, written as they come."""
    with path.open("w", encoding="utf-8") as sink:
        sink.write('{"type": "FeatureCollection", "features": [')
        for index, (name, size, geometry) in enumerate(found):
            properties = json.dumps({"class": name, "hectares": round(size, 4)})
            sink.write(",\n" if index else "\n")
            sink.write(f'{{"type": "Feature", "properties": {properties}, "geometry": ')
            sink.write(shapely.to_geojson(geometry))
            sink.write("}")
        sink.write("\n]}\n")


def in_patches(classes: UInt8, codes: Sequence[int], *, pixels: int) -> NDArray[np.bool_]:
    """(h, w) where a class hangs together over at least so many pixels (4-connectivity)."""
    found = np.zeros(classes.shape, dtype=bool)
    patches = np.empty(classes.shape, dtype=np.int32)  # once for all codes: two of them count on a whole tile
    for code in codes:
        count = int(label(classes == code, output=patches))
        sizes = np.zeros(count + 1, dtype=np.int64)
        for top in range(0, len(patches), STRIP):  # all at once would be copied as 64-bit numbers
            sizes += np.bincount(patches[top : top + STRIP].ravel(), minlength=count + 1)
        large = sizes >= pixels
        large[0] = False
        found |= large[patches]
    return found


def write_picture(
    path: Path,
    images: tuple[Image, Image],
    classes: UInt8,
    *,
    captions: tuple[str, str],
    labels: Mapping[int, str],
) -> None:
    """Two panels in one stretch, with the outlines of the classes and a legend."""
    stretch = stretch_of(images)
    panels = [_panel(image, classes, stretch) for image in images]
    width, height = panels[0].size
    sheet = Picture.new("RGB", (2 * width + 3 * 8, height + 2 * MARGIN_PX), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for index, (panel, caption) in enumerate(zip(panels, captions, strict=True)):
        left = 8 + index * (width + 8)
        sheet.paste(panel, (left, MARGIN_PX))
        draw.text((left, 8), caption[:60], fill=(20, 20, 20), font=font)
    _draw_legend(draw, labels, top=height + MARGIN_PX + 8, font=font)
    sheet.save(path, optimize=True)


def stretch_of(images: Sequence[Image]) -> list[tuple[float, float]]:
    """(low, high) reflectance per shown band, from all images together, so that they compare."""
    limits = []
    for name in shown_bands(images[0]):
        values = np.concatenate([image.bands[name][np.isfinite(image.bands[name])] for image in images])
        low, high = (float(value) for value in np.percentile(values, (2, 98)))
        limits.append((low, max(high, low + 0.02)))
    return limits


def shown_bands(image: Image) -> tuple[str, str, str]:
    """Red, green, blue where the image has them, else its first band three times."""
    if {"B04", "B03", "B02"} <= set(image.bands):
        return ("B04", "B03", "B02")
    first = next(iter(image.bands))
    return (first, first, first)


def _panel(image: Image, classes: UInt8, stretch: Sequence[tuple[float, float]]) -> Picture.Image:
    channels = []
    for name, (low, high) in zip(shown_bands(image), stretch, strict=True):
        level = np.clip((np.nan_to_num(image.bands[name]) - low) / (high - low), 0.0, 1.0)
        channels.append((255 * np.sqrt(level)).astype(np.uint8))
    rows, columns = image.shape
    scale = max(1, round(PANEL_PX / max(rows, columns)))
    pixels = np.stack(channels, axis=-1).repeat(scale, axis=0).repeat(scale, axis=1)
    big = classes.repeat(scale, axis=0).repeat(scale, axis=1)
    for code in np.unique(big):
        if code not in (0, 255):
            inside = big == code
            edge = inside & ~binary_erosion(inside, iterations=max(1, scale // 3))
            pixels[edge] = COLOURS[int(code)]
    panel = Picture.fromarray(pixels)
    if max(panel.size) > 2 * PANEL_PX:
        panel.thumbnail((2 * PANEL_PX, 2 * PANEL_PX))
    return panel


def _draw_legend(
    draw: ImageDraw.ImageDraw,
    labels: Mapping[int, str],
    *,
    top: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    left = 8
    for code, name in labels.items():
        draw.rectangle((left, top, left + 14, top + 14), fill=COLOURS[code])
        draw.text((left + 20, top - 1), name, fill=(20, 20, 20), font=font)
        left += 40 + int(draw.textlength(name, font=font))
