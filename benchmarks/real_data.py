"""The real data that models are held against; docs/models.md says what was measured on it before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject
from scipy.ndimage import binary_dilation

from benchmarks.chip_statistics import tile_reflectance
from registry.chips import CHANNELS
from registry.detection import QualitySettings
from tests.romania_skill import Look, clusters, disc, load, look_weight, ndvi_drop

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

WATER, TREES, FLOODED, CROPS, BUILT, BARE, SNOW, CLOUD, RANGE = range(1, 10)
"""Classes of the ESRI/IO land-cover maps beside the TerraMind tiles."""

BIOMES = {
    "282D": "Brazil, humid coast",
    "38D": "Tanzania, dry crops",
    "433D": "Chile, temperate farmland and forest",
    "609U": "Canada, boreal, snow",
    "637U": "Denmark, temperate crops",
}
"""Site by the first part of its file's name."""


@dataclass(frozen=True)
class Tile:
    """One real image with the land cover that somebody gives it."""

    name: str
    biome: str
    bands: Mapping[str, Float32]
    """Reflectance and gamma0 in linear power, (h, w); NaN = not seen."""
    forest: Mask
    known: Mask
    """Where the label of tree cover is believed."""
    source: str

    @property
    def site(self) -> str:
        """The first part of its name: for tiles of `terramind` a key of BIOMES."""
        return self.name.split("_")[0]


def terramind(folder: Path) -> Iterator[Tile]:
    """Five sites of 224 x 224, twelve bands and radar, machine-made land cover; none holds a mine."""
    for path in sorted((folder / "terramind_s1s2" / "S2L2A").glob("*.tif")):
        optical = tile_reflectance(path)
        radar = 10.0 ** (_read(folder / "terramind_s1s2" / "S1RTC" / path.name) / 10.0)
        cover = _read(folder / "terramind_s1s2" / "LULC" / path.name)[0]
        bands = dict(zip(CHANNELS, [*optical, *radar.astype(np.float32)], strict=True))
        known = np.isin(cover, (WATER, TREES, CROPS, BUILT, BARE, RANGE))
        yield Tile(path.stem, BIOMES[path.stem.split("_")[0]], bands, cover == TREES, known, "terramind")


def multiearth(folder: Path) -> Iterator[Tile]:
    """Pará 2021-05: three images of B01 to B04 with hand-made masks of deforestation."""
    base = folder / "multiearth_amazon"
    masks = _subset(base / "deforestation_sample.nc", "images")
    places = _subset(base / "deforestation_sample.nc", "center_lat_lons")[0]
    images = _subset(base / "sent2_sample.nc", "images").reshape(13, 5, 256, 256)
    centres = _subset(base / "sent2_sample.nc", "center_lat_lons")[0]
    for number, place in enumerate(places):
        near = [i for i, centre in enumerate(centres) if np.abs(centre - place).max() < 1e-3]
        if near:
            image = images[near[-1]].astype(np.float32) / 1e4
            bands = dict(zip(("B01", "B02", "B03", "B04"), image[:4], strict=True))
            known = image[4] == 0
            yield Tile(f"para-{number}", "Brazil, Amazon", bands, masks[number] == 0, known, "multiearth")


def points(folder: Path) -> Iterator[Tile]:
    """Monthly points with Dynamic World classes, as one column of pixels per file: no surroundings."""
    for name in ("fuel_moisture", "algae_blooms"):
        data = np.load(folder / "presto_s1s2_points" / f"{name}.npz")
        x, cover = data["x"], data["dynamic_world"].reshape(-1)
        flat = x.reshape(-1, x.shape[-1])
        names = [str(one) for one in data["bands"]]
        bands = {}
        for number, band in enumerate(names):
            if band in ("VV", "VH"):
                bands[band] = (10.0 ** (flat[:, number : number + 1] / 10.0)).astype(np.float32)
            elif (padded := _band_name(band)) in CHANNELS:
                bands[padded] = (flat[:, number : number + 1] / 1e4).astype(np.float32)
        usable = (
            np.isin(cover, (0, 1, 2, 4, 5, 6, 7)) if name == "fuel_moisture" else np.isin(cover, (0, 6, 7))
        )
        usable &= bands["B02"][:, 0] < 0.3
        yield Tile(name, "western USA", bands, (cover == 1)[:, None], usable[:, None], "presto")


def _band_name(name: str) -> str:
    return name if len(name) != 2 else f"B0{name[1]}"


@dataclass(frozen=True)
class CalmPair:
    """Two clear dates of an unchanged place."""

    name: str
    before: Look
    after: Look
    calm: Mask
    """Seen clearly at both dates, away from every loss cluster."""


def tree_cover(folder: Path, *, clear: float = 0.9, least: float = 50.0) -> Iterator[Tile]:
    """Clear summer dates of Romania beside Copernicus tree-cover density of 2018: forest from ``least`` %."""
    grid, looks = load(folder / "romania_s2")
    cover = np.full((grid.height, grid.width), np.nan, np.float32)
    with rasterio.open(folder / "nrt_romania_extra" / "tree_cover_density_2018_romania.tif") as source:
        percent = np.where(source.read(1) <= 100, source.read(1), np.nan).astype(np.float32)
        reproject(
            percent,
            cover,
            src_transform=source.transform,
            src_crs=source.crs,
            src_nodata=np.nan,
            dst_transform=Affine(*grid.geotransform),
            dst_crs=grid.crs,
            dst_nodata=np.nan,
            resampling=Resampling.average,
        )
    known = np.isfinite(cover)
    near = [look for look in looks if look.acquired.year in (2017, 2018, 2019)]
    for look in (look for look in near if 6 <= look.acquired.month <= 9):
        seen = (look_weight(look, QualitySettings()) == 2) & known
        if seen.sum() >= clear * known.sum():
            yield Tile(f"{_day(look)}", "Romania, mountain forest", look.bands, cover >= least, seen, "tcd")


@dataclass(frozen=True)
class LossPair:
    """Two clear summer dates before and after the known losses."""

    before: Look
    after: Look
    seen: Mask
    """Seen clearly at both dates."""
    lost: tuple[Mask, ...]
    """The clusters of loss."""
    near: Mask
    """Within 30 m of a cluster."""
    drop: Float32
    """Fall of the summer median NDVI from 2016 to 2020."""


def romania_losses(folder: Path, *, clear: float = 0.95) -> Iterator[LossPair]:
    """Every clear date of July to September until 2016 with every one from 2019 on."""
    _, looks = load(folder / "romania_s2")
    drop = ndvi_drop(looks)
    lost = clusters(drop)
    near = _grown(np.any(lost, axis=0), disc(30.0))
    inside = np.isfinite(drop)
    weights = {look.name: look_weight(look, QualitySettings()) == 2 for look in looks}
    summer = [look for look in looks if look.acquired.month in (7, 8, 9)]
    good = [look for look in summer if weights[look.name][inside].mean() >= clear]
    for before in (look for look in good if look.acquired.year <= 2016):
        for after in (look for look in good if look.acquired.year >= 2019):
            seen = weights[before.name] & weights[after.name] & inside
            yield LossPair(before, after, seen, tuple(lost), near, drop)


def romania_pairs(folder: Path, *, most_days: int = 60, clear: float = 0.95) -> Iterator[CalmPair]:
    """Every two neighbouring clear dates at most ``most_days`` apart."""
    _, looks = load(folder / "romania_s2")
    drop = ndvi_drop(looks)
    lost = np.any([*clusters(drop), np.zeros(drop.shape, bool)], axis=0)
    near = _grown(lost, disc(30.0))
    weights = {look.name: look_weight(look, QualitySettings()) == 2 for look in looks}
    inside = np.isfinite(drop)
    good = [look for look in looks if weights[look.name][inside].mean() >= clear]
    for before, after in pairwise(good):
        if after.acquired - before.acquired <= timedelta(days=most_days):
            calm = weights[before.name] & weights[after.name] & ~near & inside
            yield CalmPair(f"{_day(before)}-{_day(after)}", before, after, calm)


def _day(look: Look) -> date:
    return look.acquired.date()


def _grown(mask: Mask, by: Mask) -> Mask:
    grown: Mask = binary_dilation(mask, by)
    return grown


def _read(path: Path) -> NDArray[np.float64]:
    with rasterio.open(path) as source:
        data: NDArray[np.float64] = source.read()
    return data


def _subset(path: Path, name: str) -> NDArray[np.float64]:
    return _read(Path(f"netcdf:{path}:{name}"))
