"""Incidents in the store: a mirror of each area's list, and what people say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from registry.errors import InputError, NotFound
from registry.events import ChangeFound
from registry.models import Incident, IncidentStatus, Review
from registry.store_base import StoreBase, text_of
from registry.stored import StoredIncident
from registry.threads import successors
from registry.values import digest, stable_id, utc_text

_STORED = (
    "SELECT i.content, i.thread, i.gone, i.successor, i.updated, r.review, r.reason, r.by FROM incidents i"
    " LEFT JOIN reviews r ON r.num = (SELECT max(num) FROM reviews WHERE thread = i.thread)"
)


@dataclass(frozen=True)
class _Row:
    """An incident as it was mirrored before."""

    id: str
    thread: str
    gone: bool
    content: str

    @property
    def incident(self) -> Incident:
        return Incident.model_validate_json(self.content)


class Incidents(StoreBase):
    """The part of the store that people look at."""

    def mirror(self, change: ChangeFound) -> None:
        """Make the stored incidents of the area those of ``change``; call it in the bus's order.

        Incidents that are not in the list any more become gone. One that was renamed keeps its
        thread, and with it its review. A change that was mirrored before is ignored.
        """
        now = utc_text(self._now())
        with self._writing() as db:
            if _is_first(db, change, now):
                rows = _rows(db, change.area.id)
                renamed = _renamed(change, rows)
                _write_list(db, change, rows, _threads(change, rows, renamed), now)
                _write_gone(db, change, rows, renamed, now)

    def incidents(
        self,
        area_id: str | None = None,
        status: IncidentStatus | None = None,
        include_gone: bool = False,
    ) -> tuple[StoredIncident, ...]:
        """Incidents by area, first seen, id."""
        with self._reading() as db:
            found = [
                _stored(row)
                for row in db.execute(
                    f"{_STORED} WHERE i.area_id = coalesce(:area, i.area_id)"
                    " AND i.status = coalesce(:status, i.status) AND i.gone <= :gone",
                    {"area": area_id, "status": status, "gone": int(include_gone)},
                )
            ]
        return tuple(sorted(found, key=_order))

    def incident(self, incident_id: str) -> StoredIncident:
        """By id or the beginning of one. Raises NotFound, InputError where several begin so."""
        with self._reading() as db:
            return _one(db, incident_id)

    def set_review(self, incident_id: str, review: Review, reason: str, by: str) -> StoredIncident:
        """Write down what a person says; earlier reviews are kept. Raises as ``incident`` does."""
        with self._writing() as db:
            found = _one(db, incident_id)
            db.table("reviews").insert(
                {
                    "thread": found.thread,
                    "review": review,
                    "reason": reason,
                    "by": by,
                    "at": utc_text(self._now()),
                }
            )
            return _one(db, found.incident.id)


def _is_first(db: Database, change: ChangeFound, now: str) -> bool:
    """Whether this very change was not mirrored before; remembers it."""
    added = db.execute(
        "INSERT INTO changes (digest, area_id, mirrored) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [digest(change), change.area.id, now],
    )
    return added.rowcount == 1


def _rows(db: Database, area_id: str) -> Mapping[str, _Row]:
    rows = db.execute("SELECT id, thread, gone, content FROM incidents WHERE area_id = ?", [area_id])
    return {id_: _Row(id_, thread, bool(gone), content) for id_, thread, gone, content in rows}


def _write_list(
    db: Database, change: ChangeFound, rows: Mapping[str, _Row], threads: Mapping[str, str], now: str
) -> None:
    for incident in change.incidents:
        content, row = text_of(incident, f"incident {incident.id}"), rows.get(incident.id)
        if row is None or row.gone or row.content != content:
            record = {
                "id": incident.id,
                "area_id": change.area.id,
                "status": incident.status,
                "thread": threads[incident.id],
                "gone": 0,
                "successor": None,
                "updated": now,
                "content": content,
            }
            db.table("incidents", pk="id").upsert(record)


def _write_gone(
    db: Database, change: ChangeFound, rows: Mapping[str, _Row], renamed: Mapping[str, str], now: str
) -> None:
    absorbed = {old: incident.id for incident in change.incidents for old in incident.absorbed}
    for row in _vanished(change, rows):
        db.execute(
            "UPDATE incidents SET gone = 1, successor = ?, updated = ? WHERE id = ?",
            [renamed.get(row.id, absorbed.get(row.id)), now, row.id],
        )


def _vanished(change: ChangeFound, rows: Mapping[str, _Row]) -> list[_Row]:
    listed = {incident.id for incident in change.incidents}
    return [row for row in rows.values() if not row.gone and row.id not in listed]


def _appeared(change: ChangeFound, rows: Mapping[str, _Row]) -> list[Incident]:
    return [one for one in change.incidents if one.id not in rows or rows[one.id].gone]


def _renamed(change: ChangeFound, rows: Mapping[str, _Row]) -> Mapping[str, str]:
    return successors([row.incident for row in _vanished(change, rows)], _appeared(change, rows))


def _threads(change: ChangeFound, rows: Mapping[str, _Row], renamed: Mapping[str, str]) -> Mapping[str, str]:
    """Incident id -> thread, for the whole list; no two share one."""
    threads = {one.id: rows[one.id].thread for one in change.incidents if one.id in rows}
    back = {id_: threads.pop(id_) for id_ in list(threads) if rows[id_].gone}
    threads |= {new: rows[old].thread for old, new in renamed.items()}
    taken = set(threads.values())
    for one in _appeared(change, rows):
        if one.id not in threads:
            thread = back.get(one.id, one.id)
            # It came back while another incident had gone on with its thread: that one keeps it.
            threads[one.id] = stable_id("thread", one.id, digest(change)) if thread in taken else thread
            taken.add(threads[one.id])
    return threads


def _one(db: Database, prefix: str) -> StoredIncident:
    rows = db.execute(
        f"{_STORED} WHERE substr(i.id, 1, length(:prefix)) = :prefix ORDER BY i.id LIMIT 2",
        {"prefix": prefix},
    ).fetchall()
    if not rows:
        raise NotFound(f"incident {prefix!r} does not exist; list them with: groundwatch incidents")
    found = [_stored(row) for row in rows]
    if len(found) > 1 and found[0].incident.id != prefix:
        raise InputError(
            f"incident {prefix!r} could be {found[0].incident.id} or others; give more of its id"
        )
    return found[0]


def _stored(row: tuple[Any, ...]) -> StoredIncident:
    content, thread, gone, successor, updated, review, reason, by = row
    return StoredIncident(
        incident=Incident.model_validate_json(content),
        review=review or Review.OPEN,
        review_reason=reason or "",
        review_by=by or "",
        gone=bool(gone),
        successor=successor,
        thread=thread,
        updated=updated,
    )


def _order(one: StoredIncident) -> tuple[str, str, str]:
    return (one.incident.area_id, one.incident.first_seen.isoformat(), one.incident.id)
