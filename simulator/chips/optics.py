"""From the light over a chip to numbers at native resolution, and back to 10 m as a reader does it. Pure.

Blur, the pass's sub-pixel shift, averaging to 20 or 60 m and bilinear resampling are linear along each axis:
small matrices do them. The bilinear weights are those of the detector's resampling on aligned grids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from registry.models import S2_BANDS
from simulator.chips.palette import Float32

NATIVE_PX = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 1),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 2),
    **dict.fromkeys(("B01", "B09"), 6),
}
"""Pixels of 10 m along one side of a band's own pixel."""

_BLUR: Mapping[int, float] = {1: 0.53, 2: 1.0, 6: 1.8}
"""Gaussian width of the optics in 10 m pixels, before the detector averages: MTF about .25 at Nyquist."""

OFFSETS = {"02.14": 0, "05.09": -1000}
"""BOA_ADD_OFFSET by processing baseline: from 04.00 on it is -1000."""


@dataclass(frozen=True)
class Lattice:
    """Where a chip lies on the tile's 60 m lattice, and how far this pass is shifted against it."""

    row: int
    """10 m pixels from the last 60 m line above, 0 to 5."""
    column: int
    south: float
    """Shift of the image in 10 m pixels."""
    east: float


def through_optics(
    light: Float32, lattice: Lattice, noise: Float32, *, baseline: str, keep_native: bool = False
) -> tuple[Float32, dict[str, Float32]]:
    """((12, h, w) reflectance at 10 m as read from a product of ``baseline``, the bands' own grids).

    ``noise`` (12, h, w) is the detectors' own, in reflectance, drawn at 10 m and cropped to the native grid.
    """
    size = light.shape[-1]
    seen = np.empty_like(light)
    native: dict[str, Float32] = {}
    for px in (1, 2, 6):
        down_r, up_r = _axis(size, px, lattice.row % px, round(lattice.south * 32) / 32)
        down_c, up_c = _axis(size, px, lattice.column % px, round(lattice.east * 32) / 32)
        for number, name in enumerate(S2_BANDS):
            if NATIVE_PX[name] != px:
                continue
            own = _along_both(down_r, down_c, light[number])
            own += noise[number, : own.shape[0], : own.shape[1]]
            own = read(numbers(own, baseline), baseline)
            if keep_native:
                native[name] = own
            seen[number] = own if px == 1 else _along_both(up_r, up_c, own)
    return seen, native


def numbers(reflectance: Float32, baseline: str) -> Float32:
    """DN of a product: whole numbers from 1 (0 = no data), in the offset convention of ``baseline``."""
    found = reflectance * np.float32(10_000.0) - np.float32(OFFSETS[baseline])
    np.rint(found, out=found)
    return np.asarray(np.clip(found, 1.0, 32_767.0, out=found), np.float32)


def read(found: Float32, baseline: str) -> Float32:
    """Reflectance = (DN + offset) / 10000."""
    return np.asarray((found + np.float32(OFFSETS[baseline])) * np.float32(1e-4), np.float32)


Bands = tuple[tuple[slice, Float32], ...]
"""A matrix by ranges of rows: the columns that matter to each, and what stands there."""
_PART = 64
_NOTHING = 1e-7


def _along_both(rows: Bands, columns: Bands, field: Float32) -> Float32:
    """``rows`` @ field @ ``columns``.T"""
    return _multiplied(columns, _multiplied(rows, field).T).T


def _multiplied(matrix: Bands, field: Float32) -> Float32:
    return np.concatenate([part @ field[columns] for columns, part in matrix])


@lru_cache(maxsize=512)
def _axis(size: int, px: int, phase: int, shift: float) -> tuple[Bands, Bands]:
    """((n, size) to native pixels, (size, n) back) along one axis."""
    down = _average(size, px, phase) @ _blur(size, _BLUR[px], shift)
    return _bands(down), _bands(upsampling(size, px, phase))


def _bands(matrix: Float32) -> Bands:
    """Cut into ranges of rows, each with only the columns that matter to it."""
    parts = []
    for first in range(0, len(matrix), _PART):
        rows = slice(first, min(first + _PART, len(matrix)))
        used = np.flatnonzero((np.abs(matrix[rows]) > _NOTHING).any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1)
        parts.append((columns, np.ascontiguousarray(matrix[rows, columns])))
    return tuple(parts)


@lru_cache(maxsize=256)
def _blur(size: int, width: float, shift: float) -> Float32:
    """(size, size) Gaussian blur with a shift; weights that fall outside go to the others."""
    at = np.arange(size, dtype=np.float32)
    weights = np.exp(-0.5 * ((at[:, None] - at[None, :] - np.float32(shift)) / np.float32(width)) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


@lru_cache(maxsize=64)
def _average(size: int, px: int, phase: int) -> Float32:
    """(n, size) mean over each native pixel's part that lies in the chip."""
    cell = (np.arange(size) + phase) // px
    inside = (cell[None, :] == np.arange(cell[-1] + 1)[:, None]).astype(np.float32)
    return np.asarray(inside / inside.sum(axis=1, keepdims=True), np.float32)


@lru_cache(maxsize=64)
def upsampling(size: int, px: int, phase: int) -> Float32:
    """(size, n) bilinear weights from native pixels to 10 m; beyond the edge the edge pixel has all."""
    count = (size - 1 + phase) // px + 1
    at = (np.arange(size) + 0.5 + phase) / px - 0.5
    floor = np.floor(at)
    share = np.where(floor < 0, 0.0, np.where(floor > count - 2, min(count - 1, 1), at - floor))
    low = np.clip(floor, 0, max(count - 2, 0)).astype(np.intp)
    weights = np.zeros((size, count), np.float32)
    rows = np.arange(size)
    weights[rows, low] += (1.0 - share).astype(np.float32)
    weights[rows, np.minimum(low + 1, count - 1)] += share.astype(np.float32)
    return weights
