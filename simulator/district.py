"""Write a whole district: passes as COGs and STAC items, areas, permits, zones, and the truth beside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio import Affine

from registry.errors import Exists
from simulator import places, stac
from simulator.frame import START, Frame, moment
from simulator.optical import NATIVE, Camera, OpticalPass
from simulator.products import OpticalProduct, RadarProduct, optical_products, radar_products
from simulator.radar import NODATA, Radar
from simulator.truth import TruthEvent, find_truth, truth_geojson
from simulator.world import World, make_world

Progress = Callable[[int, int], None]
"""Called with (passes done, passes in all)."""

THREADS = 2
"""Passes rendered at once."""


@dataclass(frozen=True)
class District:
    """What was written, and what is true."""

    folder: Path
    areas: Path
    """areas.geojson: what to watch."""
    permits: Path
    """permits.geojson: who may dig where and until when."""
    zones: Path
    """zones.geojson: the reserve."""
    truth_file: Path
    """truth.geojson: one feature per event and step."""
    items: tuple[Mapping[str, Any], ...]
    """Final STAC items of both collections by sensing time; asset hrefs are relative to ``folder``."""
    superseded: tuple[Mapping[str, Any], ...]
    """Items as they were before they were reprocessed."""
    collections: tuple[Mapping[str, Any], ...]
    truth: tuple[TruthEvent, ...]
    start: date
    end: date
    """Last day of the record."""

    def items_at(self, when: datetime) -> tuple[Mapping[str, Any], ...]:
        """The catalogue as it was at ``when``: what was published, in the version of then."""
        known = stac.text(when)
        newest: dict[str, Mapping[str, Any]] = {}
        for item in (*self.superseded, *self.items):
            if item["properties"]["updated"] <= known:
                newest[item["id"]] = item
        return tuple(newest.values())


@dataclass(frozen=True)
class Job:
    """One product to render and write."""

    product: OpticalProduct | RadarProduct
    folder: str
    """Where its files go, relative to the district."""
    created: datetime
    updated: datetime
    faulty: bool = False
    """True for a first version that the archive later replaced."""
    superseded: bool = False


def write_district(
    folder: Path, *, seed: int, months: int = 18, every: int = 1, progress: Progress | None = None
) -> District:
    """Render ``months`` of passes into ``folder`` (made here). The same seed gives the same bytes.

    ``every`` thins the record: 4 keeps every fourth product of each sensor.
    Raises Exists where the folder holds a district already.
    """
    if (folder / "cogs").exists():
        raise Exists(f"{folder} holds a simulated district already; name another folder or remove it")
    frame = Frame()
    days = round(months * 30.4375)
    world = make_world(seed, frame)
    jobs = [*list(optical_jobs(frame, days, seed))[::every], *list(radar_jobs(days, seed))[::every]]
    items, superseded = _write_passes(world, jobs, folder, progress)
    end = START + timedelta(days=days - 1)
    truth = find_truth(world, end)
    papers = {
        "areas": places.areas_geojson(frame),
        "permits": places.permits_geojson(frame),
        "zones": places.zones_geojson(frame),
        "truth": truth_geojson(truth),
    }
    paths = {name: _write_json(folder / f"{name}.geojson", content) for name, content in papers.items()}
    collections = stac.collections(frame, moment(START, 0, 0, 0))
    _write_json(folder / "items.json", {"type": "FeatureCollection", "features": list(items)})
    return District(
        folder=folder,
        areas=paths["areas"],
        permits=paths["permits"],
        zones=paths["zones"],
        truth_file=paths["truth"],
        items=items,
        superseded=superseded,
        collections=collections,
        truth=truth,
        start=START,
        end=end,
    )


def optical_jobs(frame: Frame, days: int, seed: int) -> Iterator[Job]:
    """Sentinel-2 products with the irregularities of a real archive, one of each kind.

    At about a quarter of the record a product that comes again under a newer baseline; then one split
    between two ground stations; one published five weeks late; one replaced after two months.
    """
    products = optical_products(frame, days, seed)
    twice, split, late, redone = (len(products) * share // 100 for share in (27, 38, 50, 60))
    for number, product in enumerate(products):
        published = product.generated + timedelta(hours=2)
        job = Job(product, _folder(product.id), published, published)
        if number == twice:
            yield job
            yield _again(product)
        elif number == split:
            yield from _split(product)
        elif number == late:
            yield replace(job, created=published + timedelta(days=36), updated=published + timedelta(days=36))
        elif number == redone:
            yield replace(job, folder=f"{job.folder}_first", faulty=True, superseded=True)
            yield replace(job, updated=published + timedelta(days=61))
        else:
            yield job


def _folder(item_id: str) -> str:
    return f"cogs/{item_id}"


def _again(product: OpticalProduct) -> Job:
    later = product.generated + timedelta(days=150)
    again = replace(product, baseline="05.11", generated=later, sequence=1)
    published = later + timedelta(hours=2)
    return Job(again, _folder(again.id), published, published)


def _split(product: OpticalProduct) -> Iterator[Job]:
    for sequence, part in enumerate(("north", "south")):
        generated = product.generated + timedelta(minutes=47 * sequence)
        piece = replace(product, part=part, sequence=sequence, generated=generated)
        published = generated + timedelta(hours=2)
        yield Job(piece, _folder(piece.id), published, published)


def radar_jobs(days: int, seed: int) -> Iterator[Job]:
    """Sentinel-1 products, published some hours after sensing."""
    for product in radar_products(days, seed):
        published = product.start + timedelta(hours=7)
        yield Job(product, _folder(product.id), published, published)


Items = tuple[Mapping[str, Any], ...]


def _write_passes(
    world: World, jobs: list[Job], folder: Path, progress: Progress | None
) -> tuple[Items, Items]:
    camera, radar = Camera(world), Radar(world)
    for prepared in (camera.roughness, camera.greenness, radar.roughness, world.grain, world.rework):
        prepared.flags.writeable = False

    def write(job: Job) -> Mapping[str, Any]:
        if isinstance(job.product, RadarProduct):
            return _write_radar(world.frame, radar, job, folder)
        return _write_optical(world.frame, camera, job, folder)

    current: list[Mapping[str, Any]] = []
    superseded: list[Mapping[str, Any]] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for number, (job, item) in enumerate(zip(jobs, pool.map(write, jobs), strict=True), start=1):
            (superseded if job.superseded else current).append(item)
            if progress is not None:
                progress(number, len(jobs))
    current.sort(key=lambda item: (item["properties"]["datetime"], item["id"]))
    return tuple(current), tuple(superseded)


def _write_optical(frame: Frame, camera: Camera, job: Job, folder: Path) -> Mapping[str, Any]:
    product = job.product
    assert isinstance(product, OpticalProduct)
    shot = camera.shoot(product.day, product.platform)
    target = folder / job.folder
    target.mkdir(parents=True)
    for band, numbers in shot.bands.items():
        kept = _keep_part(_spoil(numbers) if job.faulty else numbers, product.part)
        _write_cog(target / f"{band}.tif", kept, frame, metres=NATIVE[band], nodata=0)
    _write_cog(target / "SCL.tif", _keep_part(shot.scl, product.part), frame, metres=20, nodata=0)
    return stac.optical_item(
        frame,
        product,
        folder=job.folder,
        sun=shot.sun,
        cloud=_cloud(shot),
        created=job.created,
        updated=job.updated,
    )


def _cloud(shot: OpticalPass) -> float:
    return min(100.0, shot.cloud_percent)


def _spoil(numbers: Any) -> Any:
    """A first version whose atmospheric correction went wrong: 4 % too bright, with a veil."""
    return np.clip(numbers.astype(np.float32) * 1.04 + 60.0, 1, 28_000).astype(numbers.dtype)


def _keep_part(numbers: Any, part: str) -> Any:
    """No data where the other ground station has the product's lines; 600 m overlap."""
    if part == "whole":
        return numbers
    rows = numbers.shape[0]
    kept, overlap = numbers.copy(), rows // 10
    if part == "north":
        kept[rows // 2 + overlap :] = 0
    else:
        kept[: rows // 2 - overlap] = 0
    return kept


def _write_radar(frame: Frame, radar: Radar, job: Job, folder: Path) -> Mapping[str, Any]:
    product = job.product
    assert isinstance(product, RadarProduct)
    target = folder / job.folder
    target.mkdir(parents=True)
    for band, power in radar.shoot(product.day, product.track).items():
        _write_cog(target / f"{band}.tif", power, frame, metres=10, nodata=NODATA)
    return stac.radar_item(frame, product, folder=job.folder, created=job.created)


def _write_cog(path: Path, pixels: Any, frame: Frame, *, metres: int, nodata: float) -> None:
    predictor = "FLOATING_POINT" if pixels.dtype.kind == "f" else "STANDARD"
    with rasterio.open(
        path,
        "w",
        driver="COG",
        width=pixels.shape[1],
        height=pixels.shape[0],
        count=1,
        dtype=pixels.dtype,
        crs=f"EPSG:{frame.epsg}",
        transform=Affine(metres, 0, frame.left, 0, -metres, frame.top),
        nodata=nodata,
        compress="DEFLATE",
        level=1,
        predictor=predictor,
        blocksize=256,
        overviews="NONE",
    ) as file:
        file.write(pixels, 1)


def _write_json(path: Path, content: Mapping[str, Any]) -> Path:
    path.write_text(
        json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return path
