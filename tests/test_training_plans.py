"""Whole plans become cards, and the commands that train and judge: each as a person gives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import date
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from detector.cards import Condition, NetworkCard
from detector.models import load_cards
from detector.training.finish import Origin
from detector.training.folder import write_chip
from detector.training.loop import Job, Trained, narrowed, train
from detector.training.material import Three
from detector.training.plan import Schedule, only
from detector.training.train_set import Workshop, train_set, use_threads
from detector.weights import load_network
from groundwatch.cli import cli
from groundwatch.console import Options
from registry.chips import CHANNELS, ChipPair, Component
from registry.errors import InputError
from tests.conftest import REPO
from tests.test_cvat import masks_zip
from tests.training_world import RGBNIR, Discs, no_bar, small_plan

pytestmark = pytest.mark.usefixtures("one_thread")

# Whole plans


def test_a_plan_becomes_cards_that_load_and_score(tmp_path: Path) -> None:
    shop = Workshop(tmp_path / "out", tmp_path / "cache", no_bar, processes=1)
    origin = Origin(date(2026, 1, 2), "groundwatch train", "1", simulated=True, data_licence="none")
    sources = Three(Discs(1), Discs(2), Discs(3))
    made = train_set(small_plan(), sources, shop, origin)
    cards = load_cards((tmp_path / "out",))
    assert set(cards) == {"small-rgbnir", "small-sar", "small-change"}
    card = cards["small-sar"]
    assert isinstance(card, NetworkCard)
    assert set(card.temperature["forest"]) == set(Condition)
    assert set(cards["small-rgbnir"].temperature["forest"]) == {Condition.FRESH}  # type: ignore[attr-defined]
    assert card.optional == ("VV", "VH")
    assert "seed 3" in next(one.data for one in card.metrics if one.name == "forest.iou")
    assert {one.name for one in made if one.card} == set(cards)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.yml")}
    train_set(small_plan(), sources, shop, origin)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.yml")} == before


def test_chains_side_by_side_make_the_cards_of_one_after_the_other(tmp_path: Path) -> None:
    plan = small_plan()
    origin = Origin(date(2026, 1, 2), "groundwatch train", "1", simulated=True, data_licence="none")
    sources = Three(Discs(1), Discs(2), Discs(3))
    threads = torch.get_num_threads()
    use_threads(1)
    try:
        alone = Workshop(tmp_path / "alone", tmp_path / "cache", no_bar, processes=1)
        one_by_one = train_set(plan, sources, alone, origin)
    finally:
        use_threads(threads)
    beside = Workshop(tmp_path / "beside", tmp_path / "cache", no_bar, processes=1, parallel=2)
    together = train_set(plan, sources, beside, origin)
    assert [one.name for one in together] == [one.name for one in one_by_one] == list(plan.runs)
    written = {path.name: path.read_bytes() for path in (tmp_path / "alone").glob("*.yml")}
    assert len(written) == 3  # weights are in the cards by their SHA-256
    assert {path.name: path.read_bytes() for path in (tmp_path / "beside").glob("*.yml")} == written


def test_a_run_of_few_chips_need_not_wait_for_the_others(tmp_path: Path) -> None:
    """It sees the first chips only; what follows it says how many its chain saw; side by side is the same."""
    plan = small_plan()
    first = plan.runs["base"].model_copy(update={"chips": 6})
    last = plan.runs["small-sar"].model_copy(update={"chips": 4})
    plan = small_plan(runs={**plan.runs, "base": first, "small-sar": last})
    origin = Origin(date(2026, 1, 2), "groundwatch train", "1", simulated=True, data_licence="none")
    shop = Workshop(tmp_path / "one", tmp_path / "cache", no_bar, processes=1)
    sources = Three(Discs(1), Discs(2), Discs(3))
    made = train_set(plan, sources, shop, origin)
    assert [len(one.seen) for one in made] == [6, 12, 6, 8]
    card = load_cards((tmp_path / "one",))["small-sar"]
    assert isinstance(card, NetworkCard)
    assert card.trained_on.startswith("6 of ")
    beside = replace(shop, out=tmp_path / "two", cache=tmp_path / "others", parallel=2)
    train_set(plan, sources, beside, origin)
    written = {path.name: path.read_bytes() for path in (tmp_path / "one").glob("*.yml")}
    assert {path.name: path.read_bytes() for path in (tmp_path / "two").glob("*.yml")} == written


def test_a_run_skips_what_its_start_has_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = only(small_plan(), ["small-sar"])
    first = plan.runs["base"].model_copy(update={"chips": 5})
    last = plan.runs["small-sar"].model_copy(update={"chips": 9, "skip": 5})
    plan = plan.model_copy(update={"runs": {"base": first, "small-sar": last}})
    origin = Origin(date(2026, 1, 2), "groundwatch train", "1", simulated=True, data_licence="none")
    shop = Workshop(tmp_path / "out", tmp_path / "cache", no_bar, processes=1)
    drawn: dict[str, tuple[int, ...]] = {}

    def watched(job: Job, **kwargs: Any) -> Trained:
        drawn[job.name] = job.train.numbers
        return train(job, **kwargs)

    monkeypatch.setattr("detector.training.train_set.train", watched)
    made = train_set(plan, Three(Discs(1), Discs(2), Discs(3)), shop, origin)
    assert drawn == {"base": tuple(range(5)), "small-sar": tuple(range(5, 9))}
    assert [one.seen for one in made] == [frozenset(range(5)), frozenset(range(9))]
    card = load_cards((tmp_path / "out",))["small-sar"]
    assert isinstance(card, NetworkCard)
    assert card.trained_on.startswith("9 of ")


def test_a_run_without_a_schedule_is_its_start_cut_to_its_bands(tmp_path: Path) -> None:
    plan = only(small_plan(fine=4), ["small-rgbnir"])
    cut = plan.runs["small-rgbnir"].model_copy(update={"schedule": None})
    plan = plan.model_copy(update={"runs": {**plan.runs, "small-rgbnir": cut}})
    origin = Origin(date(2026, 1, 2), "groundwatch train", "1", simulated=True, data_licence="none")
    sources = Three(Discs(1), Discs(2), Discs(3))
    shop = Workshop(tmp_path / "one", tmp_path / "cache", no_bar, processes=1)
    base, made = train_set(plan, sources, shop, origin)
    assert (made.trained.epoch, made.recipe.bands) == (0, RGBNIR)
    assert not (tmp_path / "one" / "runs" / "small-rgbnir").exists()
    wanted = narrowed(base.trained.state, CHANNELS, RGBNIR, 1)
    card = load_cards((tmp_path / "one",))["small-rgbnir"]
    assert isinstance(card, NetworkCard)
    found = load_network(card).state_dict()
    same = [name for name in wanted if not name.endswith("num_batches_tracked") and "heads" not in name]
    assert all(torch.equal(found[name], wanted[name].half().float()) for name in same)
    assert {one.data.split(":")[0] for one in card.metrics} >= {"held out"}
    beside = replace(shop, out=tmp_path / "two", parallel=2)
    train_set(plan, sources, beside, origin)
    name = "small-rgbnir.yml"
    assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


class NoPairs(Discs):
    """Its chips can be made, its pairs cannot."""

    def pair(self, index: int) -> ChipPair:
        raise InputError(f"pair {index} cannot be made")


def test_what_fails_is_told_while_other_runs_still_train(tmp_path: Path) -> None:
    plan = small_plan(schedules={"s": Schedule(epochs=10_000, steps=50, batch=4, crop=32, patience=10_000)})
    origin = Origin(date(2026, 1, 2), "", "", simulated=True, data_licence="")
    shop = Workshop(tmp_path / "out", tmp_path / "cache", no_bar, processes=1, parallel=2)
    before = set(active_children())
    with pytest.raises(InputError, match="cannot be made"):  # pytest's time limit ends one that waits
        train_set(plan, Three(NoPairs(1), NoPairs(2), NoPairs(3)), shop, origin)
    assert set(active_children()) == before


LONG_CHAINS = """
import sys
from datetime import date
from multiprocessing import active_children
from pathlib import Path

from detector.training.material import Three
from detector.training.plan import Schedule
from detector.training.plan import Schedule
from detector.training.finish import Origin
from detector.training.train_set import Workshop, train_set
from tests.training_world import Discs, no_bar, small_plan

if __name__ == "__main__":
    plan = small_plan(schedules={"s": Schedule(epochs=1000, steps=50, batch=4, crop=32, patience=1000)})
    out = Path(sys.argv[1])
    shop = Workshop(out, out / "cache", no_bar, processes=1, parallel=2)
    origin = Origin(date(2026, 1, 2), "", "", simulated=True, data_licence="")
    train_set(plan, Three(Discs(1), Discs(2), Discs(3)), shop, origin)
"""


def test_chains_end_with_a_killed_training(tmp_path: Path) -> None:
    (tmp_path / "chains.py").write_text(LONG_CHAINS)
    logs = [tmp_path / "out" / "runs" / run / "log.csv" for run in ("base", "small-change")]
    started = [sys.executable, str(tmp_path / "chains.py"), str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    with subprocess.Popen(started, cwd=REPO, env=environment, stderr=subprocess.DEVNULL) as parent:
        while parent.poll() is None and not all(log.is_file() for log in logs):
            time.sleep(0.05)
        workers = [pid for pid, (_, owner) in processes().items() if owner == parent.pid]
        os.kill(parent.pid, signal.SIGKILL)
    assert len(workers) >= 2
    while any(processes().get(pid, ("Z", 0))[0] != "Z" for pid in workers):  # pytest's time limit ends it
        time.sleep(0.1)


def processes() -> dict[int, tuple[str, int]]:
    """State and parent of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended since
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            found[int(path.parent.name)] = (state, int(parent))
    return found


# Commands


PLAN = """
heads: {works: [excavation], transformed: [transformed], forest: [forest]}
band_sets:
  all: [B01, B02, B03, B04, B05, B06, B07, B08, B8A, B09, B11, B12, VV, VH]
  rgbnir: [B02, B03, B04, B08]
runs:
  base: {bands: all, schedule: s, band_dropout: 0.5, card: false}
  own-rgbnir: {bands: rgbnir, start: base, schedule: s}
schedules: {s: {epochs: 1, steps: 4, batch: 2, crop: 64}}
data: {chips: 3, pairs: 2, validation: 3}
width: 6
"""


def command(*arguments: object) -> Any:
    """Run a command; returns what it printed as JSON."""
    result = CliRunner().invoke(cli, [*map(str, arguments), "--json"], obj=Options())
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def simulated_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of cards trained by the command, on the simulator's chips."""
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "plan.yml").write_text(PLAN)
    made = command(
        "train", "--out", folder / "models", "--plan", folder / "plan.yml", "--processes", 1, "--threads", 1,
        "--cache", folder / "cache",
    )  # fmt: skip
    assert [row["run"] for row in made] == ["base", "own-rgbnir"]
    return folder


def test_train_then_evaluate_beside_a_spectral_card(simulated_set: Path) -> None:
    out = simulated_set / "evaluation"
    rows = command(
        "evaluate", "--out", out, "--model", simulated_set / "models" / "own-rgbnir.yml",
        "--model", "forest-spectral-rgbnir", "--data", "sim:shifted", "--chips", 3, "--by", "climate",
        "--processes", 1, "--threads", 1,
    )  # fmt: skip
    labels = {(row["model"], row["label"]) for row in rows}
    assert ("forest-spectral-rgbnir", "forest") in labels
    assert ("own-rgbnir", "transformed") in labels
    assert "| forest | forest |" in (out / "side_by_side.md").read_text()
    assert (out / "by_climate.md").is_file()
    assert len(list((out / "chips" / "own-rgbnir").glob("*.png"))) >= 1


def test_simulated_folders_are_judged_and_learnt_from(tmp_path: Path, simulated_set: Path) -> None:
    chips = tmp_path / "chips"
    rows = command("simulate", "--chips", 4, "--size", 64, "--out", chips)
    assert len(rows) == 4
    assert {path.name for path in (chips / rows[0]["chip"]).iterdir()} == {
        "pixels.tif", "labels.tif", "picture.png", "overlay.png", "chip.json",
    }  # fmt: skip
    judged = command(
        "evaluate", "--out", tmp_path / "out", "--model", "forest-spectral-rgbnir", "--data", chips,
        "--processes", 1,
    )  # fmt: skip
    assert judged[0]["label"] == "forest"
    config = tmp_path / "groundwatch.yml"
    config.write_text(f"model_cards: [{simulated_set / 'models'}]\n")
    made = command(
        "train", "--chips", chips, "--out", tmp_path / "own", "--plan", simulated_set / "plan.yml",
        "--processes", 1, "--threads", 1, "--config", config,
    )  # fmt: skip
    # The card of that name is what it starts from: no base is trained.
    assert [row["run"] for row in made] == ["own-rgbnir-own"]
    card = load_cards((tmp_path / "own",))["own-rgbnir-own"]
    before = load_cards((simulated_set / "models",))["own-rgbnir"]
    assert isinstance(card, NetworkCard)
    assert isinstance(before, NetworkCard)
    assert card.normalisation == before.normalisation
    assert "labelled chips of" in card.trained_on


def test_labels_of_cvat_retrain_in_one_command(tmp_path: Path, simulated_set: Path) -> None:
    chips = tmp_path / "chips"
    for index in range(6):
        write_chip(chips, replace(Discs(1).chip(index), known=()))
    truth = {f"disc-1-{index:05d}": Discs(1).chip(index).has(Component.EXCAVATION) for index in range(6)}
    colour = (51, 221, 255)
    export = masks_zip(tmp_path / "m.zip", {name: [(colour, inside)] for name, inside in truth.items()})
    made = command(
        "train", "--chips", chips, "--labels", export, "--out", tmp_path / "own",
        "--plan", simulated_set / "plan.yml", "--processes", 1, "--threads", 1,
    )  # fmt: skip
    assert [row["run"] for row in made] == ["base", "own-rgbnir-own"]
    card = load_cards((tmp_path / "own",))["own-rgbnir-own"]
    assert isinstance(card, NetworkCard)
    assert [head.name for head in card.heads] == ["works"]
    assert card.targets == {}


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path, simulated_set: Path) -> None:
    """kill -9, as a process: whenever it hits, the same command ends with the same files."""
    plan = tmp_path / "plan.yml"
    plan.write_text(PLAN.replace("epochs: 1, steps: 4", "epochs: 6, steps: 2"))
    arguments = [
        "train", "--plan", str(plan), "--processes", "1", "--threads", "1",
        "--cache", str(simulated_set / "cache"), "--runs", "base",
    ]  # fmt: skip
    out = tmp_path / "killed"
    log = out / "runs" / "base" / "log.csv"
    started = [sys.executable, "-m", "groundwatch", *arguments, "--out", str(out)]
    with subprocess.Popen(started, cwd=REPO, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as child:
        while child.poll() is None and not (log.is_file() and len(log.read_text().splitlines()) >= 3):
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
    for folder in (out, tmp_path / "whole"):
        command(*arguments, "--out", folder)
    ends = [
        torch.load(folder / "runs" / "base" / "checkpoint.pt", weights_only=True)
        for folder in (out, tmp_path / "whole")
    ]
    assert ends[0]["epoch"] == ends[1]["epoch"] == 6
    assert all(torch.equal(ends[0]["average"][name], ends[1]["average"][name]) for name in ends[0]["average"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", "--out", "x", "--labels", __file__), "--labels needs --chips"),
        (("train", "--out", "x", "--runs", "nothing"), "'nothing' is not in the plan"),
        (("train", "--out", "x", "--plan", "nothing"), "'nothing' is neither a file nor one that ships"),
        (("evaluate", "--out", "x", "--model", "nothing"), "'nothing' does not exist"),
        (("evaluate", "--out", "x", "--model", "forest-spectral-rgbnir", "--data", "sim:mars"), "'mars'"),
        (
            ("evaluate", "--out", "x", "--model", "forest-spectral-rgbnir", "--data", "nowhere"),
            "not a folder",
        ),
        (("study", "colours", "--out", "x"), "'colours' is not known"),
    ],
)
def test_a_wrong_request_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, arguments, obj=Options())
    assert result.exit_code != 0
    assert says in f"{result.output} {result.exception}"
