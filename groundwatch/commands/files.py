"""One-off use on files somebody already has: segment an image, compare two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from groundwatch.console import Command, Options, pass_options, progress, say, show_rows, show_value

if TYPE_CHECKING:
    from detector.oneoff import Models

IMAGE = click.Path(path_type=Path, exists=True)


def _image_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--offset", type=float, default=0.0, show_default=True, help="Added after scaling."),
        click.option(
            "--scale",
            type=float,
            default=1e-4,
            show_default=True,
            help="Reflectance of one step of the numbers.",
        ),
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            required=True,
            help="Folder for the results.",
        ),
        click.option(
            "--bands",
            required=True,
            help="Bands of the file by name, in its order, e.g. B02,B03,B04,B08[,B11,...].",
        ),
    ):
        command = option(command)
    return command


@click.command(cls=Command)
@click.argument("before", type=IMAGE)
@click.argument("after", type=IMAGE)
@_image_options
@pass_options
def compare(
    options: Options, before: Path, after: Path, bands: str, out: Path, scale: float, offset: float
) -> None:
    """Compare two images, or the equally named images of two folders, of one place.

    For each pair OUT/<name>/ gets scores.tif (forest_loss, transformation), change.tif,
    changes.geojson and before_after.png.
    """
    from detector.images import Scaling, parse_bands
    from detector.oneoff import compare as run_compare
    from detector.oneoff import pairs_of, unpaired

    names = parse_bands(bands)
    total = len(pairs_of(before, after))
    say(f"left out: {name} is in one folder only" for name in unpaired(before, after))
    with progress(total, what="comparing", unit="pair") as advance:
        results = run_compare(
            before,
            after,
            names,
            out=out,
            scaling=Scaling(scale, offset),
            models=_models(options),
            advance=advance,
        )
    rows = [
        {
            "pair": one.name,
            "forest_loss_ha": round(one.forest_loss_ha, 2),
            "transformation_ha": round(one.transformation_ha, 2),
            "polygons": one.polygons,
            "seen_percent": round(100 * one.seen_share, 1),
            "folder": str(one.folder),
        }
        for one in results
    ]
    show_rows(options, rows, empty="no pairs")


@click.command(cls=Command)
@click.argument("stack", type=IMAGE)
@_image_options
@pass_options
def segment(options: Options, stack: Path, bands: str, out: Path, scale: float, offset: float) -> None:
    """Map forest and transformed ground on one image: classes.tif, probabilities.tif, polygons, picture."""
    from detector.images import Scaling, parse_bands
    from detector.oneoff import segment as run_segment

    found = run_segment(
        stack, parse_bands(bands), out=out, scaling=Scaling(scale, offset), models=_models(options)
    )
    show_value(
        options, {f"{name}_ha": round(value, 2) for name, value in found.items()} | {"folder": str(out)}
    )


def _models(options: Options) -> Models:
    from detector.models import load_cards, shipped_cards
    from detector.oneoff import Models
    from registry.settings import load_settings

    settings = load_settings(options.config_path())
    return Models(cards=load_cards((shipped_cards(), *settings.model_cards)), settings=settings.detection)


COMMANDS = (compare, segment)
