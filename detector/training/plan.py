"""What is trained, on what, how long: one file of configuration, no code.

A plan lists runs in order; a run may start from the weights of an earlier one, so that a short tuning per
band set follows one long training with bands left out at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from detector.cards import CHANGE_LABELS
from detector.inputs import Reference
from detector.plans import STRIDE, Head, Plan
from registry.chips import CHANNELS, Component
from registry.errors import InputError
from registry.models import Slug
from registry.settings import load_document
from registry.values import KeyPath, Value, WrongAt

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]


class Task(StrEnum):
    """What a network answers."""

    SEGMENT = "segment"
    """Components on one date."""
    CHANGE = "change"
    """What became of a place between two dates; input is the bands before, then the bands after."""


CHANGE_HEAD = Head(name="change", labels=CHANGE_LABELS)
"""The head of the bi-temporal model: classes are the codes of registry.chips.Change."""


class Loss(Value):
    """Cross-entropy and soft Dice, per head."""

    dice: Annotated[float, Field(ge=0.0, le=10.0)] = 0.5
    """Weight of the Dice part; the cross-entropy has 1."""
    class_weight_power: Share = 0.35
    """Classes weigh as (frequency) ** -power, at most 5 times the mean; 0 = alike."""
    head_weights: Mapping[Slug, Annotated[float, Field(gt=0.0, le=10.0)]] = Field(
        default_factory=dict, exclude_if=lambda value: not value
    )
    """Heads that count more or less than the others, which have 1."""


class Schedule(Value):
    """How long and how fast."""

    epochs: Count = 20
    steps: Count = 100
    """Optimiser steps per epoch; after each epoch comes a validation and a checkpoint."""
    batch: Count = 16
    """Crops per step."""
    crop: Annotated[int, Field(ge=STRIDE, multiple_of=STRIDE)] = 128
    """Side of a crop in pixels."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 2e-3
    """Peak of the one-cycle schedule."""
    warmup: Share = 0.1
    """Share of all steps in which the rate rises."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-2
    rich: Share = 0.5
    """Share of crops that are the richest of several in what is rare; the others show the land as it is."""
    loss: Loss | None = None
    """null = the plan's."""
    patience: Count = 6
    """Epochs without a better validation after which a run stops."""
    stop_after: Count | None = Field(default=None, exclude_if=lambda value: value is None)
    """Epochs after which it ends, in the middle of its cycle, for another run to go on from."""

    @property
    def last(self) -> int:
        """The epoch it ends with, unless it stops early."""
        return min(self.epochs, self.stop_after or self.epochs)

    @property
    def cycle(self) -> int:
        """Optimiser steps that the rate's one cycle is laid out over."""
        return self.epochs * self.steps

    @property
    def total(self) -> int:
        """Optimiser steps of the whole run."""
        return self.last * self.steps


class Augmentation(Value):
    """What is done to a crop, drawn anew each time; 0 everywhere = nothing."""

    absent_partner: Share = 0.1
    """Share of crops without radar."""
    stale_partner: Share = 0.25
    """Share of crops whose radar is of another day."""
    missing_band: Share = 0.05
    """Share of crops that lack one band."""
    gain: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05
    """Spread of the factor common to all optical bands; half of it per band."""
    offset: Annotated[float, Field(ge=0.0, le=0.05)] = 0.003
    """Spread of the reflectance added per band."""
    radar_db: Annotated[float, Field(ge=0.0, le=6.0)] = 0.7
    """Spread of the dB added per radar channel."""
    haze: Share = 0.15
    """Share of crops under a veil of haze."""
    haze_depth: Share = 0.35
    """Largest opacity of the veil in the blue."""


class StartCard(Value):
    """A shipped card whose weights a run starts from."""

    id: Slug
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the weights, so that another card of that id is not taken for it."""


class Run(Value):
    """One network."""

    task: Task = Task.SEGMENT
    bands: Slug
    """Name of a band set."""
    start: Slug | None = None
    """Earlier run whose weights it starts from; a subset of bands keeps the weights of its bands. Change may
    start from segment: the weights see the later date.
    """
    start_card: StartCard | None = Field(default=None, exclude_if=lambda value: value is None)
    """Or a shipped card; a change card sees the one date as both of its dates."""
    schedule: Slug | None = None
    """Name of a schedule; null = not trained further: the weights it starts from, cut to its bands."""
    band_dropout: Share = 0.0
    """Share of crops that show only one of the plan's smaller band sets."""
    reference: Reference = Reference.FIXED
    """What a channel's zero is."""
    width: Annotated[int, Field(ge=4, le=256)] | None = None
    """Channels at half resolution; null = the plan's."""
    fine: Annotated[int, Field(ge=0, le=128)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    """Channels at full resolution; null = the plan's."""
    chips: Count | None = Field(default=None, exclude_if=lambda value: value is None)
    """How many of the plan's training chips (or pairs) it sees, the first ones, so that it can begin before
    the others are made; null = all.
    """
    skip: Annotated[int, Field(ge=0)] = Field(default=0, exclude_if=lambda value: not value)
    """How many of these it leaves out, again the first ones: those that the run it starts from has seen."""
    card: bool = True
    """Whether the run is written as a model card; false = only a step towards another run."""
    title: str = ""
    """Title of the card."""


class Data(Value):
    """How many chips."""

    chips: Count = 2400
    """Training chips."""
    pairs: Count = 1000
    """Training chips at two dates, for the change model."""
    validation: Count = 96
    """Chips each of the held-out and of the shifted validation; as many pairs."""
    seed: int = 1
    """Another seed is other chips."""


class TrainingPlan(Value):
    """Everything that decides what a training makes, besides the chips themselves."""

    heads: Mapping[Slug, tuple[Component, ...]] = Field(min_length=1)
    """Labels of each head, disjoint in space; where two meet, the later one wins."""
    band_sets: Mapping[Slug, tuple[str, ...]] = Field(min_length=1)
    """Bands by name and in order."""
    runs: Mapping[Slug, Run] = Field(min_length=1)
    """In the order they are trained; the name of a run is the id of its card."""
    schedules: Mapping[Slug, Schedule] = Field(min_length=1)
    data: Data = Data()
    augmentation: Augmentation = Augmentation()
    loss: Loss = Loss()
    width: Annotated[int, Field(ge=4, le=256)] = 32
    """Channels of the network at half resolution."""
    blocks: Annotated[int, Field(ge=1, le=6)] = 1
    """Residual blocks per scale."""
    fine: Annotated[int, Field(ge=0, le=128)] = Field(default=0, exclude_if=lambda value: not value)
    """Channels of a last stage at full resolution; 0 = none."""
    separate: bool = False
    """One network per head instead of one trunk."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.995
    """What the running mean of the weights keeps per step."""
    seed: int = 1
    """Of the weights' start, the crops and the augmentation."""
    licence: str = "Apache-2.0"
    """Of the weights, for the cards."""

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for name, bands in self.band_sets.items():
            unknown = [band for band in bands if band not in CHANNELS]
            if unknown or not bands or len(set(bands)) != len(bands):
                raise WrongAt(
                    ("band_sets", name),
                    f"band set {name} is {list(bands)}; name bands of {list(CHANNELS)} once each",
                )
        earlier: list[str] = []
        for name, run in self.runs.items():
            path = ("runs", name)
            _check_known((*path, "bands"), f"run {name}: bands", run.bands, self.band_sets)
            if run.schedule is not None:
                _check_known((*path, "schedule"), f"run {name}: schedule", run.schedule, self.schedules)
            elif run.start is None:
                raise WrongAt(path, f"run {name} has no schedule; give it one, or a run to start from")
            if run.start is not None and run.start_card is not None:
                raise WrongAt(path, f"run {name} starts from {run.start} and from a card; give one of them")
            if run.start is not None:
                _check_known((*path, "start"), f"run {name}: start", run.start, earlier)
                self._check_start(name, run, self.runs[run.start])
            self._check_skip(name, run)
            earlier.append(name)
        self._check_head_weights(("loss",), self.loss)
        for name, schedule in self.schedules.items():
            self._check_head_weights(("schedules", name, "loss"), schedule.loss)
        return self

    def _check_head_weights(self, path: KeyPath, loss: Loss | None) -> None:
        for head in loss.head_weights if loss else ():
            known = [*self.heads, CHANGE_HEAD.name]
            _check_known((*path, "head_weights", head), "head", head, known)

    def _check_skip(self, name: str, run: Run) -> None:
        count = self.chips_of(name)
        if run.skip >= count:
            raise WrongAt(
                ("runs", name, "skip"),
                f"run {name} sees {count} chips and skips {run.skip} of them; skip fewer",
            )

    def _check_start(self, name: str, run: Run, before: Run) -> None:
        foreign = set(self.band_sets[run.bands]) - set(self.band_sets[before.bands])
        backwards = before.task is Task.CHANGE and run.task is Task.SEGMENT
        if backwards or foreign or (self.separate and run.task is not before.task):
            raise WrongAt(
                ("runs", name, "start"),
                f"run {name} cannot start from {run.start}: other task or bands {sorted(foreign)} it lacks; "
                "start from a run with all of its bands and of its task, or change from one trunk of segment",
            )
        if self._form(run) != self._form(before):
            raise WrongAt(
                ("runs", name, "start"),
                f"run {name} cannot start from {run.start}: width or fine channels differ; give the same",
            )

    def _form(self, run: Run) -> tuple[int, int]:
        return (run.width or self.width, self.fine if run.fine is None else run.fine)

    def schedule_of(self, name: str) -> str:
        """Name of the schedule of a run, or of the last one before it that is trained."""
        run = self.runs[name]
        while run.schedule is None:
            assert run.start is not None
            run = self.runs[run.start]
        return run.schedule

    def chips_of(self, name: str) -> int:
        """How many chips, or pairs, a run is trained on."""
        run = self.runs[name]
        made = self.data.pairs if run.task is Task.CHANGE else self.data.chips
        return min(made, run.chips or made)

    def bands_of(self, name: str) -> tuple[str, ...]:
        """Bands of a run, in the order of its network's input."""
        return self.band_sets[self.runs[name].bands]

    def heads_of(self, name: str) -> tuple[Head, ...]:
        """Heads of a run's network."""
        if self.runs[name].task is Task.CHANGE:
            return (CHANGE_HEAD,)
        return tuple(
            Head(name=head, labels=tuple(str(one) for one in labels)) for head, labels in self.heads.items()
        )

    def network_of(self, name: str) -> Plan:
        """The network of a run."""
        run = self.runs[name]
        dates = 2 if run.task is Task.CHANGE else 1
        width, fine = self._form(run)
        return Plan(
            channels=dates * len(self.bands_of(name)),
            width=width,
            blocks=self.blocks,
            fine=fine,
            heads=self.heads_of(name),
            separate=self.separate and run.task is Task.SEGMENT,
        )


def only(plan: TrainingPlan, names: Sequence[str]) -> TrainingPlan:
    """The plan with these runs and those they start from. Raises InputError for an unknown one."""
    wanted: set[str] = set()
    for name in names:
        step: str | None = name
        while step is not None:
            if step not in plan.runs:
                raise InputError(f"run {step!r} is not in the plan; use one of {', '.join(plan.runs)}")
            wanted.add(step)
            step = plan.runs[step].start
    kept = {name: run for name, run in plan.runs.items() if name in wanted}
    return plan.model_copy(update={"runs": kept})


def _check_known(path: KeyPath, what: str, name: str, known: Mapping[str, object] | list[str]) -> None:
    if name not in known:
        raise WrongAt(path, f"{what} is {name!r}; use one of {sorted(known)}")


def shipped_plan(name: str = "default") -> Path:
    """A plan that comes with groundwatch."""
    return Path(__file__).resolve().parents[2] / "configs" / "training" / f"{name}.yml"


def load_plan(path: Path) -> TrainingPlan:
    """The plan of a file. Raises ConfigError with file, line, key and remedy."""
    return load_document(path, TrainingPlan)
