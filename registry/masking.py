"""Keeps secrets out of what people and files get to see: known texts, and texts shaped like one."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MASK = "***"

SHORTEST = 4
"""Characters; masking a shorter text would garble every line and hide nothing."""

SHORTEST_PART = 8
"""Characters from which a part of a secret URL counts as a secret of its own."""

SURELY_RANDOM = 24
"""Characters from which one unbroken word is taken for a key."""

_known: set[str] = set()

_NAMES = (
    r"(?:[\w-]*(?:token|secret|password|passwd|pwd|signature|credential|api[_-]?key|subscription-key|auth)"
    r"|sig|key|pass|code)"
)
_SECRET_NAME = re.compile(
    r"token|secret|passw|authorization|(?:api|access)[_-]?key|subscription-key|cookie", re.IGNORECASE
)
_PATTERNS = (
    # scheme://user:password@host
    (re.compile(r"(\b[\w+.-]+://)[^/?#\s\"'<>@]+(?:@[^/?#\s\"'<>@]+)*@"), rf"\1{MASK}@"),
    # ?token=..., &sig=...
    (re.compile(rf"([?&;]{_NAMES}=)[^&#;\s\"'<>]+", re.IGNORECASE), rf"\1{MASK}"),
    # Authorization: Bearer abc, "Authorization": "Basic abc", X-Api-Key: abc
    (
        re.compile(
            r"(\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?|\bx-api-key[\"']?\s*[:=]\s*[\"']?)"
            r"(?:(?:bearer|basic|digest|token)\s+)?[^\s\"',;}]+",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(bearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1{MASK}"),
)


def register_secret(text: str) -> None:
    """From now on ``mask`` hides this text, and its percent-encoded form. Short texts are left out."""
    for form in (text, quote(text, safe=""), unquote(text)):
        if len(form) >= SHORTEST:
            _known.add(form)


def register_secret_url(url: str) -> None:
    """Hide a URL that is a secret as a whole, such as an apprise target, and the keys inside it.

    Plain words inside it (a folder, a mail address, ``mode=insecure``) stay readable in other lines.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:  # not a URL after all: the text itself is the secret
        register_secret(url)
        return
    if parts.scheme == "file":
        return
    register_secret(url)
    if parts.password:
        register_secret(parts.password)
    # In slack://TokenA/TokenB/TokenC the "host" is a key as well.
    for part in (parts.netloc.rpartition("@")[2], host, *parts.path.split("/")):
        if _looks_random(part):
            register_secret(part)
    for name, value in parse_qsl(parts.query):
        if is_secret_name(name) or name.lower() in ("pass", "key", "sig"):
            register_secret(value)


def _looks_random(part: str) -> bool:
    """True for what a machine made up: long, of letters and digits, no address and no file name."""
    if len(part) < SHORTEST_PART or not re.fullmatch(r"[\w%+=-]+", part):
        return False
    return len(part) >= SURELY_RANDOM or (any(c.isdigit() for c in part) and any(c.isalpha() for c in part))


def is_secret_name(name: str) -> bool:
    """True where a field or header of this name holds a secret whatever it looks like."""
    return _SECRET_NAME.search(name) is not None


def mask(text: str) -> str:
    """The text with every known secret, URL login, token in a query and Authorization hidden."""
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, MASK)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text
