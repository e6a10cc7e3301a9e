"""What every part of the store stands on: one connection, one transaction per public method."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from registry.errors import InputError
from registry.migrations import migrate
from registry.sqlite import connect, immediate, translated
from registry.values import Value, canonical_json


class StoreBase:
    """The open file. May be shared between threads; other processes open the same file."""

    def __init__(self, path: str | Path, *, now: Callable[[], datetime]) -> None:
        self._path = path
        self._now = now
        self._lock = threading.RLock()
        connection = connect(path)
        try:
            with translated(path):
                self._db = Database(connection, execute_plugins=False)
                migrate(self._db)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _reading(self) -> Iterator[Database]:
        """All reads inside see one state of the file."""
        with self._lock, translated(self._path), self._db.atomic():
            yield self._db

    @contextmanager
    def _writing(self) -> Iterator[Database]:
        """All writes inside happen, durably, or none."""
        with self._lock, translated(self._path), immediate(self._db.conn):
            yield self._db


def text_of(value: Value, name: str) -> str:
    """The stored form of a value. Raises InputError where ``name`` holds what JSON cannot."""
    try:
        return canonical_json(value).decode()
    except ValueError as exc:
        raise InputError(f"{name} cannot be stored: {exc}; mend it in its source") from exc
