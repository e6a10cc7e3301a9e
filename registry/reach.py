"""Where text from outside may send us: the hosts that items, next pages and redirects may name.

An item is written by somebody else. Without a limit, one href could make a detector fetch from the
machine it runs on, from its neighbours, or from a cloud's metadata service (server-side request forgery).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit
from urllib.request import getproxies

from registry.errors import Reject, Retry
from registry.masking import mask

LONGEST_URL = 4_096
"""Characters of an address that is followed; signed ones have some 600."""

_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|[0-9a-f:.]+")
_ODD = re.compile(r"[\x00-\x20\x7f-\uffff\\]")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def resolved(host: str) -> tuple[str, ...]:
    """The addresses of a host name. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(str(entry[4][0]) for entry in found)


@dataclass(frozen=True)
class Reach:
    """Which hosts may be asked. Public addresses may, unless ``hosts`` narrows them."""

    own: frozenset[str] = frozenset()
    """Hosts that the operator's own settings name, such as those of the providers."""
    hosts: tuple[str, ...] = ()
    """Patterns of public hosts (``*.amazonaws.com``); empty = all."""
    private_hosts: tuple[str, ...] = ()
    """Hosts with an address inside a private network that may be asked nevertheless."""

    def check(self, url: str, *, resolve: Callable[[str], Iterable[str]] = resolved) -> str:
        """The address, if it may be asked. Raises Reject, or Retry where its name is not known now."""
        host = host_of(url)
        if host in self.own or host in self.private_hosts:
            return url
        if self.hosts and not any(fnmatchcase(host, pattern) for pattern in self.hosts):
            raise Reject(f"host {host!r} of {_shown(url)} is not in read.hosts; add it if it may be asked")
        try:
            addresses = [ipaddress.ip_address(one.partition("%")[0]) for one in resolve(host)]
        except UnicodeError as exc:
            raise Reject(f"host {host[:80]!r} is no host name") from exc
        except OSError as exc:
            if urlsplit(url).scheme in getproxies():
                return url  # only the proxy knows names
            raise Retry(f"host {host!r} of {_shown(url)} is not known now ({exc})") from exc
        private = [one for one in addresses if not _is_public(one)]
        if private:
            raise Reject(
                f"host {host!r} of {_shown(url)} has the private address {private[0]}; "
                "add it to read.private_hosts if it may be asked"
            )
        return url


def host_of(url: str) -> str:
    """The host in lower case. Raises Reject where readers could differ on which host is meant."""
    if len(url) > LONGEST_URL:
        raise Reject(f"address {_shown(url)} has {len(url)} characters, at most {LONGEST_URL} are followed")
    if _ODD.search(url):
        raise Reject(f"address {_shown(url)} has blanks, backslashes or letters beyond ASCII; encode them")
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").lower().rstrip("."), parts.port
    except ValueError as exc:
        raise Reject(f"address {_shown(url)} is malformed ({exc})") from exc
    if parts.scheme not in ("http", "https"):
        raise Reject(f"address {_shown(url)} has scheme {parts.scheme!r}; http and https are asked")
    if "@" in parts.netloc:
        raise Reject(f"address {_shown(url)} holds a login; nothing is asked with a stranger's login")
    if not _HOST.fullmatch(host):
        raise Reject(f"address {_shown(url)} names no host")
    return host


def _shown(url: str) -> str:
    return repr(mask(url)[:160])


def _is_public(address: Address) -> bool:
    """Whether the whole internet may reach it; addresses that wrap another are judged by what they wrap."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        elif wrapped := address.ipv4_mapped or address.sixtofour:
            address = wrapped
    return address.is_global and not address.is_multicast
