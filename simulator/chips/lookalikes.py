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
    draw, order = float(rng.uniform()), rng.permutation(len(PAINTERS))
    count = int(draw * 2.2) if mined else 1 + int(draw * 2.6)
    fitting = [
        name
        for name in (tuple(PAINTERS)[k] for k in order)
        if place.climate not in ABSENT.get(name, ()) and not (mined and name in ALONE)
    ]
    chosen = tuple(fitting[:count])
    if mined or place.climate not in SNOWY or place.rng(Purpose.SNOW).uniform() >= SNOW_SHARE:
        return chosen
    return (*chosen, "snow")


def paint_look_alikes(canvas: Canvas, place: Place, names: tuple[str, ...]) -> None:
    """Paint them in their order."""
    for name in names:
        if name == "snow":
            snow(canvas, place, place.rng(Purpose.SNOW, 1))
        else:
            PAINTERS[name](canvas, place, place.rng(Purpose.LOOK_ALIKE, 1 + tuple(PAINTERS).index(name)))


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
}
SNOWY = frozenset({"temperate", "boreal"})
SNOW_SHARE = 0.25
"""Of their places without a mine; drawn apart, so that all other places stay as they are."""
ALONE = frozenset({"coast"})
"""Kinds that leave no room for a mine."""
ABSENT: Mapping[str, tuple[str, ...]] = {
    "dunes": ("humid_tropics", "seasonal_tropics", "temperate", "boreal", "mediterranean"),
    "salt_pan": ("humid_tropics", "temperate", "boreal"),
    "greenhouses": ("boreal", "humid_tropics"),
    "forest_road": ("desert", "dry_savanna", "mediterranean"),
    "burn_scar": ("desert",),
    "bare_fields": ("desert",),
}
"""Climates in which a kind is not found."""
