"""Real land under simulated mines: the mine's part of a shot, laid over a real tile. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from registry.chips import UNKNOWN, Chip, Component
from simulator.chips.labels import paint_labels, window_of
from simulator.chips.layers import Ground
from simulator.chips.palette import Float32
from simulator.chips.recipe import Backdrop, Recipe
from simulator.noise import blur

_BACKDROP = 104
Number = TypeVar("Number", bound=np.generic)


def choose_backdrop(seed: int, index: int, recipe: Recipe) -> Backdrop | None:
    """The real tile under this place, turned and cropped to size; None = simulated land."""
    rng = np.random.default_rng([seed, index, _BACKDROP])
    if not recipe.backdrops or rng.random() >= recipe.backdrop_share:
        return None
    tile = recipe.backdrops[int(rng.integers(0, len(recipe.backdrops)))]
    pixels, labels = _fitted(tile.pixels, recipe.size), _fitted(tile.labels, recipe.size)
    row = int(rng.integers(0, labels.shape[0] - recipe.size + 1))
    column = int(rng.integers(0, labels.shape[1] - recipe.size + 1))
    window = (..., slice(row, row + recipe.size), slice(column, column + recipe.size))
    pixels, labels = pixels[window], labels[window]
    turn = int(rng.integers(0, 8))
    if turn & 1:
        pixels, labels = pixels[:, ::-1], labels[::-1]
    if turn & 2:
        pixels, labels = pixels[..., ::-1], labels[:, ::-1]
    if turn & 4:
        pixels, labels = pixels.swapaxes(1, 2), labels.T
    return replace(tile, pixels=np.ascontiguousarray(pixels), labels=np.ascontiguousarray(labels))


def _fitted(field: NDArray[Number], size: int) -> NDArray[Number]:
    """At least ``size`` rows and columns: mirrored at the far edges."""
    short = [(0, 0)] * (field.ndim - 2) + [(0, max(0, size - side)) for side in field.shape[-2:]]
    return field if not any(far for _, far in short) else np.pad(field, short, mode="symmetric")


def lay_over(backdrop: Backdrop, chip: Chip, ground: Ground, look: int) -> Chip:
    """``chip``'s mine on real land; the tile keeps its own air, a look adds its gain and a trace of haze."""
    rng = np.random.default_rng([*backdrop.name.encode(), look])
    land = backdrop.pixels.copy()
    gain = 1.0 + rng.normal(0.0, 0.025) + rng.normal(0.0, 0.008, 12)
    land[:12] = land[:12] * gain[:, None, None].astype(np.float32) + np.float32(rng.normal(0.0, 0.002))
    mine = mine_only(ground)
    share = _share(mine)
    pixels = land + share * (chip.pixels - land)
    labels = np.where(_touched(mine), paint_labels(mine), backdrop.labels)
    labels[np.isnan(pixels[0])] |= np.uint16(UNKNOWN)
    return replace(
        chip,
        pixels=np.asarray(pixels, np.float32),
        labels=labels,
        known=tuple(one for one in chip.known if backdrop.forest_known or one is not Component.FOREST),
        facts={**chip.facts, "backdrop": backdrop.name},
    )


def mine_only(ground: Ground) -> Ground:
    """The ground's mine without the land it was composed on."""
    return replace(ground, layers=ground.layers[int(ground.facts.get("land_layers", "0")) :])


def _share(mine: Ground) -> Float32:
    """(size, size) how much of each pixel the mine covers, as the optics spread it."""
    free = np.ones((mine.size, mine.size), np.float32)
    for layer in mine.layers:
        free[window_of(layer)] *= 1.0 - layer.cover
    return blur(1.0 - free, 0.5) if mine.layers else 1.0 - free


def _touched(mine: Ground) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    touched = np.zeros((mine.size, mine.size), np.bool_)
    for layer in mine.layers:
        touched[window_of(layer)] |= layer.cover >= 0.5
    return touched
