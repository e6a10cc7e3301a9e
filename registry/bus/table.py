"""The bus as one SQLite table. Every function works inside the caller's transaction.

Of each key only the oldest unsettled event, its *head*, can be claimed: a head has a ``free_at``
(when it was published, the end of a back-off, or the end of a lease), and a unique index allows one
head per key. Settled rows stay without their body, so that an id is published once for good.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from registry.bus import DeadLetter, Depth, Lane, Topic
from registry.errors import ConfigError, NotFound
from registry.events import Event

VERSION = 2
"""Version of the layout, kept in SQLite's user_version."""

_LAYOUT = (
    """
    CREATE TABLE bus (
        seq INTEGER PRIMARY KEY,
        topic TEXT NOT NULL,
        id TEXT NOT NULL,
        key TEXT NOT NULL,
        body BLOB NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'ready', 'leased', 'done', 'dead')),
        free_at REAL CHECK ((free_at IS NOT NULL) = (state IN ('ready', 'leased'))),
        attempts INTEGER NOT NULL DEFAULT 0,
        token TEXT CHECK ((token IS NOT NULL) = (state = 'leased')),
        worker TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT '',
        published REAL NOT NULL,
        settled REAL,
        lane INTEGER NOT NULL DEFAULT 0,
        UNIQUE (topic, id)
    ) STRICT
    """,
    "CREATE INDEX bus_heads ON bus (topic, lane, seq, free_at) WHERE free_at IS NOT NULL",
    "CREATE UNIQUE INDEX bus_one_head_per_key ON bus (topic, key) WHERE free_at IS NOT NULL",
    "CREATE INDEX bus_queued ON bus (topic, key, seq) WHERE state = 'queued'",
    "CREATE INDEX bus_dead ON bus (topic, seq) WHERE state = 'dead'",
)

_FROM_1 = (
    "ALTER TABLE bus ADD COLUMN lane INTEGER NOT NULL DEFAULT 0",
    "DROP INDEX bus_heads",
    _LAYOUT[1],
)

_LANES = (Lane.LIVE, Lane.BACKFILL)
"""By number, as stored: smaller ones come first."""


class State(StrEnum):
    """Where an event stands; only READY and LEASED ones are heads."""

    QUEUED = "queued"
    READY = "ready"
    LEASED = "leased"
    DONE = "done"
    DEAD = "dead"


class Head(NamedTuple):
    """An event that may be claimed."""

    seq: int
    key: str
    body: bytes
    state: State
    attempts: int
    worker: str
    """Who held the lease that ended; empty where none did."""
    lane: Lane


class Claim(NamedTuple):
    """What proves that a lease is ours: the token changes with every lease."""

    topic: Topic
    key: str
    seq: int
    token: str
    attempt: int
    lane: Lane


def is_laid_out(connection: sqlite3.Connection) -> bool:
    """Whether the table is there as it should be. Raises ConfigError where a newer groundwatch wrote it."""
    return _version(connection) == VERSION


def _version(connection: sqlite3.Connection) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise ConfigError(
            f"the database has bus layout {version}, this groundwatch knows up to {VERSION}; upgrade it"
        )
    return version


def lay_out(connection: sqlite3.Connection) -> None:
    """Create the table where it is missing, bring an older one up to date."""
    steps = {0: _LAYOUT, 1: _FROM_1, VERSION: ()}[_version(connection)]
    for statement in steps:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def enqueue(
    connection: sqlite3.Connection, topic: Topic, event: Event, now: datetime, *, lane: Lane = Lane.LIVE
) -> bool:
    """Publish; False where this id was published before. For the store's transaction: the outbox."""
    added = connection.execute(
        "INSERT INTO bus (topic, id, key, body, state, published, lane) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (topic, id) DO NOTHING",
        (topic, event.id, event.key, event.to_json(), State.QUEUED, now.timestamp(), _LANES.index(lane)),
    )
    if added.rowcount == 1:
        promote(connection, topic, event.key, moment=now.timestamp())
    return added.rowcount == 1


def promote(connection: sqlite3.Connection, topic: str, key: str, *, moment: float) -> None:
    """Make the oldest queued event of a key its head, unless it has one."""
    connection.execute(
        "UPDATE bus SET state = 'ready', free_at = :moment"
        " WHERE seq = (SELECT min(seq) FROM bus WHERE topic = :topic AND key = :key AND state = 'queued')"
        " AND NOT EXISTS (SELECT 1 FROM bus WHERE topic = :topic AND key = :key AND free_at IS NOT NULL)",
        {"topic": topic, "key": key, "moment": moment},
    )


def oldest_free(connection: sqlite3.Connection, topic: Topic, *, moment: float) -> Head | None:
    """The oldest event that may be claimed at ``moment``, live ones first."""
    row = connection.execute(
        "SELECT seq, key, body, state, attempts, worker, lane FROM bus"
        " WHERE topic = ? AND free_at <= ? ORDER BY lane, seq LIMIT 1",
        (topic, moment),
    ).fetchone()
    if row is None:
        return None
    seq, key, body, state, attempts, worker, lane = row
    return Head(seq, key, body, state, attempts, worker, _LANES[lane])


def lease(connection: sqlite3.Connection, claim: Claim, *, worker: str, until: float) -> None:
    """Hand the event of ``claim`` to ``worker``; this counts as an attempt."""
    connection.execute(
        "UPDATE bus SET state = 'leased', free_at = ?, attempts = ?, token = ?, worker = ? WHERE seq = ?",
        (until, claim.attempt, claim.token, worker, claim.seq),
    )


def is_ours(connection: sqlite3.Connection, claim: Claim) -> bool:
    """Whether nobody else claimed the event since; an expired lease that nobody took is still ours."""
    row = connection.execute(
        "SELECT 1 FROM bus WHERE seq = ? AND token = ?", (claim.seq, claim.token)
    ).fetchone()
    return row is not None


def free(connection: sqlite3.Connection, claim: Claim, *, at: float, reason: str) -> None:
    """End the lease; the event may be claimed again from ``at`` on and keeps its place in its key."""
    connection.execute(
        "UPDATE bus SET state = 'ready', free_at = ?, token = NULL, worker = '', reason = ? WHERE seq = ?",
        (at, reason, claim.seq),
    )


def renew(connection: sqlite3.Connection, claim: Claim, *, until: float) -> None:
    """Move the end of the lease."""
    connection.execute("UPDATE bus SET free_at = ? WHERE seq = ?", (until, claim.seq))


def finish(connection: sqlite3.Connection, topic: str, key: str, seq: int, *, moment: float) -> None:
    """Done: keep the id, drop the body, let the next of the key come."""
    connection.execute(
        "UPDATE bus SET state = 'done', free_at = NULL, token = NULL, settled = ?, body = x'' WHERE seq = ?",
        (moment, seq),
    )
    promote(connection, topic, key, moment=moment)


def bury(
    connection: sqlite3.Connection, topic: str, key: str, seq: int, *, moment: float, reason: str
) -> None:
    """Move an event to the dead letters and let the next of its key come."""
    connection.execute(
        "UPDATE bus SET state = 'dead', free_at = NULL, token = NULL, settled = ?, reason = ? WHERE seq = ?",
        (moment, reason, seq),
    )
    promote(connection, topic, key, moment=moment)


def revive(connection: sqlite3.Connection, dead_id: str, *, moment: float) -> None:
    """Put a dead letter back at the end of its key, its attempts forgotten. Raises NotFound."""
    found = connection.execute(
        "UPDATE bus SET seq = (SELECT max(seq) + 1 FROM bus), state = 'queued', attempts = 0, reason = '',"
        " settled = NULL WHERE seq = (SELECT seq FROM bus WHERE state = 'dead' AND id = ? LIMIT 1)"
        " RETURNING topic, key",
        (dead_id,),
    ).fetchone()
    if found is None:
        raise NotFound(f"dead letter {dead_id} does not exist; list them with: groundwatch dead list")
    topic, key = found
    promote(connection, topic, key, moment=moment)


def soonest(connection: sqlite3.Connection, topic: Topic) -> float | None:
    """When the next event can be claimed; None where nothing is left to do."""
    (moment,) = connection.execute(
        "SELECT min(free_at) FROM bus WHERE topic = ? AND free_at IS NOT NULL", (topic,)
    ).fetchone()
    return None if moment is None else float(moment)


def depth(connection: sqlite3.Connection, topic: Topic, *, moment: float) -> Depth:
    """How much waits; an event whose lease ended waits again."""
    queued, heads, leased, dead = connection.execute(
        "SELECT (SELECT count(*) FROM bus WHERE topic = :topic AND state = 'queued'),"
        " (SELECT count(*) FROM bus WHERE topic = :topic AND free_at IS NOT NULL),"
        " (SELECT count(*) FROM bus WHERE topic = :topic AND free_at > :moment AND state = 'leased'),"
        " (SELECT count(*) FROM bus WHERE topic = :topic AND state = 'dead')",
        {"topic": topic, "moment": moment},
    ).fetchone()
    return Depth(waiting=queued + heads - leased, in_flight=leased, dead=dead)


def dead_letters(connection: sqlite3.Connection, topic: Topic | None) -> list[DeadLetter]:
    """Dead letters of one topic or all, oldest first."""
    rows = connection.execute(
        "SELECT id, topic, key, reason, attempts, settled, body FROM bus"
        " WHERE state = 'dead' AND topic = coalesce(?, topic) ORDER BY settled, seq",
        (topic,),
    )
    return [_dead_letter(*row) for row in rows]


def _dead_letter(
    id_: str, topic: str, key: str, reason: str, attempts: int, settled: float, body: bytes
) -> DeadLetter:
    return DeadLetter(
        id=id_,
        topic=Topic(topic),
        key=key,
        reason=reason,
        attempts=attempts,
        died=datetime.fromtimestamp(settled, UTC),
        body=body.decode(errors="replace"),
    )
