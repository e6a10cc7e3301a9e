"""Chips: simulated ones with known labels, and ones cut from a watched area for people to label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from groundwatch.commands.workshop import out_option
from groundwatch.console import Command, Day, Options, pass_options, progress, show_rows

if TYPE_CHECKING:
    from datetime import datetime

NULL_ISLAND = (32631, 166_020)
"""UTM zone and easting of 0 N, 0 E in the open sea, where what lies nowhere is customarily put."""
SHOWN_FACTS = ("climate", "mine_type", "material", "look_alike", "sky")


@click.command(cls=Command)
@out_option("Folder for the chips: DIR/NAME/pixels.tif, labels.tif, picture.png, overlay.png, chip.json.")
@click.option("--chips", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.option("--recipe", type=click.Choice(["train", "heldout", "shifted"]), default="train",
              show_default=True, help="Which worlds they are drawn from.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed is other chips.")
@click.option("--size", type=click.IntRange(64, 1024), default=256, show_default=True,
              help="Side of a chip in pixels.")  # fmt: skip
@click.option("--pairs", is_flag=True, help="Each place at two dates, with what changed.")
@pass_options
def simulate(options: Options, out: Path, chips: int, recipe: str, seed: int, size: int, pairs: bool) -> None:
    """Write simulated chips with known labels, as files and pictures.

    They lie on the equator at 0 degrees east, in the sea, so that `segment` and `compare` take them.
    """
    from detector.training.folder import write_chip, write_pair
    from detector.training.gallery import write_overlay
    from groundwatch.simulated import simulated
    from registry.grid import RESOLUTION, Grid

    source = simulated(recipe, seed, size=size)
    zone, easting = NULL_ISLAND
    grid = Grid(epsg=zone, left=easting, top=size * RESOLUTION, width=size, height=size)
    rows = []
    with progress(chips, what="simulating", unit="chip") as advance:
        for index in range(chips):
            if pairs:
                pair = source.pair(index)
                chip, folder = pair.after, write_pair(out, pair, grid=grid)
            else:
                chip = source.chip(index)
                folder = write_chip(out, chip, grid=grid)
            write_overlay(folder, chip)
            facts = {key: chip.facts.get(key, "") for key in SHOWN_FACTS}
            rows.append({"chip": chip.name, "acquired": chip.acquired} | facts)
            advance(1)
    show_rows(options, rows, empty="no chips")


@click.command(cls=Command)
@click.argument("area_id")
@out_option("Folder for the chips.")
@click.option("--since", type=Day(), help="First acquisition day, UTC; default: all that is recorded.")
@click.option("--until", type=Day(), help="Last acquisition day, UTC.")
@click.option("--size", type=click.IntRange(64, 1024), default=256, show_default=True,
              help="Side of a chip in pixels of 10 m.")  # fmt: skip
@click.option("--windows", type=click.IntRange(1), default=40, show_default=True,
              help="Windows at most, spread over the area.")  # fmt: skip
@click.option("--dates", type=click.IntRange(1), default=2, show_default=True, help="Dates per window.")
@click.option("--clear", type=click.FloatRange(0.0, 1.0), default=0.9, show_default=True,
              help="Least share of a chip that is seen clearly.")  # fmt: skip
@pass_options
def chips(
    options: Options,
    area_id: str,
    out: Path,
    since: datetime | None,
    until: datetime | None,
    size: int,
    windows: int,
    dates: int,
    clear: float,
) -> None:
    """Cut chips of a watched area from its recorded passes, for people to label.

    OUT/NAME/picture.png is what labellers upload to CVAT; pixels.tif holds all 14 bands. Give the export
    to `groundwatch train --chips OUT --labels EXPORT.zip`.
    """
    from datetime import timedelta

    from groundwatch.cutting import Cut, cut_area

    with options.app() as app:
        area = app.store.area(area_id)
        end = until + timedelta(days=1) if until else None
        timeline = app.store.passes(area_id, since=since, until=end)
        cut = Cut(size=size, windows=windows, dates=dates, clear=clear)
        with progress(None, what="cutting", unit="chip") as advance:
            found = cut_area(
                area, timeline, out, cut,
                reader=app.reader, settings=app.settings.detection_for(area_id), advance=advance,
            )  # fmt: skip
    rows = [{"chip": one.name, "acquired": one.acquired} for one in found]
    show_rows(options, rows, empty="no chip is clear enough; lower --clear or give more dates")


COMMANDS = (simulate, chips)
