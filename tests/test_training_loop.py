"""What a network is taught and how that is measured: loss, loop, metrics, cards, studies, commands."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from detector.cards import Condition, NetworkCard
from detector.inputs import Reference
from detector.models import load_cards
from detector.network import build
from detector.plans import Head, Plan
from detector.training.balance import balanced, shifts
from detector.training.batches import Crops, Recipe, fit_normalisation, places
from detector.training.cache import fill
from detector.training.calibrate import best_temperature
from detector.training.events import event_codes
from detector.training.folder import write_chip
from detector.training.loop import Job, narrowed, rate, train
from detector.training.loss import head_loss
from detector.training.material import Three
from detector.training.metrics import (
    BINS,
    Sums,
    calibration_error,
    confusion_of,
    f1,
    histogram,
    iou,
    over_places,
    over_seeds,
    pr_auc,
    sums_of,
)
from detector.training.plan import (
    Augmentation,
    Data,
    Loss,
    Run,
    Schedule,
    Task,
    TrainingPlan,
)
from detector.training.study import Bench, run_study
from detector.training.study_plan import Reading, Study, StudyPlan, Variant
from detector.training.train_set import Origin, Workshop, train_set, use_threads
from groundwatch.cli import cli
from groundwatch.console import Options
from registry.chips import CHANNELS, Change, Component
from registry.errors import InputError
from tests.conftest import REPO
from tests.test_training_data import masks_zip
from tests.training_world import Discs

WORKS = Head(name="works", labels=("excavation",))
WATER = Head(name="water", labels=("settling_pond", "dam"))
RGBNIR = ("B02", "B03", "B04", "B08")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextmanager
def no_bar(_total: int, _what: str) -> Iterator[Any]:
    yield lambda _steps: None


def job(tmp_path: Path, name: str = "a", *, epochs: int = 3, **changes: Any) -> Job:
    cache = fill(Discs(1), tmp_path / "cache", Task.SEGMENT, 12)
    recipe = Recipe(Task.SEGMENT, RGBNIR, (WORKS, WATER), fit_normalisation(cache, RGBNIR, Reference.FIXED))
    shifted = Crops(fill(Discs(2), tmp_path / "cache", Task.SEGMENT, 4), recipe)
    settings: dict[str, Any] = {
        "name": "run",
        "network": Plan(channels=4, width=6, heads=(WORKS, WATER)),
        "recipe": recipe,
        "schedule": Schedule(epochs=epochs, steps=6, batch=4, crop=32, learning_rate=1e-2),
        "augmentation": Augmentation(),
        "loss": Loss(),
        "train": Crops(cache, recipe),
        "shifted": shifted,
        "folder": tmp_path / name,
        "ema": 0.8,
    }
    return Job(**(settings | changes))


# Loss


def test_cross_entropy_and_dice_are_those_of_the_formula() -> None:
    logits = torch.tensor([[[[2.0, -1.0]], [[0.0, 1.0]]]])
    codes = torch.tensor([[[0, 1]]])
    hidden, weights = torch.zeros(1, 2, dtype=torch.bool), torch.tensor([1.0, 3.0])
    p = torch.softmax(logits, 1)[0, :, 0]
    entropy = (-1.0 * math.log(p[0, 0]) - 3.0 * math.log(p[1, 1])) / 4.0
    dice = 1.0 - 2.0 * float(p[1, 1]) / float(p[1].sum() + 1.0)
    found = head_loss(logits, codes, hidden, weights, Loss(dice=0.5))
    assert float(found) == pytest.approx(entropy + 0.5 * dice, abs=1e-5)


def test_ignored_pixels_teach_nothing() -> None:
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    codes = torch.randint(0, 3, (2, 8, 8))
    codes[:, :, 4:] = 255
    head_loss(logits, codes, torch.zeros(2, 3, dtype=torch.bool), torch.ones(3), Loss()).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad[..., 4:] == 0).all()
    assert (logits.grad[..., :4] != 0).any()


def test_all_ignored_is_no_loss_and_no_nan() -> None:
    logits = torch.randn(1, 3, 8, 8, requires_grad=True)
    codes = torch.full((1, 8, 8), 255)
    loss = head_loss(logits, codes, torch.zeros(1, 3, dtype=torch.bool), torch.ones(3), Loss())
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0.0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_what_was_not_looked_for_is_not_pushed_towards_background() -> None:
    """Background may be the hidden label: its logit and background's are pushed alike, as one class."""
    logits = torch.zeros(1, 3, 4, 4, requires_grad=True)
    codes = torch.zeros(1, 4, 4, dtype=torch.long)
    hidden = torch.tensor([[False, False, True]])
    head_loss(logits, codes, hidden, torch.ones(3), Loss(dice=0.0)).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.allclose(logits.grad[:, 0], logits.grad[:, 2])
    assert (logits.grad[:, 2] < 0).all()
    assert (logits.grad[:, 1] > 0).all()


def test_a_chip_without_labels_of_a_head_leaves_the_head_alone() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    codes = torch.ones(1, 4, 4, dtype=torch.long)
    hidden = torch.tensor([[False, True, True]])
    head_loss(logits, codes, hidden, torch.ones(3), Loss()).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad == 0).all()


# Loop


def test_loss_falls_and_discs_are_found(tmp_path: Path) -> None:
    one = job(tmp_path, epochs=6, schedule=Schedule(epochs=6, steps=15, batch=4, crop=32, learning_rate=1e-2))
    found = train(one)
    rows = [line.split(",") for line in (one.folder / "log.csv").read_text().splitlines()]
    losses = [float(row[rows[0].index("loss")]) for row in rows[1:]]
    assert losses[-1] < 0.6 * losses[0]
    assert found.score > 0.4


def killed(tmp_path: Path, after: int) -> None:
    """A training that stops as a kill stops it: in the middle of an epoch."""
    done = 0

    class Killed(Exception):
        pass

    def step(_steps: int, _what: str) -> None:
        nonlocal done
        done += 1
        if done > after:
            raise Killed

    with pytest.raises(Killed):
        train(job(tmp_path, "b"), progress=step)


@pytest.mark.parametrize("after", [3, 8, 15])
def test_a_training_that_was_cut_off_ends_as_an_uninterrupted_one(tmp_path: Path, after: int) -> None:
    whole = train(job(tmp_path, "a"))
    killed(tmp_path, after)
    resumed = train(job(tmp_path, "b"))
    assert resumed.score == whole.score
    assert resumed.state.keys() == whole.state.keys()
    assert all(torch.equal(resumed.state[name], whole.state[name]) for name in whole.state)
    assert (tmp_path / "a" / "log.csv").read_text() == (tmp_path / "b" / "log.csv").read_text()


def test_a_finished_training_is_taken_as_it_is(tmp_path: Path) -> None:
    first = train(job(tmp_path))
    steps: list[int] = []
    again = train(job(tmp_path), progress=lambda n, _: steps.append(n))
    assert steps == [18]
    assert all(torch.equal(again.state[name], first.state[name]) for name in first.state)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    train(job(tmp_path, epochs=1))
    with pytest.raises(InputError, match="other settings or chips"):
        train(job(tmp_path, epochs=1, seed=2))


def test_a_training_that_no_longer_becomes_better_stops(tmp_path: Path) -> None:
    slow = Schedule(epochs=9, steps=2, batch=2, crop=32, learning_rate=1e-9, patience=2)
    found = train(job(tmp_path, schedule=slow, ema=0.0))
    lines = (tmp_path / "a" / "log.csv").read_text().splitlines()
    assert len(lines) - 1 == found.epoch + 2 < 9


def test_the_rate_rises_once_and_falls() -> None:
    schedule = Schedule(epochs=10, steps=10, learning_rate=1.0, warmup=0.1)
    rates = [rate(schedule, step) for step in range(100)]
    assert rates.index(max(rates)) in (9, 10)
    assert max(rates) == pytest.approx(1.0)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=2e-3)


@pytest.mark.parametrize("dates", [1, 2])
def test_fewer_bands_keep_the_weights_of_those_that_stay(dates: int) -> None:
    torch.manual_seed(0)
    before, after = ("B02", "B03", "B04", "B08"), ("B08", "B03")
    big = build(Plan(channels=dates * 4, width=6, heads=(WORKS,))).eval()
    small = build(Plan(channels=dates * 2, width=6, heads=(WORKS,))).eval()
    small.load_state_dict(narrowed(big.state_dict(), before, after, dates))
    x = torch.zeros(1, dates, 4, 32, 32)
    x[:, :, [3, 1]] = torch.randn(1, dates, 2, 32, 32)
    with torch.no_grad():
        a = big(x.flatten(1, 2))["works"]
        b = small(x[:, :, [3, 1]].flatten(1, 2))["works"]
    assert torch.allclose(a, b, atol=1e-5)


# Calibration and metrics


def test_the_temperature_undoes_what_the_logits_were_multiplied_by() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = 2.0 * torch.randn(20_000, 3, generator=rng)
    codes = torch.multinomial(torch.softmax(logits, 1), 1, generator=rng)[:, 0]
    assert best_temperature(2.5 * logits, codes) == pytest.approx(2.5, rel=0.05)


def test_iou_and_f1_by_hand() -> None:
    counts = np.array([[50, 5, 0], [10, 30, 0], [0, 0, 0]])
    assert iou(counts)[:2].tolist() == pytest.approx([50 / 65, 30 / 45])
    assert f1(counts)[:2].tolist() == pytest.approx([100 / 115, 60 / 75])
    assert np.isnan(iou(counts)[2])


def average_precision(chance: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """By its definition: precision at each positive, in falling order of chance."""
    order = np.argsort(-chance, kind="stable")
    hits = truth[order].cumsum()
    precision = hits / np.arange(1, len(chance) + 1)
    return float(precision[truth[order]].mean())


def test_the_area_under_precision_recall_is_the_average_precision() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(20_000) < 0.1
    chance = np.clip(rng.beta(2, 8, 20_000) + 0.35 * truth * rng.random(20_000), 0, 1)
    found = pr_auc(histogram(chance, truth))
    assert found == pytest.approx(average_precision(chance, truth), abs=0.01)
    assert pr_auc(histogram(truth.astype(float), truth)) == 1.0
    assert math.isnan(pr_auc(histogram(chance, np.zeros(20_000, bool))))


def test_the_calibration_error_is_the_mean_gap() -> None:
    chance = np.full(1000, 0.8)
    truth = np.arange(1000) < 600
    assert calibration_error(histogram(chance, truth)) == pytest.approx(0.2)
    assert calibration_error(histogram(truth.astype(float), truth)) == 0.0


def test_sums_leave_out_what_nobody_knows_or_saw_and_add_up() -> None:
    chances = np.zeros((2, 1, 4), np.float32)
    chances[1, 0] = [0.9, 0.2, np.nan, 0.7]
    chances[0] = 1 - chances[1]
    codes = np.array([[1, 0, 1, 255]], np.uint8)
    one = sums_of(chances, codes)
    assert one.counts.tolist() == [[1, 0], [0, 1]]
    figures = (one + one).figures(("x",))["x"]
    assert figures["iou"] == figures["f1"] == figures["pr_auc"] == 1.0
    assert figures["brier"] == pytest.approx((0.1**2 + 0.2**2) / 2)


def test_intervals_over_seeds_are_students() -> None:
    found = over_seeds([0.5, 0.6, 0.7])
    assert found.value == pytest.approx(0.6)
    assert found.high - found.value == pytest.approx(4.30265 * 0.1 / math.sqrt(3), rel=1e-4)
    assert math.isnan(over_seeds([0.5]).low)


def test_the_bootstrap_draws_places_and_holds_the_truth() -> None:
    rng = np.random.default_rng(1)

    def place(quality: float) -> Sums:
        truth = rng.random((1, 400)) < 0.5
        right = rng.random((1, 400)) < quality
        chance = np.where(truth == right, 0.9, 0.1)
        return sums_of(np.stack([1 - chance, chance]), truth.astype(np.uint8))

    parts = {f"p{n}": place(q) for n, q in enumerate(np.linspace(0.6, 0.95, 12))}
    found = over_places(parts, lambda sums: sums.figures(("x",))["x"]["iou"])
    assert found.low < found.value < found.high
    assert found.high - found.low > 0.05
    alike = {f"p{n}": parts["p0"] for n in range(12)}
    same = over_places(alike, lambda sums: sums.figures(("x",))["x"]["iou"])
    assert same.high - same.low < 1e-12
    assert found.n == 12
    assert BINS == 200


def test_hidden_ground_is_no_event_and_no_miss() -> None:
    change = np.array([[Change.NEW_MINE, Change.FOREST_LOSS, Change.HIDDEN, Change.UNKNOWN]], np.uint8)
    assert event_codes(change, Change.NEW_MINE).tolist() == [[1, 0, 255, 255]]


# Whole plans


def small_plan(**changes: Any) -> TrainingPlan:
    runs = {
        "base": Run(bands="msi_sar", schedule="s", band_dropout=0.5, card=False),
        "small-rgbnir": Run(bands="rgbnir", schedule="s", start="base"),
        "small-sar": Run(bands="msi_sar", schedule="s", start="base"),
        "small-change": Run(task=Task.CHANGE, bands="rgbnir", schedule="s", reference=Reference.HISTORY),
    }
    settings: dict[str, Any] = {
        "heads": {
            "works": (Component.EXCAVATION,),
            "transformed": (Component.TRANSFORMED,),
            "forest": (Component.FOREST,),
        },
        "band_sets": {"msi_sar": CHANNELS, "rgbnir": RGBNIR},
        "runs": runs,
        "schedules": {"s": Schedule(epochs=2, steps=10, batch=4, crop=32, learning_rate=1e-2)},
        "data": Data(chips=12, pairs=8, validation=8),
        "width": 6,
        "ema": 0.8,
    }
    return TrainingPlan(**(settings | changes))


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


LONG_CHAINS = """
import sys
from pathlib import Path
from tests.test_training_loop import *

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


class Worlds:
    """Sources of a study over discs."""

    def train(self, seed: int, facts: Mapping[str, str]) -> Discs:
        return Discs(seed + len(facts))

    def validate(self, seed: int) -> Discs:
        return Discs(seed + 10)

    def calibrate(self, seed: int) -> Discs:
        return Discs(seed + 20)

    def test(self, part: str, seed: int, facts: Mapping[str, str]) -> Discs:
        return Discs(seed + 30 + len(part) + len(facts))


def test_a_study_tells_figures_with_intervals_and_goes_on(tmp_path: Path) -> None:
    study = StudyPlan(
        plan=small_plan(),
        seeds=2,
        tests=6,
        studies={
            "bands": Study(
                title="Bands", variants={"few": Variant(run="small-rgbnir"), "all": Variant(run="base")}
            ),
            "dates": Study(
                title="Dates",
                variants={
                    "one": Variant(run="base", pairs=True, read=Reading.EVENTS),
                    "two": Variant(run="small-change", read=Reading.EVENTS),
                },
            ),
        },
    )  # fmt: skip
    bench = Bench(tmp_path / "out", tmp_path / "cache", no_bar, processes=1)
    rows = run_study(study, "bands", Worlds(), bench)
    forest = [row for row in rows if row["label"] == "forest" and row["variant"] == "few"]
    assert [row["test"] for row in forest] == ["in_distribution", "shifted"]
    assert forest[0]["iou"]["n"] == 2
    assert forest[0]["iou"]["low"] <= forest[0]["iou"]["value"] <= forest[0]["iou"]["high"]
    assert "| few | in_distribution | forest | forest |" in (tmp_path / "out" / "bands.md").read_text()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "bands" / "results").iterdir()}
    assert run_study(study, "bands", Worlds(), bench) == rows
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    gains = json.loads((tmp_path / "out" / "bands_differences.json").read_text())["rows"]
    assert {(row["variant"], row["against"]) for row in gains} == {("all", "few")}
    events = run_study(study, "dates", Worlds(), bench)
    assert {row["label"] for row in events} == {"new_mine"}
    with pytest.raises(InputError, match="'colours' is not known"):
        run_study(study, "colours", Worlds(), bench)


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


# Where classes begin


def test_a_class_that_is_called_too_often_begins_later() -> None:
    rng = np.random.default_rng(2)
    codes = (rng.random(20_000) < 0.05).astype(np.int64)
    noise = rng.normal(0.0, 1.0, codes.size)
    logits = np.stack([np.zeros(codes.size), 3.0 * codes + noise + 0.5], axis=1).astype(np.float32)
    found = shifts(logits, codes)
    assert found[0] == 0.0
    assert -2.0 <= found[1] <= -1.5  # the best cut between two equal spreads of 1 at .5 and 3.5, one rare

    def score(added: NDArray[np.float32]) -> float:
        return float(iou(confusion_of(codes, (logits + added).argmax(axis=1), 2))[1])

    assert score(found) > score(np.zeros(2, np.float32)) + 0.2
    assert not shifts(logits, np.zeros_like(codes)).any()


@pytest.mark.parametrize("separate", [False, True])
def test_shifts_become_the_heads_own_bias(separate: bool) -> None:
    heads = (Head(name="a", labels=("x", "y")), Head(name="b", labels=("z",)))
    plan = Plan(channels=4, width=8, blocks=1, heads=heads, separate=separate)
    torch.manual_seed(3)
    network = build(plan).eval()
    image = torch.randn(1, 4, 32, 32)
    with torch.no_grad():
        before = network(image)
        samples = {
            name: (z.movedim(1, -1).flatten(0, 2), torch.randint(0, z.shape[1], (1024,)))
            for name, z in before.items()
        }
        network.load_state_dict(balanced(dict(network.state_dict()), plan, samples))
        after = network(image)
    for name, (logits, codes) in samples.items():
        added = torch.from_numpy(shifts(logits.numpy(), codes.numpy()))
        assert added.any()
        wanted = before[name] + added[None, :, None, None]
        assert torch.allclose(after[name], wanted, atol=1e-5)


def test_rich_crops_lie_evenly_in_a_batch() -> None:
    assert [places(n, 0.5) for n in range(4)] == [1, 4, 1, 4]
    assert [places(n, 0.25) for n in range(8)] == [1, 1, 1, 4, 1, 1, 1, 4]
    assert {places(n, 0.0) for n in range(8)} == {1}
    assert {places(n, 1.0) for n in range(8)} == {4}
