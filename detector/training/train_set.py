"""A plan from its first chip to its last card: gather, train each run, calibrate, measure, write."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import active_children, get_context
from pathlib import Path
from threading import Event
from typing import Any

import torch

from detector.engine import Device
from detector.inputs import Normalisation
from detector.training.batches import Crops, Recipe, fit_normalisation, recipe_of
from detector.training.finish import Origin, finish
from detector.training.loop import Job, State, Trained, narrowed, taken, train
from detector.training.material import Bar, Material, Sources, gather
from detector.training.plan import Task, TrainingPlan, only
from detector.training.starts import onto
from detector.training.workers import end_with
from registry.errors import InputError
from registry.log import configure, get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class Workshop:
    """Where and how a training runs; nothing here changes what it makes on one kind of device."""

    out: Path
    """Cards, weights, checkpoints, logs."""
    cache: Path
    """Chips made once."""
    bar: Bar
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    choice: Device = Device.AUTO
    """The device as it was asked for."""
    processes: int = 2
    """Processes that make chips."""
    parallel: int = 1
    """Runs trained at the same time, each in a process of its own."""
    threads: int = 1
    """Threads of each of these processes."""


@dataclass(frozen=True)
class Made:
    """A finished run."""

    name: str
    trained: Trained
    recipe: Recipe
    card: Path | None
    seen: frozenset[int]
    """Numbers of the training chips that it, or a run that it starts from, has seen."""


Need = tuple[Task, int]
"""Chips that must be made before a run begins: of which task, and how many."""


def use_threads(count: int) -> None:
    """Let the network compute in so many threads."""
    torch.set_num_threads(count)


def train_set(plan: TrainingPlan, sources: Sources, shop: Workshop, origin: Origin) -> list[Made]:
    """Train every run of a plan, in order; what an earlier call finished is taken as it is.

    With ``shop.parallel`` above 1, runs whose starts are trained are trained side by side.
    """
    if shop.parallel > 1 and len(plan.runs) > 1:
        return _side_by_side(plan, sources, shop, origin)
    materials: dict[Need, Material] = {}
    made: dict[str, Made] = {}
    for name in plan.runs:
        need = _need(plan, name)
        if need not in materials:
            materials[need] = _gathered(plan, need, sources, shop)
        made[name] = train_run(plan, name, materials[need], shop, origin, made)
    return list(made.values())


def _need(plan: TrainingPlan, name: str) -> Need:
    return plan.runs[name].task, plan.chips_of(name)


def _needs(plan: TrainingPlan) -> list[Need]:
    """What the runs need, task by task, few chips before many."""
    tasks = list(dict.fromkeys(run.task for run in plan.runs.values()))
    return sorted({_need(plan, name) for name in plan.runs}, key=lambda need: (tasks.index(need[0]), need[1]))


def _gathered(plan: TrainingPlan, need: Need, sources: Sources, shop: Workshop) -> Material:
    task, count = need
    data = plan.data.model_copy(update={"pairs" if task is Task.CHANGE else "chips": count})
    return gather(sources, data, task, shop.cache, processes=shop.processes, bar=shop.bar)


def _side_by_side(plan: TrainingPlan, sources: Sources, shop: Workshop, origin: Origin) -> list[Made]:
    """Each run in a process of its own, as soon as its chips are made and its start is trained."""
    alone = replace(shop, bar=silent, processes=1, parallel=1)
    others, stopped = set(active_children()), Event()
    making = replace(shop, bar=_stoppable(shop.bar, stopped))
    made: dict[str, Made] = {}
    waiting = list(plan.runs)
    pool = ProcessPoolExecutor(
        shop.parallel,
        mp_context=get_context("spawn"),
        initializer=_begin,
        initargs=(os.getpid(), shop.threads),
    )
    maker = ThreadPoolExecutor(1, thread_name_prefix="chips")
    try:
        chips = {maker.submit(_gathered, plan, need, sources, making): need for need in _needs(plan)}
        trained: dict[Future[Made], str] = {}
        with shop.bar(len(plan.runs), "trainings") as advance:
            while waiting or trained:
                pending: set[Future[Any]] = {*chips, *trained}
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    future.result()
                    chips.pop(future, None)
                    if future in trained:
                        made[name := trained.pop(future)] = future.result()
                        advance(1)
                for name in [one for one in waiting if _may_begin(plan, one, made, chips.values())]:
                    waiting.remove(name)
                    trained[pool.submit(_train_last, plan, name, sources, alone, origin)] = name
    except BaseException:
        # An error is told now, not when the other trainings are done; they go on from their checkpoints.
        stopped.set()
        for child in set(active_children()) - others:
            child.terminate()
        raise
    finally:
        maker.shutdown(cancel_futures=True)
        pool.shutdown(cancel_futures=True)
    return [made[name] for name in plan.runs]


def _may_begin(plan: TrainingPlan, name: str, made: Mapping[str, Made], missing: Collection[Need]) -> bool:
    start = plan.runs[name].start
    return _need(plan, name) not in missing and (start is None or start in made)


def _stoppable(bar: Bar, stopped: Event) -> Bar:
    """A bar whose work ends at its next step once that is asked for."""

    @contextmanager
    def shown(total: int, what: str) -> Iterator[Callable[[int], None]]:
        with bar(total, what) as advance:

            def step(steps: int) -> None:
                if stopped.is_set():
                    raise InputError("stopped, since another part of the training failed")
                advance(steps)

            yield step

    return shown


def _train_last(plan: TrainingPlan, name: str, sources: Sources, shop: Workshop, origin: Origin) -> Made:
    """A run whose chips are made and whose start is trained, so that both are found."""
    made: dict[str, Made] = {}
    for step in only(plan, [name]).runs:
        material = _gathered(plan, _need(plan, step), sources, shop)
        made[step] = train_run(plan, step, material, shop, origin, made, card=step == name)
    return made[name]


def _begin(parent: int, threads: int) -> None:
    end_with(parent)
    configure()
    use_threads(threads)


@contextmanager
def silent(_total: int, _what: str) -> Iterator[Callable[[int], None]]:
    """A bar that nobody sees."""
    yield lambda _steps: None


def train_run(
    plan: TrainingPlan,
    name: str,
    material: Material,
    shop: Workshop,
    origin: Origin,
    made: Mapping[str, Made],
    *,
    card: bool = True,
) -> Made:
    """Train, calibrate and measure one run; ``made`` holds those it may start from.

    With ``card`` false the card is left to somebody else.
    """
    run = plan.runs[name]
    schedule = plan.schedules[plan.schedule_of(name)]
    numbers = material.train.numbers[run.skip :]
    recipe = recipe_of(plan, name, _normalisation(plan, name, material, origin, made))
    job = Job(
        name=name,
        network=plan.network_of(name),
        recipe=recipe,
        schedule=schedule,
        augmentation=plan.augmentation,
        loss=schedule.loss or plan.loss,
        train=Crops(material.train.cache, recipe, numbers),
        shifted=Crops(material.shifted.cache, recipe, material.shifted.numbers),
        folder=shop.out / "runs" / name,
        seed=plan.seed,
        ema=plan.ema,
        band_dropout=run.band_dropout,
        smaller_sets=_smaller_sets(plan, recipe),
        start=_start(plan, name, origin, made),
        device=shop.device,
    )
    if run.schedule is None:
        trained = taken(job)
    else:
        with shop.bar(job.schedule.total, name) as advance:
            trained = train(job, progress=lambda steps, _: advance(steps))
    seen = frozenset(numbers if run.schedule else ())
    if run.start is not None and plan.runs[run.start].task is run.task:
        seen |= made[run.start].seen
    written = (
        finish(plan, name, job, trained, material, len(seen), shop.out, origin) if run.card and card else None
    )
    return Made(name, trained, recipe, written, seen)


def _normalisation(
    plan: TrainingPlan, name: str, material: Material, origin: Origin, made: Mapping[str, Made]
) -> Normalisation:
    """That of the run it starts from, cut to its bands, else fitted to the training chips."""
    run, bands = plan.runs[name], plan.bands_of(name)
    before = made[run.start].recipe.normalisation if run.start else origin.normalisations.get(name)
    if before is None:
        part = material.train
        return fit_normalisation(part.cache, bands, run.reference, numbers=part.numbers)
    return before.model_copy(
        update={
            "mean": {band: before.mean[band] for band in bands},
            "spread": {band: before.spread[band] for band in bands},
        }
    )


def _start(plan: TrainingPlan, name: str, origin: Origin, made: Mapping[str, Made]) -> State | None:
    run = plan.runs[name]
    if run.start is None:
        if run.start_card is not None and name not in origin.starts:
            raise InputError(f"run {name} starts from card {run.start_card.id}, which only `train` looks up")
        return dict(origin.starts[name]) if name in origin.starts else None
    before = plan.runs[run.start]
    dates = 2 if before.task is Task.CHANGE else 1
    state = narrowed(made[run.start].trained.state, plan.bands_of(run.start), plan.bands_of(name), dates)
    if before.task is run.task:
        return state
    return onto(plan.network_of(name), state, plan.heads_of(run.start), seed=plan.seed)


def _smaller_sets(plan: TrainingPlan, recipe: Recipe) -> tuple[tuple[str, ...], ...]:
    """Band sets of the plan that are less than the run's own."""
    return tuple(bands for _, bands in sorted(plan.band_sets.items()) if set(bands) < set(recipe.bands))
