"""What is taken for a mine and is none, as places and as changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from simulator.chips.canvas import Canvas, Purpose
from simulator.chips.land import Place
from simulator.chips.layers import Material
from simulator.chips.shapes import (
    FAR,
    above,
    along_line,
    box,
    cell_number,
    cover,
    from_border,
    line_distance,
    meander,
    noise,
    oval,
    segment,
    turned,
    window_around,
    wrapped,
)

Rng = np.random.Generator


def draw_look_alikes(place: Place, *, mined: bool) -> tuple[str, ...]:
    """None to three kinds, fewer beside a mine; those of the place's climate."""
    rng = place.rng(Purpose.LOOK_ALIKE)
    draw, order = float(rng.uniform()), rng.permutation(len(PAINTERS))
    count = int(draw * 2.2) if mined else 1 + int(draw * 2.6)
    fitting = [
        name for name in (tuple(PAINTERS)[k] for k in order) if place.climate not in ABSENT.get(name, ())
    ]
    return tuple(fitting[:count])


def paint_look_alikes(canvas: Canvas, place: Place, names: tuple[str, ...]) -> None:
    """Paint them in their order."""
    for name in names:
        PAINTERS[name](canvas, place, place.rng(Purpose.LOOK_ALIKE, 1 + tuple(PAINTERS).index(name)))


def _somewhere(canvas: Canvas, rng: Rng) -> tuple[float, float]:
    x, y = rng.uniform(0.12, 0.88, 2) * canvas.size
    return float(x), float(y)


def _crossing(canvas: Canvas, rng: Rng, *, bend: tuple[float, float]) -> list[tuple[float, float]]:
    """A winding line across the canvas."""
    size = canvas.size
    angle, off = float(rng.uniform(0.0, 2 * math.pi)), float(rng.uniform(-0.3, 0.3)) * size
    cos, sin = math.cos(angle), math.sin(angle)
    middle = (size / 2 - off * sin, size / 2 + off * cos)
    ends = [(middle[0] + s * 0.8 * size * cos, middle[1] + s * 0.8 * size * sin) for s in (-1, 1)]
    return meander(rng, ends[0], ends[1], bend=float(rng.uniform(*bend)), step=10.0)


def braided_river(canvas: Canvas, place: Place, rng: Rng) -> None:
    """Threads of water that part and meet between bars of sand; the stage and the year move them."""
    line, half = _crossing(canvas, rng, bend=(5.0, 18.0)), float(rng.uniform(8.0, 28.0))
    silt, tone = float(rng.uniform(0.2, 0.9)), float(rng.uniform(0.3, 0.95))
    rough, bars = noise(rng, canvas.size, 32), noise(rng, canvas.size, 16)
    lengths, phases = rng.uniform(7.0, 22.0, 6), rng.uniform(0.0, 2 * math.pi, 6)
    swings, widths = rng.uniform(0.35, 0.95, 6) * half, rng.uniform(0.6, 2.4, 6)
    away, along, side = along_line(canvas.size, line, half + 12.0)
    bed = away - np.float32(half) + np.float32(3.0) * rough
    canvas.paint(Material.SAND, cover(bed), variant=tone)
    canvas.paint(Material.SAND, cover(bed + np.float32(2.0)) * above(bars, 0.6, 0.6), variant=0.4 * tone)
    canvas.paint(Material.SHRUB, cover(bed + np.float32(3.0)) * above(rough, 1.1, 0.2), variant=0.5)
    stage, moved = 0.4 + 1.2 * place.wetness(), 0.4 * math.floor(place.years)
    water = np.full(bed.shape, FAR, np.float32)
    for number in range(3 + int(half > 14.0) + 2 * int(half > 20.0)):
        turn = along * np.float32(1.0 / lengths[number]) + np.float32(phases[number] + moved * (number % 3))
        course = np.float32(swings[number]) * np.sin(turn) + np.float32(2.0) * bars
        np.minimum(water, np.abs(side - course) - np.float32(widths[number] * stage), out=water)
    canvas.paint(Material.WATER_TURBID, cover(np.maximum(water, bed + np.float32(1.0))), variant=silt)


def sandbars(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A wide river at a stage that bares or drowns its bars."""
    line, half = _crossing(canvas, rng, bend=(12.0, 34.0)), float(rng.uniform(5.0, 16.0))
    silt, tone = float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.4, 0.95))
    bars = noise(rng, canvas.size, 64)
    away = line_distance(canvas.size, line, half + 8.0)
    bed = away - np.float32(half) + np.float32(1.5) * bars
    canvas.paint(Material.WATER_TURBID, cover(bed), variant=silt)
    shown = np.float32(1.4 * place.wetness() - 0.1)
    canvas.paint(Material.SAND, cover(np.maximum(bed, (shown - bars) * 6.0)), variant=tone)


def fish_ponds(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A grid of rectangular ponds of farms, some drained at times; green vegetation on the banks."""
    centre, turn = _somewhere(canvas, rng), float(rng.uniform(0.0, math.pi))
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


def landslides(canvas: Canvas, place: Place, rng: Rng) -> None:
    """Scars running down a slope, wide at the head or the foot, greening over the years."""
    count, when = int(rng.integers(2, 8)), rng.uniform(-4.0, 9.5, 8)
    origin, down = _somewhere(canvas, rng), float(rng.uniform(0.0, 2 * math.pi))
    offsets, lengths = rng.normal(0.0, 28.0, (8, 2)), np.exp(rng.uniform(1.8, 3.4, 8))
    widths, tones = rng.uniform(1.2, 4.5, 8), rng.uniform(0.3, 0.8, 8)
    ragged = noise(rng, canvas.size, 16)
    storm = float(when[0])
    for number in range(count):
        since = place.years - (storm if number < 6 else float(when[number]))
        root = (origin[0] + float(offsets[number, 0]), origin[1] + float(offsets[number, 1]))
        length, width = float(lengths[number]), float(widths[number])
        at = window_around(canvas.size, *root, length + 6.0)
        if since <= 0.0 or at is None:
            continue
        p, q = turned(at.x, at.y, root, down + 0.15 * (number - 3))
        scar = np.maximum(
            np.abs(q) - np.float32(width) * (0.7 + 0.6 * p / np.float32(length)),
            np.abs(p - length / 2) - length / 2,
        )
        scar = (scar + np.float32(0.8) * ragged[at.cut]).astype(np.float32)
        tone = float(tones[number])
        canvas.paint(Material.SCREE if tone > 0.6 else Material.SOIL, cover(scar), at, variant=tone)
        green = float(np.clip((since - 1.5) / 5.0, 0.0, 1.0))
        if green > 0.05:
            canvas.paint(Material.SHRUB, green * cover(scar), at, variant=0.3)


def airstrip(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A straight strip of bare earth or grass, 600 to 1,500 m long, cut at some time."""
    centre, turn = _somewhere(canvas, rng), float(rng.uniform(0.0, math.pi))
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


def burn_scar(canvas: Canvas, place: Place, rng: Rng) -> None:
    """Burnt grass and shrub: black for weeks, then grey, then greener than before."""
    centre, radius = _somewhere(canvas, rng), float(np.exp(rng.uniform(math.log(10.0), math.log(70.0))))
    every, first = float(rng.uniform(1.0, 4.0)), float(rng.uniform(-4.0, 9.0))
    ragged, patchy = noise(rng, canvas.size, 64), noise(rng, canvas.size, 16)
    since = (place.years - first) % every
    at = window_around(canvas.size, *centre, 1.7 * radius)
    if place.years < first or since > 0.7 or at is None:
        return
    edge = np.hypot(at.x - np.float32(centre[0]), at.y - np.float32(centre[1])) - np.float32(radius)
    burnt = cover(edge + np.float32(0.45 * radius) * ragged[at.cut], 1.5) * cover(-patchy[at.cut] - 1.2, 0.4)
    if since < 0.35:
        canvas.paint(Material.CHAR, burnt, at, variant=0.5)
        canvas.paint(Material.ASH, 0.6 * burnt * above(patchy[at.cut], 1.0, 0.4), at)
    else:
        canvas.paint(Material.CHAR, 0.4 * burnt, at, variant=0.5)


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
    centre, turn = _somewhere(canvas, rng), float(rng.uniform(0.0, math.pi))
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


def bare_rock(canvas: Canvas, place: Place, rng: Rng) -> None:
    """Outcrops and scree on a hill, with no one at work."""
    tone, level = float(rng.uniform(0.1, 0.95)), float(rng.uniform(0.8, 1.7))
    field, grain = noise(rng, canvas.size, 128), noise(rng, canvas.size, 16)
    level -= 0.4 if place.climate in ("desert", "mediterranean") else 0.0
    canvas.paint(Material.SCREE, above(field + np.float32(0.25) * grain, level - 0.25, 0.25), variant=tone)
    canvas.paint(Material.ROCK, above(field + np.float32(0.3) * grain, level, 0.15), variant=tone)


def dunes(canvas: Canvas, place: Place, rng: Rng) -> None:
    """Sand in ridges across the wind."""
    level, period = float(rng.uniform(-0.3, 1.0)), float(rng.uniform(6.0, 16.0))
    field, bent = noise(rng, canvas.size, 256), noise(rng, canvas.size, 64)
    whole = canvas.whole
    u, _ = turned(whole.x, whole.y, (0.0, 0.0), float(rng.uniform(0.0, math.pi)))
    # They wander about ten metres a year.
    ridge = np.sin((u + np.float32(place.years)) * np.float32(2 * math.pi / period) + np.float32(1.6) * bent)
    shade = (np.float32(1.0) + np.float32(0.16) * ridge).astype(np.float32)
    canvas.paint(Material.SAND, above(field, level, 0.4), variant=float(rng.uniform(0.4, 0.9)), shade=shade)


def reservoir(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A dammed valley whose water is drawn down: wide pale shores at low level."""
    centre, turn = _somewhere(canvas, rng), float(rng.uniform(0.0, math.pi))
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
    centre, turn = _somewhere(canvas, rng), float(rng.uniform(0.0, math.pi))
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
    line, wide = _crossing(canvas, rng, bend=(5.0, 20.0)), float(rng.uniform(1.6, 3.2))
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
    centre, turn = _somewhere(canvas, rng), float(rng.uniform(0.0, math.pi))
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


def salt_and_flats(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A pan that floods, dries and crusts."""
    centre, radius = _somewhere(canvas, rng), float(rng.uniform(12.0, 50.0))
    rough, tone = noise(rng, canvas.size, 64), float(rng.uniform(0.2, 0.9))
    at = window_around(canvas.size, *centre, 1.7 * radius)
    if at is None:
        return
    edge = np.hypot(at.x - np.float32(centre[0]), at.y - np.float32(centre[1])) - np.float32(radius)
    pan = edge + np.float32(0.4 * radius) * rough[at.cut]
    canvas.paint(Material.MUD, cover(pan), at, variant=tone)
    canvas.paint(Material.SALT, cover(pan + np.float32(3.0), 3.0), at)
    canvas.paint(
        Material.WATER_TURBID,
        cover(pan + np.float32(radius * (1.2 - 1.3 * place.wetness()))),
        at,
        variant=tone,
    )


def forest_road(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A road into the woods with clearings like ribs along it, more each year."""
    line = _crossing(canvas, rng, bend=(3.0, 8.0))
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
}
ABSENT: Mapping[str, tuple[str, ...]] = {
    "dunes": ("humid_tropics", "seasonal_tropics", "temperate", "boreal", "mediterranean"),
    "salt_pan": ("humid_tropics", "temperate", "boreal"),
    "greenhouses": ("boreal", "humid_tropics"),
    "forest_road": ("desert", "dry_savanna", "mediterranean"),
    "burn_scar": ("desert",),
    "bare_fields": ("desert",),
}
"""Climates in which a kind is not found."""
