"""What is taken for a mine and is none, as places and as changes: which kinds a place has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simulator.chips.canvas import Canvas, Purpose
from simulator.chips.land import Place
from simulator.chips.lookalikes_built import (
    airstrip,
    bare_fields,
    bright_roofs,
    construction,
    farm_ponds,
    fish_ponds,
    forest_road,
    greenhouses,
    reservoir,
    road_building,
)
from simulator.chips.lookalikes_natural import (
    bare_rock,
    braided_river,
    burn_scar,
    coast,
    dunes,
    landslides,
    salt_and_flats,
    sandbars,
    snow,
)
from simulator.chips.spots import Rng


def draw_look_alikes(place: Place, *, mined: bool) -> tuple[str, ...]:
    """None to four kinds, fewer beside a mine; those of the place's climate."""
    rng = place.rng(Purpose.LOOK_ALIKE)
    draw, order = float(rng.uniform()), rng.permutation(len(PAINTERS) - len(APART))
    count = int(draw * 2.2) if mined else 1 + int(draw * 2.6)
    together = [name for name in PAINTERS if name not in APART]
    fitting = [name for name in (together[k] for k in order) if _fits(name, place, mined=mined)]
    besides = [
        name
        for name, (purpose, share) in APART.items()
        if _fits(name, place, mined=mined) and place.rng(purpose).uniform() < share
    ]
    return (*fitting[:count], *besides)


def _fits(name: str, place: Place, *, mined: bool) -> bool:
    return place.climate not in ABSENT.get(name, ()) and not (mined and name in ALONE)


def paint_look_alikes(canvas: Canvas, place: Place, names: tuple[str, ...]) -> None:
    """Paint them in their order."""
    for name in names:
        own = (APART[name][0], 1) if name in APART else (Purpose.LOOK_ALIKE, 1 + tuple(PAINTERS).index(name))
        PAINTERS[name](canvas, place, place.rng(*own))


PAINTERS: Mapping[str, Callable[[Canvas, Place, Rng], None]] = {
    "braided_river": braided_river,
    "sandbars": sandbars,
    "fish_ponds": fish_ponds,
    "farm_ponds": farm_ponds,
    "landslides": landslides,
    "airstrip": airstrip,
    "burn_scar": burn_scar,
    "bright_roofs": bright_roofs,
    "greenhouses": greenhouses,
    "bare_rock": bare_rock,
    "dunes": dunes,
    "reservoir": reservoir,
    "construction": construction,
    "road_building": road_building,
    "bare_fields": bare_fields,
    "salt_pan": salt_and_flats,
    "forest_road": forest_road,
    "coast": coast,
    "snow": snow,
}
APART: Mapping[str, tuple[Purpose, float]] = {"snow": (Purpose.SNOW, 0.25)}
"""Kinds that come besides the others on a share of places, with dice of their own: no other draw shifts."""
ALONE = frozenset({"coast", "snow"})
"""Kinds that leave no room for a mine."""
ABSENT: Mapping[str, tuple[str, ...]] = {
    "dunes": ("humid_tropics", "seasonal_tropics", "temperate", "boreal", "mediterranean"),
    "salt_pan": ("humid_tropics", "temperate", "boreal"),
    "greenhouses": ("boreal", "humid_tropics"),
    "forest_road": ("desert", "dry_savanna", "mediterranean"),
    "burn_scar": ("desert",),
    "bare_fields": ("desert",),
    "snow": ("humid_tropics", "seasonal_tropics", "dry_savanna", "desert", "mediterranean"),
}
"""Climates in which a kind is not found."""
