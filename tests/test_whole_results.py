"""Results of `segment` and `compare` appear whole and together, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.crs import CRS
from rasterio.transform import from_origin

from detector.images import Image
from detector.oneoff_files import UNFINISHED, Layer, whole_results, write_classes, write_layers
from groundwatch.cli import cli
from groundwatch.console import Options
from registry.errors import InputError
from tests.small_disk import PAGE, SIZE
from tests.small_networks import image
from tests.test_segment import put


def test_a_run_that_fails_leaves_the_results_before_it(tmp_path: Path) -> None:
    _write(tmp_path / "map", "first", "a.txt", "b.txt")
    with pytest.raises(InputError, match=r"cannot be written to .*map: .*nowhere.*; free some space or name"):
        _write(tmp_path / "map", "second", "a.txt", "nowhere/b.txt")
    found = {one.name: one.read_text() for one in (tmp_path / "map").iterdir()}
    assert found == {"a.txt": "first", "b.txt": "first"}


def test_a_full_disk_is_told_and_leaves_the_results_before_it(tmp_path: Path, small_disk: Path) -> None:
    bands, _ = image((96, 96), seed=31)
    path = put(tmp_path / "a.tif", bands, described=True)
    out = small_disk / "map"
    command = ["segment", str(path), "--out", str(out), "--device", "cpu"]
    ballast = small_disk / "ballast"
    ballast.unlink()
    assert CliRunner().invoke(cli, command, obj=Options()).exit_code == 0
    before = {one.name: one.read_bytes() for one in out.iterdir()}
    whole = sum(map(len, before.values()))
    ballast.write_bytes(b"\0" * (SIZE - whole - whole // 2))
    failed = CliRunner().invoke(cli, command, obj=Options())
    assert isinstance(failed.exception, InputError), failed.exception
    assert "free some space or name another --out" in str(failed.exception)
    assert {one.name: one.read_bytes() for one in out.iterdir()} == before


def test_rasters_that_do_not_fit_are_told_wherever_the_disk_ends(small_disk: Path) -> None:
    """GDAL itself says nothing in many of these places: what it left is read once before it counts."""
    profile = {"crs": CRS.from_epsg(32721), "transform": from_origin(5e5, 9e6, 10, 10)}
    place = Image(Path("a.tif"), {}, None, profile | {"height": 500, "width": 500})
    chance = np.random.default_rng(1).random((500, 500)).round(1).astype(np.float32)
    codes = (4 * chance).astype(np.uint8)
    for pages in range(0, SIZE // PAGE, 6):
        (small_disk / "ballast").write_bytes(b"\0" * (SIZE // PAGE - pages) * PAGE)
        with suppress(InputError), whole_results(small_disk / "map") as folder:
            write_classes(folder / "classes.tif", place, codes, labels={1: "pit"})
            write_layers(folder / "scores.tif", place, [Layer("pit", chance)])
        if found := sorted((small_disk / "map").glob("*.tif")):
            break
    assert 20 < pages < SIZE // PAGE - 6, "it fitted at once, or never"
    for path, written in zip(found, (codes, chance), strict=True):
        with rasterio.open(path) as source:
            assert (source.read(1) == written).all()


def _write(out: Path, text: str, *names: str) -> None:
    with whole_results(out) as folder:
        for name in names:
            (folder / name).write_text(text)


def test_a_second_run_into_the_same_folder_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    with whole_results(tmp_path / "map") as folder:
        (folder / "a.txt").write_text("first")
        with pytest.raises(InputError, match=r"another run is writing to .*map; wait .* another --out$"):
            _write(tmp_path / "map", "second", "a.txt", "b.txt")
    assert [(one.name, one.read_text()) for one in (tmp_path / "map").iterdir()] == [("a.txt", "first")]


def test_a_killed_segment_leaves_nothing_that_looks_like_a_result(tmp_path: Path) -> None:
    bands, _ = image((1100, 1100), seed=31)
    path = put(tmp_path / "a.tif", bands, described=True)
    out = tmp_path / "map"
    command = ["segment", str(path), "--out", str(out), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "groundwatch", *command],
        env=environment,
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    ) as running:
        half_written = out / UNFINISHED / "probabilities.tif"
        _until(half_written.is_file, running)
        running.send_signal(signal.SIGKILL)
    assert [one.name for one in out.iterdir()] == [UNFINISHED]

    done = CliRunner().invoke(cli, command, obj=Options())
    assert done.exit_code == 0, done.output
    names = {one.name for one in out.iterdir()}
    assert UNFINISHED not in names
    assert {"probabilities.tif", "classes_works.tif", "classes_works.geojson", "classes.png"} <= names


def _until(there: Callable[[], bool], running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert running.poll() is None, "ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
