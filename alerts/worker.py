"""MAIN PATH of alerts: ChangeFound -> mirror -> decide -> record; and what is due: render -> send -> record.

Deciding and delivering are apart, so a target that is down holds up neither the bus nor other targets.
Each delivery (notice x target) is one row: delivered ones are never sent again, failed ones are tried
again with growing pauses and end as FAILED, from where ``store.revive_delivery`` takes them back.

The one window: a process that dies between the provider's yes and the row that says so sends that one
message again after its restart, under the same Message-ID and notice id. Everything else happens once.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from alerts.message import Message
from alerts.policy import decide, targets_of
from alerts.render import render
from alerts.send import Sender
from registry.blobs import Blobs
from registry.bus import Delivery, Lane
from registry.errors import ConfigError, GroundwatchError, NotFound, Reject, Retry
from registry.events import ChangeFound, Event
from registry.log import bound, get_logger
from registry.masking import mask
from registry.metrics import observe
from registry.models import DeliveryRecord, DeliveryStatus, Notice
from registry.settings import Settings
from registry.store import Store

log = get_logger(__name__)

LONGEST_PAUSE = timedelta(days=1)
"""Most that a provider's Retry-After is followed."""


@dataclass
class Round:
    """What one call of ``deliver_due`` did."""

    delivered: int = 0
    retried: int = 0
    failed: int = 0
    held: set[tuple[str, str]] = field(default_factory=set)
    """(target, thread) where an earlier notice did not get through: later ones wait for it."""


class AlertWorker:
    """Tells people. One sends at a time on a host, whatever the number of processes."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        settings: Settings,
        *,
        now: Callable[[], datetime],
        sender: Sender | None = None,
    ) -> None:
        """Raises ConfigError where a target's URL is not understood."""
        self._store, self._blobs, self._now = store, blobs, now
        self._alerts = settings.alerts
        self._lock_path = settings.store_path.with_name(settings.store_path.name + ".alerts-lock")
        self._sender = sender or Sender(settings.alerts, now=now)
        self._paused: dict[str, datetime] = {}

    def handle(self, event: Event, delivery: Delivery | None = None) -> None:  # noqa: ARG002 - the bus's shape
        """Record what people have to be told of this change. A repeat changes nothing.

        Raises Reject where the event is of another kind.
        """
        change = event.data
        if not isinstance(change, ChangeFound):
            raise Reject(f"event {event.id} is {event.type}; alerts handle change-found only")
        with bound(area=change.area.id):
            self._store.mirror(change)
            self._store.note_inferred(change, at=event.time)
            notices = self._decide(change)
            targets = {one.id: self._targets(one, change) for one in notices}
            added = self._store.add_notices(notices, targets, led_by=change)
            log.info("change recorded", incidents=len(change.incidents), notices=added)

    def deliver_due(self, *, stop: Callable[[], bool] = lambda: False) -> Round:
        """Send what is due; one target's trouble does not hold up another."""
        done = Round()
        with self._alone() as alone:
            for record in self._store.due_deliveries(self._now()) if alone else ():
                if stop():
                    break
                with bound(notice=record.notice_id, target=record.target):
                    self._deliver(record, done)
        return done

    def _decide(self, change: ChangeFound) -> tuple[Notice, ...]:
        area = change.area
        incidents = self._store.incidents(area.id, include_gone=True)
        return decide(incidents, self._store.told(area.id), area=area, now=self._now())

    def _targets(self, notice: Notice, change: ChangeFound) -> tuple[str, ...]:
        told_before = {
            record.target
            for earlier in self._store.notices(notice.incident.id)
            for record in self._store.deliveries(earlier.id)
            if record.status is not DeliveryStatus.FAILED
        }
        return targets_of(notice, change.area, self._alerts, told_before=told_before)

    def _deliver(self, record: DeliveryRecord, done: Round) -> None:
        notice = self._store.notice(record.notice_id)
        earlier = self._earlier(notice)
        turn = (record.target, (earlier[0] if earlier else notice).incident.id)
        if turn in done.held or self._is_paused(record.target):
            return
        # Counts the attempt first: a message that kills the process must not do so for ever.
        if not self._store.claim_delivery(record, until=self._now()):
            return
        record = record.model_copy(update={"attempts": record.attempts + 1})
        try:
            trouble = self._sender.send(record.target, self._message(notice, earlier, record))
        except Exception as exc:  # a fault in one message must not hold up its neighbours
            done.held.add(turn)
            self._record_failure(record, exc, done)
        else:
            self._record_success(record, trouble)
            done.delivered += 1

    def _earlier(self, notice: Notice) -> Sequence[Notice]:
        thread = self._store.notices(notice.incident.id)
        ids = [one.id for one in thread]
        return thread[: ids.index(notice.id)]

    def _message(self, notice: Notice, earlier: Sequence[Notice], record: DeliveryRecord) -> Message:
        if record.attempts > self._alerts.max_attempts:
            raise Retry("the process died in earlier attempts; see the log")
        channel = self._sender.channel(record.target)
        return render(notice, channel, picture=self._picture(notice), earlier=earlier)

    def _picture(self, notice: Notice) -> bytes | None:
        name = notice.incident.pictures.side_by_side
        if name is None:
            return None
        try:
            return self._blobs.get(name)
        except NotFound as exc:
            log.warning("picture is missing, sent without", blob=name, error=str(exc))
            return None

    def _is_paused(self, target: str) -> bool:
        return self._paused.get(target, self._now()) > self._now()

    def _record_success(self, record: DeliveryRecord, trouble: str) -> None:
        settled = {
            "status": DeliveryStatus.DELIVERED,
            "delivered": self._now(),
            "error": trouble,
            "not_before": None,
        }
        self._store.record_delivery(record.model_copy(update=settled))
        for times in self._store.notice_times(record.notice_id):
            if times.target == record.target and times.delivered and times.lane is Lane.LIVE:
                observe("groundwatch_told_age_seconds", (times.delivered - times.sensed).total_seconds())
        log.info("notice delivered", attempts=record.attempts, trouble=trouble)

    def _record_failure(self, record: DeliveryRecord, exc: Exception, done: Round) -> None:
        reason = mask(str(exc) if isinstance(exc, GroundwatchError) else f"{type(exc).__name__}: {exc}")
        asked = exc.after if isinstance(exc, Retry) else None
        if asked is not None:
            self._paused[record.target] = self._now() + min(timedelta(seconds=asked), LONGEST_PAUSE)
        final = record.attempts >= self._alerts.max_attempts or isinstance(exc, ConfigError)
        pause = self._pause(record.attempts, asked)
        settled = {
            "status": DeliveryStatus.FAILED if final else DeliveryStatus.PENDING,
            "error": reason,
            "not_before": None if final else self._now() + pause,
        }
        self._store.record_delivery(record.model_copy(update=settled))
        log.error("notice not delivered", exc=exc, attempts=record.attempts, final=final)
        done.failed += final
        done.retried += not final

    def _pause(self, attempts: int, asked: float | None) -> timedelta:
        own = min(self._alerts.backoff_s * 2.0 ** min(attempts - 1, 40), self._alerts.max_backoff_s)
        return min(timedelta(seconds=max(own, asked or 0.0)), max(LONGEST_PAUSE, timedelta(seconds=own)))

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process sends; the lock goes with its process, however that ends."""
        with self._lock_path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("another process is sending")
                yield False
            else:
                yield True
