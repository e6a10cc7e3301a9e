"""When a pass was sensed, published, seen, inferred, and when people were told: the ledger of latencies."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlite_utils import Database

from registry.bus import Lane
from registry.events import ChangeFound
from registry.models import Pass
from registry.store_base import StoreBase
from registry.stored import Flow, Times
from registry.values import utc_text

_COLUMNS = "p.area_id, p.pass_id, p.revision, t.lane, p.acquired, t.published, t.seen, t.inferred"
_PASSES = (
    "FROM pass_times t JOIN passes p"
    " ON p.area_id = t.area_id AND p.pass_id = t.pass_id AND p.revision = t.revision"
)
_NOTICES = (
    " {join} notice_times w ON w.area_id = t.area_id AND w.pass_id = t.pass_id AND w.revision = t.revision"
    " {join} notices n ON n.id = w.notice_id LEFT JOIN deliveries d ON d.notice_id = n.id"
)
_CREATED = "json_extract(n.content, '$.created')"


class Latencies(StoreBase):
    """The part of the store that knows how long things took."""

    def note_inferred(self, change: ChangeFound, *, at: datetime) -> None:
        """A detector published what the change's pass led to; the first time counts."""
        with self._writing() as db:
            db.execute(
                "UPDATE pass_times SET inferred = ?"
                " WHERE area_id = ? AND pass_id = ? AND revision = ? AND inferred IS NULL",
                [utc_text(at), change.area.id, change.pass_id, change.pass_revision],
            )

    def times(self, area_id: str | None = None, *, limit: int = 50) -> tuple[Times, ...]:
        """The passes seen last, newest first; ``confirmed`` and ``delivered`` are of the first notice."""
        with self._reading() as db:
            rows = db.execute(
                f"SELECT {_COLUMNS}, NULL, NULL, min({_CREATED}), min(d.delivered) {_PASSES}"
                f"{_NOTICES.format(join='LEFT JOIN')} WHERE t.area_id = coalesce(:area, t.area_id)"
                " GROUP BY t.area_id, t.pass_id, t.revision"
                " ORDER BY t.seen DESC, p.acquired DESC LIMIT :limit",
                {"area": area_id, "limit": limit},
            )
            return _times(rows)

    def notice_times(self, notice_id: str) -> tuple[Times, ...]:
        """One for each target of the notice; none where no pass led to it (a change of permits)."""
        with self._reading() as db:
            rows = db.execute(
                f"SELECT {_COLUMNS}, n.kind, d.target, {_CREATED}, d.delivered {_PASSES}"
                f"{_NOTICES.format(join='JOIN')} WHERE n.id = ? ORDER BY d.target",
                [notice_id],
            )
            return _times(rows)

    def flow(self, since: datetime) -> Flow:
        """How many passes came and how many were worked off since then."""
        with self._reading() as db:
            seen, inferred = db.execute(
                "SELECT count(CASE WHEN seen >= :since THEN 1 END),"
                " count(CASE WHEN inferred >= :since THEN 1 END) FROM pass_times"
                " WHERE seen >= :since OR inferred >= :since",
                {"since": utc_text(since)},
            ).fetchone()
        return Flow(seen=seen, inferred=inferred)


def note_seen(db: Database, one: Pass, *, at: datetime, lane: Lane) -> None:
    """Ingest recorded this revision of a pass; the first time counts."""
    db.execute(
        "INSERT INTO pass_times (area_id, pass_id, revision, lane, published, seen)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [
            one.area_id,
            one.id,
            one.revision,
            lane.value,
            utc_text(one.published) if one.published else None,
            utc_text(at),
        ],
    )


def note_led_by(db: Database, notice_id: str, change: ChangeFound) -> None:
    """The change's pass led to this notice."""
    if change.pass_id is not None:
        db.execute(
            "INSERT INTO notice_times (notice_id, area_id, pass_id, revision) VALUES (?, ?, ?, ?)",
            [notice_id, change.area.id, change.pass_id, change.pass_revision],
        )


def _times(rows: Iterable[tuple[Any, ...]]) -> tuple[Times, ...]:
    return tuple(Times.model_validate(dict(zip(Times.model_fields, row, strict=True))) for row in rows)
