"""From a change to messages that arrived, over a real store, SMTP server and Slack."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apprise.plugins.slack import NotifySlack
from pydantic import SecretStr

from alerts.worker import AlertWorker
from registry.blobs import Blobs, open_blobs
from registry.bus import Topic
from registry.bus.consume import consume
from registry.bus.local import LocalBus
from registry.errors import Reject
from registry.models import DeliveryStatus, Incident, IncidentStatus, NoticeKind, VerdictCase
from registry.settings import AlertSettings, Settings
from registry.store import Store, open_store
from tests.alert_world import NOW, PICTURE, change, grown, incident, picture, verdict
from tests.services.mail import Fault, MailServer, mail_server
from tests.services.slack import TOKENS, SlackServer, slack_server
from tests.storage_samples import found_event, make_pass

REPO = Path(__file__).resolve().parent.parent
FIRST = incident()


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackServer]:
    with slack_server() as server:
        monkeypatch.setattr(NotifySlack, "webhook_url", f"{server.url}/services")
        monkeypatch.setattr(NotifySlack, "request_rate_per_sec", 0)
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path, mail: MailServer, slack: SlackServer) -> Settings:
    targets = {"ops": SecretStr(mail.url()), "chat": SecretStr(f"slack://{TOKENS}")}
    return Settings(data=tmp_path, alerts=AlertSettings(targets=targets, max_attempts=3, backoff_s=60.0))


@pytest.fixture
def store(settings: Settings, clock: Clock) -> Iterator[Store]:
    with open_store(settings.store_path, now=clock) as store:
        yield store


@pytest.fixture
def blobs(settings: Settings) -> Blobs:
    blobs = open_blobs(settings.blobs_url)
    blobs.create(PICTURE, picture())
    return blobs


@pytest.fixture
def worker(store: Store, blobs: Blobs, settings: Settings, clock: Clock) -> AlertWorker:
    return AlertWorker(store, blobs, settings, now=clock)


def told(worker: AlertWorker, *incidents: Incident, ledger: str = "a") -> None:
    worker.handle(change(*incidents, ledger=ledger))
    worker.deliver_due()


def statuses(store: Store) -> dict[str, DeliveryStatus]:
    return {one.target: one.status for one in store.deliveries()}


def test_confirmation_is_one_mail_and_one_post(
    worker: AlertWorker, mail: MailServer, slack: SlackServer, store: Store
) -> None:
    told(worker, FIRST)
    (got,) = mail.got
    kinds = [one.get_content_type() for one in got.walk()]
    assert {"text/plain", "text/html", "image/png", "application/geo+json"} <= set(kinds)
    pictures = [one.get_payload(decode=True) for one in got.walk() if one.get_content_type() == "image/png"]
    assert pictures == [picture(), picture()]
    (outline,) = [one for one in got.walk() if one.get_content_type() == "application/geo+json"]
    payload = outline.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert json.loads(payload)["features"][0]["id"] == FIRST.id
    assert len(slack.posts) == 1
    assert set(statuses(store).values()) == {DeliveryStatus.DELIVERED}


def test_the_same_change_again_tells_nothing_new(
    worker: AlertWorker, mail: MailServer, slack: SlackServer
) -> None:
    told(worker, FIRST)
    told(worker, FIRST)
    told(worker, FIRST, ledger="b")
    assert (len(mail.got), len(slack.posts)) == (1, 1)


def test_growth_is_one_more_in_the_same_thread(worker: AlertWorker, mail: MailServer) -> None:
    told(worker, FIRST)
    told(worker, grown(FIRST), ledger="b")
    first, second = mail.got
    assert "grown by 1.66 ha" in str(second["Subject"])
    assert first["References"] == second["References"]


def test_provisional_is_silent_until_confirmed(worker: AlertWorker, mail: MailServer) -> None:
    told(worker, FIRST.model_copy(update={"status": IncidentStatus.PROVISIONAL}))
    assert mail.got == []
    told(worker, FIRST.model_copy(update={"revision": 2}), ledger="b")
    assert len(mail.got) == 1


def test_gone_is_withdrawn_and_its_return_told(worker: AlertWorker, store: Store, mail: MailServer) -> None:
    for ledger, incidents in (("a", [FIRST]), ("b", []), ("c", []), ("d", [FIRST]), ("e", [])):
        told(worker, *incidents, ledger=ledger)
    kinds = [NoticeKind.CONFIRMED, NoticeKind.WITHDRAWN, NoticeKind.CONFIRMED, NoticeKind.WITHDRAWN]
    assert [one.kind for one in store.notices()] == kinds
    assert len({mail["Message-ID"] for mail in mail.got}) == 4


def test_merged_incidents_are_not_withdrawn(worker: AlertWorker, store: Store) -> None:
    other = incident("other")
    told(worker, FIRST, other)
    told(worker, grown(FIRST).model_copy(update={"absorbed": (other.id,)}), ledger="b")
    assert [one.kind for one in store.notices()] == [NoticeKind.CONFIRMED] * 2 + [NoticeKind.GROWN]


def test_a_correction_names_what_was_said_before(worker: AlertWorker, mail: MailServer) -> None:
    told(worker, FIRST)
    told(worker, FIRST.model_copy(update={"verdict": verdict(VerdictCase.EXPIRED)}), ledger="b")
    assert "was reported as outside any permit" in str(mail.got[1])


def test_only_the_target_that_failed_is_tried_again(
    worker: AlertWorker, mail: MailServer, slack: SlackServer, store: Store, clock: Clock
) -> None:
    mail.fault = Fault.LATER
    told(worker, FIRST)
    assert statuses(store) == {"chat": DeliveryStatus.DELIVERED, "ops": DeliveryStatus.PENDING}
    (waiting,) = [one for one in store.deliveries() if one.target == "ops"]
    assert (waiting.attempts, waiting.not_before) == (1, NOW + timedelta(seconds=60))
    assert "grey-listed" in waiting.error
    mail.fault = Fault.NONE
    assert worker.deliver_due().delivered == 0, "its pause is not over"
    clock.pass_(seconds=61)
    assert worker.deliver_due().delivered == 1
    assert (len(mail.got), len(slack.posts)) == (1, 1)


def test_pauses_grow_and_the_last_failure_is_final_until_revived(
    worker: AlertWorker, mail: MailServer, store: Store, clock: Clock
) -> None:
    mail.fault = Fault.REFUSE
    told(worker, FIRST)
    clock.pass_(seconds=61)
    worker.deliver_due()
    (waiting,) = [one for one in store.deliveries() if one.target == "ops"]
    assert waiting.not_before == clock.now + timedelta(seconds=120)
    clock.pass_(seconds=121)
    assert worker.deliver_due().failed == 1
    (dead,) = store.failed_deliveries()
    assert (dead.target, dead.attempts) == ("ops", 3)
    assert "mailbox is not here" in dead.error
    mail.fault = Fault.NONE
    clock.pass_(days=30)
    assert worker.deliver_due().delivered == 0
    store.revive_delivery(dead)
    assert worker.deliver_due().delivered == 1
    assert len(mail.got) == 1


def test_a_rate_limit_is_waited_for_and_costs_the_others_no_attempt(
    worker: AlertWorker, slack: SlackServer, store: Store, clock: Clock
) -> None:
    slack.fail["/"] = (429, {"Retry-After": "600"}, b"rate_limited")
    told(worker, FIRST, incident("other"), incident("third"))
    attempts = [one.attempts for one in store.deliveries() if one.target == "chat"]
    assert attempts == [1, 0, 0]
    slack.fail.clear()
    clock.pass_(seconds=599)
    assert worker.deliver_due().delivered == 0
    clock.pass_(seconds=2)
    assert worker.deliver_due().delivered == 3


def test_later_news_never_overtakes_earlier_news(worker: AlertWorker, mail: MailServer, clock: Clock) -> None:
    mail.fault = Fault.LATER
    told(worker, FIRST)
    told(worker, grown(FIRST), ledger="b")
    mail.fault = Fault.NONE
    clock.pass_(hours=1)
    worker.deliver_due()
    assert ["grown" in str(got["Subject"]) for got in mail.got] == [False, True]


def test_when_both_are_due_and_the_first_fails_the_second_waits(
    worker: AlertWorker, mail: MailServer, store: Store
) -> None:
    worker.handle(change(FIRST))
    worker.handle(change(grown(FIRST), ledger="b"))
    mail.fault = Fault.LATER
    worker.deliver_due()
    assert [one.attempts for one in store.deliveries() if one.target == "ops"] == [1, 0]


def test_a_missing_picture_is_said_and_does_not_hold_the_message(
    store: Store, settings: Settings, clock: Clock, mail: MailServer
) -> None:
    empty = open_blobs(settings.blobs_url)
    told(AlertWorker(store, empty, settings, now=clock), FIRST)
    assert "No before/after picture is available" in str(mail.got[0])


def test_a_removed_target_is_final_and_names_the_remedy(
    worker: AlertWorker, store: Store, blobs: Blobs, settings: Settings, clock: Clock
) -> None:
    worker.handle(change(FIRST))
    fewer = settings.alerts.model_copy(update={"targets": {"chat": settings.alerts.targets["chat"]}})
    AlertWorker(store, blobs, settings.model_copy(update={"alerts": fewer}), now=clock).deliver_due()
    (dead,) = store.failed_deliveries()
    assert dead.target == "ops"
    assert "add it there" in dead.error


def test_another_kind_of_event_is_rejected(worker: AlertWorker) -> None:
    with pytest.raises(Reject, match="change-found only"):
        worker.handle(found_event(make_pass(1)))


def test_the_bus_hands_changes_to_it(worker: AlertWorker, settings: Settings, store: Store) -> None:
    bus = LocalBus(settings.store_path)
    bus.publish(Topic.CHANGES, change(FIRST))
    handled = consume(bus, Topic.CHANGES, worker.handle, worker="w", once=True, stop=lambda: False)
    bus.close()
    assert (handled.done, handled.retried, handled.rejected) == (1, 0, 0)
    assert [one.kind for one in store.notices()] == [NoticeKind.CONFIRMED]


def test_a_stop_is_heard_between_two_messages(worker: AlertWorker, mail: MailServer) -> None:
    worker.handle(change(FIRST, incident("other")))
    worker.deliver_due(stop=lambda: len(mail.got) == 1)
    assert len(mail.got) == 1


def test_two_processes_do_not_send_at_the_same_time(
    worker: AlertWorker, settings: Settings, mail: MailServer
) -> None:
    worker.handle(change(FIRST))
    with Path(f"{settings.store_path}.alerts-lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert worker.deliver_due().delivered == 0
        assert mail.got == []
    assert worker.deliver_due().delivered == 2


def child(data: Path, mail: MailServer, moment: str) -> int:
    """Exit status of a process that delivers what is due and dies at ``moment``."""
    command = [sys.executable, "-m", "tests.alert_child", str(data), mail.url(), moment]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    return subprocess.run(command, cwd=REPO, env=environment, check=False, timeout=120).returncode


@pytest.fixture
def one_due(tmp_path: Path, mail: MailServer) -> Path:
    """Data with one notice that waits for one target."""
    ops = AlertSettings(targets={"ops": SecretStr(mail.url())})
    settings = Settings(data=tmp_path / "killed", alerts=ops)
    settings.data.mkdir()
    blobs = open_blobs(settings.blobs_url)
    blobs.create(PICTURE, picture())
    with open_store(settings.store_path) as store:
        AlertWorker(store, blobs, settings, now=lambda: datetime.now(UTC)).handle(change(FIRST))
    return settings.data


def delivered(data: Path) -> list[tuple[DeliveryStatus, int]]:
    with open_store(Settings(data=data).store_path) as store:
        return [(one.status, one.attempts) for one in store.deliveries()]


def test_killed_before_sending_loses_and_repeats_nothing(one_due: Path, mail: MailServer) -> None:
    assert child(one_due, mail, "before") == -signal.SIGKILL
    assert mail.got == []
    assert delivered(one_due) == [(DeliveryStatus.PENDING, 1)]
    assert child(one_due, mail, "never") == 0
    assert child(one_due, mail, "never") == 0
    assert len(mail.got) == 1
    assert delivered(one_due) == [(DeliveryStatus.DELIVERED, 2)]


def test_killed_between_sending_and_recording_repeats_that_one_recognisably(
    one_due: Path, mail: MailServer
) -> None:
    assert child(one_due, mail, "after") == -signal.SIGKILL
    assert child(one_due, mail, "never") == 0
    assert child(one_due, mail, "never") == 0
    first, again = mail.got
    assert first["Message-ID"] == again["Message-ID"]
    assert first["X-Groundwatch-Notice"] == again["X-Groundwatch-Notice"]


def test_a_message_that_keeps_killing_its_process_is_given_up(one_due: Path, mail: MailServer) -> None:
    """Ten attempts are allowed; the eleventh process does not try."""
    with open_store(Settings(data=one_due).store_path) as store:
        (record,) = store.deliveries()
        store.record_delivery(record.model_copy(update={"attempts": 9}))
    assert child(one_due, mail, "before") == -signal.SIGKILL
    assert child(one_due, mail, "before") == 0
    assert mail.got == []
    assert delivered(one_due) == [(DeliveryStatus.FAILED, 11)]
