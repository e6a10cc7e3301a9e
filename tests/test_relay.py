"""The relay from the store's outbox to another bus, and a detector that has no store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from groundwatch.crank import Crank
from groundwatch.relay import Relay
from groundwatch.wiring import App
from registry.blobs import FileBlobs
from registry.bus import Topic
from registry.bus.local import LocalBus
from registry.errors import Retry
from registry.events import PermitsChanged, permits_changed
from registry.grid import area_grid
from registry.settings import Settings
from registry.snapshots import store_snapshot
from tests.storage_samples import START, make_area, make_event

PATIENCE_S = 20.0


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[LocalBus]:
    bus = LocalBus(tmp_path / "store.db", max_attempts=1_000)
    yield bus
    bus.close()


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[LocalBus]:
    bus = LocalBus(tmp_path / "remote.db")
    yield bus
    bus.close()


def _received(bus: LocalBus) -> list[str]:
    got = []
    while (delivery := bus.receive(Topic.PASSES, worker="w")) is not None:
        got.append(delivery.event.id)
        delivery.ack()
    return got


def test_everything_goes_in_order_and_once(outbox: LocalBus, remote: LocalBus) -> None:
    events = [make_event(number) for number in range(5)]
    for event in events:
        outbox.publish(Topic.PASSES, event)
    relay = Relay(outbox, remote, worker="relay")
    assert relay.ship() == 5
    assert relay.ship() == 0
    assert _received(remote) == [event.id for event in events]


def test_a_crash_between_shipping_and_recording_repeats_nothing(outbox: LocalBus, remote: LocalBus) -> None:
    event = make_event(1)
    outbox.publish(Topic.PASSES, event)
    remote.publish(Topic.PASSES, event)  # shipped, but the process died before it could record it
    assert Relay(outbox, remote, worker="relay").ship() == 1
    assert _received(remote) == [event.id]


def test_a_bus_that_is_down_costs_no_event_and_no_attempt(outbox: LocalBus, small_disk: Path) -> None:
    remote = LocalBus(small_disk / "remote.db", max_attempts=2)
    events = [make_event(number) for number in range(3)]
    for event in events:
        outbox.publish(Topic.PASSES, event)
    full = small_disk / "full"
    with full.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 512)
    relay = Relay(outbox, remote, worker="relay")
    for _ in range(4):
        with pytest.raises(Retry, match=r"remote\.db"):
            relay.ship()
        time.sleep(0.6)  # the back-off of the outbox, in real time
    full.unlink()
    assert relay.ship() == 3
    assert _received(remote) == [event.id for event in events]
    assert outbox.dead() == []
    remote.close()


def test_a_thread_ships_meanwhile(outbox: LocalBus, remote: LocalBus) -> None:
    with Relay(outbox, remote, worker="relay").shipping():
        outbox.publish(Topic.PASSES, make_event(1))
        deadline = time.monotonic() + PATIENCE_S
        while not (got := _received(remote)) and time.monotonic() < deadline:
            time.sleep(0.02)
    assert got == [make_event(1).id]


def _settings(tmp_path: Path) -> Settings:
    return Settings(
        data=tmp_path / "data",
        bus=f"sqlite:///{tmp_path / 'remote.db'}",
        blobs=f"file://{tmp_path / 'blobs'}",
        areas={"pit": {"geometry": make_area().geometry}},
    )


def test_a_detector_away_from_the_store_never_opens_it(tmp_path: Path) -> None:
    app = App(_settings(tmp_path))
    area = make_area()
    blobs = FileBlobs(tmp_path / "blobs")
    owner = App(_settings(tmp_path / "owner"))
    snapshot = owner.store.snapshot("pit")
    task = PermitsChanged(
        area=area,
        grid=area_grid(area.geometry, area.buffer_m),
        registry=store_snapshot(blobs, snapshot),
        settings=app.settings.detection_for("pit"),
    )
    app.bus.publish(Topic.PASSES, permits_changed(task, at=START))
    tally = Crank(app, frozenset({"detect"})).turn(once=True)
    assert (tally.passes_done, tally.rejected) == (1, 0)
    assert not app.settings.data.exists()
    app.close()
    owner.close()


def test_who_owns_the_store_ships_what_permits_changed(tmp_path: Path) -> None:
    app = App(_settings(tmp_path))
    app.outbox.publish(Topic.PASSES, make_event(1))
    assert app.bus.depth(Topic.PASSES).waiting == 0
    Crank(app, frozenset({"notify"})).turn(once=True)
    assert app.bus.depth(Topic.PASSES).waiting == 1
    assert app.outbox.depth(Topic.PASSES).waiting == 0
    app.close()
