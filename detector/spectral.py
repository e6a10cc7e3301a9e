"""Spectral models: a linear logit over clipped spectral features, for one target. No weights file.

They work anywhere, modestly; the card says on what they were tuned and what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from enum import StrEnum
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from detector.cards import Card
from registry.models import Target
from registry.values import Value, digest

Float32 = NDArray[np.float32]
Bands = Mapping[str, Float32]

DARKEST = np.float32(1e-3)
"""Reflectance below which a band counts as this: ratios of darker numbers are noise."""
FAINTEST = np.float32(1e-5)
"""gamma0 in linear power (-50 dB) below which radar counts as this."""


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


class SpectralCard(Card):
    """bias + sum of weight x clip(feature, low, high), over temperature."""

    target: Target
    kind: Literal["spectral"] = "spectral"
    bias: float
    """Logit before temperature where all features are 0."""
    terms: tuple[Term, ...] = Field(min_length=1)
    temperature: float = Field(gt=0.0)
    """The logit is divided by this."""
    tuned_on: str = Field(min_length=1)
    tuned: date

    @property
    def digest(self) -> str:
        """SHA-256 of what the score depends on; the words around it may be mended freely."""
        return digest(self.model_dump(mode="json", include=set(_WHAT_COUNTS)))

    @property
    def feeds(self) -> frozenset[Target]:
        """Its one target."""
        return frozenset({self.target})

    @model_validator(mode="after")
    def _bands_are_those_of_the_terms(self) -> Self:
        needed = {band for term in self.terms for band in _FEATURES[term.feature][0]}
        if needed != set(self.bands):
            raise ValueError(f"bands are {sorted(self.bands)}, the terms need {sorted(needed)}; list these")
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


def spectral_score(card: SpectralCard, bands: Bands) -> Float32:
    """(h, w) logit: (bias + sum of weight x clip(feature)) / temperature; NaN passes through."""
    first = bands[card.bands[0]]
    total = np.full(first.shape, card.bias, dtype=np.float32)
    for term in card.terms:
        needs, formula = _FEATURES[term.feature]
        value = formula(*(np.asarray(bands[name], dtype=np.float32) for name in needs))
        total += np.float32(term.weight) * np.clip(value, np.float32(term.low), np.float32(term.high))
    result: Float32 = total / np.float32(card.temperature)
    return result
