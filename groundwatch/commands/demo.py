"""See it work: a simulated mining district, end to end, offline."""

from __future__ import annotations

from pathlib import Path

import click

from groundwatch.console import Command, Options, pass_options, show_rows


@click.command(cls=Command)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-out"),
    show_default=True,
    help="Folder for the simulated world, the database, the notices and the page.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed is another district.")
@pass_options
def demo(options: Options, out: Path, seed: int) -> None:
    """Run the whole job on a simulated mining district: 18 months, no network, a few minutes."""
    from groundwatch.demo import run_demo

    found = run_demo(out, seed=seed)
    show_rows(options, found.rows, empty="no incidents and no truth")
    click.echo(f"\nnotices as files: {found.notices}\npage: {found.page}", err=options.as_json)


COMMANDS = (demo,)
