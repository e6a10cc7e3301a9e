"""One look: read a pass, weigh its pixels, score them with the best model its bands can feed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detector.components import ComponentMaps, choose_mapper
from detector.models import Card, SegmentCard, choose, joint_scores
from detector.objects import watched
from detector.products import PREVIEW_BANDS, pass_tags, write_preview
from detector.quality import look_quality
from detector.reading import ReaderSettings
from detector.stack import Stack, read_stack
from detector.state import LedgerRow, quantise, source_name
from registry.blobs import Blobs
from registry.errors import ConfigError, Reject
from registry.events import PassFound
from registry.log import get_logger
from registry.models import S1_BANDS, Pass, Sensor, Target

log = get_logger(__name__)

Float32 = NDArray[np.float32]

PARTNER_COVER = 0.98
"""Share of the pass's pixels that a partner must cover to be fused: elsewhere the pass would be lost."""


@dataclass(frozen=True)
class Look:
    """What a pass says, before any history."""

    rows: Mapping[Target, LedgerRow]
    clear_fraction: float
    """Share of the watched pixels that were seen clearly."""
    notes: tuple[str, ...]


def look_at(
    task: PassFound, *, cards: Mapping[str, Card], reader: ReaderSettings, blobs: Blobs, maps: ComponentMaps
) -> Look:
    """Read, weigh and score the pass; its preview and its component map are stored on the way."""
    pass_, area = task.pass_, task.area
    chosen = {target: _card(task, target, cards, _offered(task)) for target in area.targets}
    judged = {band for card in chosen.values() for band in card.bands} | _preview(pass_)
    mapper = _Mapper.chosen(task, cards, _offered(task), read=judged)
    needed = judged | mapper.bands
    partner = task.partner if pass_.sensor is Sensor.S2 and needed & set(S1_BANDS) else None
    stack = read_stack(pass_, partner, task.grid, needed, reader=reader)
    if partner is not None and not _covers(_only(stack, judged | set(S1_BANDS))):
        log.info("partner covers too little, not fused", partner=partner.name)
        optical = {name for name in _offered(task) if name not in S1_BANDS}
        chosen = {target: _card(task, target, cards, optical) for target in area.targets}
        mapper = _Mapper.chosen(task, cards, optical, read=stack.bands)
        stack = _without_radar(stack)
    # A gap in a band that only the map needs must not change what counts as seen.
    quality = look_quality(_only(stack, judged), task.settings.quality, inside=watched(task.grid, area))
    write_preview(blobs, pass_, task.grid, stack.bands)
    # Ingest settled the offset by the processing baseline.
    age = stack.partner_age_days
    logits = joint_scores(chosen, stack.bands, partner_age_days=age, offset_known=True)
    rows = {target: _row(task, chosen[target], logit, quality.weight) for target, logit in logits.items()}
    unmapped = mapper.write(maps, pass_, stack) if quality.clear_fraction else ()
    notes = (*stack.notes, *quality.notes, *unmapped)
    log.info("pass read", clear=round(quality.clear_fraction, 3), cards=[card.id for card in chosen.values()])
    return Look(rows=rows, clear_fraction=quality.clear_fraction, notes=notes)


@dataclass(frozen=True)
class _Mapper:
    """Maps the mining components of an optical look, where a card fits; nothing rests on it."""

    card: SegmentCard | None = None
    reason: str = ""
    """Why there is no card; empty = none is wanted."""

    @classmethod
    def chosen(
        cls, task: PassFound, cards: Mapping[str, Card], offered: Collection[str], *, read: Collection[str]
    ) -> _Mapper:
        """The best card for the pass; for its sake no band is fetched, unless the settings say so."""
        wish = task.settings.components
        order = wish.models
        if task.pass_.sensor is not Sensor.S2 or not order:
            return cls()
        if not wish.extra_bands:
            offered = set(offered) & set(read)
        try:
            return cls(choose_mapper(cards, order, offered, partner_age_days=_partner_age(task)))
        except (ConfigError, Reject) as exc:
            return cls(reason=str(exc))

    @property
    def bands(self) -> set[str]:
        return set(self.card.bands) if self.card else set()

    def write(self, maps: ComponentMaps, pass_: Pass, stack: Stack) -> tuple[str, ...]:
        """Store the map; a note where there is none, though one was wanted."""
        reason = self.reason
        if self.card is not None:
            try:
                age, tags = stack.partner_age_days, pass_tags(pass_)
                maps.write(pass_.name, self.card, stack.bands, partner_age_days=age, tags=tags)
            except (ConfigError, Reject) as exc:
                reason = str(exc)
        return (f"components not mapped: {reason}",) if reason else ()


def _offered(task: PassFound) -> set[str]:
    """Bands that every scene of the pass has, and those of the partner."""
    sources = [task.pass_] if task.partner is None else [task.pass_, task.partner]
    offered: set[str] = set()
    for source in sources:
        offered |= _common(source)
    return offered


def _common(source: Pass) -> set[str]:
    first, *others = (set(scene.bands) for scene in source.scenes)
    return first.intersection(*others)


def _card(task: PassFound, target: Target, cards: Mapping[str, Card], offered: Collection[str]) -> Card:
    """The best card for the pass. A radar pass is scored by radar alone: its optical bands count once.

    Raises Reject where none fits, or where the event names one that this detector does not have.
    """
    models, pass_ = task.settings.models, task.pass_
    try:
        if pass_.sensor is Sensor.S1:
            order = getattr(models, f"{target.value}_sar")
            return choose(cards, order, set(offered) & set(S1_BANDS), target=target)
        order = getattr(models, target.value)
        return choose(cards, order, offered, target=target, partner_age_days=_partner_age(task))
    except ConfigError as exc:  # what an event names must not stop the detector
        raise Reject(str(exc)) from exc


def _partner_age(task: PassFound) -> float | None:
    if task.partner is None:
        return None
    return (task.pass_.acquired - task.partner.acquired).total_seconds() / 86_400


def _preview(pass_: Pass) -> set[str]:
    return set(PREVIEW_BANDS[pass_.sensor]) & _common(pass_)


def _covers(stack: Stack) -> bool:
    optical = [np.isfinite(band) for name, band in stack.bands.items() if name not in S1_BANDS]
    radar = [np.isfinite(band) for name, band in stack.bands.items() if name in S1_BANDS]
    seen = np.logical_and.reduce(optical)
    both = seen & np.logical_and.reduce(radar)
    return bool(both.sum() >= PARTNER_COVER * seen.sum())


def _without_radar(stack: Stack) -> Stack:
    """Models that can do without the partner must not see it in half of their pixels."""
    return replace(_only(stack, set(stack.bands) - set(S1_BANDS)), partner_age_days=None)


def _only(stack: Stack, names: Collection[str]) -> Stack:
    return replace(stack, bands={name: band for name, band in stack.bands.items() if name in names})


def _row(task: PassFound, card: Card, logit: Float32, weight: NDArray[np.uint8]) -> LedgerRow:
    pass_ = task.pass_
    return LedgerRow(
        name=pass_.name.rpartition("_r")[0],
        acquired=pass_.acquired,
        sensor=pass_.sensor,
        source=source_name(pass_.sensor, card.id, pass_.relative_orbit),
        score=quantise(logit),
        weight=weight,
    )
