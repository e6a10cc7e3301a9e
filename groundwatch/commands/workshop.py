"""What the commands that train and judge share: their options, and where they compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from groundwatch.console import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector.training.train_set import Workshop

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
DEVICES = click.Choice(["auto", "cpu", "cuda"])


@contextmanager
def show_bar(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Progress of steps that have no unit."""
    with progress(total, what=what, unit="") as advance:
        yield advance


def out_option(what: str) -> Callable[[Any], Any]:
    """``--out``: where everything that a command makes goes."""
    return click.option("--out", type=FOLDER, required=True, help=what)


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options on where and how to compute."""
    for option in (
        click.option("--processes", type=click.IntRange(1), default=2, show_default=True,
                     help="Processes that make chips."),
        click.option("--threads", type=click.IntRange(1),
                     help="Threads of the network (default: all cores)."),
        click.option("--device", type=DEVICES, default="auto", show_default=True,
                     help="Where to compute; auto takes a GPU where one is at hand."),
        click.option("--cache", type=FOLDER, help="Folder for chips made once (default: OUT/cache)."),
    ):  # fmt: skip
        command = option(command)
    return command


def open_workshop(
    out: Path, cache: Path | None, device: str, threads: int | None, processes: int
) -> Workshop:
    """Where and with what to compute, as the options say; logging is set up."""
    from detector.engine import Device, pick_device
    from detector.training.train_set import Workshop, use_threads
    from registry.log import configure

    configure()
    if threads:
        use_threads(threads)
    return Workshop(
        out=out,
        cache=cache or out / "cache",
        bar=show_bar,
        device=pick_device(Device(device)),
        choice=Device(device),
        processes=processes,
    )
