"""The store's tables in numbered steps. A step that was released is never edited: add another.

Values are kept as canonical JSON in ``content``; the other columns are what is queried. Times are
text in UTC with microseconds, so that text order is time order.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

from registry.bus.table import lay_out
from registry.errors import ConfigError
from registry.sqlite import immediate

steps = Migrations("groundwatch")


def migrate(db: Database) -> None:
    """Apply the steps that are missing, all or none; several processes may try at once.

    Raises ConfigError where a newer groundwatch wrote the file.
    """
    if not steps.pending(db):
        _refuse_newer(db)
        return
    with immediate(db.conn):
        _refuse_newer(db)
        steps.apply(db)


def _refuse_newer(db: Database) -> None:
    known = {step.name for step in steps.pending(Database(memory=True))}
    unknown = sorted({step.name for step in steps.applied(db)} - known)
    if unknown:
        raise ConfigError(f"the database has the unknown step {unknown[0]}; upgrade groundwatch to use it")


@steps()
def m001_bus(db: Database) -> None:
    """The local bus, which is the outbox of ``record_passes``."""
    lay_out(db.conn)


@steps()
def m002_places(db: Database) -> None:
    """Areas, permits and zones, each with an R-Tree over the bounding boxes."""
    for table in ("areas", "permits", "zones"):
        db.table(table).create(
            {"num": int, "id": str, "content_hash": str, "content": str},
            pk="num",
            not_null=["id", "content_hash", "content"],
            strict=True,
        )
        db.table(table).create_index(["id"], unique=True)
        db.execute(f"CREATE VIRTUAL TABLE {table}_boxes USING rtree(num, west, east, south, north)")


@steps()
def m003_passes(db: Database) -> None:
    """Passes in every revision as they were issued, and the catalogue cursors."""
    db.table("passes").create(
        {
            "area_id": str,
            "pass_id": str,
            "revision": int,
            "key": str,
            "sensor": str,
            "acquired": str,
            "withdrawn": int,
            "partner_id": str,
            "partner_revision": int,
            "settings_digest": str,
            "content": str,
        },
        pk=("area_id", "pass_id", "revision"),
        not_null=["key", "sensor", "acquired", "withdrawn", "settings_digest", "content"],
        strict=True,
    )
    db.table("passes").create_index(["area_id", "key", "revision"])
    db.table("passes").create_index(["area_id", "acquired"])
    db.create_view(
        "newest_passes",
        "SELECT * FROM passes AS p WHERE withdrawn = 0 AND revision = (SELECT max(revision) FROM passes"
        " WHERE area_id = p.area_id AND pass_id = p.pass_id)",
    )
    db.table("cursors").create({"name": str, "value": str}, pk="name", not_null=["value"], strict=True)


@steps()
def m004_incidents(db: Database) -> None:
    """Incidents as the satellites see them, what people say of their threads, changes mirrored."""
    db.table("incidents").create(
        {
            "id": str,
            "area_id": str,
            "status": str,
            "thread": str,
            "gone": int,
            "successor": str,
            "updated": str,
            "content": str,
        },
        pk="id",
        not_null=["area_id", "status", "thread", "gone", "updated", "content"],
        strict=True,
    )
    db.table("incidents").create_index(["area_id", "gone"])
    db.table("incidents").create_index(["thread"])
    db.table("reviews").create(
        {"num": int, "thread": str, "review": str, "reason": str, "by": str, "at": str},
        pk="num",
        not_null=["thread", "review", "reason", "by", "at"],
        strict=True,
    )
    db.table("reviews").create_index(["thread", "num"])
    db.table("changes").create(
        {"digest": str, "area_id": str, "mirrored": str},
        pk="digest",
        not_null=["area_id", "mirrored"],
        strict=True,
    )


@steps()
def m005_notices(db: Database) -> None:
    """Notices, told once per id, and their deliveries, unique per target."""
    db.table("notices").create(
        {
            "num": int,
            "id": str,
            "area_id": str,
            "thread": str,
            "kind": str,
            "revision": int,
            "content": str,
        },
        pk="num",
        not_null=["id", "area_id", "thread", "kind", "revision", "content"],
        strict=True,
    )
    db.table("notices").create_index(["id"], unique=True)
    db.table("notices").create_index(["thread", "num"])
    db.table("notices").create_index(["area_id", "thread"])
    db.table("deliveries").create(
        {
            "notice_id": str,
            "target": str,
            "status": str,
            "attempts": int,
            "error": str,
            "not_before": str,
            "delivered": str,
        },
        pk=("notice_id", "target"),
        not_null=["status", "attempts", "error"],
        foreign_keys=[("notice_id", "notices", "id")],
        strict=True,
    )
    db.table("deliveries").create_index(["status", "not_before"])


@steps()
def m006_times(db: Database) -> None:
    """When each revision of a pass got how far, and which pass led to a notice."""
    db.table("pass_times").create(
        {
            "area_id": str,
            "pass_id": str,
            "revision": int,
            "lane": str,
            "published": str,
            "seen": str,
            "inferred": str,
        },
        pk=("area_id", "pass_id", "revision"),
        not_null=["lane", "seen"],
        strict=True,
    )
    db.table("pass_times").create_index(["seen"])
    db.table("pass_times").create_index(["inferred"])
    db.table("notice_times").create(
        {"notice_id": str, "area_id": str, "pass_id": str, "revision": int},
        pk="notice_id",
        not_null=["area_id", "pass_id", "revision"],
        foreign_keys=[("notice_id", "notices", "id")],
        strict=True,
    )
    db.table("notice_times").create_index(["area_id", "pass_id", "revision"])
