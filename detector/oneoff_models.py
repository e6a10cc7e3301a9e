"""Which model the one-off commands use: the named one, else the first of the preferences that fits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detector.cards import Card, ChangeCard, NetworkCard, SegmentCard
from detector.images import Image
from detector.models import choose, joint_scores
from registry.detection import DetectionSettings
from registry.errors import InputError, Reject
from registry.models import Target
from registry.setting_models import FileSettings

Float32 = NDArray[np.float32]

SIZE_FACTOR = 1.5
"""Times that pixels may be larger or smaller than those that a network learnt shapes and textures in."""


@dataclass(frozen=True)
class Models:
    """The cards to choose from and the preferences."""

    cards: Mapping[str, Card]
    settings: DetectionSettings
    files: FileSettings = field(default_factory=FileSettings)
    """Further preferences, for maps and pairs."""
    named: str | None = None
    """The one card that shall be used; None = by the preferences."""
    device: str = "auto"
    """auto, cpu or cuda."""

    def probabilities(self, targets: Sequence[Target], bands: Mapping[str, Float32]) -> dict[Target, Float32]:
        """(h, w) probability per target from the best cards these bands can feed. Raises InputError."""
        chosen = {target: self.card(target, bands.keys()) for target in targets}
        try:
            logits = joint_scores(chosen, bands, device=self.device)
        except Reject as exc:
            raise InputError(str(exc)) from exc
        return {target: sigmoid(logit) for target, logit in logits.items()}

    def targets(self, wanted: Collection[Target]) -> tuple[Target, ...]:
        """Those of the targets that the named card scores; all where none is named."""
        if self.named is None or self.named not in self.cards:
            return tuple(wanted)
        return tuple(target for target in wanted if target in self.cards[self.named].feeds)

    def mapper(self, bands: Collection[str]) -> SegmentCard | None:
        """The card whose heads ``segment`` maps; None where a spectral model shall do it.

        One that must do without some of its bands comes after those that have all of theirs.
        """
        order = self.files.segment or self.settings.models.transformed
        found = self._first(order, bands)
        if found is not None and self.named is None:
            whole = (self.cards[name] for name in order if set(self.cards[name].bands) <= set(bands))
            found = next(whole, found)
        return found if isinstance(found, SegmentCard) else None

    def orientations(self, card: SegmentCard) -> int:
        """In how many ``segment`` shows an image to a card: our networks have learnt all of them."""
        return self.files.orientations if isinstance(card, NetworkCard) else 1

    def change(self, bands: Collection[str]) -> ChangeCard | None:
        """The bi-temporal card that ``compare`` uses; None where single dates are compared."""
        found = self._first(self.files.compare, bands)
        return found if isinstance(found, ChangeCard) else None

    def _first(self, order: Sequence[str], bands: Collection[str]) -> Card | None:
        """The named card, which must fit; else the first of the order that does."""
        if self.named is not None:
            return self._fitting((self.named,), bands, None)
        try:
            return choose(self.cards, order, bands) if order else None
        except Reject:
            return None

    def card(self, target: Target, bands: Collection[str]) -> Card:
        """The named card, else the first of the target's preferences that fits. Raises InputError."""
        order = (self.named,) if self.named is not None else getattr(self.settings.models, target.value)
        return self._fitting(order, bands, target)

    def _fitting(self, order: Sequence[str], bands: Collection[str], target: Target | None) -> Card:
        try:
            return choose(self.cards, order, bands, target=target)
        except Reject as exc:
            raise InputError(str(exc)) from exc


def check_pixel_size(card: Card, image: Image) -> None:
    """Raise InputError where a network would see the ground at another scale than it has learnt."""
    side = 100.0 * image.pixel_hectares() ** 0.5
    wanted = card.resolution_m
    if not wanted / SIZE_FACTOR <= side <= wanted * SIZE_FACTOR:
        raise InputError(
            f"{image.path} has pixels of {side:.3g} m, {card.id} is made for {wanted:g} m; take the bands at "
            f"{wanted:g} m (gdalwarp -tr {wanted:g} {wanted:g} in UTM), or name a spectral model with --model"
        )


def sigmoid(logit: Float32) -> Float32:
    """Logit to probability; NaN stays NaN."""
    with np.errstate(over="ignore"):
        probability: Float32 = (1.0 / (1.0 + np.exp(-logit))).astype(np.float32)
    return probability


def mean_seen(looks: Sequence[Float32]) -> Float32:
    """(h, w) mean over the looks that saw a pixel; NaN where none did."""
    seen = np.isfinite(looks)
    total, count = np.where(seen, looks, 0.0).sum(axis=0), seen.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
