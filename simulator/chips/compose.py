"""A piece of the world at one time: the land, what people do to its woods, look-alikes, and a mine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from registry.chips import Codes
from simulator.chips.canvas import Canvas, Purpose, dice
from simulator.chips.forest_change import paint_forest_change
from simulator.chips.labels import change_codes
from simulator.chips.land import (
    Place,
    draw_relief,
    paint_base,
    paint_fields,
    paint_roads,
    paint_town,
    paint_water,
)
from simulator.chips.layers import Ground
from simulator.chips.lookalikes import draw_look_alikes, paint_look_alikes
from simulator.chips.mines_alluvial import alluvial
from simulator.chips.mines_industrial import open_pit
from simulator.chips.mines_mountain import mountain_top
from simulator.chips.mines_strip import opencast
from simulator.chips.recipe import Recipe
from simulator.chips.site import Site

PAINTERS = {"open_pit": open_pit, "opencast": opencast, "mountain_top": mountain_top, "alluvial": alluvial}
SUN_AZIMUTH = (2.1, 2.7)
"""Radians from north: 120 to 155 degrees, as Sentinel-2 sees it in the north at half past ten."""


@dataclass(frozen=True)
class GroundPair:
    """One place at two times, and what became of each of its pixels."""

    before: Ground
    after: Ground
    change: Codes
    """(size, size) of registry.chips.Change; clouds are not known here."""


def compose(seed: int, index: int, recipe: Recipe, *, years: float, day: int) -> Ground:
    """Place ``index`` of world ``seed``, ``years`` into its life (0 to 10), on a day of the year."""
    rng = dice(seed, index, Purpose.CHOICE)
    climate = pick(rng, recipe.climates)
    sun = float(rng.uniform(*SUN_AZIMUTH))
    site = draw_site(seed, index, recipe)
    place = Place(seed, index, climate, years, day)
    canvas = Canvas(recipe.size, sun=sun)
    paint_base(canvas, place, guests=recipe.guests)
    paint_forest_change(canvas, place)
    paint_fields(canvas, place)
    paint_town(canvas, place)
    paint_water(canvas, place, allowed=site is None or site.mine_type == "alluvial")
    look_alikes = draw_look_alikes(place, mined=site is not None)
    paint_look_alikes(canvas, place, look_alikes)
    paint_roads(canvas, place)
    land_layers = len(canvas.layers)
    if site is not None:
        PAINTERS[site.mine_type](canvas, site, years)
    opened = site is not None and site.age(years) > 0.0
    facts = {
        "climate": climate,
        "look_alike": ",".join(look_alikes),
        "mine_type": site.mine_type if site and opened else "",
        "material": site.material if site and opened else "",
        "family": site.family if site else "",
        "land_layers": str(land_layers),
    }
    return Ground(recipe.size, tuple(canvas.layers), climate, draw_relief(place, recipe.size), facts)


def compose_pair(
    seed: int, index: int, recipe: Recipe, *, years: tuple[float, float], days: tuple[int, int]
) -> GroundPair:
    """A place at two times, the earlier first, and the truth of change between them."""
    if years[1] < years[0]:
        raise ValueError(f"years {years} run backwards; give the earlier time first")
    before, after = (
        compose(seed, index, recipe, years=year, day=day) for year, day in zip(years, days, strict=True)
    )
    return GroundPair(before, after, change_codes(before, after))


def pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    """One of the choices, by one draw whatever their number: recipes with other lists stay comparable."""
    return choices[min(int(rng.uniform() * len(choices)), len(choices) - 1)]


def draw_site(seed: int, index: int, recipe: Recipe) -> Site | None:
    """The chip's mine, or None; most opened before the world began, some open while one looks."""
    rng = dice(seed, index, Purpose.MINE)
    has_mine, early = bool(rng.uniform() < recipe.mine_share), float(rng.uniform())
    mine_type, material = _kind(rng, recipe)
    family = pick(rng, recipe.families)
    size_draw, place_draw = float(rng.uniform()), rng.uniform(0.25, 0.75, 2)
    heading, mirror = float(rng.uniform(-math.pi, math.pi)), 1 if rng.uniform() < 0.5 else -1
    copper, soil = bool(rng.uniform() < 0.4), float(rng.uniform(0.15, 0.85))
    tone, age, life = float(rng.normal(0.0, 0.02)), float(rng.uniform()), float(rng.uniform(7.0, 20.0))
    if not has_mine:
        return None
    smallest, largest = (8.0, 60.0) if mine_type == "alluvial" else (22.0, 110.0)
    radius = smallest * (largest / smallest) ** size_draw
    opened = -0.5 - 11.0 * age if early < 0.75 else 8.0 * age
    if mine_type == "alluvial":
        # They come and go faster.
        opened, life = -4.0 + 8.5 * age, 0.75 * life
    return Site(
        seed=seed,
        index=index,
        mine_type=mine_type,
        material=material,
        family=family,
        ore=ore_of(material, copper=copper),
        tone=tone,
        soil=soil,
        centre=(float(place_draw[0]) * recipe.size, float(place_draw[1]) * recipe.size),
        radius=radius,
        heading=heading,
        mirror=mirror,
        opened=opened,
        life=life,
    )


def ore_of(material: str, *, copper: bool) -> str:
    """Which of site.ORES; metal is red iron or grey-green copper."""
    if material == "metal_ores":
        return "copper" if copper else "red"
    return {"coal_lignite": "coal", "rock_raw": "rock", "gold": "rock"}[material]


def _kind(rng: np.random.Generator, recipe: Recipe) -> tuple[str, str]:
    """A type of mine and what it mines: gold is alluvial, the rest is not."""
    fitting = {
        mine_type: [m for m in recipe.materials if (m == "gold") == (mine_type == "alluvial")]
        for mine_type in recipe.mine_types
    }
    types = [mine_type for mine_type, materials in fitting.items() if materials]
    if not types:
        raise ValueError(
            f"no mine digs {', '.join(recipe.materials)} by {', '.join(recipe.mine_types)}; "
            "give gold with alluvial, the other materials with the other types"
        )
    mine_type = pick(rng, types)
    return mine_type, pick(rng, fitting[mine_type])
