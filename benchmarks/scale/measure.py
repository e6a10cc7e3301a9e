"""What one pass costs a detector on this machine: seconds by stage, requests, bytes read and written."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from rasterio.warp import transform_bounds
from shapely.geometry import box

from benchmarks.scene import LEFT, TILE_M, TOP, BenchPass, write_pass
from detector.models import load_cards, shipped_cards
from detector.reading import ReaderSettings
from detector.worker import DetectorWorker
from registry import metrics
from registry.blobs import open_blobs
from registry.bus.local import LocalBus
from registry.detection import DetectionSettings
from registry.events import PassFound, RegistrySnapshot, pass_found
from registry.geometry import hectares
from registry.grid import area_grid
from registry.models import Area, AreaKind, Pass, pass_id
from registry.snapshots import store_snapshot
from tests.services.web import LOOPBACK, files

_LINE = re.compile(r'" (?:200|206) (\d+) ')
"""Status and bytes in nginx's log."""


@dataclass
class Stages:
    """Keeps the seconds of each stage."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def count(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Not kept."""

    def show(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Not kept."""

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """A stage took so long."""
        if name == "groundwatch_stage_seconds":
            self.seconds[labels["stage"]].append(value)


@dataclass(frozen=True)
class Measured:
    """A pass over an area of ``km2``; medians over the passes after the first."""

    km2: float
    stages: Mapping[str, float]
    """Seconds by stage, on the wall's clock."""
    cpu_s: float
    """Processor seconds of a pass: what counts on a machine that does other things, too."""
    requests: float
    """Of a pass, to the server of its files."""
    read_mb: float
    blobs: float
    """Written."""
    written_mb: float


def measure(*, area_km: float = 10.0, passes: int = 8) -> Measured:
    """Passes over one area, read over HTTP from this machine, all the way to the published change."""
    with tempfile.TemporaryDirectory() as text:
        work = Path(text)
        (work / "scene").mkdir()
        bench = write_pass(work / "scene", area_km=area_km)
        with files(work / "scene", work / "nginx") as url:
            return _measured(work, bench, url, area_km, passes)


def _measured(work: Path, bench: BenchPass, url: str, area_km: float, passes: int) -> Measured:
    area, stages = _area(area_km), Stages()
    bus, blobs = LocalBus(work / "bus.db"), open_blobs((work / "blobs").as_uri())
    reader = ReaderSettings(threads=8, retries=0, reach=LOOPBACK)
    worker = DetectorWorker(
        bus, blobs, cards=load_cards((shipped_cards(),)), reader=reader, now=lambda: bench.optical.acquired
    )
    registry = store_snapshot(blobs, RegistrySnapshot(area=area, permits=(), zones=()))
    log, counted = work / "nginx" / "access.log", []
    metrics.record_with(stages)
    for number in range(passes):
        before = _sizes(work / "blobs")
        pair = [_served(one, url, area, number) for one in (bench.optical, bench.radar)]
        data = {
            "area": area,
            "grid": area_grid(area.geometry, 0.0),
            "registry": registry,
            "settings": DetectionSettings(),
            "pass": pair[0],
            "partner": pair[1],
        }
        log.write_text("")
        began = time.process_time()
        worker.handle(pass_found(PassFound.model_validate(data), at=bench.optical.acquired))
        spent = time.process_time() - began
        sent = [int(size) for size in _LINE.findall(log.read_text())]
        added = {name: size for name, size in _sizes(work / "blobs").items() if name not in before}
        counted.append((spent, len(sent), sum(sent) / 1e6, len(added), sum(added.values()) / 1e6))
    metrics.record_with(None)
    bus.close()
    spent, requests, read, written, size = (statistics.median(one) for one in zip(*counted[1:], strict=True))
    seconds = {stage: statistics.median(values[1:]) for stage, values in stages.seconds.items()}
    return Measured(hectares(area.geometry) / 100.0, seconds, spent, requests, read, written, size)


def _area(area_km: float) -> Area:
    inset = (TILE_M - area_km * 1000.0) / 2
    corners = (LEFT + inset, TOP - TILE_M + inset, LEFT + TILE_M - inset, TOP - inset)
    lonlat = transform_bounds("EPSG:32721", "EPSG:4326", *corners)
    return Area(id="bench", name="Bench", kind=AreaKind.WATCHED, geometry=box(*lonlat))


def _served(one: Pass, url: str, area: Area, number: int) -> Pass:
    """The pass as a web server has it, ``number`` revisits later."""
    moved = one.acquired + timedelta(days=5 * number)
    scenes = tuple(
        scene.model_copy(
            update={
                "acquired": moved,
                "bands": {
                    name: file.model_copy(update={"href": f"{url}/{Path(file.href).name}"})
                    for name, file in scene.bands.items()
                },
            }
        )
        for scene in one.scenes
    )
    key = f"{one.key}-{number}"
    changes = {"id": pass_id(area.id, key), "key": key, "area_id": area.id, "acquired": moved}
    return one.model_copy(update={**changes, "scenes": scenes})


def _sizes(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
