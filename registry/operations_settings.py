"""How a running process can be watched."""

from __future__ import annotations

from pydantic import Field

from registry.values import Value


class OperationsSettings(Value):
    """Metrics and health, for operators."""

    listen: str | None = Field(default=None, pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):\d{1,5}$")
    """HOST:PORT that serves /metrics, /healthz and /readyz, such as 127.0.0.1:9464; null = nothing."""
    stall_s: float = Field(default=900.0, ge=1.0, le=86_400.0)
    """Seconds without a sign of life after which /healthz says 503; a busy worker gives one every ten."""
    silence_days: float = Field(default=15.0, gt=0.0, le=3_650.0)
    """Most days without a pass before ``status`` names an area as silent: a place is passed within five."""
    silence_revisits: float = Field(default=4.0, ge=1.0, le=1_000.0)
    """The same as a multiple of the area's own revisit, the mean gap of its passes of the last 60 days."""
