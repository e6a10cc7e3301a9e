"""What a network is taught: loss, training loop, and where its classes begin."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detector.inputs import Reference
from detector.network import build
from detector.plans import Head, Plan
from detector.training.balance import balanced, shifts
from detector.training.batches import Batch, Crops, Recipe, fit_normalisation, places
from detector.training.cache import fill
from detector.training.loop import Job, narrowed, rate, train
from detector.training.loss import head_loss, total_loss
from detector.training.metrics import confusion_of, iou
from detector.training.plan import Augmentation, Loss, Schedule, Task
from registry.errors import InputError
from tests.training_world import RGBNIR, WATER, WORKS, Discs

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_heads_count_as_the_plan_says() -> None:
    names = ("works", "water")
    outputs = {name: torch.randn(1, 3, 4, 4) for name in names}
    codes = {name: torch.randint(0, 3, (1, 4, 4)) for name in names}
    hidden = {name: torch.zeros(1, 3, dtype=torch.bool) for name in names}
    weights = {name: torch.ones(3) for name in names}
    batch = Batch(torch.zeros(0), codes, hidden, torch.zeros(0))
    works, water = (head_loss(outputs[n], codes[n], hidden[n], weights[n], Loss()) for n in names)
    plain = total_loss(outputs, batch, weights, Loss())
    assert float(plain) == pytest.approx(float(works + water) / 2)
    heavy = total_loss(outputs, batch, weights, Loss(head_weights={"water": 3.0}))
    assert float(heavy) == pytest.approx(float(works + 3 * water) / 4)


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


def test_a_run_that_stops_early_is_the_first_part_of_the_whole_one(tmp_path: Path) -> None:
    whole = job(tmp_path, "whole", epochs=3)
    part = job(tmp_path, "part", schedule=whole.schedule.model_copy(update={"stop_after": 2}))
    train(whole)
    assert train(part).epoch <= 2
    rows, first = ((one.folder / "log.csv").read_text().splitlines() for one in (whole, part))
    assert first == rows[:3]
    assert (part.schedule.total, part.schedule.cycle) == (12, 18)


def test_the_rate_rises_once_and_falls() -> None:
    schedule = Schedule(epochs=10, steps=10, learning_rate=1.0, warmup=0.1)
    rates = [rate(schedule, step) for step in range(100)]
    assert rates.index(max(rates)) in (9, 10)
    assert max(rates) == pytest.approx(1.0)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=2e-3)


@pytest.mark.parametrize("fine", [0, 5])
@pytest.mark.parametrize("dates", [1, 2])
def test_fewer_bands_keep_the_weights_of_those_that_stay(dates: int, fine: int) -> None:
    torch.manual_seed(0)
    before, after = ("B02", "B03", "B04", "B08"), ("B08", "B03")
    big = build(Plan(channels=dates * 4, width=6, fine=fine, heads=(WORKS,))).eval()
    small = build(Plan(channels=dates * 2, width=6, fine=fine, heads=(WORKS,))).eval()
    small.load_state_dict(narrowed(big.state_dict(), before, after, dates))
    x = torch.zeros(1, dates, 4, 32, 32)
    x[:, :, [3, 1]] = torch.randn(1, dates, 2, 32, 32)
    with torch.no_grad():
        a = big(x.flatten(1, 2))["works"]
        b = small(x[:, :, [3, 1]].flatten(1, 2))["works"]
    assert torch.allclose(a, b, atol=1e-5)


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


def test_of_shifts_that_are_equally_good_the_smallest_is_taken() -> None:
    codes = np.repeat([0, 1], [19_000, 1_000])
    logits = np.stack([np.zeros(codes.size), np.where(codes == 1, 4.0, 0.6)], axis=1).astype(np.float32)
    assert shifts(logits, codes).tolist() == [0.0, -0.75]  # the first one that tells the two apart


@pytest.mark.parametrize(("separate", "fine"), [(False, 0), (True, 0), (False, 5), (True, 5)])
def test_shifts_become_the_heads_own_bias(separate: bool, fine: int) -> None:
    heads = (Head(name="a", labels=("x", "y")), Head(name="b", labels=("z",)))
    plan = Plan(channels=4, width=8, blocks=1, fine=fine, heads=heads, separate=separate)
    torch.manual_seed(3)
    network = build(plan).eval()
    image = torch.randn(1, 4, 32, 32)
    with torch.no_grad():
        before = network(image)
        samples = {}
        for name, z in before.items():
            logits = z.movedim(1, -1).flatten(0, 2)
            # The truth is the first label more often than the network says.
            samples[name] = logits, (logits + torch.eye(z.shape[1])[1]).argmax(dim=1)
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
