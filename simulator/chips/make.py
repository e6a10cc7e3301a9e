"""Draw a place and look at it: one chip, or a pair of its clear history and a pass after."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from registry.chips import UNKNOWN, Change, Chip, ChipPair, Float32
from simulator.chips.air import veiled
from simulator.chips.backdrops import choose_backdrop, lay_over, mine_only
from simulator.chips.canvas import Purpose, dice
from simulator.chips.climate import draw_day
from simulator.chips.compose import compose, compose_pair, pick
from simulator.chips.labels import change_codes
from simulator.chips.layers import Ground
from simulator.chips.recipe import TRAIN, Recipe
from simulator.chips.sensors import Shot, take

_WHEN = 105
WORLD_YEARS = 10.0
"""How long a composed place lives."""
HISTORY_LOOKS = 3
"""Clear passes that a pair's history is the median of."""
CLOUDY_SHARE = 0.35
"""Share of the passes after whose sky is whatever it is; the others are clear."""


def make_chip(seed: int, index: int, recipe: Recipe = TRAIN) -> Chip:
    """Chip ``index`` of the world ``seed``."""
    ground, day = draw_ground(seed, index, recipe)
    # A real tile brings its own air.
    clear = choose_backdrop(seed, index, recipe) is not None
    shot = take(ground, seed=seed, index=index, look=0, recipe=recipe, day=day, clear=clear)
    return _on_land(shot, ground, seed, index, 0, recipe)


def draw_ground(seed: int, index: int, recipe: Recipe, *, day: int | None = None) -> tuple[Ground, int]:
    """The place of chip ``index`` at a time of its life, and the day of the year of the look at it.

    Another ``day`` shows the same place in another season.
    """
    rng = np.random.default_rng([seed, index, _WHEN])
    years, drawn = float(rng.uniform(0.0, WORLD_YEARS)), _day(rng, seed, index, recipe)
    day = drawn if day is None else day
    return compose(seed, index, recipe, years=years, day=day), day


def make_pair(seed: int, index: int, recipe: Recipe = TRAIN) -> ChipPair:
    """Place ``index`` of the world ``seed`` twice: the median of clear looks, and a pass .2 to 3 years on."""
    rng = np.random.default_rng([seed, index, _WHEN, 1])
    gap = float(rng.uniform(0.2, 3.0))
    start = float(rng.uniform(0.0, WORLD_YEARS - gap))
    days = _day(rng, seed, index, recipe), _day(rng, seed, index, recipe)
    grounds = compose_pair(seed, index, recipe, years=(start, start + gap), days=days)
    before = _history(grounds.before, seed, index, recipe, rng, days[0])
    clear = bool(rng.random() >= CLOUDY_SHARE) or choose_backdrop(seed, index, recipe) is not None
    look = HISTORY_LOOKS
    shot = take(grounds.after, seed=seed, index=index, look=look, recipe=recipe, day=days[1], clear=clear)
    after = _on_land(shot, grounds.after, seed, index, look, recipe)
    change = grounds.change
    hidden = veiled(shot.air)
    if "backdrop" in after.facts:
        # Real land stays as it is, and is seen through its own air: only the mine changes.
        change = change_codes(mine_only(grounds.before), mine_only(grounds.after))
    elif hidden is not None:
        change[hidden] = Change.HIDDEN
    change[np.isnan(after.pixels[0]) | np.isnan(before.pixels[0])] = Change.UNKNOWN
    before = replace(before, name=f"sim-{seed}-{index}-before")
    after = replace(
        after,
        name=f"sim-{seed}-{index}-after",
        acquired=_moved(after.acquired, gap),
        facts={**after.facts, "years_between": f"{gap:.2f}"},
    )
    return ChipPair(before, after, change)


def _day(rng: np.random.Generator, seed: int, index: int, recipe: Recipe) -> int:
    """A day on which the land is free of snow in the climate that compose will pick."""
    return draw_day(rng, pick(dice(seed, index, Purpose.CHOICE), recipe.climates))


def _history(
    ground: Ground, seed: int, index: int, recipe: Recipe, rng: np.random.Generator, middle: int
) -> Chip:
    """Per-band median of clear looks within three months, as a clear history is."""
    chips = []
    for look in range(HISTORY_LOOKS):
        day = (middle - 1 + int(rng.integers(-45, 46))) % 365 + 1
        shot = take(ground, seed=seed, index=index, look=look, recipe=recipe, day=day, clear=True)
        chips.append(_on_land(shot, ground, seed, index, look, recipe))
    pixels = _median_of_three(*(chip.pixels for chip in chips))
    hidden = np.isnan(pixels[0])
    labels = chips[0].labels & ~np.uint16(UNKNOWN)
    labels[hidden] |= np.uint16(UNKNOWN)
    return replace(chips[1], pixels=pixels, labels=labels)


def _median_of_three(one: Float32, two: Float32, three: Float32) -> Float32:
    """Where one has no data, one of the others; a sort would take ten times as long."""
    middle = np.fmin(np.fmax(one, two), three)
    return np.asarray(np.fmax(np.fmin(one, two), middle), np.float32)


def _on_land(shot: Shot, ground: Ground, seed: int, index: int, look: int, recipe: Recipe) -> Chip:
    """The shot as it is, or its mine on a real tile."""
    backdrop = choose_backdrop(seed, index, recipe)
    return shot.chip if backdrop is None else lay_over(backdrop, shot.chip, ground, look)


def _moved(acquired: str, years: float) -> str:
    """An ISO date some whole years on: the day of the year is the look's own."""
    return (date.fromisoformat(acquired) + timedelta(days=365 * max(1, round(years)))).isoformat()
