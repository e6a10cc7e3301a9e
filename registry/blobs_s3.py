"""Blobs in a bucket of an S3 service, create-only by put-if-absent; the only file that imports obstore.

An answer can get lost after the bytes were stored. Then the put is sent again, and finds the name taken by
its own bytes: Exists, as when somebody else wrote them, which callers take for done.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from registry.blob_cache import BlobCache
from registry.blobs import check_name, disk_errors, folder_of, is_name
from registry.errors import ConfigError, Exists, InputError, NotFound
from registry.s3_errors import LostAnswer, answered, explain
from registry.s3_settings import S3Settings

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

MAX_MB = 512
"""Largest blob: S3 has no create-only put in parts that all services know, so it travels as one body."""

MAX_PREFIX = 400
"""Most characters of the prefix: a key has at most 1024 bytes."""

PART = 4 * 1024 * 1024
"""Bytes of a download held in memory at a time."""

MAX_PAUSE_S = 5.0
"""Longest wait between two tries of a request."""

_URL = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?")
_TAKEN = 412
_TRANSFER = 10.0
"""How much longer than a request without a sign of life a whole transfer may take."""


class S3Blobs:
    """Blobs below one prefix of a bucket."""

    def __init__(self, url: str, settings: S3Settings, *, cache: Path) -> None:
        bucket, prefix = _parsed(url)
        self._url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._patience = settings.retry_s
        self._where = settings.endpoint or "Amazon S3"
        self._store = _store(bucket, prefix, settings)
        # Two stores may share the folder: the same name is another blob in each.
        own = hashlib.sha256(f"{settings.endpoint} {self._url}".encode()).hexdigest()[:16]
        self._cache = BlobCache(cache / own, limit=settings.cache_mb * 1_000_000)

    def get(self, name: str) -> bytes:
        """See Blobs."""
        check_name(name)
        with self._translated(f"blob {name}"):
            return bytes(obstore.get(self._store, name).bytes())

    def create(self, name: str, data: bytes) -> None:
        """See Blobs. At most MAX_MB; raises Retry also where the service does not answer."""
        check_name(name)
        _check_size(name, len(data))
        self._persistently(lambda: self._put(name, data))

    def create_file(self, name: str, path: Path) -> None:
        """See Blobs; through memory, so at most MAX_MB."""
        check_name(name)
        if not path.is_file():
            raise NotFound(f"file {path} does not exist; blob {name} was not made")
        with disk_errors(f"file {path}"):
            _check_size(name, path.stat().st_size)
            data = path.read_bytes()
        self.create(name, data)
        with disk_errors(f"file {path}"):
            path.unlink()

    def list(self, prefix: str) -> Iterator[str]:
        """See Blobs."""
        folder = folder_of(prefix)
        with self._translated(f"blobs {prefix}*"):
            pages = obstore.list(self._store, folder or None, chunk_size=1_000)
            found = [one["path"] for page in pages for one in page]
        return iter(sorted(name for name in found if name.startswith(prefix) and is_name(name)))

    def exists(self, name: str) -> bool:
        """See Blobs."""
        check_name(name)
        try:
            with self._translated(f"blob {name}"):
                obstore.head(self._store, name)
        except NotFound:
            return False
        return True

    def delete(self, name: str) -> None:
        """See Blobs."""
        check_name(name)
        with suppress(NotFound):  # some services say so
            self._persistently(lambda: self._delete(name))
        self._cache.forget(name)

    def path(self, name: str) -> str:
        """See Blobs: a copy in the cache, downloaded where there is none. Raises NotFound, Retry."""
        check_name(name)
        return str(self._cache.find(name) or self._download(name))

    def url(self, name: str) -> str:
        """See Blobs: ``s3://bucket/prefix/name``."""
        return f"{self._url}/{check_name(name)}"

    def _persistently(self, change: Callable[[], None]) -> None:
        """The client repeats what surely did not happen; what may have happened is repeated here."""
        until, pause = time.monotonic() + self._patience, 0.1
        while True:
            try:
                change()
                return
            except LostAnswer:
                if time.monotonic() + pause > until:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_S)

    def _delete(self, name: str) -> None:
        with self._translated(f"blob {name}"):
            obstore.delete(self._store, name)

    def _put(self, name: str, data: bytes) -> None:
        try:
            obstore.put(self._store, name, data, mode="create")
        except AlreadyExistsError as exc:
            if answered(exc) != _TAKEN:  # 409 means that two puts met, and perhaps neither was kept
                raise explain(f"blob {name}", self._where, exc) from exc
            raise Exists(f"blob {name} exists; blobs are never overwritten") from exc
        except (BaseError, OSError) as exc:
            raise explain(f"blob {name}", self._where, exc) from exc

    def _download(self, name: str) -> Path:
        with self._translated(f"blob {name}"):
            answer = obstore.get(self._store, name)
        return self._cache.fill(name, answer.meta["size"], self._parts(name, answer))

    def _parts(self, name: str, answer: GetResult) -> Iterator[bytes]:
        with self._translated(f"blob {name}"):
            for part in answer.stream(min_chunk_size=PART):
                yield bytes(part)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as exc:  # obstore says FileNotFoundError and PermissionError too
            raise explain(what, self._where, exc) from exc


def _parsed(url: str) -> tuple[str, str]:
    """(bucket, prefix). Raises ConfigError."""
    parts = _URL.fullmatch(url)
    prefix = (parts["prefix"] or "").rstrip("/") if parts else ""
    if parts is None or ".." in parts["bucket"] or (prefix and not is_name(prefix)):
        raise ConfigError(f"blobs {url!r} is no bucket and prefix; use s3://BUCKET/PREFIX")
    if len(prefix) > MAX_PREFIX:
        raise ConfigError(f"the prefix of blobs has {len(prefix)} characters, at most {MAX_PREFIX} fit")
    return parts["bucket"], prefix


def _check_size(name: str, size: int) -> None:
    if size > MAX_MB * 1024 * 1024:
        raise InputError(f"blob {name} has {size / 1024**2:.0f} MB, at most {MAX_MB} can be created in S3")


def _store(bucket: str, prefix: str, settings: S3Settings) -> S3Store:
    """obstore looks into AWS_* variables itself: what the settings or the contract say is said here."""
    config: S3Config = {
        "virtual_hosted_style_request": not settings.path_style,
        "conditional_put": "etag",
        "disable_bulk_delete": True,
    }
    if settings.endpoint:
        address = settings.endpoint
        if not settings.path_style:
            scheme, _, host = address.partition("://")
            address = f"{scheme}://{bucket}.{host}"
        config["aws_endpoint_url_s3"] = address  # goes before AWS_ENDPOINT_URL_S3, ``endpoint`` would not
    if settings.region:
        config["region"] = settings.region
    client: ClientConfig = {
        "allow_http": settings.allow_http,
        "connect_timeout": timedelta(seconds=settings.connect_timeout_s),
        "read_timeout": timedelta(seconds=settings.timeout_s),
        "timeout": timedelta(seconds=settings.timeout_s * _TRANSFER),
    }
    retry: RetryConfig = {
        "backoff": {
            "init_backoff": timedelta(seconds=0.1),
            "max_backoff": timedelta(seconds=MAX_PAUSE_S),
            "base": 2,
        },
        "max_retries": 1_000 if settings.retry_s else 0,
        "retry_timeout": timedelta(seconds=settings.retry_s),
    }
    if settings.credentials is None:
        return S3Store(
            bucket, prefix=prefix or None, config=config, client_options=client, retry_config=retry
        )
    key, secret, token = settings.credentials
    keys: S3Credential = {
        "access_key_id": key,
        "secret_access_key": secret,
        "token": token,
        "expires_at": None,
    }
    config["skip_signature"] = False
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=config,
        client_options=client,
        retry_config=retry,
        credential_provider=lambda: keys,  # so that a token of the environment never joins these keys
    )
