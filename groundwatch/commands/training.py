"""Make models and judge them: train, evaluate, study, and the simulated chips they feed on."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from groundwatch.console import Command, Day, Options, pass_options, progress, show_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from detector.cards import Card
    from detector.training.plan import TrainingPlan
    from detector.training.sources import ChipSource
    from detector.training.train_set import Made, Origin, Workshop

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
SHOWN_FACTS = ("climate", "mine_type", "material", "look_alike", "sky")
DEVICES = click.Choice(["auto", "cpu", "cuda"])
RUNS_ON_A_GPU = 8
"""Runs trained side by side on one GPU at most: each keeps a copy of the framework in its memory."""


@contextmanager
def _bar(total: int, what: str) -> Iterator[Callable[[int], None]]:
    with progress(total, what=what, unit="") as advance:
        yield advance


def _out(what: str) -> Callable[[Any], Any]:
    return click.option("--out", type=FOLDER, required=True, help=what)


def _machine(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options on where and how to compute."""
    for option in (
        click.option("--processes", type=click.IntRange(1), default=2, show_default=True,
                     help="Processes that make chips."),
        click.option("--threads", type=click.IntRange(1),
                     help="Threads of the network (default: all cores)."),
        click.option("--device", type=DEVICES, default="auto", show_default=True,
                     help="Where to compute; auto takes a GPU where one is at hand."),
        click.option("--cache", type=FOLDER, help="Folder for chips made once (default: OUT/cache)."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command(cls=Command)
@_out("Folder for cards, weights, checkpoints and logs.")
@click.option("--plan", "plan_name", default="default", show_default=True,
              help="Training plan: a file, or one that ships: default, large (for a GPU), "
              "components.")  # fmt: skip
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
@_machine
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

    Without more it trains the default set on simulated chips: under 90 minutes on 2 cores. With --chips
    (and --labels) it retrains the shipped models on what you labelled. Each finished model is a card in
    OUT; name OUT under model_cards in the configuration to use it.
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
    shop = _workshop(out, cache, device, threads, processes)
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
            f"training plan {name!r} is neither a file nor one that ships; use default, large or components"
        )
    plan = load_plan(file)
    if seed is not None:
        data = plan.data.model_copy(update={"seed": seed})
        plan = plan.model_copy(update={"seed": seed, "data": data})
    return only(plan, [name.strip() for name in runs.split(",")]) if runs else plan


def _workshop(out: Path, cache: Path | None, device: str, threads: int | None, processes: int) -> Workshop:
    from detector.engine import Device, pick_device
    from detector.training.train_set import Workshop, use_threads
    from registry.log import configure

    configure()
    if threads:
        use_threads(threads)
    return Workshop(
        out=out,
        cache=cache or out / "cache",
        bar=_bar,
        device=pick_device(Device(device)),
        choice=Device(device),
        processes=processes,
    )


def _origin(*, simulated: bool) -> Origin:
    from importlib.metadata import version

    from detector.training.train_set import Origin
    from groundwatch.wiring import utc_now

    return Origin(
        today=utc_now().date(),
        command=shlex.join(["groundwatch", *sys.argv[1:]]),
        code_version=f"groundwatch {version('groundwatch')}",
        simulated=simulated,
        data_licence="simulated; no licence applies" if simulated else "that of the labels it was given",
    )


@click.command(cls=Command)
@_out("Folder for the tables and the pictures.")
@click.option("--model", "models", multiple=True, required=True,
              help="Id of a card, or the file of one; several are told side by side.")  # fmt: skip
@click.option("--data", default="sim:heldout", show_default=True,
              help="Folder of labelled chips, or sim:heldout, sim:shifted, sim:train.")  # fmt: skip
@click.option("--chips", type=click.IntRange(1), default=100, show_default=True, help="Chips at most.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of simulated chips.")
@click.option("--without", default="", help="Bands left out, separated by commas, such as VV,VH.")
@click.option("--by", default="", help="Tell the figures also by a fact: mine_type, material, climate, sky.")
@_machine
@pass_options
def evaluate(
    options: Options,
    out: Path,
    models: tuple[str, ...],
    data: str,
    chips: int,
    seed: int,
    without: str,
    by: str,
    cache: Path | None,
    device: str,
    threads: int | None,
    processes: int,
) -> None:
    """Measure models on labelled chips: IoU, F1, precision-recall, calibration, with intervals.

    OUT gets evaluation.md and .json, side_by_side.md for several models, and the worst and best chips
    of each beside their truth. Spectral cards are measured like any other.
    """
    from detector.training.examine import Examination, examine
    from detector.training.report import flat

    shop = _workshop(out, cache, device, threads, processes)
    exam = Examination(
        cards=tuple(_card(options, one) for one in models),
        source=_source(data, seed),
        count=chips,
        out=out,
        cache=shop.cache,
        bar=shop.bar,
        processes=processes,
        device=shop.choice,
        without=_names(without),
        by=by,
    )
    show_rows(options, flat(examine(exam)), empty="nothing was measured")


def _card(options: Options, name: str) -> Card:
    """A card by id, or by its file."""
    from detector.models import load_cards, shipped_cards
    from registry.errors import NotFound
    from registry.settings import load_settings

    path = Path(name)
    if path.suffix in (".yml", ".yaml"):
        if not path.is_file():
            raise NotFound(f"model card {path} does not exist; give the file of one")
        cards = load_cards((path.parent,))
        found = [card for card in cards.values() if card.id == path.stem]
        if not found:
            raise NotFound(f"{path} holds no card of the id {path.stem}; name the file after its id")
        return found[0]
    settings = load_settings(options.config_path())
    cards = load_cards((shipped_cards(), *settings.model_cards))
    if name not in cards:
        raise NotFound(f"model card {name!r} does not exist; use one of {', '.join(sorted(cards))}")
    return cards[name]


def _names(text: str) -> tuple[str, ...]:
    from detector.images import parse_bands

    return parse_bands(text) if text else ()


def _source(data: str, seed: int) -> ChipSource:
    from detector.training.sources import folder_source
    from groundwatch.simulated import TEST_SEEDS, simulated

    if data.startswith("sim:"):
        return simulated(data.removeprefix("sim:"), seed + TEST_SEEDS)
    return folder_source(Path(data))


@click.command(cls=Command)
@click.argument("name")
@_out("Folder for the tables and the results of each training.")
@click.option("--plan", "plan_file", type=FILE, help="Studies (default: those that ship).")
@click.option("--seeds", type=click.IntRange(1), help="Trainings per variant (default: the plan's, 5).")
@click.option("--scale", type=click.FloatRange(0.01, 100.0), default=1.0, show_default=True,
              help="Factor on chips and steps: 0.2 for a first look, 5 on a GPU.")  # fmt: skip
@click.option("--parallel", type=click.IntRange(1), default=2, show_default=True,
              help="Trainings at the same time, each with --threads.")  # fmt: skip
@_machine
@pass_options
def study(
    options: Options,
    name: str,
    out: Path,
    plan_file: Path | None,
    seeds: int | None,
    scale: float,
    parallel: int,
    cache: Path | None,
    device: str,
    threads: int | None,
    processes: int,
) -> None:
    """Compare ways to train over several seeds: bands, subsets, normalisation or dates.

    Writes OUT/NAME.md and .json: figures of every label with confidence intervals, in distribution and
    shifted, and the differences to the first variant. Finished trainings are kept.
    """
    from detector.training.plan import shipped_plan
    from detector.training.report import flat
    from detector.training.study import Bench, run_study
    from detector.training.study_plan import load_study_plan, scaled
    from groundwatch.simulated import SimulatedWorlds

    shop = _workshop(out, cache, device, threads, processes)
    plan = scaled(load_study_plan(plan_file or shipped_plan("studies")), scale, seeds)
    on_gpu = shop.device.type == "cuda"
    bench = Bench(
        out=out,
        cache=shop.cache,
        bar=_bar,
        device=shop.device.type,
        parallel=1 if on_gpu else parallel,
        threads=threads or (None if on_gpu else 1),
        processes=processes,
    )
    show_rows(options, flat(run_study(plan, name, SimulatedWorlds(), bench)), empty="nothing was measured")


@click.command(cls=Command)
@_out("Folder for the chips: DIR/NAME/pixels.tif, labels.tif, picture.png, overlay.png, chip.json.")
@click.option("--chips", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.option("--recipe", type=click.Choice(["train", "heldout", "shifted"]), default="train",
              show_default=True, help="Which worlds they are drawn from.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed is other chips.")
@click.option("--size", type=click.IntRange(64, 1024), default=256, show_default=True,
              help="Side of a chip in pixels.")  # fmt: skip
@click.option("--pairs", is_flag=True, help="Each place at two dates, with what changed.")
@pass_options
def simulate(options: Options, out: Path, chips: int, recipe: str, seed: int, size: int, pairs: bool) -> None:
    """Write simulated chips with known labels, as files and pictures."""
    from detector.training.folder import write_chip, write_pair
    from detector.training.gallery import write_overlay
    from groundwatch.simulated import simulated

    source = simulated(recipe, seed, size=size)
    rows = []
    with progress(chips, what="simulating", unit="chip") as advance:
        for index in range(chips):
            if pairs:
                pair = source.pair(index)
                chip, folder = pair.after, write_pair(out, pair)
            else:
                chip = source.chip(index)
                folder = write_chip(out, chip)
            write_overlay(folder, chip)
            facts = {key: chip.facts.get(key, "") for key in SHOWN_FACTS}
            rows.append({"chip": chip.name, "acquired": chip.acquired} | facts)
            advance(1)
    show_rows(options, rows, empty="no chips")


@click.command(cls=Command)
@click.argument("area_id")
@_out("Folder for the chips.")
@click.option("--since", type=Day(), help="First acquisition day, UTC; default: all that is recorded.")
@click.option("--until", type=Day(), help="Last acquisition day, UTC.")
@click.option("--size", type=click.IntRange(64, 1024), default=256, show_default=True,
              help="Side of a chip in pixels of 10 m.")  # fmt: skip
@click.option("--windows", type=click.IntRange(1), default=40, show_default=True,
              help="Windows at most, spread over the area.")  # fmt: skip
@click.option("--dates", type=click.IntRange(1), default=2, show_default=True, help="Dates per window.")
@click.option("--clear", type=click.FloatRange(0.0, 1.0), default=0.9, show_default=True,
              help="Least share of a chip that is seen clearly.")  # fmt: skip
@pass_options
def chips(
    options: Options,
    area_id: str,
    out: Path,
    since: datetime | None,
    until: datetime | None,
    size: int,
    windows: int,
    dates: int,
    clear: float,
) -> None:
    """Cut chips of a watched area from its recorded passes, for people to label.

    OUT/NAME/picture.png is what labellers upload to CVAT; pixels.tif holds all 14 bands. Give the export
    to `groundwatch train --chips OUT --labels EXPORT.zip`.
    """
    from datetime import timedelta

    from groundwatch.cutting import Cut, cut_area

    with options.app() as app:
        area = app.store.area(area_id)
        end = until + timedelta(days=1) if until else None
        timeline = app.store.passes(area_id, since=since, until=end)
        cut = Cut(size=size, windows=windows, dates=dates, clear=clear)
        with progress(None, what="cutting", unit="chip") as advance:
            found = cut_area(
                area, timeline, out, cut,
                reader=app.reader, settings=app.settings.detection_for(area_id), advance=advance,
            )  # fmt: skip
    rows = [{"chip": one.name, "acquired": one.acquired} for one in found]
    show_rows(options, rows, empty="no chip is clear enough; lower --clear or give more dates")


COMMANDS = (train, evaluate, study, simulate, chips)
