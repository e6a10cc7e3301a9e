"""What the plans that ship say, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.training.plan import Task, load_plan, only, shipped_plan
from registry.errors import ConfigError, InputError


def test_the_shipped_plan_says_what_it_needs() -> None:
    plan = load_plan(shipped_plan())
    assert set(plan.heads) == {"works", "deposits", "water", "relief", "transformed", "forest"}
    assert {name for name, run in plan.runs.items() if run.card and run.task is Task.SEGMENT} == {
        "mining-msi-sar", "mining-msi", "mining-rgbnir-swir", "mining-rgbnir",
    }  # fmt: skip
    assert list(only(plan, ["mining-msi"]).runs) == ["base", "mining-msi"]
    with pytest.raises(InputError, match="'nothing' is not in the plan"):
        only(plan, ["nothing"])


def test_the_plan_for_a_gpu_makes_the_same_cards() -> None:
    small, large = load_plan(shipped_plan()), load_plan(shipped_plan("large"))
    assert (small.heads, small.band_sets) == (large.heads, large.band_sets)
    cards = [
        {name: (run.task, run.bands, run.title) for name, run in plan.runs.items() if run.card}
        for plan in (small, large)
    ]
    assert cards[0] == cards[1]
    assert large.data.chips > small.data.chips
    assert large.schedules["long"].total > small.schedules["long"].total


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("bands: msi_sar, schedule: long", "bands: msi_sat, schedule: long",
         r"key runs\.\S+\.bands: .*bands is 'msi_sat'"),
        ("start: base, title: Mining components and forest from 12 optical bands }",
         "start: later }", r"key runs\.\S+\.start: .*start is 'later'"),
        ("rgbnir: [B02, B03, B04, B08]", "rgbnir: [B02, B03, B04, NIR]", "key band_sets.rgbnir: "),
        ("crop: 128, learning_rate: 0.003, patience: 24", "crop: 120, patience: 24", "120"),
        ("head_weights: { relief: 2.0, forest: 2.0 }", "head_weights: { relief: 2.0, wood: 2.0 }",
         "key loss.head_weights.wood: head is 'wood'"),
        ("bands: msi_sar, schedule: long", "bands: msi_sar, skip: 99999, schedule: long",
         r"key runs\.\S+\.skip: .*skips 99999 of them"),
    ],
)  # fmt: skip
def test_a_wrong_plan_is_refused_with_file_and_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = shipped_plan().read_text()
    assert old in text
    path = tmp_path / "plan.yml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=says) as caught:
        load_plan(path)
    wrong = new.splitlines()[-1].strip()
    line = next(n for n, one in enumerate(path.read_text().splitlines(), 1) if wrong in one)
    assert f"plan.yml:{line}: " in str(caught.value)
