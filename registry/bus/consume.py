"""The loop of every worker: receive, handle, settle. What a handler raises decides what comes next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from registry import metrics
from registry.bus import Bus, Delivery, Topic
from registry.errors import ConfigError, GroundwatchError, Halt, Reject, Retry
from registry.events import Event
from registry.log import bound, get_logger

log = get_logger(__name__)

UNEXPECTED_TRIES = 3
"""Tries of an event that fails with an error nobody foresaw: mostly a bug, which time does not heal."""

POLL_S = 0.5
"""Longest wait before looking again for events and for the wish to stop."""

HEARTBEAT_S = 10.0
"""How often the lease is renewed while a handler works."""

_REASON_CHARS = 2000
"""Most characters of a reason that are kept."""


@dataclass(frozen=True)
class Handled:
    """What a loop did, in deliveries."""

    done: int = 0
    retried: int = 0
    """Given back to be tried again; the bus may have given them up after their last attempt."""
    rejected: int = 0


class _Outcome(StrEnum):
    DONE = "done"
    RETRIED = "retried"
    REJECTED = "rejected"


Handle = Callable[[Event, Delivery], None]


def consume(
    bus: Bus,
    topic: Topic,
    handle: Handle,
    *,
    worker: str,
    once: bool,
    stop: Callable[[], bool] = lambda: False,
    halt_after: int = 20,
    wait: Callable[[float], None] = time.sleep,
    heartbeat_s: float = HEARTBEAT_S,
) -> Handled:
    """Handle events of ``topic`` until ``stop()``; with ``once`` until nothing is left or backing off.

    A handler returns when its outputs are durable: the event is then acknowledged. Retry (and an
    OSError) puts it back with a back-off, Reject moves it to the dead letters, any other error is
    tried UNEXPECTED_TRIES times and then rejected. The lease is renewed while the handler works.

    Raises Halt when ``halt_after`` deliveries in a row (retries aside) were rejected or when the
    handler raises it or ConfigError, and Retry, with ``once``, when the bus itself fails.
    """
    handled, rejected_in_a_row = Handled(), 0
    while not stop():
        delivery = _receive(bus, topic, worker, once=once)
        if delivery is None:
            pause = _pause(bus, topic, once=once)
            if pause is None:
                break
            wait(pause)
            continue
        with metrics.timed("groundwatch_event_seconds", topic=topic.value):
            outcome = _settle(delivery, handle, heartbeat_s)
        metrics.count("groundwatch_events_total", topic=topic.value, outcome=outcome.value)
        metrics.alive()
        handled = _counted(handled, outcome)
        rejected_in_a_row = _in_a_row(rejected_in_a_row, outcome)
        if rejected_in_a_row >= halt_after:
            raise Halt(
                f"{rejected_in_a_row} {topic} events in a row were rejected; see groundwatch dead list, "
                "mend the cause, then groundwatch dead retry"
            )
    return handled


def _receive(bus: Bus, topic: Topic, worker: str, *, once: bool) -> Delivery | None:
    try:
        return bus.receive(topic, worker=worker)
    except Retry as exc:
        if once:
            raise
        log.warning("bus failed, waiting", topic=topic, reason=str(exc))
        return None


def _pause(bus: Bus, topic: Topic, *, once: bool) -> float | None:
    """Seconds to wait before looking again; None = there is nothing to wait for."""
    try:
        ready = bus.next_ready(topic)
    except Retry:
        if once:
            raise
        return POLL_S
    if ready is None:
        return None if once else POLL_S
    return min(POLL_S, max(ready, 0.01))


def _settle(delivery: Delivery, handle: Handle, heartbeat_s: float) -> _Outcome:
    """Handle one delivery and tell the bus; a bus that fails meanwhile will deliver it again."""
    with bound(area=delivery.event.key, event=delivery.event.id, attempt=delivery.attempt):
        try:
            with _heartbeat(delivery, heartbeat_s):
                return _handle(delivery, handle)
        except Retry as exc:
            log.warning("event could not be settled, it will come again", reason=str(exc))
            return _Outcome.RETRIED


def _handle(delivery: Delivery, handle: Handle) -> _Outcome:
    try:
        handle(delivery.event, delivery)
    except Reject as exc:
        return _reject(delivery, exc)
    except Retry as exc:
        return _retry(delivery, exc, after=exc.after)
    except OSError as exc:
        return _retry(delivery, exc)
    except Halt as exc:
        _give_back(delivery, exc)
        raise
    except ConfigError as exc:
        # Every event would fail alike, until a person mends the settings: none of them is to blame.
        _give_back(delivery, exc)
        raise Halt(str(exc)) from exc
    except Exception as exc:
        return _retry(delivery, exc) if delivery.attempt < UNEXPECTED_TRIES else _reject(delivery, exc)
    except BaseException as exc:
        _give_back(delivery, exc)  # Ctrl-C and the like
        raise
    delivery.ack()
    return _Outcome.DONE


def _retry(delivery: Delivery, exc: BaseException, *, after: float | None = None) -> _Outcome:
    log.warning("event failed, it will come again", reason=_reason(exc))
    delivery.retry(_reason(exc), after=after)
    return _Outcome.RETRIED


def _give_back(delivery: Delivery, exc: BaseException) -> None:
    with suppress(Retry):  # then the lease runs out; what is being raised must not be hidden
        _retry(delivery, exc, after=0.0)


def _reject(delivery: Delivery, exc: BaseException) -> _Outcome:
    log.error("event rejected", exc=exc)
    delivery.reject(_reason(exc))
    return _Outcome.REJECTED


def _reason(exc: BaseException) -> str:
    """One line: our own errors speak for themselves, others are named."""
    text = " ".join(str(exc).split())
    told = text if isinstance(exc, GroundwatchError) else f"{type(exc).__name__}: {text}"
    return told[:_REASON_CHARS]


def _counted(handled: Handled, outcome: _Outcome) -> Handled:
    return replace(handled, **{outcome.value: getattr(handled, outcome.value) + 1})


def _in_a_row(before: int, outcome: _Outcome) -> int:
    if outcome is _Outcome.RETRIED:
        return before
    return before + 1 if outcome is _Outcome.REJECTED else 0


@contextmanager
def _heartbeat(delivery: Delivery, every_s: float) -> Iterator[None]:
    """Renew the lease from a thread until the block is left."""
    finished = threading.Event()
    thread = threading.Thread(target=_beat, args=(delivery, every_s, finished), daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _beat(delivery: Delivery, every_s: float, finished: threading.Event) -> None:
    while not finished.wait(every_s):
        metrics.alive()
        try:
            delivery.extend()
        except GroundwatchError as exc:
            # The handler goes on: its outputs are idempotent and settling is refused if the lease is gone.
            log.warning("lease could not be renewed", reason=str(exc))
