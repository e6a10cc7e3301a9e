"""One band of one scene onto the grid: open, check, read the window at native resolution, resample.

The GDAL settings are those of docs/performance.md. GDAL remembers failures and old content of a URL for
the life of the process, so remote files are marked as not to be cached and every read is tried anew.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.enums import Interleaving
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window as RasterWindow
from shapely import box

from detector.buckets import S3Session, bucket_path
from detector.resample import Coordinates, Taps, aligned, warped
from registry.errors import Reject, Retry
from registry.grid import RESOLUTION, Grid
from registry.log import get_logger, mask
from registry.models import BandFile, Scene
from registry.reach import Reach
from registry.s3_settings import S3ReadSettings

log = get_logger(__name__)

Float32 = NDArray[np.float32]
_Placed = tuple[RasterWindow, Taps]
_Corner = tuple[float, float, float, float]

MAX_SIDE = 40_000
"""Largest raster that is opened: a Sentinel-1 scene has 26,000 columns; more is a bomb or a mistake."""

MAX_BLOCK_BYTES = 512 << 20
"""Largest block that is decompressed: bands of 1,024 x 1,024 need 2 MB; one block a scene is a bomb."""

DRIVERS = ("GTiff", "JP2OpenJPEG")
"""What is opened. Others can name further files (VRT), services (WMS) or this machine's memory."""

KEPT_PX = 4_000_000
"""Largest grid whose placement across CRSs is kept in memory (24 bytes a pixel and resolution)."""

_WARPING = Lock()
"""One thread works out a placement, the others wait for it rather than do it again."""

SCHEMES = ("http", "https", "s3", "file", "")
"""What an href may begin with; profiles narrow it further."""


@dataclass(frozen=True)
class ReaderSettings:
    """How files are read."""

    threads: int = 8
    """Windows read at the same time."""
    timeout_s: float = 60.0
    """Seconds until a stalled read is cut off."""
    retries: int = 5
    """Further tries of one window."""
    backoff_s: float = 0.5
    """Seconds before the first retry; doubles each time."""
    local_files: bool = True
    """Whether hrefs may be files of this machine."""
    reach: Reach = field(default_factory=Reach)
    """Hosts that hrefs may name."""
    s3: S3ReadSettings = field(default_factory=S3ReadSettings)
    """How s3:// hrefs are read."""


@dataclass(frozen=True)
class Window:
    """Numbers of one band on the grid."""

    values: Float32
    """(h, w) as the file has them (no scale, no offset); NaN = no data."""


def read_window(scene: Scene, file: BandFile, grid: Grid, *, classes: bool, reader: ReaderSettings) -> Window:
    """The band on the grid; bilinear, or nearest for ``classes``. Raises Retry or Reject."""
    path = openable(file.href, reader)
    for attempt in range(reader.retries + 1):
        try:
            with rasterio.Env(S3Session(reader.s3), **_gdal_options(reader)), _explained(scene, file):
                return _read(path, scene, file, grid, classes=classes)
        except _Missing as exc:
            raise Retry(str(exc)) from exc
        except Retry as exc:
            if attempt == reader.retries:
                raise
            pause = reader.backoff_s * 2**attempt
            log.debug("read failed, trying again", reason=str(exc), pause_s=pause)
            time.sleep(pause)
    raise AssertionError("the loop returns or raises")


class _Missing(Retry):
    """The file is not there (404, 410, no such file): the bus waits longer than a loop here should."""


def openable(href: str, reader: ReaderSettings) -> str:
    """What GDAL opens. Raises Reject for a scheme, host or file that is not allowed."""
    if href.startswith("/vsicurl?"):
        return _signed_path(href, reader.reach)
    scheme = _scheme(href)
    if href.startswith("/vsi") or scheme not in SCHEMES:
        raise Reject(
            f"href {mask(href)!r} has scheme {scheme or '/vsi'!r}; only http, https, s3 and files are read"
        )
    if scheme in ("http", "https"):
        return f"/vsicurl/{reader.reach.check(href)}"
    if scheme == "s3":
        return bucket_path(href)
    if not reader.local_files:
        raise Reject(
            f"href {mask(href)!r} is a local file; list file under href_schemes of a provider's profile "
            "if items may name files"
        )
    return local_path(href)


def _scheme(href: str) -> str:
    try:
        return urlsplit(href).scheme
    except ValueError as exc:
        raise Reject(f"href {mask(href)[:160]!r} is malformed ({exc})") from exc


def local_path(href: str) -> str:
    """A file's path, of a path or a file: URL."""
    return urlsplit(href).path if href.startswith("file:") else href


def _signed_path(href: str, reach: Reach) -> str:
    """``/vsicurl?`` with the Planetary Computer's signing, built anew: other options of GDAL's read files."""
    options = parse_qsl(href.removeprefix("/vsicurl?"), keep_blank_values=True)
    names = sorted(name for name, _ in options)
    values = dict(options)
    if names != ["pc_collection", "pc_url_signing", "url"] or values["pc_url_signing"] != "yes":
        raise Reject(
            f"href {mask(href)[:160]!r} has other options than pc_url_signing=yes, pc_collection and url"
        )
    collection, url = quote(values["pc_collection"], safe=""), quote(reach.check(values["url"]), safe="")
    return f"/vsicurl?pc_url_signing=yes&pc_collection={collection}&url={url}"


@contextmanager
def _explained(scene: Scene, file: BandFile) -> Iterator[None]:
    """Foreign errors to ours: Retry where the network may heal, Reject where a local file never will."""
    shown = f"{scene.id}: {mask(file.href)}"
    try:
        yield
    except (RasterioError, OSError) as exc:
        reason = (str(exc.__cause__ or exc).splitlines() or [type(exc).__name__])[0].strip()
        if query := urlsplit(file.href).query:
            reason = reason.replace(query, "***")  # GDAL names the file with its signature
        remote = file.href.startswith(("http", "s3:", "/vsi"))
        if any(said in reason for said in ("404", "410", "key does not exist")) or (
            not remote and not Path(local_path(file.href)).exists()
        ):
            raise _Missing(f"{shown} is not there ({reason}); it is tried again later") from exc
        if not remote:
            raise Reject(
                f"{shown} can't be read ({reason}); put a complete file there, then dead retry"
            ) from exc
        remedy = "; read.s3 says how buckets are entered" if file.href.startswith("s3:") else ""
        raise Retry(f"{shown} can't be read now ({reason}){remedy}") from exc
    except MemoryError as exc:
        raise Reject(f"{shown} needs more memory than there is") from exc


def _gdal_options(reader: ReaderSettings) -> dict[str, Any]:
    return {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "GDAL_HTTP_MULTIPLEX": "YES",
        "GDAL_HTTP_MAX_RETRY": 3,
        "GDAL_HTTP_RETRY_DELAY": 0.1,
        "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
        "GDAL_HTTP_TIMEOUT": math.ceil(reader.timeout_s),
        "GDAL_HTTP_CONNECTTIMEOUT": math.ceil(min(reader.timeout_s, 20.0)),
        "GDAL_HTTP_LOW_SPEED_TIME": math.ceil(min(reader.timeout_s, 20.0)),
        "GDAL_HTTP_LOW_SPEED_LIMIT": 100,
        # In this order: GDAL takes what stands behind "http:" for a part of that URL.
        "CPL_VSIL_CURL_NON_CACHED": "/vsis3/:/vsicurl/http",
        "GDAL_CACHEMAX": 256,
        "GTIFF_IGNORE_READ_ERRORS": "NO",
    }


def _read(path: str, scene: Scene, file: BandFile, grid: Grid, *, classes: bool) -> Window:
    with DatasetReader(path, driver=list(DRIVERS)) as source:
        _check(source, scene, file)
        nodata = file.nodata if file.nodata is not None else source.nodata
        if _finer_than_grid(source, grid):
            return Window(_averaged(source, file.index, grid, nodata, classes=classes))
        placed = _placed(source, grid)
        if placed is None:
            return Window(np.full(grid.shape, np.nan, dtype=np.float32))
        window, taps = placed
        numbers = source.read(file.index, window=window)
    valid = _valid(numbers, nodata)
    if classes:
        return Window(taps.nearest(numbers, valid))
    return Window(taps.bilinear(numbers.astype(np.float32, copy=False), valid))


def _check(source: Any, scene: Scene, file: BandFile) -> None:
    shown = f"{scene.id}: {mask(file.href)}"
    if source.crs is None:
        hint = (
            "has ground control points only, it is not terrain-corrected"
            if source.gcps[0]
            else "names no CRS"
        )
        raise Reject(f"{shown} {hint}; only map-projected rasters are read")
    if file.index > source.count:
        raise Reject(f"{shown} has {source.count} bands, the item names band {file.index}")
    if max(source.width, source.height) > MAX_SIDE:
        raise Reject(
            f"{shown} has {source.width} x {source.height} pixels, at most {MAX_SIDE} a side are read"
        )
    block = _block_bytes(source)
    if block > MAX_BLOCK_BYTES:
        raise Reject(
            f"{shown} has blocks of {block:,} bytes, at most {MAX_BLOCK_BYTES:,} are unpacked; tile it"
        )
    if np.dtype(source.dtypes[file.index - 1]).kind not in "uif":
        raise Reject(f"{shown} holds {source.dtypes[file.index - 1]}, numbers are needed")
    if source.transform.b or source.transform.d or source.transform.e >= 0.0:
        raise Reject(f"{shown} is rotated or not north-up; warp it first")
    epsg = _epsg(source.crs.to_wkt())
    if scene.epsg is not None and epsg is not None and epsg != scene.epsg:
        raise Reject(f"{shown} is in EPSG:{epsg}, the item says EPSG:{scene.epsg}; one of them is wrong")
    if not _world_box(source.crs.to_wkt(), tuple(source.bounds)).intersects(scene.footprint):
        raise Reject(f"{shown} lies elsewhere than the item's footprint; the file or its CRS is wrong")


def _block_bytes(source: Any) -> int:
    """Bytes that reading one pixel unpacks."""
    rows, columns = source.block_shapes[0]
    bands = source.count if source.interleaving is Interleaving.pixel else 1
    return int(rows * columns * bands * max(np.dtype(kind).itemsize for kind in source.dtypes))


@lru_cache(maxsize=256)
def _world_box(wkt: str, bounds: tuple[float, float, float, float]) -> Any:
    transformer = Transformer.from_crs(CRS.from_wkt(wkt), "EPSG:4326", always_xy=True)
    return box(*transformer.transform_bounds(*bounds))


@lru_cache(maxsize=256)
def _epsg(wkt: str) -> int | None:
    found: int | None = rasterio.crs.CRS.from_wkt(wkt).to_epsg()
    return found


@lru_cache(maxsize=64)
def _to_source(grid_epsg: int, wkt: str) -> Transformer:
    return Transformer.from_crs(f"EPSG:{grid_epsg}", CRS.from_wkt(wkt), always_xy=True)


def _finer_than_grid(source: Any, grid: Grid) -> bool:
    """Finer pixels would alias under four samples: GDAL averages them with its wider kernel."""
    metres = source.res[0] if source.crs.is_projected else source.res[0] * 111_320.0
    return bool(metres < 0.9 * RESOLUTION) and grid.width > 0


def _averaged(source: Any, index: int, grid: Grid, nodata: float | None, *, classes: bool) -> Float32:
    out = np.full(grid.shape, np.nan, dtype=np.float32)
    reproject(
        rasterio.band(source, index),
        out,
        src_nodata=nodata,
        dst_transform=rasterio.Affine(*grid.geotransform),
        dst_crs=grid.crs,
        dst_nodata=float("nan"),
        resampling=Resampling.nearest if classes else Resampling.bilinear,
        tolerance=0.0,
    )
    return out


def _placed(source: Any, grid: Grid) -> _Placed | None:
    """The window of the source that the grid touches, and what resamples it; None where they do not meet."""
    transform, wkt = source.transform, source.crs.to_wkt()
    corner = (transform.c, transform.f, transform.a, -transform.e)
    size = (source.width, source.height)
    if _epsg(wkt) == grid.epsg:
        where = aligned(left=grid.left, top=grid.top, shape=grid.shape, step=RESOLUTION, source=corner)
        return _placement(where, size)
    if grid.width * grid.height > KEPT_PX:
        return _warped(grid, wkt, corner, size)
    with _WARPING:
        return _kept(grid, wkt, corner, size)


def _placement(where: Coordinates, size: tuple[int, int]) -> _Placed | None:
    if not (np.isfinite(where.columns).all() and np.isfinite(where.rows).all()):
        return None
    first_column, last_column = math.floor(where.columns.min()) - 1, math.ceil(where.columns.max()) + 1
    first_row, last_row = math.floor(where.rows.min()) - 1, math.ceil(where.rows.max()) + 1
    left, right = max(0, first_column), min(size[0], last_column)
    top, bottom = max(0, first_row), min(size[1], last_row)
    if left >= right or top >= bottom:
        return None
    taps = where.taps(left, top, (bottom - top, right - left))
    return RasterWindow(left, top, right - left, bottom - top), taps


def _warped(grid: Grid, wkt: str, corner: _Corner, size: tuple[int, int]) -> _Placed | None:
    transformer = _to_source(grid.epsg, wkt)
    left, top, pixel_width, pixel_height = corner

    def to_source(columns: Any, rows: Any) -> tuple[Any, Any]:
        x, y = transformer.transform(grid.left + columns * RESOLUTION, grid.top - rows * RESOLUTION)
        return (x - left) / pixel_width, (top - y) / pixel_height

    return _placement(warped(grid.shape, to_source), size)


_kept = lru_cache(maxsize=6)(_warped)
"""For the next band and pass: a tile's bands of one resolution share their placement."""


def _valid(numbers: NDArray[Any], nodata: float | None) -> NDArray[np.bool_] | None:
    """Which pixels have data; None = all."""
    valid: NDArray[np.bool_] | None = None
    if nodata is not None and not math.isnan(nodata):
        valid = numbers != nodata
    if numbers.dtype.kind == "f":
        finite = np.isfinite(numbers)
        valid = finite if valid is None else valid & finite
    return None if valid is None or valid.all() else valid
