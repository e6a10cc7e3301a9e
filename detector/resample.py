"""Bilinear and nearest resampling onto an area's grid, as GDAL's warp does it with exact settings. Pure.

A pixel takes the four source pixels around its centre; those without data drop out and the other
weights are scaled up, so that no data never bleeds into data. A pixel whose centre lies in a source
pixel without data, or outside the source, has no data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Floating = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]
Transform = Callable[[Float64, Float64], tuple[Float64, Float64]]

NODE_PX = 16
"""Pixels between two nodes of the coordinate grid; between them .002 m is not exceeded (UTM to UTM)."""

BLOCK_PX = 1 << 15
"""Pixels resampled at once across CRSs: what fits the processor's cache."""

EDGE = 1e-10
"""GDAL's slack when it asks which source pixel a point lies in."""


class Taps(Protocol):
    """The source pixels around each output pixel's centre, and their weights."""

    def bilinear(self, window: Float32, valid: Mask | None) -> Float32:
        """(h, w) float32, NaN = no data. ``valid`` None says that every pixel of the window has data."""
        ...

    def nearest(self, window: NDArray[Any], valid: Mask | None) -> Float32:
        """(h, w) float32 of the source pixel that each centre lies in; NaN = no data."""
        ...


@dataclass(frozen=True)
class Coordinates:
    """Where each output pixel's centre lies in a source raster, in source pixels from its corner."""

    columns: Floating
    """(w,) where ``separable``, else (h, w)."""
    rows: Floating
    """(h,) where ``separable``, else (h, w)."""
    separable: bool

    def taps(self, column: int, row: int, shape: tuple[int, int]) -> Taps:
        """What resamples the window of ``shape`` that begins at (column, row)."""
        rows, columns = self.rows - row, self.columns - column
        if self.separable:
            return _AlignedTaps(_axis(rows, shape[0]), _axis(columns, shape[1]))
        return _scattered(_axis(rows, shape[0]), _axis(columns, shape[1]), shape[1])


def aligned(
    *, left: float, top: float, shape: tuple[int, int], step: float, source: tuple[float, float, float, float]
) -> Coordinates:
    """Coordinates where grid and source share a CRS; ``source`` is (left, top, pixel width, pixel height)."""
    source_left, source_top, pixel_width, pixel_height = source
    columns = (left + (np.arange(shape[1]) + 0.5) * step - source_left) / pixel_width
    rows = (source_top - (top - (np.arange(shape[0]) + 0.5) * step)) / pixel_height
    return Coordinates(columns, rows, separable=True)


def warped(shape: tuple[int, int], to_source: Transform) -> Coordinates:
    """Coordinates through ``to_source`` (grid pixel -> source pixel), exact at nodes, linear between them."""
    node_rows, node_columns = _nodes(shape[0]), _nodes(shape[1])
    grid_columns, grid_rows = np.meshgrid(node_columns, node_rows)
    source_columns, source_rows = to_source(grid_columns.ravel(), grid_rows.ravel())
    centres_r, centres_c = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5

    def between(values: Float64) -> Float64:
        nodes = values.reshape(grid_columns.shape)
        along = _interpolate(nodes.T, node_columns, centres_c).T
        return _interpolate(along, node_rows, centres_r)

    return Coordinates(between(source_columns), between(source_rows), separable=False)


def _nodes(size: int) -> Float64:
    steps = max(1, -(-size // NODE_PX))
    return np.linspace(0.0, float(size), steps + 1)


def _interpolate(values: Float64, nodes: Float64, at: Floating) -> Float64:
    """Linear along axis 0."""
    low = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, len(nodes) - 2)
    share = ((at - nodes[low]) / (nodes[low + 1] - nodes[low]))[:, None]
    return values[low] * (1.0 - share) + values[low + 1] * share


@dataclass(frozen=True)
class _Axis:
    """Along one axis: the lower of the two neighbours, the weight of the upper, whether a point is inside."""

    low: Index
    """0 .. size - 2, or 0; the upper neighbour is the next one."""
    share: Float32
    """Beyond the edge the edge pixel has all the weight."""
    cell: Index
    """The pixel that the point lies in."""
    inside: Mask


def _axis(at: Floating, size: int) -> _Axis:
    floor = np.floor(at - 0.5)
    share = (at - 0.5 - floor).astype(np.float32)
    share[floor < 0] = 0.0
    share[floor > size - 2] = min(size - 1, 1)
    cell = np.floor(at + EDGE)
    return _Axis(
        low=np.clip(floor, 0, max(size - 2, 0)).astype(np.intp),
        share=share,
        cell=np.clip(cell, 0, size - 1).astype(np.intp),
        inside=(cell >= 0) & (cell < size),
    )


@dataclass(frozen=True)
class _AlignedTaps:
    """Rows stay rows and columns columns: one axis after the other."""

    rows: _Axis
    columns: _Axis

    def bilinear(self, window: Float32, valid: Mask | None) -> Float32:
        if valid is None:
            return _blanked(self._mixed(window), self._inside())
        total = self._mixed(np.where(valid, window, np.float32(0.0)))
        return _divided(total, self._mixed(valid.astype(np.float32)), self._good(valid))

    def nearest(self, window: NDArray[Any], valid: Mask | None) -> Float32:
        found = window[self._cells()].astype(np.float32)
        return _blanked(found, self._inside() if valid is None else self._good(valid))

    def _cells(self) -> tuple[Index, Index]:
        return self.rows.cell[:, None], self.columns.cell[None, :]

    def _inside(self) -> Mask | None:
        """None = all."""
        if self.rows.inside.all() and self.columns.inside.all():
            return None
        return self.rows.inside[:, None] & self.columns.inside[None, :]

    def _good(self, valid: Mask) -> Mask:
        inside = self._inside()
        good: Mask = valid[self._cells()]
        return good if inside is None else good & inside

    def _mixed(self, values: Float32) -> Float32:
        rows, columns = self.rows, self.columns
        down = values[rows.low]
        if rows.share.any():
            down += (values[np.minimum(rows.low + 1, len(values) - 1)] - down) * rows.share[:, None]
        across: Float32 = np.take(down, columns.low, axis=1)
        if columns.share.any():
            step = np.take(down, np.minimum(columns.low + 1, values.shape[1] - 1), axis=1)
            step -= across
            step *= columns.share
            across += step
        return across


@dataclass(frozen=True)
class _ScatteredTaps:
    """Every output pixel has its own place. Costly to make: made once for the bands that share it."""

    low: Index
    """(h, w) flat index in the window of the upper left neighbour."""
    share_row: Float32
    share_column: Float32
    cell: Index
    """(h, w) flat index of the pixel that the centre lies in."""
    inside: Mask | None
    """None = all."""
    width: int
    """Columns of the window."""

    def bilinear(self, window: Float32, valid: Mask | None) -> Float32:
        if valid is None:
            return _blanked(self._mixed(window), self.inside)
        total = self._mixed(np.where(valid, window, np.float32(0.0)))
        return _divided(total, self._mixed(valid.astype(np.float32)), self._good(valid))

    def nearest(self, window: NDArray[Any], valid: Mask | None) -> Float32:
        found = np.take(window.ravel(), self.cell).astype(np.float32)
        return _blanked(found, self.inside if valid is None else self._good(valid))

    def _good(self, valid: Mask) -> Mask:
        good: Mask = np.take(valid.ravel(), self.cell)
        return good if self.inside is None else good & self.inside

    def _mixed(self, values: Float32) -> Float32:
        """By blocks; the other three neighbours lie at fixed distances from the upper left one."""
        flat = values.ravel()
        upper_left, upper_right, lower_left, lower_right = (
            # Where the window has one row or column the neighbour does not exist and weighs nothing.
            flat[min(ahead, flat.size - 1) :]
            for ahead in (0, 1, self.width, self.width + 1)
        )
        mixed = np.empty(self.low.shape, dtype=np.float32)
        height, width = self.low.shape
        rows = max(1, BLOCK_PX // width)
        for begin in range(0, height, rows):
            part = slice(begin, begin + rows)
            at, along = self.low[part], self.share_column[part]
            out = _between(upper_left, upper_right, at, along)
            lower = _between(lower_left, lower_right, at, along)
            lower -= out
            lower *= self.share_row[part]
            np.add(out, lower, out=mixed[part])
        return mixed


def _between(first: Float32, second: Float32, at: Index, share: Float32) -> Float32:
    # All indices are known to lie inside; "clip" spares numpy the check.
    start: Float32 = np.take(first, at, mode="clip")
    step: Float32 = np.take(second, at, mode="clip")
    step -= start
    step *= share
    start += step
    return start


def _scattered(rows: _Axis, columns: _Axis, width: int) -> _ScatteredTaps:
    inside = rows.inside & columns.inside
    return _ScatteredTaps(
        low=rows.low * width + columns.low,
        share_row=rows.share,
        share_column=columns.share,
        cell=rows.cell * width + columns.cell,
        inside=None if inside.all() else inside,
        width=width,
    )


def _divided(total: Float32, weight: Float32, good: Mask) -> Float32:
    with np.errstate(invalid="ignore", divide="ignore"):
        total /= weight
    return _blanked(total, good)


def _blanked(values: Float32, good: Mask | None) -> Float32:
    """``values``, changed in place: NaN where not ``good``."""
    if good is not None:
        values[~good] = np.nan
    return values
