"""Set up: a starting configuration, and a check of everything it names."""

from __future__ import annotations

from pathlib import Path

import click

from groundwatch.console import Command, Options, pass_options, show_rows


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
def init(folder: Path) -> None:
    """Write a commented configuration to start from (and its JSON Schema for editors)."""
    from registry.settings import write_starter

    for path in write_starter(folder):
        click.echo(f"wrote {path}")
    click.echo("next: groundwatch area add FILE, groundwatch permit import FILE, groundwatch check")


@click.command(cls=Command)
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--offline", is_flag=True, help="Only validate; reach nothing.")
@pass_options
def check(options: Options, file: Path | None, offline: bool) -> None:
    """Validate the configuration, then reach provider, storage and alert targets."""
    from groundwatch.checks import run_checks

    if file is not None:
        options.config = file
    with options.app() as app:
        rows = run_checks(app, offline=offline)
    show_rows(options, rows, empty="nothing to check")
    failed = [row for row in rows if row["result"] == "failed"]
    if failed:
        raise click.exceptions.Exit(2)


COMMANDS = (init, check)
