"""What a painted ground is called, pixel by pixel, and what became of it between two times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from registry.chips import BIT, Bits, Change, Codes, Component
from simulator.chips.layers import Ground, Layer, Material

MATERIALS = tuple(Material)
_NUMBER = {material: number for number, material in enumerate(MATERIALS)}
_TRANSFORMED = np.uint16(BIT[Component.TRANSFORMED])
_FOREST = np.uint16(BIT[Component.FOREST])

LOOKS: dict[Material, int] = {}
"""Group of materials that look alike: a pixel that changes its group has changed in an image too."""
for _group, _members in enumerate(
    (
        "forest_evergreen forest_deciduous forest_needle mangrove plantation secondary",
        "shrub savanna grass wetland crop",
        "ploughed soil cleared subsoil sand mud salt dirt_road slash",
        "rock scree",
        "water_clear water_turbid water_green sea process_water gold_pond tailings_wet",
        "roof_metal roof_tile roof_dark concrete asphalt greenhouse",
        "char ash",
        "snow",
        "pit_floor seam bench_face haul_road waste_rock spoil stockpile fill tailings_dry gold_sediment",
    )
):
    LOOKS.update((Material(_name), _group) for _name in _members.split())
_LOOK_OF_NUMBER = np.array([LOOKS[material] for material in MATERIALS], np.uint8)


def paint_labels(ground: Ground) -> Bits:
    """(size, size) label bits: a layer names the pixels it covers at least half, and keeps what it says."""
    labels = np.zeros((ground.size, ground.size), np.uint16)
    for layer in ground.layers:
        window = labels[window_of(layer)]
        painted = (window & np.uint16(layer.keep)) | np.uint16(layer.labels)
        np.copyto(window, painted, where=layer.cover >= 0.5)
    return labels


def paint_materials(ground: Ground) -> NDArray[np.uint8]:
    """(size, size) number in MATERIALS of the topmost material that covers at least half."""
    numbers = np.zeros((ground.size, ground.size), np.uint8)
    for layer in ground.layers:
        numbers[window_of(layer)][layer.cover >= 0.5] = _NUMBER[layer.material]
    return numbers


def window_of(layer: Layer) -> tuple[slice, slice]:
    """Rows and columns of the ground that the layer covers."""
    height, width = layer.cover.shape
    return slice(layer.top, layer.top + height), slice(layer.left, layer.left + width)


def change_codes(before: Ground, after: Ground) -> Codes:
    """(size, size) Change from ``before`` to ``after``; mines first, then forest loss, then all else."""
    was, now = paint_labels(before), paint_labels(after)
    looked, looks = (_LOOK_OF_NUMBER[paint_materials(ground)] for ground in (before, after))
    mined_before, mined = (was & _TRANSFORMED) != 0, (now & _TRANSFORMED) != 0
    codes = np.zeros(was.shape, np.uint8)
    grown = (now & _FOREST) != 0
    codes[(looked != looks) & ~grown] = Change.OTHER
    codes[((was & _FOREST) != 0) & ~grown] = Change.FOREST_LOSS
    codes[mined_before & ~mined] = Change.OTHER
    codes[mined & ~mined_before] = Change.NEW_MINE
    codes[mined & mined_before] = Change.STABLE_MINE
    return codes
