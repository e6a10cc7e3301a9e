"""The store's file: competing processes, full disks, files that cannot be used."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from registry.errors import ConfigError, Retry
from registry.store import Store, open_store
from tests.conftest import REPO
from tests.storage_samples import (
    Clock,
    found_event,
    make_area,
    make_pass,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "groundwatch.db", now=Clock()) as store:
        yield store


def test_processes_write_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "groundwatch.db"
    code = (
        "import sys; from registry.store import open_store; from tests.storage_samples import *\n"
        "with open_store(sys.argv[1]) as store:\n"
        "    for day in range(15):\n"
        "        store.put_area(make_area(sys.argv[2] + str(day)))\n"
        "        store.record_passes([found_event(make_pass(day, area=sys.argv[2]))])\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    writers = [subprocess.Popen([*command, name], cwd=REPO) for name in ("a", "b", "c")]
    assert [writer.wait(120) for writer in writers] == [0] * 3
    with open_store(path) as store:
        assert len(store.areas()) == 45
        assert [len(store.passes(name)) for name in ("a", "b", "c")] == [15] * 3


def test_a_full_disk_is_a_retry_and_leaves_nothing_half_written(small_disk: Path) -> None:
    path = small_disk / "groundwatch.db"
    with open_store(path) as store:
        store.put_area(make_area())
        many = [found_event(make_pass(day)) for day in range(250)]
        with pytest.raises(Retry, match="disk") as caught:
            store.record_passes(many)
        assert "\n" not in str(caught.value)
        assert store.passes("pit") == ()
        assert store.area("pit") == make_area()
        (small_disk / "ballast").unlink()
        assert store.record_passes(many) == 250
        assert len(store.passes("pit")) == 250


def test_opening_on_a_full_disk_is_a_retry(small_disk: Path) -> None:
    with pytest.raises(OSError, match="space"):
        (small_disk / "more").write_bytes(b"\0" * 2_000_000)
    with pytest.raises(Retry, match="disk") as caught:
        open_store(small_disk / "groundwatch.db")
    assert "\n" not in str(caught.value)


def test_a_read_only_file_is_named(small_disk: Path) -> None:
    path = small_disk / "groundwatch.db"
    open_store(path).close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        with pytest.raises(ConfigError, match=r"groundwatch\.db") as caught, open_store(path) as store:
            store.put_area(make_area())
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert "\n" not in str(caught.value)
    assert "permission" in str(caught.value) or "can be written" in str(caught.value)


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff" * 2000)
    with pytest.raises(ConfigError, match=r"photo\.jpg is not a groundwatch database") as caught:
        open_store(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"\xff\xd8\xff" * 2000


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "groundwatch.db").mkdir()
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_store(tmp_path / "groundwatch.db")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="folder"):
        open_store(tmp_path / "file" / "groundwatch.db")


def test_held_by_another_for_too_long(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.sqlite.BUSY_S", 0.01)
    path = tmp_path / "groundwatch.db"
    with open_store(path) as impatient, closing(sqlite3.connect(path)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Retry, match="another process"):
            impatient.put_area(make_area())
        holder.execute("ROLLBACK")
        assert impatient.put_area(make_area())
