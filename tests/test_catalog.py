"""Catalogs against two real STAC APIs, honest and not, healthy and not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from shapely.geometry import box

from ingest.answers import Answer, Query
from ingest.catalog import Catalog, open_catalog
from ingest.providers import Profile, load_profile
from registry.errors import ConfigError, Retry
from registry.models import Sensor
from registry.setting_models import HttpSettings, ProviderSettings
from tests.services.stac import PgStac, Rustac
from tests.services.web import Proxy, proxy
from tests.stac_items import NOON, Item, s2_item

HTTP = HttpSettings(retries=3, backoff_s=1.0, max_backoff_s=30.0, timeout_s=20.0)
SEARCH = r"/search"


class Patience:
    """Remembers how long it should have waited, and does not."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)


def catalog(url: str, *, pause: Callable[[float], None] | None = None, **changes: Any) -> Catalog:
    profile = load_profile("custom-example")
    fields: dict[str, Any] = {"url": url, "collections": profile.collections[:1]}
    known: Profile = profile.model_copy(update=fields | changes)
    return Catalog(known, HTTP, page_size=5, pause=pause or Patience())


def query(one: Catalog, **changes: Any) -> Query:
    everything = Query(
        collection=one.profile.collections[0],
        geometry=box(25.1, 45.1, 25.2, 45.2),
        since=NOON - timedelta(days=1),
    )
    return replace(everything, **changes)


def ids(answer: Answer) -> set[str]:
    return {one.id for one in answer.scenes}


ITEMS = [s2_item(day) for day in range(0, 60, 5)]


@pytest.fixture
def filled(pgstac: PgStac) -> PgStac:
    pgstac.load(ITEMS)
    return pgstac


def test_pages_are_followed_to_the_end(filled: PgStac, pgstac_proxy: Proxy) -> None:
    answer = catalog(pgstac_proxy.url).search(query(catalog(pgstac_proxy.url)))
    assert ids(answer) == {item["id"] for item in ITEMS}
    assert [one.acquired for one in answer.scenes] == sorted(one.acquired for one in answer.scenes)
    assert pgstac_proxy.count(SEARCH) == 3, "12 items, 5 a page"
    assert (answer.complete, answer.problems, answer.notes) == (True, (), ())


def test_days_and_place_are_asked_for(filled: PgStac) -> None:
    one = catalog(filled.url)
    some = query(one, since=NOON + timedelta(days=9), until=NOON + timedelta(days=21))
    assert ids(one.search(some)) == {item["id"] for item in ITEMS[2:5]}
    assert one.search(query(one, geometry=box(5, 5, 6, 6))).scenes == ()


def test_updates_are_followed_where_the_server_shows_that_it_can(filled: PgStac, pgstac_proxy: Proxy) -> None:
    one = catalog(pgstac_proxy.url)
    mark = one.search(query(one)).newest
    assert mark is not None
    since = mark.updated - timedelta(hours=6)
    again = one.search(query(one, updated_since=since, mark=mark))
    assert (ids(again), again.complete, again.notes) == ({ITEMS[-1]["id"]}, False, ())
    old = s2_item(3, updated=mark.updated + timedelta(hours=1))
    same = s2_item(4, updated=mark.updated)
    filled.put([old, same])
    pgstac_proxy.heal()
    late = one.search(query(one, updated_since=since, mark=mark))
    assert ids(late) == {ITEMS[-1]["id"], old["id"], same["id"]}, "equal timestamps are not skipped"
    assert pgstac_proxy.count(SEARCH) == 1, "the filter is proved once"
    body = json.loads(pgstac_proxy.seen[0].body)
    assert body["sortby"] == [{"field": "properties.updated", "direction": "asc"}]
    assert "datetime" not in body


def test_a_server_that_claims_no_filter_is_asked_for_the_window(rustac: Rustac) -> None:
    rustac.serve(ITEMS)
    one = catalog(rustac.url)
    mark = one.search(query(one)).newest
    assert mark is not None
    answer = one.search(query(one, updated_since=mark.updated, mark=mark))
    assert ids(answer) == {item["id"] for item in ITEMS}
    assert (answer.complete, answer.notes) == (True, ())


def claiming(body: bytes) -> bytes:
    """The landing page of a server that promises what it does not do."""
    plain = json.loads(body)
    plain["conformsTo"] += [
        "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
        "https://api.stacspec.org/v1.0.0/item-search#filter",
        "https://api.stacspec.org/v1.0.0/item-search#sort",
    ]
    return json.dumps(plain).encode()


def test_a_server_that_answers_a_filter_with_nothing_is_found_out(rustac: Rustac) -> None:
    rustac.serve(ITEMS)
    with proxy(rustac.url) as lying:
        lying.rewrite(r"^/$", claiming)
        one = catalog(lying.url)
        mark = one.search(query(one)).newest
        assert mark is not None
        answer = one.search(query(one, updated_since=mark.updated, mark=mark))
    assert ids(answer) == {item["id"] for item in ITEMS}
    assert answer.complete
    assert "hides an item that is there" in " ".join(answer.notes)


def drop(*keys: str) -> Callable[[bytes], bytes]:
    """Takes members out of what is asked, as a server does that ignores them."""

    def change(body: bytes) -> bytes:
        plain = json.loads(body)
        return json.dumps({key: value for key, value in plain.items() if key not in keys}).encode()

    return change


@pytest.mark.parametrize(
    ("ignored", "note"),
    [
        (("filter", "filter-lang"), "lets through what does not fit"),
        (("sortby",), "does not sort"),
    ],
)
def test_a_server_that_ignores_filter_or_order_is_found_out(
    filled: PgStac, pgstac_proxy: Proxy, ignored: tuple[str, ...], note: str
) -> None:
    # Touched in another order than acquired: unsorted answers show.
    filled.put([s2_item(day, updated=NOON + timedelta(days=100 + day * 7 % 60)) for day in range(0, 60, 5)])
    pgstac_proxy.rewrite_request(SEARCH, drop(*ignored))
    one = catalog(pgstac_proxy.url)
    mark = one.search(query(one)).newest
    assert mark is not None
    answer = one.search(query(one, updated_since=NOON, mark=mark))
    assert ids(answer) == {item["id"] for item in ITEMS}
    assert answer.complete
    assert note in " ".join(answer.notes)


def test_a_server_that_ignores_days_and_place_is_said_so_and_cut_to_what_was_asked(
    filled: PgStac, pgstac_proxy: Proxy
) -> None:
    filled.put([s2_item(1, tile="36TLK", where=(31.0, 45.0, 32.0, 46.0))])
    pgstac_proxy.rewrite_request(SEARCH, drop("datetime", "intersects"))
    one = catalog(pgstac_proxy.url)
    answer = one.search(query(one, until=NOON + timedelta(days=11)))
    assert ids(answer) == {item["id"] for item in ITEMS[:3]}
    assert sorted(answer.notes) == [
        "custom-example/sentinel-2-l2a: it answers with items of other days",
        "custom-example/sentinel-2-l2a: it answers with items of other places",
    ]


def test_a_refused_order_is_left_out(filled: PgStac, pgstac_proxy: Proxy) -> None:
    pgstac_proxy.answer(SEARCH, 400, times=1)
    one = catalog(pgstac_proxy.url)
    answer = one.search(query(one))
    assert ids(answer) == {item["id"] for item in ITEMS}
    assert "without filter and order" in " ".join(answer.notes)
    assert "sortby" not in json.loads(pgstac_proxy.seen[-1].body)


def test_by_tile(filled: PgStac, pgstac_proxy: Proxy) -> None:
    filled.put([s2_item(1, tile="36TLK")])
    profile = load_profile("earth-search").model_copy(update={"url": pgstac_proxy.url})
    one = Catalog(profile, HTTP, pause=Patience())
    answer = one.search(query(one, tiles=("35TLK",)))
    assert ids(answer) == {item["id"] for item in ITEMS}
    assert not answer.complete, "a tile that is not known yet would be missing"
    assert "intersects" not in json.loads(pgstac_proxy.seen[-1].body)
    pgstac_proxy.rewrite_request(SEARCH, drop("filter", "filter-lang"))
    again = one.search(query(one, tiles=("35TLK",)))
    assert len(again.scenes) == 13, "by geometry after all"
    assert "other tiles" in " ".join(again.notes)


def test_rate_limits_and_outages_are_waited_out(filled: PgStac, pgstac_proxy: Proxy) -> None:
    patience = Patience()
    one = catalog(pgstac_proxy.url, pause=patience)
    one.check()
    pgstac_proxy.answer(SEARCH, 429, times=1, headers={"Retry-After": "17"})
    pgstac_proxy.answer(SEARCH, 503, times=1)
    pgstac_proxy.reset(SEARCH, times=1)
    assert len(one.search(query(one)).scenes) == len(ITEMS)
    assert patience.waits == [17.0, 2.0, 4.0]


def test_a_truncated_or_garbled_answer_is_asked_for_again(filled: PgStac, pgstac_proxy: Proxy) -> None:
    patience = Patience()
    one = catalog(pgstac_proxy.url, pause=patience)
    one.check()
    pgstac_proxy.truncate(SEARCH, times=1)
    pgstac_proxy.answer(SEARCH, 200, times=1)  # its body is no JSON
    assert len(one.search(query(one)).scenes) == len(ITEMS)
    assert patience.waits == [1.0, 2.0]


def test_patience_has_a_bound(filled: PgStac, pgstac_proxy: Proxy) -> None:
    patience = Patience()
    one = catalog(pgstac_proxy.url, pause=patience)
    pgstac_proxy.answer(".*", 503)
    with pytest.raises(Retry, match=r"answered 503, 4 times"):
        one.search(query(one))
    assert patience.waits == [1.0, 2.0, 4.0]
    pgstac_proxy.heal()
    pgstac_proxy.answer(".*", 429, headers={"Retry-After": "3600"})
    with pytest.raises(Retry, match="3600") as told:
        one.search(query(one))
    assert told.value.after == 3600.0
    assert len(patience.waits) == 3, "an hour is not waited for here"


def test_a_stalled_answer_is_given_up(filled: PgStac, pgstac_proxy: Proxy) -> None:
    profile = load_profile("custom-example").model_copy(update={"url": pgstac_proxy.url})
    one = Catalog(profile, HTTP.model_copy(update={"timeout_s": 0.3, "retries": 0}), pause=Patience())
    pgstac_proxy.stall(".*")
    with pytest.raises(Retry, match=r"[Tt]imed? ?out"):
        one.search(query(one))


def test_nobody_there(pgstac_proxy: Proxy) -> None:
    with proxy("http://127.0.0.1:1") as gone:
        url = gone.url
    with pytest.raises(Retry, match=r"custom-example: GET http://127\.0\.0\.1"):
        catalog(url).check()


@pytest.mark.parametrize(("status", "remedy"), [(401, "token"), (403, "token"), (404, "url and collections")])
def test_what_a_person_must_mend(filled: PgStac, pgstac_proxy: Proxy, status: int, remedy: str) -> None:
    pgstac_proxy.answer(SEARCH, status)
    one = catalog(pgstac_proxy.url)
    with pytest.raises(ConfigError, match=remedy):
        one.search(query(one))


def test_not_a_stac_api(filled: PgStac, pgstac_proxy: Proxy) -> None:
    pgstac_proxy.rewrite(r"^/$", lambda _body: b'{"hello": 1}')
    with pytest.raises(ConfigError, match="is not a STAC API"):
        catalog(pgstac_proxy.url).check()


def test_one_bad_item_does_not_cost_the_others(filled: PgStac, pgstac_proxy: Proxy) -> None:
    def spoil(body: bytes) -> bytes:
        plain = json.loads(body)
        for item in plain.get("features", []):
            if item["id"] == ITEMS[0]["id"]:
                item["geometry"] = None
            if item["id"] == ITEMS[1]["id"]:
                item["properties"]["eo:cloud_cover"] = float("nan")
            if item["id"] == ITEMS[2]["id"]:
                item["assets"]["blue"]["raster:bands"][0]["scale"] = float("nan")
        plain.setdefault("features", []).append("not even an object")
        return json.dumps(plain).encode()

    pgstac_proxy.rewrite(SEARCH, spoil)
    one = catalog(pgstac_proxy.url)
    answer = one.search(query(one))
    assert b"NaN" in spoil(json.dumps({"features": [ITEMS[1]]}).encode())
    assert ids(answer) == {item["id"] for item in ITEMS} - {ITEMS[0]["id"], ITEMS[2]["id"]}
    reasons = sorted(problem.reason for problem in answer.problems)
    assert len(reasons) == 2
    assert "has no geometry" in reasons[0]
    assert "not a finite number" in reasons[1]


def test_pages_that_come_round_again_end(filled: PgStac, pgstac_proxy: Proxy) -> None:
    def always(body: bytes) -> bytes:
        plain = json.loads(body)
        plain["links"] = [{"rel": "next", "href": "/search?page=again", "method": "GET"}]
        return json.dumps(plain).encode()

    pgstac_proxy.rewrite(SEARCH, always)
    one = catalog(pgstac_proxy.url)
    assert one.search(query(one)).scenes
    assert pgstac_proxy.count(SEARCH) <= 3


def test_secrets_are_sent_but_neither_shown_nor_carried_elsewhere(
    filled: PgStac, pgstac_proxy: Proxy
) -> None:
    settings = ProviderSettings(
        name="mine",
        profile="earth-search",
        url=f"{pgstac_proxy.url}?key=verysecretkey",
        sensors=(Sensor.S2,),
        token=SecretStr("bearer-secret"),
        headers={"X-Api-Key": SecretStr("header-secret")},
    )
    pgstac_proxy.answer(".*", 403)
    with pytest.raises(ConfigError) as told:
        open_catalog(settings, HTTP).check()
    assert "verysecretkey" not in str(told.value)
    sent = pgstac_proxy.seen[0].headers
    assert sent["Authorization"] == "Bearer bearer-secret"
    assert sent["X-Api-Key"] == "header-secret"
    assert sent["User-Agent"].startswith("groundwatch/")

    def elsewhere(body: bytes) -> bytes:
        plain = json.loads(body)
        plain["links"] = [{"rel": "next", "href": "https://elsewhere.example/search"}]
        return json.dumps(plain).encode()

    pgstac_proxy.heal()
    pgstac_proxy.rewrite(SEARCH, elsewhere)
    one = open_catalog(settings.model_copy(update={"url": pgstac_proxy.url}), HTTP)
    with pytest.raises(ConfigError, match=r"on to https://elsewhere\.example"):
        one.search(query(one))


def test_gone_is_said_only_where_the_collection_answers(filled: PgStac) -> None:
    one = catalog(filled.url)
    there: Item = ITEMS[0]
    assert not one.is_gone("sentinel-2-l2a", there["id"])
    filled.delete("sentinel-2-l2a", there["id"])
    assert one.is_gone("sentinel-2-l2a", there["id"])
    with pytest.raises(ConfigError):
        one.is_gone("no-such-collection", there["id"])
