"""True colour in bytes, and back: the one stretch that all previews share. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

WHITE_AT = 0.40
"""Reflectance shown as white; clouds saturate."""

GAMMA = 1.8
"""Spends more steps on dark forest, which lies below a tenth of the scale."""


def true_colour(bands: Sequence[Float32]) -> UInt8:
    """(3, h, w) in 1..255 of red, green, blue reflectance; 0 where any of them is NaN."""
    values = np.stack(bands)
    seen = np.isfinite(values).all(axis=0)
    bright = np.clip(np.where(seen, values, 0.0) / WHITE_AT, 0.0, 1.0) ** (1.0 / GAMMA)
    pixels: UInt8 = np.where(seen, np.rint(1.0 + 254.0 * bright), 0.0).astype(np.uint8)
    return pixels


def reflectance(pixels: UInt8) -> Float32:
    """What ``true_colour`` was made of, to its precision; NaN where there was nothing."""
    seen = (pixels > 0).all(axis=0)
    bright = ((pixels.astype(np.float32) - 1.0) / 254.0).clip(0.0, 1.0) ** GAMMA * WHITE_AT
    values: Float32 = np.where(seen, bright, np.nan).astype(np.float32)
    return values
