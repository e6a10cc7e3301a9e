"""Incidents against the truth: what was found, how large, how late, with which verdict. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import shapely
from shapely.geometry.base import BaseGeometry

from registry.geometry import hectares
from registry.models import Incident, IncidentStatus, VerdictCase
from simulator.truth import TruthEvent

MIN_OVERLAP = 0.2
"""An incident and an event are the same where they share this much of the smaller one."""

COUNTED = frozenset({IncidentStatus.CONFIRMED, IncidentStatus.RECLAIMED})
"""Only what was told to people is scored."""

_SEVERITY = {case: rank for rank, case in enumerate(VerdictCase)}


@dataclass(frozen=True)
class Row:
    """One event of the truth and what was reported of it."""

    event: TruthEvent
    incidents: tuple[Incident, ...]
    """Incidents of the event's kind at its place, earliest confirmation first; empty = missed."""
    hectares: float
    """Reported area, pieces united."""
    truth_hectares: float
    """True area on the day of the newest look that the report rests on; the final one where missed."""
    overlap: float
    """Intersection over union of the report and the truth of that day."""
    delay_days: int | None
    """From the event's first day to its first confirmation; null where missed."""

    @property
    def hit(self) -> bool:
        """True where it was reported."""
        return bool(self.incidents)

    @property
    def verdict(self) -> VerdictCase | None:
        """The most severe verdict among the report's pieces."""
        cases = [one.verdict.case for one in self.incidents if one.verdict is not None]
        return min(cases, key=_SEVERITY.__getitem__, default=None)

    @property
    def verdict_right(self) -> bool:
        """True where that is the expected one."""
        return self.verdict == self.event.expected

    @property
    def error_ha(self) -> float:
        """Reported minus true hectares."""
        return self.hectares - self.truth_hectares


@dataclass(frozen=True)
class Score:
    """A whole run against the truth."""

    rows: tuple[Row, ...]
    """One per event."""
    also_true: tuple[Incident, ...]
    """Right place, another kind that is true there as well."""
    false_alarms: tuple[Incident, ...]
    """Nothing of the kind happened there."""

    @property
    def found(self) -> int:
        """Events that were reported."""
        return sum(row.hit for row in self.rows)

    @property
    def verdicts_right(self) -> int:
        """Events reported with the expected verdict."""
        return sum(row.verdict_right for row in self.rows)

    @property
    def hectares_error(self) -> float | None:
        """Mean absolute error of the reported area as a share of the true area; null where none was found."""
        errors = [abs(row.error_ha) / row.truth_hectares for row in self.rows if row.hit]
        return sum(errors) / len(errors) if errors else None

    @property
    def delays(self) -> tuple[int, ...]:
        """Days to confirmation of the events that were found, sorted."""
        return tuple(sorted(row.delay_days for row in self.rows if row.delay_days is not None))


def match(incidents: Sequence[Incident], truth: Sequence[TruthEvent]) -> Score:
    """Match by overlap. An incident can answer for several events; an event can have several pieces."""
    counted = [one for one in incidents if one.status in COUNTED]
    rows = tuple(_row(event, counted) for event in truth)
    used = {one.id for row in rows for one in row.incidents}
    rest = [one for one in counted if one.id not in used]
    also = tuple(one for one in rest if any(_also(one, event) for event in truth))
    known = {one.id for one in also}
    return Score(rows=rows, also_true=also, false_alarms=tuple(one for one in rest if one.id not in known))


def _also(incident: Incident, event: TruthEvent) -> bool:
    kinds = (event.kind, *event.also)
    return incident.kind in kinds and same_place(incident.footprint, event.footprint)


def same_place(one: BaseGeometry, other: BaseGeometry) -> bool:
    """True where two outlines share MIN_OVERLAP of the smaller one."""
    shared = one.intersection(other).area
    return bool(shared >= MIN_OVERLAP * min(one.area, other.area))


def _row(event: TruthEvent, incidents: Sequence[Incident]) -> Row:
    found = [
        one for one in incidents if one.kind is event.kind and same_place(one.footprint, event.footprint)
    ]
    found.sort(key=lambda one: (one.confirmed_on or one.last_seen, one.id))
    if not found:
        return Row(event, (), 0.0, event.hectares, 0.0, None)
    reported = shapely.union_all([one.footprint for one in found])
    step = event.at(max(one.last_seen for one in found)) or event.steps[0]
    confirmed = [one.confirmed_on for one in found if one.confirmed_on is not None]
    shared = reported.intersection(step.geometry).area
    return Row(
        event=event,
        incidents=tuple(found),
        hectares=hectares(reported),
        truth_hectares=step.hectares,
        overlap=shared / reported.union(step.geometry).area,
        delay_days=(min(confirmed) - event.started).days if confirmed else None,
    )


def largest_told(incident: Incident) -> float:
    """Most hectares that people were told of; a reclaimed incident has shrunk since."""
    return max((step.hectares for step in incident.growth), default=incident.hectares)


HEADER = ("event", "found", "ha", "true ha", "overlap", "days", "verdict", "expected", "right")
"""Column titles of ``table``."""


def table(score: Score) -> tuple[tuple[str, ...], ...]:
    """The rows for a terminal: events first, then false alarms."""
    rows = [_cells(row) for row in score.rows]
    for one in score.false_alarms:
        case = str(one.verdict.case) if one.verdict else "-"
        fate = ", taken back" if one.status is IncidentStatus.RECLAIMED else ""
        name = f"false alarm {one.id[:8]} ({one.kind}{fate})"
        rows.append((name, "-", f"{largest_told(one):.2f}", "0.00", *"--", case, *"--"))
    return tuple(rows)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.event.name,
        "yes" if row.hit else "MISSED",
        f"{row.hectares:.2f}",
        f"{row.truth_hectares:.2f}",
        f"{row.overlap:.2f}" if row.hit else "-",
        "-" if row.delay_days is None else str(row.delay_days),
        str(row.verdict or "-"),
        str(row.event.expected),
        ("yes" if row.verdict_right else "NO") if row.hit else "-",
    )
