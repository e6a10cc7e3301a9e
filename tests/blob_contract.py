"""What every blob store must do. A backend subclasses BlobContract and gives a ``blobs`` fixture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.blobs import MAX_NAME, Blobs
from registry.errors import Exists, GroundwatchError, InputError, NotFound

BAD_NAMES = [
    "",
    "/",
    "/etc/passwd",
    "a/",
    "a//b",
    "../a",
    "a/../b",
    "a/..",
    ".",
    "..",
    "a/./b",
    ".hidden",
    "a/.incoming/b",
    "a\\..\\b",
    "a\0b",
    "a\nb",
    "a b",
    "%2e%2e/a",
    "ü",
    "a/" * 300 + "b",
    "a" * 201,
    "file:///etc/passwd",
    "-rf",
]


NAMES = st.lists(
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._=+@-]{0,20}", fullmatch=True), min_size=1, max_size=5
).map("/".join)
"""Segments of allowed names."""

INHERITED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
"""One empty store serves all examples, which tidy up; every backend runs the test in a class of its own."""


class BlobContract:
    def test_what_is_created_is_got(self, blobs: Blobs) -> None:
        blobs.create("ledger/pit/a.tif", b"\0\1")
        assert blobs.get("ledger/pit/a.tif") == b"\0\1"
        assert blobs.exists("ledger/pit/a.tif")

    def test_a_name_is_never_overwritten(self, blobs: Blobs, tmp_path: Path) -> None:
        blobs.create("a/b", b"first")
        with pytest.raises(Exists, match="a/b"):
            blobs.create("a/b", b"second")
        local = tmp_path / "local"
        local.write_bytes(b"third")
        with pytest.raises(Exists, match="a/b"):
            blobs.create_file("a/b", local)
        assert blobs.get("a/b") == b"first"
        assert local.read_bytes() == b"third"

    def test_a_file_is_moved_in(self, blobs: Blobs, tmp_path: Path) -> None:
        local = tmp_path / "mask.tif"
        local.write_bytes(b"raster")
        blobs.create_file("products/mask.tif", local)
        assert blobs.get("products/mask.tif") == b"raster"
        assert not local.exists()

    def test_a_missing_file_is_not_found(self, blobs: Blobs, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="nothing"):
            blobs.create_file("a", tmp_path / "nothing")
        assert not blobs.exists("a")

    def test_an_unknown_name_is_not_found(self, blobs: Blobs) -> None:
        blobs.create("a/b", b"")
        for name in ("x", "a", "a/b/c"):
            assert not blobs.exists(name)
            with pytest.raises(NotFound, match=name):
                blobs.get(name)

    def test_list_is_sorted_and_by_text_prefix(self, blobs: Blobs) -> None:
        names = ["a-b", "a/1", "a/10/x", "a/2", "ab/c", "b"]
        for name in reversed(names):
            blobs.create(name, b"")
        assert list(blobs.list("")) == names
        assert list(blobs.list("a/")) == ["a/1", "a/10/x", "a/2"]
        assert list(blobs.list("a/1")) == ["a/1", "a/10/x"]
        assert list(blobs.list("a")) == names[:-1]
        assert list(blobs.list("zzz/y")) == []

    def test_list_cannot_leave_the_store(self, blobs: Blobs) -> None:
        for prefix in ("../", "/", "a/../../", ".incoming/"):
            with pytest.raises(InputError):
                list(blobs.list(prefix))

    def test_delete_forgets(self, blobs: Blobs) -> None:
        blobs.create("cache/a", b"1")
        blobs.delete("cache/a")
        blobs.delete("cache/a")
        assert not blobs.exists("cache/a")
        blobs.create("cache/a", b"2")
        assert blobs.get("cache/a") == b"2"

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_a_bad_name_is_refused_in_one_line(self, blobs: Blobs, name: str, tmp_path: Path) -> None:
        local = tmp_path / "local"
        local.write_bytes(b"x")
        for call in (
            lambda: blobs.create(name, b""),
            lambda: blobs.create_file(name, local),
            lambda: blobs.get(name),
            lambda: blobs.exists(name),
            lambda: blobs.delete(name),
            lambda: blobs.path(name),
        ):
            with pytest.raises(InputError) as caught:
                call()
            assert "\n" not in str(caught.value)
        assert list(blobs.list("")) == []

    def test_of_many_writers_one_wins(self, blobs: Blobs) -> None:
        def attempt(number: int) -> int | None:
            try:
                blobs.create("race/x", b"%d" % number)
            except Exists:
                return None
            return number

        with ThreadPoolExecutor(4) as pool:
            winners = [number for number in pool.map(attempt, range(16)) if number is not None]
        assert len(winners) == 1
        assert blobs.get("race/x") == b"%d" % winners[0]

    @settings(max_examples=50, deadline=None, suppress_health_check=INHERITED)
    @given(name=st.one_of(NAMES, st.text(max_size=MAX_NAME + 10)), data=st.binary(max_size=1000))
    def test_any_name_is_stored_whole_or_refused(self, blobs: Blobs, name: str, data: bytes) -> None:
        try:
            blobs.create(name, data)
        except GroundwatchError:
            return
        assert blobs.get(name) == data
        assert list(blobs.list(name)) == [name]
        blobs.delete(name)
