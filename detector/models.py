"""Model cards and their use: load, choose by what a pass offers, score by band name.

Kinds: ``spectral`` (detector.spectral), ``network``, ``change`` and ``foreign`` (detector.cards). Only the
last three need torch or onnxruntime, which are imported when such a card is used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.cards import Card, ChangeCard, ForeignCard, NetworkCard, SegmentCard, WeightedCard
from detector.spectral import SpectralCard, spectral_score
from detector.units import check_units
from registry.errors import ConfigError, Reject
from registry.models import Target
from registry.settings import load_read
from registry.yaml_lines import read_document

__all__ = [
    "Card",
    "ChangeCard",
    "ForeignCard",
    "NetworkCard",
    "SegmentCard",
    "SpectralCard",
    "check_weights",
    "choose",
    "joint_scores",
    "load_cards",
    "score",
    "scores",
    "shipped_cards",
]

Float32 = NDArray[np.float32]
Bands = Mapping[str, Float32]

KINDS: Mapping[str, type[Card]] = {
    "spectral": SpectralCard,
    "network": NetworkCard,
    "change": ChangeCard,
    "foreign": ForeignCard,
}
"""What ``kind`` may say in a card."""


def shipped_cards() -> Path:
    """The folder of the cards that come with groundwatch."""
    return Path(__file__).resolve().parent.parent / "configs" / "models"


def load_cards(folders: Iterable[Path]) -> Mapping[str, Card]:
    """All cards (``*.yml``) of the folders, by id; a later folder's card replaces an earlier one's.

    Raises ConfigError where a folder is missing or a card is wrong, with file, line, key and remedy.
    Weights are read and checked when a card is first used.
    """
    cards: dict[str, Card] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"model card folder {folder} does not exist; correct model_cards")
        for path in sorted(folder.glob("*.yml")):
            card = _load_card(path)
            cards[card.id] = card
    return cards


def _load_card(path: Path) -> Card:
    document = read_document(path)
    kind = document.data.get("kind", "spectral") if isinstance(document.data, dict) else "spectral"
    if kind not in KINDS:
        raise ConfigError(
            f"{document.origin(('kind',))}: kind {kind!r} is not known; use one of {sorted(KINDS)}"
        )
    card = load_read(document, KINDS[kind])
    return card.at(path.parent) if isinstance(card, WeightedCard) else card


def choose(
    cards: Mapping[str, Card],
    order: Sequence[str],
    available: Collection[str],
    *,
    target: Target | None = None,
    partner_age_days: float | None = None,
) -> Card:
    """The first card of ``order`` that ``available`` bands can feed.

    ``partner_age_days`` is the age of the other sensor's bands; None = they are of the same moment.
    Raises ConfigError on an unknown id, an empty order or a card that does not score ``target``; Reject
    (it names what is missing) where no card can be fed.
    """
    if not order:
        raise ConfigError("no model card is named; name at least one under detection.models")
    for name in order:
        if name not in cards:
            raise ConfigError(f"model card {name!r} does not exist; use one of {sorted(cards)}")
        if target is not None and target not in cards[name].feeds:
            raise ConfigError(f"model card {name!r} gives no score of {target.value}; name one that does")
    wanting = {name: _wanting(cards[name], available, partner_age_days) for name in order}
    for name, reason in wanting.items():
        if not reason:
            return cards[name]
    reasons = "; ".join(f"{name} {reason}" for name, reason in wanting.items())
    raise Reject(f"no model fits the bands {sorted(available)}: {reasons}")


def _wanting(card: Card, available: Collection[str], partner_age_days: float | None) -> str:
    """Why a card can't be used; empty = it can."""
    missing = _missing(card, available)
    if missing:
        return f"lacks {', '.join(missing)}"
    limit, partner = card.partner_max_age_days, card.partner_bands & set(available)
    if partner and limit is not None and partner_age_days is not None and partner_age_days > limit:
        return f"allows a partner of {limit:g} days, it is {partner_age_days:.1f} days old"
    return ""


def _missing(card: Card, available: Collection[str]) -> list[str]:
    return sorted(set(card.bands) - card.may_lack - set(available))


def check_weights(card: Card) -> None:
    """Load what a card needs besides itself. Raises ConfigError where it is not what the card says."""
    if isinstance(card, WeightedCard):
        from detector.engine import Device, open_engine

        open_engine(card, Device.CPU, half=False)


def score(
    card: Card, bands: Bands, *, target: Target | None = None, partner_age_days: float | None = None
) -> Float32:
    """(h, w) logit of a target, by default the card's only one; see ``scores``."""
    if target is None:
        if len(card.feeds) != 1:
            raise ValueError(f"card {card.id} scores {sorted(card.feeds)}; say which")
        (target,) = card.feeds
    return scores(card, bands, (target,), partner_age_days=partner_age_days)[target]


def joint_scores(
    chosen: Mapping[Target, Card],
    bands: Bands,
    *,
    partner_age_days: float | None = None,
    device: str = "auto",
    offset_known: bool = False,
) -> dict[Target, Float32]:
    """``scores`` of each target by its card; a card that serves several runs once."""
    found: dict[Target, Float32] = {}
    for card in {card.id: card for card in chosen.values()}.values():
        served = [target for target, one in chosen.items() if one.id == card.id]
        found |= scores(
            card, bands, served, partner_age_days=partner_age_days, device=device, offset_known=offset_known
        )
    return {target: found[target] for target in chosen}


def scores(
    card: Card,
    bands: Bands,
    targets: Collection[Target],
    *,
    partner_age_days: float | None = None,
    device: str = "auto",
    offset_known: bool = False,
) -> Mapping[Target, Float32]:
    """Per target the (h, w) logit, float32, NaN where any needed band is unseen (NaN); one pass for all.

    Bands are taken by name. Raises Reject where one is missing, or is not in the unit the card asks for
    (``offset_known``: see detector.units), ConfigError where the card's weights are not what it says.
    """
    check_bands(card, bands, offset_known=offset_known)
    if isinstance(card, SpectralCard):
        return {target: spectral_score(card, bands) for target in targets}
    if isinstance(card, SegmentCard):
        from detector.engine import Device
        from detector.predict import target_logits

        age = partner_age_days
        return target_logits(card, bands, targets, partner_age_days=age, device=Device(device))
    raise Reject(f"model {card.id} scores no single image; it compares two dates")


def check_bands(card: Card, bands: Bands, *, offset_known: bool = False) -> None:
    """Raise Reject where a band that the card needs is missing, or is not in its unit."""
    missing = _missing(card, bands)
    if missing:
        raise Reject(f"model {card.id} lacks {', '.join(missing)}; it needs {', '.join(card.bands)}")
    check_units({name: bands[name] for name in card.bands if name in bands}, offset_known=offset_known)
