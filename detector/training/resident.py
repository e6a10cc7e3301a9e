"""Chips in a GPU's own memory: batches are cut out of them there, so that no step waits for the CPU.

The same picks give the same batch as detector.training.batches makes of the cache on disk.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.training.batches import PLACES, Batch, Crops, carried, places, turned
from detector.training.plan import CHANGE_HEAD, Schedule, Task
from registry.chips import CHANNELS
from registry.log import get_logger

log = get_logger(__name__)

CHIPS_AT_ONCE = 64
"""Chips per copy to the device."""
COPIES = 4
"""Copies under way at a time: most of it is reading, which one core does slower than the device takes it."""
SHARE_OF_FREE = 0.55
"""Of the device's free memory that chips may take: networks need some, and other trainings."""
WORTH = 4
"""Crops per chip from which carrying all chips over costs less than gathering every crop on the CPU."""


def resident(crops: Crops, schedule: Schedule, device: torch.device) -> Crops | Resident:
    """The crops kept on the device where that pays and there is room, else as they are."""
    drawn = schedule.total * schedule.batch
    if device.type != "cuda" or drawn < WORTH * len(crops.numbers):
        return crops
    free, _ = torch.cuda.mem_get_info(device)
    if bytes_of(crops) > SHARE_OF_FREE * free:
        return crops
    try:
        return Resident.of(crops, device)
    except torch.cuda.OutOfMemoryError:
        log.info("the device is full, crops are gathered on the CPU", chips=len(crops.numbers))
    # Another training asked at the same moment. What was taken is free only when the error is forgotten.
    torch.cuda.empty_cache()
    return crops


def bytes_of(crops: Crops) -> int:
    """What the chips take: pixels, labels of the later date and what is rare."""
    channels, size = int(crops.cache.pixels.shape[1]), crops.cache.size
    return len(crops.numbers) * size * size * (2 * channels + 2 + 1 + (crops.cache.change is not None))


@dataclass(frozen=True)
class Resident:
    """A copy of the chips that crops are drawn from."""

    crops: Crops
    at: NDArray[np.int64]
    """Position of each chip of the cache in this copy."""
    pixels: Tensor
    """(n, dates x 14, size x size) int16 with the bits of the cache's numbers."""
    labels: Tensor
    """(n, size x size) int16 with the bits of the later date's labels."""
    change: Tensor | None
    """(n, size x size) uint8."""
    rare: Tensor
    """(n, size x size) bool: what a rich crop shows much of."""
    tables: dict[str, Tensor]
    """Per head, bits of labels -> class code."""

    @classmethod
    def of(cls, crops: Crops, device: torch.device) -> Resident:
        """Carry the chips over."""
        cache, numbers = crops.cache, np.array(crops.numbers)
        at = np.zeros(len(cache.entries), np.int64)
        at[numbers] = np.arange(len(numbers))
        count, area = len(numbers), cache.size**2
        pixels = torch.empty((count, cache.pixels.shape[1], area), dtype=torch.int16, device=device)
        labels = torch.empty((count, area), dtype=torch.int16, device=device)
        change = (
            None if cache.change is None else torch.empty((count, area), dtype=torch.uint8, device=device)
        )
        rare = torch.empty((count, area), dtype=torch.bool, device=device)

        def carry(first: int) -> None:
            some = numbers[first : first + CHIPS_AT_ONCE]
            to = slice(first, first + len(some))
            pixels[to] = _flat(cache.pixels[some].view(np.int16))
            labels[to] = _flat(cache.labels[some, -1].view(np.int16))
            rare[to] = _flat(np.stack([crops.rare(int(number)) for number in some]))
            if change is not None and cache.change is not None:
                change[to] = _flat(cache.change[some])

        with ThreadPoolExecutor(COPIES) as pool:
            list(pool.map(carry, range(0, count, CHIPS_AT_ONCE)))
        tables = {name: torch.from_numpy(table).to(device) for name, table in crops.tables.items()}
        return cls(crops, at, pixels, labels, change, rare, tables)

    def draw(self, rng: np.random.Generator, batch: int, crop: int, *, rich: float = 0.5) -> Batch:
        """What Crops.draw gives, made and left on the device."""
        picks = self.crops.picks(rng, batch, crop)
        chips = self._moved(self.at[picks.numbers])
        inside = _turns(crop, self.pixels.device)[self._moved(picks.turns)]
        corners = picks.corners[:, :, 0] * self.crops.cache.size + picks.corners[:, :, 1]
        one = self._richest(chips, self._moved(corners), inside, crop, rich)
        where = self._inside(one, inside, crop)
        pixels = self.pixels[chips[:, None, None], self._channels()[None, :, None], where[:, None]]
        bits = self.labels[chips[:, None], where].to(torch.int32).bitwise_and(0xFFFF)
        targets = {name: table[bits].view(batch, crop, crop) for name, table in self.tables.items()}
        if self.change is not None and CHANGE_HEAD in self.crops.recipe.heads:
            targets[CHANGE_HEAD.name] = self.change[chips[:, None], where].view(batch, crop, crop)
        dated = pixels.view(batch, -1, len(CHANNELS), crop, crop)
        return self.crops.batch(dated, targets, picks.numbers)

    def _moved(self, numbers: NDArray[np.int64]) -> Tensor:
        return carried(torch.from_numpy(numbers), self.pixels)

    def _channels(self) -> Tensor:
        """Those of the dates that are asked for: the last one's where components are."""
        count = self.pixels.shape[1]
        first = count - len(CHANNELS) if self.crops.recipe.task is Task.SEGMENT else 0
        return torch.arange(first, count, device=self.pixels.device)

    def _inside(self, corners: Tensor, inside: Tensor, crop: int) -> Tensor:
        """Positions in a chip of pixels that are numbered within crops at these corners, (n, pixels)."""
        size = self.crops.cache.size
        return corners[:, None] + torch.div(inside, crop, rounding_mode="floor") * size + inside % crop

    def _richest(self, chips: Tensor, corners: Tensor, inside: Tensor, crop: int, rich: float) -> Tensor:
        """(n,) the corner of each crop: the first of those that show most of what is rare."""
        counts = torch.stack(
            [
                self.rare[chips[:, None], self._inside(corners[:, place], inside, crop)].sum(dim=1)
                for place in range(PLACES)
            ],
            dim=1,
        )
        allowed = np.array([[place < places(n, rich) for place in range(PLACES)] for n in range(len(chips))])
        last = torch.arange(PLACES, device=counts.device)
        # Of equal counts the first wins, on every device.
        counts = torch.where(self._moved(allowed.astype(np.int64)) > 0, counts * PLACES - last, -PLACES)
        return corners.gather(1, counts.argmax(dim=1, keepdim=True))[:, 0]


def _flat(chips: NDArray[np.generic]) -> Tensor:
    """(n, ..., h, w) to (n, ..., h x w), in memory of its own: torch wants none that is read-only."""
    return torch.from_numpy(np.array(chips)).flatten(-2, -1)


@lru_cache(maxsize=4)
def _turns(crop: int, device: torch.device) -> Tensor:
    """(8, pixels) which pixel of a crop stands where after each symmetry.

    On the device: to carry them over for each batch would be to wait for the steps before it.
    """
    plain = np.arange(crop * crop).reshape(crop, crop)
    return torch.from_numpy(np.stack([turned(plain, turn).ravel() for turn in range(8)])).to(device)
