"""The command ``groundwatch``: one group, small modules, nothing heavy imported before it is used."""

from __future__ import annotations

import sys
import traceback

import click

from groundwatch.commands import (
    chips,
    demo,
    evaluation,
    files,
    latency,
    places,
    running,
    setup,
    training,
    watching,
)
from groundwatch.console import Group, Options
from registry.errors import GroundwatchError

INTERNAL_ERROR = 70
"""Exit code of an error that is ours (EX_SOFTWARE)."""


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="groundwatch")
def cli() -> None:
    """Watch mining permits and other areas for illegal excavation and deforestation.

    Start with `groundwatch demo`, or `groundwatch init` for a configuration of your own.
    """


for module in (setup, places, running, watching, latency, files, training, evaluation, chips, demo):
    for command in module.COMMANDS:
        cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; every error is one line, its class decides the exit code."""
    options = Options()
    try:
        code = cli.main(args=arguments, obj=options, standalone_mode=False) or 0
    except click.ClickException as exc:
        exc.show()
        code = exc.exit_code
    except click.exceptions.Abort:
        click.echo("groundwatch: stopped", err=True)
        code = 130
    except GroundwatchError as exc:
        code = _report(exc, options, text=str(exc), code=exc.exit_code)
    except Exception as exc:
        text = f"internal error: {type(exc).__name__}: {exc}; run again with -v and report it"
        code = _report(exc, options, text=text, code=INTERNAL_ERROR)
    sys.exit(code if isinstance(code, int) else 0)


def _report(exc: Exception, options: Options, *, text: str, code: int) -> int:
    if options.verbose:
        traceback.print_exception(exc)
    click.echo("groundwatch: " + " ".join(text.split()), err=True)
    return code
