"""Local copies of blobs in S3: whole or not there, within a bound, shared, whoever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.blob_cache import KEEP, LOOK, BlobCache
from registry.blobs import Blobs, open_blobs
from registry.errors import NotFound, Retry
from tests.conftest import REPO
from tests.services.s3 import S3Server
from tests.services.web import Proxy


def everything_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in everything_in(folder))


def fill(cache: BlobCache, name: str, size: int) -> Path:
    return cache.fill(name, size, [b"x" * size])


# The folder


def test_a_copy_is_found_until_it_is_forgotten(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "cache", limit=1_000)
    assert cache.find("a/b.tif") is None
    copy = cache.fill("a/b.tif", 6, [b"one", b"two"])
    assert copy == cache.find("a/b.tif")
    assert copy.read_bytes() == b"onetwo"
    assert copy.suffix == ".tif"
    assert cache.find("a") is None
    cache.forget("a/b.tif")
    cache.forget("a/b.tif")
    assert cache.find("a/b.tif") is None


@pytest.mark.parametrize("parts", [[b"12"], [b"12", b"34"], []])
def test_another_length_than_promised_is_no_copy(tmp_path: Path, parts: list[bytes]) -> None:
    cache = BlobCache(tmp_path / "cache", limit=1_000)
    with pytest.raises(Retry, match="of 3 bytes"):
        cache.fill("a", 3, parts)
    assert cache.find("a") is None
    assert everything_in(tmp_path) == []


def test_the_least_recently_used_go_first_and_the_bound_is_kept(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, limit=1_000)
    for number in range(7):
        os.utime(fill(cache, f"{number}", 100), (number, number))
    assert cache.find("0") is not None
    fill(cache, "7", 100)
    kept = {name for name in "01234567" if cache.find(name) is not None}
    assert kept == {"0", "2", "3", "4", "5", "6", "7"}
    for number in range(200):
        assert fill(cache, f"more-{number}", 37).exists()
        assert size_of(tmp_path) <= 1_000


def test_a_blob_larger_than_the_bound_is_served_and_goes_next(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, limit=1_000)
    fill(cache, "small", 100)
    assert fill(cache, "large", 5_000).stat().st_size == 5_000
    assert cache.find("small") is None
    os.utime(cache.find("large") or "", (1, 1))
    fill(cache, "next", 100)
    assert cache.find("large") is None


def test_a_smaller_bound_holds_from_the_start(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, limit=1_000)
    for number in range(7):
        fill(cache, f"{number}", 100)
    BlobCache(tmp_path, limit=400)
    assert size_of(tmp_path) <= KEEP * 400


def test_what_killed_processes_left_is_swept_away_in_time(tmp_path: Path) -> None:
    old, young = tmp_path / ".part-old", tmp_path / ".part-young"
    for left in (old, young):
        left.write_bytes(b"x")
    os.utime(old, (1, 1))
    BlobCache(tmp_path, limit=1_000)
    assert everything_in(tmp_path) == [young]


def test_a_full_disk_is_a_retry_and_leaves_nothing(small_disk: Path) -> None:
    cache = BlobCache(small_disk / "cache", limit=10**9)
    with pytest.raises(Retry, match="space"):
        fill(cache, "big", 1_000_000)
    assert everything_in(small_disk / "cache") == []


# Over a real service


@pytest.fixture
def large(s3_server: S3Server, bucket: str) -> bytes:
    """The bytes of the blob ``large``."""
    data = os.urandom(3_000_000)
    s3_server.put(bucket, "large", data)
    return data


def opened(s3_server: S3Server, bucket: str, folder: Path, **changes: object) -> Blobs:
    return open_blobs(f"s3://{bucket}", s3_server.settings(**changes), folder)


def test_a_path_is_downloaded_once(
    s3_server: S3Server, s3_proxy: Proxy, bucket: str, tmp_path: Path, large: bytes
) -> None:
    blobs = opened(s3_server, bucket, tmp_path, endpoint=s3_proxy.url)
    for _ in range(3):
        assert Path(blobs.path("large")).read_bytes() == large
    assert [one.method for one in s3_proxy.seen] == ["GET"]
    with pytest.raises(NotFound, match="nothing"):
        blobs.path("nothing")


def test_after_eviction_the_path_works_again(
    s3_server: S3Server, bucket: str, tmp_path: Path, large: bytes
) -> None:
    blobs = opened(s3_server, bucket, tmp_path, cache_mb=1)
    for name in ("b", "c"):
        s3_server.put(bucket, name, name.encode() * 900_000)
        Path(blobs.path("large")).unlink()
        assert Path(blobs.path("large")).read_bytes() == large
        assert Path(blobs.path(name)).read_bytes() == name.encode() * 900_000
        assert size_of(tmp_path) <= 1_000_000


def test_what_is_deleted_has_no_copy(s3_server: S3Server, bucket: str, tmp_path: Path, large: bytes) -> None:
    blobs = opened(s3_server, bucket, tmp_path)
    blobs.path("large")
    blobs.delete("large")
    assert everything_in(tmp_path) == []


def test_a_truncated_download_never_enters(
    s3_server: S3Server, s3_proxy: Proxy, bucket: str, tmp_path: Path, large: bytes
) -> None:
    blobs = opened(s3_server, bucket, tmp_path, endpoint=s3_proxy.url, retry_s=0.2)
    s3_proxy.truncate("large")
    with pytest.raises(Retry):
        blobs.path("large")
    assert everything_in(tmp_path) == []
    s3_proxy.heal()
    assert Path(blobs.path("large")).read_bytes() == large


_DOWNLOAD = """
import sys
from pathlib import Path
from registry.blobs import open_blobs
from registry.s3_settings import S3Settings

url, endpoint, cache, *names = sys.argv[1:]
settings = S3Settings(
    endpoint=endpoint, access_key_id="k", secret_access_key="s", allow_http=True, cache_mb=1
)
blobs = open_blobs(url, settings, Path(cache))
for name in names:
    data = Path(blobs.path(name)).read_bytes()
    if data != name.encode() * 20_000:
        sys.exit(f"{name} has {len(data)} bytes")
"""


@pytest.fixture
def stalled_child(
    s3_server: S3Server, s3_proxy: Proxy, bucket: str, tmp_path: Path, large: bytes
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the middle of a download."""
    s3_proxy.stall("large")
    command = [sys.executable, "-c", _DOWNLOAD, f"s3://{bucket}", s3_proxy.url, str(tmp_path), "large"]
    with subprocess.Popen(command, cwd=REPO) as child:
        yield child
        child.kill()


def test_a_process_killed_while_downloading_leaves_no_copy(
    s3_server: S3Server,
    s3_proxy: Proxy,
    bucket: str,
    tmp_path: Path,
    large: bytes,
    stalled_child: subprocess.Popen[bytes],
) -> None:
    while not everything_in(tmp_path):
        assert stalled_child.poll() is None
        time.sleep(0.01)
    stalled_child.kill()
    assert stalled_child.wait() == -signal.SIGKILL
    (left,) = everything_in(tmp_path)
    assert left.name.startswith(".part-")
    assert Path(opened(s3_server, bucket, tmp_path).path("large")).read_bytes() == large


def test_processes_share_a_cache_and_its_bound(s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    """1 MB of room for 2.4 MB that four processes go through in different orders."""
    names = [f"blob-{number:02d}" for number in range(15)]
    for name in names:
        s3_server.put(bucket, name, name.encode() * 20_000)
    orders = [names, names[::-1], names[7:] + names[:7], names[::2] + names[1::2]]
    cache = tmp_path / "cache"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _DOWNLOAD, f"s3://{bucket}", s3_server.url, str(cache), *order],
            cwd=REPO,
            stderr=subprocess.PIPE,
        )
        for order in orders
    ]
    said = [child.communicate()[1].decode() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0, 0], said
    assert 0 < size_of(cache) <= 1_000_000
    assert len(orders) <= (1 - KEEP) / LOOK


def test_threads_may_ask_for_the_same_blob(
    s3_server: S3Server, bucket: str, tmp_path: Path, large: bytes
) -> None:
    blobs = opened(s3_server, bucket, tmp_path)
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(Path(blobs.path("large")).read_bytes() == large))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4
    assert size_of(tmp_path) == len(large)
