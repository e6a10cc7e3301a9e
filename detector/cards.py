"""Cards of models with weights: what they need, by name, and all that is known of them. Values, no torch.

Three kinds: ``network`` (our encoder-decoder), ``change`` (the same over two dates) and ``foreign`` (ONNX
or a torch export, made elsewhere). Cards without weights are in ``detector.spectral``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, StringConstraints, model_validator

from detector.inputs import Normalisation
from detector.plans import Head, Plan
from registry.chips import Change
from registry.errors import ConfigError
from registry.models import S1_BANDS, S2_BANDS, Sensor, Slug, Target
from registry.values import Value, WrongAt, digest

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""A plain file name: no folder, so that a card reaches nothing but what lies beside it."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Positive = Annotated[float, Field(gt=0.0)]

CHANGE_LABELS = tuple(change.name.lower() for change in Change if 0 < change < Change.UNKNOWN)
"""Labels of the head of a change card, in the order of ``Change``; background is no change."""


class Metric(Value):
    """One measured figure."""

    name: str
    value: float
    data: str
    """What it was measured on, and whether the model had seen it."""


class Condition(StrEnum):
    """What an input was like; a temperature belongs to one of these."""

    FRESH = "fresh"
    """All bands there, the partner at most ``partner_fresh_days`` away."""
    STALE = "stale"
    """All bands there, the partner older."""
    ABSENT = "absent"
    """Bands that may be missing are missing."""


class Weights(Value):
    """The file that holds a model's numbers, in ``weights/`` beside its card."""

    file: FileName
    sha256: Sha256
    """Of the file; another file of this name is refused."""


class Card(Value):
    """What every model is, needs and is known to do."""

    id: Slug
    title: str = Field(min_length=1)
    sensor: Sensor
    """Whose passes it scores."""
    bands: tuple[str, ...] = Field(min_length=1)
    """Bands by name: reflectance 0..1 of Sentinel-2, gamma0 in linear power of Sentinel-1."""
    partner_max_age_days: Positive | None = None
    """Oldest pass of the other sensor it may be fed with; null = needs none."""
    resolution_m: float = Field(default=10.0, gt=0.0)
    licence: str = Field(min_length=1)
    metrics: tuple[Metric, ...] = ()
    limits: str = Field(min_length=1)
    """Where it is known to fail."""

    @property
    def may_lack(self) -> frozenset[str]:
        """Bands it works without."""
        return frozenset()

    @property
    def partner_bands(self) -> frozenset[str]:
        """Bands of the other sensor."""
        own = S2_BANDS if self.sensor is Sensor.S2 else S1_BANDS
        return frozenset(self.bands) - frozenset(own)

    @property
    def feeds(self) -> frozenset[Target]:
        """The targets it gives scores of."""
        return frozenset()

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of what the answer depends on."""

    @model_validator(mode="after")
    def _bands_are_known(self) -> Self:
        unknown = sorted(set(self.bands) - {*S2_BANDS, *S1_BANDS})
        if unknown:
            raise WrongAt(("bands",), f"unknown bands {unknown}; use names out of {[*S2_BANDS, *S1_BANDS]}")
        if len(set(self.bands)) != len(self.bands):
            raise WrongAt(
                ("bands",), f"bands {list(self.bands)} name one twice; name each once, in the model's order"
            )
        return self

    @model_validator(mode="after")
    def _partner_named(self) -> Self:
        foreign = sorted(self.partner_bands)
        if foreign and self.partner_max_age_days is None:
            raise ValueError(f"{foreign} are not of {self.sensor}; give partner_max_age_days")
        return self


class WeightedCard(Card):
    """A model whose numbers lie in a file."""

    optional: tuple[str, ...] = ()
    """Bands it was also trained without: where one is missing its channel is zero."""
    partner_fresh_days: Positive = 6.0
    """Age up to which the other sensor's bands count as fresh."""
    temperature: Mapping[Slug, Mapping[Condition, Positive]] = {}
    """Per head and condition: class logits are divided by this; 1 where nothing is given."""
    weights: Weights | None = None
    """None only until they are written."""
    trained_on: str = Field(min_length=1)
    """Data, and whether simulated or real."""
    data_licence: str = Field(min_length=1)
    trained: date
    seed: int = 0
    command: str = ""
    """What made the weights, to be run again."""
    code_version: str = ""

    _folder: Path | None = PrivateAttr(default=None)

    def at(self, folder: Path) -> Self:
        """The same card, read from ``folder``."""
        here = self.model_copy()
        here._folder = folder
        return here

    @property
    def file(self) -> Path:
        """Where the weights lie. Raises ConfigError where the card names none."""
        if self._folder is None or self.weights is None:
            raise ConfigError(f"card {self.id} names no weights; add weights: {{file, sha256}}")
        return self._folder / "weights" / self.weights.file

    @property
    def may_lack(self) -> frozenset[str]:
        """Bands it works without."""
        return frozenset(self.optional)

    @property
    def digest(self) -> str:
        """SHA-256 of what the answer depends on; the words around it may be mended freely."""
        return digest(self.model_dump(mode="json", exclude=set(_WORDS)))

    def temperature_of(self, head: str, condition: Condition) -> float:
        """What a head's logits are divided by."""
        return self.temperature.get(head, {}).get(condition, 1.0)

    @model_validator(mode="after")
    def _optional_are_bands(self) -> Self:
        strange = sorted(set(self.optional) - set(self.bands))
        if strange or set(self.optional) == set(self.bands):
            raise WrongAt(
                ("optional",), f"optional {list(self.optional)} must be some of bands {list(self.bands)}"
            )
        return self


_WORDS = (
    "title", "licence", "metrics", "limits", "trained_on", "data_licence", "trained", "seed", "command",
    "code_version",
)  # fmt: skip


class SegmentCard(WeightedCard):
    """Labels of one image."""

    targets: Mapping[Target, Slug] = {}
    """Which head answers for a target: any of its labels counts, background does not."""

    @property
    @abstractmethod
    def heads(self) -> tuple[Head, ...]:
        """Its heads with their labels."""

    @property
    def feeds(self) -> frozenset[Target]:
        """The targets it gives scores of."""
        return frozenset(self.targets)

    def _check_heads(self) -> None:
        names = {head.name for head in self.heads}
        for what, used in (("targets", set(self.targets.values())), ("temperature", set(self.temperature))):
            if used - names:
                raise WrongAt((what,), f"{what} name {sorted(used - names)}; the heads are {sorted(names)}")


class NetworkCard(SegmentCard):
    """Our encoder-decoder over one image."""

    kind: Literal["network"] = "network"
    plan: Plan
    normalisation: Normalisation

    @property
    def heads(self) -> tuple[Head, ...]:
        """Its heads with their labels."""
        return self.plan.heads

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        _check_plan(self.plan, self.normalisation, self.bands, dates=1)
        self._check_heads()
        return self


class ChangeCard(WeightedCard):
    """Our encoder-decoder over two dates: the bands of the earlier one, then those of the later one."""

    kind: Literal["change"] = "change"
    plan: Plan
    """One head named ``change``; twice as many channels as bands."""
    normalisation: Normalisation

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        _check_plan(self.plan, self.normalisation, self.bands, dates=2)
        found = [(head.name, head.labels) for head in self.plan.heads]
        if found != [("change", CHANGE_LABELS)]:
            raise WrongAt(
                ("plan", "heads"),
                f"a change card has one head `change` with the labels {list(CHANGE_LABELS)}",
            )
        return self


def _check_plan(plan: Plan, normalisation: Normalisation, bands: tuple[str, ...], *, dates: int) -> None:
    if plan.channels != dates * len(bands):
        raise WrongAt(
            ("plan", "channels"),
            f"plan has {plan.channels} channels, {len(bands)} bands of {dates} dates make "
            f"{dates * len(bands)}; correct one",
        )
    for what in ("mean", "spread"):
        known = set(getattr(normalisation, what))
        if known != set(bands):
            raise WrongAt(
                ("normalisation", what),
                f"normalisation.{what} is of {sorted(known)}, bands are {sorted(bands)}",
            )
    if min(normalisation.spread.values()) <= 0.0:
        raise WrongAt(("normalisation", "spread"), "normalisation.spread must be above 0 in every band")


class Format(StrEnum):
    """What a foreign model's file is."""

    ONNX = "onnx"
    TORCH_EXPORT = "torch-export"


class Outputs(StrEnum):
    """What a foreign model returns per class."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"


class ForeignInput(Value):
    """What a foreign model wants to be fed: (number x multiply - mean) / spread, per band."""

    multiply: Positive = 1.0
    """On reflectance 0..1: 10000 for a model trained on Sentinel-2's own numbers."""
    decibel: bool = True
    """Radar as 10 log10 of gamma0; false = linear power."""
    mean: Mapping[str, float] = {}
    """Per band, after that; 0 where nothing is given."""
    spread: Mapping[str, Positive] = {}
    """Per band; 1 where nothing is given."""
    stride: int = Field(default=32, ge=1, le=256)
    """Sides of what it is fed must be multiples of this."""
    halo: int = Field(default=64, ge=0, le=512)
    """Pixels around a window that its answer rests on."""


class ForeignHead(Head):
    """One output of a foreign model."""

    output: str = Field(min_length=1)
    """Name of the output; of a torch export that returns a tuple, its number from 0."""
    background: int | None = Field(default=0, ge=0)
    """Which class is none of the labels; null = none: one sigmoid for the only label."""

    @model_validator(mode="after")
    def _background_fits(self) -> Self:
        if self.background is None and len(self.labels) != 1:
            raise WrongAt(
                ("labels",), f"head {self.name} has {len(self.labels)} labels; say which class is background"
            )
        if self.background is not None and self.background > len(self.labels):
            raise WrongAt(
                ("background",), f"background {self.background} is beyond the {self.classes} classes"
            )
        return self


class ForeignCard(SegmentCard):
    """A model made elsewhere: (n, bands, h, w) float32 in, one (n, classes, h, w) per head out."""

    kind: Literal["foreign"] = "foreign"
    format: Format
    inputs: ForeignInput = ForeignInput()
    outputs: Outputs = Outputs.LOGITS
    foreign_heads: tuple[ForeignHead, ...] = Field(min_length=1, alias="heads")
    trusted: bool = False
    """A torch export may run code when it is loaded: true = whoever wrote this card vouches for the file."""

    @property
    def heads(self) -> tuple[Head, ...]:
        """Its heads with their labels."""
        return self.foreign_heads

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        strange = sorted({*self.inputs.mean, *self.inputs.spread} - set(self.bands))
        if strange:
            raise WrongAt(("inputs",), f"inputs name {strange}, which are not in bands {list(self.bands)}")
        if self.format is Format.TORCH_EXPORT and not self.trusted:
            raise ValueError(
                "a torch export can run code when loaded; export ONNX instead, or write trusted: true"
            )
        self._check_heads()
        return self


def condition_of(card: WeightedCard, offered: Collection[str], partner_age_days: float | None) -> Condition:
    """What the input is like. ``partner_age_days`` None = all bands are of the same moment."""
    if not set(card.bands) <= set(offered):
        return Condition.ABSENT
    if card.partner_max_age_days is None or partner_age_days is None:
        return Condition.FRESH
    return Condition.FRESH if partner_age_days <= card.partner_fresh_days else Condition.STALE
