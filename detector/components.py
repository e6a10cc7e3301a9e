"""What stands on an incident's ground: component maps of optical looks, and shares of a footprint in them.

A mining model maps every optical look beside its preview. When there is news of an incident, the newest
clear looks since it was first seen are averaged over its footprint. The answer names what the evidence
flagged; it never makes, moves or drops an incident.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from detector.cards import Card, SegmentCard, condition_of
from detector.ledger import Ledger, LedgerEntry
from detector.models import check_bands, choose
from detector.objects import Mask, burn
from detector.pictures import CLEAR_FOOTPRINT, MAX_TRIES, is_due
from detector.products import UNSEEN
from detector.rasters import Raster, Style, Window, encode_cog, read_raster
from detector.state import is_optical
from registry.blobs import Blobs
from registry.chips import MINE_COMPONENTS
from registry.detection import ComponentSettings
from registry.errors import ConfigError, Exists, NotFound, Reject
from registry.events import Task
from registry.grid import RESOLUTION, Grid
from registry.log import get_logger
from registry.models import Components, ComponentShare, Incident, IncidentStatus
from registry.values import digest

log = get_logger(__name__)

Float32 = NDArray[np.float32]

DECIMALS = 2
"""Of a share: a percent, below which two machines may differ."""


@dataclass(frozen=True)
class ComponentMaps:
    """The component maps of an area's looks, as blobs beside its previews."""

    blobs: Blobs
    area_id: str
    grid: Grid
    settings: ComponentSettings
    basis: str
    """Text that changes with the grid and with the cards in use."""

    @classmethod
    def of(cls, blobs: Blobs, task: Task, cards: Mapping[str, Card]) -> ComponentMaps:
        """Those of the task's area, by the cards its settings allow."""
        settings = task.settings.components
        used = [f"{name} {cards[name].digest}" for name in settings.models if name in cards]
        basis = digest({"grid": task.grid.model_dump(), "cards": used})[:8]
        return cls(blobs, task.area.id, task.grid, settings, basis)

    def name(self, pass_name: str) -> str:
        """Blob name of a pass's map."""
        return f"products/{self.area_id}/{pass_name}/components-{self.basis}.tif"

    def write(
        self,
        pass_name: str,
        card: SegmentCard,
        bands: Mapping[str, Float32],
        *,
        partner_age_days: float | None,
        tags: Mapping[str, str],
    ) -> None:
        """Map a look, unless it is mapped: a band per head, 0 = none of its labels, n = the n-th.

        ``bands`` are (h, w) by name, in physical units. Raises Reject where they are not, ConfigError
        where the card's weights are not what it says.
        """
        if self.blobs.exists(self.name(pass_name)):
            return
        check_bands(card, bands, offset_known=True)
        heads = mine_heads(card)
        found = map_components(card, bands, partner_age_days=partner_age_days)
        style = Style(names=tuple(heads), nodata=UNSEEN, overviews="mode")
        said = {"model": card.id, "labels": json.dumps(heads)}
        data = encode_cog(np.stack([found[name] for name in heads]), self.grid, style, tags={**tags, **said})
        with suppress(Exists):
            self.blobs.create(self.name(pass_name), data)

    def stored(self, entry: LedgerEntry) -> bool:
        """Whether a look is mapped."""
        return self.blobs.exists(self.name(entry.pass_name))

    def read(self, entry: LedgerEntry, window: Window) -> Raster:
        """A window of a look's map. Raises NotFound, or Reject where it is damaged."""
        return read_raster(self.blobs.path(self.name(entry.pass_name)), window=window)


def choose_mapper(
    cards: Mapping[str, Card],
    order: Sequence[str],
    offered: Collection[str],
    *,
    partner_age_days: float | None = None,
) -> SegmentCard:
    """The first card with mining components that the bands can feed. Raises ConfigError, Reject."""
    for name in order:
        card = cards.get(name)
        if card is not None and not _maps_mines(card):
            raise ConfigError(f"model card {name!r} has no mining component; name one that has")
    found = choose(cards, order, offered, partner_age_days=partner_age_days)
    assert isinstance(found, SegmentCard)
    return found


def mine_heads(card: SegmentCard) -> dict[str, tuple[str, ...]]:
    """Labels of the heads that know a part of a mine."""
    return {head.name: head.labels for head in card.heads if _of_mines(head.labels)}


def map_components(
    card: SegmentCard, bands: Mapping[str, Float32], *, partner_age_days: float | None = None
) -> Mapping[str, NDArray[np.uint8]]:
    """Per head of ``mine_heads`` (h, w): 0 = none of its labels, n = the n-th, 255 = unseen."""
    from detector.predict import Question, predict_image, references

    question = Question(
        codes=tuple(mine_heads(card)),
        condition=condition_of(card, bands, partner_age_days),
        references=references(card, (bands,)),
    )
    return predict_image(card, (bands,), question).codes


def _maps_mines(card: Card) -> bool:
    return isinstance(card, SegmentCard) and bool(mine_heads(card))


def _of_mines(labels: Iterable[str]) -> bool:
    return not set(labels).isdisjoint(MINE_COMPONENTS)


def name_components(
    incidents: Iterable[Incident], *, maps: ComponentMaps, ledger: Ledger, entries: Sequence[LedgerEntry]
) -> tuple[Incident, ...]:
    """The incidents, those with news with what stands on their ground. ``entries``: the ledger up to now.

    Reclaimed ones keep what they were.
    """
    return tuple(
        _named(one, maps, ledger, entries) if one.status is IncidentStatus.CONFIRMED and is_due(one) else one
        for one in incidents
    )


def _named(
    incident: Incident, maps: ComponentMaps, ledger: Ledger, entries: Sequence[LedgerEntry]
) -> Incident:
    looks = list(_looks(incident, maps, ledger, entries))
    if not looks:
        return incident
    newest = looks[0]
    alike = [one for one in looks if one.model == newest.model]
    means = averaged([one.shares for one in alike], least=maps.settings.min_share)
    found = Components(model=newest.model, looks=len(alike), newest=newest.day, shares=means)
    return incident.model_copy(update={"components": found})


@dataclass(frozen=True)
class _Mapped:
    """What one look says of a footprint."""

    day: date
    model: str
    shares: Mapping[str, float]


def _looks(
    incident: Incident, maps: ComponentMaps, ledger: Ledger, entries: Sequence[LedgerEntry]
) -> Iterator[_Mapped]:
    """The newest clear looks since it was first seen, newest first."""
    window = _around(incident, maps.grid)
    if min(window.shape) <= 0:
        return
    footprint = burn([maps.grid.from_world(incident.footprint)], window.cut(maps.grid))
    if not footprint.any():
        return
    found = 0
    for entry in entries[: -MAX_TRIES - 1 : -1]:
        if entry.acquired.date() < incident.first_seen or found == maps.settings.looks:
            return
        if not is_optical(ledger.source(entry)) or not maps.stored(entry):
            continue
        if float((ledger.looks(entry, maps.grid, window) / 2.0)[footprint].mean()) < CLEAR_FOOTPRINT:
            continue
        try:
            raster = maps.read(entry, window)
        except (NotFound, Reject) as exc:  # a hint less, no reason to stop
            log.warning("component map is left out", look=entry.pass_name, reason=str(exc))
            continue
        if float((raster.bands[0] != UNSEEN)[footprint].mean()) < CLEAR_FOOTPRINT:
            continue
        found += 1
        yield _Mapped(entry.acquired.date(), raster.tags["model"], _shares(raster, footprint))


def _around(incident: Incident, grid: Grid) -> Window:
    """The part of the grid that a footprint touches; empty where it lies outside."""
    left, bottom, right, top = grid.from_world(incident.footprint).bounds
    return Window(
        max(0, int((grid.top - top) // RESOLUTION)),
        min(grid.height, int((grid.top - bottom) // RESOLUTION) + 1),
        max(0, int((left - grid.left) // RESOLUTION)),
        min(grid.width, int((right - grid.left) // RESOLUTION) + 1),
    )


def _shares(raster: Raster, footprint: Mask) -> dict[str, float]:
    heads = json.loads(raster.tags["labels"])
    return shares(dict(zip(heads, raster.bands, strict=True)), heads, footprint)


def shares(
    codes: Mapping[str, NDArray[np.uint8]], heads: Mapping[str, Sequence[str]], footprint: Mask
) -> dict[str, float]:
    """Per label its share of the footprint's pixels that were seen; codes are (h, w) per head."""
    found: dict[str, float] = {}
    for head, labels in heads.items():
        inside = codes[head][footprint]
        seen = max(int((inside != UNSEEN).sum()), 1)
        found |= {label: float((inside == code).sum()) / seen for code, label in enumerate(labels, start=1)}
    return found


def averaged(looks: Sequence[Mapping[str, float]], *, least: float) -> tuple[ComponentShare, ...]:
    """Mean shares of at least ``least``, the largest first."""
    sums: dict[str, float] = defaultdict(float)
    for look in looks:
        for label, share in look.items():
            sums[label] += share
    means = {label: round(total / len(looks), DECIMALS) for label, total in sums.items()}
    named = sorted((-share, label) for label, share in means.items() if share >= least and share > 0.0)
    return tuple(ComponentShare(component=label, share=-share) for share, label in named)
