"""What a study compares, as configuration."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from detector.training.plan import Task, TrainingPlan
from registry.models import Slug
from registry.settings import load_document
from registry.values import Value, WrongAt


class Reading(StrEnum):
    """What a network's answer is measured as."""

    HEADS = "heads"
    """Its heads, each against the labels."""
    EVENTS = "events"
    """New mine and forest loss between two dates: the change head's own classes, or of a single-date
    network P(not before) x P(now) and P(before) x P(not now), which can only rise with a loss.
    """


class Variant(Value):
    """One way to train."""

    run: Slug
    """Run of the plan."""
    only: Mapping[str, str] = {}
    """Facts of the chips it learns from: mine_type, material."""
    tested_on: Mapping[str, str] = {}
    """Facts of the chips it is measured on."""
    pairs: bool = False
    """Learn from the later dates of pairs, so that there is a history."""
    read: Reading = Reading.HEADS
    against: Slug | None = None
    """Variant it is compared with; null = the first."""


class Study(Value):
    """Variants that are set side by side."""

    title: str
    variants: Mapping[Slug, Variant] = Field(min_length=1)


class StudyPlan(Value):
    """All studies and their budget."""

    plan: TrainingPlan
    seeds: Annotated[int, Field(ge=1)] = 5
    """Trainings per variant, each of other weights, crops and chips' order."""
    tests: Annotated[int, Field(ge=2)] = 64
    """Chips each of the in-distribution and of the shifted test."""
    studies: Mapping[Slug, Study] = Field(min_length=1)

    @model_validator(mode="after")
    def _runs_exist(self) -> Self:
        for title, study in self.studies.items():
            for name, variant in study.variants.items():
                path = ("studies", title, "variants", name)
                if variant.run not in self.plan.runs:
                    raise WrongAt(
                        (*path, "run"),
                        f"variant {name}: run {variant.run!r} is not in the plan; "
                        f"use one of {sorted(self.plan.runs)}",
                    )
                if variant.against not in (None, *study.variants):
                    raise WrongAt(
                        (*path, "against"),
                        f"variant {name}: against {variant.against!r}; use one of {sorted(study.variants)}",
                    )
                unknown = sorted({*variant.only, *variant.tested_on} - {"mine_type", "material"})
                if unknown:
                    raise WrongAt(path, f"variant {name}: fact {unknown[0]!r}; use mine_type or material")
        return self

    def task_of(self, variant: Variant) -> Task:
        """Which kind of chips a variant learns from."""
        return Task.CHANGE if variant.pairs or variant.read is Reading.EVENTS else Task.SEGMENT


def load_study_plan(path: Path) -> StudyPlan:
    """The studies of a file. Raises ConfigError with file, line, key and remedy."""
    return load_document(path, StudyPlan)


def scaled(study: StudyPlan, factor: float, seeds: int | None) -> StudyPlan:
    """The same studies with more or fewer chips and steps, and other numbers of seeds."""

    def times(value: int, least: int) -> int:
        return max(least, round(value * factor))

    plan = study.plan
    schedules = {
        name: one.model_copy(update={"steps": times(one.steps, 2)}) for name, one in plan.schedules.items()
    }
    data = plan.data.model_copy(
        update={
            "chips": times(plan.data.chips, 8),
            "pairs": times(plan.data.pairs, 8),
            "validation": times(plan.data.validation, 8),
        }
    )
    plan = plan.model_copy(update={"schedules": schedules, "data": data})
    return study.model_copy(
        update={"plan": plan, "tests": times(study.tests, 8), "seeds": seeds or study.seeds}
    )
