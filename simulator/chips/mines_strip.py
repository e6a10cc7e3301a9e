"""Opencast mines: a cut that moves over the land, ridges, levelled waste and grass behind it."""

from __future__ import annotations

import math

import numpy as np

from registry.chips import Component
from simulator.chips.canvas import Canvas, Purpose, bits
from simulator.chips.layers import Float32, Material
from simulator.chips.mines_industrial import RAMP_HALF, heaps, strips
from simulator.chips.outlines import SMOOTH
from simulator.chips.shapes import Window, cover, noise, turned, window_around, wrapped
from simulator.chips.site import Site, apron, plant, road, tailings_facility

PIT = bits(Component.EXCAVATION)


def opencast(canvas: Canvas, site: Site, years: float) -> None:
    """A cut that advances across the land: stripped ground ahead, ridges, levelled waste and grass behind."""
    if site.scale(years) <= 0.0:
        return
    rng = site.rng(Purpose.MINE_SHAPE)
    half_u, half_v = site.radius * float(rng.uniform(0.9, 1.35)), site.radius * float(rng.uniform(0.75, 1.1))
    face = -half_v + (2.0 * half_v) * (0.18 + 0.82 * min(site.age(years) / site.life, 1.0))
    reach = 1.6 * math.hypot(half_u, half_v) + 30.0
    at = window_around(canvas.size, *site.centre, reach)
    if at is None:
        return
    u, v = _strip_coordinates(canvas, site, at, half_v)
    sides = np.abs(u) - np.float32(half_u)
    pace = 2.0 * half_v / site.life
    _strip_surroundings(canvas, site, years, half_u, half_v)
    _strip_bands(canvas, site, v, sides, at, face=face, start=-half_v, pace=pace)
    _strip_ramps(canvas, site, u, v, sides, at, face=face, half_u=half_u, start=-half_v)


def _strip_coordinates(canvas: Canvas, site: Site, at: Window, half_v: float) -> tuple[Float32, Float32]:
    """Along the cut and in the direction of advance: round a pivot, straight, or along wavy contours."""
    rng = site.rng(Purpose.MINE_SHAPE, 1)
    pivot = float(rng.uniform(2.2, 4.0)) * half_v * float(rng.choice([-1.0, 1.0]))
    skew = float(rng.uniform(-0.25, 0.25))
    waves = noise(rng, canvas.size, 64, slope=SMOOTH)
    ragged = noise(rng, canvas.size, 32, slope=SMOOTH)[at.cut]
    v, u = turned(at.x, at.y, site.centre, site.heading)
    if site.family == "plan_a":
        radius = np.hypot(u, v + np.float32(pivot))
        angle = np.arctan2(u, (v + np.float32(pivot)) * np.float32(math.copysign(1.0, pivot)))
        advance = np.float32(math.copysign(1.0, pivot)) * radius - np.float32(pivot)
        return angle * np.float32(abs(pivot)) + ragged, advance + np.float32(0.4) * ragged
    if site.family == "plan_b":
        return u + np.float32(skew) * v, v
    return u + np.float32(3.0) * ragged, v + np.float32(0.16 * half_v) * waves[at.cut]


def _strip_surroundings(canvas: Canvas, site: Site, years: float, half_u: float, half_v: float) -> None:
    rng = site.rng(Purpose.MINE)
    large = float(np.clip(site.radius / 38.0, 0.7, 1.9))
    works = (
        site.centre[0]
        - (half_v + 14 + 9 * large) * math.cos(site.heading)
        - 0.4 * half_u * math.sin(site.heading),
        site.centre[1]
        - (half_v + 14 + 9 * large) * math.sin(site.heading)
        + 0.4 * half_u * math.cos(site.heading),
    )
    slimes_wanted = bool(rng.uniform() < 0.7)
    radius = float(rng.uniform(0.3, 0.55)) * site.radius + 6.0
    slimes = site.beside(2.2, 1.35 * math.hypot(half_u, half_v) + radius)
    if slimes_wanted:
        road(canvas, works, slimes)
        tailings_facility(
            canvas, site, slimes, radius=radius, scale=0.5 + 0.5 * site.scale(years), years=years
        )
    road(canvas, works, site.centre, width=2.8, material=Material.HAUL_ROAD)
    plant(canvas, site, works, large=large, years=years)


def _strip_bands(
    canvas: Canvas,
    site: Site,
    v: Float32,
    sides: Float32,
    at: Window,
    *,
    face: float,
    start: float,
    pace: float,
) -> None:
    """From the land ahead of the face to the grass far behind it, painted back to front."""
    rng = site.rng(Purpose.WASTE)
    strip, wall = float(rng.uniform(6.0, 14.0)), float(rng.choice([1, 2, 3])) * float(rng.uniform(3.6, 5.0))
    floor, seam = float(rng.uniform(6.0, 13.0)), float(rng.uniform(3.2, 5.5))
    ridges, period = float(rng.uniform(14.0, 34.0)), float(rng.uniform(4.2, 6.2))
    level, ragged = float(rng.uniform(14.0, 30.0)), noise(rng, canvas.size, 32)[at.cut]
    bench = wall / max(1, round(wall / 4.4))
    behind = np.float32(face) - v
    edge = np.maximum(sides, np.float32(start) - v)

    def band(near: float, far: float) -> Float32:
        """Distance to the strip between two distances behind the face."""
        between = np.maximum(np.float32(near) - behind, behind - np.float32(far))
        return np.asarray(np.maximum(edge, between), np.float32)

    apron(canvas, site, band(-strip, 1e4), 1.5, at)
    canvas.paint(
        Material.SUBSOIL,
        cover(band(-strip, 0.5)),
        at,
        labels=bits(Component.PREPARATORY_WORKS),
        variant=site.soil,
        shade=strips(v),
    )
    dug = wall + floor
    canvas.paint(
        Material.WASTE_ROCK,
        cover(band(dug + ridges, 1e4)),
        at,
        labels=bits(Component.DUMPING_GROUND),
        variant=site.variant(Material.WASTE_ROCK),
        age=1.5,
    )
    rested = (dug + ridges + level) / pace
    grown = (behind - np.float32(dug + ridges + level)) * np.float32(1.0 / max(pace, 0.5))
    planted = cover(-(grown + ragged), 1.5) * cover(edge + np.float32(1.0))
    canvas.paint(
        Material.GRASS if rested < 6.0 else Material.SECONDARY, planted, at, variant=min(0.08 * rested, 0.6)
    )
    heaps(canvas, site, band(dug, dug + ridges), v + np.float32(0.8) * ragged, at, period=period)
    canvas.paint(
        Material.PIT_FLOOR, cover(band(wall, dug)), at, labels=PIT, variant=site.variant(Material.PIT_FLOOR)
    )
    canvas.paint(
        Material.SEAM,
        cover(band(wall, wall + seam)),
        at,
        labels=bits(Component.OUTCROP),
        keep=PIT,
        variant=site.variant(Material.SEAM),
    )
    _highwall(canvas, site, band(0.0, wall), behind, at, bench=bench)


def _highwall(
    canvas: Canvas, site: Site, ring: Float32, behind: Float32, at: Window, *, bench: float
) -> None:
    """The working wall: one to three benches whose faces look back over the cut."""
    step = wrapped(behind, bench)
    face = cover(np.abs(step - np.float32(0.3 * bench)) - np.float32(0.3 * bench))
    east, south = np.float32(-math.cos(site.heading)), np.float32(-math.sin(site.heading))
    light = canvas.light_on(np.full((1, 1), east, np.float32), np.full((1, 1), south, np.float32), 0.5)
    canvas.paint(
        Material.BENCH_FACE,
        cover(ring),
        at,
        labels=bits(Component.PRODUCTION_SLOPE, Component.EXCAVATION),
        variant=site.variant(Material.BENCH_FACE),
        shade=(np.float32(1.06) + (light - np.float32(1.06)) * face).astype(np.float32),
    )


def _strip_ramps(
    canvas: Canvas,
    site: Site,
    u: Float32,
    v: Float32,
    sides: Float32,
    at: Window,
    *,
    face: float,
    half_u: float,
    start: float,
) -> None:
    """Haul ramps from the land behind through ridges and waste down to the floor."""
    rng = site.rng(Purpose.MINE_SHAPE, 2)
    count = 1 + int(half_u > 28) + int(half_u > 60)
    places = rng.uniform(-0.8, 0.8, 3)
    lean = rng.uniform(-0.3, 0.3, 3)
    depth = float(rng.uniform(9.0, 14.0))
    behind = np.float32(face) - v
    ends = np.maximum(
        np.maximum(np.float32(depth) - behind, np.float32(start - 4.0) - v), behind - np.float32(60.0)
    )
    for place, slant in zip(places[:count], lean, strict=False):
        off = np.abs(u - np.float32(place * half_u) - np.float32(slant) * behind) - np.float32(RAMP_HALF)
        canvas.paint(
            Material.HAUL_ROAD,
            cover(np.maximum(np.maximum(off, ends), sides)),
            at,
            labels=bits(Component.TRANSPORT_SLOPE),
            keep=PIT,
            variant=site.variant(Material.HAUL_ROAD),
        )
