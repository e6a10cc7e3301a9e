"""Chips as files, and land of such files under simulated mines."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.training.folder import list_chips, list_pairs, read_chip, read_pair, write_chip, write_pair
from detector.training.sources import folder_source
from groundwatch.simulated import RealLand, simulated_three
from registry.chips import BIT, UNKNOWN, Chip, Component
from registry.errors import InputError
from tests.small_disk import PAGE, SIZE
from tests.training_world import Discs

# Folders


def test_chips_and_pairs_round_trip_through_a_folder(tmp_path: Path) -> None:
    chip, pair = Discs(1).chip(0), Discs(2).pair(0)
    write_chip(tmp_path, chip)
    write_pair(tmp_path, pair)
    (file,), (two,) = list_chips(tmp_path), list_pairs(tmp_path)
    back, both = read_chip(file), read_pair(two)
    assert np.array_equal(back.pixels, chip.pixels, equal_nan=True)
    assert np.array_equal(back.labels, chip.labels)
    assert (back.name, back.place, back.acquired, back.known, dict(back.facts)) == (
        chip.name, chip.place, chip.acquired, chip.known, dict(chip.facts),
    )  # fmt: skip
    assert np.array_equal(both.change, pair.change)
    assert np.array_equal(both.before.labels, pair.before.labels)
    assert np.array_equal(both.after.pixels, pair.after.pixels, equal_nan=True)


def test_a_chip_that_a_full_disk_has_no_room_for_is_told_and_counts_for_nothing(small_disk: Path) -> None:
    """GDAL itself closes a file that was cut off without a word."""
    chip, told = Discs(1).chip(0), list[str]()
    for pages in range(0, SIZE // PAGE, 4):
        (small_disk / "ballast").write_bytes(b"\0" * (SIZE // PAGE - pages) * PAGE)
        try:
            write_chip(small_disk / "chips", chip)
        except InputError as exc:
            told.append(str(exc))
            assert not (small_disk / "chips").exists() or list_chips(small_disk / "chips") == []
            shutil.rmtree(small_disk / "chips", ignore_errors=True)
        else:
            break
    assert 5 < len(told) < SIZE // PAGE // 4 - 1, "it fitted at once, or never"
    assert all("cannot be written: No space left on device; free some space" in one for one in told)
    (file,) = list_chips(small_disk / "chips")
    assert np.array_equal(read_chip(file).pixels, chip.pixels, equal_nan=True)
    assert not list(small_disk.rglob("*.part"))


def test_a_rewriting_that_is_cut_off_leaves_no_chip_of_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whichever of its files it dies; the last one makes the pair count again."""
    first, second = Discs(2, size=32).pair(0), Discs(2, size=64).pair(0)
    rename, left = Path.replace, [0]

    def dying(path: Path, target: Path) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return rename(path, target)

    for survived in range(9):
        write_pair(tmp_path, first)
        assert len(list_pairs(tmp_path)) == 1
        left[0] = survived
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", dying)
            with pytest.raises(KeyboardInterrupt):
                write_pair(tmp_path, second)
        assert list_pairs(tmp_path) == list_chips(tmp_path) == []
        assert not list(tmp_path.rglob("*.part"))
    write_pair(tmp_path, second)
    (found,) = list_pairs(tmp_path)
    assert read_pair(found).change.shape == (64, 64)


def test_chips_of_odd_sizes_become_pieces_of_one_size(tmp_path: Path) -> None:
    chip = Discs(1, size=80).chip(0)
    cut = Chip(
        "odd", chip.pixels[:, :70, :40], chip.labels[:70, :40], chip.known, "p", "2024-01-01", chip.facts
    )
    write_chip(tmp_path, cut)
    source = folder_source(tmp_path, largest=64)
    pieces = [source.chip(index) for index in range(source.count)]
    assert [one.labels.shape for one in pieces] == [(64, 64), (64, 64)]
    assert np.array_equal(pieces[1].labels[:6, :40], chip.labels[64:70, :40])
    assert (pieces[1].labels[6:] == UNKNOWN).all()
    assert np.isnan(pieces[1].pixels[:, 6:]).all()


def test_changed_labels_are_another_source(tmp_path: Path) -> None:
    chip = Discs(1).chip(0)
    write_chip(tmp_path, chip)
    before = folder_source(tmp_path).key
    write_chip(tmp_path, replace(chip, labels=chip.labels * 0))
    assert folder_source(tmp_path).key != before


# Real land under simulated mines


def land(folder: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(1)
    pixels = (0.05 + 0.01 * rng.random((14, 96, 96))).astype(np.float32)
    forest = np.full((96, 96), BIT[Component.FOREST], np.uint16)
    write_chip(
        folder, Chip(**({"name": "tile", "pixels": pixels, "labels": forest, "place": "here"} | changes))
    )
    return folder


def test_mines_lie_on_the_land_of_a_folder(tmp_path: Path) -> None:
    source = simulated_three(1, size=96, land=RealLand(land(tmp_path), share=1.0)).train
    plain = simulated_three(1, size=96).train
    assert source.key != plain.key
    assert "real land (here)" in source.about
    chips = [source.chip(index) for index in range(6)]
    assert {chip.facts["backdrop"] for chip in chips} == {"tile"}
    assert any(chip.has(Component.TRANSFORMED).any() for chip in chips)
    for chip in chips:
        untouched = ~chip.has(Component.TRANSFORMED) & ((chip.labels & UNKNOWN) == 0)
        assert chip.has(Component.FOREST)[untouched].mean() > 0.9
    before = source.key
    land(tmp_path, name="second")
    assert simulated_three(1, size=96, land=RealLand(tmp_path, share=1.0)).train.key != before


def test_where_nobody_looked_for_forest_it_is_not_taught(tmp_path: Path) -> None:
    source = simulated_three(1, size=96, land=RealLand(land(tmp_path, known=()), share=1.0)).train
    known = source.chip(0).known
    assert Component.FOREST not in known
    assert Component.EXCAVATION in known


def test_land_that_holds_a_mine_is_refused(tmp_path: Path) -> None:
    mined = np.full((96, 96), BIT[Component.TRANSFORMED], np.uint16)
    source = simulated_three(1, size=96, land=RealLand(land(tmp_path, labels=mined), share=1.0)).train
    with pytest.raises(InputError, match="chip tile is labelled as a mine"):
        source.chip(0)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="groundwatch chips"):
        RealLand(tmp_path / "none")
