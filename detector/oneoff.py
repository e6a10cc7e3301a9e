"""One-off use on files: `groundwatch compare` and `groundwatch segment`. No history, no database.

A pair of pictures can't tell a new mine from a ploughed field as a history can; these commands say
what changed, or what is where, on images that somebody already has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from detector.images import Image, Scaling, read_image
from detector.models import Card, choose, score
from detector.oneoff_files import Layer, write_classes, write_layers, write_picture, write_polygons
from detector.pairs import forest_loss, smoothed, transformation
from detector.quality import cloud_mask
from registry.detection import DetectionSettings
from registry.errors import InputError
from registry.models import IncidentKind, Target

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

SCORE_NAMES = ("forest_loss", "transformation")
"""Band descriptions of scores.tif, in order."""

CLASS_CODES = {IncidentKind.FOREST_LOSS: 1, IncidentKind.EXCAVATION: 2}
"""Pixel values of the change mask."""

THRESHOLDS = {IncidentKind.FOREST_LOSS: 0.20, IncidentKind.EXCAVATION: 0.05}
"""Scores from which a pixel of a pair is called changed (docs/models.md says how they were found)."""

SEGMENT_CODES = {Target.FOREST: 1, Target.TRANSFORMED: 2}
"""Pixel values of the class map."""


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


@dataclass(frozen=True)
class Models:
    """The cards to choose from and the preferences."""

    cards: Mapping[str, Card]
    settings: DetectionSettings

    def probability(self, target: Target, bands: Mapping[str, Float32]) -> Float32:
        """(h, w) probability of a target from the best card these bands can feed."""
        order = getattr(self.settings.models, target.value)
        card = choose(self.cards, order, bands.keys())
        logit = score(card, bands)
        probability: Float32 = (1.0 / (1.0 + np.exp(-logit))).astype(np.float32)
        return probability


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
    seen = _seen(first) & _seen(second)
    if not seen.any():
        raise InputError(
            f"{before} and {after} share no pixel seen at both dates; check extent, CRS and clouds"
        )
    scores = _scores(first, second, seen=seen, models=models)
    mask = _change_mask(scores, seen=seen, settings=models.settings, image=first)
    layers = [
        Layer(name, smoothed(scores[kind])) for name, kind in zip(SCORE_NAMES, CLASS_CODES, strict=True)
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_layers(out / "scores.tif", first, layers)
    write_classes(
        out / "change.tif", first, np.where(seen, mask, 255).astype(np.uint8), labels=_labels(CLASS_CODES)
    )
    hectares = write_polygons(out / "changes.geojson", first, mask, labels=_labels(CLASS_CODES))
    write_picture(
        out / "before_after.png",
        (first, second),
        mask,
        captions=(f"before: {before.name}", f"after: {after.name}"),
        labels=_labels(CLASS_CODES),
    )
    return PairResult(
        name=name,
        folder=out,
        forest_loss_ha=sum(ha for kind, ha in hectares if kind == IncidentKind.FOREST_LOSS),
        transformation_ha=sum(ha for kind, ha in hectares if kind == IncidentKind.EXCAVATION),
        polygons=len(hectares),
        seen_share=float(seen.mean()),
    )


def _scores(before: Image, after: Image, *, seen: Mask, models: Models) -> dict[IncidentKind, Float32]:
    def clear(image: Image) -> dict[str, Float32]:
        return {name: np.where(seen, band, np.nan).astype(np.float32) for name, band in image.bands.items()}

    one, other = clear(before), clear(after)
    return {
        IncidentKind.FOREST_LOSS: forest_loss(one, other, models.probability(Target.FOREST, one)),
        IncidentKind.EXCAVATION: transformation(
            one,
            other,
            models.probability(Target.TRANSFORMED, one),
            models.probability(Target.TRANSFORMED, other),
        ),
    }


def _seen(image: Image) -> Mask:
    finite = np.isfinite(np.stack(list(image.bands.values()))).all(axis=0)
    seen: Mask = finite & ~cloud_mask(image.bands, image.scl)
    return seen


def _change_mask(
    scores: Mapping[IncidentKind, Float32], *, seen: Mask, settings: DetectionSettings, image: Image
) -> NDArray[np.uint8]:
    """(h, w) class codes where a pixel and its neighbourhood both changed; excavation wins over loss.

    Components below the minimum mapping unit are dropped.
    """
    mask = np.zeros(image.shape, dtype=np.uint8)
    fewest = max(1, round(settings.objects.minimum_mapping_unit_ha / image.pixel_hectares()))
    for kind in (IncidentKind.FOREST_LOSS, IncidentKind.EXCAVATION):
        with np.errstate(invalid="ignore"):
            hit = seen & (scores[kind] >= THRESHOLDS[kind])
            hit &= smoothed(scores[kind]) >= THRESHOLDS[kind]
        mask[_at_least(hit, fewest)] = CLASS_CODES[kind]
    return mask


def _at_least(hit: Mask, pixels: int) -> Mask:
    """Connected components (4-connectivity) of at least so many pixels."""
    components, _ = label(hit)
    large = np.bincount(components.ravel()) >= pixels
    large[0] = False
    kept: Mask = large[components]
    return kept


def segment(
    image_path: Path, bands: Sequence[str], *, out: Path, scaling: Scaling, models: Models
) -> dict[str, float]:
    """Class map, probabilities, polygons and a picture of one image; returns hectares per class."""
    image = read_image(image_path, bands, scaling=scaling)
    seen = _seen(image)
    if not seen.any():
        raise InputError(f"{image_path} has no clear pixel; choose another date")
    clear = {name: np.where(seen, band, np.nan).astype(np.float32) for name, band in image.bands.items()}
    probabilities = {target: models.probability(target, clear) for target in SEGMENT_CODES}
    classes = np.zeros(image.shape, dtype=np.uint8)
    for target, probability in probabilities.items():
        with np.errstate(invalid="ignore"):
            classes[seen & (probability >= 0.5)] = SEGMENT_CODES[target]
    out.mkdir(parents=True, exist_ok=True)
    write_layers(out / "probabilities.tif", image, [Layer(t.value, p) for t, p in probabilities.items()])
    write_classes(
        out / "classes.tif",
        image,
        np.where(seen, classes, 255).astype(np.uint8),
        labels=_labels(SEGMENT_CODES),
    )
    polygons = write_polygons(out / "classes.geojson", image, classes, labels=_labels(SEGMENT_CODES))
    write_picture(
        out / "classes.png",
        (image, image),
        classes,
        captions=(image_path.name, "the same"),
        labels=_labels(SEGMENT_CODES),
    )
    return {target.value: sum(ha for kind, ha in polygons if kind == target) for target in SEGMENT_CODES}


def _labels(codes: Mapping[IncidentKind, int] | Mapping[Target, int]) -> dict[int, str]:
    return {code: str(kind.value) for kind, code in codes.items()}
