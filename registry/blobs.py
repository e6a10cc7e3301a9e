"""Blobs: named bytes that are written once, durably, and never changed; here as files on a local disk."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from registry.errors import ConfigError, Exists, GroundwatchError, InputError, NotFound, Retry
from registry.s3_settings import S3Settings

MAX_NAME = 512
"""Most characters in a blob name."""

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+@-]{0,199}")
_INCOMING = ".incoming"
_STALE_S = 86_400.0
"""Seconds after which an unfinished file of a killed process is swept away."""


class Blobs(Protocol):
    """Named bytes. Names are ``/``-separated; the same name never holds other bytes."""

    def get(self, name: str) -> bytes:
        """The bytes. Raises NotFound."""

    def create(self, name: str, data: bytes) -> None:
        """Durable and whole when it returns. Raises Exists (the stored bytes stay), Retry on a full disk."""

    def create_file(self, name: str, path: Path) -> None:
        """Move a finished local file in; it stays where it is if this raises (see ``create``)."""

    def list(self, prefix: str) -> Iterator[str]:
        """Names that start with the text ``prefix``, sorted."""

    def exists(self, name: str) -> bool:
        """Whether ``get`` would find it."""

    def delete(self, name: str) -> None:
        """Forget a cached blob; one that is not there is fine. The ledger is never deleted."""

    def path(self, name: str) -> str:
        """A local file with the bytes, for GDAL. Ask right before reading: a copy may be evicted later."""

    def url(self, name: str) -> str:
        """Where the blob lies, for people."""

    def __hash__(self) -> int:
        """By identity: what was read from a store is kept in memory by store and name."""


def open_blobs(url: str, s3: S3Settings | None = None, cache: Path | None = None) -> Blobs:
    """``file:///abs/dir`` or ``s3://bucket/prefix``; ``cache`` is the folder for copies of s3 blobs.

    Nothing is asked of S3 yet. Raises ConfigError on another scheme, a relative path, a bad bucket name,
    or no folder for copies.
    """
    if url.startswith("s3://"):
        return _open_s3(url, s3 or S3Settings(), cache)
    if not url.startswith("file://"):
        known = "use file:///ABSOLUTE/FOLDER or s3://BUCKET/PREFIX"
        raise ConfigError(f"blobs {url.split('://')[0]!r} is not known; {known}")
    folder = unquote(url.removeprefix("file://"))
    if not folder.startswith("/"):
        raise ConfigError(f"blobs {url!r} has no absolute path; use file:///ABSOLUTE/FOLDER")
    return FileBlobs(Path(folder))


def _open_s3(url: str, s3: S3Settings, cache: Path | None) -> Blobs:
    try:
        from registry.blobs_s3 import S3Blobs
    except ModuleNotFoundError as exc:
        raise ConfigError(f"blobs {url} need {exc.name}: pip install 'groundwatch[fleet]'") from exc
    if cache is None:
        raise ConfigError(f"blobs {url} need a local folder for copies; give s3.cache")
    return S3Blobs(url, s3, cache=cache)


def is_name(name: str) -> bool:
    """Whether a blob can have this name."""
    return len(name) <= MAX_NAME and all(_SEGMENT.fullmatch(segment) for segment in name.split("/"))


def folder_of(prefix: str) -> str:
    """The folders a text prefix names in full, with a slash at the end; empty = none. Raises InputError."""
    folder, slash, _ = prefix.rpartition("/")
    if slash:
        check_name(folder)
    return folder + slash


def check_name(name: str) -> str:
    """The name, if it can be a blob: no traversal, no hidden segment. Raises InputError."""
    if len(name) > MAX_NAME:
        raise InputError(f"blob name has {len(name)} characters, at most {MAX_NAME} are allowed")
    if not is_name(name):
        raise InputError(
            f"blob name {name!r} is not allowed; use segments of letters, digits and ._=+@- split by /"
        )
    return name


class FileBlobs:
    """Blobs as files below one folder.

    A blob is written to a hidden temporary file, synced, and hard-linked to its name: the name
    appears whole or not at all, and linking fails where it is taken.
    """

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._incoming = root / _INCOMING
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
            _sweep(self._incoming, older_than=clock() - _STALE_S)
        except OSError as exc:
            if exc.errno in _FULL:
                raise Retry(f"blob folder {root} cannot be made: {exc.strerror}; free some space") from exc
            raise ConfigError(f"blob folder {root} cannot be used: {exc.strerror}; name another") from exc

    def get(self, name: str) -> bytes:
        """See Blobs."""
        with disk_errors(f"blob {name}"):
            return self._file(name).read_bytes()

    def create(self, name: str, data: bytes) -> None:
        """See Blobs."""
        target = self._file(name)
        with disk_errors(f"blob {name}"), self._temporary() as temporary:
            temporary.write_bytes(data)
            self._publish(temporary, target, name)

    def create_file(self, name: str, path: Path) -> None:
        """See Blobs."""
        target = self._file(name)
        if not path.is_file():
            raise NotFound(f"file {path} does not exist; blob {name} was not made")
        with disk_errors(f"blob {name}"), self._temporary() as temporary:
            try:
                os.link(path, temporary)
            except OSError as exc:
                if exc.errno != errno.EXDEV:
                    raise
                shutil.copyfile(path, temporary)  # from another file system, such as /tmp
            self._publish(temporary, target, name)
            path.unlink()

    def list(self, prefix: str) -> Iterator[str]:
        """See Blobs."""
        return iter(sorted(name for name in self._names(folder_of(prefix)) if name.startswith(prefix)))

    def exists(self, name: str) -> bool:
        """See Blobs."""
        return self._file(name).is_file()

    def delete(self, name: str) -> None:
        """See Blobs."""
        with disk_errors(f"blob {name}"):
            self._file(name).unlink(missing_ok=True)

    def path(self, name: str) -> str:
        """See Blobs."""
        return str(self._file(name))

    def url(self, name: str) -> str:
        """See Blobs: the path of the file."""
        return self.path(name)

    def _names(self, folder: str) -> Iterator[str]:
        """Blobs below ``folder`` (empty, or with a slash at its end); hidden files and folders are none."""
        with suppress(FileNotFoundError), os.scandir(self._root / folder) as found:
            for one in found:
                if not _SEGMENT.fullmatch(one.name):
                    continue
                if one.is_dir(follow_symlinks=False):
                    yield from self._names(f"{folder}{one.name}/")
                else:
                    yield folder + one.name

    def _file(self, name: str) -> Path:
        return self._root / check_name(name)

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        temporary = self._incoming / uuid.uuid4().hex
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _publish(self, temporary: Path, target: Path, name: str) -> None:
        sync(temporary)
        self._make_folder(target.parent)
        try:
            os.link(temporary, target)
        except FileExistsError as exc:
            # Its writer may have died before syncing the folder: who relies on it makes it durable.
            sync(target.parent)
            raise Exists(f"blob {name} exists; blobs are never overwritten") from exc
        sync(target.parent)

    def _make_folder(self, folder: Path) -> None:
        """Create ``folder`` below the root, syncing each parent that gets a new entry."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """What was written to the file or folder survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path, *, older_than: float) -> None:
    """Remove what killed processes left; a living writer's file is younger."""
    for left in folder.iterdir():
        with suppress(FileNotFoundError):  # a living writer finished it, or another process swept first
            if left.stat().st_mtime < older_than:
                left.unlink()


_MISSING = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EOPNOTSUPP}


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Errors of the local disk to ours, naming ``what``."""
    try:
        yield
    except OSError as exc:
        raise _explain(what, exc) from exc


def _explain(what: str, exc: OSError) -> GroundwatchError:
    reason = exc.strerror or type(exc).__name__
    if exc.errno in _MISSING:
        return NotFound(f"{what} does not exist")
    if isinstance(exc, FileExistsError):
        return Exists(f"{what} would lie below another blob; choose another name")
    if exc.errno in _FULL:
        return Retry(f"{what} could not be written: {reason}; free some space")
    if exc.errno in _DENIED:
        return ConfigError(f"{what} could not be used: {reason}; give a folder that takes files and links")
    return Retry(f"{what} could not be read or written: {reason}")
