"""The 140 real dates of shared/data/romania_s2: loaded, masked, scored, folded, measured against their loss.

No labels exist, so truth is made from the images: a loss cluster is at least 0.15 ha (15 pixels, 8-connected)
where the summer (June to September) clear-sky median NDVI of 2020 is more than 0.2 below 2016.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from scipy import ndimage
from shapely.geometry import shape

from detector.evidence import fold
from detector.models import Card, scores
from detector.state import LedgerRow, PixelStatus, State, quantise, source_name, start
from registry.detection import DetectionSettings, QualitySettings
from registry.grid import Grid, area_grid
from registry.models import Sensor, Target

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

ASSETS = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "nir08": "B8A", "swir16": "B11"}
EIGHT = np.ones((3, 3), dtype=bool)
SMALLEST_PX = 10
"""The minimum mapping unit of 0.1 ha."""
CLUSTER_PX = 15
"""0.15 ha."""
YEARS = range(2017, 2021)
"""Years whose loss against 2016 is looked at."""


@dataclass(frozen=True)
class Look:
    """One date on the grid."""

    name: str
    acquired: datetime
    bands: Mapping[str, Float32]
    scl: NDArray[np.uint8]


@lru_cache(maxsize=1)
def load(folder: Path) -> tuple[Grid, tuple[Look, ...]]:
    """All dates, warped to the UTM grid of their common footprint (bilinear; scene classes nearest)."""
    items = [json.loads(path.read_text()) for path in sorted((folder / "items").glob("*.json"))]
    grid = area_grid(shape(items[0]["geometry"]), 0.0)
    looks = (_look(item, folder / "items", grid) for item in items)
    return grid, tuple(sorted(looks, key=lambda look: look.acquired))


def _look(item: Mapping[str, Any], base: Path, grid: Grid) -> Look:
    assets = item["assets"]
    bands = {
        name: np.where(raw == 0, np.nan, raw / 10_000).astype(np.float32)
        for asset, name in ASSETS.items()
        for raw in [_warped(base / assets[asset]["href"], grid, Resampling.bilinear)]
    }
    scl = _warped(base / assets["scl"]["href"], grid, Resampling.nearest).astype(np.uint8)
    return Look(str(item["id"]), datetime.fromisoformat(item["properties"]["datetime"]), bands, scl)


def _warped(path: Path, grid: Grid, how: Resampling) -> NDArray[np.float64]:
    onto = {
        "crs": grid.crs,
        "transform": rasterio.Affine(*grid.geotransform),
        "width": grid.width,
        "height": grid.height,
    }
    with (
        rasterio.open(path) as source,
        WarpedVRT(source, **onto, resampling=how, src_nodata=0, nodata=0) as warped,
    ):
        data: NDArray[np.float64] = warped.read(1).astype(np.float64)
    return data


def disc(metres: float) -> Mask:
    """A round neighbourhood on the 10 m grid."""
    radius = int(metres // 10)
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    near: Mask = x * x + y * y <= radius * radius
    return near


def look_weight(look: Look, settings: QualitySettings) -> NDArray[np.uint8]:
    """0 unseen, 1 weak, 2 clear, by scene class with cloud and shadow dilated."""
    missing = ~np.all([np.isfinite(band) for band in look.bands.values()], axis=0)
    cloud = ndimage.binary_dilation(np.isin(look.scl, (8, 9, 10)), disc(settings.cloud_dilation_m))
    shadow = ndimage.binary_dilation(look.scl == 3, disc(settings.shadow_dilation_m))
    hidden = np.isin(look.scl, settings.scl_bad) | cloud | shadow | missing
    weak = np.isin(look.scl, settings.scl_weak)
    return np.where(hidden, 0, np.where(weak, 1, 2)).astype(np.uint8)


def ledger(
    looks: Sequence[Look], card: Card, target: Target, settings: DetectionSettings
) -> Iterator[LedgerRow]:
    """The rows that a worker would write."""
    for look in looks:
        found = scores(card, look.bands, (target,), device="cpu", offset_known=True)
        yield LedgerRow(
            name=look.name,
            acquired=look.acquired,
            sensor=Sensor.S2,
            source=source_name(Sensor.S2, card.id),
            score=quantise(found[target]),
            weight=look_weight(look, settings.quality),
        )


def folded(rows: Sequence[LedgerRow], target: Target, settings: DetectionSettings) -> Iterator[State]:
    """The state after each row."""
    state = start(rows[0].score.shape, floor=settings.evidence.floor)
    for row in rows:
        state = fold(state, row, target=target, settings=settings)
        yield state


def told(state: State) -> Mask:
    """Confirmed pixels and doubtful ones that touch them, in objects of the minimum mapping unit."""
    confirmed = state.status == PixelStatus.CONFIRMED
    likely = (state.status == PixelStatus.PROVISIONAL) & (state.log_odds > 0)
    labels, count = ndimage.label(confirmed | likely)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    kept = [one for one in np.unique(labels[confirmed]) if one and sizes[one] >= SMALLEST_PX]
    mask: Mask = np.isin(labels, kept)
    return mask


def ndvi_drop(looks: Sequence[Look], before: int = 2016, after: int = 2020) -> Float32:
    """Fall of the summer clear-sky median NDVI from one year to the other; NaN outside the images."""
    return summer_ndvi(looks, before) - summer_ndvi(looks, after)


def summer_ndvi(looks: Sequence[Look], year: int) -> Float32:
    """Median NDVI of June to September over clear looks by scene class, nothing dilated."""
    series = []
    for look in looks:
        if look.acquired.year != year or not 6 <= look.acquired.month <= 9:
            continue
        red, nir = look.bands["B04"], look.bands["B08"]
        clear = ~np.isin(look.scl, QualitySettings().scl_bad)
        series.append(np.where(clear, (nir - red) / (nir + red), np.nan))
    stack = np.array(series, dtype=np.float32)
    unseen = ~np.isfinite(stack).any(axis=0)
    stack[:, unseen] = 0.0
    median: Float32 = np.where(unseen, np.nan, np.nanmedian(stack, axis=0)).astype(np.float32)
    return median


def never_lost(looks: Sequence[Look], most: float = 0.1) -> Mask:
    """Pixels whose summer median NDVI of no year fell by ``most`` below 2016."""
    with np.errstate(invalid="ignore"):
        falls = [ndvi_drop(looks, 2016, year) < most for year in YEARS]
    kept: Mask = np.all(falls, axis=0)
    return kept


def clusters(drop: Float32) -> list[Mask]:
    """The loss clusters that must be found."""
    labels, count = ndimage.label(drop > 0.2, EIGHT)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    return [labels == label for label in range(1, count + 1) if sizes[label] >= CLUSTER_PX]


@dataclass(frozen=True)
class Skill:
    """What a flagged mask is worth against the drop of NDVI."""

    clusters: int
    hit: int
    flagged: int
    """Pixels."""
    false: int
    """Of these, pixels where the drop is under 0.1."""

    @property
    def false_share(self) -> float:
        """Share of the flagged area where the drop is under 0.1."""
        return self.false / max(1, self.flagged)

    @property
    def recall(self) -> float:
        """Share of the clusters that are hit."""
        return self.hit / max(1, self.clusters)


def measure(flagged: Mask, drop: Float32) -> Skill:
    """The issue's two figures, of a mask of flagged pixels."""
    wanted = clusters(drop)
    return Skill(
        clusters=len(wanted),
        hit=sum(bool((flagged & cluster).any()) for cluster in wanted),
        flagged=int(flagged.sum()),
        false=int((flagged & (drop < 0.1)).sum()),
    )
