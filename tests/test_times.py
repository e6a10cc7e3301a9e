"""The ledger of latencies: who saw a pass when, and when people were told; and the alarms of `status`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from alerts.worker import AlertWorker
from groundwatch.commands.latency import times_row
from groundwatch.health import Work, alarms
from registry.blobs import open_blobs
from registry.bus import Lane
from registry.events import change_found
from registry.models import NoticeKind, Pass
from registry.settings import load_settings
from registry.store import Store, open_store
from tests.storage_samples import START, Clock, found_event, make_area, make_change, make_incident, make_pass

HOUR = timedelta(hours=1)


def published_pass(day: int, *, hours: float, revision: int = 1) -> Pass:
    """A pass whose newest scene was put there so many hours after it was taken."""
    one = make_pass(day, revision=revision)
    version = (one.acquired + hours * HOUR).isoformat()
    scenes = tuple(scene.model_copy(update={"version": version}) for scene in one.scenes)
    return one.model_copy(update={"scenes": scenes})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with open_store(tmp_path / "groundwatch.db", now=clock) as opened:
        opened.put_area(make_area())
        yield opened


def test_every_step_of_a_pass_and_its_notice_is_kept(tmp_path: Path, store: Store, clock: Clock) -> None:
    (tmp_path / "groundwatch.yml").write_text(
        f"data: {tmp_path}\nalerts:\n  targets:\n    archive: file://{tmp_path}/notices\n"
    )
    settings = load_settings(tmp_path / "groundwatch.yml", {})
    worker = AlertWorker(store, open_blobs(settings.blobs_url), settings, now=clock)
    one = published_pass(0, hours=5)
    clock.advance(6 * 3600)
    store.record_passes([found_event(one)])
    clock.advance(3600)
    inferred = clock()
    change = make_change("1", make_incident("a")).model_copy(
        update={"pass_id": one.id, "pass_revision": one.revision}
    )
    clock.advance(600)
    worker.handle(change_found(change, at=inferred))
    worker.handle(change_found(change, at=inferred + HOUR))  # a repeat: the first time counts
    clock.advance(60)
    assert worker.deliver_due().delivered == 1
    (times,) = store.times()
    sensed = one.acquired
    assert (times.sensed, times.lane) == (sensed, Lane.LIVE)
    assert times.published == sensed + 5 * HOUR
    assert times.seen == START + 6 * HOUR
    assert times.inferred == inferred
    assert times.confirmed == inferred + timedelta(minutes=10)
    assert times.delivered == inferred + timedelta(minutes=11)
    (notice,) = store.notices()
    (told,) = store.notice_times(notice.id)
    assert (told.notice, told.target) == (NoticeKind.CONFIRMED, "archive")
    assert times_row(told) == {
        "sensed": "2024-05-01 12:00",
        "published": "+5h00",
        "seen": "+6h00",
        "inferred": "+7h00",
        "confirmed": "+7h10",
        "delivered": "+7h11",
    }


def test_each_revision_has_its_own_times_and_a_repeat_changes_none(store: Store, clock: Clock) -> None:
    first = found_event(published_pass(0, hours=5))
    store.record_passes([first])
    clock.advance(60)
    store.record_passes([first])
    store.record_passes([found_event(published_pass(0, hours=9, revision=2))], lane=Lane.BACKFILL)
    newest, oldest = store.times("pit")
    assert [newest.revision, oldest.revision] == [2, 1]
    assert oldest.seen == START
    assert newest.lane is Lane.BACKFILL
    assert store.times("wood") == ()
    assert len(store.times(limit=1)) == 1


def test_a_version_that_is_no_time_leaves_published_open(store: Store) -> None:
    store.record_passes([found_event(make_pass(0))])
    (times,) = store.times()
    assert times.published is None
    assert times_row(times)["published"] == ""


def test_flow_counts_what_came_and_what_was_worked_off(store: Store, clock: Clock) -> None:
    passes = [published_pass(day, hours=1) for day in range(3)]
    store.record_passes([found_event(one) for one in passes])
    change = make_change("1").model_copy(update={"pass_id": passes[0].id, "pass_revision": 1})
    store.note_inferred(change, at=clock())
    assert store.flow(START).model_dump() == {"seen": 3, "inferred": 1}
    assert store.flow(START + HOUR).model_dump() == {"seen": 0, "inferred": 0}


QUIET = Work(waiting=0, dead=0, died=0, failed_deliveries=0, seen=9, inferred=9)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"waiting": 50, "seen": 60, "inferred": 10}, "the lag grows"),
        ({"dead": 4, "died": 4, "inferred": 0, "seen": 4}, "all 4 events"),
        ({"dead": 2, "died": 1}, "2 dead letters"),
        ({"failed_deliveries": 3}, "3 notices did not reach"),
    ],
)
def test_what_is_wrong_is_an_alarm(changes: dict[str, int], says: str) -> None:
    found = alarms(Work(**{**vars(QUIET), **changes}), {})
    assert any(says in line for line in found)


def test_a_silent_area_is_an_alarm_and_a_quiet_day_is_none() -> None:
    assert alarms(QUIET, {}) == ()
    (line,) = alarms(QUIET, {"pit": "no pass for 11.0 days, 10.0 allowed"})
    assert "pit (no pass for 11.0 days, 10.0 allowed)" in line
    busy = Work(**{**vars(QUIET), "waiting": 5})
    assert alarms(busy, {}) == (), "passes that wait are no lag while as many are worked off"
