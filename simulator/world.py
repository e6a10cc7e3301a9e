"""The district's ground: what lies where, how high, how rough, and how it looks on a day. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np

from simulator.frame import START, Bools, Bytes, Floats, Frame
from simulator.layout import Ground, lay_out
from simulator.noise import fractal, generator
from simulator.projects import (
    Pit,
    Project,
    clearing_project,
    clearing_surfaces,
    growth_projects,
    make_pit,
    pit_depth,
    pit_surfaces,
)
from simulator.seasons import river_stage, wetness
from simulator.spectra import Surface


@dataclass(frozen=True)
class State:
    """The ground on one day."""

    numbers: Bytes
    """(cells, cells) world numbers: surfaces and fields."""
    slope_east: Floats
    """Metres of rise per metre to the east."""
    slope_south: Floats
    """Metres of rise per metre to the south."""


@dataclass(frozen=True)
class World:
    """The district: its ground and the projects that change it."""

    frame: Frame
    seed: int
    ground: Ground
    pit: Pit
    projects: tuple[Project, ...]
    """Growth outside, growth inside, clearing, in this order."""

    @cached_property
    def grain(self) -> Floats:
        """Which felled cells burn, and which green over first."""
        return fractal(self.frame.cells, generator(self.seed, 23), slope=1.6, largest=24)

    @cached_property
    def rework(self) -> Floats:
        """Where dumps are tipped on and levelled."""
        return fractal(self.frame.cells, generator(self.seed, 24), slope=2.6, largest=40)

    def state(self, day: date) -> State:
        """The ground on ``day``, at the world's 5 m."""
        growth = tuple(project.step_at(day) for project in self.projects[:2])
        edge = self.pit.edge((growth[0], growth[1]))
        numbers = self.ground.numbers.copy()
        self._rework_dump(numbers, day)
        pit = pit_surfaces(edge, self._fresh(day), wetness(day) > 0.6)
        _put(numbers, pit)
        numbers[(pit < 255) & self.ground.ramp] = Surface.HAUL_ROAD
        _put(numbers, clearing_surfaces(self._age(self.projects[2], day), self.grain))
        self._flood(numbers, day)
        height = self.ground.height + pit_depth(edge)
        south, east = np.gradient(height, 5.0)
        return State(numbers, east.astype(np.float32), south.astype(np.float32))

    def _fresh(self, day: date) -> Bools:
        ages = [self._age(project, day) for project in self.projects[:2]]
        return np.asarray(np.minimum(*ages) < 45.0)

    def _age(self, project: Project, day: date) -> Floats:
        """Days since each cell changed, infinite where it has not."""
        days = np.array([np.inf, *[(day - step).days for step in project.steps]], np.float32)
        days[days < 0] = np.inf
        return days[project.stage]

    def _rework_dump(self, numbers: Bytes, day: date) -> None:
        turn = (day - START).days // 60
        tipped = np.sin(2.4 * self.rework + 1.9 * turn) > 0.72
        numbers[(numbers == Surface.DUMP) & tipped] = Surface.PIT_BENCH

    def _flood(self, numbers: Bytes, day: date) -> None:
        wobble = 0.07 * float(generator(self.seed, 25, day.toordinal()).standard_normal())
        stage = river_stage(day, wobble)
        numbers[self.ground.bed < stage] = Surface.RIVER
        wet_edge = (self.ground.bed >= stage) & (self.ground.bed < stage + 0.08)
        numbers[wet_edge] = Surface.MUD


def _put(numbers: Bytes, layer: Bytes) -> None:
    there = layer < 255
    numbers[there] = layer[there]


def make_world(seed: int, frame: Frame | None = None) -> World:
    """The district of a seed. The same seed gives the same world to the bit."""
    frame = frame or Frame()
    x, y = frame.axes()
    pit = make_pit(x, y, seed)
    projects = (*growth_projects(pit), clearing_project(x, y, seed))
    return World(frame=frame, seed=seed, ground=lay_out(frame, seed), pit=pit, projects=projects)
