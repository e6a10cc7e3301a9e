"""What nature does that is taken for mining: bars, slides, burns, rock, dunes, pans, coasts, snow."""

from __future__ import annotations

import math

import numpy as np

from simulator.chips.canvas import FOREST, Canvas
from simulator.chips.labels import window_of
from simulator.chips.land import Place, forest_label
from simulator.chips.layers import Material
from simulator.chips.shapes import (
    FAR,
    above,
    along_line,
    cover,
    line_distance,
    noise,
    turned,
    window_around,
)
from simulator.chips.spots import Rng, crossing, somewhere

BEDS_OF_GRAVEL = 0.6
"""Share of the rivers with bars that are narrower than their beds. They go by one name: with another one in
``PAINTERS`` every place would draw its look-alikes anew, those of the held-out worlds, too.
"""


def braided_river(canvas: Canvas, place: Place, rng: Rng) -> None:
    """Threads of water that part and meet between bars of sand; the stage and the year move them."""
    line, half = crossing(canvas.size, rng, bend=(5.0, 18.0)), float(rng.uniform(8.0, 28.0))
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
    """A wide river at a stage that bares or drowns its bars, or a narrow one in a bed of gravel."""
    if rng.uniform() < BEDS_OF_GRAVEL:
        _barred_thread(canvas, place, rng)
        return
    line, half = crossing(canvas.size, rng, bend=(12.0, 34.0)), float(rng.uniform(5.0, 16.0))
    silt, tone = float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.4, 0.95))
    bars = noise(rng, canvas.size, 64)
    away = line_distance(canvas.size, line, half + 8.0)
    bed = away - np.float32(half) + np.float32(1.5) * bars
    canvas.paint(Material.WATER_TURBID, cover(bed), variant=silt)
    shown = np.float32(1.4 * place.wetness() - 0.1)
    canvas.paint(Material.SAND, cover(np.maximum(bed, (shown - bars) * 6.0)), variant=tone)


def _barred_thread(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A thread, often clear and dark, that swings in its bed: gravel inside the bends, partly grown over."""
    line = crossing(canvas.size, rng, bend=(10.0, 34.0))
    thread, room = (float(v) for v in np.exp(rng.uniform(np.log((0.9, 1.0)), np.log((4.5, 7.0)))))
    length, phase, rush = float(rng.uniform(9.0, 30.0)), float(rng.uniform(0.0, 2 * math.pi)), rng.uniform()
    silt, tone, overgrown = (float(v) for v in rng.uniform((0.02, 0.25, -0.6), (0.6, 0.95, 1.2)))
    rough, patches, trees = (noise(rng, canvas.size, largest) for largest in (32, 16, 64))
    gallery = float(rng.uniform(0.0, 7.0))
    half = thread + room
    away, along, side = along_line(canvas.size, line, half + gallery + 10.0)
    bed = away - np.float32(half) + np.float32(0.35 * room) * rough
    wooded = cover(bed - np.float32(gallery), 2.0) * above(trees, 0.0, 0.5)
    canvas.paint(place.land.gallery, wooded, labels=forest_label(place.land.gallery), variant=0.5)
    canvas.paint(Material.SCREE if rush < 0.4 else Material.SAND, cover(bed), variant=tone)
    grown = cover(bed + np.float32(0.6)) * above(patches + np.float32(0.5) * rough, overgrown, 0.5)
    canvas.paint(Material.SHRUB if rush < 0.6 else Material.GRASS, grown, variant=0.5)
    course = np.float32(room) * np.sin(along * np.float32(1.0 / length) + np.float32(phase))
    stage = np.float32(thread * (0.75 + 0.7 * place.wetness()))
    water = np.abs(side - course) - stage + np.float32(0.3) * patches
    kind = Material.WATER_CLEAR if silt < 0.3 else Material.WATER_TURBID
    canvas.paint(kind, cover(np.maximum(water, bed - np.float32(0.5))), variant=silt)


def coast(canvas: Canvas, place: Place, rng: Rng) -> None:
    """The sea on one side: a beach that the tide bares, surf, and mud in the water that thins out seaward."""
    size, wide = canvas.size, float(np.exp(rng.uniform(math.log(1.5), math.log(16.0))))
    turn, off = float(rng.uniform(0.0, 2 * math.pi)), float(rng.uniform(-0.3, 0.35)) * size
    silt, reach, tone = (
        float(rng.uniform(0.05, 0.9)),
        float(rng.uniform(6.0, 160.0)),
        float(rng.uniform(0.3, 1.0)),
    )
    bays, plume = noise(rng, size, 128), noise(rng, size, 64)
    surf, tide = float(rng.uniform(0.0, 0.7)), float(rng.uniform(0.0, 5.0))
    whole = canvas.whole
    seaward, _ = turned(whole.x, whole.y, (size / 2, size / 2), turn)
    inland = (np.float32(off) - seaward + np.float32(9.0) * bays).astype(np.float32)
    canvas.paint(Material.GRASS, cover(inland - np.float32(1.6 * wide), 3.0), variant=0.3)
    canvas.paint(Material.SAND, cover(inland - np.float32(wide), 1.5), variant=tone)
    canvas.paint(Material.MUD, cover(inland), variant=0.3 * tone)
    waterline = inland + np.float32(tide * (1.0 - place.wetness()))
    sea = cover(waterline)
    canvas.paint(Material.SEA, sea, variant=0.3 * silt)
    offshore = np.maximum(-inland * (np.float32(1.0) + np.float32(0.5) * plume), 0.0)
    muddy = sea * np.exp(-offshore / np.float32(reach))
    canvas.paint(Material.SEA, muddy.astype(np.float32), variant=0.25 + 0.7 * silt)
    foam = cover(np.abs(waterline + np.float32(2.0)) - np.float32(0.9)) * np.float32(surf)
    canvas.paint(Material.SALT, foam)


def snow(canvas: Canvas, _place: Place, rng: Rng) -> None:
    """Snow on open ground, whole or in drifts; of woods the crowns look out of it."""
    deep, tone = float(rng.uniform(-0.6, 2.5)), float(rng.uniform())
    drifts, crowns = noise(rng, canvas.size, 32), float(rng.uniform(0.6, 0.95))
    wooded = np.zeros((canvas.size, canvas.size), np.float32)
    for layer in canvas.layers:
        window = wooded[window_of(layer)]
        window += layer.cover * (np.float32(bool(layer.labels & FOREST)) - window)
    lying = np.clip(np.float32(0.5 + deep) + np.float32(0.8) * drifts, 0.0, 1.0)
    canvas.paint(
        Material.SNOW, lying * (np.float32(1.0) - np.float32(crowns) * wooded), keep=FOREST, variant=tone
    )


def landslides(canvas: Canvas, place: Place, rng: Rng) -> None:
    """Scars running down a slope, wide at the head or the foot, greening over the years."""
    count, when = int(rng.integers(2, 8)), rng.uniform(-4.0, 9.5, 8)
    origin, down = somewhere(canvas.size, rng), float(rng.uniform(0.0, 2 * math.pi))
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


def burn_scar(canvas: Canvas, place: Place, rng: Rng) -> None:
    """Burnt grass and shrub: black for weeks, then grey, then greener than before."""
    centre, radius = somewhere(canvas.size, rng), float(np.exp(rng.uniform(math.log(10.0), math.log(70.0))))
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


def salt_and_flats(canvas: Canvas, place: Place, rng: Rng) -> None:
    """A pan that floods, dries and crusts."""
    centre, radius = somewhere(canvas.size, rng), float(rng.uniform(12.0, 50.0))
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
