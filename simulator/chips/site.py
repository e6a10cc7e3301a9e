"""A mine's place and plan: where, how big, how old, which way it grows; and the parts every mine shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from registry.chips import Component
from simulator.chips.canvas import Canvas, Purpose, bits, dice
from simulator.chips.layers import Float32, Material
from simulator.chips.outlines import draw_outline
from simulator.chips.shapes import Window, box, cover, oval, segment, slope_of, turned, window_around, wrapped

ORES: Mapping[str, Mapping[Material, float]] = {
    # Coal's walls and waste are grey shale, the more weathered the browner.
    "coal": {
        Material.SEAM: 0.0,
        Material.STOCKPILE: 0.0,
        Material.TAILINGS_DRY: 0.05,
        Material.PIT_FLOOR: 0.05,
        Material.HAUL_ROAD: 0.14,
        Material.BENCH_FACE: 0.11,
        Material.WASTE_ROCK: 0.15,
        Material.SPOIL: 0.22,
    },
    # Over pale rock lie loams and clays.
    "rock": {
        Material.SEAM: 0.31,
        Material.PIT_FLOOR: 0.33,
        Material.BENCH_FACE: 0.36,
        Material.WASTE_ROCK: 0.42,
        Material.SPOIL: 0.48,
    },
    "red": {
        Material.SEAM: 0.72,
        Material.STOCKPILE: 0.69,
        Material.PIT_FLOOR: 0.66,
        Material.BENCH_FACE: 0.63,
        Material.WASTE_ROCK: 0.57,
        Material.SPOIL: 0.51,
    },
    # Over copper lies what weather has turned to rust.
    "copper": {
        Material.SEAM: 1.0,
        Material.STOCKPILE: 1.0,
        Material.PIT_FLOOR: 0.96,
        Material.BENCH_FACE: 0.92,
        Material.WASTE_ROCK: 0.85,
        Material.SPOIL: 0.77,
    },
}
"""Variants of the materials of a mine by what it digs; what is not listed is as the pit's floor."""
INFRASTRUCTURE = bits(Component.INFRASTRUCTURE)


@dataclass(frozen=True)
class Site:
    """What a mine's painters need to know."""

    seed: int
    index: int
    mine_type: str
    material: str
    family: str
    ore: str
    """A key of ORES."""
    tone: float
    """How this mine's rock differs from others of its kind, in variants."""
    soil: float
    """Variant of the local soil and subsoil."""
    centre: tuple[float, float]
    """x, y in pixels."""
    radius: float
    """Mean radius in pixels of the full pit."""
    heading: float
    """Direction in which it advances, radians from east towards south."""
    mirror: int
    """1 or -1: on which hand the plant lies."""
    opened: float
    """Year of the world in which it opened."""
    life: float
    """Years from opening to its full size."""

    def rng(self, purpose: Purpose, number: int = 0) -> np.random.Generator:
        """Dice of one of its features."""
        return dice(self.seed, self.index, purpose, number)

    def variant(self, material: Material) -> float:
        """Of one of its materials: what is dug for is pure, what is thrown away less so."""
        return ORES[self.ore].get(material, ORES[self.ore][Material.PIT_FLOOR]) + self.tone

    def age(self, years: float) -> float:
        """Years since it opened; negative before."""
        return years - self.opened

    def scale(self, years: float) -> float:
        """Share of its full radius reached, 0 before it opened."""
        share = min(max(self.age(years) / self.life, 0.0), 1.0)
        return 0.0 if share <= 0.0 else 0.3 + 0.7 * share**0.7

    def beside(self, angle: float, distance: float) -> tuple[float, float]:
        """A point at an angle from the heading (mirrored), at a distance from the centre."""
        direction = self.heading + self.mirror * angle
        return (
            self.centre[0] + distance * math.cos(direction),
            self.centre[1] + distance * math.sin(direction),
        )


def apron(canvas: Canvas, site: Site, distance: Float32, width: float, at: Window | None = None) -> None:
    """Bare trampled ground around a part of the mine: transformed, but no component."""
    canvas.paint(
        Material.CLEARED, cover(distance - np.float32(width), 1.5), at, labels=bits(), variant=site.soil
    )


def dump(
    canvas: Canvas,
    site: Site,
    *,
    number: int,
    centre: tuple[float, float],
    radius: float,
    scale: float,
    age: float,
) -> None:
    """A waste dump: lobed toe, one to three lifts whose faces catch the light, a paler top."""
    rng = site.rng(Purpose.WASTE, number)
    outline = draw_outline(
        rng,
        site.family,
        size=canvas.size,
        centre=centre,
        radius=radius,
        turn=site.heading + rng.uniform(-0.6, 0.6),
        elongation=float(rng.uniform(1.1, 2.0)),
        lobes=8,
        drift=0.7,
    )
    lift, lifts = float(rng.uniform(4.0, 6.5)), int(rng.integers(1, 4))
    variant = site.variant(Material.WASTE_ROCK) + rng.normal(0.0, 0.03)
    at = window_around(canvas.size, *centre, 2.2 * radius)
    if at is None or scale <= 0.0:
        return
    distance = outline.distance(at.x, at.y, scale, at.cut)
    inside = -distance
    face = (inside < lift * lifts) & (wrapped(inside, lift) < 0.55 * lift)
    light = np.where(face, canvas.light_on(*slope_of(distance), 0.42), np.float32(1.04))
    apron(canvas, site, distance, 1.5, at)
    canvas.paint(
        Material.WASTE_ROCK,
        cover(distance),
        at,
        labels=bits(Component.DUMPING_GROUND),
        variant=variant,
        shade=light,
        age=age,
    )


def greening(
    canvas: Canvas, site: Site, distance: Float32, ragged: Float32, at: Window, *, years_at_rest: float
) -> None:
    """Grass, later young trees, over what lies at rest: reclaimed ground is transformed no more."""
    if years_at_rest < 2.0:
        return
    level = 1.0 - 0.35 * (years_at_rest - 2.0)
    patches = cover(np.float32(level) - ragged, 0.5) * cover(distance + np.float32(1.5))
    young = years_at_rest < 6.0
    material = Material.GRASS if young or site.material == "rock_raw" else Material.SECONDARY
    canvas.paint(material, patches, at, variant=min(0.1 * years_at_rest, 0.65))


def road(
    canvas: Canvas,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    width: float = 2.4,
    material: Material = Material.DIRT_ROAD,
    labels: int = INFRASTRUCTURE,
) -> None:
    """A straight piece of road."""
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    reach = max(abs(start[0] - end[0]), abs(start[1] - end[1])) / 2 + width
    at = window_around(canvas.size, *middle, reach)
    if at is not None:
        distance, _ = segment(at.x, at.y, start, end)
        canvas.paint(material, cover(distance - np.float32(width / 2)), at, labels=labels)


def plant(canvas: Canvas, site: Site, centre: tuple[float, float], *, large: float, years: float) -> None:
    """Yard with roofs and a conveyor, stockpiles beside it, settling ponds behind."""
    rng = site.rng(Purpose.PLANT)
    turn = site.heading + (rng.uniform(-0.4, 0.4) if site.family != "plan_b" else 0.0)
    half = (float(rng.uniform(6.0, 9.0)) * large, float(rng.uniform(4.5, 6.5)) * large)
    roofs = rng.uniform(-0.85, 0.85, (int(5 + 5 * large), 2))
    roof_half = rng.uniform(0.8, 2.4, (roofs.shape[0], 2))
    kinds = rng.integers(0, 3, roofs.shape[0])
    piles = 2 + int(rng.integers(0, 3)) + int(large > 1.3)
    pile_half = rng.uniform(3.0, 6.5, (8, 2)) * min(large, 1.3)
    pile_tone = rng.normal(0.0, 0.03, 8)
    ponds = int(rng.integers(1, 4))
    pond_half = (float(rng.uniform(2.5, 5.5)), float(rng.uniform(3.0, 8.0)))
    colours = rng.uniform(0.0, 1.0, 4)
    at = window_around(canvas.size, *centre, 3.2 * half[0] + 22.0)
    if at is None:
        return
    u, v = turned(at.x, at.y, centre, turn)
    yard = box(u, v, *half)
    core = window_around(canvas.size, *centre, math.hypot(*half) + 1.0)
    apron(canvas, site, yard, 2.0, at)
    canvas.paint(Material.CONCRETE, cover(yard), at, labels=INFRASTRUCTURE, variant=0.4, grain=1.5)
    canvas.paint(Material.DIRT_ROAD, cover(box(u, v + half[1] * 0.4, half[0], half[1] * 0.35)), at,
                 labels=INFRASTRUCTURE)  # fmt: skip
    if core is not None:
        ru, rv = turned(core.x, core.y, centre, turn)
        for kind, material in enumerate((Material.ROOF_METAL, Material.ROOF_DARK, Material.ROOF_TILE)):
            built = np.zeros(ru.shape, np.float32)
            for spot, size in zip(roofs[kinds == kind] * half, roof_half[kinds == kind], strict=True):
                roof = box(ru - np.float32(spot[0]), rv - np.float32(spot[1]), float(size[0]), float(size[1]))
                np.maximum(built, cover(roof), out=built)
            canvas.paint(material, built, core, labels=INFRASTRUCTURE)
    _stockpiles(canvas, site, u, v, at, half, piles, pile_half, pile_tone)
    _settling_ponds(canvas, site, u, v, at, half, ponds, pond_half, colours, years)


def _stockpiles(
    canvas: Canvas,
    site: Site,
    u: Float32,
    v: Float32,
    at: Window,
    half: tuple[float, float],
    count: int,
    sizes: np.ndarray,
    tones: np.ndarray,
) -> None:
    """Piles in a row along the yard's far side, lit like cones, each fed by a conveyor."""
    offset = -half[0]
    belt = np.zeros(u.shape, np.float32)
    for (hu, hv), tone in zip(sizes[:count], tones, strict=False):
        offset += hu + 1.0
        across = half[1] + hv + 3.0
        shape = oval if hu < 1.5 * hv else box
        pile = np.asarray(shape(u - offset, v - across, hu, hv), np.float32)
        apron(canvas, site, pile, 1.5, at)
        canvas.paint(
            Material.STOCKPILE,
            cover(pile),
            at,
            labels=bits(Component.STOCKPILE),
            variant=site.variant(Material.STOCKPILE) + tone,
            shade=canvas.light_on(*slope_of(oval(u - offset, v - across, hu, hv)), 0.3),
        )
        np.maximum(belt, cover(box(u - offset, v - half[1] - 0.5, 0.5, 2.5)), out=belt)
        offset += hu + 1.0
    canvas.paint(Material.ROOF_METAL, belt, at, labels=INFRASTRUCTURE)


def _settling_ponds(
    canvas: Canvas,
    site: Site,
    u: Float32,
    v: Float32,
    at: Window,
    half: tuple[float, float],
    count: int,
    size: tuple[float, float],
    colours: np.ndarray,
    years: float,
) -> None:
    """Rectangular ponds in a row with banks between them; the last ones are the clearest."""
    first = -half[0] + size[0]
    across = -half[1] - size[1] - 3.0
    for number in range(count):
        offset = first + number * (2.0 * size[0] + 2.0)
        pond = box(u - offset, v - across, *size)
        apron(canvas, site, pond, 2.0, at)
        tone = float(0.85 * colours[0] + 0.15 * colours[1 + number % 3])
        canvas.paint(
            Material.PROCESS_WATER,
            cover(pond),
            at,
            labels=bits(Component.SETTLING_POND),
            variant=tone,
            age=0.3 * max(site.age(years), 0.0),
        )


def tailings_facility(
    canvas: Canvas, site: Site, centre: tuple[float, float], *, radius: float, scale: float, years: float
) -> None:
    """A tailings pond: a dam across its lower end or all around, beaches of slime, free water far from it."""
    rng = site.rng(Purpose.TAILINGS)
    turn = site.heading + float(rng.uniform(-math.pi, math.pi))
    ring = bool(rng.uniform() < 0.55)
    outline = draw_outline(
        rng, site.family, size=canvas.size, centre=centre, radius=radius, turn=turn,
        elongation=float(rng.uniform(1.0, 1.7)), lobes=3, drift=0.0,
    )  # fmt: skip
    bank = float(rng.uniform(3.5, 8.0))  # the foot of a dam of 10 to 30 m is 35 to 80 m wide
    wet_from, pond_from = float(rng.uniform(-0.3, 0.2)), float(rng.uniform(0.25, 0.6))
    colour, tone = (
        float(rng.uniform(0.0, 1.0)),
        float(site.variant(Material.TAILINGS_DRY) + rng.normal(0.0, 0.03)),
    )
    at = window_around(canvas.size, *centre, 2.0 * radius + 8.0)
    if at is None or scale <= 0.0:
        return
    distance = outline.distance(at.x, at.y, scale, at.cut)
    u, _ = turned(at.x, at.y, centre, turn)
    wall = -u - np.float32(0.55 * scale * outline.half[0])  # grows beyond the straight dam
    pool = np.maximum(distance, wall)
    outer = np.maximum(pool, -pool - np.float32(bank)) if ring else np.abs(wall - bank / 2) - bank / 2
    banks = outer if ring else np.maximum(outer, distance - np.float32(2.0))
    apron(canvas, site, np.minimum(pool, banks), 1.5, at)
    label = bits(Component.TAILINGS)
    along = u * np.float32(1.0 / (scale * outline.half[0])) + np.float32(0.5) * outline.ragged[at.cut]
    inside = cover(pool)
    canvas.paint(Material.TAILINGS_DRY, inside, at, labels=label, variant=tone)
    canvas.paint(
        Material.TAILINGS_WET,
        inside * cover(np.float32(wet_from) - along, 0.25),
        at,
        labels=label,
        variant=tone,
    )
    canvas.paint(
        Material.PROCESS_WATER,
        inside * cover(np.float32(pond_from) - along, 0.12),
        at,
        labels=label,
        variant=colour,
        age=0.2 * max(site.age(years), 0.0),
    )
    light = canvas.light_on(*slope_of(pool), 0.3) if ring else 1.05
    canvas.paint(Material.FILL, cover(banks), at, labels=bits(Component.DAM), variant=site.soil, shade=light)
