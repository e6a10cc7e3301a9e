"""Artisanal alluvial gold mining: ponds in washed sediment, working up a stream and greening behind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from registry.chips import Component
from simulator.chips.canvas import Canvas, Purpose, bits
from simulator.chips.layers import Float32, Material
from simulator.chips.outlines import SMOOTH, draw_artisanal_area
from simulator.chips.shapes import (
    FAR,
    NARROWEST,
    Window,
    along_line,
    cover,
    meander,
    noise,
    oval,
    slope_of,
    turned,
    window_around,
)
from simulator.chips.site import Site

Float64 = NDArray[np.float64]
WORKED = bits(Component.EXCAVATION)
POND = bits(Component.SETTLING_POND)
HEAP = bits(Component.DUMPING_GROUND)
REACH = 42.0
"""Pixels to both sides of the stream that are looked at."""
LEVELS = ((0.92, 0.8), (0.68, 0.55), (0.42, 0.28), (0.15, -0.15))
"""Turbidities painted, stirred yesterday to settled, and the least of each; below all, ponds are green."""
WORKING_YEARS = 2.5
"""A reach is worked this long, then left."""
GREEN_YEARS = 7.0
"""Left this long, it is young forest."""


@dataclass(frozen=True)
class Working:
    """The reach of a stream that is worked in the end."""

    line: list[tuple[float, float]]
    """The stream's points."""
    half_width: float
    """Pixels to each side of the stream."""
    length: float
    """Pixels along it."""

    @property
    def first(self) -> float:
        """Pixels along the stream at which it begins: its middle is the stream's."""
        return (
            sum(math.dist(a, b) for a, b in zip(self.line[:-1], self.line[1:], strict=True)) - self.length
        ) / 2

    def point(self, along: float, across: float) -> tuple[float, float]:
        """The place so far along the workings and so far to one side."""
        left = self.first + along
        for (ax, ay), (bx, by) in pairwise(self.line):
            piece = math.hypot(bx - ax, by - ay)
            if left <= piece:
                break
            left -= piece
        share, nx, ny = left / piece, (by - ay) / piece, (ax - bx) / piece
        return ax + share * (bx - ax) + nx * across, ay + share * (by - ay) + ny * across


@dataclass(frozen=True)
class Dug:
    """What was dug, per pixel of the workings' window."""

    pond: Float32
    """Distance to the ponds' edges."""
    heap: Float32
    """Distance to the edges of heaps of washed gravel."""
    fresh: Float32
    """Turbidity of the nearest pond while it is worked."""


def stream_of(canvas: Canvas, site: Site) -> list[tuple[float, float]]:
    """The stream the mine follows, across the whole canvas through the mine's centre."""
    rng = site.rng(Purpose.WATER)
    reach = 0.95 * canvas.size
    cos, sin = math.cos(site.heading), math.sin(site.heading)
    start = (site.centre[0] - reach * cos, site.centre[1] - reach * sin)
    end = (site.centre[0] + reach * cos, site.centre[1] + reach * sin)
    return meander(rng, start, end, bend=float(rng.uniform(6.0, 22.0)), step=9.0)


@dataclass(frozen=True)
class Reach:
    """The worked part of the stream at one time, per pixel of its window."""

    working: Working
    """Its plan."""
    at: Window
    """The window."""
    size: int
    """Pixels of the canvas a side."""
    bank: Float32
    """Distance to the edge of all that is ever worked."""
    worked: Float32
    """Distance to the edge of what was opened by now."""
    begun: Float32
    """Pixels upstream from where work began."""
    side: Float32
    """Pixels to one side of the stream."""
    rest: Float32
    """Years since the place was opened; negative ahead of the front."""


def alluvial(canvas: Canvas, site: Site, years: float) -> None:
    """Paint the workings as they stand in ``years``."""
    line = stream_of(canvas, site)
    away, along, side = along_line(canvas.size, line, REACH)
    rng = site.rng(Purpose.MINE_SHAPE)
    width = float(rng.uniform(1.0, 2.6)) / 2
    stirred = 0.75 if site.age(years) > 0.0 else 0.25
    canvas.paint(Material.WATER_TURBID, cover(away - np.float32(width)), variant=stirred)
    if site.scale(years) <= 0.0:
        return
    working = Working(line, *_extent(site))
    reach = _reach(canvas, site, working, years, (away, along, side))
    if reach is None:
        return
    _prepare(canvas, site, reach)
    _sediment(canvas, site, reach)
    _ponds(canvas, site, reach)
    _regrowth(canvas, site, reach)
    _camps(canvas, site, working, years)


def _reach(
    canvas: Canvas, site: Site, working: Working, years: float, stream: tuple[Float32, Float32, Float32]
) -> Reach | None:
    """Work starts at the lower end and goes up; each place is opened when the front passes it."""
    away, along, side = stream
    rng = site.rng(Purpose.MINE_SHAPE, 1)
    slow, fast = noise(rng, canvas.size, 64, slope=SMOOTH), noise(rng, canvas.size, 16, slope=4.5)
    begun = along - np.float32(working.first)
    pace = working.length / site.life
    rest = np.float32(site.age(years)) - begun * np.float32(1.0 / pace) - np.float32(0.5) * slow
    room = np.float32(working.half_width) * (np.float32(0.9) + np.float32(0.4) * slow)
    ends = np.abs(begun - np.float32(working.length / 2)) - np.float32(working.length / 2)
    bank = np.maximum(away - room + np.float32(1.6) * fast, ends)
    bank[away >= FAR] = FAR
    at = _bounds(canvas.size, bank)
    if at is None:
        return None
    worked = np.maximum(bank, -rest * np.float32(pace))
    fields = (field[at.cut] for field in (bank, worked, begun, side, rest))
    return Reach(working, at, canvas.size, *fields)


def _extent(site: Site) -> tuple[float, float]:
    """Half width and length of the workings in pixels."""
    rng = site.rng(Purpose.MINE)
    # A lone patch after the West African outlines, or a chain of them as along Amazonian streams.
    lone, chain = draw_artisanal_area(rng), 130.0 * site.radius * float(rng.uniform(0.6, 1.6))
    area = lone if rng.uniform() < 0.25 else chain
    half_width = float(np.clip(math.sqrt(area) * rng.uniform(0.11, 0.24), 3.2, 20.0))
    return half_width, max(area / (2.0 * half_width), 2.0 * half_width)


def _bounds(size: int, distance: Float32) -> Window | None:
    """The part of the canvas near the workings."""
    near = distance < 14.0
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if min(rows.size, columns.size) < NARROWEST:
        return None
    top, left = int(rows[0]), int(columns[0])
    return Window(top, left, min(int(rows[-1]) + 1, size) - top, min(int(columns[-1]) + 1, size) - left)


def _prepare(canvas: Canvas, site: Site, reach: Reach) -> None:
    """Trees felled around, and ground laid bare ahead of the front."""
    rng = site.rng(Purpose.PREPARATION)
    margin, lead = float(rng.uniform(0.5, 2.5)), float(rng.uniform(4.0, 10.0))
    pace = max(reach.working.length / site.life, 6.0)
    ahead = -reach.rest * np.float32(pace) - np.float32(lead)
    felled = np.maximum(reach.bank - np.float32(margin), ahead - np.float32(3.0))
    canvas.paint(Material.SLASH, np.float32(0.8) * cover(felled, 2.0), reach.at)
    canvas.paint(
        Material.SUBSOIL,
        cover(np.maximum(reach.bank, ahead)),
        reach.at,
        labels=bits(Component.PREPARATORY_WORKS),
        variant=site.soil,
    )


def _sediment(canvas: Canvas, site: Site, reach: Reach) -> None:
    """Washed sand and gravel, wet where it is low; it fades as it lies."""
    wet = noise(site.rng(Purpose.AGEING, 1), canvas.size, 16, slope=4.5)[reach.at.cut]
    done = reach.worked < 0.0
    age = float(np.clip(np.median(reach.rest[done]), 0.0, 9.0)) if done.any() else 0.0
    ground = cover(reach.worked)
    canvas.paint(Material.GOLD_SEDIMENT, ground, reach.at, labels=WORKED, variant=0.5, age=age)
    low = ground * cover(wet + np.float32(0.6), 0.5)
    canvas.paint(Material.GOLD_SEDIMENT, low, reach.at, labels=WORKED, variant=0.2, age=age)


def _ponds(canvas: Canvas, site: Site, reach: Reach) -> None:
    """Ponds and heaps by the family's way, ponds painted by turbidity, which fades with the years of rest."""
    shape = {"plan_a": _scattered, "plan_b": _in_rows, "plan_c": _flooded}[site.family]
    dug = shape(site.rng(Purpose.PONDS), reach)
    inside = reach.worked + np.float32(0.8)
    heap = np.maximum(np.maximum(dug.heap, inside), -dug.pond + np.float32(1.0))
    canvas.paint(
        Material.GOLD_SEDIMENT,
        cover(heap),
        reach.at,
        labels=HEAP,
        variant=0.95,
        shade=canvas.light_on(*slope_of(heap), 0.22),
    )
    # Stirred while worked; settled within two years; green after that.
    turbidity = dug.fresh - np.maximum(reach.rest - np.float32(WORKING_YEARS), 0.0) * np.float32(0.28)
    water, upper = cover(np.maximum(dug.pond, inside)), 9.0
    for level, lower in LEVELS:
        chosen = water * ((turbidity >= lower) & (turbidity < upper))
        canvas.paint(Material.GOLD_POND, chosen, reach.at, labels=POND, keep=WORKED, variant=level)
        upper = lower
    green = water * (turbidity < upper)
    canvas.paint(Material.WATER_GREEN, green, reach.at, labels=POND, keep=WORKED, variant=0.55)


def _scattered(rng: np.random.Generator, reach: Reach) -> Dug:
    """plan_a: ovals of every size strewn over the workings, heaps beside the larger ones."""
    working, at = reach.working, reach.at
    count = int(np.clip(working.length * working.half_width / 24.0, 2, 150))
    along, across = rng.uniform(0.0, 1.0, 150), rng.uniform(-0.85, 0.85, 150)
    sizes = np.clip(1.9 * np.exp(rng.normal(0.0, 0.5, 150)), 0.9, 0.5 * working.half_width + 1.5)
    traits = rng.uniform(0.0, 1.0, (150, 3))
    field = Dug(*(np.full(reach.worked.shape, value, np.float32) for value in (FAR, FAR, 0.5)))
    for spot in range(count):
        place = working.point(along[spot] * working.length, across[spot] * working.half_width)
        row, column = int(place[1]) - at.top, int(place[0]) - at.left
        if 0 <= row < at.height and 0 <= column < at.width and reach.worked[row, column] < -0.5:
            _spot(reach, field, place, float(sizes[spot]), traits[spot])
    return field


def _spot(reach: Reach, field: Dug, place: tuple[float, float], radius: float, traits: Float64) -> None:
    """One pond, with a heap of washed gravel on one side where it is large enough."""
    stretch, turn, clear = (float(trait) for trait in traits)
    near = window_around(reach.size, *place, 3.6 * radius + 2.0)
    part = near.within(reach.at) if near is not None else None
    if part is None:
        return
    cut = part.seen_from(reach.at)
    u, v = turned(part.x, part.y, place, 2 * math.pi * turn)
    water, seen = oval(u, v, radius * (1.0 + stretch), radius), field.pond[cut]
    np.copyto(field.fresh[cut], np.float32(1.15 - 0.95 * clear), where=water < seen)
    np.minimum(seen, water, out=seen)
    if radius > 1.5:
        pile = oval(u, v - np.float32(2.0 * radius + 0.8), 1.1 * radius + 0.6, 0.6 * radius + 0.7)
        np.minimum(field.heap[cut], pile, out=field.heap[cut])


def _in_rows(rng: np.random.Generator, reach: Reach) -> Dug:
    """plan_b: machines dig rectangular ponds in rows along the valley, gravel in bars between."""
    pitch_u = float(rng.uniform(6.0, 11.0))
    pitch_v = float(np.clip(reach.working.half_width * rng.uniform(0.6, 1.0), 4.5, 9.0))
    draws = rng.uniform(0.0, 1.0, (6, 64, 32))
    share = float(rng.uniform(0.45, 0.75))
    row = np.floor(reach.side * np.float32(1.0 / pitch_v) + np.float32(0.5))
    moved = reach.begun + np.mod(row, 2.0) * np.float32(0.5 * pitch_u)
    column = np.floor(moved * np.float32(1.0 / pitch_u))
    i, j = np.mod(column, 64).astype(np.intp), np.mod(row, 32).astype(np.intp)
    u = moved - (column + np.float32(0.5)) * np.float32(pitch_u)
    v = reach.side - row * np.float32(pitch_v)
    half_u = np.float32(0.5 * pitch_u) * (0.5 + 0.42 * draws[1, i, j]).astype(np.float32)
    half_v = np.float32(0.5 * pitch_v) * (0.5 + 0.38 * draws[2, i, j]).astype(np.float32)
    cell = np.maximum(np.abs(u) - half_u, np.abs(v) - half_v).astype(np.float32)
    kind = draws[0, i, j]
    pond = np.where(kind < share, cell, FAR).astype(np.float32)
    heap = np.where(kind > share + 0.45 * (1.0 - share), cell, FAR).astype(np.float32)
    return Dug(pond, heap, (1.15 - 0.95 * draws[3, i, j]).astype(np.float32))


def _flooded(rng: np.random.Generator, reach: Reach) -> Dug:
    """plan_c: hollows of a rough surface fill with water, its crests are heaps."""
    rough = noise(rng, reach.size, 8, slope=3.0)[reach.at.cut]
    rougher = noise(rng, reach.size, 16, slope=3.2)[reach.at.cut]
    tone = noise(rng, reach.size, 16, slope=4.0)[reach.at.cut]
    level, crest = float(rng.uniform(0.15, 0.6)), float(rng.uniform(0.9, 1.3))
    surface = (np.float32(0.75) * rough + np.float32(0.65) * rougher).astype(np.float32)
    # Neighbouring hollows of 2 to 10 pixels: a unit of the surface is about 2.2 pixels of distance.
    return Dug(
        ((np.float32(level) - surface) * np.float32(2.2)).astype(np.float32),
        ((surface + np.float32(crest)) * np.float32(2.2)).astype(np.float32),
        (np.float32(0.55) + np.float32(0.35) * tone).astype(np.float32),
    )


def _regrowth(canvas: Canvas, site: Site, reach: Reach) -> None:
    """Herbs, then young trees over what was left; where they close, the mine is gone."""
    rng = site.rng(Purpose.AGEING)
    patches = noise(rng, canvas.size, 16)[reach.at.cut]
    left = (reach.rest - np.float32(WORKING_YEARS)) * np.float32(1.0 / (GREEN_YEARS - WORKING_YEARS))
    grown = np.clip((left - np.float32(0.5)) * np.float32(1.6) + np.float32(0.28) * patches, 0.0, 1.0)
    done = reach.worked < 0.0
    oldest = float(np.clip(reach.rest[done].max(), 0.0, 20.0)) if done.any() else 0.0
    canvas.paint(
        Material.SECONDARY,
        np.asarray(grown * cover(reach.worked - np.float32(0.5)), np.float32),
        reach.at,
        variant=min(0.08 * oldest, 0.65),
    )


def _camps(canvas: Canvas, site: Site, working: Working, years: float) -> None:
    """Huts under plastic and sheet iron on trodden ground, beside the workings."""
    rng = site.rng(Purpose.PLANT)
    count = 1 + int(working.length > 60) + int(working.length > 140)
    for number, (share, side, large) in enumerate(rng.uniform(0.0, 1.0, (3, 3))):
        huts = rng.uniform(-0.75, 0.75, (7, 2))
        since = site.age(years) - share * site.life
        if number < count and since >= 0.0:
            out = (working.half_width + 4.0 + 2.0 * large) * (1.0 if side > 0.5 else -1.0)
            _camp(
                canvas, site, working.point(share * working.length, out), 2.6 + 2.2 * large, huts, since=since
            )


def _camp(
    canvas: Canvas, site: Site, place: tuple[float, float], radius: float, huts: Float64, *, since: float
) -> None:
    at = window_around(canvas.size, *place, radius + 3.0)
    if at is None:
        return
    u, v = turned(at.x, at.y, place, site.heading)
    ground = cover(oval(u, v, radius * 1.3, radius))
    left = since - WORKING_YEARS - 2.0
    if left > 0.0:
        # A camp moves on two years after its reach is left.
        canvas.paint(Material.SECONDARY, ground, at, variant=min(0.1 * left, 0.65))
        return
    label = bits(Component.INFRASTRUCTURE)
    canvas.paint(Material.DIRT_ROAD, ground, at, labels=label)
    roofs = np.zeros(u.shape, np.float32)
    for hu, hv in huts:
        spot = np.maximum(np.abs(u - np.float32(hu * 1.2 * radius)), np.abs(v - np.float32(hv * radius)))
        np.maximum(roofs, cover(spot - np.float32(0.75)), out=roofs)
    canvas.paint(Material.ROOF_METAL, roofs, at, labels=label, variant=0.7)
