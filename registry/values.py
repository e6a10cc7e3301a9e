"""The base of every value that is stored or sent: frozen, closed, and with one canonical form."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer

NAMESPACE = uuid.UUID("6f7c1f0e-61f5-5d2c-9f0c-0d3c6a1b7e55")
"""Namespace of every uuid5 made here."""


class Value(BaseModel):
    """Frozen; unknown fields, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)


KeyPath = tuple[str | int, ...]
"""Where a value stands in another: ("detection", "evidence", "floor")."""


class WrongAt(ValueError):
    """A mistake that only the values beside it show; ``path`` leads to it from what is being validated."""

    def __init__(self, path: KeyPath, problem: str) -> None:
        super().__init__(problem)
        self.path = path


def canonical_json(value: Value | dict[str, Any] | list[Any]) -> bytes:
    """The one byte form of a value: sorted keys, no spaces, UTF-8, no NaN."""
    plain = value.model_dump(mode="json") if isinstance(value, Value) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.encode()


def digest(value: Value | dict[str, Any] | list[Any]) -> str:
    """SHA-256 of the canonical form, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def stable_id(*parts: object) -> str:
    """A uuid5 of what the id stands for, so that making it again changes nothing."""
    return str(uuid.uuid5(NAMESPACE, json.dumps([str(part) for part in parts])))


def _as_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; write it with one, such as Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError(f"{moment.isoformat()} lies outside the years 1 to 9999 in UTC; mend it") from exc


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds, so that text order is time order."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


UtcDatetime = Annotated[
    datetime, AfterValidator(_as_utc), PlainSerializer(utc_text, return_type=str, when_used="json")
]
"""A moment with a time zone, held in UTC, written so that text order is time order."""
