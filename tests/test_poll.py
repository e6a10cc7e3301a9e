"""Polling real STAC APIs: what is new is published once, whatever comes late, twice, changed or broken."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import MultiPolygon, box
from shapely.geometry.base import BaseGeometry

from ingest.catalog import open_catalog
from ingest.cursors import SWEEP
from ingest.poll import Poller, PollReport
from registry.blobs import Blobs, open_blobs
from registry.bus import Topic
from registry.bus.local import LocalBus
from registry.errors import ConfigError, InputError, NotFound, Retry
from registry.events import PassFound
from registry.models import Area, AreaKind, Sensor
from registry.setting_models import HttpSettings, PollSettings, ProviderSettings, Settings
from registry.snapshots import load_snapshot
from registry.store import Store, open_store
from tests.services.stac import PgStac, Rustac
from tests.services.web import Proxy, proxy
from tests.stac_items import NOON, Item, s1_item, s2_item

SEARCH = r"/search"
PIT = box(25.1, 45.1, 25.2, 45.2)


def area(id_: str = "pit", geometry: BaseGeometry = PIT, **changes: Any) -> Area:
    return Area(id=id_, name=id_, kind=AreaKind.WATCHED, geometry=geometry, **changes)


@dataclass
class World:
    """A store with one area, and providers to poll."""

    store: Store
    blobs: Blobs
    settings: Settings
    now: datetime = NOON + timedelta(days=100)
    steps: list[tuple[int, int, str]] = field(default_factory=list)
    step: Callable[[int, int, str], None] | None = None
    _poller: Poller | None = None

    @property
    def poller(self) -> Poller:
        """One process's poller; ``restart`` makes another."""
        if self._poller is None:
            catalogs = [
                open_catalog(one, self.settings.http, page_size=self.settings.poll.page_size)
                for one in self.settings.providers
            ]
            self._poller = Poller(
                self.store,
                catalogs,
                blobs=self.blobs,
                settings=self.settings,
                now=lambda: self.now,
                progress=self.step or (lambda *step: self.steps.append(step)),
            )
        return self._poller

    def restart(self, **changes: Any) -> None:
        self.settings = self.settings.model_copy(update=changes)
        self._poller = None

    def poll(self, *, later: timedelta = timedelta(hours=1)) -> PollReport:
        self.now += later
        return self.poller.poll()

    def events(self) -> list[PassFound]:
        """What was published since the last time, in order."""
        bus = LocalBus(self.settings.store_path)
        found = []
        while (delivery := bus.receive(Topic.PASSES, worker="test")) is not None:
            data = delivery.event.data
            assert isinstance(data, PassFound)
            found.append(data)
            delivery.ack()
        bus.close()
        return found

    def picture(self, area_id: str = "pit") -> list[Any]:
        """What the result must depend on: acquisitions, their scenes, and whose partner is whose."""
        passes = self.store.passes(area_id)
        issued = {one.id: self.store.issued(area_id, one.id) for one in passes}
        return [
            (one.id, one.acquired, one.withdrawn, one.scenes, issued[one.id].partner_id)  # type: ignore[union-attr]
            for one in passes
        ]


def provider(url: str, name: str = "here", **changes: Any) -> ProviderSettings:
    fields: dict[str, Any] = {
        "name": name,
        "profile": "earth-search",
        "url": url,
        "collections": {Sensor.S1: "sentinel-1-rtc"},
    }
    return ProviderSettings.model_validate(fields | changes)


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    stores: list[Store] = []

    def make(*providers: ProviderSettings, name: str = "world", areas: Sequence[Area] = ()) -> World:
        settings = Settings(
            data=tmp_path / name,
            providers=providers,
            poll=PollSettings(start=date(2024, 5, 1), lookback_days=14.0),
            http=HttpSettings(retries=3, backoff_s=0.0, timeout_s=20.0),
        )
        store = open_store(settings.store_path)
        stores.append(store)
        for one in areas or [area()]:
            store.put_area(one)
        return World(store, open_blobs(settings.blobs_url), settings)

    yield make
    for store in stores:
        store.close()


class Served:
    """Either server, with one way to say what it holds."""

    def __init__(self, server: PgStac | Rustac) -> None:
        self.server = server
        self.items: dict[str, Item] = {}

    @property
    def url(self) -> str:
        return self.server.url

    def put(self, *items: Item) -> None:
        self.items |= {item["id"]: item for item in items}
        if isinstance(self.server, PgStac):
            self.server.put(items)
        else:
            self.server.serve(self.items.values())


@pytest.fixture(params=["pgstac", "rustac"])
def served(request: pytest.FixtureRequest) -> Served:
    return Served(request.getfixturevalue(request.param))


def test_news_overtake_history(rustac: Rustac, make_world: Callable[..., World]) -> None:
    world = make_world(provider(rustac.url), areas=[area("known"), area("fresh")])
    world.store.remove_area("fresh")
    items = [s2_item(0), s2_item(5)]
    rustac.serve(items)
    world.poll()
    assert len(world.events()) == 2
    world.store.put_area(area("fresh"))
    rustac.serve([*items, s2_item(10)])
    world.poll()
    world.poller.backfill(["fresh"], date(2024, 5, 1))
    found = [(one.area.id, one.pass_.acquired) for one in world.events()]
    assert found[0] == ("known", NOON + timedelta(days=10))
    assert [area_id for area_id, _ in found[1:]] == ["fresh"] * 3


def test_new_items_are_published_once_in_order_of_acquisition(
    served: Served, make_world: Callable[..., World]
) -> None:
    served.put(s2_item(10), s2_item(0), s2_item(5), s1_item(3))
    world = make_world(provider(served.url))
    first = world.poll()
    assert (first.new, first.published, first.problems, first.failures) == (4, 4, (), ())
    found = world.events()
    assert [one.pass_.sensor for one in found] == [Sensor.S2, Sensor.S1, Sensor.S2, Sensor.S2]
    assert [one.pass_.acquired for one in found] == sorted(one.pass_.acquired for one in found)
    assert [one.partner and one.partner.sensor for one in found] == [None, Sensor.S2, Sensor.S1, Sensor.S1]
    assert all(one.area == area() and one.settings == world.settings.detection for one in found)
    snapshot = load_snapshot(world.blobs, found[0].registry)
    assert snapshot.area == area()

    again = world.poll()
    assert (again.new, again.revised, again.published) == (0, 0, 0)
    assert world.events() == []


def test_items_added_while_running_are_seen_at_the_next_poll(
    served: Served, make_world: Callable[..., World]
) -> None:
    served.put(s2_item(0), s1_item(0))
    world = make_world(provider(served.url))
    world.poll()
    world.events()
    served.put(s2_item(5), s2_item(10))
    assert world.poll().new == 2
    assert [one.pass_.acquired for one in world.events()] == [NOON + timedelta(days=one) for one in (5, 10)]


def test_a_late_tile_and_a_late_pass_are_seen(served: Served, make_world: Callable[..., World]) -> None:
    world = make_world(provider(served.url))
    served.put(s2_item(0), s2_item(10), s1_item(0))
    world.poll()
    world.events()
    seen = NOON + timedelta(days=11)
    served.put(s2_item(10, tile="35TMK", seconds=14, updated=seen), s2_item(5, updated=seen))
    report = world.poll()
    assert (report.new, report.revised) == (1, 1)
    late, revised = world.events()
    assert (late.pass_.revision, late.pass_.acquired) == (1, NOON + timedelta(days=5))
    assert (revised.pass_.revision, len(revised.pass_.scenes)) == (2, 2)


def test_equal_timestamps_are_not_skipped(pgstac: PgStac, make_world: Callable[..., World]) -> None:
    together = NOON + timedelta(days=30)
    pgstac.put([s2_item(0, updated=together), s2_item(5, updated=together)])
    world = make_world(provider(pgstac.url))
    assert world.poll().new == 2
    pgstac.put([s2_item(10, updated=together)])
    report = world.poll()
    assert (report.new, report.notes) == (1, ())
    assert report.items <= 4, "by update, not by window"


def test_a_reprocessed_item_is_a_new_revision_of_its_pass(
    served: Served, make_world: Callable[..., World]
) -> None:
    served.put(s2_item(0, baseline="05.09"), s2_item(5))
    world = make_world(provider(served.url))
    world.poll()
    world.events()
    served.put(s2_item(0, baseline="05.11", updated=NOON + timedelta(days=90)))
    report = world.poll()
    assert (report.new, report.revised) == (0, 1)
    (found,) = world.events()
    assert (found.pass_.revision, [one.baseline for one in found.pass_.scenes]) == (2, ["05.11"])
    served.put(s2_item(5, updated=NOON + timedelta(days=91)))
    assert world.poll().revised == 1, "the same item, touched"
    assert [one.pass_.revision for one in world.events()] == [2]


def test_duplicates_by_baseline_count_once_and_station_split_products_both(
    served: Served, make_world: Callable[..., World]
) -> None:
    halves = [(25.0, 45.0, 26.4, 45.15), (25.0, 45.12, 26.4, 46.0)]
    served.put(
        s2_item(0, baseline="04.00"),
        s2_item(0, baseline="05.11"),
        s2_item(5, where=halves[0]),
        s2_item(5, where=halves[1], sequence=1, seconds=8),
    )
    make = make_world(provider(served.url))
    assert make.poll().new == 2
    assert [len(one.pass_.scenes) for one in make.events()] == [1, 2]


def test_a_server_that_ignores_the_filter_loses_nothing(
    rustac: Rustac, make_world: Callable[..., World]
) -> None:
    def claim(body: bytes) -> bytes:
        plain = json.loads(body)
        plain["conformsTo"] += [
            "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
            "https://api.stacspec.org/v1.0.0/item-search#filter",
            "https://api.stacspec.org/v1.0.0/item-search#sort",
        ]
        return json.dumps(plain).encode()

    rustac.serve([s2_item(0)])
    with proxy(rustac.url) as lying:
        lying.rewrite(r"^/$", claim)
        world = make_world(provider(lying.url))
        world.poll()
        rustac.serve([s2_item(0), s2_item(5)])
        report = world.poll()
    assert report.new == 1
    assert "a window of days is read instead" in report.notes[0]


def test_rate_limits_and_outages_cost_nothing(
    pgstac: PgStac, pgstac_proxy: Proxy, make_world: Callable[..., World]
) -> None:
    pgstac.put([s2_item(0), s2_item(5)])
    world = make_world(provider(pgstac_proxy.url))
    pgstac_proxy.answer(SEARCH, 429, times=1, headers={"Retry-After": "0"})
    pgstac_proxy.answer(SEARCH, 503, times=2)
    assert world.poll().new == 2


def test_where_no_provider_answers_it_raises_and_reads_on_later(
    pgstac: PgStac, pgstac_proxy: Proxy, make_world: Callable[..., World]
) -> None:
    pgstac.put([s2_item(0)])
    world = make_world(provider(pgstac_proxy.url))
    world.poll()
    pgstac.put([s2_item(5)])
    before = world.store.cursor("poll/here/sentinel-2-l2a")
    pgstac_proxy.answer(SEARCH, 503)
    with pytest.raises(Retry, match="503"):
        world.poll()
    assert world.store.cursor("poll/here/sentinel-2-l2a") == before
    pgstac_proxy.heal()
    assert world.poll().new == 1


def test_a_cursor_stays_where_one_of_many_questions_failed(
    pgstac: PgStac, pgstac_proxy: Proxy, make_world: Callable[..., World]
) -> None:
    west, east = (25.0, 45.0, 25.25, 46.0), (25.25, 45.0, 26.0, 46.0)
    pgstac.put([s2_item(0)])
    world = make_world(
        provider(pgstac_proxy.url, sensors=(Sensor.S2,)),
        areas=[area(), area("east", box(25.3, 45.2, 25.4, 45.3))],
    )
    world.restart(poll=world.settings.poll.model_copy(update={"areas_per_query": 1}))
    world.poll()
    world.poll()
    touched = NOON + timedelta(days=30)
    pgstac.put([s2_item(60, where=west), s2_item(5, where=east, updated=touched)])
    pgstac_proxy.answer(SEARCH, 503, after=1)  # the first area is read, the second is not
    with pytest.raises(Retry):
        world.poll()
    assert len(world.store.passes("pit")) == 2
    pgstac_proxy.heal()
    assert world.poll().new == 1
    assert len(world.store.passes("east")) == 2


def test_one_provider_down_does_not_stop_the_other(
    pgstac: PgStac, pgstac_proxy: Proxy, make_world: Callable[..., World]
) -> None:
    pgstac.put([s2_item(2), s1_item(0)])
    optical = provider(pgstac.url, "optical", sensors=(Sensor.S2,))
    radar = provider(pgstac_proxy.url, "radar", sensors=(Sensor.S1,))
    world = make_world(optical, radar)
    pgstac_proxy.answer(".*", 503)
    report = world.poll()
    assert (report.new, len(report.failures)) == (1, 1)
    assert "503" in report.failures[0]
    (alone,) = world.events()
    assert alone.partner is None
    pgstac_proxy.heal()
    report = world.poll()
    assert (report.new, report.reissued, report.failures) == (1, 1, ())
    found = {one.pass_.sensor: one for one in world.events()}
    again = found[Sensor.S2]
    assert again.partner is not None
    assert (again.pass_.revision, again.partner.id) == (2, found[Sensor.S1].pass_.id)


def test_broken_items_are_reported_and_the_rest_goes_on(
    pgstac: PgStac, pgstac_proxy: Proxy, make_world: Callable[..., World]
) -> None:
    def spoil(body: bytes) -> bytes:
        plain = json.loads(body)
        for item in plain.get("features", []):
            if "20240601" in item["id"]:
                item["geometry"] = None
            if "20240606" in item["id"]:
                item["properties"]["eo:cloud_cover"] = float("nan")
            if "20240611" in item["id"]:
                item["assets"] = {"thumbnail": {"href": "https://cogs.example/t.jpg"}}
        return json.dumps(plain).encode()

    pgstac.put([s2_item(0), s2_item(5), s2_item(10), s2_item(15)])
    pgstac_proxy.rewrite(SEARCH, spoil)
    world = make_world(provider(pgstac_proxy.url))
    report = world.poll()
    assert (report.new, report.items) == (2, 4)
    assert len(report.problems) == 2
    assert "has no geometry" in report.problems[0]
    assert "none of the assets" in report.problems[1]
    assert all("\n" not in line for line in report.problems)


def test_an_area_over_the_antimeridian_gets_the_scenes_of_both_sides(
    served: Served, make_world: Callable[..., World]
) -> None:
    split = MultiPolygon([box(179.95, -16.9, 180.0, -16.8), box(-180.0, -16.9, -179.95, -16.8)])
    served.put(
        s2_item(0, tile="60KZF", where=(179.2, -17.2, 180.0, -16.2)),
        s2_item(0, tile="01KAA", where=(-180.0, -17.2, -179.2, -16.2), seconds=3),
        s2_item(0, tile="35TLK", where=(0.0, -17.2, 1.0, -16.2), seconds=3),  # inside the naive bounds
    )
    world = make_world(provider(served.url), areas=[area("taveuni", split)])
    report = world.poll()
    assert (report.new, report.items) == (1, 2), "asked for in two parts, not around the world"
    (found,) = world.events()
    assert [one.tile for one in found.pass_.scenes] == ["60KZF", "01KAA"]
    west, _, east, _ = found.grid.bounds
    assert east - west == pytest.approx(10_800, abs=150), "a tenth of a degree at 17 south, and a little skew"


def test_a_thousand_areas_take_a_handful_of_requests(
    pgstac: PgStac, pgstac_proxy: Proxy, make_world: Callable[..., World]
) -> None:
    many = [
        area(f"a{column:02d}-{row:02d}", box(west, south, west + 0.005, south + 0.005))
        for column in range(40)
        for row in range(25)
        for west, south in [(25.0 + column * 0.03, 45.0 + row * 0.03)]
    ]
    few = (25.0, 45.0, 25.1, 45.1)
    pgstac.put([s2_item(0, where=few), s2_item(5, where=few)])
    world = make_world(provider(pgstac_proxy.url, sensors=(Sensor.S2,)), areas=many)
    world.restart(poll=world.settings.poll.model_copy(update={"areas_per_query": 250}))
    report = world.poll()
    assert (report.areas, report.new, pgstac_proxy.count(SEARCH)) == (1000, 32, 4)
    pgstac_proxy.heal()
    pgstac.put([s2_item(10, where=few)])
    report = world.poll()
    assert (report.new, report.published) == (16, 16)
    assert pgstac_proxy.count(SEARCH) == 6, "four, and two to prove the filter"
    assert report.requests == 6


def test_only_areas_that_a_scene_meets_get_it(served: Served, make_world: Callable[..., World]) -> None:
    edge = (25.0, 45.0, 25.15, 46.0)
    served.put(s2_item(0), s2_item(5, where=edge))
    beyond = box(25.1505, 45.1, 25.16, 45.2)
    world = make_world(
        provider(served.url), areas=[area(), area("beyond", beyond), area("buffered", beyond, buffer_m=100.0)]
    )
    assert world.poll().new == 5
    passes = {one: len(world.store.passes(one)) for one in ("pit", "beyond", "buffered")}
    assert passes == {"pit": 2, "beyond": 1, "buffered": 2}


def test_a_new_area_gets_its_history_and_the_known_ones_are_left_alone(
    pgstac: PgStac, pgstac_proxy: Proxy, make_world: Callable[..., World]
) -> None:
    pgstac.put([s2_item(day) for day in (0, 5, 60)])
    world = make_world(provider(pgstac_proxy.url, sensors=(Sensor.S2,)))
    world.poll()
    world.store.put_area(area("newcomer", box(25.3, 45.3, 25.4, 45.4)))
    report = world.poll()
    assert (report.new, report.unchanged) == (3, 1)
    assert len(world.store.passes("newcomer")) == 3
    world.store.remove_area("newcomer")
    world.store.put_area(area("newcomer", box(25.3, 45.3, 25.4, 45.4)))
    world.poll()
    assert len(world.store.passes("newcomer")) == 3, "removed and added again"


def test_scenes_before_the_start_are_not_asked_for(served: Served, make_world: Callable[..., World]) -> None:
    served.put(s2_item(-60), s2_item(0))
    world = make_world(provider(served.url))
    assert world.poll().new == 1
    report = world.poller.backfill(None, date(2024, 1, 1), date(2024, 12, 31))
    assert (report.new, report.unchanged) == (1, 1), "a backfill may reach further back"
    assert world.poller.backfill(["pit"], date(2024, 1, 1)).published == 0


def test_a_backfill_says_what_is_wrong_with_its_days_and_areas(
    served: Served, make_world: Callable[..., World]
) -> None:
    served.put(s2_item(0))
    world = make_world(provider(served.url))
    with pytest.raises(NotFound, match="nowhere"):
        world.poller.backfill(["nowhere"], date(2024, 1, 1))
    with pytest.raises(InputError, match="earlier day"):
        world.poller.backfill(None, date(2024, 2, 1), date(2024, 1, 1))


@pytest.mark.parametrize("hours", [0, 1, -1])
def test_history_is_read_in_stretches_without_cutting_a_pass(
    served: Served, make_world: Callable[..., World], hours: int
) -> None:
    # The stretch that begins on 1 May ends at midnight 183 days later, and is read with an hour around it:
    # at each of these edges lie two tiles of one pass.
    seam = datetime.combine(date(2024, 5, 1), NOON.timetz()) + timedelta(days=183)
    offset = (seam.replace(hour=0, minute=0) - NOON).total_seconds() + hours * 3600
    served.put(
        s2_item(0, seconds=offset - 4, properties={"s2:datatake_id": "GS2A_seam_N05.10"}),
        s2_item(0, seconds=offset + 4, tile="35TMK", properties={"s2:datatake_id": "GS2A_seam_N05.10"}),
    )
    world = make_world(provider(served.url))
    world.now = seam + timedelta(days=30)
    assert (world.poll().new, len(world.steps)) == (1, 2)
    assert [(one.pass_.revision, len(one.pass_.scenes)) for one in world.events()] == [(1, 2)]


def test_a_late_radar_pass_reissues_those_whose_partner_it_becomes(
    pgstac: PgStac, make_world: Callable[..., World]
) -> None:
    pgstac.put([s2_item(5), s2_item(10), s1_item(4), s1_item(20), s2_item(60)])
    world = make_world(provider(pgstac.url))
    world.poll()
    world.events()
    pgstac.put([s1_item(7, updated=NOON + timedelta(days=80))])
    report = world.poll()
    assert (report.new, report.reissued) == (1, 1)
    radar, optical = world.events()
    assert radar.pass_.sensor is Sensor.S1
    assert (optical.pass_.acquired, optical.pass_.revision) == (NOON + timedelta(days=10), 2)
    assert optical.partner == radar.pass_
    assert world.poll().published == 0


ITEMS = [
    *[s2_item(day) for day in range(0, 40, 5)],
    s2_item(10, tile="35TMK", seconds=14),
    s2_item(15, baseline="05.11"),
    s2_item(20, where=(25.0, 45.0, 26.4, 45.15), sequence=1),
    *[s1_item(day) for day in (1, 7, 13, 26, 34)],
]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_result_does_not_depend_on_the_order_of_arrival(
    pgstac: PgStac, make_world: Callable[..., World], seed: int
) -> None:
    pgstac.put(ITEMS)
    straight = make_world(provider(pgstac.url), name="straight")
    straight.poll()
    assert len(straight.store.passes("pit")) == 13

    pgstac.reset("sentinel-2-l2a", "sentinel-1-rtc")
    shuffled = make_world(provider(pgstac.url), name="shuffled")
    mixed = random.Random(seed).sample(ITEMS, len(ITEMS))
    for step in range(0, len(mixed), 4):  # what comes later was touched later
        touched = NOON + timedelta(days=50 + step)
        for item in mixed[step : step + 4]:
            properties = item["properties"] | {"updated": f"{touched:%Y-%m-%dT%H:%M:%SZ}"}
            pgstac.put([item | {"properties": properties}])
        shuffled.poll()
        if step % 8:
            shuffled.restart()

    def without_versions(world: World) -> list[Any]:
        return [
            (id_, acquired, [scene.id for scene in scenes], partner)
            for id_, acquired, _, scenes, partner in world.picture()
        ]

    assert without_versions(shuffled) == without_versions(straight)


def test_a_crash_between_areas_costs_nothing(pgstac: PgStac, make_world: Callable[..., World]) -> None:
    class Killed(BaseException):
        pass

    def kill(*_step: object) -> None:
        raise Killed

    pgstac.put(ITEMS)
    world = make_world(provider(pgstac.url), areas=[area(), area("east", box(25.3, 45.1, 25.4, 45.2))])
    world.restart(poll=world.settings.poll.model_copy(update={"areas_per_query": 1}))
    world.step = kill
    with pytest.raises(Killed):
        world.poll()
    assert world.store.cursor("poll/here/sentinel-2-l2a") is None
    world.step = None
    world.restart()
    world.poll()
    found = [(one.area.id, one.pass_.id, one.pass_.revision) for one in world.events()]
    assert len(found) == len(set(found)) == 26, "13 passes for each area, each once"


def test_other_thresholds_or_another_outline_issue_all_passes_again(
    pgstac: PgStac, make_world: Callable[..., World]
) -> None:
    pgstac.put([s2_item(0), s2_item(60), s1_item(58)])
    world = make_world(provider(pgstac.url))
    world.poll()
    world.events()
    detection = world.settings.detection
    objects = detection.objects.model_copy(update={"minimum_mapping_unit_ha": 0.5})
    world.restart(detection=detection.model_copy(update={"objects": objects}))
    pgstac.put([s2_item(5, updated=NOON + timedelta(days=70))])
    assert world.poll().published == 4, "those outside the look-back window too"
    again = world.events()
    assert {one.settings.objects.minimum_mapping_unit_ha for one in again} == {0.5}
    days = [(one.pass_.acquired - NOON).days for one in again]
    assert days == [0, 57, 60, 5], "first the history, then what is new"
    assert world.poll().published == 0

    world.store.put_area(area(geometry=PIT.union(box(25.2, 45.1, 25.25, 45.2))))
    assert world.poll().published == 4
    assert len({one.grid.width for one in world.events()} | {again[0].grid.width}) == 2
    assert world.poller.backfill(None, date(2024, 5, 1)).published == 0


def test_a_scene_taken_back_is_a_withdrawn_pass(pgstac: PgStac, make_world: Callable[..., World]) -> None:
    gone = s1_item(7)
    pgstac.put([s1_item(4), gone, s2_item(10), s1_item(20)])
    world = make_world(provider(pgstac.url))
    world.poll()
    world.events()
    pgstac.delete("sentinel-1-rtc", gone["id"])
    assert world.poll().withdrawn == 0, "updates say nothing of what is gone"
    report = world.poll(later=SWEEP)
    assert (report.withdrawn, report.reissued) == (1, 1)
    withdrawn, optical = world.events()
    assert (withdrawn.pass_.withdrawn, withdrawn.pass_.revision) == (True, 2)
    assert optical.partner is not None
    assert optical.partner.acquired == NOON + timedelta(days=4, hours=-5)
    assert world.poll(later=SWEEP).published == 0
    pgstac.put([gone | {"properties": gone["properties"] | {"updated": "2024-09-20T00:00:00Z"}}])
    assert world.poll().revised == 1
    assert not world.events()[0].pass_.withdrawn


def test_an_answer_that_lacks_a_scene_withdraws_nothing(
    pgstac: PgStac, pgstac_proxy: Proxy, make_world: Callable[..., World]
) -> None:
    pgstac.put([s2_item(0), s2_item(5)])
    world = make_world(provider(pgstac_proxy.url))
    world.poll()
    world.events()
    pgstac_proxy.rewrite(SEARCH, lambda _body: b'{"type": "FeatureCollection", "features": []}')
    assert world.poll(later=SWEEP).withdrawn == 0
    assert world.events() == []


def test_an_area_that_no_grid_holds_is_reported_and_the_others_go_on(
    served: Served, make_world: Callable[..., World]
) -> None:
    served.put(s2_item(0))
    world = make_world(provider(served.url), areas=[area(), area("huge", box(24.0, 44.0, 27.0, 47.0))])
    report = world.poll()
    assert report.new == 2
    assert report.published == 1
    assert [line.split(":")[0] for line in report.problems] == ["area huge"]


def test_a_wrong_token_is_for_a_person_to_mend(pgstac_proxy: Proxy, make_world: Callable[..., World]) -> None:
    pgstac_proxy.answer(".*", 401)
    with pytest.raises(ConfigError, match="set token"):
        make_world(provider(pgstac_proxy.url)).poll()


def test_tiles_are_asked_for_once_they_are_known(
    pgstac: PgStac, pgstac_proxy: Proxy, make_world: Callable[..., World], tmp_path: Path
) -> None:
    shipped = Path("configs/providers/earth-search.yml")
    text = (Path(__file__).resolve().parent.parent / shipped).read_text()
    profile = tmp_path / "by-tile.yml"
    profile.write_text(text + "batching: tiles\n")
    pgstac.put([s2_item(60)])
    world = make_world(provider(pgstac_proxy.url, profile=str(profile), sensors=(Sensor.S2,)))
    world.poll()
    pgstac.put([s2_item(65)])
    assert world.poll().new == 1
    assert b"MGRS-35TLK" in pgstac_proxy.seen[-1].body
    assert b"intersects" not in pgstac_proxy.seen[-1].body


@pytest.mark.parametrize("name", ["pgstac", "rustac"])
def test_140_real_passes(
    name: str, request: pytest.FixtureRequest, real_data: Path, make_world: Callable[..., World]
) -> None:
    server = request.getfixturevalue(name)
    items = [json.loads(path.read_text()) for path in sorted((real_data / "romania_s2/items").glob("*.json"))]
    for item in items:  # unchanged but for hrefs
        for asset in item["assets"].values():
            asset["href"] = f"https://cogs.example/{asset['href'].removeprefix('../')}"
    here = area("romania", box(22.1475, 45.2015, 22.157, 45.208))
    world = make_world(provider(server.url, sensors=(Sensor.S2,)), areas=[here])
    world.restart(poll=world.settings.poll.model_copy(update={"start": date(2015, 1, 1)}))
    (server.load if name == "pgstac" else server.serve)(items[:100])
    assert world.poll().new == 100
    if name == "pgstac":
        server.load(items[100:])
    else:
        server.serve(items)
    report = world.poll()
    assert (report.new, report.problems) == (40, ())
    assert len(world.events()) == 140
    assert world.poll().published == 0
