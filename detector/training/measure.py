"""A network over a cache's chips, whole: quick figures for early stopping, logits for calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from detector.engine import fast_half
from detector.training.augment import with_partner
from detector.training.batches import IGNORED, OPTICAL, Batch, Crops, network_batch, physical
from detector.training.metrics import Confusion

BATCH = 8
"""Chips at a time."""


@dataclass(frozen=True)
class Partner:
    """What is done to the radar of every chip: nothing, another day's, none."""

    absent: bool = False
    stale: bool = False


FRESH = Partner()


def measure(network: nn.Module, crops: Crops, device: torch.device) -> dict[str, float]:
    """Mean IoU over all labels (``iou``) and per head (``iou_HEAD``), over whole chips."""
    found = {head.name: Confusion(head.classes) for head in crops.recipe.heads}
    for _, batch, outputs in predictions(network, crops, device):
        for head, logits in outputs.items():
            codes = logits.argmax(dim=1).cpu().numpy()
            found[head].add(batch.truth(head).cpu().numpy(), codes)
    per_head = {head: float(np.nanmean(one.iou()[1:])) for head, one in found.items() if one.any_label}
    every = [value for one in found.values() for value in one.iou()[1:] if np.isfinite(value)]
    return {"iou": float(np.mean(every)) if every else 0.0} | {
        f"iou_{head}": value for head, value in per_head.items()
    }


@torch.no_grad()
def predictions(
    network: nn.Module, crops: Crops, device: torch.device, *, partner: Partner = FRESH, seed: int = 0
) -> Iterator[tuple[tuple[int, ...], Batch, Mapping[str, Tensor]]]:
    """(numbers, batch, logits per head in fp32) over the chips in order."""
    generator = torch.Generator().manual_seed(seed)
    for numbers, cpu in crops.iterate(BATCH):
        batch = cpu.to(device)
        values = physical(batch.pixels)
        if partner != FRESH:
            shape = (values.shape[0], values.shape[1], 1, 1, 1)
            values = with_partner(
                values,
                absent=torch.full(shape, partner.absent),
                stale=torch.full(shape, partner.stale),
                generator=generator,
            )
        with torch.autocast(device.type, torch.bfloat16, enabled=fast_half(device)):
            outputs = network(network_batch(values, batch.medians, crops.recipe))
        yield numbers, batch, {head: logits.float() for head, logits in outputs.items()}


assert IGNORED == 255
assert OPTICAL == 12
