"""A disk that is nearly full: a tmpfs of 2 MB with a ballast file that can be taken off."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import service_missing

SIZE = 2_000_000
PAGE = 4096
ROOM = 300_000
"""Bytes left beside the ballast."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The folder; ``ballast`` in it holds all but ROOM bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if mount is None or os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        service_missing("a small tmpfs (mounting needs root)")
    try:
        (folder / "ballast").write_bytes(b"\0" * (SIZE - ROOM))
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
