"""New mine and forest loss between two dates, out of one bi-temporal network or two single-date answers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detector.cards import CHANGE_LABELS
from detector.training.batches import Crops, Recipe, network_batch, physical
from detector.training.measure import BATCH
from detector.training.metrics import IGNORED, Sums, sums_of
from detector.training.plan import CHANGE_HEAD, Task
from registry.chips import Change

EVENTS: Mapping[str, Change] = {"new_mine": Change.NEW_MINE, "forest_loss": Change.FOREST_LOSS}


@torch.no_grad()
def measure_events(
    network: nn.Module, pairs: Crops, recipe: Recipe, device: torch.device
) -> dict[str, dict[int, Sums]]:
    """Per event and chip number, the sums of event against no event; hidden pixels do not count.

    ``pairs`` draws both dates (a recipe of the change task); ``recipe`` is the network's own.
    """
    found: dict[str, dict[int, Sums]] = {name: {} for name in EVENTS}
    for numbers, cpu in pairs.iterate(BATCH):
        batch = cpu.to(device)
        values = physical(batch.pixels)
        truth = batch.targets[CHANGE_HEAD.name].cpu().numpy()
        if recipe.task is Task.CHANGE:
            chances = _of_change(network(network_batch(values, batch.medians, recipe)))
        else:
            dates = [
                network(network_batch(values[:, date : date + 1], _medians(batch.medians, date), recipe))
                for date in (0, 1)
            ]
            chances = _of_two(*dates)
        for at, number in enumerate(numbers):
            for name, chance in chances.items():
                one = chance[at].float().cpu().numpy()
                found[name][number] = sums_of(
                    np.stack([1.0 - one, one]), event_codes(truth[at], EVENTS[name])
                )
    return found


def event_codes(change: NDArray[np.uint8], event: Change) -> NDArray[np.uint8]:
    """(h, w) 1 = the event, 0 = something else or nothing, 255 = unknown or hidden."""
    codes: NDArray[np.uint8] = (change == event).astype(np.uint8)
    codes[(change == Change.UNKNOWN) | (change == Change.HIDDEN)] = IGNORED
    return codes


def _medians(medians: Tensor, date: int) -> Tensor:
    """(n, 2, 14) as a single-date network of this date expects it: history first, own last."""
    return torch.stack([medians[:, 0], medians[:, date]], dim=1)


def _of_change(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    chances = torch.softmax(outputs[CHANGE_HEAD.name].float(), dim=1)
    return {name: chances[:, 1 + CHANGE_LABELS.index(name)] for name in EVENTS}


def _of_two(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    mine = [torch.softmax(one["transformed"].float(), dim=1)[:, 1] for one in (before, after)]
    forest = [torch.softmax(one["forest"].float(), dim=1)[:, 1] for one in (before, after)]
    return {"new_mine": (1.0 - mine[0]) * mine[1], "forest_loss": forest[0] * (1.0 - forest[1])}
