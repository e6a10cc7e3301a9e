"""How long passes and notices took, step by step."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from groundwatch.console import Command, Options, pass_options, show_rows

if TYPE_CHECKING:
    from registry.stored import Times

STEPS = ("sensed", "published", "seen", "inferred", "confirmed", "delivered")
"""In the order in which they come."""


@click.command(cls=Command)
@click.option("--area", "area_id", help="Only passes of this area.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Passes shown.")
@pass_options
def latency(options: Options, area_id: str | None, limit: int) -> None:
    """Show when the newest passes were sensed, published, seen, inferred, and people told."""
    with options.app() as app:
        if area_id is not None:
            app.store.area(area_id)
        found = app.store.times(area_id, limit=limit)
    if options.as_json:
        show_rows(options, [one.model_dump(mode="json") for one in found], empty="")
        return
    rows = [
        {"area": one.area_id, "pass": one.pass_id[:8], "lane": one.lane.value, **times_row(one)}
        for one in found
    ]
    show_rows(options, rows, empty="no passes yet; `groundwatch poll` looks for some")


def times_row(one: Times) -> dict[str, Any]:
    """The moment it was sensed, and how long after that each step was done."""
    return {
        "sensed": f"{one.sensed:%Y-%m-%d %H:%M}",
        **{step: _after(one.sensed, getattr(one, step)) for step in STEPS[1:]},
    }


def _after(sensed: datetime, moment: datetime | None) -> str:
    """``+5h12`` or ``+3d04h``; a minus where a clock is wrong; empty where it did not happen yet."""
    if moment is None:
        return ""
    minutes = round((moment - sensed).total_seconds() / 60.0)
    sign, minutes = ("-" if minutes < 0 else "+"), abs(minutes)
    days, hours = minutes // 1440, minutes // 60 % 24
    return f"{sign}{days}d{hours:02d}h" if days else f"{sign}{hours}h{minutes % 60:02d}"


COMMANDS = (latency,)
