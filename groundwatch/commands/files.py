"""One-off use on files somebody already has: segment an image, compare two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from groundwatch.console import Command, Options, pass_options, progress, say, show_rows, show_value

if TYPE_CHECKING:
    from detector.oneoff_models import Models

IMAGE = click.Path(path_type=Path, exists=True)


def _image_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Where a network computes; auto = a GPU where one is at hand.",
        ),
        click.option(
            "--model",
            help="Model card to use, by its id, instead of the first of detection.models that fits.",
        ),
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
            help="Bands of the file by name, in its order, e.g. B02,B03,B04,B08[,B11,...] (default: as the "
            "file describes them).",
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
    options: Options,
    before: Path,
    after: Path,
    bands: str | None,
    out: Path,
    scale: float,
    offset: float,
    model: str | None,
    device: str,
) -> None:
    """Compare two images, or the equally named images of two folders, of one place.

    For each pair OUT/<name>/ gets scores.tif (forest_loss, transformation), change.tif,
    changes.geojson and before_after.png.
    """
    from detector.images import Scaling
    from detector.oneoff import compare as run_compare
    from detector.oneoff import pairs_of, unpaired

    (_, first, _), *_others = pairs_of(before, after)
    names = _bands(bands, first)
    say(f"left out: {name} is in one folder only" for name in unpaired(before, after))
    with progress(None, what="comparing", unit="px") as advance:
        results = run_compare(
            before,
            after,
            names,
            out=out,
            scaling=Scaling(scale, offset),
            models=_models(options, model, device),
            advance=advance,
        )
    rows = [
        {
            "pair": one.name,
            "forest_loss_ha": round(one.forest_loss_ha, 2),
            "transformation_ha": round(one.transformation_ha, 2),
            "polygons": one.polygons,
            "seen_percent": round(100 * one.seen_share, 1),
            "model": one.model,
            "folder": str(one.folder),
        }
        for one in results
    ]
    show_rows(options, rows, empty="no pairs")


@click.command(cls=Command)
@click.argument("stacks", metavar="STACK...", type=IMAGE, nargs=-1, required=True)
@click.option(
    "--orientations",
    type=click.Choice(["1", "2", "4"]),
    help="In how many our networks see each image; more is right more often and takes as many times as long "
    "(default: files.orientations, 2).",
)
@_image_options
@pass_options
def segment(
    options: Options,
    stacks: tuple[Path, ...],
    orientations: str | None,
    bands: str | None,
    out: Path,
    scale: float,
    offset: float,
    model: str | None,
    device: str,
) -> None:
    """Map what is where on one image, or on several dates of one place.

    The chances of several dates are averaged where they saw the ground, which fills what clouds hide in one
    and is right more often; what changed between them shows only once most dates lie after it. All must lie
    on one grid and hold the same bands at the same scale and offset.

    A model with heads (a network) gives per head classes_HEAD.tif with names and colours, and
    classes_HEAD.geojson with hectares; probabilities.tif; and classes.png with legends. Spectral models
    give classes.tif and classes.geojson of forest and transformed ground.
    """
    from detector.images import Scaling
    from detector.segmenting import segment as run_segment

    with progress(None, what="mapping", unit="px") as advance:
        found = run_segment(
            stacks,
            _bands(bands, stacks[0]),
            out=out,
            scaling=Scaling(scale, offset),
            models=_models(options, model, device, orientations=orientations),
            advance=advance,
        )
    sizes = {f"{name}_ha": round(value, 2) for name, value in found.hectares.items()}
    show_value(options, sizes | {"model": found.model, "folder": str(out)})


def _bands(given: str | None, path: Path) -> tuple[str, ...]:
    from detector.images import described_bands, parse_bands

    return described_bands(path) if given is None else parse_bands(given)


def _models(options: Options, model: str | None, device: str, *, orientations: str | None = None) -> Models:
    from detector.models import load_cards, shipped_cards
    from detector.oneoff_models import Models
    from registry.settings import load_settings

    settings = load_settings(options.config_path())
    cards = load_cards((shipped_cards(), *settings.model_cards))
    files = settings.files
    if orientations is not None:
        files = files.model_copy(update={"orientations": int(orientations)})
    return Models(cards=cards, settings=settings.detection, files=files, named=model, device=device)


COMMANDS = (compare, segment)
