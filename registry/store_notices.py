"""Notices in the store: what people were told, and how each delivery stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlite_utils import Database

from registry.errors import NotFound
from registry.events import ChangeFound
from registry.models import DeliveryRecord, DeliveryStatus, Notice
from registry.store_base import StoreBase, text_of
from registry.store_times import note_led_by
from registry.values import utc_text

_RECORD = "SELECT d.notice_id, d.target, d.status, d.attempts, d.error, d.not_before, d.delivered"


class Notices(StoreBase):
    """The part of the store that knows what people were told."""

    def told(self, area_id: str) -> Mapping[str, Notice]:
        """The latest notice of each thread of the area."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT thread, content FROM notices WHERE num IN"
                " (SELECT max(num) FROM notices WHERE area_id = ? GROUP BY thread)",
                [area_id],
            )
            return {thread: Notice.model_validate_json(content) for thread, content in rows}

    def add_notices(
        self,
        notices: Sequence[Notice],
        targets: Sequence[str] | Mapping[str, Sequence[str]],
        *,
        led_by: ChangeFound | None = None,
    ) -> int:
        """Record notices, and a pending delivery of each to its targets; how many were new.

        ``targets`` are the same for all, or those of each notice id. A notice that was recorded before
        (its id names the step from what was told to what is told) changes nothing, whatever the targets.
        ``led_by`` is the change they tell of, for the ledger of latencies.
        """
        added = 0
        with self._writing() as db:
            for notice in notices:
                if _insert_notice(db, notice):
                    added += 1
                    wanted = targets.get(notice.id, ()) if isinstance(targets, Mapping) else targets
                    _insert_deliveries(db, notice.id, wanted)
                    if led_by is not None:
                        note_led_by(db, notice.id, led_by)
        return added

    def notice(self, notice_id: str) -> Notice:
        """Raises NotFound."""
        with self._reading() as db:
            row = db.execute("SELECT content FROM notices WHERE id = ?", [notice_id]).fetchone()
        if row is None:
            raise NotFound(f"notice {notice_id} does not exist")
        return Notice.model_validate_json(row[0])

    def notices(self, incident_id: str | None = None) -> tuple[Notice, ...]:
        """All notices, oldest first, or those of one incident's thread."""
        with self._reading() as db:
            thread = None if incident_id is None else _thread_of(db, incident_id)
            rows = db.execute(
                "SELECT content FROM notices WHERE thread = coalesce(?, thread) ORDER BY num", [thread]
            )
            return tuple(Notice.model_validate_json(row[0]) for row in rows)

    def due_deliveries(self, now: datetime) -> tuple[DeliveryRecord, ...]:
        """Pending deliveries whose time has come, oldest notice first.

        One that would overtake an earlier notice of its thread to the same target waits for that.
        """
        with self._reading() as db:
            rows = db.execute(
                f"{_RECORD} FROM deliveries d JOIN notices n ON n.id = d.notice_id"
                " WHERE d.status = 'pending' AND coalesce(d.not_before, '') <= :now AND NOT EXISTS"
                " (SELECT 1 FROM notices e JOIN deliveries w ON w.notice_id = e.id"
                " WHERE e.thread = n.thread AND e.num < n.num AND w.target = d.target"
                " AND w.status = 'pending' AND w.not_before > :now)"
                " ORDER BY n.num, d.target",
                {"now": utc_text(now)},
            )
            return _records(rows)

    def claim_delivery(self, record: DeliveryRecord, *, until: datetime) -> bool:
        """Take a due delivery for this process; False where another took it or it was settled.

        Counts as an attempt; the delivery becomes due again at ``until`` if nothing is recorded.
        """
        with self._writing() as db:
            taken = db.execute(
                "UPDATE deliveries SET attempts = attempts + 1, not_before = ?"
                " WHERE notice_id = ? AND target = ? AND attempts = ? AND status = 'pending'",
                [utc_text(until), record.notice_id, record.target, record.attempts],
            )
            return taken.rowcount == 1

    def record_delivery(self, record: DeliveryRecord) -> None:
        """Write down how a delivery stands; what was delivered stays delivered. Raises NotFound."""
        with self._writing() as db:
            known = db.execute(
                "SELECT 1 FROM deliveries WHERE notice_id = ? AND target = ?",
                [record.notice_id, record.target],
            ).fetchone()
            if known is None:
                raise NotFound(f"notice {record.notice_id} has no delivery to {record.target}")
            db.execute(
                "UPDATE deliveries SET status = :status, attempts = :attempts, error = :error,"
                " not_before = :not_before, delivered = :delivered"
                " WHERE notice_id = :notice_id AND target = :target AND status <> 'delivered'",
                record.model_dump(mode="json"),
            )

    def failed_deliveries(self) -> tuple[DeliveryRecord, ...]:
        """Deliveries that were given up, oldest notice first."""
        return tuple(one for one in self.deliveries() if one.status is DeliveryStatus.FAILED)

    def revive_delivery(self, record: DeliveryRecord) -> None:
        """Make a failed delivery due again, its attempts forgotten. Raises NotFound."""
        with self._writing() as db:
            revived = db.execute(
                "UPDATE deliveries SET status = 'pending', attempts = 0, not_before = NULL"
                " WHERE notice_id = ? AND target = ? AND status = 'failed'",
                [record.notice_id, record.target],
            )
            if revived.rowcount == 0:
                raise NotFound(f"no failed delivery of notice {record.notice_id} to {record.target}")

    def deliveries(self, notice_id: str | None = None) -> tuple[DeliveryRecord, ...]:
        """Deliveries of one notice or all, oldest notice first."""
        with self._reading() as db:
            rows = db.execute(
                f"{_RECORD} FROM deliveries d JOIN notices n ON n.id = d.notice_id"
                " WHERE n.id = coalesce(?, n.id) ORDER BY n.num, d.target",
                [notice_id],
            )
            return _records(rows)


def _insert_notice(db: Database, notice: Notice) -> bool:
    record = {
        "id": notice.id,
        "area_id": notice.incident.area_id,
        "thread": _thread_of(db, notice.incident.id),
        "kind": notice.kind,
        "revision": notice.incident.revision,
        "content": text_of(notice, f"notice {notice.id}"),
    }
    added = db.execute(
        "INSERT INTO notices (id, area_id, thread, kind, revision, content)"
        " VALUES (:id, :area_id, :thread, :kind, :revision, :content) ON CONFLICT DO NOTHING",
        record,
    )
    return added.rowcount == 1


def _insert_deliveries(db: Database, notice_id: str, targets: Iterable[str]) -> None:
    db.conn.executemany(
        "INSERT INTO deliveries (notice_id, target, status, attempts, error)"
        " VALUES (?, ?, 'pending', 0, '') ON CONFLICT DO NOTHING",
        [(notice_id, target) for target in targets],
    )


def _thread_of(db: Database, incident_id: str) -> str:
    """An incident that was never mirrored is its own thread."""
    row = db.execute("SELECT thread FROM incidents WHERE id = ?", [incident_id]).fetchone()
    return incident_id if row is None else str(row[0])


def _records(rows: Iterable[tuple[Any, ...]]) -> tuple[DeliveryRecord, ...]:
    return tuple(
        DeliveryRecord.model_validate(dict(zip(DeliveryRecord.model_fields, row, strict=True)))
        for row in rows
    )
