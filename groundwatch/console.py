"""What every command shares: global options, tables, JSON, progress. Imports nothing heavy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from groundwatch.wiring import App

DEFAULT_CONFIG = "groundwatch.yml"


@dataclass
class Options:
    """The global options, wherever on the command line they stood."""

    config: Path | None = None
    verbose: bool = False
    as_json: bool = False

    @contextmanager
    def app(self) -> Iterator[App]:
        """The configured program; closed at the end."""
        from groundwatch.wiring import open_app

        with open_app(self.config_path(), verbose=self.verbose) as app:
            yield app

    def config_path(self) -> Path | None:
        """The file named, else groundwatch.yml here if there is one, else the defaults."""
        if self.config is not None:
            return self.config
        here = Path(DEFAULT_CONFIG)
        return here if here.is_file() else None


def _remember(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        options = context.ensure_object(Options)
        if value:
            setattr(options, name, value)
        return value

    return callback


def global_options() -> list[click.Option]:
    """``--config``, ``-v`` and ``--json``: accepted before and after the command's name."""
    return [
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path, dir_okay=False),
            expose_value=False,
            callback=_remember("config"),
            help=f"Configuration file (default: ./{DEFAULT_CONFIG} if it is there).",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=_remember("verbose"),
            help="Say more; show the traceback of an error.",
        ),
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            expose_value=False,
            callback=_remember("as_json"),
            help="Print JSON instead of a table.",
        ),
    ]


class Command(click.Command):
    """A command that also takes the global options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(global_options())


class Group(click.Group):
    """A group whose commands take the global options."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(global_options())


Group.group_class = Group

pass_options = click.make_pass_decorator(Options, ensure=True)


class Day(click.ParamType[datetime]):
    """A day, at its start in UTC."""

    name = "YYYY-MM-DD"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment; fails on anything but YYYY-MM-DD."""
        if isinstance(value, datetime):
            return value
        try:
            return datetime.strptime(str(value), "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            self.fail(f"{value!r} is not a day; write it as 2024-03-31", param, ctx)


def show_rows(options: Options, rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
    """A table for people, or JSON for programs; ``empty`` is said where there is nothing."""
    if options.as_json:
        click.echo(json.dumps(list(rows), indent=2, default=str))
    elif not rows:
        click.echo(empty)
    else:
        click.echo(table(rows))


def show_value(options: Options, value: Mapping[str, Any]) -> None:
    """One thing, as ``key: value`` lines or JSON."""
    if options.as_json:
        click.echo(json.dumps(value, indent=2, default=str))
        return
    width = max((len(key) for key in value), default=0)
    for key, item in value.items():
        click.echo(f"{key:<{width}}  {_cell(item)}")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Columns aligned: numbers right, texts left."""
    heads = list(rows[0])
    cells = [[_cell(row.get(head)) for head in heads] for row in rows]
    widths = [max(len(head), *(len(row[i]) for row in cells)) for i, head in enumerate(heads)]
    numeric = [all(isinstance(row.get(head), int | float | None) for row in rows) for head in heads]
    lines = [_line(heads, widths, numeric), _line(["-" * width for width in widths], widths, numeric)]
    lines += [_line(row, widths, numeric) for row in cells]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    )
    return "  ".join(padded).rstrip()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    return str(value)


@contextmanager
def progress(total: int | None, *, what: str, unit: str = "pass") -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, silence elsewhere; yields a function that advances it."""
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit=unit, disable=not sys.stderr.isatty(), leave=False) as bar:

        def advance(steps: int) -> None:
            bar.update(steps)

        yield advance


Step = Callable[[int, int, str], None]
"""Told after each step: steps done, steps in all, what was done."""


@contextmanager
def steps(what: str) -> Iterator[Step]:
    """A progress bar for work that learns on the way how much there is; silence off a terminal."""
    from tqdm import tqdm

    with tqdm(desc=what, unit="step", disable=not sys.stderr.isatty(), leave=False) as bar:

        def step(done: int, total: int, doing: str) -> None:
            bar.total = total
            bar.set_postfix_str(doing, refresh=False)
            bar.update(done - bar.n)

        yield step


def say(texts: Iterable[str]) -> None:
    """Lines for people, on standard error, so that JSON on standard output stays clean."""
    for text in texts:
        click.echo(text, err=True)
