"""One-off use on files: `groundwatch compare`. No history, no database.

A pair of pictures can't tell a new mine from a ploughed field as a history can; this says what changed
between images that somebody already has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from detector.images import Image, Scaling, read_image, seen_pixels
from detector.oneoff_files import (
    Layer,
    whole_results,
    write_classes,
    write_layers,
    write_picture,
    write_polygons,
)
from detector.oneoff_models import Models, check_pixel_size
from detector.pair_scores import PairScores, pair_scores
from detector.pairs import smoothed
from registry.detection import DetectionSettings
from registry.errors import InputError
from registry.models import IncidentKind

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

SCORE_NAMES = ("forest_loss", "transformation")
"""Band descriptions of scores.tif, in order."""

CLASS_CODES = {IncidentKind.FOREST_LOSS: 1, IncidentKind.EXCAVATION: 2}
"""Pixel values of the change mask."""


@dataclass(frozen=True)
class PairResult:
    """What was found between two images."""

    name: str
    folder: Path
    forest_loss_ha: float
    transformation_ha: float
    polygons: int
    seen_share: float
    """Share of the pixels seen at both dates."""
    model: str
    """Cards that were used, or SINGLE_DATES."""


def compare(
    before: Path,
    after: Path,
    bands: Sequence[str],
    *,
    out: Path,
    scaling: Scaling,
    models: Models,
    advance: Callable[[int], object] = lambda _n: None,
) -> tuple[PairResult, ...]:
    """Compare two files, or the equally named files of two folders. Raises InputError."""
    results = []
    for name, one, other in pairs_of(before, after):
        results.append(
            _compare_pair(name, one, other, bands=bands, out=out / name, scaling=scaling, models=models)
        )
        advance(1)
    return tuple(results)


def pairs_of(before: Path, after: Path) -> tuple[tuple[str, Path, Path], ...]:
    """(name, before, after) of each pair. Raises InputError where nothing pairs up."""
    if before.is_file() and after.is_file():
        return ((after.stem, before, after),)
    if not (before.is_dir() and after.is_dir()):
        raise InputError(f"{before} and {after} are not two files or two folders; give two of a kind")
    names = sorted(path.name for path in before.iterdir() if path.is_file() and (after / path.name).is_file())
    names = [name for name in names if Path(name).suffix.lower() in (".tif", ".tiff", ".vrt", ".jp2")]
    if not names:
        raise InputError(
            f"no image in {before} has the same name as one in {after}; name the files of a pair alike"
        )
    return tuple((Path(name).stem, before / name, after / name) for name in names)


def unpaired(before: Path, after: Path) -> tuple[str, ...]:
    """Names that only one of two folders holds: left out, and said."""
    if not (before.is_dir() and after.is_dir()):
        return ()
    one, other = ({path.name for path in folder.iterdir() if path.is_file()} for folder in (before, after))
    return tuple(sorted(one ^ other))


def _compare_pair(
    name: str, before: Path, after: Path, *, bands: Sequence[str], out: Path, scaling: Scaling, models: Models
) -> PairResult:
    first = read_image(before, bands, scaling=scaling)
    second = read_image(after, bands, scaling=scaling, onto=first)
    card = models.change(first.bands)
    may_lack: Collection[str] = ()
    if card is not None:
        check_pixel_size(card, first)
        may_lack = card.may_lack
    seen = seen_pixels(first, without=may_lack) & seen_pixels(second, without=may_lack)
    if not seen.any():
        raise InputError(
            f"{before} and {after} share no pixel seen at both dates; check extent, CRS and clouds"
        )
    scored = pair_scores(_clear(first, seen), _clear(second, seen), models=models)
    scores = scored.scores
    mask = _change_mask(scored, seen=seen, settings=models.settings, image=first)
    layers = [
        Layer(name, smoothed(scores[kind])) for name, kind in zip(SCORE_NAMES, CLASS_CODES, strict=True)
    ]
    labels, codes = _labels(CLASS_CODES), np.where(seen, mask, 255).astype(np.uint8)
    captions = (f"before: {before.name}", f"after: {after.name}")
    with whole_results(out) as folder:
        write_layers(folder / "scores.tif", first, layers)
        write_classes(folder / "change.tif", first, codes, labels=labels)
        hectares = write_polygons(folder / "changes.geojson", first, mask, labels=labels)
        write_picture(folder / "before_after.png", (first, second), mask, captions=captions, labels=labels)
    return PairResult(
        name=name,
        folder=out,
        forest_loss_ha=sum(ha for kind, ha in hectares if kind == IncidentKind.FOREST_LOSS),
        transformation_ha=sum(ha for kind, ha in hectares if kind == IncidentKind.EXCAVATION),
        polygons=len(hectares),
        seen_share=float(seen.mean()),
        model=scored.model,
    )


def _clear(image: Image, seen: Mask) -> dict[str, Float32]:
    return {name: np.where(seen, band, np.nan).astype(np.float32) for name, band in image.bands.items()}


def _change_mask(
    scored: PairScores, *, seen: Mask, settings: DetectionSettings, image: Image
) -> NDArray[np.uint8]:
    """(h, w) class codes of the flagged pixels; excavation wins over loss.

    Components below the minimum mapping unit are dropped.
    """
    mask = np.zeros(image.shape, dtype=np.uint8)
    fewest = max(1, round(settings.objects.minimum_mapping_unit_ha / image.pixel_hectares()))
    for kind in (IncidentKind.FOREST_LOSS, IncidentKind.EXCAVATION):
        mask[_at_least(seen & scored.flagged(kind), fewest)] = CLASS_CODES[kind]
    return mask


def _at_least(hit: Mask, pixels: int) -> Mask:
    """Connected components (4-connectivity) of at least so many pixels."""
    components, _ = label(hit)
    large = np.bincount(components.ravel()) >= pixels
    large[0] = False
    kept: Mask = large[components]
    return kept


def _labels(codes: Mapping[IncidentKind, int]) -> dict[int, str]:
    return {code: str(kind.value) for kind, code in codes.items()}
