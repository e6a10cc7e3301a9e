"""Chips: pieces of a stack with known labels, which simulator, labellers and training hand to each other.

Channels and labels are told by name; the order of a chip's array is CHANNELS, of its label bits COMPONENTS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from registry.models import S1_BANDS, S2_BANDS

Float32 = NDArray[np.float32]
Bits = NDArray[np.uint16]
Codes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

CHANNELS = (*S2_BANDS, *S1_BANDS)
"""The 14 channels of a chip: reflectance 0..1, then gamma0 in linear power."""


class Component(StrEnum):
    """What a pixel can be labelled: MineCam's twelve components, the total transformed area, tree cover."""

    PREPARATORY_WORKS = "preparatory_works"
    EXCAVATION = "excavation"
    DUMPING_GROUND = "dumping_ground"
    STOCKPILE = "stockpile"
    SETTLING_POND = "settling_pond"
    INFRASTRUCTURE = "infrastructure"
    DAM = "dam"
    TAILINGS = "tailings_storage_facility"
    OUTCROP = "outcrop"
    OVERBURDEN = "overburden"
    PRODUCTION_SLOPE = "production_slope"
    TRANSPORT_SLOPE = "transport_slope"
    TRANSFORMED = "transformed"
    FOREST = "forest"


COMPONENTS = tuple(Component)
MINE_COMPONENTS = COMPONENTS[: COMPONENTS.index(Component.TRANSFORMED)]
"""The twelve parts of a mine; the two others are what evidence is gathered for."""


def _of_a_mine(component: Component) -> Component:
    if component not in MINE_COMPONENTS:
        raise ValueError(f"{component} is no part of a mine; name some of {', '.join(MINE_COMPONENTS)}")
    return component


MineComponent = Annotated[Component, AfterValidator(_of_a_mine)]
"""One of the twelve."""

BIT: Mapping[Component, int] = {component: 1 << number for number, component in enumerate(COMPONENTS)}
"""Each component's bit in a chip's labels; a pixel may carry several (a pond inside an excavation)."""
UNKNOWN = 1 << 15
"""Bit of a pixel about which nothing is known: hidden by cloud, outside what was labelled."""


class Change(IntEnum):
    """What became of a pixel between two dates; the classes of the bi-temporal model."""

    NONE = 0
    NEW_MINE = 1
    STABLE_MINE = 2
    FOREST_LOSS = 3
    OTHER = 4
    HIDDEN = 5
    """Cloud or haze at the second date."""
    UNKNOWN = 255


@dataclass(frozen=True)
class Chip:
    """One labelled piece of one stack."""

    name: str
    """Unique in its source, and the same whenever it is made again."""
    pixels: Float32
    """(14, h, w) in the order of CHANNELS; NaN = no data."""
    labels: Bits
    """(h, w) sum of the bits of the components of each pixel."""
    known: tuple[Component, ...] = COMPONENTS
    """Components that whoever labelled looked for; a missing bit of another one means nothing."""
    place: str = ""
    """Chips of one place never stand on both sides of a split."""
    acquired: str = ""
    """ISO date; empty = not known."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What subsets are made by: mine_type, material, climate, family, ..."""

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[0] != len(CHANNELS):
            raise ValueError(f"chip {self.name} has shape {self.pixels.shape}; give (14, h, w)")
        if self.labels.shape != self.pixels.shape[1:]:
            raise ValueError(f"chip {self.name}: labels {self.labels.shape}, pixels {self.pixels.shape}")

    def has(self, component: Component) -> Mask:
        """(h, w) where the component is."""
        marked: Mask = (self.labels & BIT[component]) != 0
        return marked

    @property
    def unknown(self) -> Mask:
        """(h, w) where the labels say nothing."""
        marked: Mask = (self.labels & UNKNOWN) != 0
        return marked


@dataclass(frozen=True)
class ChipPair:
    """One place twice: its clear history before, and a pass after."""

    before: Chip
    after: Chip
    change: Codes
    """(h, w) of Change."""

    def __post_init__(self) -> None:
        if not self.before.labels.shape == self.after.labels.shape == self.change.shape:
            raise ValueError(f"pair {self.after.name}: before, after and change differ in shape")


def class_codes(labels: Bits, of: Sequence[Component]) -> Codes:
    """(h, w) 0 = background, n = the n-th of ``of``, 255 = unknown; where two meet, the later one wins."""
    codes = np.zeros(labels.shape, np.uint8)
    for number, component in enumerate(of, start=1):
        codes[(labels & BIT[component]) != 0] = number
    codes[(labels & UNKNOWN) != 0] = 255
    return codes


def by_name(pixels: NDArray[Any], names: Sequence[str] = CHANNELS) -> dict[str, Float32]:
    """Channels of a (n, h, w) array by name."""
    return dict(zip(names, pixels, strict=True))
