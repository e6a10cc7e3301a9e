"""The loop of a running program: poll when due, work off passes, work off changes, send what is due."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from groundwatch.wiring import App, Tally, polled
from registry.bus import Topic
from registry.bus.consume import Handled, consume
from registry.errors import Retry
from registry.log import get_logger

if TYPE_CHECKING:
    from alerts.worker import AlertWorker
    from detector.worker import DetectorWorker
    from ingest.poll import Poller

log = get_logger(__name__)

TURN_SECONDS = 60.0
"""Longest turn of one role while others wait, so that a long backlog of passes holds up no notice."""


class Crank:
    """Turns the roles this process plays; workers are made once, when first needed."""

    def __init__(self, app: App, roles: frozenset[str]) -> None:
        self._app = app
        self._roles = roles
        self._poll_due: datetime | None = None
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    def turn(self, *, once: bool) -> Tally:
        """One round of every role."""
        tally = Tally()
        if "poll" in self._roles and self._is_poll_due():
            tally = tally + self._poll(once=once)
        if "detect" in self._roles:
            tally = tally + self._detect(once=once)
        if "notify" in self._roles:
            tally = tally + self._notify(once=once)
        return tally

    def idle_seconds(self) -> float:
        """How long there is nothing to do, as far as this process knows."""
        waits = [self._app.settings.work.idle_s]
        for topic, role in ((Topic.PASSES, "detect"), (Topic.CHANGES, "notify")):
            ready = self._app.bus.next_ready(topic) if role in self._roles else None
            if ready is not None:
                waits.append(ready)
        due = self._alerter.seconds_until_due() if "notify" in self._roles else None
        if due is not None:
            waits.append(due)
        return max(0.05, min(waits))

    def _is_poll_due(self) -> bool:
        return self._poll_due is None or self._app.now() >= self._poll_due

    def _poll(self, *, once: bool) -> Tally:
        interval = timedelta(seconds=self._app.settings.poll.interval_s)
        self._poll_due = self._app.now() + interval
        try:
            return polled(self._poller.poll())
        except Retry as exc:
            # A provider that is down must not stop the work that is queued already.
            if once and self._roles == {"poll"}:
                raise
            log.warning("poll failed, will be tried again", reason=str(exc))
            return Tally(problems=(f"poll failed: {exc}",))

    def _detect(self, *, once: bool) -> Tally:
        handled = self._consume(Topic.PASSES, once=once)
        return Tally(passes_done=handled.done, retried=handled.retried, rejected=handled.rejected)

    def _notify(self, *, once: bool) -> Tally:
        handled = self._consume(Topic.CHANGES, once=once)
        sent = self._alerter.deliver_due(stop=self._app.stopping.is_set)
        return Tally(
            changes_done=handled.done,
            delivered=sent.delivered,
            retried=handled.retried + sent.retried,
            rejected=handled.rejected + sent.failed,
        )

    def _consume(self, topic: Topic, *, once: bool) -> Handled:
        handler = self._detector.handle if topic is Topic.PASSES else self._alerter.handle
        return consume(
            self._app.bus,
            topic,
            handler,
            worker=self._worker,
            once=once,
            stop=self._app.stopping.is_set if once else self._turn_is_over(topic),
            halt_after=self._app.settings.work.halt_after,
        )

    def _turn_is_over(self, topic: Topic) -> Callable[[], bool]:
        """True when nothing is ready now, or the other roles have waited long enough for their turn."""
        until = self._app.now() + timedelta(seconds=TURN_SECONDS)

        def over() -> bool:
            ready = self._app.bus.next_ready(topic)
            return self._app.stopping.is_set() or self._app.now() >= until or ready is None or ready > 0.0

        return over

    @cached_property
    def _poller(self) -> Poller:
        return self._app.poller()

    @cached_property
    def _detector(self) -> DetectorWorker:
        return self._app.detector()

    @cached_property
    def _alerter(self) -> AlertWorker:
        return self._app.alerter()
