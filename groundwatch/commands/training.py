"""Make models: train a plan, or retrain from labels."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from groundwatch.commands.workshop import FILE, FOLDER, machine_options, open_workshop, out_option
from groundwatch.console import Command, Options, pass_options, show_rows

if TYPE_CHECKING:
    from detector.training.finish import Origin
    from detector.training.plan import TrainingPlan
    from detector.training.train_set import Made, Workshop

RUNS_ON_A_GPU = 8
"""Runs trained side by side on one GPU at most: each keeps a copy of the framework in its memory."""


@click.command(cls=Command)
@out_option("Folder for cards, weights, checkpoints and logs.")
@click.option("--plan", "plan_name", default="default", show_default=True,
              help="Training plan: a file, or one that ships: default, or for a GPU large or "
              "mining.")  # fmt: skip
@click.option("--runs", help="Only these runs of the plan, separated by commas, and what they start from.")
@click.option("--seed", type=int, help="Seed of chips, weights and crops (default: the plan's).")
@click.option("--chips", type=FOLDER, help="Learn from the chips of this folder instead of simulated ones.")
@click.option("--labels", type=FILE, multiple=True,
              help="CVAT export of labels on these chips: Segmentation mask 1.1 or COCO 1.0.")  # fmt: skip
@click.option("--label-names", type=FILE, help="YAML: what the names of labels in CVAT mean.")
@click.option("--validate-from", metavar="DATE",
              help="Chips from this day on validate (default: split by place).")  # fmt: skip
@click.option("--backdrops", type=FOLDER,
              help="Chips of real land without mines: half of the simulated ones lie on it.")  # fmt: skip
@click.option("--parallel", type=click.IntRange(1),
              help="Runs trained side by side, each with its share of the cores (default: 1 where --threads "
              "is given, else as many as start from nothing, on a GPU 8; no more than cores).")  # fmt: skip
@machine_options
@pass_options
def train(
    options: Options,
    out: Path,
    plan_name: str,
    runs: str | None,
    seed: int | None,
    chips: Path | None,
    labels: tuple[Path, ...],
    label_names: Path | None,
    validate_from: str | None,
    backdrops: Path | None,
    parallel: int | None,
    cache: Path | None,
    device: str,
    threads: int | None,
    processes: int,
) -> None:
    """Train the models of a plan; a training that was cut off goes on where it was.

    Without more it trains the default set on simulated chips: half an hour on 2 cores with bf16, longer
    without. With --chips (and --labels) it retrains the shipped models on what you labelled. Each
    finished model is a card in OUT; name OUT under model_cards in the configuration to use it.
    """
    from dataclasses import replace

    from detector.models import load_cards, shipped_cards
    from detector.training.starts import starts_of
    from detector.training.train_set import train_set
    from groundwatch.simulated import RealLand, simulated_three

    if labels and chips is None:
        raise click.UsageError("--labels needs --chips, the folder whose pictures were labelled")
    if backdrops and chips:
        raise click.UsageError("--backdrops are for simulated mines; leave it out with --chips")
    plan = _plan(plan_name, runs, seed)
    shop = open_workshop(out, cache, device, threads, processes)
    cores = os.cpu_count() or 1
    on_gpu = shop.device.type == "cuda"
    first = sum(run.start is None for run in plan.runs.values())
    parallel = parallel or (1 if threads else min(cores, RUNS_ON_A_GPU if on_gpu else first))
    shop = replace(shop, parallel=parallel, threads=threads or max(1, cores // parallel))
    if chips is None:
        land = RealLand(backdrops) if backdrops else None
        starts = starts_of(plan, load_cards((shipped_cards(),)))
        origin = _origin(simulated=True)
        origin = replace(origin, starts=starts.states, normalisations=starts.normalisations)
        if land:
            origin = replace(origin, data_licence=f"that of the land in {land.folder.name}; else simulated")
        made = train_set(plan, simulated_three(plan.data.seed, land=land), shop, origin)
    else:
        folder = _labelled(chips, labels, label_names, out)
        made = _retrain(options, plan, folder, validate_from, shop)
    rows = [
        {
            "run": one.name,
            "validation_iou": round(one.trained.score, 3),
            "epoch": one.trained.epoch,
            "card": str(one.card or ""),
        }
        for one in made
    ]
    show_rows(options, rows, empty="the plan has no runs")


def _labelled(chips: Path, labels: tuple[Path, ...], label_names: Path | None, out: Path) -> Path:
    """The folder of labelled chips: brought together from chips and exports where these are given."""
    from detector.training.cvat import LabelNames
    from detector.training.labelling import label_chips
    from registry.settings import load_document

    if not labels:
        return chips
    names = load_document(label_names, LabelNames) if label_names else LabelNames()
    label_chips(chips, labels, out / "labelled", names=names)
    return out / "labelled"


def _retrain(
    options: Options, plan: TrainingPlan, folder: Path, validate_from: str | None, shop: Workshop
) -> list[Made]:
    from dataclasses import replace

    from detector.models import load_cards, shipped_cards
    from detector.training.cache import fill
    from detector.training.material import One
    from detector.training.plan import Task
    from detector.training.retrain import retraining
    from detector.training.sources import folder_source
    from detector.training.starts import starts_of
    from detector.training.train_set import train_set
    from registry.settings import load_settings

    source = folder_source(folder)
    task = Task.CHANGE if source.pairs else Task.SEGMENT
    entries = fill(source, shop.cache, task, source.count, processes=shop.processes).entries
    settings = load_settings(options.config_path())
    cards = load_cards((shipped_cards(), *settings.model_cards))
    cut = retraining(plan, entries, task, source.size, cards)
    others = starts_of(cut.plan, cards)
    origin = replace(
        _origin(simulated=False),
        starts={**others.states, **cut.starts},
        normalisations={**others.normalisations, **cut.normalisations},
    )
    return train_set(cut.plan, One(source, validate_from), shop, origin)


def _plan(name: str, runs: str | None, seed: int | None) -> TrainingPlan:
    from detector.training.plan import load_plan, only, shipped_plan
    from registry.errors import NotFound

    # A file that happens to be called "default" in this folder is not what is meant.
    file = next((one for one in (shipped_plan(name), Path(name)) if one.is_file()), None)
    if file is None:
        raise NotFound(
            f"training plan {name!r} is neither a file nor one that ships; use default, large or mining"
        )
    plan = load_plan(file)
    if seed is not None:
        data = plan.data.model_copy(update={"seed": seed})
        plan = plan.model_copy(update={"seed": seed, "data": data})
    return only(plan, [name.strip() for name in runs.split(",")]) if runs else plan


def _origin(*, simulated: bool) -> Origin:
    from importlib.metadata import version

    from detector.training.finish import Origin
    from groundwatch.wiring import utc_now

    return Origin(
        today=utc_now().date(),
        command=shlex.join(["groundwatch", *sys.argv[1:]]),
        code_version=f"groundwatch {version('groundwatch')}",
        simulated=simulated,
        data_licence="simulated; no licence applies" if simulated else "that of the labels it was given",
    )


COMMANDS = (train,)
