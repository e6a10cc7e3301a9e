"""Chips as files: what labellers open, what `train` and `evaluate` read, what `simulate` writes.

DIR/NAME/pixels.tif     14 bands described by name, float32; reflectance 0..1, gamma0 in linear power
DIR/NAME/picture.png    8-bit red, green, blue for people
DIR/NAME/labels.tif     uint16 bits of registry.chips.BIT; absent = not labelled yet
DIR/NAME/chip.json      name, place, date, what was looked for, facts
DIR/NAME/before/...     the same for the earlier date of a pair, with DIR/NAME/change.tif (uint8)
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image as Picture
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from registry.chips import CHANNELS, COMPONENTS, Chip, ChipPair, Component
from registry.errors import InputError
from registry.grid import Grid
from registry.models import S2_BANDS

PIXELS, PICTURE, LABELS, FACTS, CHANGE, BEFORE = (
    "pixels.tif",
    "picture.png",
    "labels.tif",
    "chip.json",
    "change.tif",
    "before",
)


@dataclass(frozen=True)
class ChipFile:
    """A chip that has not been read yet."""

    folder: Path
    name: str
    place: str
    acquired: str
    known: tuple[Component, ...]
    shape: tuple[int, int]
    """(rows, columns)."""
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def labelled(self) -> bool:
        """Whether its labels are there."""
        return (self.folder / LABELS).is_file()

    @property
    def stamp(self) -> list[str]:
        """Tells whether the files are still the same."""
        files = [path for path in sorted(self.folder.rglob("*.tif")) if path.is_file()]
        stats = [(path, path.stat()) for path in files]
        return [f"{self.name}/{path.name}:{stat.st_size}:{stat.st_mtime_ns}" for path, stat in stats]


@dataclass(frozen=True)
class PairFile(ChipFile):
    """A chip at two dates that has not been read yet; its own facts are those of the later one."""


def write_chip(folder: Path, chip: Chip, *, grid: Grid | None = None) -> Path:
    """Write ``folder/NAME``; returns it. A chip that knows no component is written without labels.

    ``grid`` is where it lies; None = simulated, nowhere on Earth. Raises InputError where the disk is full.
    """
    target = folder / chip.name
    pixels = _raster(chip.pixels.astype(np.float32), CHANNELS, grid, nodata=float("nan"))
    picture = BytesIO()
    Picture.fromarray(rgb(chip.pixels)).save(picture, "png")
    facts = {
        "name": chip.name,
        "place": chip.place,
        "acquired": chip.acquired,
        "known": [str(one) for one in chip.known],
        "shape": list(chip.labels.shape),
        "facts": dict(chip.facts),
    }
    _withdraw(target)
    _put(target / PIXELS, pixels)
    if chip.known:
        _put(target / LABELS, _raster(chip.labels[None], ("labels",), grid))
    _put(target / PICTURE, picture.getvalue())
    # Last: from now on the chip counts.
    _put(target / FACTS, (json.dumps(facts, indent=1) + "\n").encode())
    return target


def write_pair(folder: Path, pair: ChipPair, *, grid: Grid | None = None) -> Path:
    """Write the later date as ``folder/NAME`` and the earlier one in it."""
    target = folder / pair.after.name
    _withdraw(target)
    before = write_chip(target, _named(pair.before, BEFORE), grid=grid)
    assert before.name == BEFORE
    _put(target / CHANGE, _raster(pair.change[None], ("change",), grid))
    return write_chip(folder, pair.after, grid=grid)


def _named(chip: Chip, name: str) -> Chip:
    return Chip(name, chip.pixels, chip.labels, chip.known, chip.place, chip.acquired, chip.facts)


def _withdraw(target: Path) -> None:
    """A chip counts by its facts: without them a killed writer leaves none by half, nor half of another."""
    with _told(target):
        target.mkdir(parents=True, exist_ok=True)
        (target / FACTS).unlink(missing_ok=True)


def _put(path: Path, content: bytes) -> None:
    """A file whole or not at all. Raises InputError where the disk is full or refuses it."""
    part = path.with_name(f"{path.name}.part")
    with _told(path):
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise InputError(
            f"{path} cannot be written: {exc.strerror}; free some space or name another folder"
        ) from exc


def _raster(
    bands: NDArray[Any], names: tuple[str, ...], grid: Grid | None, *, nodata: float | None = None
) -> bytes:
    """Made in memory: a file of its own GDAL cuts off on a full disk without a word."""
    count, height, width = bands.shape
    place = {"crs": grid.crs, "transform": Affine(*grid.geotransform)} if grid else {}
    options = {"compress": "deflate", "predictor": 3 if bands.dtype.kind == "f" else 2, "nodata": nodata}
    with warnings.catch_warnings(), MemoryFile(ext=".tif") as memory:
        # Simulated chips lie nowhere.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(
            driver="GTiff",
            count=count,
            height=height,
            width=width,
            dtype=bands.dtype,
            **options,
            **place,
        ) as sink:
            sink.write(bands)
            for number, name in enumerate(names, start=1):
                sink.set_band_description(number, name)
        return bytes(memory.read())


def list_chips(folder: Path) -> list[ChipFile]:
    """Labelled single-date chips of a folder, by name."""
    return [one for one in every_chip(folder) if one.labelled]


def every_chip(folder: Path) -> list[ChipFile]:
    """Single-date chips of a folder, labelled or not, by name."""
    return list(_listed(folder, pairs=False))


def list_pairs(folder: Path) -> list[PairFile]:
    """Pairs of a folder, by name."""
    return [PairFile(**vars(one)) for one in _listed(folder, pairs=True)]


def _listed(folder: Path, *, pairs: bool) -> Iterator[ChipFile]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one that holds chips")
    for path in sorted(folder.glob(f"*/{FACTS}")):
        if (path.parent / CHANGE).is_file() == pairs:
            yield _chip_file(path)


def _chip_file(path: Path) -> ChipFile:
    try:
        facts = json.loads(path.read_text())
        rows, columns = facts["shape"]
        return ChipFile(
            folder=path.parent,
            name=facts["name"],
            place=facts["place"] or facts["name"],
            acquired=facts["acquired"],
            known=tuple(Component(one) for one in facts["known"]),
            shape=(int(rows), int(columns)),
            facts={str(key): str(value) for key, value in facts["facts"].items()},
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise InputError(f"{path} says nothing usable ({exc}); write the chip again") from exc


def read_chip(file: ChipFile) -> Chip:
    """The chip; without labels its labels are 0 and nothing is known. Bands are taken by name."""
    pixels = _read_bands(file.folder / PIXELS)
    if file.labelled:
        labels = _read_single(file.folder / LABELS).astype(np.uint16)
        known = file.known or COMPONENTS
    else:
        labels, known = np.zeros(pixels.shape[1:], np.uint16), ()
    if labels.shape != pixels.shape[1:]:
        raise InputError(
            f"{file.folder / LABELS} has {labels.shape} pixels, {PIXELS} {pixels.shape[1:]}; label it anew"
        )
    return Chip(file.name, pixels, labels, known, file.place, file.acquired, file.facts)


def read_pair(file: PairFile) -> ChipPair:
    """Both dates and what changed."""
    before = _chip_file(file.folder / BEFORE / FACTS)
    change = _read_single(file.folder / CHANGE).astype(np.uint8)
    return ChipPair(before=read_chip(before), after=read_chip(file), change=change)


def _read_bands(path: Path) -> NDArray[np.float32]:
    """(14, h, w) in the order of CHANNELS; a band the file lacks is NaN."""
    with _opened(path) as source:
        names = list(source.descriptions)
        unknown = [name for name in names if name not in CHANNELS]
        if unknown or len(set(names)) != len(names):
            raise InputError(
                f"{path} describes its bands as {names}; describe each once, with a name of {list(CHANNELS)}"
            )
        values = source.read().astype(np.float32)
    pixels = np.full((len(CHANNELS), *values.shape[1:]), np.nan, np.float32)
    for band, name in zip(values, names, strict=True):
        pixels[CHANNELS.index(name)] = band
    optical = pixels[: len(S2_BANDS)][:, ::7, ::7]
    if np.isfinite(optical).any() and float(np.nanmedian(optical)) > 1.6:
        raise InputError(
            f"{path} has a median of {float(np.nanmedian(optical)):.4g}; write reflectance from 0 to 1"
        )
    return pixels


def _read_single(path: Path) -> NDArray[Any]:
    with _opened(path) as source:
        values: NDArray[Any] = source.read(1)
        return values


def _opened(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path)
    except RasterioError as exc:
        raise InputError(f"{path} cannot be read: {exc}; write the chip again") from exc


def rgb(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(h, w, 3) true colour for people: each chip in its own stretch, no data black."""
    shown = pixels[[CHANNELS.index(name) for name in ("B04", "B03", "B02")]]
    seen = np.isfinite(shown)
    if not seen.any():
        return np.zeros((*pixels.shape[1:], 3), np.uint8)
    low, high = np.percentile(shown[seen], (1.0, 99.0))
    level = np.clip((np.nan_to_num(shown) - low) / max(high - low, 0.03), 0.0, 1.0)
    shade: NDArray[np.uint8] = np.moveaxis(255.0 * np.sqrt(level), 0, -1).astype(np.uint8)
    return shade
