"""Run: poll, detect, notify - together or each as its own process - and backfill."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from groundwatch.console import Command, Day, Options, pass_options, say, show_value

if TYPE_CHECKING:
    from groundwatch.crank import Tally

ONCE = click.option("--once", is_flag=True, help="Do what there is to do now, then stop.")


@click.command(cls=Command)
@ONCE
@pass_options
def run(options: Options, once: bool) -> None:
    """Poll, detect and notify in one process: the default way to run."""
    from groundwatch.crank import run as turn

    with options.app() as app:
        _show(options, turn(app, once=once, roles=("poll", "detect", "notify")))


@click.command(cls=Command)
@ONCE
@pass_options
def poll(options: Options, once: bool) -> None:
    """Ask the providers for new passes over the areas and queue them."""
    from groundwatch.crank import run as turn

    with options.app() as app:
        _show(options, turn(app, once=once, roles=("poll",)))


@click.command(cls=Command)
@ONCE
@pass_options
def detect(options: Options, once: bool) -> None:
    """Work off the queue of passes: read, fuse, score, fold, judge."""
    from groundwatch.crank import run as turn

    with options.app() as app:
        _show(options, turn(app, once=once, roles=("detect",)))


@click.command(cls=Command)
@ONCE
@pass_options
def notify(options: Options, once: bool) -> None:
    """Work off the queue of changes: decide who hears of them, and send."""
    from groundwatch.crank import run as turn

    with options.app() as app:
        _show(options, turn(app, once=once, roles=("notify",)))


@click.command(cls=Command)
@click.option("--area", "area_ids", multiple=True, help="Area to backfill (may be repeated); default all.")
@click.option("--since", type=Day(), required=True, help="First acquisition day, UTC.")
@click.option("--until", type=Day(), help="Last acquisition day, UTC; default today.")
@click.option("--no-detect", is_flag=True, help="Only queue the passes.")
@pass_options
def backfill(
    options: Options, area_ids: tuple[str, ...], since: datetime, until: datetime | None, no_detect: bool
) -> None:
    """Fetch the passes of a period and work them off in order of acquisition."""
    from groundwatch.crank import backfill as fill

    roles = () if no_detect else ("detect", "notify")
    last = until.date() if until else None
    with options.app() as app:
        for area_id in area_ids:
            app.store.area(area_id)
        _show(options, fill(app, area_ids, since=since.date(), until=last, roles=roles))


def _show(options: Options, tally: Tally) -> None:
    say(tally.problems)
    show_value(options, tally.summary())


COMMANDS = (run, poll, detect, notify, backfill)
