"""Chips on their way to a network: caches, splits, crops and their targets."""

from __future__ import annotations

import fcntl
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.inputs import Normalisation, Reference, medians, network_input
from detector.plans import Head
from detector.training.augment import augmented, with_partner
from detector.training.batches import (
    OPTICAL,
    Crops,
    Recipe,
    fit_normalisation,
    hidden_classes,
    network_batch,
    physical,
    turned,
)
from detector.training.cache import Cache, Entry, decode, encode, fill
from detector.training.plan import CHANGE_HEAD, Augmentation, Schedule, Task
from detector.training.resident import Resident, bytes_of, resident
from detector.training.split import by_place, by_time
from registry.chips import CHANNELS, Component, by_name
from registry.errors import InputError
from tests.training_world import Discs

WATER = Head(name="water", labels=("settling_pond", "tailings_storage_facility", "dam"))
NOTHING = Augmentation(
    absent_partner=0, stale_partner=0, missing_band=0, gain=0, offset=0, radar_db=0, haze=0, haze_depth=0
)


def recipe(cache: Cache, *heads: Head, task: Task = Task.SEGMENT) -> Recipe:
    return Recipe(task, CHANNELS, heads, fit_normalisation(cache, CHANNELS, Reference.FIXED))


# Cache


def test_numbers_on_disk_are_the_pixels_to_a_step() -> None:
    chip = Discs().chip(0)
    back = decode(encode(chip.pixels))
    assert np.array_equal(np.isnan(back), np.isnan(chip.pixels))
    seen = np.isfinite(chip.pixels[0])
    assert np.abs(back[:12, seen] - chip.pixels[:12, seen]).max() <= 0.51e-4
    assert np.abs(10 * np.log10(back[12:, seen] / chip.pixels[12:, seen])).max() <= 0.0051


def test_a_cache_that_was_cut_off_makes_only_what_is_missing(tmp_path: Path) -> None:
    whole = fill(Discs(3), tmp_path, Task.SEGMENT, 6)
    lines = (whole.folder / "entries.jsonl").read_text().splitlines(keepends=True)
    # Killed while the line of the fifth chip was written: its pixels are there, its line is not.
    (whole.folder / "entries.jsonl").write_text("".join(lines[:4]) + lines[4][:30])
    made: list[int] = []
    again = fill(Discs(3), tmp_path, Task.SEGMENT, 6, advance=made.append)
    assert made == [4, 1, 1]
    assert [one.name for one in again.entries] == [one.name for one in whole.entries]
    assert np.array_equal(again.pixels, whole.pixels)


def test_chips_that_are_made_are_read_while_others_are_being_made(tmp_path: Path) -> None:
    whole = fill(Discs(3), tmp_path, Task.SEGMENT, 6)
    lines = (whole.folder / "entries.jsonl").read_text()
    # Another process holds the lock, and writes the line of a seventh chip at this moment.
    (whole.folder / "entries.jsonl").write_text(lines + lines[:30])
    with (whole.folder / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        again = fill(Discs(3), tmp_path, Task.SEGMENT, 6)
        assert again.entries == whole.entries
        assert np.array_equal(again.pixels, whole.pixels)
    assert (whole.folder / "entries.jsonl").read_text() == lines + lines[:30]


def test_who_waits_for_another_process_can_be_stopped(tmp_path: Path) -> None:
    whole = fill(Discs(3), tmp_path, Task.SEGMENT, 2)

    def stop(_steps: int) -> None:
        raise InputError("stopped")

    with (whole.folder / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="stopped"):  # pytest's time limit ends one that waits
            fill(Discs(3), tmp_path, Task.SEGMENT, 3, advance=stop)
    assert len(fill(Discs(3), tmp_path, Task.SEGMENT, 3).entries) == 3


def test_processes_make_what_one_process_makes(tmp_path: Path) -> None:
    alone = fill(Discs(4), tmp_path / "a", Task.CHANGE, 6)
    together = fill(Discs(4), tmp_path / "b", Task.CHANGE, 6, processes=2)
    assert np.array_equal(alone.pixels, together.pixels)
    assert alone.change is not None
    assert together.change is not None
    assert np.array_equal(alone.change, together.change)
    assert alone.entries == together.entries


def test_another_source_is_another_cache(tmp_path: Path) -> None:
    assert (
        fill(Discs(1), tmp_path, Task.SEGMENT, 2).folder != fill(Discs(2), tmp_path, Task.SEGMENT, 2).folder
    )


def test_chips_that_do_not_fit_the_disk_are_refused_before_the_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="GB are free; give another --cache"):
        fill(Discs(1, size=8192), tmp_path, Task.SEGMENT, 10**5)


# Crops


def test_input_is_what_prediction_computes(tmp_path: Path) -> None:
    chip = Discs(5).chip(1)
    for reference in (Reference.FIXED, Reference.RELATIVE):
        cache = fill(Discs(5), tmp_path, Task.SEGMENT, 3)
        norm = fit_normalisation(cache, CHANNELS, reference)
        how = Recipe(Task.SEGMENT, CHANNELS, (WATER,), norm)
        _, batch = next(iter(Crops(cache, how).iterate(3)))
        found = network_batch(physical(batch.pixels), batch.medians, how)[1].numpy()
        bands = by_name(chip.pixels)
        zero = medians(bands, CHANNELS) if reference is Reference.RELATIVE else None
        wanted = network_input(bands, CHANNELS, norm, reference=zero)
        assert np.abs(found - wanted).max() < 0.02


def test_a_history_is_the_zero_of_both_dates(tmp_path: Path) -> None:
    cache = fill(Discs(6), tmp_path, Task.CHANGE, 2)
    norm = Normalisation(
        reference=Reference.HISTORY, mean=dict.fromkeys(CHANNELS, 0.0), spread=dict.fromkeys(CHANNELS, 1.0)
    )
    how = Recipe(Task.CHANGE, CHANNELS, (CHANGE_HEAD,), norm)
    _, batch = next(iter(Crops(cache, how).iterate(2)))
    x = network_batch(physical(batch.pixels), batch.medians, how).reshape(2, 2, 14, 64, 64)
    assert abs(float(x[0, 0, 3].median())) < 0.05
    pair = Discs(6).pair(0)
    zero = medians(by_name(pair.before.pixels), CHANNELS)
    wanted = network_input(by_name(pair.after.pixels), CHANNELS, norm, reference=zero)
    assert np.abs(x[0, 1].numpy() - wanted).max() < 0.02


def test_turns_are_the_eight_symmetries_and_move_labels_with_pixels() -> None:
    square = np.arange(9).reshape(3, 3)
    assert len({turned(square, turn).tobytes() for turn in range(8)}) == 8
    stacked = np.stack([square, 10 + square])
    assert all(np.array_equal(turned(stacked, turn)[1], 10 + turned(square, turn)) for turn in range(8))


def test_draws_are_named_by_their_seed(tmp_path: Path) -> None:
    cache = fill(Discs(7), tmp_path, Task.SEGMENT, 4)
    crops = Crops(cache, recipe(cache, WATER))
    a, b, c = (crops.draw(np.random.default_rng([1, step]), 4, 32) for step in (5, 5, 6))
    assert torch.equal(a.pixels, b.pixels)
    assert not torch.equal(a.pixels, c.pixels)


@pytest.mark.parametrize("device", ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
@pytest.mark.parametrize("task", [Task.SEGMENT, Task.CHANGE])
def test_crops_cut_on_the_device_are_those_of_the_cache(tmp_path: Path, task: Task, device: str) -> None:
    cache = fill(Discs(7), tmp_path, task, 9)
    heads = (CHANGE_HEAD,) if task is Task.CHANGE else (WATER,)
    crops = Crops(cache, recipe(cache, *heads, task=task), (1, 2, 4, 5, 6, 8))
    there = Resident.of(crops, torch.device(device))
    for step in range(4):
        a, b = (one.draw(np.random.default_rng(step), 5, 32, rich=0.5) for one in (crops, there))
        b = b.to(torch.device("cpu"))
        assert torch.equal(a.pixels, b.pixels)
        assert a.targets.keys() == b.targets.keys()
        assert all(torch.equal(a.targets[head], b.targets[head]) for head in a.targets)
        assert torch.equal(a.medians, b.medians)
        assert all(torch.equal(a.hidden[head], b.hidden[head]) for head in a.hidden)


def test_chips_stay_where_the_network_computes_on_the_cpu(tmp_path: Path) -> None:
    cache = fill(Discs(7), tmp_path, Task.SEGMENT, 4)
    crops = Crops(cache, recipe(cache, WATER))
    assert resident(crops, Schedule(epochs=100), torch.device("cpu")) is crops
    assert bytes_of(crops) == sum(one.numel() * one.element_size() for one in _held(crops))


def _held(crops: Crops) -> list[torch.Tensor]:
    there = Resident.of(crops, torch.device("cpu"))
    return [there.pixels, there.labels, there.rare]


def test_labels_nobody_looked_for_are_hidden() -> None:
    entry = Entry(
        index=0, name="a", place="a", acquired="", known=(Component.SETTLING_POND, Component.FOREST),
        facts={}, medians=(), counts=(),
    )  # fmt: skip
    assert hidden_classes(WATER, entry).tolist() == [False, False, True, True]


def test_background_is_no_truth_where_labels_were_not_looked_for(tmp_path: Path) -> None:
    source = Discs(8, known=(Component.SETTLING_POND,))
    cache = fill(source, tmp_path, Task.SEGMENT, 2)
    _, batch = next(iter(Crops(cache, recipe(cache, WATER)).iterate(2)))
    truth = batch.truth("water")[0].numpy()
    pond = source.chip(0).has(Component.SETTLING_POND)
    assert (truth[pond] == 1).all()
    assert (truth[~pond] == 255).all()


# Augmentation


def values_of(cache: Cache) -> torch.Tensor:
    _, batch = next(iter(Crops(cache, recipe(cache, WATER)).iterate(4)))
    return physical(batch.pixels)


def test_no_augmentation_changes_nothing(tmp_path: Path) -> None:
    values = values_of(fill(Discs(9), tmp_path, Task.SEGMENT, 4))
    found = augmented(values, NOTHING, torch.Generator().manual_seed(0))
    assert torch.equal(torch.nan_to_num(found), torch.nan_to_num(values))


def test_an_absent_partner_takes_the_radar_and_a_stale_one_changes_it(tmp_path: Path) -> None:
    values = values_of(fill(Discs(9), tmp_path, Task.SEGMENT, 4))
    none, every = torch.zeros(4, 1, 1, 1, 1, dtype=torch.bool), torch.ones(4, 1, 1, 1, 1, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    absent = with_partner(values, absent=every, stale=none, generator=generator)
    assert torch.isnan(absent[:, :, OPTICAL:]).all()
    stale = with_partner(values, absent=none, stale=every, generator=generator)
    gap = (stale - values)[:, :, OPTICAL:]
    assert 0.8 < float(gap[torch.isfinite(gap)].std()) < 4.0
    assert torch.equal(torch.nan_to_num(stale[:, :, :OPTICAL]), torch.nan_to_num(values[:, :, :OPTICAL]))


def test_haze_brightens_blue_more_than_short_wave(tmp_path: Path) -> None:
    values = values_of(fill(Discs(9), tmp_path, Task.SEGMENT, 4))
    hazy = augmented(
        values,
        NOTHING.model_copy(update={"haze": 1.0, "haze_depth": 0.5}),
        torch.Generator().manual_seed(3),
    )
    gain = torch.nanmean(hazy - values, dim=(0, 1, 3, 4))
    assert float(gain[1]) > 3 * abs(float(gain[11]))
    assert float(gain[1]) > 0.01


def test_cut_down_crops_show_one_of_the_smaller_sets(tmp_path: Path) -> None:
    values = values_of(fill(Discs(9), tmp_path, Task.SEGMENT, 4))
    found = augmented(
        values, NOTHING, torch.Generator().manual_seed(1), smaller_sets=[("B04", "B08")], band_dropout=1.0
    )
    there = torch.isfinite(found).any(dim=(3, 4))[:, 0]
    assert there.tolist() == [[name in ("B04", "B08") for name in CHANNELS]] * 4


# Splits


def entries(places: int, per_place: int = 3) -> list[Entry]:
    return [
        Entry(index=n, name=f"c{n}", place=f"p{n // per_place}", acquired=f"20{10 + n % 12}-06-01",
              known=(), facts={}, medians=(), counts=())
        for n in range(places * per_place)
    ]  # fmt: skip


@given(places=st.integers(3, 60))
@settings(max_examples=30, deadline=None)
def test_a_place_is_never_on_two_sides(places: int) -> None:
    chips = entries(places)
    split = by_place(chips)
    sides = [{chips[n].place for n in side} for side in (split.train, split.validate, split.test)]
    assert all(sides)
    assert len(sides[0] | sides[1] | sides[2]) == sum(len(side) for side in sides)
    assert sorted((*split.train, *split.validate, *split.test)) == list(range(len(chips)))


def test_more_chips_move_no_place_to_another_side() -> None:
    few, many = by_place(entries(40)), by_place(entries(80))
    assert set(few.train) <= set(many.train)
    assert set(few.test) <= set(many.test)


def test_two_places_are_too_few_and_the_error_says_so() -> None:
    with pytest.raises(InputError, match="at least 3 places"):
        by_place(entries(1))


def test_time_splits_by_the_day_and_refuses_chips_without_one() -> None:
    chips = entries(4)
    split = by_time(chips, validate_from="2018-01-01", test_from="2021-01-01")
    assert max(chips[n].acquired for n in split.train) < "2018-01-01" <= chips[split.validate[0]].acquired
    assert min(chips[n].acquired for n in split.test) >= "2021-01-01"
    undated = chips[0].model_copy(update={"acquired": ""})
    with pytest.raises(InputError, match="has no date"):
        by_time([undated, *chips], validate_from="2018-01-01")
