"""The loop of a running program: poll when due, work off passes, work off changes, send what is due."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from groundwatch.console import Step, progress, steps
from groundwatch.health import Health, silent_areas
from groundwatch.wiring import App, worker_name
from registry import metrics
from registry.bus import Delivery, Topic
from registry.bus.consume import Handled, consume
from registry.errors import ConfigError, GroundwatchError, Retry
from registry.events import Event
from registry.log import get_logger, mask

if TYPE_CHECKING:
    from alerts.worker import AlertWorker
    from detector.worker import DetectorWorker
    from ingest.poll import Poller, PollReport

log = get_logger(__name__)

TURN_SECONDS = 60.0
"""Longest turn of one role while others wait, so that a long backlog of passes holds up no notice."""

MEASURE_S = 15.0
"""Seconds between two looks at the queues for the metrics."""

DETECTOR = frozenset({"detect"})
"""The one set of roles that is played away from the store's host; all others ship its outbox."""


@dataclass(frozen=True)
class Tally:
    """What one round did."""

    passes_queued: int = 0
    passes_done: int = 0
    changes_done: int = 0
    delivered: int = 0
    retried: int = 0
    rejected: int = 0
    problems: tuple[str, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        numbers = {name: getattr(self, name) + getattr(other, name) for name in self.summary()}
        return Tally(**numbers, problems=self.problems + other.problems)

    def summary(self) -> dict[str, int]:
        """The numbers by name."""
        return {name: value for name, value in vars(self).items() if name != "problems"}


class Crank:
    """Turns the roles this process plays; workers are made once, when first needed."""

    def __init__(self, app: App, roles: frozenset[str]) -> None:
        self._app = app
        self._health = Health(app.settings.operations.stall_s)
        self._measure_due = app.now()
        self._roles = roles
        self._poll_due: datetime | None = None
        self._step: Step = lambda _done, _total, _what: None
        self._relay = None if roles == DETECTOR else app.relay()

    def turn(self, *, once: bool) -> Tally:
        """One round of every role."""
        tally = Tally()
        metrics.alive()
        if "poll" in self._roles and self._is_poll_due():
            tally = tally + self._poll(once=once)
        if once and self._relay is not None:
            self._relay.ship(stop=self._app.stopping.is_set)
        if "detect" in self._roles:
            tally = tally + self._detect(once=once)
        if "notify" in self._roles:
            tally = tally + self._notify(once=once)
        return tally

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Serve metrics and health meanwhile, where operations.listen says so."""
        listen = self._app.settings.operations.listen
        if listen is None:
            yield
            return
        try:
            from groundwatch.serving import serving
        except ImportError as exc:
            raise ConfigError(
                f"operations.listen {listen} needs {exc.name}; install groundwatch with the extra 'fleet'"
            ) from exc
        with serving(listen, self._health):
            yield

    @contextmanager
    def shipping(self) -> Iterator[None]:
        """Ship the outbox meanwhile: the first passes of a long poll must not wait for its last."""
        with self._relay.shipping() if self._relay is not None else nullcontext():
            yield

    def turn_or_wait(self) -> Tally:
        """One round; what fails for now is told and comes again with the next."""
        if self._relay is not None:
            self._relay.check()
        try:
            tally = self.turn(once=False)
            self._measure()
        except Retry as exc:
            log.warning("round broken off, will be tried again", reason=str(exc))
            self._health.trouble = mask(str(exc))
            return Tally(problems=(str(exc),))
        self._health.trouble = ""
        return tally

    def work(self) -> tuple[Tally, App | None]:
        """Turn until stopped, or until other settings are taken over: then the program as they say."""
        total = Tally()
        with self.watched(), self.shipping():
            while not self._app.stopping.is_set():
                if self._app.reloading.is_set() and (successor := self._successor()) is not None:
                    return total, successor
                total = total + self.turn_or_wait()
                self._app.stopping.wait(self.idle_seconds())
        return total, None

    def _successor(self) -> App | None:
        """The program under the settings as they are now; None where they are refused: the old ones stay."""
        self._app.reloading.clear()
        successor: App | None = None
        try:
            successor = self._app.renewed()
            Crank(successor, self._roles)._make_workers()
        except GroundwatchError as exc:
            if successor is not None:
                successor.close()
            log.error("new configuration refused, the old one stays", exc=exc)
            metrics.show("groundwatch_config_refused", 1.0)
            return None
        log.info("new configuration taken over")
        return successor

    def _make_workers(self) -> None:
        """What these settings lead to, before anything rests on them. Raises what the making raises."""
        made: dict[str, Callable[[], object]] = {
            "poll": lambda: self._poller,
            "detect": lambda: self._detector,
            "notify": lambda: self._alerter,
        }
        for role in self._roles:
            made[role]()
        listen = self._app.settings.operations.listen
        if listen is not None:
            from groundwatch.serving import check_name

            check_name(listen)

    def _measure(self) -> None:
        """Look at the queues, now and then: on a broker that takes a while."""
        if not self._app.settings.operations.listen or self._app.now() < self._measure_due:
            return
        self._measure_due = self._app.now() + timedelta(seconds=MEASURE_S)
        for topic in Topic:
            for state, number in self._app.bus.depth(topic).model_dump().items():
                metrics.show("groundwatch_queue_events", number, queue=topic.value, state=state)
        if self._roles != DETECTOR:
            silent = silent_areas(
                self._app.store.status(), self._app.settings.operations, now=self._app.now()
            )
            metrics.show("groundwatch_silent_areas", len(silent))

    def idle_seconds(self) -> float:
        """How long there is nothing to do, as far as this process knows."""
        waits = [self._app.settings.work.idle_s]
        for topic, role in ((Topic.PASSES, "detect"), (Topic.CHANGES, "notify")):
            ready = self._next_ready(topic) if role in self._roles else None
            if ready is not None:
                waits.append(ready)
        return max(0.05, min(waits))

    def _next_ready(self, topic: Topic) -> float | None:
        try:
            return self._app.bus.next_ready(topic)
        except Retry:
            return None

    def _is_poll_due(self) -> bool:
        return self._poll_due is None or self._app.now() >= self._poll_due

    def backfill(self, area_ids: Sequence[str], since: date, until: date | None) -> Tally:
        """Queue the passes of a period, all areas where none is named."""
        with steps("reading catalogues") as self._step:
            return _polled(self._poller.backfill(tuple(area_ids) or None, since, until))

    def _poll(self, *, once: bool) -> Tally:
        interval = timedelta(seconds=self._app.settings.poll.interval_s)
        self._poll_due = self._app.now() + interval
        try:
            with steps("reading catalogues") as self._step:
                tally = _polled(self._poller.poll())
            metrics.count("groundwatch_polls_total", result="done")
            metrics.count("groundwatch_passes_queued_total", tally.passes_queued)
            return tally
        except Retry as exc:
            metrics.count("groundwatch_polls_total", result="failed")
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
        for result in ("delivered", "retried", "failed"):
            metrics.count("groundwatch_deliveries_total", getattr(sent, result), result=result)
        return Tally(
            changes_done=handled.done,
            delivered=sent.delivered,
            retried=handled.retried + sent.retried,
            rejected=handled.rejected + sent.failed,
        )

    def _consume(self, topic: Topic, *, once: bool) -> Handled:
        handler = self._detector.handle if topic is Topic.PASSES else self._alerter.handle
        waiting = self._app.bus.depth(topic).waiting if once else None
        with progress(waiting, what=str(topic), unit="event") as advance:

            def handle(event: Event, delivery: Delivery) -> None:
                handler(event, delivery)
                advance(1)

            return consume(
                self._app.bus,
                topic,
                handle,
                worker=worker_name(),
                once=once,
                stop=self._app.stopping.is_set if once else self._turn_is_over(topic),
                halt_after=self._app.settings.work.halt_after,
            )

    def _turn_is_over(self, topic: Topic) -> Callable[[], bool]:
        """True when nothing is ready now, or the other roles have waited long enough for their turn."""
        until = self._app.now() + timedelta(seconds=TURN_SECONDS)

        def over() -> bool:
            ready = self._next_ready(topic)
            asked = self._app.stopping.is_set() or self._app.reloading.is_set()
            return asked or self._app.now() >= until or ready is None or ready > 0.0

        return over

    @cached_property
    def _poller(self) -> Poller:
        return self._app.poller(progress=lambda done, total, what: self._step(done, total, what))

    @cached_property
    def _detector(self) -> DetectorWorker:
        return self._app.detector()

    @cached_property
    def _alerter(self) -> AlertWorker:
        return self._app.alerter()


def run(app: App, *, once: bool, roles: Sequence[str]) -> Tally:
    """Turn the crank until stopped, under new settings after SIGHUP; ``once``: until nothing is left now."""
    total, played = Tally(), frozenset(roles)
    with ExitStack() as opened, graceful(app.stopping, None if once else app.reloading):
        if once:
            return Crank(app, played).turn(once=True)
        current: App | None = app
        while current is not None:
            done, successor = Crank(current, played).work()
            total = total + done
            if successor is not None:
                opened.callback(successor.close)
                current.close()
            current = successor
    return total


def backfill(
    app: App, area_ids: Sequence[str], *, since: date, until: date | None, roles: Sequence[str]
) -> Tally:
    """Queue the passes of a period, then work off what ``roles`` say."""
    with graceful(app.stopping):
        crank = Crank(app, frozenset(roles))
        with crank.shipping():
            queued = crank.backfill(area_ids, since, until)
        return queued + crank.turn(once=True)


@contextmanager
def graceful(stopping: threading.Event, reloading: threading.Event | None = None) -> Iterator[None]:
    """SIGTERM and SIGINT finish the event in hand, then stop; a second one stops at once.

    SIGHUP finishes it, then reads the settings again. On a terminal it ends the program, as ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: object) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        log.info("stopping after the work in hand", signal=signal.Signals(number).name)
        stopping.set()

    def reload(_number: int, _frame: object) -> None:
        if reloading is not None:
            reloading.set()

    handlers: dict[signal.Signals, Callable[[int, object], None]]
    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop}
    if reloading is not None and not sys.stdin.isatty():
        handlers[signal.SIGHUP] = reload
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _polled(report: PollReport) -> Tally:
    return Tally(passes_queued=report.published, problems=(*report.problems, *report.failures, *report.notes))
