"""Bands by name -> a network's input: one fixed scaling per channel, in training and in use. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from registry.models import S1_BANDS
from registry.values import Value

Float32 = NDArray[np.float32]

DARK = np.float32(0.01)
"""Added to reflectance before the logarithm: noise of dark water must not become contrast."""
FAINT = np.float32(1e-4)
"""gamma0 below -40 dB counts as this."""


class Reference(StrEnum):
    """What a channel's zero is."""

    FIXED = "fixed"
    """The mean over the training data, for every image."""
    RELATIVE = "relative"
    """The image's own median, per channel."""
    HISTORY = "history"
    """The median of the place's clear history, per channel."""


class Normalisation(Value):
    """x = (logarithm - reference) / spread; reflectance in natural logarithm, gamma0 in dB."""

    reference: Reference = Reference.FIXED
    mean: Mapping[str, float]
    """Per band, of the logarithm over the training data."""
    spread: Mapping[str, float] = Field(description="Per band, of the logarithm over the training data.")


def logarithm(name: str, band: Float32) -> Float32:
    """ln(reflectance + DARK), or dB of linear power; NaN stays NaN."""
    if name in S1_BANDS:
        decibel: Float32 = np.float32(10.0) * np.log10(np.maximum(band, FAINT))
        return decibel
    shifted: Float32 = np.log(np.maximum(band, np.float32(0.0)) + DARK)
    return shifted


def medians(bands: Mapping[str, Float32], names: Sequence[str], *, stride: int = 3) -> dict[str, float]:
    """Median logarithm per band over every ``stride``-th pixel: the reference of an image or a history."""
    found = {}
    for name in names:
        sample = bands[name][::stride, ::stride]
        sample = sample[np.isfinite(sample)]
        found[name] = float(np.median(logarithm(name, sample))) if sample.size else float("nan")
    return found


def network_input(
    bands: Mapping[str, Float32],
    names: Sequence[str],
    normalisation: Normalisation,
    *,
    reference: Mapping[str, float] | None = None,
) -> Float32:
    """(len(names), h, w) float32; what is not seen, and a whole band that is missing, becomes 0.

    ``reference`` replaces the fixed means where the normalisation is relative or of the history.
    """
    shape = next(iter(bands.values())).shape
    found = np.zeros((len(names), *shape), np.float32)
    for channel, name in enumerate(names):
        if name in bands:
            zero = normalisation.mean[name] if reference is None else reference[name]
            scaled = (logarithm(name, bands[name]) - np.float32(zero)) / np.float32(
                normalisation.spread[name]
            )
            found[channel] = np.nan_to_num(np.clip(scaled, -8.0, 8.0), nan=0.0)
    return found
