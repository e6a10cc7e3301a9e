"""What a simulated chip may contain: the shifts between training and testing are differences of recipes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

MINE_TYPES = ("open_pit", "opencast", "mountain_top", "alluvial")
MATERIALS = ("coal_lignite", "rock_raw", "metal_ores", "gold")
"""What is mined; gold is alluvial, the others are industrial."""
CLIMATES = (
    "humid_tropics",
    "seasonal_tropics",
    "dry_savanna",
    "desert",
    "mediterranean",
    "temperate",
    "boreal",
)
FAMILIES = ("plan_a", "plan_b", "plan_c")
"""Generator families: different ways to lay out a mine, so that one can be held out."""
SPECTRA = ("set_a", "set_b")
"""Disjoint halves of the measured spectra, so that one can be held out."""
ATMOSPHERES = ("usual", "harsh")
"""harsh: more haze, thin cloud, wrong aerosol, strong BRDF, other sensor's gains."""


@dataclass(frozen=True)
class Backdrop:
    """A real tile under simulated mines; an optional input of training, never shipped."""

    name: str
    pixels: NDArray[np.float32]
    """(14, h, w): reflectance, gamma0 linear; h, w at least the chip's size (mirror it beforehand)."""
    labels: NDArray[np.uint16]
    """(h, w) bits; UNKNOWN where the land cover is not known. There is no mine on it."""
    forest_known: bool = True
    """Whether somebody looked for forest."""


@dataclass(frozen=True)
class Recipe:
    """Which worlds are drawn from; every choice is uniform over what is listed."""

    size: int = 256
    mine_types: tuple[str, ...] = MINE_TYPES
    materials: tuple[str, ...] = MATERIALS
    climates: tuple[str, ...] = ("humid_tropics", "dry_savanna", "desert", "temperate", "boreal")
    families: tuple[str, ...] = FAMILIES[:2]
    spectra: tuple[str, ...] = SPECTRA[:1]
    atmospheres: tuple[str, ...] = ATMOSPHERES[:1]
    mine_share: float = 0.7
    """Share of chips that hold a mine; the others hold look-alikes and plain land."""
    guests: float = 0.4
    """Share of chips on which vegetation of other climates lies in patches, so that no kind is only ever seen
    beside the same neighbours."""
    backdrops: tuple[Backdrop, ...] = field(default=())
    backdrop_share: float = 0.0


TRAIN = Recipe()
UNSEEN_CLIMATES = ("seasonal_tropics", "mediterranean")
"""Between those of training: leafless and needle woods, at the ends of the range, must be learnt."""
HELD_OUT = replace(TRAIN, climates=UNSEEN_CLIMATES, guests=0.0)
"""Other climates; used with other seeds: the figures of README and cards."""
SHIFTED = replace(HELD_OUT, families=("plan_c",), spectra=("set_b",), atmospheres=("harsh",))
"""Held-out spectra, generator family and atmosphere: choices between models are made here."""
