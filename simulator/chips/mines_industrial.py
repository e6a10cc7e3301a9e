"""Open-pit mines: terraces around a floor, waste, plant, ponds, and the ground made ready ahead."""

from __future__ import annotations

import math

import numpy as np

from registry.chips import Component
from simulator.chips.canvas import Canvas, Purpose, bits
from simulator.chips.layers import Float32, Material
from simulator.chips.outlines import Outline, draw_elongation, draw_outline
from simulator.chips.shapes import (
    Window,
    box,
    cover,
    noise,
    oval,
    segment,
    slope_of,
    turned,
    window_around,
    wrapped,
)
from simulator.chips.site import Site, apron, dump, greening, plant, road, tailings_facility

PIT = bits(Component.EXCAVATION)
DUMP_ANGLES = {
    "plan_a": (1.9, -1.75, 2.6),
    "plan_b": (math.pi / 2, -math.pi / 2, 2.3),
    "plan_c": (2.2, 1.2, -2.0),
}
"""Where the dumps lie, radians from the heading on the plant's hand."""
RAMP_HALF = 2.2
"""Half the width of a haul ramp in pixels: the road for two lanes of trucks with its berms and drains."""


def open_pit(canvas: Canvas, site: Site, years: float) -> None:
    """Paint the mine as it stands in ``years``."""
    scale = site.scale(years)
    if scale <= 0.0:
        return
    outline = _pit_outline(canvas, site)
    _surroundings(canvas, site, years)
    at = window_around(canvas.size, *site.centre, 2.6 * site.radius + 30.0)
    if at is None:
        return
    distance = outline.distance(at.x, at.y, scale, at.cut)
    overburden_rows(canvas, site, years)
    preparation(canvas, site, outline, distance, at, scale)
    apron(canvas, site, distance, 2.0, at)
    _pit(canvas, site, outline, distance, at, scale)


def _pit_outline(canvas: Canvas, site: Site) -> Outline:
    rng = site.rng(Purpose.MINE_SHAPE)
    elongation = min(draw_elongation(rng), 2.6)
    return draw_outline(
        rng, site.family, size=canvas.size, centre=site.centre, radius=site.radius, turn=site.heading,
        elongation=elongation, lobes=3,
    )  # fmt: skip


def _surroundings(canvas: Canvas, site: Site, years: float) -> None:
    """Dumps, plant and tailings around the pit's final rim, with roads to them."""
    rng = site.rng(Purpose.MINE)
    radius, age, scale = site.radius, site.age(years), site.scale(years)
    dumps = 1 + int(rng.uniform() < 0.7) + int(radius > 45)
    angles = DUMP_ANGLES[site.family]
    sizes = rng.uniform(0.5, 0.85, 3) * radius
    gaps = rng.uniform(1.0, 1.25, 3)
    plant_angle = math.pi + float(rng.uniform(-0.25, 0.25))
    plant_size = float(np.clip(radius / 32.0, 0.7, 1.9))
    has_tailings = bool(
        rng.uniform() < {"metal_ores": 0.9, "coal_lignite": 0.65, "rock_raw": 0.35}[site.material]
    )
    tailings_size = float(rng.uniform(0.45, 0.8)) * radius + 6.0
    tailings_angle = float(rng.choice([-2.55, 2.5]))
    works = site.beside(plant_angle, 1.25 * radius + 14.0 * plant_size)
    slimes = site.beside(tailings_angle, 1.9 * radius + tailings_size + 6.0)
    places = [
        site.beside(angle, gap * radius + size + 4.0)
        for angle, gap, size in zip(angles, gaps, sizes, strict=True)
    ]
    if has_tailings:
        road(canvas, works, slimes)
        tailings_facility(canvas, site, slimes, radius=tailings_size, scale=0.55 + 0.45 * scale, years=years)
    for number in range(dumps):
        # The first dump is built from the beginning; each later one starts when the mine is older.
        late = 0.22 * number
        grown = max(scale - late, 0.0) / (1.0 - late)
        if grown <= 0.12:
            continue
        road(canvas, site.centre, places[number], width=2.6, material=Material.HAUL_ROAD)
        dump(
            canvas,
            site,
            number=number,
            centre=places[number],
            radius=sizes[number],
            scale=grown,
            age=0.4 * age,
        )
    _old_dump(canvas, site, places[0], float(sizes[0]), age)
    road(canvas, works, site.centre, width=2.8, material=Material.HAUL_ROAD)
    plant(canvas, site, works, large=plant_size, years=years)


def _old_dump(canvas: Canvas, site: Site, centre: tuple[float, float], radius: float, age: float) -> None:
    """The oldest dump's far side is planted while the mine goes on."""
    rng = site.rng(Purpose.AGEING)
    ragged = noise(rng, canvas.size, 32)
    planted, resting = bool(rng.uniform() < 0.5), float(rng.uniform(4.0, 8.0))
    at = window_around(canvas.size, *centre, 1.1 * radius)
    if planted and at is not None:
        half = box(*turned(at.x, at.y, centre, site.heading), 0.9 * radius, 0.9 * radius)
        greening(canvas, site, half, ragged[at.cut], at, years_at_rest=age - resting)


def preparation(
    canvas: Canvas, site: Site, outline: Outline, distance: Float32, at: Window, scale: float
) -> None:
    """Strips taken off ahead of the face, each a step further from the pit."""
    rng = site.rng(Purpose.PREPARATION)
    lead, spread = float(rng.uniform(0.12, 0.24)), float(rng.uniform(0.9, 1.6))
    if scale > 0.985:
        return
    u, v = turned(at.x, at.y, site.centre, site.heading)
    back = (1.0 - scale) * outline.drift * outline.half[0]
    sector = np.abs(v) - np.float32(spread) * np.maximum(u + np.float32(back), 0.0)
    # Where the pit will be next, in front of it.
    coming = outline.distance(at.x, at.y, min(scale + lead, 1.02), at.cut)
    strip = np.maximum(coming, np.maximum(sector, -distance - np.float32(1.0)))
    canvas.paint(
        Material.SUBSOIL,
        cover(strip, 1.5),
        at,
        labels=bits(Component.PREPARATORY_WORKS),
        variant=site.soil,
        shade=strips(u),
    )


def strips(along: Float32) -> Float32:
    """Light and dark lanes of the scrapers, 4 pixels each."""
    return np.asarray(
        np.float32(1.0) + np.float32(0.12) * np.sign(np.sin(along * np.float32(math.pi / 4.0))), np.float32
    )


def overburden_rows(canvas: Canvas, site: Site, years: float) -> None:
    """Heaps of earth in parallel rows on the flank, more of them as the mine grows."""
    rng = site.rng(Purpose.WASTE, 9)
    present = bool(rng.uniform() < 0.75)
    half = (
        5.0 + float(rng.uniform(0.35, 0.6)) * site.radius,
        4.0 + float(rng.uniform(0.2, 0.4)) * site.radius,
    )
    angle, far = float(rng.choice([-0.95, 0.95])), float(rng.uniform(1.25, 1.5))
    period = float(rng.uniform(4.5, 6.5))
    ragged = noise(rng, canvas.size, 16)
    grown = site.scale(years)
    centre = site.beside(angle, far * site.radius + half[1] + 4.0)
    at = window_around(canvas.size, *centre, 1.5 * half[0] + 4.0)
    if not present or at is None:
        return
    u, v = turned(at.x, at.y, centre, site.heading)
    heaps(canvas, site, box(u, v, half[0] * grown, half[1]) + ragged[at.cut], v, at, period=period)


def heaps(
    canvas: Canvas, site: Site, distance: Float32, across: Float32, at: Window, *, period: float
) -> None:
    """Spoil in ridges ``period`` pixels apart: lit on one side, dark on the other."""
    ridge = np.sin(across * np.float32(2 * math.pi / period))
    apron(canvas, site, distance, 1.5, at)
    canvas.paint(
        Material.SPOIL,
        cover(distance),
        at,
        labels=bits(Component.OVERBURDEN),
        variant=site.variant(Material.SPOIL),
        shade=(np.float32(1.0) + np.float32(0.34) * ridge).astype(np.float32),
    )


def _pit(canvas: Canvas, site: Site, outline: Outline, distance: Float32, at: Window, scale: float) -> None:
    rng = site.rng(Purpose.MINE_SHAPE, 1)
    bench = float(rng.uniform(3.6, 5.6))
    deepest = float(max((-distance).max(), 1.0))
    wish = int(rng.integers(2, 7))
    benches = max(1, min(wish, int(0.55 * deepest / bench)))
    wall = bench * benches
    seam_width, seam_spread = float(rng.uniform(3.2, 6.0)), float(rng.uniform(0.6, 1.3))
    ragged = noise(rng, canvas.size, 32)[at.cut]
    pool_at, pool_wanted = rng.uniform(-0.3, 0.3, 2), bool(rng.uniform() < 0.45)
    pool_colour = float(rng.uniform(0.0, 1.0))
    inside = -distance
    canvas.paint(
        Material.PIT_FLOOR, cover(distance), at, labels=PIT, variant=site.variant(Material.PIT_FLOOR)
    )
    _terraces(canvas, site, distance, at, wall=wall, bench=bench)
    _seam(canvas, site, inside, ragged, at, foot=wall, width=seam_width, spread=seam_spread)
    _ramp(canvas, site, outline, inside, at, wall=wall, scale=scale)
    floor = deepest - wall
    if pool_wanted and floor > 5.0:
        back = (1.0 - scale) * outline.drift * outline.half[0]
        centre = site.beside(math.pi, back)
        u, v = turned(at.x, at.y, centre, site.heading)
        hole = oval(
            u - np.float32(pool_at[0] * floor), v - np.float32(pool_at[1] * floor), 0.3 * floor, 0.22 * floor
        )
        pool = np.maximum(hole + np.float32(0.8) * ragged, np.float32(wall + 1.5) - inside)
        canvas.paint(
            Material.PROCESS_WATER,
            cover(pool),
            at,
            labels=bits(Component.SETTLING_POND),
            keep=PIT,
            variant=pool_colour,
        )


def _terraces(
    canvas: Canvas, site: Site, distance: Float32, at: Window, *, wall: float, bench: float
) -> None:
    """Working benches: faces lit by where they look, flats between them."""
    inside = -distance
    step = wrapped(inside, bench)
    east, south = slope_of(distance)
    light = canvas.light_on(-east, -south, 0.5)
    face = cover(np.abs(step - np.float32(0.28 * bench)) - np.float32(0.28 * bench))
    shade = (np.float32(1.06) + (light - np.float32(1.06)) * face).astype(np.float32)
    ring = np.maximum(distance, inside - np.float32(wall))
    canvas.paint(
        Material.BENCH_FACE,
        cover(ring),
        at,
        labels=bits(Component.PRODUCTION_SLOPE, Component.EXCAVATION),
        variant=site.variant(Material.BENCH_FACE),
        shade=shade,
    )


def _seam(
    canvas: Canvas,
    site: Site,
    inside: Float32,
    ragged: Float32,
    at: Window,
    *,
    foot: float,
    width: float,
    spread: float,
) -> None:
    """The exposed seam or ore along the foot of the advancing wall."""
    u, v = turned(at.x, at.y, site.centre, site.heading)
    sector = np.abs(v) - np.float32(spread) * (u + np.float32(0.9 * site.radius))
    middle = np.float32(foot + width / 2 - 0.5) + np.float32(0.5) * ragged
    band = np.maximum(np.abs(inside - middle) - np.float32(width / 2), sector)
    canvas.paint(
        Material.SEAM,
        cover(band),
        at,
        labels=bits(Component.OUTCROP),
        keep=PIT,
        variant=site.variant(Material.SEAM),
    )


def _ramp(
    canvas: Canvas, site: Site, outline: Outline, inside: Float32, at: Window, *, wall: float, scale: float
) -> None:
    """The haul ramp from rim to floor: a spiral, a straight cut along one wall, or switchbacks."""
    rng = site.rng(Purpose.MINE_SHAPE, 2)
    start, span = float(rng.uniform(-0.6, 0.6)) + math.pi, float(rng.uniform(1.6, 3.4))
    back = (1.0 - scale) * outline.drift * outline.half[0]
    centre = site.beside(math.pi, back)
    u, v = turned(at.x, at.y, centre, site.heading)
    rim = np.float32(-2.5)
    floor = np.float32(wall + 3.0)
    if site.family == "plan_a":
        angle = np.mod(np.arctan2(v, u) * site.mirror - start, 2 * math.pi)
        target = rim + (floor - rim) * np.minimum(angle * np.float32(1.0 / span), 1.0)
        path = np.maximum(np.abs(inside - target) - np.float32(RAMP_HALF), (angle - span) * np.float32(8.0))
    elif site.family == "plan_b":
        radius = scale * outline.half[0]
        out = (-1.12 * radius * math.cos(start - math.pi), -0.5 * radius)
        path = segment(u, v, out, (-0.2 * radius, 0.35 * (radius - wall)))[0] - np.float32(RAMP_HALF)
        path = np.maximum(path, inside - floor)
    else:
        # Switchbacks: legs of a zigzag across a sector of the wall, as many as it is high enough for.
        share = np.arctan2(v, -u) * np.float32(1.0 / 1.4) + np.float32(0.5)
        legs = max(1, min(3, int(wall / 9.0)))
        rise = (floor - rim) / np.float32(legs)
        nearest = np.full(inside.shape, 99.0, np.float32)
        for leg in range(legs):
            target = rim + rise * (np.float32(leg) + (share if leg % 2 == 0 else np.float32(1.0) - share))
            np.minimum(nearest, np.abs(inside - target) - np.float32(RAMP_HALF), out=nearest)
        path = np.maximum(nearest, (np.abs(share - np.float32(0.5)) - np.float32(0.5)) * np.float32(8.0))
    canvas.paint(
        Material.HAUL_ROAD,
        cover(np.maximum(path, -inside - np.float32(2.5))),
        at,
        labels=bits(Component.TRANSPORT_SLOPE),
        keep=PIT,
        variant=site.variant(Material.HAUL_ROAD),
    )
