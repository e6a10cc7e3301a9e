"""What the models say became of a place between two dates.

A network that sees both dates and one that maps each by itself are asked, and their chances pooled: they err
differently. Without a network of two dates, the models of one image score both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detector.cards import CHANGE_LABELS, ChangeCard, SegmentCard, condition_of
from detector.oneoff_models import Models, sigmoid
from detector.pairs import INDEX_BANDS, clearly_fallen, forest_loss, pooled, smoothed, transformation
from registry.models import S2_BANDS, IncidentKind, Target

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Bands = Mapping[str, Float32]
"""(h, w) per band; NaN where a date is unseen."""
Chances = dict[IncidentKind, Float32]
"""(h, w) probability of each kind of change; NaN = not seen at both dates."""

THRESHOLDS = {IncidentKind.FOREST_LOSS: 0.10, IncidentKind.EXCAVATION: 0.05}
"""Scores from which a pixel of a pair is called changed (docs/models.md says how they were found)."""

CHANGE_THRESHOLDS = {IncidentKind.FOREST_LOSS: 0.3, IncidentKind.EXCAVATION: 0.5}
"""The same where a model of two dates answers."""

SINGLE_DATES = "single dates"
"""Stands for the models of one image that score both dates."""

CHANGE_VOTES = {IncidentKind.FOREST_LOSS: "forest_loss", IncidentKind.EXCAVATION: "new_mine"}
"""Label of a change card's head that each score is the probability of."""

TARGETS = (Target.FOREST, Target.TRANSFORMED)


@dataclass(frozen=True)
class PairScores:
    """Scores of a pair and where they begin to say changed."""

    scores: Mapping[IncidentKind, Float32]
    """(h, w) per kind; NaN = not seen at both dates."""
    thresholds: Mapping[IncidentKind, float]
    model: str
    """Cards that gave them, or SINGLE_DATES."""

    def flagged(self, kind: IncidentKind) -> Mask:
        """(h, w) where a pixel and its neighbourhood both changed."""
        score = self.scores[kind]
        with np.errstate(invalid="ignore"):
            hit: Mask = (score >= self.thresholds[kind]) & (smoothed(score) >= self.thresholds[kind])
        return hit


def pair_scores(before: Bands, after: Bands, *, models: Models) -> PairScores:
    """Scores of two dates by the best models their bands can feed. Raises InputError."""
    card = models.change(before.keys())
    if card is None:
        return PairScores(_index_scores(before, after, models=models), THRESHOLDS, SINGLE_DATES)
    chances, used = _of_both_dates(card, before, after, device=models.device), card.id
    mapper, was = _mapper(before, models=models), None
    if mapper is not None:
        was, now = (models.probabilities(TARGETS, date, by=mapper) for date in (before, after))
        by_each = _of_each_date(was, now)
        chances = {kind: pooled(chance, by_each[kind]) for kind, chance in chances.items()}
        used = f"{card.id} + {mapper.id}"
    if before.keys() >= INDEX_BANDS:
        forest = was[Target.FOREST] if was else _forest(before, models=replace(models, named=None))
        chances[IncidentKind.FOREST_LOSS] *= clearly_fallen(before, after, forest)
    return PairScores(chances, CHANGE_THRESHOLDS, used)


def _index_scores(before: Bands, after: Bands, *, models: Models) -> Chances:
    """By the rise and fall of indices where the models of one image see something to lose."""
    was = models.probabilities(TARGETS, before)
    now = models.probabilities((Target.TRANSFORMED,), after)[Target.TRANSFORMED]
    return {
        IncidentKind.FOREST_LOSS: forest_loss(before, after, was[Target.FOREST]),
        IncidentKind.EXCAVATION: transformation(before, after, was[Target.TRANSFORMED], now),
    }


def _of_both_dates(card: ChangeCard, before: Bands, after: Bands, *, device: str) -> Chances:
    """By a network that sees both dates."""
    from detector.engine import Device
    from detector.predict import Question, Vote, predict_image, references

    classes = {label: number for number, label in enumerate(CHANGE_LABELS, start=1)}
    question = Question(
        votes={kind.value: Vote("change", (classes[label],)) for kind, label in CHANGE_VOTES.items()},
        condition=condition_of(card, before, None),
        references=references(card, (before, after)),
    )
    found = predict_image(card, (before, after), question, device=Device(device)).logits
    return {kind: sigmoid(found[kind.value]) for kind in CHANGE_VOTES}


def _mapper(bands: Bands, *, models: Models) -> SegmentCard | None:
    """The network that maps each date by itself; None where one card alone is asked for, or none fits."""
    card = models.mapper(bands.keys()) if models.named is None else None
    return card if card is not None and set(TARGETS) <= set(card.feeds) else None


def _of_each_date(was: Mapping[Target, Float32], now: Mapping[Target, Float32]) -> Chances:
    """By a network that maps each date: something to lose then, and lost now."""
    return {
        IncidentKind.FOREST_LOSS: was[Target.FOREST] * (1.0 - now[Target.FOREST]),
        IncidentKind.EXCAVATION: (1.0 - was[Target.TRANSFORMED]) * now[Target.TRANSFORMED],
    }


def _forest(bands: Bands, *, models: Models) -> Float32:
    """(h, w) probability; where radar does not reach, from the optical bands."""
    found = models.probabilities((Target.FOREST,), bands)[Target.FOREST]
    optical = {name: band for name, band in bands.items() if name in S2_BANDS}
    if len(optical) == len(bands) or np.isfinite(found).all():
        return found
    without_radar = models.probabilities((Target.FOREST,), optical)[Target.FOREST]
    return np.where(np.isnan(found), without_radar, found).astype(np.float32)
