"""Threshold-free skill of a score against a mask: area under the ROC and the precision-recall curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def roc_auc(score: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Chance that a true sample scores above a false one, ties half (Mann-Whitney); NaN without both."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    total = float(ranks[inverse][truth].sum())
    return (total - positives * (positives + 1) / 2.0) / (positives * negatives)


def average_precision(score: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Area under precision over recall, summed by steps; ties are taken together. NaN without positives."""
    positives = int(truth.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ranked, hits = score[order], np.cumsum(truth[order])
    last = np.append(ranked[1:] != ranked[:-1], True)
    found, seen = hits[last], np.flatnonzero(last) + 1
    gained = np.diff(found, prepend=0)
    return float(np.sum(gained * found / seen) / positives)
