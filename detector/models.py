"""Model cards: which bands a model needs, by name, and how they become a logit per pixel.

A spectral model is a linear logit over clipped spectral features. It has no weights file and works
anywhere, modestly; its card says on what it was tuned and what was measured. Another kind of model is
another entry in ``_SCORERS``; callers stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from registry.errors import ConfigError, Reject
from registry.models import S1_BANDS, S2_BANDS, Sensor, Slug, Target
from registry.settings import load_document
from registry.values import Value, digest

Float32 = NDArray[np.float32]
Bands = Mapping[str, Float32]

DARKEST = np.float32(1e-3)
"""Reflectance below which a band counts as this: ratios of darker numbers are noise."""
FAINTEST = np.float32(1e-5)
"""gamma0 in linear power (-50 dB) below which radar counts as this."""
BRIGHTEST_MEDIAN = 1.6
"""Largest median reflectance of a whole band that is believed; even snow under a low sun stays below."""
STRIDE = 7
"""Every so many pixels are looked at to check that numbers are scaled."""


class Feature(StrEnum):
    """What a spectral model can be made of; formulas are in docs/models.md."""

    NDVI = "ndvi"
    NDMI = "ndmi"
    NBR = "nbr"
    BSI = "bsi"
    RED = "red"
    SWIR = "swir"
    BRIGHTNESS = "brightness"
    VV_DB = "vv_db"
    VH_DB = "vh_db"


def _difference(high: Float32, low: Float32) -> Float32:
    high, low = np.maximum(high, DARKEST), np.maximum(low, DARKEST)
    return (high - low) / (high + low)


def _decibel(power: Float32) -> Float32:
    return np.float32(10.0) * np.log10(np.maximum(power, FAINTEST))


_FEATURES: Mapping[Feature, tuple[tuple[str, ...], Callable[..., Float32]]] = {
    Feature.NDVI: (("B08", "B04"), _difference),
    Feature.NDMI: (("B08", "B11"), _difference),
    Feature.NBR: (("B08", "B12"), _difference),
    Feature.BSI: (("B11", "B04", "B08", "B02"), lambda s, r, n, b: _difference(s + r, n + b)),
    Feature.RED: (("B04",), lambda red: red),
    Feature.SWIR: (("B11",), lambda swir: swir),
    Feature.BRIGHTNESS: (("B02", "B03", "B04"), lambda b, g, r: (b + g + r) / np.float32(3.0)),
    Feature.VV_DB: (("VV",), _decibel),
    Feature.VH_DB: (("VH",), _decibel),
}
"""The bands that a feature needs, in the order of its function's arguments."""


class Term(Value):
    """One feature of a spectral model: weight x clip(feature, low, high)."""

    feature: Feature
    low: float
    """Lower clip, in the feature's own unit."""
    high: float
    """Upper clip: beyond what was seen in tuning, a feature says no more."""
    weight: float
    """Logits per unit of the feature, before temperature."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"{self.feature} is clipped from {self.low} to {self.high}; give low < high")
        return self


class Metric(Value):
    """One measured figure."""

    name: str
    value: float
    data: str
    """What it was measured on, and whether the model had seen it."""


class Card(Value):
    """What a model is, needs and is known to do."""

    id: Slug
    title: str = Field(min_length=1)
    target: Target
    kind: Literal["spectral"] = "spectral"
    sensor: Sensor
    """Whose passes it scores."""
    bands: tuple[str, ...] = Field(min_length=1)
    """Bands by name: reflectance 0..1 of Sentinel-2, gamma0 in linear power of Sentinel-1."""
    partner_max_age_days: Annotated[float, Field(gt=0.0)] | None = None
    """Oldest pass of the other sensor it may be fed with; null = needs none."""
    resolution_m: float = Field(default=10.0, gt=0.0)
    bias: float
    """Logit before temperature where all features are 0."""
    terms: tuple[Term, ...] = Field(min_length=1)
    temperature: float = Field(gt=0.0)
    """The logit is divided by this."""
    tuned_on: str = Field(min_length=1)
    tuned: date
    licence: str = Field(min_length=1)
    metrics: tuple[Metric, ...] = ()
    limits: str = Field(min_length=1)
    """Where it is known to fail."""

    @property
    def digest(self) -> str:
        """SHA-256 of what the score depends on; the words around it may be mended freely."""
        return digest(self.model_dump(mode="json", include=set(_WHAT_COUNTS)))

    @model_validator(mode="after")
    def _bands_are_those_of_the_terms(self) -> Self:
        unknown = sorted(set(self.bands) - {*S2_BANDS, *S1_BANDS})
        if unknown:
            raise ValueError(f"unknown bands {unknown}; use names out of {[*S2_BANDS, *S1_BANDS]}")
        needed = {band for term in self.terms for band in _FEATURES[term.feature][0]}
        if needed != set(self.bands):
            raise ValueError(f"bands are {sorted(self.bands)}, the terms need {sorted(needed)}; list these")
        return self

    @model_validator(mode="after")
    def _partner_named(self) -> Self:
        own = S2_BANDS if self.sensor is Sensor.S2 else S1_BANDS
        foreign = sorted(set(self.bands) - set(own))
        if foreign and self.partner_max_age_days is None:
            raise ValueError(f"{foreign} are not of {self.sensor}; give partner_max_age_days")
        return self


_WHAT_COUNTS = (
    "id",
    "target",
    "kind",
    "sensor",
    "bands",
    "bias",
    "terms",
    "temperature",
    "partner_max_age_days",
)


def shipped_cards() -> Path:
    """The folder of the cards that come with groundwatch."""
    return Path(__file__).resolve().parent.parent / "configs" / "models"


def load_cards(folders: Iterable[Path]) -> Mapping[str, Card]:
    """All cards (``*.yml``) of the folders, by id; a later folder's card replaces an earlier one's.

    Raises ConfigError where a folder is missing or a card is wrong, with file, line, key and remedy.
    """
    cards: dict[str, Card] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"model card folder {folder} does not exist; correct model_cards")
        for path in sorted(folder.glob("*.yml")):
            card = load_document(path, Card)
            cards[card.id] = card
    return cards


def choose(
    cards: Mapping[str, Card],
    order: Sequence[str],
    available: Collection[str],
    *,
    partner_age_days: float | None = None,
) -> Card:
    """The first card of ``order`` that ``available`` bands can feed.

    ``partner_age_days`` is the age of the other sensor's bands; None = they are of the same moment.
    Raises ConfigError on an unknown id or an empty order, Reject (it names what is missing) where no card
    can be fed.
    """
    if not order:
        raise ConfigError("no model card is named; name at least one under detection.models")
    for name in order:
        if name not in cards:
            raise ConfigError(f"model card {name!r} does not exist; use one of {sorted(cards)}")
    wanting = {name: _wanting(cards[name], available, partner_age_days) for name in order}
    for name, reason in wanting.items():
        if not reason:
            return cards[name]
    reasons = "; ".join(f"{name} {reason}" for name, reason in wanting.items())
    raise Reject(f"no model fits the bands {sorted(available)}: {reasons}")


def _wanting(card: Card, available: Collection[str], partner_age_days: float | None) -> str:
    """Why a card can't be used; empty = it can."""
    missing = sorted(set(card.bands) - set(available))
    if missing:
        return f"lacks {', '.join(missing)}"
    limit = card.partner_max_age_days
    if limit is not None and partner_age_days is not None and partner_age_days > limit:
        return f"allows a partner of {limit:g} days, it is {partner_age_days:.1f} days old"
    return ""


def score(card: Card, bands: Bands) -> Float32:
    """(h, w) logit of the card's target, float32, NaN where any needed band is unseen (NaN).

    Bands are taken by name. Raises Reject where one is missing, or is not in the unit the card asks for.
    """
    missing = sorted(set(card.bands) - set(bands))
    if missing:
        raise Reject(f"model {card.id} lacks {', '.join(missing)}; it needs {', '.join(card.bands)}")
    for name in card.bands:
        _check_unit(name, bands[name])
    return _SCORERS[card.kind](card, bands)


def _check_unit(name: str, band: Float32) -> None:
    sample = band.reshape(-1)[::STRIDE]
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return
    if name in S1_BANDS:
        if float(sample.min()) < 0.0:
            raise Reject(f"{name} holds {float(sample.min()):.4g}; give gamma0 in linear power, not dB")
    elif float(np.median(sample)) > BRIGHTEST_MEDIAN:
        raise Reject(
            f"{name} has a median of {float(np.median(sample)):.4g}; give reflectance from 0 to 1 "
            "(Sentinel-2 numbers divided by 10000)"
        )


def _spectral(card: Card, bands: Bands) -> Float32:
    """(bias + sum of weight x clip(feature)) / temperature; NaN passes through every operation."""
    first = bands[card.bands[0]]
    total = np.full(first.shape, card.bias, dtype=np.float32)
    for term in card.terms:
        needs, formula = _FEATURES[term.feature]
        value = formula(*(np.asarray(bands[name], dtype=np.float32) for name in needs))
        total += np.float32(term.weight) * np.clip(value, np.float32(term.low), np.float32(term.high))
    result: Float32 = total / np.float32(card.temperature)
    return result


_SCORERS: Mapping[str, Callable[[Card, Bands], Float32]] = {"spectral": _spectral}
