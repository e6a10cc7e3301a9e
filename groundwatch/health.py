"""What a process says of its own health, and which areas have gone silent. Pure, bar the clock of signs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta


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


def silent_areas(
    last_pass: Mapping[str, datetime | None], *, now: datetime, days: float
) -> dict[str, datetime | None]:
    """Areas whose newest pass was acquired more than ``days`` ago, or that have none yet."""
    limit = now - timedelta(days=days)
    return {area: last for area, last in sorted(last_pass.items()) if last is None or last < limit}
