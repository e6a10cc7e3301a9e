"""A pass as one array on the area's grid: plan, read windows in threads, mosaic, scale, fuse the partner."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from detector.reading import ReaderSettings, Window, read_window
from registry.errors import Reject
from registry.grid import Grid
from registry.log import get_logger
from registry.models import MASK_BAND, S1_BANDS, BandFile, Pass, Scene, Sensor

log = get_logger(__name__)

Float32 = NDArray[np.float32]

RADAR_EDGE_PX = 3
"""Pixels taken off beside no data of Sentinel-1: border noise."""

APPLIED_BELOW = -0.015
"""Reflectance that no surface has: pixels below it show that the offset had been applied already."""

APPLIED_SHARE = 0.002
"""Share of such pixels that settles it."""


@dataclass(frozen=True)
class Stack:
    """The fused array of a pass on the area's grid."""

    grid: Grid
    bands: Mapping[str, Float32]
    """(h, w) by name: Sentinel-2 reflectance, Sentinel-1 gamma0 in linear power; NaN = no data."""
    scl: NDArray[np.uint8] | None
    """(h, w) scene classes; 0 = no data; None where the pass has none."""
    partner_age_days: float | None
    """How much older the partner is; None without one."""
    notes: tuple[str, ...] = ()
    """What a person should know: offsets found applied, scenes that could not be checked."""


def read_stack(
    pass_: Pass, partner: Pass | None, grid: Grid, bands: Collection[str], *, reader: ReaderSettings
) -> Stack:
    """Read and fuse ``bands`` of the pass and its partner; bands that nobody offers are absent.

    Raises Retry where a file can't be had now and Reject where it never will be what the item says.
    """
    plan = [job for source in (pass_, partner) if source is not None for job in _jobs(source, grid, bands)]
    if not plan:
        raise Reject(f"pass {pass_.name} offers none of the bands {sorted(bands)}")
    read = _read_all(plan, reader)
    offsets, notes = _offsets(plan, read)
    fused: dict[str, Float32] = {}
    scl: NDArray[np.uint8] | None = None
    for name in dict.fromkeys(job.band for job in plan):
        parts = [(job, window) for job, window in zip(plan, read, strict=True) if job.band == name]
        if name == MASK_BAND:
            scl = _mosaic_classes(window for _, window in parts)
        else:
            fused[name] = _mosaic(_physical(job, window, offsets) for job, window in parts)
    age = (pass_.acquired - partner.acquired).total_seconds() / 86_400 if partner is not None else None
    return Stack(grid=grid, bands=_eroded_radar(fused), scl=scl, partner_age_days=age, notes=notes)


@dataclass(frozen=True)
class _Job:
    """One band of one scene."""

    scene: Scene
    band: str
    file: BandFile
    grid: Grid


def _jobs(source: Pass, grid: Grid, bands: Collection[str]) -> Iterable[_Job]:
    wanted = [
        name for name in (*_ordered(bands), MASK_BAND) if (name in S1_BANDS) == (source.sensor is Sensor.S1)
    ]
    for scene in source.scenes:
        for name in wanted:
            if name in scene.bands:
                yield _Job(scene, name, scene.bands[name], grid)


def _ordered(bands: Collection[str]) -> list[str]:
    return sorted(set(bands) - {MASK_BAND})


def _read_all(plan: Sequence[_Job], reader: ReaderSettings) -> list[Window]:
    """Windows in the plan's order, read in threads; the first error ends it."""

    def read(job: _Job) -> Window:
        return read_window(job.scene, job.file, job.grid, classes=job.band == MASK_BAND, reader=reader)

    futures = [_pool(reader.threads).submit(copy_context().run, read, job) for job in plan]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: GDAL keeps connections and pyproj transformers per thread."""
    return ThreadPoolExecutor(max_workers=threads, thread_name_prefix="read")


def _offsets(plan: Sequence[_Job], read: Sequence[Window]) -> tuple[dict[str, bool], tuple[str, ...]]:
    """Per scene id whether its declared offset still has to be applied, and notes on those that had been.

    Earth Search subtracts the offset in many files and declares it all the same: with it applied twice,
    dark ground falls far below zero, which no surface does (sentinel.md, "Reflectance").
    """
    apply, notes = {}, []
    for scene in {job.scene.id: job.scene for job in plan if job.scene.offset_check}.values():
        shares = [
            _share_below(job, window)
            for job, window in zip(plan, read, strict=True)
            if job.scene.id == scene.id and job.file.offset < 0.0 and job.band != MASK_BAND
        ]
        applied = bool(shares) and max(shares) > APPLIED_SHARE
        apply[scene.id] = not applied
        if applied:
            notes.append(f"{scene.id}: offset was in the pixels already, not applied again")
    return apply, tuple(notes)


def _share_below(job: _Job, window: Window) -> float:
    numbers = window.values[np.isfinite(window.values)]
    if numbers.size == 0:
        return 0.0
    return float(np.mean(numbers * job.file.scale + job.file.offset < APPLIED_BELOW))


def _physical(job: _Job, window: Window, apply_offset: Mapping[str, bool]) -> Float32:
    """Numbers to reflectance (not below 0) or linear power."""
    offset = job.file.offset if apply_offset.get(job.scene.id, True) else 0.0
    if job.file.scale == 1.0 and offset == 0.0:
        return window.values
    values: Float32 = window.values * np.float32(job.file.scale)
    if offset:
        values += np.float32(offset)
        np.maximum(values, np.float32(0.0), out=values)
    return values


def _mosaic(parts: Iterable[Float32]) -> Float32:
    """First valid pixel in the order of scenes: overlap is one observation."""
    iterator = iter(parts)
    result = next(iterator)
    for part in iterator:
        result = np.where(np.isnan(result), part, result)
    return result


def _mosaic_classes(windows: Iterable[Window]) -> NDArray[np.uint8]:
    return np.nan_to_num(_mosaic(window.values for window in windows), nan=0.0).astype(np.uint8)


def _eroded_radar(bands: dict[str, Float32]) -> dict[str, Float32]:
    """Without Sentinel-1 border noise: pixels beside no data, and what is not above zero, are dropped."""
    for name in S1_BANDS:
        if name in bands:
            seen = bands[name] > 0.0
            if not seen.all():
                seen = binary_erosion(seen, iterations=RADAR_EDGE_PX, border_value=1)
                bands[name] = np.where(seen, bands[name], np.float32(np.nan))
    return bands
