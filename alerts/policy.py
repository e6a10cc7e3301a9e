"""Who is told of what, and when. Pure: incidents and what people were told go in, notices come out.

The rule, by what people were last told of the incident's thread:

    never told        confirmed and not dismissed            -> confirmed
    told              gone, or cleared by later looks        -> withdrawn
    told              reclaimed                              -> reclaimed
    told              confirmed, new revision, larger        -> grown (tells a new verdict too)
    told              confirmed, other verdict case          -> corrected
    told withdrawn or reclaimed, confirmed again             -> confirmed, not repeated at the same revision
    dismissed         only growth is told
    provisional       nothing, ever

What counts as growth is decided once, by the detector (``detection.objects.growth_min_*``): it raises
the incident's revision. Here growth is measured against what people were told, not against the last
revision, so that no step is told twice and none is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from registry.models import (
    Area,
    Incident,
    IncidentStatus,
    Notice,
    NoticeKind,
    Review,
    VerdictCase,
)
from registry.settings import AlertSettings, RouteSettings
from registry.stored import StoredIncident
from registry.values import UtcDatetime, stable_id

CLOSING = frozenset({NoticeKind.WITHDRAWN, NoticeKind.RECLAIMED})
"""Kinds that end a thread: they go to those who heard its beginning, and to nobody else."""


def decide(
    incidents: Iterable[StoredIncident], told: Mapping[str, Notice], *, area: Area, now: UtcDatetime
) -> tuple[Notice, ...]:
    """The notices that are due. ``told`` holds the latest notice of each thread.

    Deciding again after the notices were recorded gives nothing.
    """
    by_id = {stored.incident.id: stored for stored in incidents}
    found = []
    for stored in _one_per_thread(by_id):
        last = told.get(stored.thread)
        kind = _kind(stored, last)
        if kind is not None:
            found.append(_notice(kind, stored.incident, last, area=area, now=now))
    return tuple(found)


def _one_per_thread(by_id: Mapping[str, StoredIncident]) -> Iterable[StoredIncident]:
    """Each thread's living incident, else the last one that stood for it.

    One that was merged into another, or renamed by a re-fold, is silent as long as that one stands.
    """
    standing: dict[str, StoredIncident] = {}
    for stored in by_id.values():
        rival = standing.get(stored.thread)
        if rival is None or (stored.gone, rival.updated) < (rival.gone, stored.updated):
            standing[stored.thread] = stored
    return [one for one in standing.values() if not (one.gone and _stands_on(one, by_id))]


def _stands_on(stored: StoredIncident, by_id: Mapping[str, StoredIncident]) -> bool:
    """Whether what continues a gone incident stands."""
    passed = {stored.incident.id}
    while stored.gone:
        following = by_id.get(stored.successor or "")
        if following is None or following.incident.id in passed:
            return False
        stored = following
        passed.add(stored.incident.id)
    return stored.incident.status is not IncidentStatus.CLEARED


def targets_of(
    notice: Notice, area: Area, rules: AlertSettings, *, told_before: Collection[str]
) -> tuple[str, ...]:
    """Names of the targets that get ``notice``, sorted. ``told_before`` are those its thread went to.

    Whoever heard of an incident hears what becomes of it, whatever the routes say now.
    """
    reached = set(told_before) & set(rules.targets)
    if notice.kind not in CLOSING:
        reached |= _routed(notice, area, rules)
    return tuple(sorted(reached))


def _kind(stored: StoredIncident, last: Notice | None) -> NoticeKind | None:
    kind = _first(stored) if last is None else _next(stored, last)
    if stored.review is Review.DISMISSED and kind is not NoticeKind.GROWN:
        return None
    return kind


def _first(stored: StoredIncident) -> NoticeKind | None:
    confirmed = not stored.gone and stored.incident.status is IncidentStatus.CONFIRMED
    return NoticeKind.CONFIRMED if confirmed else None


def _next(stored: StoredIncident, last: Notice) -> NoticeKind | None:
    incident = stored.incident
    if stored.gone or incident.status is IncidentStatus.CLEARED:
        return None if last.kind is NoticeKind.WITHDRAWN else NoticeKind.WITHDRAWN
    if incident.status is IncidentStatus.RECLAIMED:
        return None if last.kind in CLOSING else NoticeKind.RECLAIMED
    if incident.status is not IncidentStatus.CONFIRMED:
        return None
    if last.kind in CLOSING:
        return NoticeKind.CONFIRMED
    return _change(incident, last.incident)


def _change(incident: Incident, known: Incident) -> NoticeKind | None:
    if incident.revision > known.revision and incident.hectares > known.hectares:
        return NoticeKind.GROWN
    return NoticeKind.CORRECTED if _case(incident) != _case(known) else None


def _case(incident: Incident) -> VerdictCase | None:
    return incident.verdict.case if incident.verdict else None


def _notice(
    kind: NoticeKind, incident: Incident, last: Notice | None, *, area: Area, now: UtcDatetime
) -> Notice:
    return Notice(
        id=notice_id(kind, incident, last),
        kind=kind,
        incident=incident,
        area_name=area.name,
        area_kind=area.kind,
        previous_hectares=last.incident.hectares if last else None,
        created=now,
    )


def notice_id(kind: NoticeKind, incident: Incident, last: Notice | None) -> str:
    """Names the step from what was told to what is told: the same step has the same id for ever.

    A verdict may turn back and forth while the revision stays, so the step, and not the revision
    alone, makes the id.
    """
    return stable_id("notice", incident.id, kind, incident.revision, last.id if last else "")


def _routed(notice: Notice, area: Area, rules: AlertSettings) -> set[str]:
    if not rules.routes:
        return set(rules.targets)
    return {name for route in rules.routes if _fits(route, notice, area) for name in route.targets}


def _fits(route: RouteSettings, notice: Notice, area: Area) -> bool:
    incident = notice.incident
    suspect = incident.verdict is not None and incident.verdict.suspect
    return (
        _any_or(route.kinds, notice.kind)
        and _any_or(route.changes, incident.kind)
        and _any_or(route.cases, _case(incident))
        and _any_or(route.areas, area.id)
        and (not route.tags or not set(route.tags).isdisjoint(area.tags))
        and incident.hectares >= route.min_hectares
        and (suspect or not route.suspects_only)
        and _shows(route.components, incident)
    )


def _shows(wanted: Collection[str], incident: Incident) -> bool:
    """Whether the ground shows a wanted component, or nobody could look yet."""
    seen = incident.components
    return not wanted or seen is None or any(one.component in wanted for one in seen.shares)


def _any_or(allowed: Collection[object], found: object) -> bool:
    return not allowed or found in allowed
