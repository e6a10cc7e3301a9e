"""What a process counts and measures of itself, for whoever watches it. Nobody listens unless told to.

Rooms call ``count``, ``observe`` and ``show`` with names out of METRICS. The program may hand in a
recorder once, at its start; without one nothing is kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol


class Kind(StrEnum):
    """Prometheus's types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One thing that is measured."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, seconds."""


_WORK_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
_DAY_S = 86_400.0
_AGE_S = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 90.0, 365.0)

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "groundwatch_polls_total": Metric(Kind.COUNTER, "Polls of all providers, by result.", ("result",)),
        "groundwatch_passes_queued_total": Metric(Kind.COUNTER, "Passes that ingest handed to the bus."),
        "groundwatch_events_total": Metric(
            Kind.COUNTER,
            "Events handled, by topic and outcome: done, retried, rejected.",
            ("topic", "outcome"),
        ),
        "groundwatch_event_seconds": Metric(
            Kind.HISTOGRAM, "Seconds that handling one event took, by topic.", ("topic",), _WORK_S
        ),
        "groundwatch_stage_seconds": Metric(
            Kind.HISTOGRAM,
            "Seconds that a stage of a pass took: look (read, weigh, score), fold, products, judge.",
            ("stage",),
            _WORK_S,
        ),
        "groundwatch_seen_age_seconds": Metric(
            Kind.HISTOGRAM,
            "Age of a live pass, since it was acquired, when ingest recorded it.",
            (),
            tuple(days * _DAY_S for days in _AGE_S),
        ),
        "groundwatch_found_age_seconds": Metric(
            Kind.HISTOGRAM,
            "Age of a pass, since it was acquired, when what it changed was published.",
            (),
            tuple(days * _DAY_S for days in _AGE_S),
        ),
        "groundwatch_told_age_seconds": Metric(
            Kind.HISTOGRAM,
            "Age of a live pass, since it was acquired, when a notice that it led to was delivered.",
            (),
            tuple(days * _DAY_S for days in _AGE_S),
        ),
        "groundwatch_deliveries_total": Metric(
            Kind.COUNTER, "Attempts to deliver a notice, by result (delivered, retried, failed).", ("result",)
        ),
        "groundwatch_queue_events": Metric(
            Kind.GAUGE,
            "Events on the bus, by queue and state (waiting, in_flight, dead).",
            ("queue", "state"),
        ),
        "groundwatch_silent_areas": Metric(
            Kind.GAUGE, "Areas without a pass for longer than their own revisit makes likely."
        ),
        "groundwatch_config_refused": Metric(
            Kind.GAUGE, "1 where the configuration was changed and refused; the old one is in force."
        ),
        "groundwatch_up_timestamp_seconds": Metric(
            Kind.GAUGE, "When the main loop, or a worker over a long event, last gave a sign of life."
        ),
    }
)
"""All that can be recorded, by name."""


class Recorder(Protocol):
    """Keeps what is recorded. Called from several threads."""

    def count(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Add to a counter."""

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Add to a histogram."""

    def show(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Set a gauge."""


_recorder: list[Recorder] = []


def record_with(recorder: Recorder | None) -> None:
    """Hand everything to ``recorder`` from here on; None = keep nothing."""
    _recorder[:] = [] if recorder is None else [recorder]


def count(name: str, value: float = 1.0, **labels: str) -> None:
    """Add to a counter."""
    for recorder in _recorder:
        recorder.count(name, value, labels)


def observe(name: str, value: float, **labels: str) -> None:
    """Add one measurement to a histogram."""
    for recorder in _recorder:
        recorder.observe(name, value, labels)


def show(name: str, value: float, **labels: str) -> None:
    """Set a gauge."""
    for recorder in _recorder:
        recorder.show(name, value, labels)


@contextmanager
def timed(name: str, **labels: str) -> Iterator[None]:
    """Observe how many seconds the block took, however it ended."""
    began = time.monotonic()
    try:
        yield
    finally:
        observe(name, time.monotonic() - began, **labels)


def alive() -> None:
    """Give a sign of life."""
    for recorder in _recorder:
        recorder.show("groundwatch_up_timestamp_seconds", time.monotonic(), {})
