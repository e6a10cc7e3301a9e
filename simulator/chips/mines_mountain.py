"""Mountain-top mines: a ridge cut down from one end, benches around it, valleys filled with waste."""

from __future__ import annotations

import math

import numpy as np

from registry.chips import Component
from simulator.chips.canvas import Canvas, Purpose, bits
from simulator.chips.layers import Float32, Material
from simulator.chips.mines_industrial import RAMP_HALF, heaps, strips
from simulator.chips.outlines import SMOOTH, Outline, draw_outline
from simulator.chips.shapes import Window, box, cover, noise, oval, slope_of, turned, window_around, wrapped
from simulator.chips.site import Site, apron, greening, plant, road, tailings_facility

PIT = bits(Component.EXCAVATION)


def mountain_top(canvas: Canvas, site: Site, years: float) -> None:
    """A ridge cut down from one end: flat rock, contour benches around, valleys filled with waste."""
    if site.scale(years) <= 0.0:
        return
    rng = site.rng(Purpose.MINE_SHAPE)
    outline = draw_outline(
        rng, site.family, size=canvas.size, centre=site.centre, radius=site.radius, turn=site.heading,
        elongation=float(rng.uniform(1.6, 3.2)), lobes=5,
    )  # fmt: skip
    at = window_around(canvas.size, *site.centre, 2.0 * outline.half[0] + 40.0)
    if at is None:
        return
    distance = outline.distance(at.x, at.y, 1.0, at.cut)
    u, v = turned(at.x, at.y, site.centre, site.heading)
    progress = min(site.age(years) / site.life, 1.0)
    front = outline.half[0] * (-0.75 + 1.75 * progress)
    large = float(np.clip(site.radius / 38.0, 0.7, 1.6))
    works = site.beside(math.pi, outline.half[0] + 16.0 + 7.0 * large)
    road(canvas, works, site.centre, width=2.6, material=Material.HAUL_ROAD)
    slurry_wanted = bool(rng.uniform() < 0.5)
    size = float(rng.uniform(0.3, 0.5)) * site.radius + 6.0
    slurry = site.beside(2.4, outline.half[0] + size + 10.0)
    if slurry_wanted:
        road(canvas, works, slurry)
        tailings_facility(canvas, site, slurry, radius=size, scale=0.5 + 0.5 * site.scale(years), years=years)
    _valley_fills(canvas, site, outline, front, progress, years)
    plant(canvas, site, works, large=large, years=years)
    _cut_ridge(canvas, site, distance, u, v, at, front=front, half=outline.half)


def _valley_fills(
    canvas: Canvas, site: Site, outline: Outline, front: float, progress: float, years: float
) -> None:
    """Lobes of waste down the valleys beside the cut, terraced across, a pond behind a dam at each toe."""
    rng = site.rng(Purpose.WASTE)
    count = 3 + int(site.radius > 35)
    places = np.linspace(-0.65, 0.6, count) + rng.uniform(-0.12, 0.12, count)
    lengths = rng.uniform(0.55, 1.05, count) * site.radius + 8.0
    widths = rng.uniform(0.22, 0.36, count) * site.radius + 4.0
    leans, colours = rng.uniform(-0.5, 0.5, count), rng.uniform(0.0, 1.0, count)
    ragged = noise(rng, canvas.size, 16, slope=SMOOTH)
    steps = rng.uniform(4.5, 6.5, count)
    for number in range(count):
        along = places[number] * outline.half[0]
        if along > front:
            continue
        side = site.mirror * (1.0 if number % 2 else -1.0)
        out = site.heading + side * (math.pi / 2 + side * leans[number])
        grown = float(np.clip((progress + 0.35 - 0.5 * (places[number] + 0.65)) * 1.6, 0.35, 1.0))
        reach = math.sqrt(max(1.0 - places[number] ** 2, 0.1)) * outline.half[1] * 0.8
        root = (
            site.centre[0] + along * math.cos(site.heading) + reach * math.cos(out),
            site.centre[1] + along * math.sin(site.heading) + reach * math.sin(out),
        )
        length = float(lengths[number]) * grown
        _fill(canvas, site, root, out, length=length, width=float(widths[number]), step=float(steps[number]),
              ragged=ragged, colour=float(colours[number]), age=0.4 * site.age(years))  # fmt: skip


def _fill(
    canvas: Canvas,
    site: Site,
    root: tuple[float, float],
    out: float,
    *,
    length: float,
    width: float,
    step: float,
    ragged: Float32,
    colour: float,
    age: float,
) -> None:
    at = window_around(canvas.size, *root, length + 22.0)
    if at is None:
        return
    p, q = turned(at.x, at.y, root, out)
    narrow = np.float32(width) * (np.float32(1.0) - np.float32(0.55 / length) * np.maximum(p, 0.0))
    lobe = np.maximum(np.abs(q) - narrow, np.maximum(p - np.float32(length), -p - np.float32(6.0)))
    lobe = lobe + np.float32(0.9) * ragged[at.cut]
    # Terraces run across the fill, their faces look down the valley.
    phase = wrapped(p + np.float32(0.04 / max(width, 1.0)) * q * q, step)
    sx, sy = canvas.towards_sun
    light = 1.0 + 0.4 * (math.cos(out) * sx + math.sin(out) * sy)
    shade = np.where(phase < 0.5 * step, np.float32(light), np.float32(1.05)).astype(np.float32)
    toe = length + 2.0
    dam = box(p - np.float32(toe + 9.5), q, 1.6, 0.55 * width + 2.0)
    pond = oval(p - np.float32(toe + 5.0), q, 3.6, 0.45 * width + 1.0)
    apron(canvas, site, np.minimum(np.minimum(lobe, dam), pond), 1.5, at)
    canvas.paint(
        Material.WASTE_ROCK,
        cover(lobe),
        at,
        labels=bits(Component.DUMPING_GROUND),
        variant=site.variant(Material.WASTE_ROCK),
        shade=shade,
        age=age,
    )
    canvas.paint(
        Material.PROCESS_WATER,
        cover(pond),
        at,
        labels=bits(Component.SETTLING_POND),
        variant=colour,
        age=0.3 * age,
    )
    canvas.paint(Material.FILL, cover(dam), at, labels=bits(Component.DAM), variant=site.soil, shade=light)


def _cut_ridge(
    canvas: Canvas,
    site: Site,
    distance: Float32,
    u: Float32,
    v: Float32,
    at: Window,
    *,
    front: float,
    half: tuple[float, float],
) -> None:
    """The flattened ridge behind the front: benches around it, a face across it, grass far behind."""
    rng = site.rng(Purpose.MINE_SHAPE, 3)
    bench, benches = float(rng.uniform(3.6, 5.0)), int(rng.integers(1, 4))
    strip, wall = float(rng.uniform(6.0, 13.0)), float(rng.uniform(4.0, 8.0))
    seam, period = float(rng.uniform(3.2, 5.0)), float(rng.uniform(4.5, 6.0))
    heaps_at, heap_half = float(rng.uniform(18.0, 30.0)), float(rng.uniform(5.0, 9.0))
    resting = float(rng.uniform(0.9, 1.5)) * half[0]
    ragged = noise(rng, canvas.size, 32, slope=SMOOTH)[at.cut]
    ring = min(bench * benches, 0.5 * half[1])
    ahead = u - np.float32(front) + ragged
    cut = np.maximum(distance, ahead)
    apron(canvas, site, np.maximum(distance, ahead - np.float32(strip)), 1.5, at)
    canvas.paint(
        Material.SUBSOIL,
        cover(np.maximum(np.maximum(distance, ahead - np.float32(strip)), -ahead)),
        at,
        labels=bits(Component.PREPARATORY_WORKS),
        variant=site.soil,
        shade=strips(u),
    )
    canvas.paint(Material.PIT_FLOOR, cover(cut), at, labels=PIT, variant=site.variant(Material.PIT_FLOOR))
    top = np.maximum(distance + np.float32(ring), ahead)
    shelf = np.maximum(top, np.abs(ahead + np.float32(heaps_at)) - np.float32(heap_half))
    heaps(canvas, site, shelf, u, at, period=period)
    rest = np.maximum(distance + np.float32(ring), u - np.float32(front - resting))
    greening(canvas, site, rest, ragged, at, years_at_rest=5.0)
    # Contour benches step down the flanks; the face across the ridge looks back.
    inside = -distance
    step = wrapped(inside, bench)
    east, south = slope_of(distance)
    face = cover(np.abs(step - np.float32(0.3 * bench)) - np.float32(0.3 * bench))
    light = canvas.light_on(east, south, 0.5)
    shade = (np.float32(1.06) + (light - np.float32(1.06)) * face).astype(np.float32)
    slopes = bits(Component.PRODUCTION_SLOPE, Component.EXCAVATION)
    flank = np.maximum(cut, inside - np.float32(ring))
    canvas.paint(
        Material.BENCH_FACE,
        cover(flank),
        at,
        labels=slopes,
        variant=site.variant(Material.BENCH_FACE),
        shade=shade,
    )
    sx, sy = canvas.towards_sun
    across = np.maximum(cut, -ahead - np.float32(wall))
    back = 1.0 - 0.4 * (math.cos(site.heading) * sx + math.sin(site.heading) * sy)
    canvas.paint(
        Material.BENCH_FACE,
        cover(across),
        at,
        labels=slopes,
        variant=site.variant(Material.BENCH_FACE),
        shade=back,
    )
    coal = np.maximum(top, np.abs(ahead + np.float32(wall + seam / 2)) - np.float32(seam / 2))
    canvas.paint(
        Material.SEAM,
        cover(coal),
        at,
        labels=bits(Component.OUTCROP),
        keep=PIT,
        variant=site.variant(Material.SEAM),
    )
    way = np.abs(v - np.float32(0.25 * site.mirror * half[1]) * np.cos(u * np.float32(3.0 / half[0])))
    haul = np.maximum(
        np.maximum(way - np.float32(RAMP_HALF), distance - np.float32(3.0)), ahead + np.float32(wall + seam)
    )
    behind = np.maximum(haul, -u - np.float32(half[0] + 2.0))
    canvas.paint(
        Material.HAUL_ROAD,
        cover(behind),
        at,
        labels=bits(Component.TRANSPORT_SLOPE),
        keep=PIT,
        variant=site.variant(Material.HAUL_ROAD),
    )
