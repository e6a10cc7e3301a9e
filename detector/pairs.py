"""Two dates side by side, without history: one-sided scores of forest loss and transformation. Pure.

A score is 0 where nothing changed for the worse and rises with the change; gains never cancel losses.
Both ask two things of a pixel: that it was something to lose, and that it lost it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.special import expit, logit

Float32 = NDArray[np.float32]
Bands = Mapping[str, Float32]

CONTEXT_PX = 3
"""Side of the window a score is averaged over: single pixels are mostly noise."""

TINY = np.float32(1e-6)

FOREST_FROM = 0.5
"""Probability of forest from which a pixel tells what standing forest lost between the dates."""
FEWEST_FOREST_PX = 100
"""Pixels of forest that must be seen for that."""
WHISKER = 1.5
"""Distances between the quartiles above the upper one from which a fall stands out (Tukey 1977)."""
LARGEST_COMMON = 0.3
"""Largest fall that is put down to season and air: a forest that is cleared whole falls further."""
USUAL_COMMON = 0.1
"""The same where too little forest is seen to tell."""
INDEX_BANDS = frozenset({"B04", "B08"})
"""Without these no vegetation index is known, nor its fall."""
CLEAR_FALL = 0.15
"""Fall beyond the common one that leaves no doubt."""
SAMPLE_PX = 1_000_000
"""Pixels at most that the quartiles are taken from."""
LEAST_CHANCE = 1e-4
"""Nobody is surer than this, that something is or is not: so that no answer is a veto."""


def vegetation_falls(before: Bands, after: Bands) -> tuple[Float32, ...]:
    """(h, w) fall of each vegetation index: NDVI, and NBR with B12. NaN = not seen.

    (NDMI lowered the AUC on real pairs from .79 to .75.)
    """
    indices = (ndvi, nbr) if "B12" in before else (ndvi,)
    return tuple(index(before) - index(after) for index in indices)


def fall_beyond(falls: Sequence[Float32], common: Sequence[np.float32]) -> Float32:
    """(h, w) mean fall of the indices beyond their ``common_fall``.

    Each is cut at 0 before averaging, so that an index that rises never hides one that falls.
    """
    beyond = [_positive(fall - usual) for fall, usual in zip(falls, common, strict=True)]
    mean: Float32 = np.mean(beyond, axis=0, dtype=np.float32)
    return mean


def clear_share(beyond: Float32) -> Float32:
    """(h, w) from 0 to 1: how much of a CLEAR_FALL each pixel fell beyond the common fall."""
    share: Float32 = np.minimum(beyond / np.float32(CLEAR_FALL), 1.0)
    return share.astype(np.float32)


def common_fall(fall: Float32, forest_before: Float32) -> np.float32:
    """How far an index fell all over the forest of an image: autumn, a low sun, haze, thin cloud.

    The upper fence of a box plot of the fall over forest (Tukey 1977), from 0 to LARGEST_COMMON;
    USUAL_COMMON where there is hardly any forest. ``forest_before`` is a probability; both are samples of
    the whole image, every ``sample_step``-th row and column of it.
    """
    standing = fall[np.isfinite(fall) & (forest_before > FOREST_FROM)]
    if standing.size < FEWEST_FOREST_PX:
        return np.float32(USUAL_COMMON)
    low, high = np.quantile(standing, (0.25, 0.75))
    return np.float32(np.clip(high + WHISKER * (high - low), 0.0, LARGEST_COMMON))


def sample_step(shape: tuple[int, int]) -> int:
    """Every which row and column of an image tells its quartiles."""
    return math.ceil(math.sqrt(max(1.0, shape[0] * shape[1] / SAMPLE_PX)))


def transformation(
    before: Bands, after: Bands, transformed_before: Float32, transformed_after: Float32
) -> Float32:
    """(h, w) transformation: P(untouched before) x P(transformed after) x rise of bareness.

    Bareness is BSI (Rikimaru 2002) with B11, else a red-against-NIR index of the same sign.
    The two factors are probabilities. NaN = not seen.
    """
    bareness = bare_soil_index if "B11" in before else red_nir_bareness
    rise = _positive(bareness(after) - bareness(before))
    return (1.0 - transformed_before) * transformed_after * rise


def pooled(one: Float32, other: Float32) -> Float32:
    """(h, w) what two probabilities say together; where only one knows (not NaN), what that one says.

    The logarithmic opinion pool of equal weights: the mean of their logits (Genest & Zidek 1986). Who is sure
    counts for more than who is not.
    """
    chances = np.clip(np.stack([one, other], dtype=np.float64), LEAST_CHANCE, 1.0 - LEAST_CHANCE)
    both = expit(logit(chances).mean(axis=0))
    return np.where(np.isnan(one), other, np.where(np.isnan(other), one, both)).astype(np.float32)


def normalised_difference(high: Float32, low: Float32) -> Float32:
    """(high - low) / (high + low), in [-1, 1] for reflectances; 0 where both are 0."""
    total = high + low
    ratio: Float32 = ((high - low) / np.where(np.abs(total) < TINY, TINY, total)).astype(np.float32)
    return np.clip(ratio, -1.0, 1.0)


def ndvi(bands: Bands) -> Float32:
    """Normalised difference vegetation index, B08 against B04."""
    return normalised_difference(bands["B08"], bands["B04"])


def nbr(bands: Bands) -> Float32:
    """Normalised burn ratio, B08 against B12."""
    return normalised_difference(bands["B08"], bands["B12"])


def bare_soil_index(bands: Bands) -> Float32:
    """BSI = ((B11 + B04) - (B08 + B02)) / ((B11 + B04) + (B08 + B02)), Rikimaru et al. 2002."""
    return normalised_difference(bands["B11"] + bands["B04"], bands["B08"] + bands["B02"])


def red_nir_bareness(bands: Bands) -> Float32:
    """BSI without the short-wave infrared: (2 B04) against (B08 + B02)."""
    return normalised_difference(2.0 * bands["B04"], bands["B08"] + bands["B02"])


def _positive(change: Float32) -> Float32:
    return np.maximum(change, np.float32(0.0))


def smoothed(score: Float32) -> Float32:
    """Mean over the seen pixels of the window; unseen pixels stay NaN."""
    seen = np.isfinite(score)
    total = uniform_filter(np.where(seen, score, 0.0).astype(np.float32), CONTEXT_PX, mode="constant")
    share = uniform_filter(seen.astype(np.float32), CONTEXT_PX, mode="constant")
    return np.where(seen, total / np.maximum(share, TINY), np.nan).astype(np.float32)
