"""Every kind of bad event before a real detector, on both buses: given up in time, retried once mended."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import rasterio

from detector.models import load_cards, shipped_cards
from detector.reading import ReaderSettings
from detector.worker import DetectorWorker
from registry.blobs import Blobs, open_blobs
from registry.bus import Bus, Topic
from registry.bus.consume import Handled, consume
from registry.bus.kafka import KafkaBus
from registry.bus.local import LocalBus
from registry.detection import DetectionSettings
from registry.errors import NotFound
from registry.events import Event, PassFound, RegistryRef, RegistrySnapshot, pass_found
from registry.grid import area_grid
from registry.models import Area, BandFile, Pass, Scene, Sensor, Target, pass_id
from registry.snapshots import store_snapshot
from tests.services.kafka import Broker
from tests.storage_samples import START, Clock, change_event, make_area
from tests.test_stack import write_raster

ATTEMPTS = 3
BANDS = ("B02", "B03", "B04", "B08")
AREA: dict[str, Any] = {"left": 340_000, "top": 4_990_000, "step": 10, "size": (400, 400), "epsg": 32635}
"""A raster that covers the samples' area at 25 E, 45 N."""


@dataclass
class Bench:
    """A detector, its bus and its blobs, and files that may be damaged."""

    folder: Path
    bus: Bus
    blobs: Blobs
    clock: Clock
    sound: Path

    def event(self, day: int, *, area: str = "pit", href: str | None = None, **changes: Any) -> Event:
        """A pass over an area; its four bands lie in a file of its own."""
        file = self.folder / f"{area}-{day}.tif"
        shutil.copy(self.sound, file)
        place = _area(area)
        scene = Scene(
            id=f"{area}-{day}",
            provider="test",
            collection="c",
            sensor=Sensor.S2,
            acquired=START + timedelta(days=day),
            footprint=place.geometry.buffer(0.05),
            bands={name: BandFile(href=href or str(file), scale=1e-4, nodata=0) for name in BANDS},
        )
        one = Pass(
            id=pass_id(area, str(day)),
            area_id=area,
            key=str(day),
            sensor=Sensor.S2,
            acquired=scene.acquired,
            scenes=(scene,),
        )
        data = {
            "area": place,
            "grid": area_grid(place.geometry, place.buffer_m),
            "registry": store_snapshot(self.blobs, RegistrySnapshot(area=place, permits=(), zones=())),
            "settings": DetectionSettings(),
            "pass": one,
        }
        return pass_found(PassFound.model_validate({**data, **changes}), at=START)

    def work(self) -> Handled:
        """All there is, back-offs too, whose time the clock makes pass."""
        reader = ReaderSettings(threads=1, retries=0, backoff_s=0.0, timeout_s=5)
        worker = DetectorWorker(
            self.bus, self.blobs, cards=load_cards((shipped_cards(),)), reader=reader, now=self.clock
        )

        def wait(seconds: float) -> None:
            self.clock.advance(seconds)
            time.sleep(0.01)

        return consume(self.bus, Topic.PASSES, worker.handle, worker="w", once=True, halt_after=99, wait=wait)


def _area(name: str) -> Area:
    return make_area(name, targets=(Target.FOREST,))


@contextmanager
def _local(folder: Path, clock: Clock) -> Iterator[Bus]:
    bus = LocalBus(folder / "bus.db", now=clock, max_attempts=ATTEMPTS)
    yield bus
    bus.close()


@pytest.fixture(params=["local", "broker"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    clock = Clock()
    sound = write_raster(tmp_path / "sound.tif", **AREA)
    blobs = open_blobs((tmp_path / "blobs").as_uri())
    if request.param == "local":
        with _local(tmp_path, clock) as bus:
            yield Bench(tmp_path, bus, blobs, clock, sound)
        return
    broker: Broker = request.getfixturevalue("broker")
    kafka = KafkaBus(
        broker.address, broker.new_prefix(), settings=broker.settings(), now=clock, max_attempts=ATTEMPTS
    )
    yield Bench(tmp_path, kafka, blobs, clock, sound)
    kafka.close()


Spoil = Callable[[Path], object]


def _truncated(file: Path) -> object:
    return file.write_bytes(file.read_bytes()[:2_000])


def _elsewhere(file: Path) -> object:
    with rasterio.open(file) as source:
        data, profile = source.read(), source.profile | {"crs": "EPSG:32634"}
    with rasterio.open(file, "w", **profile) as sink:
        sink.write(data)
    return file


FILES: dict[str, Spoil] = {
    "missing": Path.unlink,
    "truncated": _truncated,
    "no raster": lambda file: file.write_bytes(b"not a raster"),
    "empty": lambda file: file.write_bytes(b""),
    "another place": _elsewhere,
}
"""What may be wrong with a file, and is mended by a sound one."""


def _lies(bench: Bench) -> list[Event]:
    """Events that no mending of files helps."""
    away = RegistryRef(version="0" * 64, blob="registry/pit/away.json")
    named = bench.event(20).data
    assert isinstance(named, PassFound)
    return [
        bench.event(21, registry=away),
        bench.event(22, registry=RegistryRef(version="1" * 64, blob=named.registry.blob)),
        bench.event(23, registry=RegistryRef(version="1" * 64, blob="../../etc/passwd")),
        bench.event(24, href="http://169.254.169.254/latest/meta-data"),
        bench.event(25, href="/vsistdin/"),
        bench.event(26, href="http://[::1"),
        change_event("on the wrong topic", area="pit"),
    ]


def test_each_kind_of_poison_dies_alone_and_what_is_mended_counts(bench: Bench) -> None:
    spoilt = {kind: bench.event(day) for day, kind in enumerate(FILES)}
    for day, (kind, event) in enumerate(spoilt.items()):
        FILES[kind](bench.folder / f"pit-{day}.tif")
        bench.bus.publish(Topic.PASSES, event)
        bench.bus.publish(Topic.PASSES, bench.event(30 + day))
        bench.bus.publish(Topic.PASSES, bench.event(day, area="wood"))
    lies = _lies(bench)
    for event in lies:
        bench.bus.publish(Topic.PASSES, event)
    bench.bus.publish(Topic.PASSES, bench.event(60))
    handled = bench.work()
    letters = bench.bus.dead()
    by_body = {Event.from_json(letter.body.encode()).id: letter for letter in letters}
    assert set(by_body) == {event.id for event in (*spoilt.values(), *lies)}
    assert handled.done == 2 * len(FILES) + 1, "no neighbour was held up"
    for letter in letters:
        assert 1 <= letter.attempts <= ATTEMPTS
        assert "\n" not in letter.reason
        assert letter.reason
    assert len({letter.reason for letter in letters}) >= len(letters) - 2, "the reasons tell them apart"
    for day, event in enumerate(spoilt.values()):
        shutil.copy(bench.sound, bench.folder / f"pit-{day}.tif")
        bench.bus.revive(by_body[event.id].id)
    again = bench.work()
    assert (again.done, again.rejected) == (len(FILES), 0)
    assert len(bench.bus.dead()) == len(lies)
    rows = list(bench.blobs.list("ledger/pit/"))
    assert len(rows) == 2 * len(FILES) + 1
    with pytest.raises(NotFound):
        bench.bus.revive(by_body[spoilt["missing"].id].id)
