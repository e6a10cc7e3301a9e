"""Blobs in S3: the contract on a real service, outages, lost answers, refusals, secrets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from registry import blobs_s3
from registry.blobs import Blobs, open_blobs
from registry.errors import ConfigError, Exists, GroundwatchError, InputError, NotFound, Retry
from registry.s3_settings import S3Settings
from tests.blob_contract import BlobContract
from tests.services.processes import free_port
from tests.services.s3 import KEY, SECRET, S3Server
from tests.services.web import Proxy

TOKEN = "FwoGZXIvYXdzTestSessionToken0123456789"


@pytest.fixture
def blobs(s3_server: S3Server, bucket: str, tmp_path: Path) -> Blobs:
    return open_blobs(f"s3://{bucket}/fleet/one", s3_server.settings(), tmp_path / "cache")


@pytest.fixture
def through(s3_server: S3Server, s3_proxy: Proxy, bucket: str, tmp_path: Path) -> Callable[..., Blobs]:
    """Opens the same blobs through the proxy, with changes of the settings."""

    def opened(**changes: object) -> Blobs:
        settings = s3_server.settings(endpoint=s3_proxy.url, **changes)
        return open_blobs(f"s3://{bucket}/fleet/one", settings, tmp_path / "cache")

    return opened


class TestContract(BlobContract):
    pass


# Where blobs lie


def test_keys_lie_below_the_prefix(s3_server: S3Server, bucket: str, blobs: Blobs, tmp_path: Path) -> None:
    blobs.create("ledger/a+b=c@d/x_1.tif", b"1")
    assert s3_server.keys(bucket) == ["fleet/one/ledger/a+b=c@d/x_1.tif"]
    assert blobs.url("ledger/x.tif") == f"s3://{bucket}/fleet/one/ledger/x.tif"
    whole = open_blobs(f"s3://{bucket}", s3_server.settings(), tmp_path / "cache")
    assert list(whole.list("")) == ["fleet/one/ledger/a+b=c@d/x_1.tif"]
    assert whole.url("a") == f"s3://{bucket}/a"


def test_stores_do_not_see_each_other(s3_server: S3Server, bucket: str, blobs: Blobs, tmp_path: Path) -> None:
    other = open_blobs(f"s3://{bucket}/fleet/on", s3_server.settings(), tmp_path / "cache")
    blobs.create("a", b"one")
    other.create("a", b"other")
    assert [Path(store.path("a")).read_bytes() for store in (blobs, other)] == [b"one", b"other"]
    assert list(other.list("")) == ["a"]


def test_foreign_objects_are_not_listed(s3_server: S3Server, bucket: str, blobs: Blobs) -> None:
    blobs.create("a", b"")
    for key in (".DS_Store", "not%20a%20blob", "a%C3%BC"):
        s3_server.put(bucket, f"fleet/one/{key}", b"")
    assert list(blobs.list("")) == ["a"]


def test_more_than_a_page_is_listed(s3_server: S3Server, bucket: str, blobs: Blobs) -> None:
    for number in range(1_005):
        s3_server.put(bucket, f"fleet/one/many/{number:04d}", b"")
    assert list(blobs.list("many/")) == [f"many/{number:04d}" for number in range(1_005)]
    assert list(blobs.list("many/100")) == [f"many/{number}" for number in range(1_000, 1_005)]


@pytest.mark.parametrize(
    "url",
    ["s3://", "s3://Bucket", "s3://a..b", "s3://bucket/../x", "s3://bucket/a b", "s3://key:word@bucket"],
)
def test_a_bad_url_is_a_configuration_error(s3_server: S3Server, tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="s3://BUCKET/PREFIX"):
        open_blobs(url, s3_server.settings(), tmp_path)


def test_a_folder_for_copies_is_needed(s3_server: S3Server) -> None:
    with pytest.raises(ConfigError, match=r"s3\.cache"):
        open_blobs("s3://bucket", s3_server.settings())


def test_too_large_a_blob_is_refused(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_s3, "MAX_MB", 1)
    local = tmp_path / "local"
    local.write_bytes(b"x" * 1_048_577)
    with pytest.raises(InputError, match="at most 1 can"):
        blobs.create_file("a", local)
    with pytest.raises(InputError, match="at most 1 can"):
        blobs.create("a", local.read_bytes())
    assert local.exists()
    assert not blobs.exists("a")


# Create-only


def test_a_put_whose_answer_was_lost_is_there_once(s3_proxy: Proxy, through: Callable[..., Blobs]) -> None:
    blobs = through()
    s3_proxy.lose("/a$", times=1)
    with pytest.raises(Exists, match="blob a"):
        blobs.create("a", b"mine")
    assert blobs.get("a") == b"mine"
    assert [one.status for one in s3_proxy.seen if one.method == "PUT"] == [None, 412]


def test_a_put_that_never_arrived_is_sent_again(s3_proxy: Proxy, through: Callable[..., Blobs]) -> None:
    blobs = through()
    s3_proxy.reset("/a$", times=2)
    blobs.create("a", b"mine")
    assert blobs.get("a") == b"mine"


def test_a_lost_answer_and_an_impatient_client_mean_later(
    s3_proxy: Proxy, through: Callable[..., Blobs]
) -> None:
    s3_proxy.lose("/a$", times=1)
    with pytest.raises(Retry):
        through(retry_s=0).create("a", b"mine")
    with pytest.raises(Exists):
        through(retry_s=0).create("a", b"mine")


def test_two_puts_that_meet_are_no_proof(s3_proxy: Proxy, through: Callable[..., Blobs]) -> None:
    """409 says that another put was under way, not that one was kept: taking it for Exists loses a blob."""
    s3_proxy.answer("/a$", 409, times=2)
    with pytest.raises(Retry, match="409"):
        through(retry_s=0).create("a", b"mine")
    blobs = through()
    blobs.create("a", b"mine")
    assert blobs.get("a") == b"mine"


# Outages

CALLS: dict[str, Callable[[Blobs], object]] = {
    "create": lambda blobs: blobs.create("new", b"x"),
    "get": lambda blobs: blobs.get("there"),
    "path": lambda blobs: blobs.path("there"),
    "list": lambda blobs: list(blobs.list("")),
    "exists": lambda blobs: blobs.exists("there"),
    "delete": lambda blobs: blobs.delete("there"),
}

FAULTS: dict[str, Callable[[Proxy], None]] = {
    "503": lambda proxy: proxy.answer(".", 503),
    "429": lambda proxy: proxy.answer(".", 429),
    "500": lambda proxy: proxy.answer(".", 500),
    "reset": lambda proxy: proxy.reset("."),
    "stalled": lambda proxy: proxy.stall("."),
    "truncated": lambda proxy: proxy.truncate("."),
}
BODIES = ("get", "path", "list")
"""Calls whose answer has a body that can break off."""


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (call, fault)
        for call in CALLS
        for fault in FAULTS
        if call in BODIES or fault not in ("stalled", "truncated")
    ],
)
def test_an_outage_means_later_in_one_line_and_then_all_is_well(
    s3_proxy: Proxy, through: Callable[..., Blobs], blobs: Blobs, call: str, fault: str
) -> None:
    blobs.create("there", b"0" * 50_000)
    FAULTS[fault](s3_proxy)
    failing = through(retry_s=0.2, timeout_s=0.2)
    with pytest.raises(Retry) as caught:
        CALLS[call](failing)
    message = str(caught.value)
    assert "\n" not in message
    assert s3_proxy.url in message
    s3_proxy.heal()
    CALLS[call](failing)


def test_where_nobody_listens_the_address_is_named(s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    unused_port = free_port()
    settings = s3_server.settings(endpoint=f"http://127.0.0.1:{unused_port}", retry_s=0.2)
    blobs = open_blobs(f"s3://{bucket}", settings, tmp_path / "cache")
    for call in CALLS.values():
        with pytest.raises(Retry, match=f"no connection at http://127.0.0.1:{unused_port}"):
            call(blobs)


@pytest.mark.parametrize("fault", ["503", "reset"])
def test_a_short_outage_is_ridden_out(
    s3_proxy: Proxy, through: Callable[..., Blobs], blobs: Blobs, fault: str
) -> None:
    blobs.create("there", b"x")
    patient = through(retry_s=30.0)
    for name, call in CALLS.items():
        FAULTS[fault](s3_proxy)
        healing = threading.Timer(0.3, s3_proxy.heal)
        healing.start()
        call(patient)
        healing.join()
        assert name == "delete" or blobs.exists("there")


# What a person must mend


def test_a_missing_bucket_is_named_with_its_remedy(s3_server: S3Server, tmp_path: Path) -> None:
    blobs = open_blobs("s3://never-made", s3_server.settings(), tmp_path / "cache")
    for name in ("create", "get", "path", "list"):
        with pytest.raises(ConfigError, match="NoSuchBucket; make the bucket"):
            CALLS[name](blobs)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(403, "rights"), (401, "rights"), (400, "endpoint"), (404, "endpoint"), (301, "region")],
)
def test_a_refusal_is_a_configuration_error(
    s3_proxy: Proxy, through: Callable[..., Blobs], status: int, remedy: str
) -> None:
    s3_proxy.answer(".", status)
    for name in ("create", "get", "path", "list"):
        with pytest.raises(ConfigError, match=remedy) as caught:
            CALLS[name](through())
        assert "\n" not in str(caught.value)


def test_an_endpoint_of_the_environment_has_to_have_tls_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    keys = S3Settings.model_validate({"access_key_id": KEY, "secret_access_key": SECRET})
    with pytest.raises(ConfigError, match="allow_http"):
        open_blobs("s3://bucket", keys, tmp_path).get("a")


def test_plain_http_has_to_be_meant(s3_server: S3Server) -> None:
    with pytest.raises(ValueError, match="allow_http"):
        s3_server.settings(allow_http=False)


@pytest.mark.parametrize(
    "endpoint",
    ["nonsense", "http://me:word@host", "http://host/bucket", "http://host?x=1", "http://host:0", ""],
)
def test_a_bad_endpoint_is_refused_before_anything_is_asked(s3_server: S3Server, endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        s3_server.settings(endpoint=endpoint)


def test_one_key_without_the_other_is_refused(s3_server: S3Server) -> None:
    with pytest.raises(ValueError, match="go together"):
        s3_server.settings(secret_access_key=None)


# Secrets


def test_secrets_are_in_no_message(s3_proxy: Proxy, through: Callable[..., Blobs]) -> None:
    blobs = through(session_token=TOKEN, retry_s=0.1, timeout_s=0.2)
    refusals: list[Callable[[Proxy], None]] = [
        partial(Proxy.answer, pattern=".", status=status) for status in (403, 301, 400)
    ]
    for fault in (*FAULTS.values(), *refusals):
        s3_proxy.heal()
        fault(s3_proxy)
        for name in BODIES:
            with pytest.raises(GroundwatchError) as caught:
                CALLS[name](blobs)
            assert not any(word in str(caught.value) for word in (KEY, SECRET, TOKEN, "?", "Signature"))


def test_requests_are_signed_with_the_keys_given_and_no_others(
    s3_proxy: Proxy, through: Callable[..., Blobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore reads the environment itself: a token left there must not join these keys."""
    for name in ("AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-somebody-else")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    blobs = through()
    blobs.create("a", b"x")
    with pytest.raises(Exists):
        blobs.create("a", b"y")
    for one in s3_proxy.seen:
        sent = {name.lower(): value for name, value in one.headers.items()}
        assert f"Credential={KEY}/" in sent["authorization"]
        assert "x-amz-security-token" not in sent
        assert sent["if-none-match"] == "*"


def test_without_keys_those_of_the_environment_are_taken(
    s3_proxy: Proxy, through: Callable[..., Blobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "word")
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    through(access_key_id="", secret_access_key=None).create("a", b"x")
    sent = {name.lower(): value for name, value in s3_proxy.seen[-1].headers.items()}
    assert "Credential=AKIAENVIRONMENT/" in sent["authorization"]
    assert sent["x-amz-security-token"] == TOKEN


def test_a_machine_without_a_role_is_told_to_give_keys(
    s3_proxy: Proxy, through: Callable[..., Blobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", s3_proxy.url)  # loopback only, also for the role
    s3_proxy.answer("security-credentials|api/token", 404)
    with pytest.raises(Retry, match=r"role; give s3\.access_key_id"):
        through(access_key_id=None, secret_access_key=None).create("a", b"x")


def test_a_missing_file_is_named_before_anything_is_asked(
    s3_proxy: Proxy, through: Callable[..., Blobs], tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="nothing"):
        through().create_file("a", tmp_path / "nothing")
    for name in ("../a", "a b"):
        with pytest.raises(InputError):
            through().url(name)
    assert s3_proxy.seen == []
