"""Lines for people and for programs, ids bound by context, secrets in neither."""

from __future__ import annotations

import contextvars
import io
import json
import logging
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tqdm import tqdm

from registry import masking
from registry.log import bound, configure, get_logger, mask, register_secret, register_secret_url
from registry.masking import MASK

log = get_logger("registry.test_log")


@pytest.fixture(autouse=True)
def fresh_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(masking, "_known", set())
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


@pytest.fixture
def human() -> io.StringIO:
    stream = io.StringIO()
    configure("info", stream=stream)
    return stream


@pytest.fixture
def lines() -> io.StringIO:
    stream = io.StringIO()
    configure("debug", json_lines=True, stream=stream)
    return stream


def read(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_for_people(human: io.StringIO) -> None:
    with bound(area="pit-north", pass_name="20240801T092000_1a2b3c4d_r001"):
        log.info("pass read", scenes=3, clear_fraction=0.71, note="two words", bands=("B04", "B08"))
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ info registry\.test_log: pass read area=pit-north "
        r'pass_name=20240801T092000_1a2b3c4d_r001 scenes=3 clear_fraction=0\.71 note="two words" '
        r'bands=\["B04", "B08"\]\n',
        human.getvalue(),
    )


def test_a_line_for_programs(lines: io.StringIO) -> None:
    at = datetime(2024, 8, 1, tzinfo=UTC)
    log.warning("odd", level="hidden?", n=float("nan"), at=at, inner={"a": [1, None, True]}, object=UTC)
    (line,) = read(lines)
    assert line.pop("time")
    assert line == {
        "level": "warning",
        "logger": "registry.test_log",
        "event": "odd",
        "level_": "hidden?",
        "n": "nan",
        "at": "2024-08-01T00:00:00+00:00",
        "inner": {"a": [1, None, True]},
        "object": "UTC",
    }


def test_ids_are_bound_inside_only_and_inner_ones_win(lines: io.StringIO) -> None:
    with bound(area="a", pass_name="p"):
        with bound(area="b"):
            log.info("inner")
        log.info("outer", pass_name="given")
    log.info("after")
    inner, outer, after = read(lines)
    assert (inner["area"], inner["pass_name"]) == ("b", "p")
    assert (outer["area"], outer["pass_name"]) == ("a", "given")
    assert "area" not in after


def test_ids_follow_into_a_thread_that_is_handed_the_context(lines: io.StringIO) -> None:
    with bound(area="a"):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(log.info, "from the thread"))
        thread.start()
        thread.join()
    assert read(lines)[0]["area"] == "a"


def test_levels_are_kept(human: io.StringIO) -> None:
    log.debug("not shown")
    logging.getLogger("botocore").info("a library, not shown")
    logging.getLogger("botocore").warning("a library, %s", "shown")
    assert "not shown" not in human.getvalue()
    assert "warning botocore: a library, shown" in human.getvalue()


def test_configure_again_replaces_the_handler(human: io.StringIO) -> None:
    again = io.StringIO()
    configure("info", stream=again)
    log.info("once")
    assert human.getvalue() == ""
    assert again.getvalue().count("once") == 1


def test_an_exception_is_one_line_and_a_traceback_only_at_debug(human: io.StringIO) -> None:
    def fail() -> None:
        try:
            int("no luck\nat all")
        except ValueError as exc:
            log.error("failed", exc=exc)

    fail()
    assert human.getvalue().count("\n") == 1
    assert r"ValueError: invalid literal for int() with base 10: 'no luck\\nat all'" in human.getvalue()
    configure("debug", stream=human)
    fail()
    assert "Traceback (most recent call last)" in human.getvalue()


def test_a_name_from_outside_cannot_forge_a_line(human: io.StringIO) -> None:
    log.info("area added\n2024-01-01T00:00:00Z error forged", area="x\ny")
    assert human.getvalue().count("\n") == 1


def test_a_broken_format_of_a_library_is_still_logged(human: io.StringIO) -> None:
    logging.getLogger("library").warning("%d of %d", "one")
    assert "%d of %d ('one',)" in human.getvalue()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GET https://user:pa55@host/x", "GET https://***@host/x"),
        ("mailto://u:p%40ss@mail.org?to=a@b.org", "mailto://***@mail.org?to=a@b.org"),
        ("https://h/c.tif?sv=1&sig=AbC%2F&se=2", "https://h/c.tif?sv=1&sig=***&se=2"),
        ("https://h/x?access_token=abc#y", "https://h/x?access_token=***#y"),
        ("?X-Amz-Signature=f00&X-Amz-Date=1", "?X-Amz-Signature=***&X-Amz-Date=1"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("{'authorization': 'Basic dXNlcg==', 'a': 1}", "{'authorization': '***', 'a': 1}"),
        ("sent bearer eyJhbGciOiJI", "sent bearer ***"),
        ("X-Api-Key: 123", "X-Api-Key: ***"),
        ("https://earth-search.aws.element84.com/v1/search?limit=100", None),
        ("incident 1a2b at 25.3,45.7 key=B04 passes=3", None),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, masked: str | None) -> None:
    assert mask(text) == (masked or text)


def test_registered_secrets_are_masked_everywhere(lines: io.StringIO) -> None:
    register_secret("hunter2/é")
    error = ValueError("hunter2/é")
    with bound(area="hunter2/é"):
        log.error("hunter2/é", exc=error, deep={"hunter2/é": ["x hunter2/é y"]}, quoted="hunter2%2F%C3%A9")
    logging.getLogger("urllib3").warning("url %s", "http://h/hunter2/é")
    assert "hunter2" not in lines.getvalue()
    assert lines.getvalue().count(MASK) >= 6


def test_fields_named_like_secrets_are_masked(lines: io.StringIO) -> None:
    log.info("request", headers={"Cookie": "abc", "Accept": "json"}, token="xyz", password=None, key="B04")
    (line,) = read(lines)
    assert line["headers"] == {"Cookie": MASK, "Accept": "json"}
    assert (line["token"], line["password"], line["key"]) == (MASK, None, "B04")


def test_the_keys_inside_a_target_are_secrets_and_its_plain_words_are_not() -> None:
    register_secret_url("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#mines?mode=insecure")
    register_secret_url("mailto://someone:s3cr%40t@mail.example.org/notices?to=office@example.org")
    register_secret_url("file:///var/groundwatch/outbox")
    text = "T1JJ3T3L2 TIiajkdnlazkcOXrIdevi7FQ s3cr%40t s3cr@t"
    assert mask(text) == " ".join([MASK] * 4)
    plain = "mail.example.org notices office@example.org insecure /var/groundwatch/outbox #mines"
    assert mask(plain) == plain


def test_short_texts_are_no_secrets() -> None:
    register_secret("ab")
    register_secret("")
    assert mask("abc") == "abc"


def test_lines_stand_above_a_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    with tqdm(total=2, desc="passes", ascii=True) as bar:
        bar.update(1)
        log.info("between")
    written = capsys.readouterr().err
    line = next(part for part in re.split(r"[\r\n]", written) if "between" in part)
    assert line.endswith("info registry.test_log: between")
    assert "passes" not in line
