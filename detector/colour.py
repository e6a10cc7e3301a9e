"""Looks as colours in bytes, and back: the stretch that all previews of a sensor share. Pure."""

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


RADAR_DB = ((-20.0, 0.0), (-27.0, -7.0), (2.0, 14.0))
"""Range in dB of VV, VH and VV - VH: forest is pale and balanced, bare ground and water are dark and blue."""


def true_colour(bands: Sequence[Float32]) -> UInt8:
    """(3, h, w) in 1..255 of red, green, blue reflectance; 0 where any of them is NaN."""
    values = np.stack(bands)
    seen = np.isfinite(values).all(axis=0)
    bright = np.clip(np.where(seen, values, 0.0) / WHITE_AT, 0.0, 1.0) ** (1.0 / GAMMA)
    pixels: UInt8 = np.where(seen, np.rint(1.0 + 254.0 * bright), 0.0).astype(np.uint8)
    return pixels


def radar_colour(bands: Sequence[Float32]) -> UInt8:
    """(3, h, w) in 1..255 of VV, VH and their ratio, from linear power; 0 where there is none."""
    power = np.stack(bands)
    seen = (power > 0.0).all(axis=0)
    vv, vh = 10.0 * np.log10(np.where(seen, power, 1.0))
    parts = [
        np.clip((value - low) / (high - low), 0.0, 1.0)
        for value, (low, high) in zip((vv, vh, vv - vh), RADAR_DB, strict=True)
    ]
    pixels: UInt8 = np.where(seen, np.rint(1.0 + 254.0 * np.stack(parts)), 0.0).astype(np.uint8)
    return pixels


def reflectance(pixels: UInt8) -> Float32:
    """What ``true_colour`` was made of, to its precision; NaN where there was nothing.

    Of radar colours it gives brightness on the same scale, no reflectance.
    """
    seen = (pixels > 0).all(axis=0)
    bright = ((pixels.astype(np.float32) - 1.0) / 254.0).clip(0.0, 1.0) ** GAMMA * WHITE_AT
    values: Float32 = np.where(seen, bright, np.nan).astype(np.float32)
    return values
