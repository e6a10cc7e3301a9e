"""How long what failed waits before it is tried again."""

from __future__ import annotations

from pydantic import Field

from registry.values import Value


class Backoff(Value):
    """How long a failed event waits: ``base_s * factor ** (attempt - 1)``, capped, less some jitter."""

    base_s: float = Field(default=2.0, gt=0.0)
    factor: float = Field(default=2.0, ge=1.0)
    cap_s: float = Field(default=900.0, gt=0.0)
    jitter: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Largest share taken off at random, so that failed work does not come back all at once."""

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds to wait after ``attempt`` (1 = the first), with ``chance`` drawn from [0, 1)."""
        grown = self.base_s * self.factor ** min(attempt - 1, 64)
        return min(self.cap_s, grown) * (1.0 - self.jitter * chance)
