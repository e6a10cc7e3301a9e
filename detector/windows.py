"""How a large image is cut for prediction, and what a reader hands over per window. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

CORE_PX = 512
"""Side of what one window answers for."""
HALO_PX = 32
"""Pixels seen around it: 512 and 32 were the cheapest of those tried that left no seams."""


@dataclass(frozen=True)
class Window:
    """A piece of an image: what is read, and the core of it that is kept. Rows and columns in pixels."""

    top: int
    left: int
    height: int
    width: int
    core_top: int
    core_left: int
    core_height: int
    core_width: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) read."""
        return (self.height, self.width)

    @property
    def kept(self) -> tuple[slice, slice]:
        """The core inside what was read."""
        row, column = self.core_top - self.top, self.core_left - self.left
        return slice(row, row + self.core_height), slice(column, column + self.core_width)

    @property
    def place(self) -> tuple[slice, slice]:
        """The core in the image."""
        return (
            slice(self.core_top, self.core_top + self.core_height),
            slice(self.core_left, self.core_left + self.core_width),
        )


@dataclass(frozen=True)
class Numbers:
    """One band over one window, in the file's own numbers and resolution."""

    data: NDArray[Any]
    """(rows, columns) of integers or floats; NaN = no data."""
    step: float = 1.0
    """Pixels of the image per pixel of the data: 2 for a 20 m band on a 10 m grid."""
    top: int = 0
    """Row of the image's data, in its own pixels from the image's corner, where ``data`` begins."""
    left: int = 0
    scale: float = 1.0
    """Physical value of one step of the numbers."""
    offset: float = 0.0
    """Added after scaling."""
    nodata: float | None = None
    """The number that says no data, beside NaN."""


Bands = Mapping[str, Numbers]
Reader = Callable[[Window], Sequence[Bands]]
"""Window -> its bands by name, for each date that the model looks at."""


def windows(
    shape: tuple[int, int], *, core: int = CORE_PX, halo: int = HALO_PX, stride: int = 16
) -> Iterator[Window]:
    """Row by row over the image; cores touch, halos end at the image's border.

    Core and halo become multiples of ``stride``, so that a network halves the same pixels as it would
    in the whole image.
    """
    core, halo = max(core // stride, 1) * stride, math.ceil(halo / stride) * stride
    rows, columns = shape
    for top in range(0, rows, core):
        for left in range(0, columns, core):
            bottom, right = min(top + core, rows), min(left + core, columns)
            first, start = max(top - halo, 0), max(left - halo, 0)
            yield Window(
                top=first,
                left=start,
                height=min(bottom + halo, rows) - first,
                width=min(right + halo, columns) - start,
                core_top=top,
                core_left=left,
                core_height=bottom - top,
                core_width=right - left,
            )


def native_range(start: int, length: int, step: float, size: int) -> tuple[int, int]:
    """(first, end) pixels of a coarser band that bilinear resampling of a window needs."""
    first = math.floor((start + 0.5) / step - 0.5)
    last = math.floor((start + length - 0.5) / step - 0.5) + 1
    return max(first, 0), min(last + 1, size)


@dataclass(frozen=True)
class ArrayReader:
    """Hands over pieces of arrays at the image's own resolution, in physical units."""

    dates: Sequence[Mapping[str, NDArray[np.float32]]]
    names: Sequence[str] = field(default=())

    def __call__(self, window: Window) -> Sequence[Bands]:
        """The window's bands, without copying."""
        rows = slice(window.top, window.top + window.height)
        columns = slice(window.left, window.left + window.width)
        return [
            {
                name: Numbers(date[name][rows, columns], top=window.top, left=window.left)
                for name in self.names
                if name in date
            }
            for date in self.dates
        ]
