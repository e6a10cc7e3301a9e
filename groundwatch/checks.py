"""`groundwatch check`: does everything the configuration names exist, parse and answer?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from registry.bus import Topic
from registry.errors import GroundwatchError

if TYPE_CHECKING:
    from detector.cards import Card
    from groundwatch.wiring import App
    from registry.detection import DetectionSettings
    from registry.models import Area, Target
    from registry.setting_models import ProviderSettings


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    what: str
    result: str
    """``ok``, ``note`` or ``failed``."""
    detail: str = ""


def run_checks(app: App, *, offline: bool) -> list[dict[str, Any]]:
    """All checks, one row each; ``offline`` reaches nothing outside this machine."""
    checks = [*_storage(app), *_places(app), *_models(app)]
    checks += [*_providers(app, offline=offline), *_targets(app, offline=offline)]
    return [vars(one) for one in checks]


def _storage(app: App) -> Iterator[Check]:
    yield _try("store", lambda: f"{app.settings.store_path}: {app.store.status().areas} areas")
    yield _try("bus", partial(_bus, app))
    yield _try(
        "blobs", lambda: f"{app.settings.blobs_url}: {sum(1 for _ in app.blobs.list('registry/'))} snapshots"
    )


def _bus(app: App) -> str:
    depths = {topic.value: app.bus.depth(topic) for topic in Topic}
    waiting = ", ".join(f"{name} {depth.waiting} waiting" for name, depth in depths.items())
    return f"{app.settings.bus_url}: {waiting}"


def _places(app: App) -> Iterator[Check]:
    from registry.grid import area_grid

    def describe(area: Area) -> str:
        grid = area_grid(area.geometry, area.buffer_m)
        app.settings.detection_for(area.id)
        return f"{grid.width} x {grid.height} pixels, {grid.crs}"

    for area in app.store.areas():
        yield _try(f"area {area.id}", partial(describe, area))
    if not app.store.areas():
        yield Check("areas", "note", "none yet; add one with `groundwatch area add FILE`")


def _models(app: App) -> Iterator[Check]:
    from detector.models import check_weights, load_cards, shipped_cards
    from registry.models import Target

    @cache
    def cards() -> Mapping[str, Card]:
        return load_cards((shipped_cards(), *app.settings.model_cards))

    def describe() -> str:
        for card in cards().values():
            check_weights(card)
        return ", ".join(sorted(cards()))

    def wanted(area: Area) -> str:
        return _wanted_cards(cards(), app.settings.detection_for(area.id), area.targets)

    yield _try("model cards", describe)
    yield _try("detection", lambda: _wanted_cards(cards(), app.settings.detection, tuple(Target)))
    for area in app.store.areas():
        if area.id in app.settings.areas and app.settings.areas[area.id].detection:
            yield _try(f"detection of {area.id}", partial(wanted, area))


def _wanted_cards(
    cards: Mapping[str, Card], detection: DetectionSettings, targets: Collection[Target]
) -> str:
    """What passes would be scored and mapped by. Raises where a named card is not what it is named for."""
    from detector.components import choose_mapper
    from detector.models import choose
    from registry.models import BANDS, S1_BANDS

    used: dict[str, None] = {}
    for target in targets:
        for sensor, bands in (("", BANDS), ("_sar", S1_BANDS)):
            order: tuple[str, ...] = getattr(detection.models, f"{target.value}{sensor}")
            used |= dict.fromkeys(choose(cards, (name,), bands, target=target).id for name in order)
    order = detection.components.models
    used |= dict.fromkeys(choose_mapper(cards, (name,), BANDS).id for name in order)
    return ", ".join(used)


def _providers(app: App, *, offline: bool) -> Iterator[Check]:
    from ingest.catalog import open_catalog
    from ingest.providers import effective_profile

    def describe(provider: ProviderSettings) -> str:
        if offline:
            return f"profile {effective_profile(provider).name}, not reached"
        return open_catalog(provider, app.settings.http, reach=app.reach).check()

    for provider in app.settings.providers:
        yield _try(f"provider {provider.name}", partial(describe, provider))


def _targets(app: App, *, offline: bool) -> Iterator[Check]:
    from alerts.send import Sender

    if not app.settings.alerts.targets:
        yield Check(
            "alert targets", "note", "none yet: incidents are found but nobody is told; see alerts.targets"
        )
        return
    sender = Sender(app.settings.alerts, now=app.now)
    for finding in sender.check(reach=not offline):
        yield Check(f"target {finding.target}", "ok" if finding.ok else "failed", finding.text)


def _try(what: str, look: Callable[[], str]) -> Check:
    try:
        return Check(what, "ok", look())
    except GroundwatchError as exc:
        return Check(what, "failed", str(exc))
