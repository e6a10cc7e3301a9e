"""Passes in the store: what was issued, in which revision, beside the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlite_utils import Database

from registry.bus import Lane, Topic
from registry.bus.table import enqueue
from registry.errors import InputError
from registry.events import ChangeFound, Event, PassFound
from registry.models import Pass, Sensor
from registry.store_base import StoreBase, text_of
from registry.store_times import note_seen
from registry.stored import Issued
from registry.values import utc_text

_NEWEST = (
    "SELECT content FROM passes AS p WHERE area_id = :area AND revision ="
    " (SELECT max(revision) FROM passes WHERE area_id = p.area_id AND pass_id = p.pass_id)"
)


class Passes(StoreBase):
    """The part of the store that remembers passes."""

    def record_passes(self, events: Sequence[Event], *, lane: Lane = Lane.LIVE) -> int:
        """Remember passes and publish their events in one transaction; how many were new.

        Takes PassFound, and PermitsChanged, which is only published. A repeat changes nothing.
        """
        with self._writing() as db:
            for event in events:
                if isinstance(event.data, PassFound):
                    _remember(db, event.data)
                    note_seen(db, event.data.pass_, at=self._now(), lane=lane)
                elif isinstance(event.data, ChangeFound):
                    raise InputError(f"event {event.id} is a {event.type}; only detectors publish those")
            return sum(enqueue(db.conn, Topic.PASSES, event, self._now(), lane=lane) for event in events)

    def latest_pass(self, area_id: str, key: str) -> Pass | None:
        """Newest revision of the pass of this acquisition."""
        with self._reading() as db:
            row = db.execute(
                "SELECT content FROM passes WHERE area_id = ? AND key = ? ORDER BY revision DESC LIMIT 1",
                [area_id, key],
            ).fetchone()
        return None if row is None else Pass.model_validate_json(row[0])

    def passes(
        self,
        area_id: str,
        *,
        sensor: Sensor | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[Pass, ...]:
        """Newest revision of each pass by time acquired, ``since`` <= acquired < ``until``.

        Withdrawn ones are among them.
        """
        where, values = _conditions(sensor, since, until)
        with self._reading() as db:
            rows = db.execute(f"{_NEWEST}{where} ORDER BY acquired, pass_id", {"area": area_id, **values})
            return tuple(Pass.model_validate_json(row[0]) for row in rows)

    def partner(self, area_id: str, sensor: Sensor, acquired: datetime, max_age_days: float) -> Pass | None:
        """Latest pass of ``sensor`` acquired before, at most ``max_age_days``, not withdrawn."""
        where, values = _conditions(sensor, acquired - timedelta(days=max_age_days), acquired)
        sql = f"{_NEWEST}{where} AND withdrawn = 0 ORDER BY acquired DESC, pass_id LIMIT 1"
        with self._reading() as db:
            row = db.execute(sql, {"area": area_id, **values}).fetchone()
        return None if row is None else Pass.model_validate_json(row[0])

    def issued(self, area_id: str, pass_id: str) -> Issued | None:
        """What the last PassFound of this pass said; None where none was issued."""
        with self._reading() as db:
            row = db.execute(
                "SELECT revision, partner_id, partner_revision, settings_digest FROM passes"
                " WHERE area_id = ? AND pass_id = ? ORDER BY revision DESC LIMIT 1",
                [area_id, pass_id],
            ).fetchone()
        return None if row is None else Issued(*row)

    def cursor(self, name: str) -> str | None:
        """How far a catalogue was read; None at the start."""
        with self._reading() as db:
            row = db.execute("SELECT value FROM cursors WHERE name = ?", [name]).fetchone()
        return None if row is None else str(row[0])

    def set_cursor(self, name: str, value: str) -> None:
        """Remember how far a catalogue was read."""
        with self._writing() as db:
            db.table("cursors", pk="name").upsert({"name": name, "value": value})


def _conditions(
    sensor: Sensor | None, since: datetime | None, until: datetime | None
) -> tuple[str, dict[str, str]]:
    given = {
        " AND sensor = :sensor": ("sensor", sensor),
        " AND acquired >= :since": ("since", since and utc_text(since)),
        " AND acquired < :until": ("until", until and utc_text(until)),
    }
    used = {sql: pair for sql, pair in given.items() if pair[1] is not None}
    return "".join(used), {name: str(value) for name, value in used.values()}


def _remember(db: Database, found: PassFound) -> None:
    one, partner = found.pass_, found.partner
    db.table("passes", pk=("area_id", "pass_id", "revision")).upsert(
        {
            "area_id": one.area_id,
            "pass_id": one.id,
            "revision": one.revision,
            "key": one.key,
            "sensor": one.sensor,
            "acquired": utc_text(one.acquired),
            "withdrawn": int(one.withdrawn),
            "partner_id": partner and partner.id,
            "partner_revision": partner and partner.revision,
            "settings_digest": found.settings.digest,
            "content": text_of(one, f"pass {one.name}"),
        }
    )
