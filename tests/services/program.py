"""The program in processes of its own that start in a fraction of a second.

Importing torch, rasterio and their kin takes seconds of a core, more than most commands do afterwards. Here a
fork server has imported them, and nothing else: each start is a fork of it, a whole process without anything
of the test in it, that reads its configuration, does its work and can be killed as any other. That a bare
`python -m groundwatch` starts is shown where processes are started without this, as in test_cli.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import RLock

from tqdm import tqdm

from tests.crash_child import arm

IMPORTED = (
    "alerts.worker",
    "apprise",
    "boto3",
    "detector.models",
    "detector.pictures",
    "detector.worker",
    "groundwatch.cli",
    "groundwatch.crank",
    "groundwatch.wiring",
    "ingest.catalog",
    "ingest.poll",
    "kafka",
    "obstore",
    "registry.blobs_s3",
    "registry.bus.kafka",
    "registry.bus.local",
)
"""What the fork server imports: modules without state, that start no threads."""

Step = tuple[str, str, int]
"""Where a process dies: function, before or after, which call of it; see crash_child."""

_context = multiprocessing.get_context("forkserver")


def start(arguments: Sequence[str], folder: Path, log: Path) -> ForkServerProcess:
    """Start `groundwatch ARGUMENTS` in a folder; what it says goes to the end of ``log``."""
    return _started(_Start(tuple(arguments), folder, log, log))


def run(
    arguments: Sequence[str],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    dies: Step | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `groundwatch ARGUMENTS` in a folder to its end, with more in its environment."""
    with tempfile.TemporaryDirectory() as work:
        out, err = Path(work) / "out", Path(work) / "err"
        process = _started(_Start(tuple(arguments), folder, out, err, environment or {}, dies))
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(
            ["groundwatch", *arguments], process.exitcode, out.read_text(), err.read_text()
        )


@dataclass(frozen=True)
class _Start:
    """What the child is told."""

    arguments: tuple[str, ...]
    folder: Path
    out: Path
    err: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    dies: Step | None = None


def _started(one: _Start) -> ForkServerProcess:
    _context.set_forkserver_preload(list(IMPORTED))
    for path in (one.out, one.err):
        path.touch()
    process = _context.Process(target=_program, args=(one,), daemon=True)
    process.start()
    return process


def _program(one: _Start) -> None:
    """The child."""
    for number, path in ((1, one.out), (2, one.err)):
        sink = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(sink, number)
        os.close(sink)
    os.chdir(one.folder)
    os.environ.update(one.environment)
    tqdm.set_lock(RLock())  # its own is a semaphore of the system, which a killed process would leave behind
    sys.argv = ["groundwatch", *one.arguments]
    if one.dies is not None:
        arm(*one.dies)
    runpy.run_module("groundwatch", run_name="__main__", alter_sys=True)
