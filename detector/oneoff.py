"""One-off use on files: `groundwatch compare`. No history, no database.

A pair of pictures can't tell a new mine from a ploughed field as a history can; this says what changed
between images that somebody already has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from detector.cards import CHANGE_LABELS, ChangeCard, condition_of
from detector.images import Image, Scaling, read_image, seen_pixels
from detector.oneoff_files import (
    Layer,
    whole_results,
    write_classes,
    write_layers,
    write_picture,
    write_polygons,
)
from detector.oneoff_models import Models, check_pixel_size, sigmoid
from detector.pairs import INDEX_BANDS, clearly_fallen, forest_loss, smoothed, transformation
from registry.detection import DetectionSettings
from registry.errors import InputError
from registry.models import S2_BANDS, IncidentKind, Target

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

SCORE_NAMES = ("forest_loss", "transformation")
"""Band descriptions of scores.tif, in order."""

CLASS_CODES = {IncidentKind.FOREST_LOSS: 1, IncidentKind.EXCAVATION: 2}
"""Pixel values of the change mask."""

THRESHOLDS = {IncidentKind.FOREST_LOSS: 0.10, IncidentKind.EXCAVATION: 0.05}
"""Scores from which a pixel of a pair is called changed (docs/models.md says how they were found)."""

CHANGE_THRESHOLDS = {IncidentKind.FOREST_LOSS: 0.3, IncidentKind.EXCAVATION: 0.5}
"""The same where a model of two dates answers."""

SINGLE_DATES = "single dates"
"""Stands for the models of one image that score both dates."""

CHANGE_VOTES = {IncidentKind.FOREST_LOSS: "forest_loss", IncidentKind.EXCAVATION: "new_mine"}
"""Label of a change card's head that each score is the probability of."""


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
    """Card of two dates that was used, or SINGLE_DATES."""


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


@dataclass(frozen=True)
class PairScores:
    """Scores of a pair and where they begin to say changed."""

    scores: Mapping[IncidentKind, Float32]
    """(h, w) per kind; NaN = not seen at both dates."""
    thresholds: Mapping[IncidentKind, float]
    model: str
    """Card of two dates that gave them, or SINGLE_DATES."""

    def flagged(self, kind: IncidentKind) -> Mask:
        """(h, w) where a pixel and its neighbourhood both changed."""
        score = self.scores[kind]
        with np.errstate(invalid="ignore"):
            hit: Mask = (score >= self.thresholds[kind]) & (smoothed(score) >= self.thresholds[kind])
        return hit


def pair_scores(before: Mapping[str, Float32], after: Mapping[str, Float32], *, models: Models) -> PairScores:
    """Scores of two dates by the best model their bands can feed; bands are NaN where a date is unseen."""
    card = models.change(before.keys())
    if card is not None:
        return PairScores(_change_scores(card, before, after, models=models), CHANGE_THRESHOLDS, card.id)
    was = models.probabilities((Target.FOREST, Target.TRANSFORMED), before)
    now = models.probabilities((Target.TRANSFORMED,), after)[Target.TRANSFORMED]
    scores = {
        IncidentKind.FOREST_LOSS: forest_loss(before, after, was[Target.FOREST]),
        IncidentKind.EXCAVATION: transformation(before, after, was[Target.TRANSFORMED], now),
    }
    return PairScores(scores, THRESHOLDS, SINGLE_DATES)


def _clear(image: Image, seen: Mask) -> dict[str, Float32]:
    return {name: np.where(seen, band, np.nan).astype(np.float32) for name, band in image.bands.items()}


def _change_scores(
    card: ChangeCard, before: Mapping[str, Float32], after: Mapping[str, Float32], *, models: Models
) -> dict[IncidentKind, Float32]:
    """(h, w) probabilities of a model that sees both dates; where it can be told, lost forest must also
    have clearly fallen."""
    from detector.engine import Device
    from detector.predict import Question, Vote, predict_image, references

    classes = {label: number for number, label in enumerate(CHANGE_LABELS, start=1)}
    question = Question(
        votes={kind.value: Vote("change", (classes[label],)) for kind, label in CHANGE_VOTES.items()},
        condition=condition_of(card, before, None),
        references=references(card, (before, after)),
    )
    found = predict_image(card, (before, after), question, device=Device(models.device)).logits
    chances = {kind: sigmoid(found[kind.value]) for kind in CHANGE_VOTES}
    if before.keys() >= INDEX_BANDS:
        forest = _forest(before, models=replace(models, named=None))
        chances[IncidentKind.FOREST_LOSS] *= clearly_fallen(before, after, forest)
    return chances


def _forest(bands: Mapping[str, Float32], *, models: Models) -> Float32:
    """(h, w) probability; where radar does not reach, from the optical bands."""
    found = models.probabilities((Target.FOREST,), bands)[Target.FOREST]
    optical = {name: band for name, band in bands.items() if name in S2_BANDS}
    if len(optical) == len(bands) or np.isfinite(found).all():
        return found
    without_radar = models.probabilities((Target.FOREST,), optical)[Target.FOREST]
    return np.where(np.isnan(found), without_radar, found).astype(np.float32)


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
