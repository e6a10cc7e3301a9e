"""What the models say became of a place between two dates.

A network that sees both dates and one that maps each by itself are asked, and their chances pooled: they err
differently. Without a network of two dates, the models of one image score both. Windows of an image are
judged one by one; how far its forest fell as a whole is known once all were seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from detector.cards import CHANGE_LABELS, Card, ChangeCard, SegmentCard, condition_of
from detector.models import check_bands
from detector.oneoff_models import Models, sigmoid
from detector.pairs import (
    INDEX_BANDS,
    clear_share,
    common_fall,
    fall_beyond,
    pooled,
    sample_step,
    smoothed,
    transformation,
    vegetation_falls,
)
from detector.spectral import SpectralCard, spectral_score
from detector.windows import CORE_PX, HALO_PX
from registry.errors import InputError, Reject
from registry.models import S2_BANDS, IncidentKind, Target

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Bands = Mapping[str, Float32]
"""(h, w) per band; NaN where a date is unseen."""
Dates = tuple[Bands, Bands]
"""Before and after."""
Chances = Mapping[Target, Float32]
"""(h, w) probability per target; NaN = unseen."""

THRESHOLDS = {IncidentKind.FOREST_LOSS: 0.10, IncidentKind.EXCAVATION: 0.05}
"""Scores from which a pixel of a pair is called changed (docs/models.md says how they were found)."""

CHANGE_THRESHOLDS = {IncidentKind.FOREST_LOSS: 0.3, IncidentKind.EXCAVATION: 0.5}
"""The same where a model of two dates answers."""

SINGLE_DATES = "single dates"
"""Stands for the models of one image that score both dates."""

CHANGE_VOTES = {IncidentKind.FOREST_LOSS: "forest_loss", IncidentKind.EXCAVATION: "new_mine"}
"""Label of a change card's head that each score is the probability of."""

TARGETS = (Target.FOREST, Target.TRANSFORMED)
WINDOW_PX = CORE_PX + 2 * HALO_PX
"""Side up to which an image goes through a network in one piece."""


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
        return flagged(score, smoothed(score), self.thresholds[kind])


def flagged(score: Float32, smooth: Float32, least: float) -> Mask:
    """(h, w) where a pixel's score and the mean of its neighbourhood, ``smooth``, are at least this."""
    with np.errstate(invalid="ignore"):
        hit: Mask = (score >= least) & (smooth >= least)
    return hit


@dataclass(frozen=True)
class Evidence:
    """What a window of a pair says by itself."""

    loss: Float32
    """(h, w) chance of lost forest, before it is held against the fall of the indices."""
    mine: Float32
    """(h, w) score of new mines."""
    falls: tuple[Float32, ...]
    """(h, w) fall of each vegetation index; none where the bands give none."""
    forest: Float32
    """(h, w) chance that forest stood there before."""


@dataclass(frozen=True)
class Judges:
    """Who is asked about a pair, chosen by what its bands offer."""

    change: ChangeCard | None
    """The network that sees both dates."""
    single: Mapping[Target, Card]
    """Who scores one date."""
    pooling: bool
    """Whether ``single`` has a say of its own beside ``change``, or tells only where forest stood."""
    overviews: Dates
    """Both dates as a whole, maybe thinned: what a network's input is normalised by."""
    device: str

    @property
    def name(self) -> str:
        """Ids of the cards, or SINGLE_DATES."""
        if self.change is None:
            return SINGLE_DATES
        return f"{self.change.id} + {self.single[Target.FOREST].id}" if self.pooling else self.change.id

    @property
    def cards(self) -> Sequence[Card]:
        """Everybody who is asked."""
        every = (self.change, *self.single.values())
        return list({card.id: card for card in every if card is not None}.values())

    @property
    def may_lack(self) -> frozenset[str]:
        """Bands without which a pixel counts as seen."""
        return frozenset() if self.change is None else self.change.may_lack

    @property
    def thresholds(self) -> Mapping[IncidentKind, float]:
        """Scores from which a pixel counts."""
        return THRESHOLDS if self.change is None else CHANGE_THRESHOLDS

    def evidence(self, before: Bands, after: Bands) -> Evidence:
        """What one window, or a whole image, says."""
        falls = vegetation_falls(before, after) if before.keys() >= INDEX_BANDS else ()
        if self.change is None:
            was, now = self._of_date(0, before), self._of_date(1, after)
            mine = transformation(before, after, was[Target.TRANSFORMED], now[Target.TRANSFORMED])
            return Evidence(was[Target.FOREST], mine, falls, was[Target.FOREST])
        loss, mine = self._of_both(self.change, before, after)
        if not self.pooling:
            forest = self._of_date(0, before)[Target.FOREST] if falls else np.zeros_like(loss)
            return Evidence(loss, mine, falls, forest)
        was, now = self._of_date(0, before), self._of_date(1, after)
        loss = pooled(loss, was[Target.FOREST] * (1.0 - now[Target.FOREST]))
        mine = pooled(mine, (1.0 - was[Target.TRANSFORMED]) * now[Target.TRANSFORMED])
        return Evidence(loss, mine, falls, was[Target.FOREST])

    def loss_score(self, loss: Float32, falls: Sequence[Float32], common: Sequence[np.float32]) -> Float32:
        """(h, w) score of lost forest: chances held against the fall beyond what all the forest fell."""
        if not falls:
            return loss
        beyond = fall_beyond(falls, common)
        return loss * (beyond if self.change is None else clear_share(beyond))

    @cached_property
    def _offered(self) -> Sequence[frozenset[str]]:
        """Per date the bands that hold data anywhere."""
        return [
            frozenset(name for name, band in date.items() if np.isfinite(band).any())
            for date in self.overviews
        ]

    def _of_both(self, card: ChangeCard, before: Bands, after: Bands) -> tuple[Float32, Float32]:
        """Probabilities of lost forest and of a new mine, by a network that sees both dates."""
        from detector.engine import Device
        from detector.predict import Question, Vote, predict_image, references

        classes = {label: number for number, label in enumerate(CHANGE_LABELS, start=1)}
        question = Question(
            votes={kind.value: Vote("change", (classes[label],)) for kind, label in CHANGE_VOTES.items()},
            condition=condition_of(card, self._offered[0] & self._offered[1], None),
            references=references(card, self.overviews),
        )
        found = predict_image(card, (before, after), question, device=Device(self.device), core=WINDOW_PX)
        loss, mine = (
            sigmoid(found.logits[kind.value]) for kind in (IncidentKind.FOREST_LOSS, IncidentKind.EXCAVATION)
        )
        return loss, mine

    def _of_date(self, date: int, bands: Bands) -> Chances:
        """Probabilities of the targets at one date; each network runs once."""
        chances: dict[Target, Float32] = {}
        for card in {card.id: card for card in self.single.values()}.values():
            targets = [target for target, one in self.single.items() if one.id == card.id]
            if isinstance(card, SpectralCard):
                logits: Chances = {target: spectral_score(card, bands) for target in targets}
            elif isinstance(card, SegmentCard):
                logits = self._mapped(card, date, bands, targets)
            else:
                raise InputError(f"model {card.id} scores no single image; name one that does")
            chances |= {target: sigmoid(logit) for target, logit in logits.items()}
        return chances

    def _mapped(self, card: SegmentCard, date: int, bands: Bands, targets: Sequence[Target]) -> Chances:
        from detector.engine import Device
        from detector.predict import Question, predict_image, references, target_vote

        overview = self.overviews[date]
        question = Question(
            votes={target.value: target_vote(card, target) for target in targets},
            condition=condition_of(card, self._offered[date], None),
            references=references(card, (overview,)),
        )
        logits = predict_image(card, (bands,), question, device=Device(self.device), core=WINDOW_PX).logits
        return {target: logits[target.value] for target in targets}


def judges_of(before: Bands, after: Bands, *, models: Models) -> Judges:
    """The best models that two dates, maybe thinned, can feed. Raises InputError."""
    names = before.keys()
    change = models.change(names)
    mapper = models.mapper(names) if models.named is None else None
    pooling = change is not None and mapper is not None and set(TARGETS) <= set(mapper.feeds)
    single: dict[Target, Card] = {}
    if pooling and mapper is not None:
        single = dict.fromkeys(TARGETS, mapper)
    elif change is None:
        if not names >= INDEX_BANDS:
            needed = ", ".join(sorted(INDEX_BANDS))
            raise InputError(f"bands {', '.join(names)} tell no change of vegetation; give {needed} as well")
        single = {target: models.card(target, names) for target in TARGETS}
    elif names >= INDEX_BANDS:
        # Radar may end within the image: where forest stood is asked of the optical bands.
        optical = [name for name in names if name in S2_BANDS]
        single = {Target.FOREST: replace(models, named=None).card(Target.FOREST, optical)}
    return Judges(change, single, pooling, (before, after), models.device)


def pair_scores(before: Bands, after: Bands, *, models: Models) -> PairScores:
    """Scores of two images in memory. Raises InputError."""
    judges = judges_of(before, after, models=models)
    try:
        for card in judges.cards:
            for date in (before, after):
                check_bands(card, date)
    except Reject as exc:
        raise InputError(str(exc)) from exc
    evidence = judges.evidence(before, after)
    step = sample_step(evidence.loss.shape)
    forest = evidence.forest[::step, ::step]
    common = [common_fall(fall[::step, ::step], forest) for fall in evidence.falls]
    loss = judges.loss_score(evidence.loss, evidence.falls, common)
    scores = {IncidentKind.FOREST_LOSS: loss, IncidentKind.EXCAVATION: evidence.mine}
    return PairScores(scores, judges.thresholds, judges.name)
