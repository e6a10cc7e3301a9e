"""What real land under simulated mines adds, one site left out: python -m benchmarks.left_out WORK

A shipped network (``--model``) is trained on for ``--crops`` crops: on simulated land alone, with half of the
mines laid on the five real tiles less one (five times), and on all five. Each is judged on the site that it
has not seen, and all are on Romania, beside the network as it ships. Real land decides nothing in a training,
which is stopped and balanced by simulated worlds. After a kill the same call goes on where it was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import yaml

from benchmarks.real_backdrops import write_land
from benchmarks.real_data import BIOMES, Tile, terramind, tree_cover
from benchmarks.real_skill import TOGETHER, Row, forest_rows, table, transformed_rows, tree_cover_rows
from detector.cards import Card, NetworkCard
from detector.models import load_cards, shipped_cards
from detector.training.plan import load_plan, shipped_plan

SIMULATED, ALL = "simulated", "all"
"""Trained on simulated land alone; on all five sites."""
EPOCHS, BATCH = 4, 24


def plan_of(card: NetworkCard, *, crops: int, chips: int) -> dict[str, object]:
    """A plan that trains this card on, with the loss and the augmentation that its own plan had."""
    own = load_plan(shipped_plan("mining"))
    run = {"bands": "own", "schedule": "on", "title": f"{card.title}, trained on"}
    start = {"id": card.id, "sha256": card.weights.sha256 if card.weights else ""}
    schedule = {"epochs": EPOCHS, "steps": crops // (EPOCHS * BATCH), "batch": BATCH, "crop": 128}
    return {
        "heads": {head.name: list(head.labels) for head in card.plan.heads},
        "band_sets": {"own": list(card.bands)},
        "runs": {"trained-on": run | {"start_card": start}},
        "schedules": {"on": schedule | {"learning_rate": 0.002, "patience": EPOCHS}},
        "data": {"chips": chips, "validation": 64, "seed": 21},
        "augmentation": own.augmentation.model_dump(mode="json"),
        "loss": own.loss.model_dump(mode="json"),
        "width": card.plan.width,
        "blocks": card.plan.blocks,
        "fine": card.plan.fine,
        "ema": 0.998,
    }


def train(work: Path, plan: Path, tiles: Sequence[Tile], name: str) -> Card:
    """The card of one training, made where it is not there yet."""
    out = work / name
    card = out / "trained-on.yml"
    if not card.exists():
        command = [sys.executable, "-m", "groundwatch", "train", "--plan", str(plan), "--out", str(out)]
        command += ["--cache", str(work / "cache"), "--threads", "1", "--processes", "1"]
        if name != SIMULATED:
            command += ["--backdrops", str(land_of(out, tiles, leave=name))]
        with (work / f"{name}.log").open("w") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log)
    return load_cards((shipped_cards(), out))["trained-on"]


def land_of(out: Path, tiles: Sequence[Tile], *, leave: str) -> Path:
    """The tiles as chips, written once and whole: a training that goes on asks for the very same files."""
    land = out / "land"
    if not land.exists():
        begun = out / "land-begun"
        write_land(begun, tiles, leave=(leave,))
        begun.rename(land)
    return land


def left_out_rows(shipped: Card, trained: dict[str, Card], tiles: Sequence[Tile]) -> list[Row]:
    """Per site the network as it ships, trained on simulated land, and on the other sites' land."""
    rows = []
    for tile in tiles:
        for what, card in (
            ("shipped", shipped),
            (SIMULATED, trained[SIMULATED]),
            ("left out", trained[tile.site]),
        ):
            quiet = transformed_rows([card], [tile])[0]["called"]
            forest = forest_rows([card], [tile])
            skill = {key: forest[0][key] if forest else float("nan") for key in ("f1", "auc", "false")}
            rows.append({"tile": tile.biome, "trained": what} | skill | {"transformed": quiet})
    return rows


def romania_rows(cards: dict[str, Card], dates: Sequence[Tile]) -> list[Row]:
    """Tree cover that none of them has seen, from single dates and from several."""
    return [
        {"trained": what} | {key: value for key, value in row.items() if key != "card"}
        for together in (1, TOGETHER)
        for what, card in cards.items()
        for row in tree_cover_rows([card], dates, together=together)
    ]


def main() -> None:
    """Train what is missing, then print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.left_out", description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", default="mining-rgbnir-swir")
    parser.add_argument("--crops", type=int, default=20_000)
    parser.add_argument("--chips", type=int, default=1500)
    parser.add_argument("--parallel", type=int, default=2, help="trainings side by side, a core each")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    given = parser.parse_args()
    shipped = load_cards((shipped_cards(),))[given.model]
    if not isinstance(shipped, NetworkCard):
        parser.error(f"{given.model} is no network of one date; name one of mining-...")
    given.work.mkdir(parents=True, exist_ok=True)
    plan = given.work / "plan.yml"
    wanted = yaml.safe_dump(plan_of(shipped, crops=given.crops, chips=given.chips))
    if plan.exists() and plan.read_text() != wanted:
        parser.error(
            f"{given.work} holds trainings of another model, --crops or --chips; give another folder"
        )
    plan.write_text(wanted)
    tiles = [*terramind(given.data)]
    names = [SIMULATED, *BIOMES, ALL]
    with ThreadPoolExecutor(given.parallel) as pool:
        trained = dict(zip(names, pool.map(partial(train, given.work, plan, tiles), names), strict=True))
    print(f"## Sites left out\n\n{table(left_out_rows(shipped, trained, tiles))}")
    print(f"\n## Romania\n\n{table(romania_rows({'shipped': shipped} | trained, [*tree_cover(given.data)]))}")


if __name__ == "__main__":
    main()
