"""What composition hands to the sensors: a stack of painted layers, each a material and how much it covers.

Composition (mines, forests, rivers, towns) decides where things are and what they are called; the sensors
decide what they look like on a day. Neither knows the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


class Material(StrEnum):
    """What the ground can be made of; ``Layer.variant`` says which of its kind."""

    FOREST_EVERGREEN = "forest_evergreen"
    FOREST_DECIDUOUS = "forest_deciduous"
    FOREST_NEEDLE = "forest_needle"
    MANGROVE = "mangrove"
    PLANTATION = "plantation"
    SECONDARY = "secondary"
    """Regrowth, variant = 0 low herbs to 1 nearly forest."""
    SHRUB = "shrub"
    SAVANNA = "savanna"
    GRASS = "grass"
    WETLAND = "wetland"
    CROP = "crop"
    """variant = which calendar: phase of its season within the year."""
    PLOUGHED = "ploughed"
    SOIL = "soil"
    """variant = 0 dark, through brown and red, to 1 pale."""
    SAND = "sand"
    MUD = "mud"
    SALT = "salt"
    SNOW = "snow"
    ROCK = "rock"
    """Natural rock, variant = 0 dark to 1 light."""
    SCREE = "scree"
    WATER_CLEAR = "water_clear"
    WATER_TURBID = "water_turbid"
    """variant = suspended sediment, 0 little to 1 milky."""
    WATER_GREEN = "water_green"
    """variant = algae."""
    SEA = "sea"
    """variant = suspended sand and clay, 0 clear to 1 surf on a muddy shore."""
    ROOF_METAL = "roof_metal"
    ROOF_TILE = "roof_tile"
    ROOF_DARK = "roof_dark"
    CONCRETE = "concrete"
    ASPHALT = "asphalt"
    DIRT_ROAD = "dirt_road"
    GREENHOUSE = "greenhouse"
    CHAR = "char"
    ASH = "ash"
    SLASH = "slash"
    """Felled wood and litter."""
    CLEARED = "cleared"
    """Stripped to soil and litter, not mined: fields and building plots to be."""
    SUBSOIL = "subsoil"
    """Topsoil taken off: preparatory works; variant as SOIL."""
    PIT_FLOOR = "pit_floor"
    """variant = 0 coal, .33 pale rock, .66 red ore, 1 grey-green ore; likewise for the next six."""
    SEAM = "seam"
    """Freshly exposed coal, ore or rock, what is dug for: darker or purer than the floor at its foot."""
    BENCH_FACE = "bench_face"
    HAUL_ROAD = "haul_road"
    WASTE_ROCK = "waste_rock"
    SPOIL = "spoil"
    STOCKPILE = "stockpile"
    FILL = "fill"
    """Compacted earth and rock of dams."""
    TAILINGS_DRY = "tailings_dry"
    TAILINGS_WET = "tailings_wet"
    PROCESS_WATER = "process_water"
    """Settling ponds of industrial mines: turquoise, ochre, black; variant = which."""
    GOLD_SEDIMENT = "gold_sediment"
    """Washed sand and gravel of alluvial mines; variant = 0 wet to 1 dry."""
    GOLD_POND = "gold_pond"
    """variant = turbidity, 0 settled and greening to 1 freshly stirred."""


@dataclass(frozen=True)
class Layer:
    """One thing on the ground, painted over those before it."""

    material: Material
    cover: Float32
    """(h, w) share of each pixel it covers, 0 to 1: edges are mixed pixels."""
    top: int
    """Row of the window's first pixel; windows lie inside the ground."""
    left: int
    labels: int = 0
    """Bits (registry.chips.BIT) its pixels carry where it covers at least half; it takes off the others'."""
    keep: int = 0
    """Bits of the layers below that remain: a road inside a pit stays TRANSFORMED."""
    variant: float = 0.5
    """Which of the material's kind, 0 to 1."""
    shade: Float32 | float = 1.0
    """Illumination against flat ground under the same sun: terraces and slopes; (h, w) or one number."""
    grain: float = 1.0
    """Factor on the material's own texture."""
    age: float = 0.0
    """Years it has lain: old waste darkens and greens."""


@dataclass(frozen=True)
class Ground:
    """A piece of the world at one time."""

    size: int
    """Pixels of 10 m a side."""
    layers: tuple[Layer, ...]
    """Painted in this order; the first covers everything."""
    climate: str
    """One of simulator.chips.recipe.CLIMATES."""
    relief: Float32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """(size, size) elevation in metres, for shading and radar; empty = flat."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """mine_type, material, family, look_alike: what is on it."""
