"""Any STAC API as Scenes: the only file that imports pystac_client.

What a server claims (conformance classes) is believed only as far as its answers bear it out. Some accept
a filter and ignore it, or answer it with nothing: they are asked for a window of days instead.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urljoin

import requests
from pystac_client import Client
from pystac_client.item_search import ItemSearch
from pystac_client.stac_api_io import StacApiIO

from ingest.answers import Answer, Mark, Query, Reading
from ingest.http import Absent, Refused, Sender
from ingest.items import ItemProblem, read_item, updated_time
from ingest.providers import Profile, effective_profile
from registry.errors import ConfigError, GroundwatchError, Reject
from registry.log import get_logger
from registry.reach import Reach, host_of
from registry.setting_models import HttpSettings, ProviderSettings
from registry.values import utc_text

log = get_logger(__name__)

USER_AGENT = "groundwatch/0.1 (+https://pypi.org/project/groundwatch)"
"""Tells a provider who asks."""

MAX_PAGES = 20_000
"""Pages of one search; more means that the server hands out pages without end."""

SLACK = timedelta(seconds=1)
"""Servers round times to seconds or milliseconds."""


LONG_AGO = datetime(1970, 1, 2, tzinfo=UTC)
"""No item was touched before."""


class _IgnoredError(Exception):
    """The answer shows that the server did not do what it was asked."""


class _Io(StacApiIO):
    """pystac-client's door to the network, with our patience, our errors and our JSON."""

    def __init__(self, sender: Sender, headers: Mapping[str, str]) -> None:
        super().__init__(headers={"User-Agent": USER_AGENT, **headers}, max_retries=None)
        self._sender = sender
        self._last: tuple[str, Any] = ("", None)

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        method = (method or "GET").upper()
        body = {"json": parameters} if method == "POST" else {"params": parameters}
        request = requests.Request(method=method, url=href, headers=headers, **body)
        self._last = self._sender.send(self.session, request)
        return self._last[0]

    def json_loads(self, txt: str, *_: Any, **__: Any) -> dict[str, Any]:
        """pystac would take orjson where it is installed, which refuses a whole page for one NaN."""
        plain: dict[str, Any] = self._last[1] if txt is self._last[0] else json.loads(txt)
        return plain


class Catalog:
    """One provider's API."""

    def __init__(
        self,
        profile: Profile,
        http: HttpSettings,
        *,
        headers: Mapping[str, str] | None = None,
        page_size: int = 100,
        reach: Reach | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.profile = profile
        reach = reach or Reach()
        reach = replace(reach, own=reach.own | {host_of(profile.url)})
        self._sender = Sender(profile.name, http, reach=reach, secret=bool(headers), pause=pause)
        self._io = _Io(self._sender, headers or {})
        self._page_size = page_size
        self._client: Client | None = None
        self._claims: frozenset[str] = frozenset()
        self._filter_proven: dict[str, bool] = {}
        self._plain = False

    @property
    def name(self) -> str:
        """The provider's name in the settings."""
        return self.profile.name

    @property
    def requests(self) -> int:
        """Requests sent so far, repeats included."""
        return self._sender.count

    def search(self, query: Query) -> Answer:
        """Everything that fits the query. Raises Retry, Reject or ConfigError with one line."""
        notes: set[str] = set()
        if query.updated_since is not None and self._follows_updates(query, notes):
            try:
                return self._read(query, updated=True).answer(complete=False)
            except (_IgnoredError, Refused) as exc:
                self._distrust(query, str(exc), notes)
        try:
            reading = self._read(query, updated=False)
        except (_IgnoredError, Refused) as exc:
            if self._plain:
                raise
            self._plain = True
            notes.add(f"{self.name}/{query.collection.id}: asked without filter and order ({exc})")
            reading = self._read(query, updated=False)
        reading.notes.update(notes)
        return reading.answer(complete=not self._by_tile(query))

    def is_gone(self, collection: str, item_id: str) -> bool:
        """True only where the collection answers and says that it has no such item."""
        base = f"{self.profile.url.rstrip('/')}/collections/{quote(collection, safe='')}"
        self._io.request(base)
        try:
            self._io.request(f"{base}/items/{quote(item_id, safe='')}")
        except Absent:
            return True
        return False

    def check(self) -> str:
        """Reach the API and say in one line what it offers. Raises as ``search`` does."""
        self._open()
        can = [name for name in ("filter", "sort") if self._can(name)]
        claims = ", ".join(can) or "neither filter nor sort"
        return f"{self.name}: {self.profile.url} answers; it claims {claims}"

    # -- what the server can do ------------------------------------------------------------------

    def _open(self) -> Client:
        if self._client is None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # pystac-client warns of missing conformance classes
                    client = Client.open(self.profile.url, stac_io=self._io)
                    self._claims = frozenset(str(one) for one in client.get_conforms_to())
            except GroundwatchError:
                raise
            except Exception as exc:
                raise ConfigError(
                    f"{self.name}: {self.profile.url} is not a STAC API ({type(exc).__name__}: "
                    f"{str(exc)[:200]}); check the provider's url"
                ) from exc
            self._client = client
        return self._client

    def _can(self, what: str) -> bool:
        """What the conformance classes claim, whatever their version, unless it was refused."""
        if self._plain:
            return False
        if what == "filter":
            cql2 = any(one.endswith("/cql2-json") for one in self._claims)
            return (
                self.profile.filter
                and cql2
                and any(one.endswith("item-search#filter") for one in self._claims)
            )
        return any(one.endswith(f"item-search#{what}") for one in self._claims)

    def _follows_updates(self, query: Query, notes: set[str]) -> bool:
        """Whether ``updated >= t`` works here: claimed, and shown on an item that is known to be there."""
        self._open()
        collection = query.collection
        if collection.properties.updated is None or not (self._can("filter") and self._can("sort")):
            return False
        if collection.id not in self._filter_proven and query.mark is not None:
            try:
                if not self._prove_filter(query, query.mark):
                    return False
                self._filter_proven[collection.id] = True
            except (_IgnoredError, Refused) as exc:
                self._distrust(query, str(exc), notes)
        return self._filter_proven.get(collection.id, False)

    def _prove_filter(self, query: Query, mark: Mark) -> bool:
        """Two small questions about an item that is there: one it fits, one that nothing fits.

        False where the item is not there any more, so that nothing is proved.
        """
        name = query.collection.properties.updated
        window = f"{utc_text(mark.acquired - SLACK)}/{utc_text(mark.acquired + SLACK)}"
        fitting = {"op": ">=", "args": [{"property": name}, utc_text(mark.updated - SLACK)]}
        unfitting = {"op": "<", "args": [{"property": name}, utc_text(LONG_AGO)]}
        asked = {"collections": [query.collection.id], "datetime": window, "filter_lang": "cql2-json"}
        if not any(page.get("features") for page in self._pages(filter=fitting, **asked)):
            if not self._is_there(query, mark, asked):
                return False
            raise _IgnoredError(f"its filter on {name} hides an item that is there")
        if any(page.get("features") for page in self._pages(filter=unfitting, **asked)):
            raise _IgnoredError(f"its filter on {name} lets through what does not fit")
        return True

    def _is_there(self, query: Query, mark: Mark, asked: dict[str, Any]) -> bool:
        """Whether, asked without a filter, an item shows up that was touched as late as the mark."""
        plain = {key: value for key, value in asked.items() if key != "filter_lang"}
        features = [item for page in self._pages(**plain) for item in page.get("features") or ()]
        moments = [updated_time(item, query.collection) for item in features if isinstance(item, Mapping)]
        return any(moment is not None and moment >= mark.updated - SLACK for moment in moments)

    def _distrust(self, query: Query, reason: str, notes: set[str]) -> None:
        self._filter_proven[query.collection.id] = False
        note = (
            f"{self.name}/{query.collection.id}: not asked for updates ({reason}); "
            "a window of days is read instead"
        )
        notes.add(note)
        log.warning("provider does not do what it claims", provider=self.name, reason=note)

    # -- asking and reading ----------------------------------------------------------------------

    def _read(self, query: Query, *, updated: bool) -> Reading:
        self._open()
        reading = Reading()
        last: datetime | None = None
        for page in self._pages(
            **query.parameters(updated=updated, by_tile=self._by_tile(query), sort=self._can("sort"))
        ):
            features = page.get("features")
            for item in features if isinstance(features, list) else []:
                reading.items += 1
                moment = updated_time(item, query.collection) if isinstance(item, Mapping) else None
                if updated:
                    self._check_update(query, moment, last)
                last = moment or last
                floor = query.floor if updated and query.floor else query.since
                self._take(query, item, moment, floor, reading)
        return reading

    def _by_tile(self, query: Query) -> bool:
        return bool(query.tiles and query.collection.tile_query and self._can("filter"))

    def _check_update(self, query: Query, moment: datetime | None, last: datetime | None) -> None:
        """Every item of an answer to ``updated >= t``, sorted, must be so."""
        if query.updated_since is not None and (moment is None or moment < query.updated_since - SLACK):
            raise _IgnoredError(f"it answers with items touched before {utc_text(query.updated_since)}")
        if moment is not None and last is not None and moment < last - SLACK:
            raise _IgnoredError("it does not sort its answer")

    def _take(
        self, query: Query, item: Any, moment: datetime | None, floor: datetime, reading: Reading
    ) -> None:
        collection = query.collection
        if not isinstance(item, Mapping) or item.get("collection", collection.id) != collection.id:
            reading.notes.add(f"{self.name}/{collection.id}: it answers with items of other collections")
            return
        found = read_item(item, profile=self.profile, collection=collection)
        if isinstance(found, ItemProblem):
            reading.problems[found.item] = found
            return
        if self._by_tile(query) and found.tile is not None and found.tile not in query.tiles:
            raise _IgnoredError(f"its filter on {collection.tile_query} lets other tiles through")
        if found.acquired < floor - SLACK or (query.until and found.acquired > query.until + SLACK):
            reading.notes.add(f"{self.name}/{collection.id}: it answers with items of other days")
            return
        if not self._by_tile(query) and not found.footprint.intersects(query.geometry):
            reading.notes.add(f"{self.name}/{collection.id}: it answers with items of other places")
            return
        reading.take(found, moment)

    def _pages(self, **asked: Any) -> Iterator[dict[str, Any]]:
        """The pages of a search, by its next links, until there is none or one comes round again."""
        client = self._open()
        href, method = _search_link(client, self.profile.url)
        search = ItemSearch(url=href, method=method, stac_io=self._io, limit=self._page_size, **asked)
        parameters = search.get_parameters()
        page = self._io.json_loads(self._io.request(href, method=method, parameters=parameters))
        seen: set[str] = set()
        while True:
            if not isinstance(page, Mapping):
                raise Reject(f"{self.name}: {href} answers with a {type(page).__name__}, not a page of items")
            yield page
            link = _next_link(page)
            key = json.dumps(link, sort_keys=True)
            if link is None or key in seen or len(seen) >= MAX_PAGES:
                return
            seen.add(key)
            page = self._follow(link, href, parameters)

    def _follow(self, link: Mapping[str, Any], base: str, parameters: dict[str, Any]) -> dict[str, Any]:
        href = urljoin(base, str(link["href"]))
        self._sender.check_next(base, href)
        method = str(link.get("method", "GET")).upper()
        body = dict(link.get("body") or {})
        if method == "POST" and link.get("merge"):
            body = {**parameters, **body}
        text = self._io.request(
            href, method=method, headers=link.get("headers"), parameters=body if method == "POST" else None
        )
        return self._io.json_loads(text)


def open_catalog(
    provider: ProviderSettings,
    http: HttpSettings,
    *,
    page_size: int = 100,
    timeout_s: float | None = None,
    reach: Reach | None = None,
) -> Catalog:
    """The catalog of one provider out of the settings; nothing is sent yet."""
    headers = {key: value.get_secret_value() for key, value in provider.headers.items()}
    if provider.token is not None:
        headers["Authorization"] = f"Bearer {provider.token.get_secret_value()}"
    if timeout_s is not None:
        http = http.model_copy(update={"timeout_s": timeout_s})
    return Catalog(effective_profile(provider), http, headers=headers, page_size=page_size, reach=reach)


def _search_link(client: Client, root: str) -> tuple[str, str]:
    """Where to search and how: POST where it is offered, since a geometry can be long."""
    links = [one.to_dict() for one in client.links if one.rel == "search"]
    posts = [one for one in links if str(one.get("method", "")).upper() == "POST"]
    chosen = (posts or links or [{}])[0]
    href = urljoin(root.rstrip("/") + "/", str(chosen.get("href", "search")))
    return href, "POST" if posts or not links else "GET"


def _next_link(page: Mapping[str, Any]) -> Mapping[str, Any] | None:
    links = page.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, Mapping) and link.get("rel") == "next" and isinstance(link.get("href"), str):
            return link
    return None
