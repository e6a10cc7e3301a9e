"""Cross-entropy and soft Dice per head; what nobody knows teaches nothing.

Where a labeller did not look for some labels of a head, background may be any of these: their probability
counts as background's (partial labels; Cour et al. 2011), so that half a label set still teaches its half.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from detector.training.batches import IGNORED, Batch, carried
from detector.training.plan import Loss

LEAST = 1e-6
"""Weight of all pixels at least, so that none at all is no loss."""
NOTHING = -1e4
"""Logit of a class that is left out; finite, so that its gradient is 0 and not NaN."""


def total_loss(
    outputs: Mapping[str, Tensor], batch: Batch, weights: Mapping[str, Tensor], settings: Loss
) -> Tensor:
    """Mean over the heads, weighted as the settings say."""
    counts = [settings.head_weights.get(name, 1.0) for name in outputs]
    parts = [
        count
        * head_loss(logits.float(), batch.targets[name].long(), batch.hidden[name], weights[name], settings)
        for count, (name, logits) in zip(counts, outputs.items(), strict=True)
    ]
    return torch.stack(parts).sum() / sum(counts)


def head_loss(logits: Tensor, codes: Tensor, hidden: Tensor, weights: Tensor, settings: Loss) -> Tensor:
    """Of (n, classes, h, w) logits and (n, h, w) codes; 0 where no pixel teaches. ``hidden``: on the CPU."""
    if bool(hidden.any()):
        hidden = carried(hidden, logits)
        logits = merged(logits, hidden)
        codes = known_codes(codes, hidden)
    seen = codes != IGNORED
    # Sums, not a mean that is NaN where no pixel teaches: to ask for that would be to wait for a GPU.
    total = (weights[codes.clamp(max=logits.shape[1] - 1)] * seen).sum().clamp(min=LEAST)
    entropy = (
        functional.cross_entropy(logits, codes, weight=weights, ignore_index=IGNORED, reduction="sum") / total
    )
    if settings.dice == 0.0:
        return entropy
    return entropy + settings.dice * soft_dice(logits, codes, seen)


def known_codes(codes: Tensor, hidden: Tensor) -> Tensor:
    """Codes without labels that nobody looked for (a stray one says nothing of where others are).

    With every label hidden all probability is background's: nothing is taught, and Dice must not see it.
    """
    strays = hidden.gather(1, codes.flatten(1).clamp(max=hidden.shape[1] - 1)).view_as(codes)
    taught = ~hidden[:, 1:].all(dim=1)
    return torch.where(taught[:, None, None] & ~strays, codes, IGNORED)


def merged(logits: Tensor, hidden: Tensor) -> Tensor:
    """Logits whose background takes over the classes nobody looked for."""
    masked = hidden[:, :, None, None]
    joins = hidden.clone()
    joins[:, 0] = True
    background = torch.logsumexp(torch.where(joins[:, :, None, None], logits, NOTHING), dim=1, keepdim=True)
    return torch.cat([background, torch.where(masked, NOTHING, logits)[:, 1:]], dim=1)


def soft_dice(logits: Tensor, codes: Tensor, seen: Tensor) -> Tensor:
    """1 - mean Dice over the labels that the batch holds; background is left out."""
    chances = torch.softmax(logits, dim=1)[:, 1:] * seen[:, None]
    labels = torch.arange(1, logits.shape[1], device=logits.device)[None, :, None, None]
    truth = ((codes[:, None] == labels) & seen[:, None]).to(chances.dtype)
    shared = (chances * truth).sum(dim=(0, 2, 3))
    both = chances.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    present = truth.sum(dim=(0, 2, 3)) > 0
    missed = (1.0 - 2.0 * shared / both.clamp(min=1.0)) * present
    return missed.sum() / present.sum().clamp(min=1)
