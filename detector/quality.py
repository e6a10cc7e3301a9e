"""How well each pixel of a pass was seen: clouds, shadow, snow, edges of data. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from detector.stack import Stack
from registry.detection import QualitySettings
from registry.grid import RESOLUTION
from registry.models import S1_BANDS

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

UNSEEN, WEAK, CLEAR = 0, 1, 2
"""Look weights: nothing, half, full."""

CLOUD_CLASSES = (8, 9, 10)
SHADOW_CLASS = 3
"""Scene classes that are dilated; the others of ``scl_bad`` are taken as they are."""

CLOUD_BLUE = 0.20
"""Blue reflectance from which a white pixel counts as cloud where no scene classes are at hand."""

CLOUD_WHITENESS = 0.92
"""Blue over red from which a bright pixel is white; bare soil and mines are redder (0.5 to 0.85)."""


@dataclass(frozen=True)
class Quality:
    """What may be believed of a look."""

    weight: NDArray[np.uint8]
    """(h, w) 0 unseen, 1 weak, 2 clear."""
    clear_fraction: float
    """Share of the grid that is clear."""
    notes: tuple[str, ...] = ()


def look_quality(stack: Stack, settings: QualitySettings, *, inside: Mask | None = None) -> Quality:
    """Weights of a stack's pixels; ``inside`` limits the clear share to the watched pixels.

    A pixel is unseen where any band lacks data, within ``edge_erosion_px`` of such pixels, and where the
    scene classes (else a brightness test) say cloud, shadow or snow, widened by their dilation.
    """
    optical = [band for name, band in stack.bands.items() if name not in S1_BANDS]
    seen = _has_data(optical or list(stack.bands.values()))
    seen = _eroded(seen, settings.edge_erosion_px)
    notes: tuple[str, ...] = ()
    weight = np.where(seen, CLEAR, UNSEEN).astype(np.uint8)
    if optical and stack.scl is not None:
        weight[_hidden(stack.scl, settings)] = UNSEEN
        weak = np.isin(stack.scl, settings.scl_weak) & (weight == CLEAR)
        weight[weak] = WEAK
    elif optical:
        weight[_grown(cloud_mask(stack.bands, None), settings.cloud_dilation_m)] = UNSEEN
        notes = ("no scene classes: clouds by brightness only, shadows not at all",)
    share = weight >= CLEAR if inside is None else weight[inside] >= CLEAR
    clear = float(share.mean()) if share.size else 0.0
    if clear < settings.min_clear_fraction:
        notes = (*notes, f"clear share {clear:.2f} is below {settings.min_clear_fraction}: no evidence taken")
        weight = np.zeros_like(weight)
    return Quality(weight=weight, clear_fraction=clear, notes=notes)


def cloud_mask(bands: Mapping[str, Float32], scl: NDArray[np.uint8] | None) -> Mask:
    """(h, w) cloud, shadow and snow by scene classes where given, else bright white pixels."""
    if scl is not None:
        return np.isin(scl, QualitySettings().scl_bad)
    if not {"B02", "B04"} <= set(bands):
        return np.zeros(next(iter(bands.values())).shape, dtype=bool)
    blue, red = bands["B02"], bands["B04"]
    with np.errstate(invalid="ignore"):
        white: Mask = (blue > CLOUD_BLUE) & (blue > CLOUD_WHITENESS * red)
    return white


def _has_data(bands: list[Float32]) -> Mask:
    seen = np.isfinite(bands[0])
    for band in bands[1:]:
        seen &= np.isfinite(band)
    return seen


def _hidden(scl: NDArray[np.uint8], settings: QualitySettings) -> Mask:
    hidden = np.isin(scl, settings.scl_bad)
    clouds = [name for name in CLOUD_CLASSES if name in settings.scl_bad]
    hidden |= _grown(np.isin(scl, clouds), settings.cloud_dilation_m)
    if SHADOW_CLASS in settings.scl_bad:
        hidden |= _grown(scl == SHADOW_CLASS, settings.shadow_dilation_m)
    return hidden


def _grown(mask: Mask, metres: float) -> Mask:
    """The mask widened by so many metres, measured between pixel centres."""
    if metres <= 0.0 or not mask.any():
        return mask
    distance = distance_transform_edt(~mask)
    near: Mask = distance * RESOLUTION <= metres
    return near


def _eroded(seen: Mask, pixels: int) -> Mask:
    """Without the pixels beside no data; the grid's own border is no edge of data."""
    if pixels == 0 or seen.all():
        return seen
    eroded: Mask = binary_erosion(seen, np.ones((3, 3), bool), iterations=pixels, border_value=1)
    return eroded
