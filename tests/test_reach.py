"""Where text from outside may send us: every way of writing an inner address is refused, by one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from registry.errors import Reject, Retry
from registry.reach import LONGEST_URL, Reach, host_of

PUBLIC = "93.184.216.34"
Resolve = Callable[[str], tuple[str, ...]]


def says(*addresses: str) -> Resolve:
    return lambda _host: addresses


def unknown(host: str) -> tuple[str, ...]:
    raise OSError(f"no address of {host}")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.tif",
        "http://127.1/a.tif",
        "http://2130706433/a.tif",
        "http://0x7f000001/a.tif",
        "http://0177.0.0.1/a.tif",
        "http://0.0.0.0/a.tif",
        "http://localhost/a.tif",
        "http://localhost./a.tif",
        "http://LOCALHOST/a.tif",
        "http://[::1]/a.tif",
        "http://[::ffff:127.0.0.1]/a.tif",
        "http://[::ffff:7f00:1]/a.tif",
        "http://[64:ff9b::a00:1]/a.tif",
        "http://[2002:a00:1::]/a.tif",
        "http://[fe80::1]/a.tif",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://169.254.169.254/latest/meta-data/iam/",
        "http://10.1.2.3/a.tif",
        "http://192.168.0.1:8080/a.tif",
        "http://100.64.0.1/a.tif",
        "http://224.0.0.1/a.tif",
    ],
)
def test_an_inner_address_is_refused_however_it_is_written(url: str) -> None:
    with pytest.raises(Reject, match=r"private address .*read\.private_hosts"):
        Reach().check(url)


@pytest.mark.parametrize("inner", ["10.0.0.7", "::1", "169.254.169.254"])
def test_a_name_with_one_inner_address_among_public_ones_is_refused(inner: str) -> None:
    with pytest.raises(Reject, match="private address"):
        Reach().check("https://cogs.example.org/a.tif", resolve=says(PUBLIC, inner))


def test_a_public_host_is_asked_unless_the_list_leaves_it_out() -> None:
    url = "https://bucket.s3.amazonaws.com/a.tif"
    assert Reach().check(url, resolve=says(PUBLIC)) == url
    narrow = Reach(hosts=("*.amazonaws.com",))
    assert narrow.check(url, resolve=says(PUBLIC)) == url
    with pytest.raises(Reject, match=r"read\.hosts"):
        narrow.check("https://evil.example/amazonaws.com", resolve=says(PUBLIC))
    with pytest.raises(Reject, match=r"read\.hosts"):
        narrow.check("https://amazonaws.com.evil.example/a.tif", resolve=says(PUBLIC))
    with pytest.raises(Reject, match="private address"):
        narrow.check(url, resolve=says("127.0.0.1"))


def test_hosts_the_operator_names_are_asked_whatever_their_address() -> None:
    for reach in (Reach(own=frozenset({"stac.inner"})), Reach(private_hosts=("stac.inner",))):
        assert reach.check("http://stac.inner:8080/x", resolve=says("10.0.0.7")) == "http://stac.inner:8080/x"
        with pytest.raises(Reject, match="private address"):
            reach.check("http://other.inner:8080/x", resolve=says("10.0.0.7"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://good.example@10.0.0.1/a.tif", "holds a login"),
        ("https://user:p4ssw0rd@good.example/a.tif", "holds a login"),
        ("https://good.example\\@10.0.0.1/a.tif", "backslashes"),
        ("https://good.example\n.evil.example/a.tif", "blanks"),
        ("https://good.example /a.tif", "blanks"),
        ("https://ｇｏｏｄ.example/a.tif", "beyond ASCII"),
        ("https://127%2e0.0.1/a.tif", "names no host"),
        ("https:///a.tif", "names no host"),
        ("https://good.example:port/a.tif", "malformed"),
        ("https://[::1/a.tif", "malformed"),
        ("ftp://good.example/a.tif", "scheme 'ftp'"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("gopher://good.example/a.tif", "scheme 'gopher'"),
        (f"https://good.example/{'a' * LONGEST_URL}", "at most"),
    ],
)
def test_an_address_that_readers_could_take_in_two_ways_is_refused(url: str, said: str) -> None:
    with pytest.raises(Reject, match=said) as caught:
        host_of(url)
    assert "p4ssw0rd" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_nobody_knows_now_is_tried_again_unless_a_proxy_knows_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = partial(Reach().check, "https://cogs.example.org/a.tif", resolve=unknown)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Retry, match="not known now"):
        ask()
    monkeypatch.setenv("https_proxy", "http://proxy.inner:3128")
    assert ask() == "https://cogs.example.org/a.tif"
