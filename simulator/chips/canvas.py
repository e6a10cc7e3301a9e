"""Where a ground is put together: layers painted one over the other, and dice for every purpose."""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np

from registry.chips import BIT, Component
from simulator.chips.layers import Float32, Layer, Material
from simulator.chips.shapes import Window

TRANSFORMED = BIT[Component.TRANSFORMED]
FOREST = BIT[Component.FOREST]


class Purpose(IntEnum):
    """What a stream of random numbers decides: one feature's draw never shifts another's."""

    CHOICE = 1
    RELIEF = 2
    LAND = 3
    WATER = 4
    FIELDS = 5
    ROADS = 6
    TOWN = 7
    FOREST_CHANGE = 8
    LOOK_ALIKE = 9
    SNOW = 10
    MINE = 20
    MINE_SHAPE = 21
    WASTE = 22
    PLANT = 23
    TAILINGS = 24
    PREPARATION = 25
    PONDS = 26
    AGEING = 27


def dice(seed: int, index: int, purpose: Purpose, number: int = 0) -> np.random.Generator:
    """The generator of one feature of one place."""
    return np.random.default_rng([seed, index, int(purpose), number])


def bits(*components: Component) -> int:
    """Label bits of components of a mine, which is transformed everywhere."""
    return sum(BIT[component] for component in components) | TRANSFORMED


class Canvas:
    """Layers in the order they were painted."""

    def __init__(self, size: int, *, sun: float) -> None:
        """``sun`` is the azimuth of the light in radians, clockwise from north."""
        self.size = size
        self.layers: list[Layer] = []
        self.towards_sun = (math.sin(sun), -math.cos(sun))
        """East and south parts of the direction to the sun."""

    @property
    def whole(self) -> Window:
        """All of it."""
        return Window(0, 0, self.size, self.size)

    def paint(
        self,
        material: Material,
        cover: Float32,
        at: Window | None = None,
        *,
        labels: int = 0,
        keep: int = 0,
        variant: float = 0.5,
        shade: Float32 | float = 1.0,
        grain: float = 1.0,
        age: float = 0.0,
    ) -> None:
        """Paint a layer, trimmed to where it covers anything."""
        top, left = (at.top, at.left) if at is not None else (0, 0)
        rows = np.flatnonzero(cover.max(axis=1) > 0.02)
        if rows.size == 0:
            return
        columns = np.flatnonzero(cover.max(axis=0) > 0.02)
        if isinstance(shade, np.ndarray):
            shade = np.broadcast_to(shade, cover.shape)
        trim = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        self.layers.append(
            Layer(
                material,
                np.ascontiguousarray(cover[trim], np.float32),
                top + int(rows[0]),
                left + int(columns[0]),
                labels=labels,
                keep=keep,
                variant=float(min(max(variant, 0.0), 1.0)),
                shade=_trimmed(shade, trim),
                grain=grain,
                age=max(age, 0.0),
            )
        )

    def light_on(self, east: Float32, south: Float32, steepness: float) -> Float32:
        """Illumination of slopes that fall towards (east, south), against flat ground."""
        sx, sy = self.towards_sun
        towards = east * np.float32(sx) + south * np.float32(sy)
        return np.asarray(np.clip(np.float32(1.0) + np.float32(steepness) * towards, 0.35, 1.5), np.float32)


def _trimmed(shade: Float32 | float, trim: tuple[slice, slice]) -> Float32 | float:
    return np.ascontiguousarray(shade[trim], np.float32) if isinstance(shade, np.ndarray) else float(shade)
