"""How a network is measured: temperatures, metrics and their intervals, studies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detector.training.calibrate import best_temperature
from detector.training.events import event_codes
from detector.training.metrics import (
    BINS,
    Sums,
    calibration_error,
    f1,
    histogram,
    iou,
    over_places,
    over_seeds,
    pr_auc,
    sums_of,
)
from detector.training.study import Bench, run_study
from detector.training.study_plan import Reading, Study, StudyPlan, Variant
from registry.chips import Change
from registry.errors import InputError
from tests.training_world import Discs, no_bar, small_plan

pytestmark = pytest.mark.usefixtures("one_thread")

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


def test_variants_that_differ_only_in_their_test_share_a_training(tmp_path: Path) -> None:
    pits = {"mine_type": "open_pit"}
    variants = {
        "all": Variant(run="small-rgbnir"),
        "pits_by_all": Variant(run="small-rgbnir", tested_on=pits),
        "pits_by_themselves": Variant(run="small-rgbnir", only=pits, tested_on=pits, against="pits_by_all"),
    }
    study = StudyPlan(
        plan=small_plan(), seeds=1, tests=6, studies={"subsets": Study(title="Subsets", variants=variants)}
    )
    bench = Bench(tmp_path, tmp_path / "cache", no_bar, processes=1)
    rows = run_study(study, "subsets", Worlds(), bench)
    trained = {path.parent.parent.name for path in (tmp_path / "subsets").glob("*/runs/small-rgbnir")}
    assert trained == {"small-rgbnir-1", "small-rgbnir-open_pit-1"}
    forest = {
        row["variant"]: row["iou"]["value"]
        for row in rows
        if row["label"] == "forest" and row["test"] == "shifted"
    }
    assert len(forest) == len(set(forest.values())) == 3, "other tests and other trainings, other figures"
    checkpoints = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "subsets").glob("*/runs/*/checkpoint.pt")
    }
    assert len(checkpoints) == 4  # of each training the run and the one it starts from
    (tmp_path / "subsets" / "results" / "pits_by_all-1.json").unlink()  # killed between two measurements
    assert run_study(study, "subsets", Worlds(), bench) == rows
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints
