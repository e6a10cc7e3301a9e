"""Chips cut from recorded passes: windows of an area, some clear dates each, for people to label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from shapely.geometry import box

from detector.quality import look_quality
from detector.reading import ReaderSettings
from detector.stack import Stack, read_stack
from detector.training.folder import write_chip
from ingest.passes import partner_of
from registry.chips import CHANNELS, Chip
from registry.detection import DetectionSettings
from registry.errors import InputError, Reject
from registry.grid import RESOLUTION, Grid, area_grid
from registry.log import get_logger
from registry.models import Area, Pass, Sensor

log = get_logger(__name__)

TRIES = 5
"""Passes that are read for one date before a window goes without it."""


@dataclass(frozen=True)
class Cut:
    """What to cut."""

    size: int = 256
    """Side of a chip in pixels."""
    windows: int = 40
    """Windows at most, spread evenly over the area."""
    dates: int = 2
    """Dates per window, spread evenly over the passes."""
    clear: float = 0.9
    """Least share of a chip that is seen clearly."""


def cut_area(
    area: Area,
    timeline: Sequence[Pass],
    out: Path,
    cut: Cut,
    *,
    reader: ReaderSettings,
    settings: DetectionSettings,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Chip]:
    """Write chips without labels to ``out``; returns them, without what is too cloudy.

    A chip holds a Sentinel-2 pass and its radar partner, as the detector would fuse them. All chips of an
    area are one place. Raises InputError where there is no pass to cut from.
    """
    optical = [one for one in timeline if one.sensor is Sensor.S2 and not one.withdrawn]
    if not optical:
        raise InputError(
            f"area {area.id} has no optical passes in that time; read some first with "
            f"`groundwatch backfill --area {area.id} --since DATE`"
        )
    written = []
    for grid in windows_of(area, cut):
        for group in _groups(optical, cut.dates):
            chip = _clearest(area, grid, group, timeline, cut, reader, settings)
            if chip is not None:
                write_chip(out, chip, grid=grid)
                written.append(chip)
            advance(1)
    return written


def windows_of(area: Area, cut: Cut) -> list[Grid]:
    """Grids of one chip that meet the area, at most ``cut.windows``, on its own lattice."""
    whole = area_grid(area.geometry, area.buffer_m)
    shape = whole.from_world(area.geometry)
    step = cut.size * RESOLUTION
    corners = [
        (left, top)
        for top in range(whole.top, whole.bounds[1], -step)
        for left in range(whole.left, whole.bounds[2], step)
        if shape.intersects(box(left, top - step, left + step, top))
    ]
    found = [
        Grid(epsg=whole.epsg, left=left, top=top, width=cut.size, height=cut.size) for left, top in corners
    ]
    chosen = np.unique(np.linspace(0, len(found) - 1, min(cut.windows, len(found))).round().astype(int))
    return [found[int(number)] for number in chosen]


def _groups(passes: Sequence[Pass], count: int) -> Iterator[Sequence[Pass]]:
    """The passes in ``count`` runs of equal length, in order of time."""
    ordered = sorted(passes, key=lambda one: (one.acquired, one.id))
    for part in np.array_split(np.arange(len(ordered)), min(count, len(ordered))):
        yield [ordered[int(number)] for number in part]


def _clearest(
    area: Area,
    grid: Grid,
    group: Sequence[Pass],
    timeline: Sequence[Pass],
    cut: Cut,
    reader: ReaderSettings,
    settings: DetectionSettings,
) -> Chip | None:
    """The first of a few passes, evenly spread over the group, that is clear enough."""
    tries = np.unique(np.linspace(0, len(group) - 1, min(TRIES, len(group))).round().astype(int))
    for number in tries:
        one = group[int(number)]
        try:
            stack = read_stack(
                one, partner_of(one, timeline, settings.partner), grid, CHANNELS, reader=reader
            )
        except Reject as exc:
            log.warning("pass left out", pass_name=one.name, reason=str(exc))
            continue
        if look_quality(stack, settings.quality).clear_fraction >= cut.clear:
            return _chip(area, grid, one, stack)
    return None


def _chip(area: Area, grid: Grid, one: Pass, stack: Stack) -> Chip:
    pixels = np.full((len(CHANNELS), *grid.shape), np.nan, np.float32)
    for number, name in enumerate(CHANNELS):
        if name in stack.bands:
            pixels[number] = stack.bands[name]
    facts = {"area": area.id, "pass": one.name}
    if stack.partner_age_days is not None:
        facts["partner_lag_days"] = f"{stack.partner_age_days:.2f}"
    return Chip(
        name=f"{area.id}-{one.acquired:%Y%m%d}-{grid.left}-{grid.top}",
        pixels=pixels,
        labels=np.zeros(grid.shape, np.uint16),
        known=(),
        place=area.id,
        acquired=f"{one.acquired:%Y-%m-%d}",
        facts=facts,
    )
