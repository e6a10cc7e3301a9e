"""Judge models: measure them on labelled chips, compare ways to train them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from groundwatch.commands.workshop import FILE, machine_options, open_workshop, out_option, show_bar
from groundwatch.console import Command, Options, pass_options, show_rows

if TYPE_CHECKING:
    from detector.cards import Card
    from detector.training.sources import ChipSource


@click.command(cls=Command)
@out_option("Folder for the tables and the pictures.")
@click.option("--model", "models", multiple=True, required=True,
              help="Id of a card, or the file of one; several are told side by side.")  # fmt: skip
@click.option("--data", default="sim:heldout", show_default=True,
              help="Folder of labelled chips, or sim:heldout, sim:shifted, sim:train.")  # fmt: skip
@click.option("--chips", type=click.IntRange(1), default=100, show_default=True, help="Chips at most.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of simulated chips.")
@click.option("--without", default="", help="Bands left out, separated by commas, such as VV,VH.")
@click.option("--by", default="", help="Tell the figures also by a fact: mine_type, material, climate, sky.")
@machine_options
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

    shop = open_workshop(out, cache, device, threads, processes)
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
@out_option("Folder for the tables and the results of each training.")
@click.option("--plan", "plan_file", type=FILE, help="Studies (default: those that ship).")
@click.option("--seeds", type=click.IntRange(1), help="Trainings per variant (default: the plan's, 5).")
@click.option("--scale", type=click.FloatRange(0.01, 100.0), default=1.0, show_default=True,
              help="Factor on chips and steps: 0.2 for a first look, 5 on a GPU.")  # fmt: skip
@click.option("--parallel", type=click.IntRange(1), default=2, show_default=True,
              help="Trainings at the same time, each with --threads.")  # fmt: skip
@machine_options
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

    shop = open_workshop(out, cache, device, threads, processes)
    plan = scaled(load_study_plan(plan_file or shipped_plan("studies")), scale, seeds)
    on_gpu = shop.device.type == "cuda"
    bench = Bench(
        out=out,
        cache=shop.cache,
        bar=show_bar,
        device=shop.device.type,
        parallel=1 if on_gpu else parallel,
        threads=threads or (None if on_gpu else 1),
        processes=processes,
    )
    show_rows(options, flat(run_study(plan, name, SimulatedWorlds(), bench)), empty="nothing was measured")


COMMANDS = (evaluate, study)
