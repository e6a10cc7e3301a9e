"""Any card against labelled chips: network, change, foreign or spectral, all by the same sums."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detector.cards import Card, ChangeCard, SegmentCard, WeightedCard, condition_of
from detector.engine import Device
from detector.models import check_bands, score
from detector.plans import Head
from detector.predict import Question, Vote, predict_image, references
from detector.spectral import SpectralCard
from detector.training.batches import IGNORED
from detector.training.cache import Cache, decode
from detector.training.metrics import Sums, iou, sums_of, total_of
from detector.training.plan import Task
from registry.chips import CHANNELS, Bits, Component, class_codes
from registry.errors import InputError, Reject

Float32 = NDArray[np.float32]
Codes = NDArray[np.uint8]
Bands = Mapping[str, Float32]
Chances = Mapping[str, Float32]
"""Per head (classes, h, w), background first; NaN = unseen."""

LAG_FACT = "partner_lag_days"
"""Fact of a chip: how much older the other sensor's bands are, in days."""


@dataclass(frozen=True)
class Sample:
    """One labelled chip, or pair."""

    number: int
    name: str
    place: str
    dates: tuple[Bands, ...]
    """Bands with at least one pixel, per date."""
    labels: Bits
    """Of the later date."""
    change: Codes | None
    known: tuple[Component, ...]
    facts: Mapping[str, str]

    @property
    def partner_age_days(self) -> float | None:
        """What its facts say."""
        return abs(float(self.facts[LAG_FACT])) if self.facts.get(LAG_FACT) else None

    def truth(self, head: Head) -> Codes:
        """(h, w) class codes of a head; 255 where nobody knows."""
        if self.change is not None and head.name == Task.CHANGE:
            return self.change
        components = [Component(label) for label in head.labels]
        codes = class_codes(self.labels, components)
        if not set(components) <= set(self.known):
            codes[codes == 0] = IGNORED
        return codes


@dataclass
class Judgement:
    """What one card was found to do."""

    card: str
    heads: tuple[Head, ...]
    sums: dict[str, dict[int, Sums]] = field(default_factory=dict)
    """Per head and sample number."""
    skipped: list[str] = field(default_factory=list)
    """Samples that lack bands the card needs, with the reason."""

    def by_place(
        self, head: str, places: Mapping[int, str], *, only: frozenset[int] | None = None
    ) -> dict[str, Sums]:
        """Sums of a head per place; ``only`` = these samples."""
        grouped: dict[str, list[Sums]] = {}
        for number, sums in self.sums.get(head, {}).items():
            if only is None or number in only:
                grouped.setdefault(places[number], []).append(sums)
        return {place: total_of(parts) for place, parts in grouped.items()}

    def chip_score(self, number: int) -> float:
        """Mean IoU of the labels that are on a chip or were answered there; NaN where there are none."""
        values = [
            value
            for chips in self.sums.values()
            if number in chips
            for value in iou(chips[number].counts)[1:]
            if np.isfinite(value)
        ]
        return float(np.mean(values)) if values else float("nan")


def heads_of(card: Card) -> tuple[Head, ...]:
    """Heads of a card whose labels chips can tell; a spectral card has one, named after its target."""
    if isinstance(card, SpectralCard):
        return (Head(name=card.target.value, labels=(card.target.value,)),)
    if isinstance(card, ChangeCard):
        return card.plan.heads
    if isinstance(card, SegmentCard):
        known = {str(one) for one in Component}
        return tuple(Head(name=h.name, labels=h.labels) for h in card.heads if set(h.labels) <= known)
    return ()


def task_of(card: Card) -> Task:
    """Whether a card looks at one date or two."""
    return Task.CHANGE if isinstance(card, ChangeCard) else Task.SEGMENT


def samples(
    cache: Cache, *, without: Sequence[str] = (), numbers: Collection[int] | None = None
) -> Iterator[Sample]:
    """The chips of a cache, decoded; ``without`` leaves bands out, ``numbers`` are those wanted."""
    for number, entry in enumerate(cache.entries):
        if numbers is not None and number not in numbers:
            continue
        encoded = cache.pixels[number].reshape(-1, len(CHANNELS), cache.size, cache.size)
        yield Sample(
            number=number,
            name=entry.name,
            place=entry.place,
            dates=tuple(_bands(decode(date), without) for date in encoded),
            labels=np.array(cache.labels[number, -1]),
            change=None if cache.change is None else np.array(cache.change[number]),
            known=entry.known,
            facts=entry.facts,
        )


def _bands(pixels: Float32, without: Sequence[str]) -> dict[str, Float32]:
    return {
        name: band
        for name, band in zip(CHANNELS, pixels, strict=True)
        if name not in without and np.isfinite(band).any()
    }


def judge(
    card: Card,
    found: Iterator[Sample],
    *,
    device: Device = Device.AUTO,
    advance: Callable[[int], None] | None = None,
) -> Judgement:
    """Sums of a card over samples. Raises InputError where no sample has the bands it needs."""
    result = Judgement(card.id, heads_of(card), {head.name: {} for head in heads_of(card)})
    seen = 0
    for sample in found:
        try:
            chances = chances_of(card, sample, device=device)
        except Reject as exc:
            result.skipped.append(f"{sample.name}: {exc}")
            continue
        finally:
            if advance:
                advance(1)
        seen += 1
        for head in result.heads:
            result.sums[head.name][sample.number] = sums_of(chances[head.name], sample.truth(head))
    if not seen:
        why = result.skipped[0] if result.skipped else "there are no chips"
        raise InputError(f"card {card.id} can judge no chip: {why}; name another card or other chips")
    return result


def chances_of(card: Card, sample: Sample, *, device: Device = Device.AUTO) -> Chances:
    """Calibrated chances of every class of every head. Raises Reject where bands are missing."""
    dates = [{name: date[name] for name in card.bands if name in date} for date in sample.dates]
    if isinstance(card, SpectralCard):
        return {card.target.value: two_classes(score(card, dates[-1]))}
    if not isinstance(card, WeightedCard):
        raise InputError(f"card {card.id} is of a kind that chips cannot judge; name another card")
    dates = dates[-2:] if isinstance(card, ChangeCard) else dates[-1:]
    for date in dates:
        check_bands(card, date)
    question = Question(
        votes={
            f"{head.name}/{code}": Vote(head.name, (code,))
            for head in heads_of(card)
            for code in range(head.classes)
        },
        condition=condition_of(card, dates[-1], sample.partner_age_days),
        references=references(card, dates, history=_history(card, sample)),
    )
    logits = predict_image(card, dates, question, device=device).logits
    return {
        head.name: np.stack([sigmoid(logits[f"{head.name}/{code}"]) for code in range(head.classes)])
        for head in heads_of(card)
    }


def _history(card: WeightedCard, sample: Sample) -> Mapping[str, float] | None:
    """The earlier date of a pair is the history of the later one."""
    if isinstance(card, ChangeCard) or len(sample.dates) < 2:
        return None
    from detector.inputs import medians

    return medians(sample.dates[0], [name for name in card.bands if name in sample.dates[0]])


def two_classes(logit: Float32) -> Float32:
    """(2, h, w): background, label."""
    chance = sigmoid(logit)
    return np.stack([1.0 - chance, chance])


def sigmoid(logit: Float32) -> Float32:
    """1 / (1 + exp(-z)) without overflow."""
    chance: Float32 = (0.5 * (1.0 + np.tanh(0.5 * logit))).astype(np.float32)
    return chance
