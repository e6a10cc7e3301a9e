"""Temperatures: by what a head's logits are divided so that its chances come true, per condition of input.

Guo et al. 2017: one number per head, found by the negative log-likelihood on chips that taught nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.cards import Condition
from detector.training.batches import IGNORED, Crops
from detector.training.measure import FRESH, Partner, predictions
from registry.models import S1_BANDS, S2_BANDS

PIXELS_PER_CHIP = 2048
"""Pixels drawn per chip and head: neighbours say the same, so more would cost and not tell more."""
COLDEST, HOTTEST = 0.2, 5.0
"""Bounds of a temperature."""

CONDITIONS: Mapping[Condition, Partner] = {
    Condition.FRESH: FRESH,
    Condition.STALE: Partner(stale=True),
    Condition.ABSENT: Partner(absent=True),
}


def conditions_of(bands: tuple[str, ...]) -> tuple[Condition, ...]:
    """Those an input of these bands can be in: without both sensors there is no partner."""
    both = bool(set(bands) & set(S1_BANDS)) and bool(set(bands) & set(S2_BANDS))
    return tuple(CONDITIONS) if both else (Condition.FRESH,)


def temperatures(network: nn.Module, crops: Crops, device: torch.device) -> dict[str, dict[Condition, float]]:
    """Per head and condition; 1 for a head that no pixel speaks of."""
    found: dict[str, dict[Condition, float]] = {head.name: {} for head in crops.recipe.heads}
    for condition in conditions_of(crops.recipe.bands):
        samples = drawn(network, crops, device, CONDITIONS[condition])
        for head, (logits, codes) in samples.items():
            found[head][condition] = round(best_temperature(logits, codes), 4) if len(codes) else 1.0
    return found


def best_temperature(logits: Tensor, codes: Tensor) -> float:
    """The temperature of the lowest negative log-likelihood of (n, classes) logits and (n,) codes.

    The likelihood has one hollow over log T, which golden sections close in on.
    """
    low, high = math.log(COLDEST), math.log(HOTTEST)
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(32):
        a, b = high - golden * (high - low), low + golden * (high - low)
        if _loss(logits, codes, a) <= _loss(logits, codes, b):
            high = b
        else:
            low = a
    return math.exp(0.5 * (low + high))


def _loss(logits: Tensor, codes: Tensor, log_temperature: float) -> float:
    return float(functional.cross_entropy(logits / math.exp(log_temperature), codes))


def drawn(
    network: nn.Module,
    crops: Crops,
    device: torch.device,
    partner: Partner = FRESH,
    *,
    pixels: int = PIXELS_PER_CHIP,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Per head (n, classes) logits and (n,) codes of known pixels, drawn evenly: so many per chip."""
    rng = np.random.default_rng(0)
    kept: dict[str, list[tuple[Tensor, Tensor]]] = {head.name: [] for head in crops.recipe.heads}
    for numbers, batch, outputs in predictions(network, crops, device, partner=partner):
        for head, logits in outputs.items():
            flat = logits.movedim(1, -1).flatten(0, 2).cpu()
            codes = batch.truth(head).flatten().long().cpu()
            known = torch.nonzero(codes != IGNORED)[:, 0].numpy()
            chosen = rng.permutation(known)[: pixels * len(numbers)]
            kept[head].append((flat[chosen], codes[chosen]))
    return {
        head: (torch.cat([one for one, _ in parts]), torch.cat([one for _, one in parts]))
        for head, parts in kept.items()
        if parts
    }
