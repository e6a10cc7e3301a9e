"""What people do that is taken for mining and is none: ponds, halls, strips, fields, building, roads."""

from __future__ import annotations

import math

import numpy as np

from simulator.chips.canvas import Canvas
from simulator.chips.land import Place
from simulator.chips.layers import Material
from simulator.chips.shapes import (
    above,
    box,
    cell_number,
    cover,
    from_border,
    line_distance,
    noise,
    oval,
    segment,
    turned,
    window_around,
    wrapped,
)
from simulator.chips.spots import Rng, crossing, somewhere


def fish_ponds(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A grid of rectangular ponds of farms, some drained at times; green vegetation on the banks."""
    centre, turn = somewhere(canvas.size, rng), float(rng.uniform(0.0, math.pi))
    half = rng.uniform(10.0, 36.0, 2)
    pitch = rng.uniform(4.5, 10.0, 2)
    lot, tones = rng.uniform(0.0, 1.0, (32, 32)), rng.uniform(0.0, 1.0, 3)
    bank = float(rng.uniform(0.5, 1.0))
    at = window_around(canvas.size, *centre, 1.45 * float(half.max()) + 4.0)
    if at is None:
        return
    u, v = turned(at.x, at.y, centre, turn)
    farm = box(u, v, *(float(h) for h in half))
    i, j = cell_number(u, float(pitch[0])), cell_number(v, float(pitch[1]))
    inner = from_border(u, v, (float(pitch[0]), float(pitch[1])))
    pond = np.maximum(farm, np.float32(bank) - inner)
    # Each pond is drained for its own fifth of the year.
    phase = np.mod(lot[i, j] * 7.0 + place.day / 365.0 + 0.3 * place.years, 1.0)
    canvas.paint(Material.GRASS, cover(farm - np.float32(1.0)), at, variant=0.6)
    water = cover(pond)
    canvas.paint(Material.MUD, water * (phase < 0.18), at, variant=0.5)
    for number, material in enumerate((Material.WATER_GREEN, Material.WATER_TURBID, Material.WATER_CLEAR)):
        chosen = (phase >= 0.18) & (np.floor(lot[i, j] * 3.0) == number)
        canvas.paint(material, water * chosen, at, variant=float(tones[number]))


def farm_ponds(canvas: Canvas, place: Place, rng: Rng) -> None:
    """Small dams and waterholes strewn about, one to four pixels across, lower in the dry season."""
    spots, radii = rng.uniform(0.0, 1.0, (14, 2)) * canvas.size, np.exp(rng.uniform(-0.1, 1.5, 14))
    kinds, tones = rng.integers(0, 3, 14), rng.uniform(0.0, 1.0, 14)
    wet = place.wetness()
    materials = (Material.WATER_TURBID, Material.WATER_GREEN, Material.WATER_CLEAR)
    for (x, y), radius, kind, tone in zip(
        spots.tolist(), radii.tolist(), kinds.tolist(), tones.tolist(), strict=True
    ):
        at = window_around(canvas.size, x, y, 2.0 * radius + 2.0)
        if at is None:
            continue
        pond = oval(at.x - np.float32(x), at.y - np.float32(y), radius * (1.0 + tone), radius)
        canvas.paint(Material.MUD, cover(pond), at, variant=tone)
        canvas.paint(materials[kind], cover(pond + np.float32(0.5 * radius * (1.0 - wet))), at, variant=tone)


def airstrip(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A straight strip of bare earth or grass, 600 to 1,500 m long, cut at some time."""
    centre, turn = somewhere(canvas.size, rng), float(rng.uniform(0.0, math.pi))
    half, wide = float(rng.uniform(30.0, 75.0)), float(rng.uniform(1.0, 2.4))
    when, tone, paved = (
        float(rng.uniform(-8.0, 8.0)),
        float(rng.uniform(0.3, 0.9)),
        bool(rng.uniform() < 0.25),
    )
    at = window_around(canvas.size, *centre, half + 8.0)
    if place.years < when or at is None:
        return
    u, v = turned(at.x, at.y, centre, turn)
    canvas.paint(Material.GRASS, cover(box(u, v, half + 3.0, wide + 2.0)), at, variant=0.4)
    canvas.paint(Material.ASPHALT if paved else Material.SOIL, cover(box(u, v, half, wide)), at, variant=tone)
    canvas.paint(Material.ROOF_METAL, cover(box(u - half * 0.6, v - wide - 3.0, 1.6, 1.2)), at)


def bright_roofs(canvas: Canvas, place: Place, rng: Rng) -> None:
    """Sheds, warehouses and paved yards of an industrial estate, growing hall by hall."""
    _estate(
        canvas, place, rng, (Material.ROOF_METAL, Material.CONCRETE, Material.ROOF_DARK), Material.CONCRETE
    )


def greenhouses(canvas: Canvas, place: Place, rng: Rng) -> None:
    """Rows of plastic."""
    _estate(canvas, place, rng, (Material.GREENHOUSE,), Material.CROP)


def _estate(
    canvas: Canvas, place: Place, rng: Rng, materials: tuple[Material, ...], between: Material
) -> None:
    centre, turn = somewhere(canvas.size, rng), float(rng.uniform(0.0, math.pi))
    half, pitch = rng.uniform(8.0, 30.0, 2), rng.uniform(5.0, 11.0, 2)
    lot = rng.uniform(0.0, 1.0, (32, 32))
    at = window_around(canvas.size, *centre, 1.45 * float(half.max()) + 3.0)
    if at is None:
        return
    u, v = turned(at.x, at.y, centre, turn)
    estate = box(u, v, float(half[0]), float(half[1]))
    i, j = cell_number(u, float(pitch[0])), cell_number(v, float(pitch[1]))
    inner = from_border(u, v, (float(pitch[0]), float(pitch[1])))
    # A hall stands from its own year on; before, its plot is grass.
    built = lot[i, j] * 14.0 - 6.0 < place.years
    canvas.paint(Material.GRASS, cover(estate), at, variant=0.4)
    canvas.paint(between, cover(estate) * built, at, variant=0.4)
    hall = cover(np.maximum(estate, np.float32(0.9) - inner)) * built
    for number, material in enumerate(materials):
        canvas.paint(material, hall * (np.floor(lot[i, j] * 97.0) % len(materials) == number), at)


def reservoir(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A dammed valley whose water is drawn down: wide pale shores at low level."""
    centre, turn = somewhere(canvas.size, rng), float(rng.uniform(0.0, math.pi))
    radius, long = float(rng.uniform(18.0, 48.0)), float(rng.uniform(1.2, 2.6))
    rough, tone = noise(rng, canvas.size, 64), float(rng.uniform(0.0, 0.6))
    shore = float(rng.uniform(0.3, 0.9))
    at = window_around(canvas.size, *centre, 1.6 * radius * long)
    if at is None:
        return
    u, v = turned(at.x, at.y, centre, turn)
    bed = (
        np.hypot(u * np.float32(1.0 / long), v)
        - np.float32(radius)
        + np.float32(0.45 * radius) * rough[at.cut]
    )
    canvas.paint(Material.SOIL if shore > 0.6 else Material.MUD, cover(bed), at, variant=shore)
    canvas.paint(
        Material.WATER_CLEAR,
        cover(bed + np.float32(0.6 * radius * (1.0 - place.wetness()))),
        at,
        variant=tone,
    )


def construction(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A plot stripped, built on and finished within three years."""
    centre, turn = somewhere(canvas.size, rng), float(rng.uniform(0.0, math.pi))
    half, when = rng.uniform(7.0, 28.0, 2), float(rng.uniform(-2.0, 9.5))
    tone, lot = float(rng.uniform(0.2, 0.9)), rng.uniform(0.0, 1.0, (32, 32))
    patchy = noise(rng, canvas.size, 16)
    since = place.years - when
    at = window_around(canvas.size, *centre, 1.45 * float(half.max()) + 3.0)
    if since <= 0.0 or at is None:
        return
    u, v = turned(at.x, at.y, centre, turn)
    plot = box(u, v, float(half[0]), float(half[1]))
    canvas.paint(Material.CLEARED if since < 2.5 else Material.GRASS, cover(plot), at, variant=tone)
    if since < 2.5:
        canvas.paint(Material.SOIL, cover(plot) * above(patchy[at.cut], 0.3, 0.4), at, variant=tone)
    street = np.minimum(wrapped(u, 8.0), wrapped(v, 11.0))
    canvas.paint(
        Material.DIRT_ROAD if since < 2.0 else Material.ASPHALT,
        0.8 * cover(np.maximum(plot, street - np.float32(1.2))),
        at,
    )
    stands = lot[cell_number(u, 8.0), cell_number(v, 11.0)]
    built = cover(np.maximum(plot, np.float32(2.2) - street)) * (stands * 3.0 < since)
    canvas.paint(Material.ROOF_TILE if tone < 0.5 else Material.ROOF_METAL, 0.7 * built, at)


def road_building(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A new road: a wide bare swathe that reaches on from year to year, then asphalt with green verges."""
    line, wide = crossing(canvas.size, rng, bend=(5.0, 20.0)), float(rng.uniform(1.6, 3.2))
    when, tone = float(rng.uniform(-1.0, 9.0)), float(rng.uniform(0.3, 0.9))
    since = place.years - when
    if since <= 0.0:
        return
    reached = max(2, min(len(line), int(since / 1.5 * len(line))))
    away = line_distance(canvas.size, line[:reached], wide + 3.0)
    if since < 2.0:
        canvas.paint(Material.SOIL, cover(away - np.float32(wide)), variant=tone)
    else:
        canvas.paint(Material.GRASS, cover(away - np.float32(wide)), variant=0.3)
        canvas.paint(Material.ASPHALT, cover(away - np.float32(0.7)))


def bare_fields(canvas: Canvas, place: Place, rng: Rng) -> None:
    """Large fields, newly ploughed or dried out, beside growing ones."""
    centre, turn = somewhere(canvas.size, rng), float(rng.uniform(0.0, math.pi))
    half, pitch = rng.uniform(16.0, 50.0, 2), rng.uniform(9.0, 24.0, 2)
    lot, tone = rng.uniform(0.0, 1.0, (32, 32)), float(rng.uniform(0.1, 0.95))
    at = window_around(canvas.size, *centre, 1.45 * float(half.max()) + 3.0)
    if at is None:
        return
    u, v = turned(at.x, at.y, centre, turn)
    i, j = cell_number(u, float(pitch[0])), cell_number(v, float(pitch[1]))
    farm = cover(box(u, v, float(half[0]), float(half[1])))
    phase = np.mod(lot[i, j] + place.day / 365.0 + 0.21 * math.floor(place.years), 1.0)
    bare = phase < 0.4
    canvas.paint(Material.CROP, farm * ~bare, at, variant=float((0.9 - place.day / 365.0) % 1.0))
    canvas.paint(Material.PLOUGHED, farm * (bare & (phase < 0.22)), at, variant=tone)
    canvas.paint(Material.SOIL, farm * (bare & (phase >= 0.22)), at, variant=tone)


def forest_road(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A road into the woods with clearings like ribs along it, more each year."""
    line = crossing(canvas.size, rng, bend=(3.0, 8.0))
    when, sides = float(rng.uniform(-6.0, 6.0)), rng.uniform(0.0, 1.0, (40, 2))
    tone = float(rng.uniform(0.3, 0.8))
    since = place.years - when
    if since <= 0.0:
        return
    away = line_distance(canvas.size, line, 2.5)
    for number, ((ax, ay), (bx, by)) in enumerate(zip(line[1:-1:3], line[2::3], strict=False)):
        long, start = float(sides[number % 40, 0]), 6.0 * float(sides[number % 40, 1])
        if since < start:
            continue
        side = 1.0 if number % 2 else -1.0
        reach = (6.0 + 26.0 * long) * min((since - start) / 1.5, 1.0)
        tip = (ax - side * (by - ay) / 10.0 * reach, ay + side * (bx - ax) / 10.0 * reach)
        at = window_around(canvas.size, (ax + tip[0]) / 2, (ay + tip[1]) / 2, reach / 2 + 7.0)
        if at is not None:
            rib = segment(at.x, at.y, (ax, ay), tip)[0] - np.float32(4.0)
            young = since - start < 1.0
            canvas.paint(Material.CLEARED if young else Material.GRASS, cover(rib), at, variant=tone)
    canvas.paint(Material.DIRT_ROAD, cover(away - np.float32(0.8)))
