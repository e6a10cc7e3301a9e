"""One request to a provider: tried again with back-off, its failures put into our own words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests

from registry.errors import ConfigError, Reject, Retry
from registry.log import get_logger
from registry.masking import mask
from registry.reach import Reach
from registry.setting_models import HttpSettings

log = get_logger(__name__)

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""

MAX_REDIRECTS = 5
"""Redirects of one request that are followed."""

MAX_ANSWER = 256_000_000
"""Bytes of one answer: a page of 10,000 items with geometry stays below; more is a bomb or a mistake."""

EXCERPT = 200
"""Characters of an answer that an error shows."""


class Refused(Reject):
    """The server does not accept the question (400, 405, 413, 414, 422): ask another way."""


class Absent(ConfigError):
    """There is no such thing at the server (404)."""


@dataclass(frozen=True)
class _Trouble:
    """Why a request failed for now, and the server's Retry-After."""

    reason: str
    retry_after: str = ""


@dataclass(frozen=True)
class _Answer:
    """What came back."""

    status: int
    url: str
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


class Sender:
    """Sends requests for one provider and counts them."""

    def __init__(
        self,
        provider: str,
        settings: HttpSettings,
        *,
        reach: Reach,
        secret: bool = False,
        pause: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._provider = provider
        self._settings = settings
        self._reach, self._secret = reach, secret
        self._pause = pause
        self._now = now
        self.count = 0

    def send(self, session: requests.Session, request: requests.Request) -> tuple[str, Any]:
        """The body as text and as JSON (NaN is let through: items are judged one by one).

        Raises Retry after the last try or where the server asks for a longer wait than we grant,
        Refused where it does not accept the question, Absent on 404, ConfigError on 401 and 403.
        """
        prepared = session.prepare_request(request)
        where = f"{self._provider}: {prepared.method} {mask(str(prepared.url))[:300]}"
        for attempt in range(self._settings.retries + 1):
            found = self._try(session, prepared)
            if isinstance(found, tuple):
                return found
            trouble, delay = found.reason, self._delay(found.retry_after, attempt)
            if delay > self._settings.max_backoff_s:
                raise Retry(f"{where}: {trouble}; it asks for {delay:.0f} s of patience", after=delay)
            if attempt < self._settings.retries:
                log.warning("request failed, trying again", request=where, reason=trouble, wait_s=delay)
                self._pause(delay)
        raise Retry(
            f"{where}: {trouble}, {self._settings.retries + 1} times; "
            "the next poll tries again (http.retries, http.backoff_s)"
        )

    def _try(
        self, session: requests.Session, prepared: requests.PreparedRequest
    ) -> tuple[str, Any] | _Trouble:
        self.count += 1
        try:
            answer = self._follow(session, prepared)
        except (requests.ConnectionError, requests.Timeout) as exc:
            return _Trouble(_reason(exc))
        except requests.exceptions.ChunkedEncodingError as exc:
            return _Trouble(f"the answer broke off ({_reason(exc)})")
        except requests.RequestException as exc:
            raise ConfigError(
                f"{self._provider}: {mask(str(exc))[:EXCERPT]}; check the provider's url"
            ) from exc
        if isinstance(answer, _Trouble):
            return answer
        self._judge(answer)
        try:
            return answer.text, json.loads(answer.body)
        except (ValueError, RecursionError):
            return _Trouble(f"the answer is not JSON ({_excerpt(answer)})")

    def _follow(self, session: requests.Session, prepared: requests.PreparedRequest) -> _Answer | _Trouble:
        """The answer, after as many redirects as a person would follow."""
        for _ in range(MAX_REDIRECTS + 1):
            options = session.merge_environment_settings(prepared.url, {}, True, None, None)
            with session.send(
                prepared, timeout=self._settings.timeout_s, allow_redirects=False, **options
            ) as answer:
                if answer.status_code in TRANSIENT:
                    asked = answer.headers.get("Retry-After", "")
                    return _Trouble(f"answered {answer.status_code}", asked)
                if answer.next is None:
                    return _Answer(answer.status_code, str(answer.url), self._body(answer))
                self.check_next(str(prepared.url), str(answer.next.url))
                prepared = answer.next
        raise ConfigError(
            f"{self._provider}: {mask(str(prepared.url))[:300]} is the end of {MAX_REDIRECTS} redirects; "
            "check the provider's url"
        )

    def check_next(self, here: str, there: str) -> None:
        """Whether we follow from one address to another. Raises ConfigError or Reject where we do not."""
        before, after = urlsplit(here), urlsplit(there)
        if self._secret and (before.scheme, before.netloc) != (after.scheme, after.netloc):
            raise ConfigError(
                f"{self._provider}: it leads from {before.scheme}://{before.netloc} on to "
                f"{after.scheme}://{after.netloc}; the token is not sent there, correct the provider's url"
            )
        self._reach.check(there)

    def _body(self, answer: requests.Response) -> bytes:
        """The body, unpacked, within bounds of size and time: a server may send without end."""
        parts, size = [], 0
        until = self._now() + timedelta(seconds=10 * self._settings.timeout_s)
        for part in answer.iter_content(1 << 16):
            size += len(part)
            if size > MAX_ANSWER:
                raise Reject(
                    f"{self._provider}: {mask(str(answer.url))[:300]} answers with more than "
                    f"{MAX_ANSWER:,} bytes; lower poll.page_size"
                )
            if self._now() > until:
                raise requests.Timeout(f"the answer took longer than {10 * self._settings.timeout_s:g} s")
            parts.append(part)
        return b"".join(parts)

    def _judge(self, answer: _Answer) -> None:
        status = answer.status
        if status < 300:
            return
        text = f"{self._provider}: {mask(answer.url)[:300]} answered {status} ({_excerpt(answer)})"
        if status in {401, 403}:
            raise ConfigError(f"{text}; set token or headers of the provider")
        if status == 404:
            raise Absent(f"{text}; check url and collections of the provider")
        raise Refused(f"{text}; it does not accept this request")

    def _delay(self, asked: str, attempt: int) -> float:
        """Seconds to wait: as the server says, else doubling."""
        doubling = min(self._settings.backoff_s * 2.0**attempt, self._settings.max_backoff_s)
        try:
            return max(0.0, float(asked))
        except ValueError:
            pass
        try:
            return max(0.0, (parsedate_to_datetime(asked) - self._now()).total_seconds())
        except (ValueError, TypeError):  # no or an unreadable date
            return doubling


def _reason(exc: Exception) -> str:
    text = " ".join(mask(str(exc)).split())
    return f"{type(exc).__name__}: {text[:EXCERPT]}"


def _excerpt(answer: _Answer) -> str:
    text = " ".join(answer.text[: EXCERPT * 2].split())
    return mask(text)[:EXCERPT] or "empty"
