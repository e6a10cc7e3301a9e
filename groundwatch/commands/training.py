"""Make models and judge them: train, evaluate, study, and the simulated chips they feed on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from groundwatch.console import Command, Options, pass_options, progress, show_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector.training.plan import TrainingPlan
    from detector.training.train_set import Workshop

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
DEVICES = click.Choice(["auto", "cpu", "cuda"])


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
@click.option("--plan", "plan_file", type=FILE, help="Training plan (default: the one that ships).")
@click.option("--runs", help="Only these runs of the plan, separated by commas, and what they start from.")
@click.option("--seed", type=int, help="Seed of chips, weights and crops (default: the plan's).")
@_machine
@pass_options
def train(
    options: Options,
    out: Path,
    plan_file: Path | None,
    runs: str | None,
    seed: int | None,
    cache: Path | None,
    device: str,
    threads: int | None,
    processes: int,
) -> None:
    """Train the models of a plan; a training that was cut off goes on where it was.

    Without more it trains the default set on simulated chips: under 90 minutes on 2 cores. Each finished
    model is a card in OUT; name OUT under model_cards in the configuration to use it.
    """
    from detector.training.train_set import train_set
    from groundwatch.simulated import simulated_three

    plan = _plan(plan_file, runs, seed)
    made = train_set(
        plan,
        simulated_three(plan.data.seed),
        _workshop(out, cache, device, threads, processes),
        _origin(simulated=True),
    )
    rows = [
        {
            "run": one.name,
            "shifted_iou": round(one.trained.score, 3),
            "epoch": one.trained.epoch,
            "card": str(one.card or ""),
        }
        for one in made
    ]
    show_rows(options, rows, empty="the plan has no runs")


def _plan(file: Path | None, runs: str | None, seed: int | None) -> TrainingPlan:
    from detector.training.plan import load_plan, only, shipped_plan

    plan = load_plan(file or shipped_plan())
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
        processes=processes,
    )


def _origin(*, simulated: bool) -> Any:
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


COMMANDS = (train,)
