"""What an S3 service answers, as errors of ours: one line, no signature, no query, no key.

The client's messages carry the request's address and the whole answer; only the status, the service's
own code and the kind of broken connection are taken out of them.
"""

from __future__ import annotations

import re

from registry.errors import ConfigError, GroundwatchError, NotFound, Retry

_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>\s*([A-Za-z0-9.]{1,60})\s*</Code>")
_ASKED = re.compile(r"Error performing [A-Z]+ (\S+) in ")
_ROLE = ("//169.254.", "//[fd00:ec2", "/latest/api/token", "/latest/meta-data/", "Action=AssumeRole")
"""Marks of a request for the machine's own credentials rather than for a blob."""

_REMEDIES = {
    "NoSuchBucket": "make the bucket, or correct the URL of blobs",
    "InvalidBucketName": "correct the URL of blobs",
    "AccessDenied": "give the keys the rights to get, put, delete and list there",
    "AllAccessDisabled": "give the keys the rights to get, put, delete and list there",
    "InvalidAccessKeyId": "correct s3.access_key_id",
    "SignatureDoesNotMatch": "correct s3.secret_access_key and s3.region",
    "AuthorizationHeaderMalformed": "correct s3.region",
    "PermanentRedirect": "correct s3.region and s3.endpoint",
    "ExpiredToken": "renew s3.session_token and the keys lent with it",
    "InvalidToken": "renew s3.session_token and the keys lent with it",
    "RequestTimeTooSkewed": "set the clock of this machine",
}
_PASSING = {408, 423, 425, 429}
"""Statuses below 500 that time heals."""

_CONFLICT = 409
"""Two puts met, and perhaps neither was kept."""

_BROKEN = (
    ("dns error", "the host is not known"),
    ("ConnectError(", "no connection"),
    ("kind: Connect,", "no connection"),
    ("TimedOut", "no answer in time"),
    ("Timeout", "no answer in time"),
)
_NEVER_ARRIVED = {"the host is not known", "no connection"}


class LostAnswer(Retry):
    """The request may have arrived: what it was to store may be there."""


def explain(what: str, where: str, exc: BaseException) -> GroundwatchError:
    """The error of ours for one of the client's. ``what`` is the blob, ``where`` the service, for people."""
    text = str(exc)
    asked = _ASKED.search(text)
    if asked and any(mark in asked[1] for mark in _ROLE):
        return Retry(
            f"{what}: no keys could be had from this machine's role; "
            "give s3.access_key_id and s3.secret_access_key where it has none"
        )
    status = answered(exc)
    code = _CODE.search(text)
    if status is None:
        return _broken(what, where, text)
    bodiless = "Error performing HEAD" in text
    return _answered(what, where, status, code[1] if code else "", bodiless=bodiless)


def answered(exc: BaseException) -> int | None:
    """The HTTP status in one of the client's errors; None = there was no answer."""
    status = _STATUS.search(str(exc))
    return int(status[1]) if status else None


def _answered(what: str, where: str, status: int, code: str, *, bodiless: bool) -> GroundwatchError:
    said = f"{status} {code}".strip()
    if code in _REMEDIES:
        return ConfigError(f"{what}: {where} answers {said}; {_REMEDIES[code]}")
    if status == 404 and (code == "NoSuchKey" or bodiless):
        return NotFound(f"{what} does not exist")
    if status == _CONFLICT:
        return LostAnswer(f"{what}: {where} answers {said}; it is tried again")
    if status in _PASSING or (status >= 500 and status != 501):
        return Retry(f"{what}: {where} answers {said}; it is tried again")
    if status in (401, 403):
        return ConfigError(f"{what}: {where} answers {said}; {_REMEDIES['AccessDenied']}")
    return ConfigError(f"{what}: {where} answers {said}; correct s3.endpoint, where S3 should answer")


def _broken(what: str, where: str, text: str) -> GroundwatchError:
    if "BadScheme" in text:  # the endpoint of the environment, since the settings check theirs
        return ConfigError(f"{what}: {where} has no TLS; use https://, or set s3.allow_http: true")
    if "redirect without LOCATION" in text:
        return ConfigError(f"{what}: {where} sends us elsewhere; correct s3.region and s3.endpoint")
    reason = next((said for mark, said in _BROKEN if mark in text), "the connection broke")
    kind = Retry if reason in _NEVER_ARRIVED else LostAnswer
    return kind(f"{what}: {reason} at {where}; it is tried again")
