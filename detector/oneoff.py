"""One-off use on files: `groundwatch compare`. No history, no database.

A pair of pictures can't tell a new mine from a ploughed field as a history can; this says what changed
between images that somebody already has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from detector.image_windows import CACHE_MB, ImageFile
from detector.images import Image, Scaling
from detector.oneoff_files import (
    BLOCK_PX,
    LayerFile,
    in_patches,
    whole_results,
    write_classes,
    write_picture,
    write_polygons,
)
from detector.oneoff_models import Models, check_pixel_size
from detector.pair_scores import Evidence, Judges, flagged, judges_of
from detector.pairs import CONTEXT_PX, common_fall, sample_step, smoothed
from detector.windows import Window, windows
from registry.errors import InputError, Reject
from registry.models import IncidentKind

Float32 = NDArray[np.float32]
Float16 = NDArray[np.float16]
Mask = NDArray[np.bool_]
UInt8 = NDArray[np.uint8]
Hits = dict[IncidentKind, UInt8]
"""(h, w) 1 where a kind of change is flagged."""

SCORE_NAMES = ("forest_loss", "transformation")
"""Band descriptions of scores.tif, in order."""

CLASS_CODES = {IncidentKind.FOREST_LOSS: 1, IncidentKind.EXCAVATION: 2}
"""Pixel values of the change mask, in the order in which they are laid over each other."""
UNSEEN = 255

READERS = 1
"""Threads that read ahead."""


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
    """Compare two files, or the equally named files of two folders, window by window.

    ``advance`` is told how many pixels more are judged. Raises InputError.
    """
    results = []
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MB):
        for name, one, other in pairs_of(before, after):
            first = ImageFile.look(one, bands, scaling=scaling)
            second = ImageFile.look(other, bands, scaling=scaling, onto=first.profile)
            try:
                result = _compare_pair(name, first, second, out=out / name, models=models, advance=advance)
            finally:
                first.close()
                second.close()
            results.append(result)
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
    name: str,
    first: ImageFile,
    second: ImageFile,
    *,
    out: Path,
    models: Models,
    advance: Callable[[int], object],
) -> PairResult:
    judges = judges_of(first.overview.bands, second.overview.bands, models=models)
    for card in judges.cards:
        check_pixel_size(card, first.whole)
    least = models.settings.objects.minimum_mapping_unit_ha
    labels = {code: str(kind.value) for kind, code in CLASS_CODES.items()}
    captions = (f"before: {first.path.name}", f"after: {second.path.name}")
    with whole_results(out) as folder:
        try:
            found = _gathered(judges, first, second, advance)
        except Reject as exc:
            raise InputError(f"{first.path}: {exc}") from exc
        hits, seen = _scored(judges, found, folder / "scores.tif", first.whole)
        del found  # a third of what a whole tile takes
        codes = _classes(hits, seen, fewest=max(1, round(least / first.whole.pixel_hectares())))
        write_classes(folder / "change.tif", first.whole, codes, labels=labels)
        changed = np.where(codes == UNSEEN, 0, codes).astype(np.uint8)
        hectares = write_polygons(folder / "changes.geojson", first.whole, changed, labels=labels)
        shown = (first.picture, second.picture)
        thin = _thinned(changed, first.every)
        write_picture(folder / "before_after.png", shown, thin, captions=captions, labels=labels)
    return PairResult(
        name=name,
        folder=out,
        forest_loss_ha=sum(ha for kind, ha in hectares if kind == IncidentKind.FOREST_LOSS),
        transformation_ha=sum(ha for kind, ha in hectares if kind == IncidentKind.EXCAVATION),
        polygons=len(hectares),
        seen_share=float(seen.mean()),
        model=judges.name,
    )


class _Gathered:
    """What all windows of a pair said, and a sample of it that tells what its forest fell as a whole.

    Kept as 16-bit floats, so that a whole tile fits: chances and falls are told to .0005.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.loss, self.mine = (np.full(shape, np.nan, np.float16) for _ in range(2))
        self.falls: tuple[Float16, ...] = ()
        self._step = sample_step(shape)
        self._samples: list[tuple[Float32, ...]] = []

    def add(self, window: Window, evidence: Evidence) -> None:
        """One window's core."""
        rows, columns = window.place
        self.loss[rows, columns] = evidence.loss[window.kept]
        self.mine[rows, columns] = evidence.mine[window.kept]
        if not self.falls:
            self.falls = tuple(np.full(self.loss.shape, np.nan, np.float16) for _ in evidence.falls)
        for whole, fall in zip(self.falls, evidence.falls, strict=True):
            whole[rows, columns] = fall[window.kept]
        thin = (
            slice(-rows.start % self._step, None, self._step),
            slice(-columns.start % self._step, None, self._step),
        )
        self._samples.append(
            tuple(one[window.kept][thin].ravel() for one in (evidence.forest, *evidence.falls))
        )

    def layers(self) -> tuple[Float16, ...]:
        """Lost forest, new mines and the falls."""
        return (self.loss, self.mine, *self.falls)

    def common(self) -> list[np.float32]:
        """What the forest of the whole image fell, per index."""
        forest, *falls = (np.concatenate(parts) for parts in zip(*self._samples, strict=True))
        return [common_fall(fall, forest) for fall in falls]


def _gathered(
    judges: Judges, first: ImageFile, second: ImageFile, advance: Callable[[int], object]
) -> _Gathered:
    """Raises InputError where no pixel is seen at both dates."""
    from detector.predict import read_ahead

    found, any_seen = _Gathered(first.shape), False
    cut = windows(first.shape)
    for window, dates in read_ahead(lambda window: [*first(window), *second(window)], cut, READERS):
        before, after = ({name: numbers.data for name, numbers in bands.items()} for bands in dates)
        seen = _seen(before, judges.may_lack) & _seen(after, judges.may_lack)
        if seen.any():
            any_seen = True
            found.add(window, judges.evidence(_only(before, seen), _only(after, seen)))
        advance(window.core_height * window.core_width)
    if not any_seen:
        raise InputError(
            f"{first.path} and {second.path} share no pixel seen at both dates; check extent, CRS and clouds"
        )
    return found


def _seen(bands: Mapping[str, Float32], may_lack: Collection[str]) -> Mask:
    seen: Mask = np.logical_and.reduce([np.isfinite(bands[name]) for name in bands if name not in may_lack])
    return seen


def _only(bands: Mapping[str, Float32], seen: Mask) -> dict[str, Float32]:
    return {name: np.where(seen, band, np.float32(np.nan)) for name, band in bands.items()}


def _scored(judges: Judges, found: _Gathered, path: Path, image: Image) -> tuple[Hits, Mask]:
    """Write the scores; (h, w) what is flagged, per kind, and what was seen."""
    hits: Hits = {kind: np.zeros(image.shape, np.uint8) for kind in CLASS_CODES}
    seen, common = np.zeros(image.shape, bool), found.common()
    with LayerFile(path, image, SCORE_NAMES) as layers:
        for top in range(0, image.shape[0], BLOCK_PX):
            bottom = min(top + BLOCK_PX, image.shape[0])
            first, last = max(top - CONTEXT_PX // 2, 0), bottom + CONTEXT_PX // 2
            kept = slice(top - first, bottom - first)
            loss, mine, *falls = (whole[first:last].astype(np.float32) for whole in found.layers())
            loss = judges.loss_score(loss, falls, common)
            seen[top:bottom] = np.isfinite(loss[kept])
            shown = {}
            for name, score, kind in zip(SCORE_NAMES, (loss, mine), CLASS_CODES, strict=True):
                smooth = smoothed(score)
                hits[kind][top:bottom] = flagged(score, smooth, judges.thresholds[kind])[kept]
                shown[name] = smooth[kept]
            layers.write(top, 0, shown)
    return hits, seen


def _classes(hits: Hits, seen: Mask, *, fewest: int) -> UInt8:
    """(h, w) class codes, excavation before loss, 255 = unseen; patches of fewer pixels are dropped."""
    codes = np.where(seen, 0, UNSEEN).astype(np.uint8)
    for kind, hit in hits.items():
        codes[in_patches(hit, [1], pixels=fewest)] = CLASS_CODES[kind]
    return codes


def _thinned(codes: UInt8, every: int) -> UInt8:
    """One pixel of so many along each axis, of the largest code: a small change stays in the picture."""
    rows, columns = (range(0, size, every) for size in codes.shape)
    thin: UInt8 = np.maximum.reduceat(np.maximum.reduceat(codes, rows, axis=0), columns, axis=1)
    return thin
