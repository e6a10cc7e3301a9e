"""`groundwatch segment`: what is where on a place, by a model with heads or by spectral models.

Several images are looks at one ground: chances are averaged where they saw it, so that one look's clouds,
season and noise are made up for by the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from detector.cards import SegmentCard, condition_of
from detector.image_windows import CACHE_MB, ImageFile
from detector.images import Image, Scaling, read_image, seen_pixels
from detector.maps import ClassMap, write_overview
from detector.oneoff_files import (
    Layer,
    LayerFile,
    whole_results,
    write_classes,
    write_layers,
    write_picture,
    write_polygons,
)
from detector.oneoff_models import Models, check_pixel_size, mean_seen, sigmoid
from detector.windows import Bands, Window
from registry.errors import InputError, Reject
from registry.models import S2_BANDS, Target

Float32 = NDArray[np.float32]

SEGMENT_CODES = {Target.FOREST: 1, Target.TRANSFORMED: 2}
"""Pixel values of the class map of the two targets."""
UNSEEN = 255


@dataclass(frozen=True)
class Segmented:
    """What was found on one image."""

    model: str
    hectares: Mapping[str, float]
    """Per label, in patches of at least the minimum mapping unit where a model with heads mapped it."""


def segment(
    images: Sequence[Path],
    bands: tuple[str, ...],
    *,
    out: Path,
    scaling: Scaling,
    models: Models,
    advance: Callable[[int], object] = lambda _n: None,
) -> Segmented:
    """Class maps, probabilities, polygons and a picture of a place. Raises InputError.

    ``images`` hold the same bands on the same grid; the first one is shown.
    """
    card = models.mapper(bands)
    if card is None:
        return _map_targets(images, bands, out=out, scaling=scaling, models=models)
    looks = [ImageFile.look(path, bands, scaling=scaling) for path in images]
    first = looks[0]
    check_pixel_size(card, first.whole)
    for look in looks:
        _check_look(look.overview, look.profile, first.profile)
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MB), whole_results(out) as folder:
        try:
            maps = _heads(card, looks, out=folder, models=models, advance=advance)
        except Reject as exc:
            raise InputError(f"{first.path}: {exc}") from exc
        finally:
            for look in looks:
                look.close()
        shown = _without_gaps([look.overview for look in looks])
        more = f" and {len(looks) - 1} more" if len(looks) > 1 else ""
        caption = f"{first.path.name}{more} ({card.id})"
        write_overview(folder / "classes.png", shown, maps, every=first.every, caption=caption)
        return Segmented(card.id, _write_maps(maps, first, out=folder, models=models))


def _check_look(image: Image, profile: Mapping[str, Any], first: Mapping[str, Any]) -> None:
    """Raise InputError where an image shows nothing, or another place than the first one."""
    optical = [band for name, band in image.bands.items() if name in S2_BANDS]
    if not any(np.isfinite(band).any() for band in optical or image.bands.values()):
        raise InputError(f"{image.path} has no clear pixel; choose another date")
    if any(profile[key] != first[key] for key in ("crs", "transform", "width", "height")):
        raise InputError(
            f"{image.path} is not on the first image's grid; warp it onto that with gdalwarp -t_srs -te -tr"
        )


def _without_gaps(looks: Sequence[Image]) -> Image:
    """The first look, its gaps filled from the next ones."""
    first, *others = looks
    bands = dict(first.bands)
    for other in others:
        bands = {
            name: np.where(np.isnan(band), other.bands[name], band).astype(np.float32)
            for name, band in bands.items()
        }
    return replace(first, bands=bands)


def _heads(
    card: SegmentCard,
    looks: Sequence[ImageFile],
    *,
    out: Path,
    models: Models,
    advance: Callable[[int], object],
) -> list[ClassMap]:
    """Every head's class map; the probabilities go to their file window by window."""
    from detector.engine import Device
    from detector.predict import Answer, Question, predict, references, target_vote

    file = looks[0]
    codes = {head.name: np.full(file.shape, UNSEEN, np.uint8) for head in card.heads}
    targets = [target for target in SEGMENT_CODES if target in card.feeds]
    question = Question(
        codes=tuple(codes),
        votes={target.value: target_vote(card, target) for target in targets},
        condition=condition_of(card, _offered(looks), None),
        references=references(card, [look.overview.bands for look in looks]),
        orientations=models.orientations(card),
    )
    names = [target.value for target in targets]
    with LayerFile(out / "probabilities.tif", file.whole, names) if names else nullcontext() as layers:

        def keep(window: Window, answer: Answer) -> None:
            for head, found in answer.codes.items():
                codes[head][window.place] = found
            if layers is not None:
                chances = {name: sigmoid(answer.logits[name]) for name in names}
                layers.write(window.core_top, window.core_left, chances)
            advance(window.core_height * window.core_width)

        def read(window: Window) -> list[Bands]:
            return [bands for look in looks for bands in look(window)]

        predict(card, read, file.shape, keep, question=question, device=Device(models.device))
    return [ClassMap(head.name, head.labels, codes[head.name]) for head in card.heads]


def _offered(looks: Sequence[ImageFile]) -> set[str]:
    """Bands that hold data anywhere on some date."""
    return {name for look in looks for name, band in look.overview.bands.items() if np.isfinite(band).any()}


def _write_maps(maps: list[ClassMap], file: ImageFile, *, out: Path, models: Models) -> dict[str, float]:
    """A raster and polygons per head; hectares per label."""
    least = models.settings.objects.minimum_mapping_unit_ha
    found: dict[str, float] = {}
    for one in maps:
        write_classes(
            out / f"classes_{one.name}.tif", file.whole, one.codes, labels=one.names, colours=one.colours
        )
        polygons = write_polygons(
            out / f"classes_{one.name}.geojson", file.whole, one.codes, labels=one.names, least_ha=least
        )
        for label in one.labels:
            found[label] = sum(size for name, size in polygons if name == label)
    return found


def _map_targets(
    images: Sequence[Path], bands: tuple[str, ...], *, out: Path, scaling: Scaling, models: Models
) -> Segmented:
    """Forest and transformed ground by the preferred models of each."""
    whole = [read_image(path, bands, scaling=scaling) for path in images]
    looks = [_clear(image) for image in whole]
    for look in looks:
        _check_look(look, look.profile, looks[0].profile)
    found = [models.probabilities(models.targets(SEGMENT_CODES), look.bands) for look in looks]
    probabilities = {target: mean_seen([one[target] for one in found]) for target in found[0]}
    image = _without_gaps(looks) if len(looks) > 1 else whole[0]
    seen = np.zeros(image.shape, dtype=np.bool_)
    for look in looks:
        seen |= np.isfinite(np.stack(list(look.bands.values()))).all(axis=0)
    classes = np.zeros(image.shape, dtype=np.uint8)
    for target, probability in probabilities.items():
        with np.errstate(invalid="ignore"):
            classes[seen & (probability >= 0.5)] = SEGMENT_CODES[target]
    with whole_results(out) as folder:
        hectares = _write_targets(image, classes, probabilities, seen, out=folder)
    return Segmented(models.named or "spectral", hectares)


def _clear(image: Image) -> Image:
    """The image without clouds and with all bands or none in a pixel."""
    seen = seen_pixels(image)
    bands = {name: np.where(seen, band, np.nan).astype(np.float32) for name, band in image.bands.items()}
    return replace(image, bands=bands)


def _write_targets(
    image: Image,
    classes: NDArray[np.uint8],
    probabilities: Mapping[Target, Float32],
    seen: NDArray[np.bool_],
    *,
    out: Path,
) -> dict[str, float]:
    labels: dict[int, Any] = {SEGMENT_CODES[target]: target.value for target in probabilities}
    write_layers(out / "probabilities.tif", image, [Layer(t.value, p) for t, p in probabilities.items()])
    write_classes(out / "classes.tif", image, np.where(seen, classes, UNSEEN).astype(np.uint8), labels=labels)
    polygons = write_polygons(out / "classes.geojson", image, classes, labels=labels)
    captions = (image.path.name, "the same")
    write_picture(out / "classes.png", (image, image), classes, captions=captions, labels=labels)
    return {name: sum(ha for kind, ha in polygons if kind == name) for name in labels.values()}
