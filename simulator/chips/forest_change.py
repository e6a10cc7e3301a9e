"""What people and fire do to woods: clear-cuts, pasture made, burns, thin logging, and regrowth."""

from __future__ import annotations

import math

import numpy as np

from simulator.chips.canvas import FOREST, Canvas, Purpose
from simulator.chips.land import Place
from simulator.chips.layers import Float32, Material
from simulator.chips.shapes import Window, box, cover, line_distance, meander, noise, turned, window_around

REGROWN = 0.7
"""Variant of SECONDARY from which it counts as forest."""
YEARS_TO_FOREST = 9.0
"""From clearing to variant 1."""
COUNTS = {
    "humid_tropics": 14,
    "seasonal_tropics": 11,
    "dry_savanna": 5,
    "desert": 0,
    "mediterranean": 7,
    "temperate": 11,
    "boreal": 13,
}
"""Most clearings on a chip in twenty years: as at a frontier, so that pairs show enough fresh ones."""


def paint_forest_change(canvas: Canvas, place: Place) -> None:
    """Clearings that happen at their time and regrow or stay, burns, and thin logging."""
    rng = place.rng(Purpose.FOREST_CHANGE)
    count = int(rng.integers(0, COUNTS[place.climate] + 1))
    for number in range(count):
        _clearing(canvas, place, number)
    _logging(canvas, place)


def _clearing(canvas: Canvas, place: Place, number: int) -> None:
    rng = place.rng(Purpose.FOREST_CHANGE, 1 + number)
    size = canvas.size
    centre = (float(rng.uniform()) * size, float(rng.uniform()) * size)
    half = np.exp(rng.uniform(math.log(4.0), math.log(30.0))) * np.array([1.0, rng.uniform(0.4, 1.0)])
    turn, when = float(rng.uniform(0.0, math.pi)), float(rng.uniform(-9.0, 10.0))
    burnt, kept = bool(rng.uniform() < 0.35), bool(rng.uniform() < 0.4)
    straight, ragged = bool(rng.uniform() < 0.6), noise(rng, size, 32)
    tone, patchy = float(rng.uniform(0.15, 0.8)), noise(rng, size, 16)
    since = place.years - when
    at = window_around(size, *centre, 1.7 * float(half.max()) + 4.0)
    if since <= 0.0 or at is None:
        return
    u, v = turned(at.x, at.y, centre, turn)
    edge = box(u, v, float(half[0]), float(half[1]))
    if not straight or burnt:
        edge = np.hypot(u, v * np.float32(half[0] / half[1])) - np.float32(half[0])
        edge = edge + np.float32(0.35 * half[1]) * ragged[at.cut]
    # Clear-cuts proceed over a season or two rather than in a day.
    edge = edge + np.float32(max(0.0, 0.6 - since) * half[1])
    _paint_cleared(canvas, cover(edge), patchy[at.cut], at, since=since, burnt=burnt, kept=kept, tone=tone)


def _paint_cleared(
    canvas: Canvas,
    ground: Float32,
    patchy: Float32,
    at: Window,
    *,
    since: float,
    burnt: bool,
    kept: bool,
    tone: float,
) -> None:
    """What lies there so long after the trees went."""
    if burnt and since < 0.5:
        canvas.paint(Material.CHAR, ground, at, variant=tone)
        canvas.paint(Material.ASH, 0.5 * ground * cover(np.float32(1.0) - patchy, 0.5), at)
    elif since < 0.9:
        canvas.paint(Material.SLASH, ground, at, variant=tone)
        canvas.paint(Material.CLEARED, 0.9 * ground * cover(-patchy, 0.6), at, variant=tone)
    elif kept:
        canvas.paint(Material.GRASS, ground, at, variant=tone)
    else:
        grown = min((since - 0.9) / YEARS_TO_FOREST, 1.0)
        label = FOREST if grown > REGROWN else 0
        canvas.paint(Material.SECONDARY, ground, at, labels=label, variant=grown)


def _logging(canvas: Canvas, place: Place) -> None:
    """Selective logging: skid trails narrower than a pixel, gaps of a few trees, closed in four years."""
    rng = place.rng(Purpose.FOREST_CHANGE, 50)
    size = canvas.size
    chance = {"humid_tropics": 0.3, "boreal": 0.25, "temperate": 0.2, "seasonal_tropics": 0.15}
    wanted = bool(rng.uniform() < chance.get(place.climate, 0.0))
    start, angle = rng.uniform(0.1, 0.9, 2) * size, float(rng.uniform(0.0, 2 * math.pi))
    length, when = float(rng.uniform(0.3, 0.7)) * size, float(rng.uniform(-3.0, 9.5))
    speck = noise(rng, size, 8, slope=1.5)
    end = (float(start[0]) + length * math.cos(angle), float(start[1]) + length * math.sin(angle))
    line = meander(rng, (float(start[0]), float(start[1])), end, bend=10.0, step=12.0)
    since = place.years - when
    if not wanted or not 0.0 < since < 4.0:
        return
    away = line_distance(size, line, 22.0)
    fresh = 1.0 - since / 4.0
    gaps = (
        cover(np.float32(1.5) - speck, 0.5) * cover(away - np.float32(18.0), 8.0) * np.float32(0.45 * fresh)
    )
    canvas.paint(Material.SLASH, gaps.astype(np.float32), keep=FOREST)
    canvas.paint(Material.DIRT_ROAD, (cover(away - np.float32(0.6)) * np.float32(0.48 * fresh)), keep=FOREST)
