"""Local copies of blobs that lie elsewhere: bounded, whole or not there, shared by a machine's processes.

Blobs never change, so a copy stays right until it is evicted. A copy is written to a hidden file, its
length checked, synced and renamed: whoever is killed meanwhile leaves only the hidden file.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock

from registry.blobs import disk_errors, sync
from registry.errors import Retry

KEEP = 0.75
"""Share of the bound that is left after a look at the folder."""

LOOK = 1 / 16
"""Share of the bound after which a process looks again: up to four of them stay within the bound."""

_PART = ".part-"
_STALE_S = 3_600.0
"""Seconds after which an unfinished copy belongs to a killed process."""


class BlobCache:
    """Copies in one folder, at most ``limit`` bytes and what is being fetched; a larger one stands alone."""

    def __init__(self, folder: Path, *, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._unseen = 0
        """Bytes written since the last look at the folder."""
        self._lock = Lock()
        with disk_errors(f"blob cache {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            self._trim(now=folder.stat().st_mtime)

    def find(self, name: str) -> Path | None:
        """The copy, now the most recently used; None = there is none."""
        copy = self._folder / _file_name(name)
        try:
            os.utime(copy)
        except FileNotFoundError:
            return None
        return copy

    def fill(self, name: str, size: int, parts: Iterable[bytes]) -> Path:
        """Keep a copy. Raises Retry where it is not ``size`` bytes long, or on a full disk."""
        temporary = self._folder / f"{_PART}{uuid.uuid4().hex}"
        copy = self._folder / _file_name(name)
        try:
            with disk_errors(f"local copy of blob {name}"):
                written = _write(temporary, parts)
                if written != size:
                    raise Retry(f"blob {name} came with {written} of {size} bytes; it is fetched again")
                sync(temporary)
                temporary.replace(copy)
                self._account(copy, size)
        finally:
            temporary.unlink(missing_ok=True)
        return copy

    def forget(self, name: str) -> None:
        """Drop the copy, if there is one."""
        (self._folder / _file_name(name)).unlink(missing_ok=True)

    def _account(self, copy: Path, size: int) -> None:
        with self._lock:
            self._unseen += size
            if self._unseen >= LOOK * self._limit:
                self._trim(now=copy.stat().st_mtime, fresh=copy)
                self._unseen = 0

    def _trim(self, *, now: float, fresh: Path | None = None) -> None:
        """Evict the least recently used, never ``fresh``, which is about to be read."""
        copies = _copies(self._folder, older_than=now - _STALE_S)
        total = sum(one.size for one in copies)
        for one in sorted(copies, key=lambda one: one.used):
            if total <= KEEP * self._limit:
                return
            if one.path != fresh and not one.path.name.startswith(_PART):
                one.path.unlink(missing_ok=True)
                total -= one.size


@dataclass(frozen=True)
class _Copy:
    path: Path
    size: int
    used: float


def _copies(folder: Path, *, older_than: float) -> list[_Copy]:
    """What lies in the folder; unfinished copies of killed processes are swept away on the way."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # another process evicted or finished it
                stat = entry.stat(follow_symlinks=False)
                if entry.name.startswith(_PART) and stat.st_mtime < older_than:
                    Path(entry.path).unlink()
                else:
                    found.append(_Copy(Path(entry.path), stat.st_size, stat.st_mtime))
    return found


def _write(path: Path, parts: Iterable[bytes]) -> int:
    with path.open("xb") as file:
        return sum(file.write(part) for part in parts)


def _file_name(name: str) -> str:
    """Flat, so that a blob and one below it can both be kept; GDAL likes the ending."""
    return hashlib.sha256(name.encode()).hexdigest()[:40] + PurePosixPath(name).suffix
