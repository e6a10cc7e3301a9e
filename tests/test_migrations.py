"""The store's steps: from nothing, from a half-way file, by many at once, never backwards."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from registry.bus import Topic
from registry.bus.local import LocalBus
from registry.errors import ConfigError
from registry.migrations import migrate, steps
from registry.sqlite import connect
from registry.store import open_store
from tests.conftest import REPO
from tests.storage_samples import make_area, make_event

STEPS = ["m001_bus", "m002_places", "m003_passes", "m004_incidents", "m005_notices", "m006_times"]
"""Released steps keep their names and their order; new ones come behind."""


def schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return sorted(
            connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        )


def applied(path: Path) -> list[str]:
    with closing(Database(path)) as db:
        return [step.name for step in steps.applied(db)]


def test_a_new_file_gets_every_step_once(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    open_store(path).close()
    before = schema(path)
    open_store(path).close()
    assert applied(path) == STEPS
    assert schema(path) == before


def test_all_tables_are_strict(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    open_store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute(
            "SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND schema = 'main'"
        ).fetchall()
    ours = {name: strict for name, strict in tables if not name.startswith(("sqlite_", "_sqlite"))}
    assert {"areas", "bus", "deliveries", "incidents", "passes", "permits", "zones"} <= set(ours)
    assert all(ours.values())


@pytest.mark.parametrize("stop_before", STEPS[1:])
def test_an_older_file_is_brought_up_to_date(tmp_path: Path, stop_before: str) -> None:
    fresh, older = tmp_path / "fresh.db", tmp_path / "older.db"
    open_store(fresh).close()
    with closing(Database(connect(older))) as db:
        steps.apply(db, stop_before=stop_before)
    assert applied(older) == STEPS[: STEPS.index(stop_before)]
    with open_store(older) as store:
        assert store.put_area(make_area())
    assert applied(older) == STEPS
    assert schema(older) == schema(fresh)


def test_the_bus_may_come_first_or_last(tmp_path: Path) -> None:
    first, last = tmp_path / "first.db", tmp_path / "last.db"
    with closing(LocalBus(first)) as bus:
        bus.publish(Topic.PASSES, make_event(1))
    open_store(first).close()
    open_store(last).close()
    LocalBus(last).close()
    assert schema(first) == schema(last)
    with closing(LocalBus(first)) as bus:
        assert bus.depth(Topic.PASSES).waiting == 1


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    open_store(path).close()
    with closing(Database(path)) as db:
        db.table("_sqlite_migrations").insert(
            {"migration_set": "groundwatch", "name": "m999_future", "applied_at": "later"}
        )
    with pytest.raises(ConfigError, match=r"m999_future.*upgrade"):
        open_store(path)


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(Database(connect(path))) as db:
        steps.apply(db, stop_before="m003_passes")
        db.execute("CREATE TABLE notices (x)")  # in the way of a later step
        before = schema(path)
        with pytest.raises(Exception, match="notices"):
            migrate(db)
    assert schema(path) == before
    assert applied(path) == STEPS[:2]


def test_many_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    code = f"from registry.store import open_store; open_store({str(path)!r}).close()"
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=REPO) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4
    assert applied(path) == STEPS
