"""Where things lie at the start: relief, forests, river, fields, village, mine works. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulator.frame import Bools, Bytes, Floats, Frame
from simulator.noise import (
    along_line,
    blur,
    box_distance,
    curve,
    distance_to,
    ellipse,
    fractal,
    generator,
    smoothstep,
)
from simulator.seasons import Crop
from simulator.spectra import FIRST_FIELD, Surface

RIVER = (
    (1310, -140), (1330, 180), (1500, 400), (1570, 690), (1390, 980), (1470, 1330),
    (1640, 1620), (1490, 1930), (1560, 2290), (1710, 2550), (1630, 2810), (1730, 3140),
)  # fmt: skip
MAIN_ROAD = ((3140, 1860), (2600, 1930), (2150, 2040), (1850, 2085), (1880, 2350), (1900, 2700), (1960, 3140))
MINE_ROAD = ((1850, 2085), (1920, 1800), (2060, 1590), (2130, 1400), (2120, 1230), (2200, 1080), (2330, 960))
FARM_ROAD = ((-140, 1330), (400, 1290), (850, 1230), (1070, 950), (1060, 500), (1110, -140))
FOREST_TRACK = ((520, 1290), (585, 1560), (660, 1830), (735, 2075))
STREAMS = (
    ((-140, 1560), (220, 1640), (480, 1540), (820, 1650), (1120, 1560), (1470, 1330)),
    ((3140, 330), (2820, 260), (2480, 330), (2120, 260), (1800, 350), (1500, 400)),
    ((3140, 1330), (2900, 1420), (2560, 1700), (2240, 1790), (1980, 1680), (1640, 1620)),
)  # fmt: skip
STREETS = (((1700, 2010), (1850, 2085), (1990, 2190)), ((1790, 2200), (1850, 2085), (1900, 1960)))


@dataclass(frozen=True)
class Ground:
    """The district before anything changes."""

    numbers: Bytes
    """(cells, cells) world numbers."""
    bed: Floats
    """Share of the river's stage at which the cell is under water; infinite outside the bed."""
    height: Floats
    """Metres above the plain."""
    ramp: Bools
    """The haul road's way down into the pit."""
    crops: tuple[Crop, ...]
    """Calendar of each field."""


def lay_out(frame: Frame, seed: int) -> Ground:
    """Paint the district from the ground up; what comes later covers what came before."""
    x, y = frame.axes()
    river, along, side = along_line(curve(RIVER), x, y)
    numbers = _cover(x, y, river, seed)
    crops = _fields(numbers, x, y, river, seed)
    _roads(numbers, x, y, seed)
    _village(numbers, x, y, seed)
    _rock(numbers, x, y, seed)
    ramp = _mine_works(numbers, x, y, seed)
    bed = _river_bed(side * river, along, seed)
    numbers[np.isfinite(bed)] = Surface.SAND
    return Ground(numbers, bed, _relief(x, y, river, seed), ramp, crops)


def _relief(x: Floats, y: Floats, river: Floats, seed: int) -> Floats:
    cells = x.shape[0]
    hills = fractal(cells, generator(seed, 1), slope=3.9, largest=260)
    hills += 0.06 * fractal(cells, generator(seed, 2), slope=2.9, largest=60)
    # A flood plain by the river, flat fields; hills elsewhere.
    plain = smoothstep(river, 40.0, 520.0) * (0.25 + 0.75 * _away_from_fields(x, y))
    dump = smoothstep(-_dump_edge(x, y, seed), 0.0, 70.0)
    return np.asarray(26.0 * hills * plain + 24.0 * dump, np.float32)


def _away_from_fields(x: Floats, y: Floats) -> Floats:
    west, east = _field_regions(x, y)
    return smoothstep(np.minimum(west, east), -60.0, 260.0)


def _cover(x: Floats, y: Floats, river: Floats, seed: int) -> Bytes:
    cells = x.shape[0]
    moist = fractal(cells, generator(seed, 3), slope=3.1, largest=150)
    kind = fractal(cells, generator(seed, 4), slope=2.7, largest=90)
    speck = blur(generator(seed, 5).standard_normal((cells, cells), dtype=np.float32), 0.7)
    speck /= speck.std()
    reserve = 1.0 - smoothstep(ellipse(x, y, centre=(760, 2200), axes=(820, 780)), -260.0, 60.0)
    around_pit = 1.0 - smoothstep(ellipse(x, y, centre=(2330, 900), axes=(640, 560)), -200.0, 120.0)
    heart = 1.0 - smoothstep(ellipse(x, y, centre=(820, 2190), axes=(330, 260)), -60.0, 160.0)
    gallery = 1.0 - smoothstep(river, 60.0, 190.0)
    for stream in STREAMS:
        water = distance_to(curve(stream), x, y)
        gallery = np.maximum(gallery, 1.0 - smoothstep(water + 14.0 * kind, 12.0, 62.0))
    trees = moist + 2.1 * reserve + 1.6 * heart + 1.9 * around_pit + 1.6 * gallery + 0.25 * kind - 0.35
    numbers = np.full(x.shape, Surface.PASTURE, np.uint8)
    numbers[(trees < -0.1) & (speck > 1.9)] = Surface.EVERGREEN
    numbers[(trees < -0.1) & (kind > 0.9)] = Surface.SHRUB
    numbers[trees > -0.1] = Surface.SAVANNA
    numbers[(trees > 0.45) | ((trees > -0.1) & (speck > 1.3))] = Surface.DECIDUOUS
    numbers[(trees > 0.45) & (kind + 1.1 * reserve + 1.4 * gallery > 0.35)] = Surface.EVERGREEN
    numbers[(river < 150.0) & (moist + 0.4 * kind < -0.85)] = Surface.WETLAND
    return numbers


def _field_regions(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    west = box_distance(x, y, centre=(430, 560), half=(560, 640), turn=6)
    east = box_distance(x, y, centre=(2600, 2640), half=(600, 560), turn=-9)
    return west, east


def _fields(numbers: Bytes, x: Floats, y: Floats, river: Floats, seed: int) -> tuple[Crop, ...]:
    """Two farms: blocks split again and again, with tracks and lines of trees between."""
    rng = generator(seed, 6)
    ragged = 26.0 * fractal(x.shape[0], generator(seed, 7), slope=3.0, largest=60)
    hedge = fractal(x.shape[0], generator(seed, 8), slope=1.8, largest=20)
    crops: list[Crop] = []
    regions = _field_regions(x, y)
    frames = (((430, 560), (560, 640), 6.0), ((2600, 2640), (600, 560), -9.0))
    for region, (centre, half, turn) in zip(regions, frames, strict=True):
        farm = (region + ragged < -14.0) & (river > 95.0)
        u, v = _turned(x, y, centre, turn)
        numbers[farm] = Surface.TRACK
        for box in _split((-half[0], -half[1], half[0], half[1]), rng):
            inset = np.minimum.reduce((u - box[0], box[2] - u, v - box[1], box[3] - v))
            cells = farm & (inset > 0.0)
            numbers[cells & (inset <= 8.0) & (inset > 2.5) & (hedge > 0.6)] = Surface.SAVANNA
            numbers[cells & (inset > 2.5) & ~((inset <= 8.0) & (hedge > 0.6))] = FIRST_FIELD + len(crops)
            crops.append(_crop(rng))
    pivot = ellipse(x, y, centre=(420, 830), axes=(215, 215))
    numbers[pivot < 6.0] = Surface.PASTURE
    numbers[pivot < 0.0] = FIRST_FIELD + len(crops)
    crops.append(Crop(sown=300, length=112, second=118, perennial=False, vigour=0.96, soil=0.9))
    return tuple(crops)


def _turned(x: Floats, y: Floats, centre: tuple[float, float], turn: float) -> tuple[Floats, Floats]:
    angle = math.radians(turn)
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    u = dx * math.cos(angle) + dy * math.sin(angle)
    v = dy * math.cos(angle) - dx * math.sin(angle)
    return np.asarray(u, np.float32), np.asarray(v, np.float32)


Box = tuple[float, float, float, float]


def _split(box: Box, rng: np.random.Generator) -> list[Box]:
    """Cut a block along its longer side until its parts have the size of fields."""
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    if wide * high < rng.uniform(40_000, 190_000):
        return [box]
    share = rng.uniform(0.36, 0.64)
    if wide > high * rng.uniform(0.7, 1.4):
        middle = left + share * wide
        parts: tuple[Box, Box] = ((left, top, middle, bottom), (middle, top, right, bottom))
    else:
        middle = top + share * high
        parts = ((left, top, right, middle), (left, middle, right, bottom))
    return [piece for part in parts for piece in _split(part, rng)]


def _crop(rng: np.random.Generator) -> Crop:
    return Crop(
        sown=int(rng.integers(278, 345)),
        length=int(rng.integers(104, 124)),
        second=int(rng.integers(105, 128)) if rng.random() < 0.55 else 0,
        perennial=bool(rng.random() < 0.18),
        vigour=float(rng.uniform(0.62, 0.98)),
        soil=float(rng.uniform(0.80, 1.15)),
        tilled=bool(rng.random() < 0.1),
    )


def _roads(numbers: Bytes, x: Floats, y: Floats, seed: int) -> None:
    wobble = 2.0 * fractal(x.shape[0], generator(seed, 9), slope=2.0, largest=16)
    for points, width in ((FARM_ROAD, 4.0), (MAIN_ROAD, 5.5), (FOREST_TRACK, 2.6), (MINE_ROAD, 8.0)):
        away = distance_to(curve(points), x, y)
        surface = Surface.HAUL_ROAD if points is MINE_ROAD else Surface.TRACK
        numbers[away + 0.5 * wobble < width] = surface


def _village(numbers: Bytes, x: Floats, y: Floats, seed: int) -> None:
    """Yards and gardens around streets, with about a hundred roofs."""
    rng = generator(seed, 10)
    gardens = fractal(x.shape[0], generator(seed, 11), slope=1.2, largest=12)
    streets = [distance_to(curve(points), x, y) for points in STREETS]
    near = np.minimum.reduce(streets)
    ragged = 14.0 * fractal(x.shape[0], generator(seed, 12), slope=2.6, largest=40)
    numbers[near + ragged < 62.0] = Surface.YARD
    numbers[(near + ragged < 66.0) & (gardens > 0.45)] = Surface.SAVANNA
    numbers[(near + ragged < 66.0) & (gardens > 1.15)] = Surface.EVERGREEN
    roofs = (Surface.ROOF_TILE, Surface.ROOF_TILE, Surface.ROOF_METAL, Surface.ROOF_DARK)
    for points in STREETS:
        for px, py in curve(points, step=11.0):
            if rng.random() < 0.62:
                side = rng.choice((-1.0, 1.0)) * rng.uniform(14.0, 46.0)
                centre = (float(px + side * 0.75), float(py - side * 0.65))
                half = (rng.uniform(4.0, 7.5), rng.uniform(3.5, 6.0))
                house = box_distance(x, y, centre=centre, half=half, turn=rng.uniform(20, 50))
                numbers[house < 0.0] = rng.choice(roofs)
    numbers[near < 3.6] = Surface.TRACK


def _rock(numbers: Bytes, x: Floats, y: Floats, seed: int) -> None:
    ragged = 30.0 * fractal(x.shape[0], generator(seed, 13), slope=2.7, largest=40)
    cracks = fractal(x.shape[0], generator(seed, 14), slope=1.9, largest=14)
    edge = ellipse(x, y, centre=(2690, 1640), axes=(105, 82), turn=35) + ragged
    numbers[edge < 0.0] = Surface.ROCK
    numbers[(edge < 0.0) & (cracks > 1.0)] = Surface.SHRUB


def _dump_edge(x: Floats, y: Floats, seed: int) -> Floats:
    ragged = 12.0 * fractal(x.shape[0], generator(seed, 15), slope=3.0, largest=50)
    lobes = np.minimum(
        ellipse(x, y, centre=(1925, 1190), axes=(140, 105), turn=-30),
        ellipse(x, y, centre=(1985, 1330), axes=(95, 70), turn=20),
    )
    return np.asarray(lobes + ragged, np.float32)


def _mine_works(numbers: Bytes, x: Floats, y: Floats, seed: int) -> Bools:
    """Dump, settling ponds, plant and stockpile; returns the ramp into the pit."""
    ragged = fractal(x.shape[0], generator(seed, 16), slope=2.6, largest=30)
    numbers[_dump_edge(x, y, seed) < 0.0] = Surface.DUMP
    plant = box_distance(x, y, centre=(2190, 1385), half=(80, 46), turn=12) + 5.0 * ragged
    numbers[plant < 0.0] = Surface.HAUL_ROAD
    for centre, half in (((2165, 1375), (16, 7)), ((2215, 1395), (11, 9)), ((2190, 1352), (8, 6))):
        numbers[box_distance(x, y, centre=centre, half=half, turn=12) < 0.0] = Surface.ROOF_METAL
    numbers[ellipse(x, y, centre=(2250, 1362), axes=(19, 15)) < 0.0] = Surface.STOCKPILE
    for centre, half in (((2365, 1385), (62, 36)), ((2480, 1400), (40, 34))):
        basin = box_distance(x, y, centre=centre, half=half, turn=8) + 4.0 * ragged
        numbers[basin < 10.0] = Surface.STRIPPED
        numbers[basin < 0.0] = Surface.POND
    road = distance_to(curve(MINE_ROAD), x, y)
    numbers[road < 7.5] = Surface.HAUL_ROAD
    return np.asarray(road < 7.5)


def _river_bed(across: Floats, along: Floats, seed: int) -> Floats:
    """Low level = deep. The deep line swings from bank to bank and leaves bars on the other side."""
    cells = across.shape[0]
    bars = fractal(cells, generator(seed, 17), slope=3.0, largest=30)
    ragged = 2.5 * fractal(cells, generator(seed, 18), slope=2.4, largest=16)
    swing = np.sin(along * 40.0) + 0.7 * np.sin(along * 97.0 + 1.0)
    half = 19.0 + 9.0 * np.abs(swing) + ragged
    deep = 0.55 * np.clip(swing, -1.2, 1.2) * half
    level = np.abs(across - deep) / (1.25 * half) + 0.16 * bars
    return np.asarray(np.where(np.abs(across) < half, np.clip(level, 0.05, 0.98), np.inf), np.float32)
