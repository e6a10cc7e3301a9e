"""Bilinear and nearest resampling onto an area's grid, as GDAL's warp does it with exact settings. Pure.

A pixel takes the four source pixels around its centre; those without data drop out and the other
weights are scaled up, so that no data never bleeds into data. A pixel whose centre lies in a source
pixel without data, or outside the source, has no data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Floating = NDArray[np.floating[Any]]
Transform = Callable[[Float64, Float64], tuple[Float64, Float64]]

NODE_PX = 16
"""Pixels between two nodes of the coordinate grid; between them .002 m is not exceeded (UTM to UTM)."""

EDGE = 1e-10
"""GDAL's slack when it asks which source pixel a point lies in."""


@dataclass(frozen=True)
class Coordinates:
    """Where each output pixel's centre lies in a source window, in source pixels from its corner."""

    columns: Floating
    """(w,) where ``separable``, else (h, w)."""
    rows: Floating
    """(h,) where ``separable``, else (h, w)."""
    separable: bool

    def shifted(self, column: int, row: int) -> Coordinates:
        """The same points seen from a window that begins at (column, row)."""
        return Coordinates(self.columns - column, self.rows - row, self.separable)


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


def nearest(
    window: NDArray[np.generic], valid: NDArray[np.bool_], where: Coordinates
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """(values, valid) of the source pixel each centre lies in; values are 0 where not valid."""
    rows, columns, inside = _cells(where, window.shape)
    found = window[rows, columns]
    good = inside & valid[rows, columns]
    return np.where(good, found, 0).astype(window.dtype), good


def bilinear(window: Float32, valid: NDArray[np.bool_] | None, where: Coordinates) -> Float32:
    """(h, w) float32, NaN = no data. ``valid`` None says that every pixel of the window has data."""
    everywhere = _all_inside(where, window.shape)
    if where.separable:
        total, weight = _separable(window, valid, where)
    else:
        total, weight = _scattered(window, valid, where)
    if valid is None and everywhere:
        return total
    rows, columns, good = _cells(where, window.shape)
    if valid is not None:
        good = good & valid[rows, columns]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = total if weight is None else total / weight
    return np.where(good, value, np.float32(np.nan)).astype(np.float32)


def _taps(at: Floating, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Float32]:
    """Lower and upper neighbour and the upper's weight; beyond the edge both are the edge pixel."""
    centre = at - 0.5
    low = np.floor(centre).astype(np.intp)
    share = (centre - low).astype(np.float32)
    return np.clip(low, 0, size - 1), np.clip(low + 1, 0, size - 1), share


def _separable(
    window: Float32, valid: NDArray[np.bool_] | None, where: Coordinates
) -> tuple[Float32, Float32 | None]:
    rows = _taps(where.rows, window.shape[0])
    columns = _taps(where.columns, window.shape[1])
    if valid is None:
        return _mix(window, rows, columns), None
    return _mix(np.where(valid, window, 0.0).astype(np.float32), rows, columns), _mix(
        valid.astype(np.float32), rows, columns
    )


def _mix(
    values: Float32,
    rows: tuple[NDArray[np.intp], NDArray[np.intp], Float32],
    columns: tuple[NDArray[np.intp], NDArray[np.intp], Float32],
) -> Float32:
    low, high, share = rows
    if not share.any():
        down = values[low]
    else:
        down = values[low]
        down += (values[high] - down) * share[:, None]
    low, high, share = columns
    if not share.any():
        return np.ascontiguousarray(down[:, low])
    across: Float32 = np.take(down, low, axis=1)
    step = np.take(down, high, axis=1)
    step -= across
    step *= share
    across += step
    return across


def _scattered(
    window: Float32, valid: NDArray[np.bool_] | None, where: Coordinates
) -> tuple[Float32, Float32 | None]:
    low_r, high_r, share_r = _taps(where.rows, window.shape[0])
    low_c, high_c, share_c = _taps(where.columns, window.shape[1])
    width = window.shape[1]
    corners = (
        (low_r * width + low_c, (1 - share_r) * (1 - share_c)),
        (low_r * width + high_c, (1 - share_r) * share_c),
        (high_r * width + low_c, share_r * (1 - share_c)),
        (high_r * width + high_c, share_r * share_c),
    )
    flat = window.ravel() if valid is None else np.where(valid, window, 0.0).astype(np.float32).ravel()
    total = sum(np.take(flat, index) * weight for index, weight in corners)
    if valid is None:
        return np.asarray(total, dtype=np.float32), None
    mask = valid.astype(np.float32).ravel()
    weight_sum = sum(np.take(mask, index) * weight for index, weight in corners)
    return np.asarray(total, dtype=np.float32), np.asarray(weight_sum, dtype=np.float32)


def _cells(
    where: Coordinates, shape: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Row and column of the source pixel of each centre (clipped), and whether it lies inside."""
    rows, columns = np.floor(where.rows + EDGE), np.floor(where.columns + EDGE)
    if where.separable:
        rows, columns = rows[:, None], columns[None, :]
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return (
        np.clip(rows, 0, shape[0] - 1).astype(np.intp),
        np.clip(columns, 0, shape[1] - 1).astype(np.intp),
        inside,
    )


def _all_inside(where: Coordinates, shape: tuple[int, ...]) -> bool:
    return bool(
        where.rows.min() >= 0
        and where.columns.min() >= 0
        and where.rows.max() < shape[0]
        and where.columns.max() < shape[1]
    )
