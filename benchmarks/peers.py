"""The peers: odc-stac for reading, plain numpy per pixel for what groundwatch makes of it.

The numpy peer follows the equations of docs/detection.md in whole-array float arithmetic, one temporary
after the other, as one would write them down first. It skips what the product adds for robustness (the
shift that all pixels share, the counts for reclamation), so it does less work, not more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import odc.stac
import rasterio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import shapes
from scipy.ndimage import distance_transform_edt
from shapely.geometry import shape

from benchmarks.scene import OFFSET, RADAR_NODATA, SCALE, BenchPass
from detector.models import Card, score
from detector.state import LedgerRow, to_day
from registry.detection import DetectionSettings, SourceWeights
from registry.grid import Grid
from registry.models import MASK_BAND, S1_BANDS, Target

Float = NDArray[np.floating[Any]]
Bands = Mapping[str, NDArray[Any]]

STAC_CFG = {
    "s2": {
        "assets": {"*": {"data_type": "uint16", "nodata": 0}, MASK_BAND: {"data_type": "uint8", "nodata": 0}}
    },
    "s1": {"assets": {"*": {"data_type": "float32", "nodata": RADAR_NODATA}}},
}
"""Types of the assets, so that odc-stac reads whole numbers as such."""

RADIANS_PER_DAY = 2.0 * math.pi / 365.25


def geobox(grid: Grid) -> GeoBox:
    """The grid as odc-geo has it."""
    return GeoBox(grid.shape, rasterio.Affine(*grid.geotransform), grid.crs)


def odc_stack(passed: BenchPass, bands: Sequence[str], *, threads: int) -> dict[str, NDArray[Any]]:
    """Bands by name on the grid: reflectance and power with NaN for no data, scene classes as uint8."""
    box = geobox(passed.grid)
    found: dict[str, NDArray[Any]] = {}
    for item in passed.items:
        own = [band for band in bands if band in item.assets]
        if not own:
            continue
        loaded = odc.stac.load(
            [item],
            bands=own,
            geobox=box,
            resampling={"*": "bilinear", MASK_BAND: "nearest"},
            pool=threads,
            stac_cfg=STAC_CFG,
        )
        found |= {band: _physical(band, loaded[band].values[0]) for band in own}
    return found


def _physical(band: str, numbers: NDArray[Any]) -> NDArray[Any]:
    if band == MASK_BAND:
        return numbers
    values = numbers.astype(np.float32)
    if band not in S1_BANDS:
        values = np.maximum(values * np.float32(SCALE) + np.float32(OFFSET), np.float32(0.0))
    values[numbers == (RADAR_NODATA if band in S1_BANDS else 0)] = np.nan
    return values


def decoded(passed: BenchPass, bands: Sequence[str], *, threads: int) -> list[NDArray[Any]]:
    """The floor: the same windows decoded in threads, and nothing else."""
    files = [scene.bands[band].href for one in (passed.optical, passed.radar) for scene in one.scenes
             for band in scene.bands if band in bands]  # fmt: skip

    def read(path: str) -> NDArray[Any]:
        with rasterio.open(path) as source:
            left, bottom, right, top = passed.grid.bounds
            window: NDArray[Any] = source.read(1, window=source.window(left, bottom, right, top))
            return window

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(read, files))


def numpy_weight(bands: Bands, settings: DetectionSettings) -> NDArray[np.uint8]:
    """2 where clear: data in all bands, away from cloud and shadow."""
    quality = settings.quality
    seen = np.all([np.isfinite(band) for name, band in bands.items() if name != MASK_BAND], axis=0)
    classes = bands[MASK_BAND]
    hidden = np.isin(classes, quality.scl_bad)
    for members, metres in (((8, 9, 10), quality.cloud_dilation_m), ((3,), quality.shadow_dilation_m)):
        core = np.isin(classes, members)
        if core.any():
            hidden |= distance_transform_edt(~core) * 10 <= metres
    return np.where(seen & ~hidden, 2, 0).astype(np.uint8)


@dataclass(frozen=True)
class NumpyState:
    """What the numpy peer remembers of one target."""

    sums: Float
    """(9, h, w) weighted sums over looks: 1, s, c, ss, sc, y, ys, yc, yy."""
    log_odds: Float
    n_pos: NDArray[np.int64]
    day: int


def numpy_start(shape_: tuple[int, int], settings: DetectionSettings) -> NumpyState:
    """A state that has seen nothing."""
    floor = np.full(shape_, settings.evidence.floor)
    return NumpyState(np.zeros((9, *shape_)), floor, np.zeros(shape_, dtype=np.int64), 0)


def numpy_fold(
    state: NumpyState, row: LedgerRow, *, target: Target, settings: DetectionSettings
) -> tuple[NumpyState, NDArray[np.bool_]]:
    """(state, confirmed) after one look: harmonic fit, likelihood ratio, Bayes filter, learning."""
    rules, source = settings.evidence, settings.evidence.s2
    day = to_day(row.acquired)
    seen = row.weight > 0
    y = row.score / 256.0 * (1.0 if target is Target.TRANSFORMED else -1.0)
    s, c = math.sin(RADIANS_PER_DAY * day), math.cos(RADIANS_PER_DAY * day)
    design = np.array([1.0, s, c])
    mean, expected, sigma = _expected(state.sums, design, settings)
    otherwise = mean < -math.log(rules.before_probability / (1 - rules.before_probability))
    judged = seen & (state.sums[0] >= rules.min_history) & (otherwise | (state.n_pos > 0))
    step = np.where(judged, np.clip(_ratio(y, expected, sigma, source), -source.cap, source.cap), 0.0)
    odds = np.clip(_predicted(state.log_odds, day - state.day, settings) + step, rules.floor, rules.ceiling)
    odds = np.where(judged, odds, state.log_odds)
    n_pos = np.where(odds > 0.0, state.n_pos + (judged & (step >= rules.positive)), 0)
    life = settings.lifecycle
    certain = math.log(life.confirmed_probability / (1 - life.confirmed_probability))
    confirmed = (odds >= certain) & (n_pos >= life.confirmed_looks)
    calm = seen & (n_pos == 0)
    parts = (1.0, s, c, s * s, s * c, y, y * s, y * c, y * y)
    sums = np.stack([old + calm * part for old, part in zip(state.sums, parts, strict=True)])
    return NumpyState(sums, odds, n_pos, day), confirmed


def _expected(sums: Float, design: Float, settings: DetectionSettings) -> tuple[Float, Float, Float]:
    """(yearly mean, score of the day, sigma) by a 3 x 3 ridge solve per pixel."""
    n, s, c, ss, sc, y, ys, yc, yy = sums
    rules = settings.evidence
    matrix = np.empty((*n.shape, 3, 3))
    rows = ((n + 1 / 1024, s, c), (s, ss + rules.ridge, sc), (c, sc, n - ss + rules.ridge))
    for i, row in enumerate(rows):
        for j, entry in enumerate(row):
            matrix[..., i, j] = entry
    moments = np.stack([y, ys, yc], axis=-1)
    inverse = np.linalg.inv(matrix)
    beta = np.einsum("...ij,...j->...i", inverse, moments)
    residual = np.maximum(yy - np.einsum("...i,...i->...", beta, moments), 0.0)
    prior = rules.prior_strength
    variance = (prior * rules.s2.sigma**2 + residual) / (prior + n)
    leverage = np.einsum("i,...ij,j->...", design, inverse, design)
    return beta[..., 0], beta @ design, np.sqrt(variance * (1.0 + leverage)) * rules.caution


def _ratio(y: Float, expected: Float, sigma: Float, source: SourceWeights) -> Float:
    def normal(x: Float, spread: Float | float) -> Float:
        density: Float = np.exp(-0.5 * (x / spread) ** 2) / (spread * math.sqrt(2 * math.pi))
        return density

    above = np.maximum(y - expected, 0.0)
    below = np.maximum(np.maximum(expected + sigma, source.changed_mean) - y, 0.0)
    same = (1 - source.outlier) * normal(above, sigma) + source.outlier * normal(above - 3.0, 3.0)
    changed = (1 - source.outlier) * normal(below, source.changed_sigma) + source.outlier * normal(below, 3.0)
    ratio: Float = source.weight * np.log(changed / same)
    return ratio


def _predicted(odds: Float, days: int, settings: DetectionSettings) -> Float:
    rules = settings.evidence
    both = rules.hazard_per_day + rules.reversal_per_day
    settled = rules.hazard_per_day / both
    later = settled + (1 / (1 + np.exp(-odds)) - settled) * math.exp(-both * days)
    found: Float = np.log(later / (1 - later))
    return found


def numpy_polygons(confirmed: NDArray[np.bool_], grid: Grid, *, least_ha: float) -> list[Any]:
    """Polygons of at least so many hectares, in lon/lat."""
    transform = rasterio.Affine(*grid.geotransform)
    found = shapes(confirmed.astype(np.uint8), mask=confirmed, transform=transform)
    land = [polygon for polygon in (shape(one) for one, _ in found) if polygon.area >= least_ha * 1e4]
    return [grid.to_world(polygon) for polygon in shapely.make_valid(land)] if land else []


def numpy_score(card: Card, bands: Bands) -> NDArray[np.int16]:
    """The card's logit at 1/256; the formula is the model, so it is the same for both."""
    return np.nan_to_num(score(card, bands) * 256, nan=-32768).astype(np.int16)
