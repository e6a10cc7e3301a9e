"""What a process says of its own health, and which areas have gone silent. Pure, bar the clock of signs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from registry.operations_settings import OperationsSettings
from registry.stored import StoreStatus


@dataclass
class Health:
    """What the main loop says of itself; read by the thread that serves it."""

    stall_s: float
    """Seconds without a sign of life after which the process counts as stalled."""
    last_sign: float = field(default_factory=time.monotonic)
    """By the monotonic clock."""
    trouble: str = "starting"
    """Why it is not ready; empty = it is."""

    def is_alive(self) -> bool:
        """Whether there was a sign of life of late."""
        return time.monotonic() - self.last_sign <= self.stall_s


@dataclass(frozen=True)
class Work:
    """What waits, and what was done of late."""

    waiting: int
    """Passes on the bus."""
    dead: int
    """Events that were given up and lie there."""
    died: int
    """Of these, within the last day."""
    failed_deliveries: int
    seen: int
    """Passes that came within the last day."""
    inferred: int
    """Passes that were worked off within the last day."""


def alarms(work: Work, silent: Mapping[str, str]) -> tuple[str, ...]:
    """What a person should look into now, one line each with the remedy."""
    told = [f"{area} ({why})" for area, why in silent.items()]
    named = ", ".join(told[:5]) + (" and others" if len(told) > 5 else "")
    found = {
        f"{len(silent)} areas are silent: {named}; see `groundwatch check`": silent,
        f"all {work.died} events of the last day were given up, none was worked off; "
        "see `groundwatch dead list`, mend the cause, then `groundwatch dead retry --all`": work.died
        and not work.inferred,
        f"{work.dead} dead letters; see `groundwatch dead list`": work.dead,
        f"the lag grows: {work.waiting} passes wait, {work.seen} came within a day and {work.inferred} "
        "were worked off; start more detectors, or see why they are slow": work.waiting
        and work.seen > work.inferred,
        f"{work.failed_deliveries} notices did not reach their target; "
        "see `groundwatch dead list`": work.failed_deliveries,
    }
    return tuple(text for text, is_so in found.items() if is_so)


def silent_areas(status: StoreStatus, settings: OperationsSettings, *, now: datetime) -> dict[str, str]:
    """Areas that heard nothing for longer than allowed, or have no pass yet, and what that is.

    Allowed are ``silence_revisits`` of the area's own revisit where it is known, ``silence_days`` at most.
    """
    found = {}
    for area, last in sorted(status.last_pass.items()):
        revisit = status.revisit_days.get(area, settings.silence_days)
        allowed = min(settings.silence_days, settings.silence_revisits * revisit)
        if last is None:
            found[area] = "no pass yet"
        elif (silence := now - last) > timedelta(days=allowed):
            found[area] = f"no pass for {silence.total_seconds() / 86_400.0:.1f} days, {allowed:.1f} allowed"
    return found
