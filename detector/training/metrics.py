"""How good a segmentation is: IoU, F1, area under precision-recall, calibration; streaming, with intervals.

Everything is a sum over pixels, so chips add up, and a bootstrap over places needs no second look at them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Float64 = NDArray[np.float64]

BINS = 200
"""Bins of a probability: areas under curves are exact to about 1/BINS."""
CALIBRATION_BINS = 20
"""Bins of the expected calibration error."""
IGNORED = 255


class Confusion:
    """Counts of (truth, answer) over classes; pixels of code 255 are left out."""

    def __init__(self, classes: int) -> None:
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)

    def add(self, truth: NDArray[np.integer], answer: NDArray[np.integer]) -> None:
        """Count pixels."""
        self.counts += confusion_of(truth, answer, self.counts.shape[0])

    def iou(self) -> Float64:
        """Per class; NaN where a class is neither there nor answered."""
        return iou(self.counts)

    @property
    def any_label(self) -> bool:
        """Whether any class but background is there or answered."""
        return bool(self.counts.sum() > self.counts[0, 0])


def confusion_of(truth: NDArray[np.integer], answer: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts, truth by row."""
    seen = truth != IGNORED
    joint = truth[seen].astype(np.int64) * classes + answer[seen].astype(np.int64)
    return np.bincount(joint, minlength=classes * classes).reshape(classes, classes)


def iou(counts: NDArray[np.int64]) -> Float64:
    """Intersection over union of each class of (..., classes, classes) counts."""
    hit = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    union = counts.sum(axis=-1) + counts.sum(axis=-2) - hit
    return _ratio(hit, union)


def f1(counts: NDArray[np.int64]) -> Float64:
    """Harmonic mean of user's and producer's accuracy of each class."""
    hit = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    both = counts.sum(axis=-1) + counts.sum(axis=-2)
    return _ratio(2.0 * hit, both)


def _ratio(part: Float64, whole: NDArray[Any]) -> Float64:
    """NaN where there is nothing to take a share of."""
    found: Float64 = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return found


def histogram(chance: NDArray[np.floating], positive: NDArray[np.bool_]) -> Float64:
    """(3, BINS) of one class: negatives, positives, and the sum of the chances, by chance."""
    at = np.minimum((chance * BINS).astype(np.int64), BINS - 1)
    return np.stack(
        [
            np.bincount(at[~positive], minlength=BINS).astype(np.float64),
            np.bincount(at[positive], minlength=BINS).astype(np.float64),
            np.bincount(at, weights=chance.astype(np.float64), minlength=BINS),
        ]
    )


def pr_auc(hist: Float64) -> float:
    """Area under precision-recall (average precision: steps, no interpolation); NaN without positives."""
    negative, positive = hist[0, ::-1].cumsum(), hist[1, ::-1].cumsum()
    if positive[-1] == 0:
        return float("nan")
    precision = np.divide(positive, positive + negative, out=np.ones(BINS), where=(positive + negative) > 0)
    return float((np.diff(positive, prepend=0.0) / positive[-1] * precision).sum())


def calibration_error(hist: Float64) -> float:
    """Expected calibration error: mean gap between chance and share, weighted by pixels, over 20 bins."""
    groups = hist.reshape(3, CALIBRATION_BINS, BINS // CALIBRATION_BINS).sum(axis=2)
    total = groups[0] + groups[1]
    if total.sum() == 0:
        return float("nan")
    return float(np.abs(groups[2] - groups[1]).sum() / total.sum())


@dataclass
class Sums:
    """What one chip says about one head; adds up."""

    counts: NDArray[np.int64]
    """(classes, classes)."""
    hist: Float64
    """(classes, 3, BINS) one class against the rest."""
    squares: Float64
    """(classes,) sum of (chance - truth) squared."""

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.counts + other.counts, self.hist + other.hist, self.squares + other.squares)

    def figures(self, labels: Sequence[str]) -> dict[str, dict[str, float]]:
        """Per label (background left out): iou, f1, pr_auc, ece, brier, and the share it covers."""
        pixels = max(int(self.counts.sum()), 1)
        overlap, harmonic = iou(self.counts), f1(self.counts)
        return {
            label: {
                "iou": float(overlap[code]),
                "f1": float(harmonic[code]),
                "pr_auc": pr_auc(self.hist[code]),
                "ece": calibration_error(self.hist[code]),
                "brier": float(self.squares[code] / pixels),
                "share": float(self.counts[code].sum() / pixels),
            }
            for code, label in enumerate(labels, start=1)
        }


def sums_of(chances: NDArray[np.floating], codes: NDArray[np.integer]) -> Sums:
    """Of (classes, h, w) chances and (h, w) truth; the answer is the likeliest class."""
    classes = chances.shape[0]
    seen = (codes != IGNORED) & np.isfinite(chances).all(axis=0)
    truth, chance = codes[seen], chances[:, seen]
    counts = confusion_of(truth, chance.argmax(axis=0), classes)
    hists, squares = [], []
    for code in range(classes):
        positive = truth == code
        hists.append(histogram(chance[code], positive))
        squares.append(float(np.square(chance[code] - positive).sum()))
    return Sums(counts, np.stack(hists), np.array(squares))


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % confidence interval."""

    value: float
    low: float
    high: float
    n: int
    """Seeds or places behind it."""


def over_seeds(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """Mean and Student's interval; without spread (one value) the interval is unknown (NaN)."""
    finite = np.array([value for value in values if np.isfinite(value)])
    if finite.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean = float(finite.mean())
    if finite.size == 1:
        return Interval(mean, float("nan"), float("nan"), 1)
    half = float(student.ppf(0.5 + level / 2.0, finite.size - 1) * finite.std(ddof=1) / np.sqrt(finite.size))
    return Interval(mean, mean - half, mean + half, int(finite.size))


def over_places(
    parts: Mapping[str, Sums], figure: Callable[[Sums], float], *, draws: int = 300, seed: int = 0
) -> Interval:
    """Bootstrap over places: chips of one place are alike, so places are drawn, not chips."""
    names = sorted(parts)
    whole = figure(total_of([parts[name] for name in names]))
    if len(names) < 2:
        return Interval(whole, float("nan"), float("nan"), len(names))
    rng = np.random.default_rng(seed)
    stacked = Sums(
        np.stack([parts[name].counts for name in names]),
        np.stack([parts[name].hist for name in names]),
        np.stack([parts[name].squares for name in names]),
    )
    found = []
    for _ in range(draws):
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        drawn = Sums(
            np.tensordot(times, stacked.counts, axes=1),
            np.tensordot(times.astype(np.float64), stacked.hist, axes=1),
            np.tensordot(times.astype(np.float64), stacked.squares, axes=1),
        )
        found.append(figure(drawn))
    low, high = (float(value) for value in np.nanpercentile(found, (2.5, 97.5)))
    return Interval(whole, low, high, len(names))


def total_of(parts: Sequence[Sums]) -> Sums:
    """The sum of at least one."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
