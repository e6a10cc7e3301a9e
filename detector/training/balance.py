"""Where a class begins: a number added to its logits, so that it is answered about where it is.

A network learns on crops chosen for what is rare, with rare classes weighing more, and calls too much by
their names where the land is as it is. The numbers are those of the best mean IoU on chips that taught
nothing, one class after the other, and become part of the head's own bias.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.plans import Plan
from detector.training.loop import State
from detector.training.metrics import confusion_of, iou

STEPS = np.arange(-2.0, 2.01, 0.25)
"""What may be added, in logits; more fits the chips it was found on better and shifted ones worse."""
SWEEPS = 3
"""Times every class is gone through: the shares of neighbours move together."""
COST = 2e-3
"""Mean IoU that each logit of a shift must gain: the best shifts lie on a plateau, and its near end is right
more often on land of another kind."""


def shifts(logits: NDArray[np.float32], codes: NDArray[np.int64]) -> NDArray[np.float32]:
    """(classes,) to be added to (n, classes) logits; 0 for background and for what is not among the codes."""
    found = np.zeros(logits.shape[1], np.float32)
    present = [label for label in range(1, logits.shape[1]) if (codes == label).any()]
    if not present:
        return found
    best = _mean_iou(logits, codes, present)
    for _ in range(SWEEPS):
        for label in present:
            for step in STEPS:
                tried = found.copy()
                tried[label] = step
                score = _mean_iou(logits + tried, codes, present) - COST * float(np.abs(tried).sum())
                if score > best:
                    best, found = score, tried
    return found


def _mean_iou(logits: NDArray[np.float32], codes: NDArray[np.int64], labels: list[int]) -> float:
    counts = confusion_of(codes, logits.argmax(axis=1), logits.shape[1])
    return float(np.mean(iou(counts)[labels]))


def balanced(state: State, plan: Plan, samples: Mapping[str, tuple[Tensor, Tensor]]) -> State:
    """The weights with each head's shifts in its bias; ``samples`` hold its logits and codes."""
    changed = dict(state)
    for head in plan.heads:
        if head.name not in samples:
            continue
        logits, codes = samples[head.name]
        added = torch.from_numpy(shifts(logits.numpy(), codes.numpy()))
        prefix = f"networks.{head.name}." if plan.separate else ""
        key = f"{prefix}heads.{head.name}.bias"
        # A head at half resolution answers for the four pixels of a 2 x 2 block, class by class.
        changed[key] = state[key] + added.repeat_interleave(len(state[key]) // head.classes).to(state[key])
    return changed
