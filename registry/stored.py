"""What the store gives back beyond the nouns of models.py. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import Field

from registry.bus import Lane
from registry.models import Incident, IncidentStatus, NoticeKind, Review
from registry.values import UtcDatetime, Value


class ImportCounts(Value):
    """What an import did, in rows."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0


class Issued(NamedTuple):
    """The PassFound that was last issued for a pass."""

    revision: int
    partner_id: str | None
    partner_revision: int | None
    settings_digest: str
    """Empty where the area's outline changed since: the pass wants issuing again."""


class Times(Value):
    """When one revision of a pass, or a notice that it led to, got how far; null = not yet, or not known."""

    area_id: str
    pass_id: str
    revision: int
    lane: Lane
    sensed: UtcDatetime
    """When the satellite took it."""
    published: UtcDatetime | None
    """When the provider put the newest of its scenes there, as far as its items say."""
    seen: UtcDatetime
    """When ingest recorded it and its event."""
    inferred: UtcDatetime | None
    """When a detector published what it led to."""
    notice: NoticeKind | None
    target: str | None
    confirmed: UtcDatetime | None
    """When it was decided that people are to be told."""
    delivered: UtcDatetime | None
    """When the target took the message."""


class Flow(Value):
    """Passes over some time."""

    seen: int
    """Came in, each revision counted."""
    inferred: int
    """Were worked off."""


class StoredIncident(Value):
    """An incident as the satellites see it, with what people say of it."""

    incident: Incident
    review: Review = Review.OPEN
    review_reason: str = ""
    review_by: str = ""
    gone: bool = False
    """True = no longer in its area's list; people who were told get a withdrawal, unless it has a
    successor."""
    successor: str | None = None
    """Id of the incident that continues a gone one: it grew into that, or a re-fold renamed it."""
    thread: str
    """What notices hang on; survives a re-fold that renames the incident."""
    updated: UtcDatetime
    """When the store last saw it change."""


class StoreStatus(Value):
    """Counts for ``groundwatch status``."""

    areas: int
    permits: int
    zones: int
    passes: int
    """Passes in their newest revision, without those withdrawn."""
    incidents: Mapping[IncidentStatus, int] = Field(default_factory=dict)
    """Without those gone."""
    notices: int
    pending_deliveries: int
    failed_deliveries: int
    last_pass: Mapping[str, UtcDatetime | None] = Field(default_factory=dict)
    """Newest acquisition of each area, withdrawn ones aside; null = none yet."""
    revisit_days: Mapping[str, float] = Field(default_factory=dict)
    """Mean days between the last acquisitions of each area; without those that have few of late."""
