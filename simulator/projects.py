"""What people change on purpose: the pit, its growth, the clearing. Each project is a map of steps. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

import numpy as np

from simulator.frame import Bools, Bytes, Floats
from simulator.noise import box_distance, ellipse, fractal, generator, smoothstep
from simulator.spectra import Surface

BENCH_M = 34.0
"""Metres from one bench of the pit to the next."""

BENCH_DROP_M = 9.0
"""Metres down from one bench to the next."""


class Verdict(StrEnum):
    """What the permit rule should say of a project."""

    OUTSIDE = "outside"
    INSIDE = "inside_valid"
    PROTECTED = "protected_zone"


@dataclass(frozen=True)
class Project:
    """A change with a known start, known steps and a known verdict."""

    name: str
    kind: str
    """``excavation`` or ``forest_loss``, as incidents name it."""
    also: tuple[str, ...]
    """Other kinds that are true at the same place: digging in a forest fells it."""
    verdict: Verdict
    steps: tuple[date, ...]
    """Days on which it grows; the first is its start."""
    stage: Bytes
    """(cells, cells): 1-based step at which the cell changed, 0 = never."""

    def step_at(self, day: date) -> int:
        """How many steps were made by ``day``."""
        return sum(step <= day for step in self.steps)

    def mask(self, step: int) -> Bools:
        """Cells changed by ``step`` (1-based)."""
        return np.asarray((self.stage > 0) & (self.stage <= step))


@dataclass(frozen=True)
class Pit:
    """The pit's shape as distances to its edge, negative inside, before and with its growth."""

    initial: Floats
    lobes: tuple[tuple[Floats, ...], ...]
    """One tuple per growing project: the distance to the pit's edge after each of its steps."""

    def edge(self, steps: tuple[int, ...]) -> Floats:
        """Distance to the edge of the whole pit after ``steps`` of each project."""
        whole = self.initial
        for lobe, step in zip(self.lobes, steps, strict=True):
            if step:
                whole = np.minimum(whole, lobe[step - 1])
        return whole


def every(first: date, days: int, count: int) -> tuple[date, ...]:
    """``count`` days, ``days`` apart."""
    return tuple(first + timedelta(days=days * number) for number in range(count))


def make_pit(x: Floats, y: Floats, seed: int) -> Pit:
    """The pit of the permit: an irregular hole with two lobes that grow."""
    cells = x.shape[0]
    rough = fractal(cells, generator(seed, 20), slope=3.8, largest=90)
    fine = fractal(cells, generator(seed, 21), slope=2.8, largest=18)
    ragged = np.asarray(15.0 * rough + 1.6 * fine, np.float32)
    initial: Floats = ellipse(x, y, centre=(2255, 945), axes=(255, 178), turn=28) + ragged

    def grown(
        centre: tuple[float, float], axes: tuple[float, float], turn: float, count: int
    ) -> tuple[Floats, ...]:
        found = []
        for share in np.linspace(0.5, 1.0, count):
            size = (axes[0] * share, axes[1] * share)
            lobe = ellipse(x, y, centre=centre, axes=size, turn=turn) + 0.8 * ragged
            found.append(merged(initial, lobe.astype(np.float32)))
        return tuple(found)

    outside = grown((2525, 1010), (185, 150), 70, 7)
    inside = grown((2040, 845), (150, 118), -25, 5)
    return Pit(initial=initial.astype(np.float32), lobes=(outside, inside))


def merged(pit: Floats, lobe: Floats) -> Floats:
    """The union of two shapes with a rounded joint (polynomial smooth minimum over 60 m)."""
    joint = 60.0
    share = np.clip(0.5 + 0.5 * (lobe - pit) / joint, 0.0, 1.0)
    return np.asarray(lobe + (pit - lobe) * share - joint * share * (1.0 - share), np.float32)


def stage_of(changed_after: Callable[[int], Bools], count: int) -> Bytes:
    """1-based first step at which ``changed_after(step)`` holds, 0 where it never does."""
    stage = np.zeros(changed_after(1).shape, np.uint8)
    for step in range(count, 0, -1):
        stage[changed_after(step)] = step
    return stage


def growth_projects(pit: Pit) -> tuple[Project, Project]:
    """The growth past the permit's boundary, and the authorised growth inside it."""
    outside, inside = pit.lobes
    before = pit.initial < 0.0
    return (
        Project(
            name="pit grows past the permit boundary",
            kind="excavation",
            also=("forest_loss",),
            verdict=Verdict.OUTSIDE,
            steps=every(date(2024, 5, 24), 21, len(outside)),
            stage=stage_of(lambda step: np.asarray((outside[step - 1] < 0) & ~before), len(outside)),
        ),
        Project(
            name="pit grows inside the permit",
            kind="excavation",
            also=("forest_loss",),
            verdict=Verdict.INSIDE,
            steps=every(date(2024, 4, 14), 20, len(inside)),
            stage=stage_of(lambda step: np.asarray((inside[step - 1] < 0) & ~before), len(inside)),
        ),
    )


def clearing_project(x: Floats, y: Floats, seed: int) -> Project:
    """Three angular blocks felled one after the other in the reserve's forest."""
    ragged = 5.0 * fractal(x.shape[0], generator(seed, 22), slope=2.6, largest=24)
    blocks = (
        box_distance(x, y, centre=(745, 2120), half=(88, 62), turn=11),
        box_distance(x, y, centre=(905, 2165), half=(70, 70), turn=14),
        box_distance(x, y, centre=(800, 2268), half=(105, 66), turn=8),
    )
    felled = [np.minimum.reduce(blocks[:count]) + ragged < 0.0 for count in range(1, len(blocks) + 1)]
    return Project(
        name="clearing in the reserve",
        kind="forest_loss",
        also=("excavation",),
        verdict=Verdict.PROTECTED,
        steps=(date(2024, 8, 3), date(2024, 8, 24), date(2024, 9, 12)),
        stage=stage_of(lambda step: felled[step - 1], len(blocks)),
    )


def pit_surfaces(edge: Floats, fresh: Bools, flooded: bool) -> Bytes:
    """Surfaces inside the pit (255 outside): rings of benches, a ramp, a floor with rain water."""
    inside = -edge
    tier, rest = np.divmod(np.maximum(inside, 0.0), BENCH_M)
    found = np.full(edge.shape, 255, np.uint8)
    found[inside > 0] = Surface.PIT_FLOOR
    found[(inside > 0) & (rest < 0.40 * BENCH_M)] = Surface.PIT_BENCH
    found[(inside > 0) & (inside < 16.0)] = Surface.STRIPPED
    found[(inside > 0) & fresh] = Surface.STRIPPED
    found[(inside > 0) & (tier >= 4)] = Surface.PIT_FLOOR
    if flooded:
        found[inside > 4.75 * BENCH_M] = Surface.POND
    return found


def pit_depth(edge: Floats) -> Floats:
    """Height in metres of the pit's ground against the plain: stairs of benches."""
    tiers = np.clip(-edge / BENCH_M, 0.0, 4.6)
    whole, rest = np.divmod(tiers, 1.0)
    stairs = whole + smoothstep(rest.astype(np.float32), 0.04, 0.42)
    return np.asarray(-BENCH_DROP_M * stairs, np.float32)


def clearing_surfaces(age: Floats, grain: Floats) -> Bytes:
    """Surfaces of felled cells by their age in days (255 where not felled): slash, fire, then regrowth."""
    found = np.full(age.shape, 255, np.uint8)
    felled = np.isfinite(age)
    found[felled] = Surface.SLASH
    found[felled & (age > 24) & (grain < 0.4)] = Surface.BURNT
    found[felled & (age > 55)] = Surface.CLEARED
    found[felled & (age > 70) & (grain > 1.1)] = Surface.SHRUB
    found[felled & (grain > 2.1)] = Surface.EVERGREEN
    return found
