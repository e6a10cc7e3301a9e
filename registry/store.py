"""The registry's store: one SQLite file with areas, permits, zones, passes, incidents and notices.

One public method is one transaction. Any number of processes on one host may open the file; the
local bus keeps its table in it too, so that a pass and its event are recorded together or not at
all. The parts are in store_places, store_passes, store_incidents, store_notices and store_times.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlite_utils import Database

from registry.store_incidents import Incidents
from registry.store_notices import Notices
from registry.store_passes import Passes
from registry.store_places import Places
from registry.store_times import Latencies
from registry.stored import ImportCounts, Issued, StoredIncident, StoreStatus
from registry.values import utc_text

__all__ = ["ImportCounts", "Issued", "Store", "StoreStatus", "StoredIncident", "open_store"]


class Store(Places, Passes, Incidents, Notices, Latencies):
    """The whole store; a context manager that closes it."""

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def status(self) -> StoreStatus:
        """Counts over everything."""
        with self._reading() as db:
            return StoreStatus(
                areas=_count(db, "areas"),
                permits=_count(db, "permits"),
                zones=_count(db, "zones"),
                passes=_count(db, "newest_passes"),
                incidents=_incidents_by_status(db),
                notices=_count(db, "notices"),
                pending_deliveries=_count(db, "deliveries WHERE status = 'pending'"),
                failed_deliveries=_count(db, "deliveries WHERE status = 'failed'"),
                last_pass=_last_passes(db),
                revisit_days=_revisits(db, since=self._now() - REVISIT_SEEN),
            )


REVISIT_SEEN = timedelta(days=60)
"""How far back an area's revisit is measured."""
REVISIT_PASSES = 4
"""Passes within that time from which on there is one."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def open_store(path: str | Path, *, now: Callable[[], datetime] = _utc_now) -> Store:
    """Open or create the file and bring its tables up to date.

    Raises ConfigError where it cannot be used (read-only, not a database, written by a newer
    groundwatch) and Retry where the disk is full or others hold it too long.
    """
    return Store(path, now=now)


def _count(db: Database, what: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def _incidents_by_status(db: Database) -> dict[str, int]:
    return dict(
        db.execute("SELECT status, count(*) FROM incidents WHERE gone = 0 GROUP BY status").fetchall()
    )


def _last_passes(db: Database) -> dict[str, str | None]:
    return dict(
        db.execute(
            "SELECT a.id, max(p.acquired) FROM areas a LEFT JOIN newest_passes p"
            " ON p.area_id = a.id GROUP BY a.id ORDER BY a.id"
        ).fetchall()
    )


def _revisits(db: Database, *, since: datetime) -> dict[str, float]:
    days = "(julianday(max(acquired)) - julianday(min(acquired))) / (count(*) - 1)"
    return dict(
        db.execute(
            f"SELECT area_id, {days} FROM newest_passes WHERE acquired >= ?"
            " GROUP BY area_id HAVING count(*) >= ?",
            [utc_text(since), REVISIT_PASSES],
        ).fetchall()
    )
