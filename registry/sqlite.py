"""One SQLite file, opened alike by the store and the local bus; its errors in one line."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from registry.errors import ConfigError, GroundwatchError, Retry

BUSY_S = 30.0
"""Seconds a writer waits for another process's transaction."""


def connect(path: str | Path) -> sqlite3.Connection:
    """Open or create ``path``: WAL, synchronous FULL, foreign keys, explicit transactions.

    The connection may be used from several threads as long as the caller lets in one at a time.
    Raises ConfigError where the file cannot be used, Retry where the disk is full.
    """
    with translated(path):
        _make_folder(Path(path).parent)
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            _configure(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection


@contextmanager
def immediate(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction; the lock is taken at once, so that it cannot fail half way."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):  # the first error is the one to tell
                connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: str | Path) -> Iterator[None]:
    """Turn SQLite's errors into groundwatch's, naming the file and the remedy."""
    try:
        yield
    except sqlite3.Error as exc:
        raise _explain(path, exc) from exc


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"folder {folder} cannot be made: {exc.strerror}; choose another") from exc


def _configure(connection: sqlite3.Connection) -> None:
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite does not wait for others here by itself."""
    give_up = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if _code(exc) not in _BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _code(exc: sqlite3.Error) -> int:
    """The primary result code, 0 where Python raised it without one."""
    return (getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF


_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_LASTING = {
    sqlite3.SQLITE_READONLY: "cannot be written; give write permission to it and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that its folder exists and can be written",
    sqlite3.SQLITE_PERM: "cannot be used; give permission to it and its folder",
    sqlite3.SQLITE_NOTADB: "is not a groundwatch database; name another file",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore it from a backup",
}

_PASSING = {
    sqlite3.SQLITE_FULL: "could not be written: the disk is full; free some space",
    sqlite3.SQLITE_IOERR: "could not be read or written: disk error or no space left; check the disk",
    sqlite3.SQLITE_BUSY: f"was held by another process for over {BUSY_S:.0f} s; try again",
    sqlite3.SQLITE_LOCKED: f"was held by another process for over {BUSY_S:.0f} s; try again",
    sqlite3.SQLITE_NOMEM: "could not be used: out of memory; try again",
}


def _explain(path: str | Path, exc: sqlite3.Error) -> GroundwatchError:
    code = _code(exc)
    if code in _LASTING:
        return ConfigError(f"database {path} {_LASTING[code]}")
    if code in _PASSING:
        return Retry(f"database {path} {_PASSING[code]}")
    return GroundwatchError(f"database {path}: {exc}")
