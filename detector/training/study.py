"""Studies: the same training over several seeds, one thing varied, told with confidence intervals.

Each training leaves one result file, so a study that was cut off goes on, and more seeds add to it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

import torch

from detector.cards import Condition
from detector.network import build
from detector.plans import Head
from detector.training.batches import Crops, Recipe
from detector.training.cache import fill
from detector.training.calibrate import temperatures
from detector.training.events import EVENTS, measure_events
from detector.training.finish import Origin, measured
from detector.training.material import Bar, Material, Part
from detector.training.metrics import Sums, over_seeds, total_of
from detector.training.plan import CHANGE_HEAD, Task, only
from detector.training.report import Row, mean_iou, write
from detector.training.sources import ChipSource
from detector.training.study_plan import Reading, StudyPlan, Variant
from detector.training.train_set import Made, Workshop, silent, train_run
from detector.training.workers import end_with
from registry.errors import InputError
from registry.values import digest

PARTS = ("in_distribution", "shifted")
FIGURES = ("iou", "f1", "pr_auc", "ece", "brier")
Figures = dict[str, dict[str, dict[str, float | None]]]
"""Part -> "head/label" -> figure -> value."""
Need = tuple[ChipSource, Task, int]
"""Chips of a source: of which kind, and how many."""


class Worlds(Protocol):
    """Sources of a study by what they are for; ``facts`` restrict what is on the chips."""

    def train(self, seed: int, facts: Mapping[str, str]) -> ChipSource:
        """What is learnt from."""
        ...

    def validate(self, seed: int) -> ChipSource:
        """What stops a training: shifted."""
        ...

    def calibrate(self, seed: int) -> ChipSource:
        """What temperatures are fitted on."""
        ...

    def test(self, part: str, seed: int, facts: Mapping[str, str]) -> ChipSource:
        """What is measured on; ``part`` is one of PARTS."""
        ...


@dataclass(frozen=True)
class Order:
    """One variant with one seed: a training, which others may share, and what it is measured on."""

    study: StudyPlan
    name: str
    """Of the variant."""
    variant: Variant
    seed: int
    worlds: Worlds
    out: Path
    cache: Path
    device: str
    threads: int | None

    @property
    def training(self) -> str:
        """Names what is trained: variants that differ only in what they are tested on share it."""
        pairs = ("pairs",) if self.task is Task.CHANGE else ()
        return "-".join((self.variant.run, *pairs, *sorted(self.variant.only.values()), str(self.seed)))

    @property
    def file(self) -> Path:
        """Where its result lies."""
        return self.out / "results" / f"{self.name}-{self.seed}.json"

    @property
    def digest(self) -> str:
        """Tells whether a result was made the same way."""
        plan = only(self.study.plan, [self.variant.run])
        data = self.worlds.train(plan.data.seed, self.variant.only).key
        return digest(
            {
                "plan": plan.model_dump(mode="json"),
                "variant": self.variant.model_dump(mode="json"),
                "tests": self.study.tests,
                "data": data,
                "seed": self.seed,
            }
        )

    @property
    def task(self) -> Task:
        """Which kind of chips it learns from."""
        return self.study.task_of(self.variant)


@dataclass(frozen=True)
class Bench:
    """Where and how a study runs."""

    out: Path
    cache: Path
    bar: Bar
    device: str = "cpu"
    parallel: int = 1
    """Trainings at the same time."""
    threads: int | None = 1
    """Threads of each."""
    processes: int = 2
    """Processes that make chips."""


def run_study(study: StudyPlan, name: str, worlds: Worlds, bench: Bench) -> list[Row]:
    """Train all variants over all seeds, write OUT/NAME.md and .json; returns the rows.

    Raises InputError for an unknown study.
    """
    if name not in study.studies:
        raise InputError(f"study {name!r} is not known; use one of {', '.join(study.studies)}")
    orders = _orders(study, name, worlds, bench)
    _make_chips(orders, bench)
    results = _results(orders, bench)
    rows = table(orders, results)
    notes = [
        f"{study.seeds} seeds; mean and 95 % interval (Student) over seeds",
        f"{study.tests} test chips each; in distribution: other seeds; shifted: other climates, spectra, "
        "generator family and atmosphere",
        f"{study.plan.data.chips} training chips or {study.plan.data.pairs} pairs, networks of width "
        f"{study.plan.width}: for comparison with each other, not with the shipped models",
    ]
    title = study.studies[name].title
    write(bench.out, name, title, rows, notes=notes)
    write(bench.out, f"{name}_differences", f"{title}: gain in mean IoU, paired by seed",
          differences(orders, results), notes=notes)  # fmt: skip
    return rows


def _orders(study: StudyPlan, name: str, worlds: Worlds, bench: Bench) -> list[Order]:
    """Seed by seed, so that a study that is cut off has compared something."""
    where = (bench.out / name, bench.cache, bench.device, bench.threads)
    return [
        Order(study, variant_name, variant, seed, worlds, *where)
        for seed in range(1, study.seeds + 1)
        for variant_name, variant in study.studies[name].variants.items()
    ]


def _make_chips(orders: Sequence[Order], bench: Bench) -> None:
    """All chips before the first training, so that parallel trainings find them."""
    needs = (need for order in orders for need in (*_lessons(order), *_tests(order)))
    for source, task, count in dict.fromkeys(needs):
        with bench.bar(count, f"{task} chips") as advance:
            fill(source, bench.cache, task, count, processes=bench.processes, advance=advance)


def _lessons(order: Order) -> Iterator[Need]:
    """What is learnt from, what stops the training, what temperatures are fitted on."""
    data, worlds = order.study.plan.data, order.worlds
    many = data.pairs if order.task is Task.CHANGE else data.chips
    yield worlds.train(data.seed, order.variant.only), order.task, many
    yield worlds.validate(data.seed), order.task, data.validation
    yield worlds.calibrate(data.seed), order.task, data.validation


def _tests(order: Order) -> Iterator[Need]:
    """What is measured on, by PARTS."""
    for part in PARTS:
        source = order.worlds.test(part, order.study.plan.data.seed, order.variant.tested_on)
        yield source, order.task, order.study.tests


def _results(orders: Sequence[Order], bench: Bench) -> dict[tuple[str, int], Figures]:
    found: dict[tuple[str, int], Figures] = {}
    missing: dict[str, list[Order]] = {}
    for order in orders:
        kept = _kept(order)
        if kept is None:
            missing.setdefault(order.training, []).append(order)
        else:
            found[order.name, order.seed] = kept
    with bench.bar(len(orders), "variants and seeds") as advance:
        advance(len(found))
        for alike, figures in _carried_out(list(missing.values()), bench.parallel):
            for order, one in zip(alike, figures, strict=True):
                found[order.name, order.seed] = one
            advance(len(alike))
    return found


def _kept(order: Order) -> Figures | None:
    if not order.file.is_file():
        return None
    kept = json.loads(order.file.read_text())
    figures: Figures | None = kept["figures"] if kept["digest"] == order.digest else None
    return figures


def _carried_out(
    trainings: Sequence[Sequence[Order]], parallel: int
) -> Iterator[tuple[Sequence[Order], list[Figures]]]:
    if parallel <= 1 or len(trainings) <= 1:
        yield from ((orders, carry_out(orders)) for orders in trainings)
        return
    pool = ProcessPoolExecutor(
        parallel, mp_context=get_context("spawn"), initializer=end_with, initargs=(os.getpid(),)
    )
    try:
        waiting = {pool.submit(carry_out, orders): orders for orders in trainings}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def carry_out(orders: Sequence[Order]) -> list[Figures]:
    """Train once what these orders share, calibrate, measure each; keep the results."""
    first = orders[0]
    if first.threads:
        torch.set_num_threads(first.threads)
    learnt = _learn(first)
    return [_judged(order, learnt) for order in orders]


@dataclass(frozen=True)
class Learnt:
    """A trained network with what it needs to be measured."""

    network: torch.nn.Module
    heads: tuple[Head, ...]
    recipe: Recipe
    temperatures: Mapping[str, Mapping[Condition, float]]
    device: torch.device


def _learn(order: Order) -> Learnt:
    plan = only(order.study.plan, [order.variant.run])
    runs = {name: run.model_copy(update={"card": False}) for name, run in plan.runs.items()}
    plan = plan.model_copy(update={"seed": order.seed, "runs": runs})
    train, validate, calibrate = (_part(need, order.cache) for need in _lessons(order))
    device = torch.device(order.device)
    shop = Workshop(order.out / order.training, order.cache, silent, device)
    origin = Origin(date(1970, 1, 1), "", "", simulated=True, data_licence="")
    material = Material(train, validate, calibrate)
    steps: dict[str, Made] = {}
    for name in plan.runs:
        steps[name] = train_run(plan, name, material, shop, origin, steps)
    made = steps[order.variant.run]
    network = build(plan.network_of(order.variant.run)).to(device)
    network.load_state_dict(made.trained.state)
    network.eval()
    found = temperatures(network, Crops(calibrate.cache, made.recipe, calibrate.numbers), device)
    return Learnt(network, plan.heads_of(order.variant.run), made.recipe, found, device)


def _part(need: Need, cache: Path) -> Part:
    source, task, count = need
    made = fill(source, cache, task, count)
    return Part(made, tuple(range(len(made.entries))), source.about)


def _judged(order: Order, learnt: Learnt) -> Figures:
    figures = {
        part: _measure(order.variant.read, learnt, _part(need, order.cache))
        for part, need in zip(PARTS, _tests(order), strict=True)
    }
    order.file.parent.mkdir(parents=True, exist_ok=True)
    beside = order.file.with_suffix(".new")
    beside.write_text(json.dumps({"digest": order.digest, "figures": figures}, indent=1) + "\n")
    beside.replace(order.file)
    return figures


def _measure(reading: Reading, learnt: Learnt, test: Part) -> dict[str, dict[str, float | None]]:
    recipe = learnt.recipe
    if reading is Reading.EVENTS:
        both = Recipe(Task.CHANGE, recipe.bands, (CHANGE_HEAD,), recipe.normalisation)
        crops = Crops(test.cache, both, test.numbers)
        sums = measure_events(learnt.network, crops, recipe, learnt.device)
        heads = tuple(Head(name=event, labels=(event,)) for event in EVENTS)
    else:
        sums = measured(learnt.network, test, recipe, learnt.device, learnt.temperatures)
        heads = learnt.heads
    return {key: value for head in heads for key, value in _told(head, list(sums[head.name].values()))}


def _told(head: Head, parts: Sequence[Sums]) -> Iterator[tuple[str, dict[str, float | None]]]:
    whole = total_of(parts)
    for label, one in whole.figures(head.labels).items():
        if one["share"] > 0.0:
            yield f"{head.name}/{label}", {name: _finite(one[name]) for name in FIGURES}
    if len(head.labels) > 1:
        yield f"{head.name}/mean", {"iou": _finite(mean_iou(whole, head.labels))}


def _finite(value: float) -> float | None:
    return round(value, 5) if value == value else None


def table(orders: Sequence[Order], results: Mapping[tuple[str, int], Figures]) -> list[Row]:
    """One row per variant, part and label: each figure over the seeds."""
    rows: list[Row] = []
    for name in dict.fromkeys(order.name for order in orders):
        runs = [figures for (variant, _), figures in sorted(results.items()) if variant == name]
        for part in PARTS:
            for key in dict.fromkeys(key for figures in runs for key in figures[part]):
                head, _, label = key.partition("/")
                row: Row = {"variant": name, "test": part, "head": head, "label": label}
                for figure in FIGURES:
                    values = [v for f in runs if (v := f[part].get(key, {}).get(figure)) is not None]
                    row[figure] = _interval(values) if values else None
                rows.append(row)
    return rows


def differences(orders: Sequence[Order], results: Mapping[tuple[str, int], Figures]) -> list[Row]:
    """Mean IoU over all labels of each variant less that of the one it is compared with, seed by seed."""
    variants = {order.name: order.variant for order in orders}
    first = next(iter(variants))
    seeds = sorted({order.seed for order in orders})
    rows: list[Row] = []
    for name, variant in variants.items():
        against = variant.against or first
        for part in PARTS if name != against else ():
            gaps = [_gap(results[against, seed][part], results[name, seed][part]) for seed in seeds]
            rows.append({"variant": name, "against": against, "test": part, "mean_iou": _interval(gaps)})
    return rows


def _gap(a: Mapping[str, Mapping[str, float | None]], b: Mapping[str, Mapping[str, float | None]]) -> float:
    """Over the labels that both were measured on."""
    keys = sorted(key for key in set(a) & set(b) if not key.endswith("/mean"))
    pairs = [(a[key]["iou"], b[key]["iou"]) for key in keys]
    gaps = [high - low for low, high in pairs if low is not None and high is not None]
    return sum(gaps) / len(gaps) if gaps else float("nan")


def _interval(values: Sequence[float]) -> Row:
    found = over_seeds(values)
    return {
        "value": _finite(found.value),
        "low": _finite(found.low),
        "high": _finite(found.high),
        "n": found.n,
    }
