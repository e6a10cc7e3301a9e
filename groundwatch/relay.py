"""The way from the store's outbox to a bus of many machines.

Whoever records a pass publishes it in the same SQLite transaction, into the store's own file. Where the
bus is another one, the relay ships these events to it in order per area. A crash between shipping and
recording ships an event twice, which changes nothing: its id says that it is the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from registry.bus import Bus, Delivery, Topic
from registry.bus.consume import consume
from registry.errors import GroundwatchError, Halt, Retry
from registry.events import Event
from registry.log import get_logger

log = get_logger(__name__)

EVERY_S = 0.5
"""Seconds between two looks at the outbox, and before another try where the bus is down."""


class Relay:
    """Ships what lies in the outbox. ``outbox`` and ``bus`` may be used by other threads meanwhile."""

    def __init__(self, outbox: Bus, bus: Bus, *, worker: str) -> None:
        self._outbox, self._bus, self._worker = outbox, bus, worker
        self._alone = threading.Lock()
        self._failure: Retry | None = None
        self._halt: Halt | None = None

    def check(self) -> None:
        """Raises Halt where the thread of ``shipping`` gave up: who goes on polling would fill the outbox."""
        if self._halt is not None:
            raise self._halt

    def ship(self, *, stop: Callable[[], bool] = lambda: False) -> int:
        """Ship all there is; how many events went. Raises Retry at the first that the bus does not take."""
        with self._alone:
            self._failure = None
            handled = consume(
                self._outbox,
                Topic.PASSES,
                self._publish,
                worker=self._worker,
                once=True,
                stop=lambda: stop() or self._failure is not None,
            )
            if self._failure is not None:
                raise self._failure
            return handled.done

    @contextmanager
    def shipping(self) -> Iterator[None]:
        """Ship from a thread as long as the block lasts; what is left then stays in the outbox."""
        leaving = threading.Event()
        thread = threading.Thread(target=self._keep_shipping, args=(leaving,), name="relay", daemon=True)
        thread.start()
        try:
            yield
        finally:
            leaving.set()
            thread.join()

    def _publish(self, event: Event, delivery: Delivery) -> None:
        try:
            self._bus.publish(Topic.PASSES, event, lane=delivery.lane)
        except Retry as exc:
            # The bus is down, not the event bad: it must neither wait long nor use up its attempts.
            self._failure = Retry(str(exc), after=EVERY_S)
            raise self._failure from exc

    def _keep_shipping(self, leaving: threading.Event) -> None:
        while not leaving.is_set():
            try:
                shipped = self.ship(stop=leaving.is_set)
                if shipped:
                    log.info("passes shipped to the bus", events=shipped)
            except Halt as exc:
                log.error("the relay stops", exc=exc)
                self._halt = exc
                return
            except GroundwatchError as exc:
                log.warning("outbox not shipped, will be tried again", reason=str(exc))
            leaving.wait(EVERY_S)
