"""What a provider answered: the reason of a failure in its own words, and the delay it asks for.

Apprise returns yes or no and logs the rest; HTTP answers, and Retry-After with them, it drops.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from registry.masking import mask

MAX_REASON = 400
"""Characters of a provider's answer that are kept."""

_OWN_WORDS = ("Socket Exception:", "I/O Exception:", "Response Details:", "SMTP recipient")
"""How the log lines of apprise begin that hold a provider's own words; others may hold keys."""

_FAILURES = ("Failed", "Connection error", "A Connection error", "Could ")

_observing = threading.Lock()


def reason_of(lines: Iterable[str]) -> str:
    """One masked line out of the log lines of a failed notification."""
    tidy = [" ".join(line.split()) for line in lines]
    told = [line for line in tidy if line.startswith(_FAILURES)]
    own = [line.partition(": ")[2] or line for line in tidy if line.startswith(_OWN_WORDS)]
    return masked("; ".join(dict.fromkeys([*own, *told])) or "no reason was given")


def masked(text: str) -> str:
    """Without secrets, not too long."""
    return mask(text)[:MAX_REASON]


@contextmanager
def observed() -> Iterator[list[requests.Response]]:
    """The HTTP answers that this thread gets meanwhile."""
    seen: list[requests.Response] = []
    thread, original = threading.get_ident(), requests.Session.send

    def send(session: Any, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        answer = original(session, request, **options)
        if threading.get_ident() == thread:
            seen.append(answer)
        return answer

    with _observing:
        requests.Session.send = send  # type: ignore[method-assign,assignment]
        try:
            yield seen
        finally:
            requests.Session.send = original  # type: ignore[method-assign]


def asked_delay(answers: Iterable[requests.Response]) -> float | None:
    """Seconds the server asked for by Retry-After, in either of its two forms."""
    asked = [_retry_after(one.headers) for one in answers if one.status_code in (429, 503)]
    return max((one for one in asked if one is not None), default=None)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        until, sent = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        return None
    return max(0.0, (until.astimezone(UTC) - sent.astimezone(UTC)).total_seconds())


def posted_to_slack(answer: requests.Response) -> bool:
    """Whether this is Slack saying that the text of a message stands in the channel."""
    url = (answer.request.url or "").partition("?")[0]
    return url.endswith("/chat.postMessage") and b'"ok":true' in answer.content.replace(b" ", b"")
