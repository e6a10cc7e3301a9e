"""The store: areas, permits, zones, and passes with their outbox."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyproj import Geod
from shapely.geometry import box

from registry.bus import Topic
from registry.bus.local import LocalBus
from registry.detection import DetectionSettings, QualitySettings
from registry.errors import InputError, NotFound
from registry.events import PermitsChanged, RegistryRef, permits_changed
from registry.grid import area_grid
from registry.models import Sensor
from registry.store import Issued, Store, open_store
from registry.store_places import area_box
from tests.conftest import REPO
from tests.storage_samples import (
    START,
    Clock,
    change_event,
    found_event,
    make_area,
    make_change,
    make_incident,
    make_pass,
    make_permit,
    make_zone,
    square,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with open_store(tmp_path / "groundwatch.db", now=clock) as store:
        yield store


# Areas


def test_areas_are_put_listed_and_removed(store: Store) -> None:
    pit, wood = make_area("pit"), make_area("a-wood", geometry=square(30.0), tags=("x", "y"))
    assert store.put_area(pit)
    assert store.put_area(wood)
    assert not store.put_area(pit)
    assert store.areas() == (wood, pit)
    assert store.area("pit") == pit
    renamed = make_area("pit", name="Another name")
    assert store.put_area(renamed)
    assert store.area("pit") == renamed
    store.remove_area("pit")
    assert store.areas() == (wood,)
    assert store.areas(near=pit.geometry) == ()
    for call in (store.area, store.remove_area, store.snapshot):
        with pytest.raises(NotFound, match="pit"):
            call("pit")


def test_removing_an_area_forgets_its_passes_only(store: Store) -> None:
    for name in ("pit", "wood"):
        store.put_area(make_area(name))
        store.record_passes([found_event(make_pass(1, area=name))])
    store.remove_area("pit")
    assert store.passes("pit") == ()
    assert len(store.passes("wood")) == 1


def test_a_new_outline_wants_its_passes_issued_again(store: Store) -> None:
    one = make_pass(1)
    store.put_area(make_area())
    store.record_passes([found_event(one)])
    store.put_area(make_area(name="New name"))
    assert store.issued("pit", one.id) == (1, None, None, DetectionSettings().digest)
    for change in ({"buffer_m": 100.0}, {"geometry": square(size=0.02), "buffer_m": 100.0}):
        wider = make_area(**change)
        store.put_area(wider)
        assert store.issued("pit", one.id) == (1, None, None, "")
        assert store.record_passes([found_event(one, area=wider)]) == 1
        assert store.issued("pit", one.id) == (1, None, None, DetectionSettings().digest)


def test_areas_near_are_those_whose_snapshot_would_hold_it(store: Store) -> None:
    near, far = make_area("near"), make_area("far", geometry=square(26.0))
    store.put_area(near)
    store.put_area(far)
    assert store.areas(near=square(25.05, 45.0)) == (near,)
    assert store.areas(near=square(25.5, 45.0)) == ()
    assert store.areas(near=box(24.0, 44.0, 27.0, 46.0)) == (far, near)


# Permits and zones


def test_imports_count_what_changed(store: Store) -> None:
    a, b = make_permit("a", square(), release="2024-01"), make_permit("b", square(26.0))
    counts = store.import_permits([a, b])
    assert (counts.added, counts.changed, counts.unchanged) == (2, 0, 0)
    moved = make_permit("a", square(25.1))
    later_release = make_permit("b", square(26.0), release="2024-02")
    counts = store.import_permits([moved, later_release])
    assert (counts.added, counts.changed, counts.unchanged) == (0, 1, 1)
    assert store.permits() == tuple(sorted((moved, b), key=lambda one: one.id))
    other_mapping = make_permit("b", square(26.0), valid_to=date(2030, 1, 1))
    assert store.import_permits([other_mapping]).changed == 1
    assert store.permits(near=square(26.0)) == (other_mapping,)


def test_a_moved_permit_is_found_where_it_is_now(store: Store) -> None:
    store.import_permits([make_permit("a", square(25.0))])
    store.import_permits([make_permit("a", square(35.0))])
    assert store.permits(near=square(25.0)) == ()
    assert len(store.permits(near=square(35.0))) == 1


def test_near_means_the_geometry_not_its_box(store: Store) -> None:
    corners = square(25.0, 45.0).union(square(26.0, 46.0))
    store.import_zones([make_zone("corners", corners)])
    assert store.zones(near=square(25.5, 45.5)) == ()
    assert len(store.zones(near=square(26.0, 46.0))) == 1


def test_an_import_is_all_or_nothing(store: Store) -> None:
    good, bad = make_permit("a", square()), make_permit("b", square(), raw={"NOME": "\ud800"})
    with pytest.raises(InputError, match="cannot be stored"):
        store.import_permits([good, bad])
    assert store.permits() == ()


def test_the_snapshot_holds_what_is_within_its_margin(store: Store) -> None:
    area = make_area(buffer_m=1_000.0)
    inside = [make_permit("in", square()), make_permit("near", square(25.0, 45.06))]
    outside = make_permit("out", square(25.0, 45.07))
    zone = make_zone("around", box(20.0, 40.0, 30.0, 50.0))
    store.put_area(area)
    store.import_permits([*inside, outside])
    store.import_zones([zone, make_zone("elsewhere", square(10.0, 10.0))])
    snapshot = store.snapshot("pit")
    assert snapshot.area == area
    assert {permit.source_id for permit in snapshot.permits} == {"in", "near"}
    assert [permit.id for permit in snapshot.permits] == sorted(permit.id for permit in snapshot.permits)
    assert snapshot.zones == (zone,)
    assert snapshot.version == store.snapshot("pit").version


def test_the_snapshot_does_not_depend_on_the_order_of_imports(tmp_path: Path) -> None:
    permits = [make_permit(name, square()) for name in "abc"]
    versions = set()
    for number, order in enumerate((permits, permits[::-1])):
        with open_store(tmp_path / f"{number}.db") as store:
            store.put_area(make_area())
            for permit in order:
                store.import_permits([permit])
            versions.add(store.snapshot("pit").version)
    assert len(versions) == 1


@pytest.mark.parametrize(("lon", "lat"), [(0.0, 0.0), (25.0, 60.0), (-179.99, -5.0), (10.0, 83.0)])
def test_the_area_box_is_at_least_the_margin_wide(lon: float, lat: float) -> None:
    area = make_area(geometry=square(lon, lat), buffer_m=500.0)
    west, south, east, north = area_box(area).bounds
    geod = Geod(ellps="WGS84")
    assert geod.inv(lon + 0.01, lat + 0.01, east, lat + 0.01)[2] >= 5_500.0
    assert geod.inv(lon, lat, lon, south)[2] >= 5_500.0
    assert geod.inv(lon, lat + 0.01, lon, north)[2] >= 5_500.0
    assert west >= -180.0


# Passes


def test_passes_and_events_are_recorded_once(store: Store, tmp_path: Path) -> None:
    events = [found_event(make_pass(day)) for day in (1, 2)]
    assert store.record_passes(events) == 2
    assert store.record_passes(events) == 0
    assert store.record_passes([events[0], found_event(make_pass(3))]) == 1
    assert [one.acquired.day for one in store.passes("pit")] == [2, 3, 4]
    with closing(LocalBus(tmp_path / "groundwatch.db")) as bus:
        assert bus.depth(Topic.PASSES).waiting == 3
        delivery = bus.receive(Topic.PASSES, worker="w")
        assert delivery is not None
        assert delivery.event == events[0]


def test_passes_and_events_are_recorded_together_or_not_at_all(store: Store, tmp_path: Path) -> None:
    with closing(LocalBus(tmp_path / "groundwatch.db")) as bus:
        with pytest.raises(InputError, match="only detectors"):
            store.record_passes([found_event(make_pass(1)), change_event("x")])
        assert store.passes("pit") == ()
        assert bus.next_ready(Topic.PASSES) is None


_DIE_BEFORE_COMMIT = """
import os, signal, sys
from registry import store_passes
from registry.store import open_store
from tests.storage_samples import found_event, make_pass
real = store_passes.enqueue
def enqueue(*args, **lane):
    real(*args, **lane)
    os.kill(os.getpid(), signal.SIGKILL)
store_passes.enqueue = enqueue
open_store(sys.argv[1]).record_passes([found_event(make_pass(1)), found_event(make_pass(2))])
"""


def test_killed_before_the_commit_nothing_was_recorded(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "groundwatch.db"
    died = subprocess.run([sys.executable, "-c", _DIE_BEFORE_COMMIT, str(path)], cwd=REPO)
    assert died.returncode == -9
    assert store.passes("pit") == ()
    assert store.record_passes([found_event(make_pass(1)), found_event(make_pass(2))]) == 2


def test_permits_changed_goes_to_the_same_queue(store: Store, tmp_path: Path) -> None:
    area = make_area()
    task = PermitsChanged(
        area=area,
        grid=area_grid(area.geometry, 0.0),
        registry=RegistryRef(version="1" * 64, blob="x"),
        settings=DetectionSettings(),
    )
    assert store.record_passes([permits_changed(task, at=START)]) == 1
    assert store.passes("pit") == ()


def test_the_newest_revision_counts(store: Store) -> None:
    first, second = make_pass(1), make_pass(1, revision=2)
    store.record_passes([found_event(second)])
    store.record_passes([found_event(first)])  # a straggler
    assert store.latest_pass("pit", first.key) == second
    assert store.passes("pit") == (second,)
    assert store.latest_pass("pit", "unknown") is None
    assert store.latest_pass("wood", first.key) is None


def test_passes_are_filtered_by_sensor_and_time(store: Store) -> None:
    radar = make_pass(3, sensor=Sensor.S1)
    optical = [make_pass(day) for day in (5, 1, 3)]
    store.record_passes([found_event(one) for one in (radar, *optical)])
    days = [one.acquired.day for one in store.passes("pit", sensor=Sensor.S2)]
    assert days == [2, 4, 6]
    middle = START + timedelta(days=3)
    assert store.passes("pit", sensor=Sensor.S1) == (radar,)
    assert [one.acquired.day for one in store.passes("pit", since=middle)] == [4, 4, 6]
    assert [one.acquired.day for one in store.passes("pit", until=middle)] == [2]
    other_zone = middle.astimezone(tz=None)
    assert store.passes("pit", until=other_zone) == store.passes("pit", until=middle)


def test_the_partner_is_the_latest_before_within_its_age(store: Store) -> None:
    radar = [make_pass(day, sensor=Sensor.S1) for day in (1, 4, 6)]
    store.record_passes([found_event(one) for one in (*radar, make_pass(5))])
    at = START + timedelta(days=6)
    assert store.partner("pit", Sensor.S1, at, 24.0) == radar[1]
    assert store.partner("pit", Sensor.S1, at, 2.0) == radar[1]
    assert store.partner("pit", Sensor.S1, at, 1.9) is None
    assert store.partner("wood", Sensor.S1, at, 24.0) is None
    gone = make_pass(4, sensor=Sensor.S1, revision=2, withdrawn=True)
    store.record_passes([found_event(gone)])
    assert store.partner("pit", Sensor.S1, at, 24.0) == radar[0]
    assert store.latest_pass("pit", gone.key) == gone


def test_issued_tells_what_the_last_event_said(store: Store) -> None:
    one, partner = make_pass(5), make_pass(4, sensor=Sensor.S1, revision=3)
    assert store.issued("pit", one.id) is None
    store.record_passes([found_event(one)])
    plain = DetectionSettings()
    assert store.issued("pit", one.id) == Issued(1, None, None, plain.digest)
    strict = DetectionSettings(quality=QualitySettings(cloud_dilation_m=200.0))
    again = make_pass(5, revision=2)
    store.record_passes([found_event(again, partner=partner, settings=strict)])
    assert store.issued("pit", one.id) == Issued(2, partner.id, 3, strict.digest)
    assert store.record_passes([found_event(again, partner=partner, settings=plain)]) == 1
    assert store.issued("pit", one.id) == Issued(2, partner.id, 3, plain.digest)


def test_cursors(store: Store) -> None:
    assert store.cursor("earth-search/s2") is None
    store.set_cursor("earth-search/s2", "2024-05-01T00:00:00Z")
    store.set_cursor("earth-search/s2", "2024-05-02T00:00:00Z")
    assert store.cursor("earth-search/s2") == "2024-05-02T00:00:00Z"
    assert store.cursor("other") is None


def test_status_counts(store: Store) -> None:
    store.put_area(make_area("pit"))
    store.put_area(make_area("wood"))
    store.import_permits([make_permit("a", square())])
    store.import_zones([make_zone("a", square()), make_zone("b", square())])
    withdrawn = make_pass(9, revision=2, withdrawn=True)
    passes = (make_pass(1), make_pass(1, revision=2), make_pass(2), make_pass(9), withdrawn)
    store.record_passes([found_event(one) for one in passes])
    status = store.status()
    assert (status.areas, status.permits, status.zones, status.passes) == (2, 1, 2, 2)
    assert status.last_pass == {"pit": START + timedelta(days=2), "wood": None}
    assert status.revisit_days == {}, "two passes are too few"
    assert (status.notices, status.pending_deliveries, status.failed_deliveries) == (0, 0, 0)


def test_the_revisit_of_an_area_is_the_mean_gap_of_late(store: Store, clock: Clock) -> None:
    store.put_area(make_area("pit"))
    store.record_passes([found_event(make_pass(day)) for day in (0, 2, 4, 9, 12)])
    clock.advance(12 * 86_400.0)
    assert store.status().revisit_days == {"pit": pytest.approx(3.0)}
    clock.advance(80 * 86_400.0)
    assert store.status().revisit_days == {}, "who heard nothing for long has no revisit"


def test_incidents_of_a_removed_area_stay(store: Store) -> None:
    store.put_area(make_area())
    store.mirror(make_change("a", make_incident("one")))
    store.remove_area("pit")
    assert [one.incident.id for one in store.incidents()] == ["one"]
