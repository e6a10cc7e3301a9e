"""Blobs as files: the contract, killed writers, full disks, folders that cannot be used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.blobs import FileBlobs, open_blobs
from registry.errors import ConfigError, Exists, Retry
from tests.blob_contract import BlobContract
from tests.conftest import REPO


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs")


class TestContract(BlobContract):
    pass


def everything_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_open_blobs(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    blobs = open_blobs(folder.as_uri())
    blobs.create("a/b.tif", b"1")
    assert Path(blobs.path("a/b.tif")) == folder / "a" / "b.tif"
    assert (folder / "a" / "b.tif").read_bytes() == b"1"


@pytest.mark.parametrize("url", ["gs://bucket/x", "/abs", "file://relative/dir", ""])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="file:///"):
        open_blobs(url)


def test_a_blob_may_not_lie_below_another(blobs: FileBlobs) -> None:
    blobs.create("a", b"")
    with pytest.raises(Exists, match="a/b"):
        blobs.create("a/b", b"")
    blobs.create("c/d", b"")
    with pytest.raises(Exists, match="c"):
        blobs.create("c", b"")


def test_hidden_and_foreign_files_are_not_listed(tmp_path: Path, blobs: FileBlobs) -> None:
    blobs.create("a", b"")
    (tmp_path / "blobs" / ".DS_Store").write_bytes(b"")
    (tmp_path / "blobs" / "not a blob").write_bytes(b"")
    assert list(blobs.list("")) == ["a"]


_DIE_AT_LINK = """
import os, signal, sys
from pathlib import Path
from registry.blobs import FileBlobs
os.link = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
FileBlobs(Path(sys.argv[1])).create("ledger/a", b"x" * 100_000)
"""


def test_a_writer_killed_before_the_link_leaves_nothing_visible(tmp_path: Path, blobs: FileBlobs) -> None:
    root = tmp_path / "blobs"
    died = subprocess.run([sys.executable, "-c", _DIE_AT_LINK, str(root)], cwd=REPO)
    assert died.returncode == -signal.SIGKILL
    assert list(blobs.list("")) == []
    (left,) = everything_in(root)
    assert left.stat().st_size == 100_000
    blobs.create("ledger/a", b"whole")
    assert blobs.get("ledger/a") == b"whole"


def test_what_killed_writers_left_is_swept_away_in_time(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    (root / ".incoming").mkdir(parents=True)
    left = root / ".incoming" / "left"
    left.write_bytes(b"x")
    FileBlobs(root, clock=lambda: left.stat().st_mtime + 3600.0)
    assert left.exists()
    FileBlobs(root, clock=lambda: left.stat().st_mtime + 100_000.0)
    assert not left.exists()


def test_everything_is_synced_before_it_is_visible(blobs: FileBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, link = os.fsync, os.link

    def seen_fsync(descriptor: int) -> None:
        calls.append("sync " + os.readlink(f"/proc/self/fd/{descriptor}").rpartition("/")[2][:8])
        fsync(descriptor)

    def seen_link(source: Path, target: Path) -> None:
        calls.append(f"link {target.name}")
        link(source, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "link", seen_link)
    blobs.create("a/b/c", b"1")
    assert [call for call in calls if call in ("sync blobs", "sync a", "sync b", "link c")] == [
        "sync blobs",
        "sync a",
        "link c",
        "sync b",
    ]
    assert calls[0] not in ("sync blobs", "sync a")
    calls.clear()
    with pytest.raises(Exists):
        blobs.create("a/b/c", b"2")
    assert calls[-1] == "sync b"


def test_a_full_disk_is_a_retry_and_leaves_nothing(small_disk: Path, tmp_path: Path) -> None:
    root = small_disk / "blobs"
    blobs = FileBlobs(root)
    blobs.create("small", b"kept")
    local = tmp_path / "big"
    local.write_bytes(b"\1" * 1_000_000)
    attempts: list[Callable[[], None]] = [
        lambda: blobs.create("big", local.read_bytes()),
        lambda: blobs.create_file("big", local),
    ]
    for attempt in attempts:
        with pytest.raises(Retry, match="space") as caught:
            attempt()
        assert "\n" not in str(caught.value)
        assert everything_in(root) == [root / "small"]
    (small_disk / "ballast").unlink()
    blobs.create_file("big", local)
    assert blobs.get("big") == b"\1" * 1_000_000
    assert blobs.get("small") == b"kept"
    assert not local.exists()


def test_opening_on_a_full_disk_is_a_retry(small_disk: Path) -> None:
    # Folders take no room on a tmpfs, so let it run out of inodes: its root and the ballast have two.
    subprocess.run(["mount", "-o", "remount,nr_inodes=2", str(small_disk)], check=True)
    with pytest.raises(Retry, match="space"):
        FileBlobs(small_disk / "blobs")


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="file"):
        FileBlobs(tmp_path / "file" / "blobs")
