"""A pixel's own history: weighted sums over looks, solved for the score to expect on a day. Pure torch.

float32, one rounded operation at a time (+ - * / sqrt), so that every machine gets the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detector.looks import Look
from detector.state import Float32

SUMS = ("n", "s", "c", "ss", "sc", "y", "ys", "yc", "yy")
"""Channels of a history: weighted sums over looks of 1, sin, cos, their products, and the score with each."""

FREE = 1.0 / 1024
"""Ridge on the yearly mean: only against division by zero."""


@dataclass(frozen=True)
class Expected:
    """What a pixel's history says of this day, change upwards, in logits."""

    known: Tensor
    """True where there are enough looks to stand against."""
    mean: Tensor
    """Yearly mean."""
    score: Tensor
    """Expected score of the day."""
    sigma: Tensor
    """Spread of a new look about it: the fit's own uncertainty and the factor of caution included."""


def expect(sums: Float32, look: Look) -> Expected:
    """Ridge fit of a + b sin + c cos, solved in closed form; sigma shrunk to the sensor's prior."""
    n, s, c, ss, sc, y, ys, yc, yy = (torch.from_numpy(channel) for channel in sums)
    cc = n - ss
    # The intercept is all but free, the season is pulled towards none.
    m00, m11, m22 = n + FREE, ss + look.evidence.ridge, cc + look.evidence.ridge
    i00, i01, i02 = m11 * m22 - sc * sc, c * sc - s * m22, s * sc - c * m11
    i11, i12, i22 = m00 * m22 - c * c, s * c - m00 * sc, m00 * m11 - s * s
    det = m00 * i00 + s * i01 + c * i02
    a = (i00 * y + i01 * ys + i02 * yc) / det
    b = (i01 * y + i11 * ys + i12 * yc) / det
    k = (i02 * y + i12 * ys + i22 * yc) / det
    squares = a * a * n + b * b * ss + k * k * cc + 2.0 * (a * b * s + a * k * c + b * k * sc)
    residual = torch.clamp(yy - 2.0 * (a * y + b * ys + k * yc) + squares, min=0.0)
    prior = look.evidence.prior_strength
    variance = (prior * look.source.sigma**2 + residual) / (prior + n)
    u, v = look.sin, look.cos
    leverage = (i00 + 2.0 * (i01 * u + i02 * v) + i11 * (u * u) + 2.0 * i12 * (u * v) + i22 * (v * v)) / det
    return Expected(
        known=n >= look.evidence.min_history,
        mean=a,
        score=a + b * u + k * v,
        sigma=torch.sqrt(variance * (1.0 + leverage)) * look.evidence.caution,
    )


def trust(above: Tensor, expected: Expected, share: Tensor, look: Look) -> Tensor:
    """What a look may teach: less the further it lies towards change, for contamination pushes one way."""
    limit = look.evidence.robust * expected.sigma
    factor = limit / torch.maximum(above, limit)
    return share * torch.where(expected.known, factor * factor, torch.ones(()))


def learn(sums: Float32, score: Tensor, weight: Tensor, look: Look) -> None:
    """Add the look to the history in place; beyond ``memory_looks`` older looks fade."""
    u, v = look.sin, look.cos
    weighted = weight * score
    parts = (
        weight, weight * u, weight * v, weight * (u * u), weight * (u * v),
        weighted, weighted * u, weighted * v, weighted * score,
    )  # fmt: skip
    memory = look.evidence.memory_looks
    total = torch.from_numpy(sums[0]) + weight
    fade = memory / torch.clamp(total, min=memory)
    for channel, part in zip(sums, parts, strict=True):
        channel[...] = ((torch.from_numpy(channel) + part) * fade).numpy()
