"""Results of `segment` and `compare` appear whole and together, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from detector.oneoff_files import UNFINISHED, whole_results
from groundwatch.cli import cli
from groundwatch.console import Options
from tests.small_networks import image
from tests.test_segment import put


def test_a_run_that_fails_leaves_the_results_before_it(tmp_path: Path) -> None:
    _write(tmp_path / "map", "first", "a.tif", "b.tif")
    with pytest.raises(FileNotFoundError):
        _write(tmp_path / "map", "second", "a.tif", "nowhere/b.tif")
    found = {one.name: one.read_text() for one in (tmp_path / "map").iterdir()}
    assert found == {"a.tif": "first", "b.tif": "first"}


def _write(out: Path, text: str, *names: str) -> None:
    with whole_results(out) as folder:
        for name in names:
            (folder / name).write_text(text)


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
