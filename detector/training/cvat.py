"""Labels out of CVAT: "Segmentation mask 1.1" and "COCO 1.0" exports, drawn on the pictures of chips.

An image is matched to its chip by name: CVAT knows it as NAME/picture.png, NAME.png or NAME. What a name
of a label means is configuration; an unknown one is refused rather than dropped.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import UnidentifiedImageError
from rasterio.features import rasterize
from rasterio.transform import Affine

from registry.chips import BIT, UNKNOWN, Bits, Component
from registry.errors import InputError
from registry.values import Value

MAX_PIXELS = 64_000_000
"""Largest picture read: chips are far smaller."""
MAX_MEMBER_BYTES = 512_000_000
"""Largest file of an export."""
BACKGROUND = ("background", "")
"""Names of what carries no label."""
IGNORED = ("ignore", "ignored", "unknown", "cloud")
"""Names of what nobody knows."""

Mask = NDArray[np.bool_]
Colour = tuple[int, int, int]


class LabelNames(Value):
    """What the names in an export mean."""

    names: Mapping[str, Component] = {}
    """Name as it stands in CVAT -> component; a component's own name needs no entry."""
    ignored: tuple[str, ...] = IGNORED
    """Names of ground that nobody knows: clouds, doubts."""
    whole_area: bool = False
    """Whether every transformed pixel carries some label, so that their union is the transformed area."""

    def bits(self, name: str, source: str) -> int:
        """Bits of a name. Raises InputError for an unknown one."""
        plain = re.sub(r"[\s-]+", "_", name.strip().lower())
        if plain in BACKGROUND:
            return 0
        if name in self.ignored or plain in self.ignored:
            return UNKNOWN
        own = {str(one): one for one in Component}
        component = self.names.get(name) or self.names.get(plain) or own.get(plain)
        if component is None:
            raise InputError(
                f"{source}: label {name!r} is not known; map it to one of {', '.join(own)} under `names` "
                "of --label-names, or list it under `ignored`"
            )
        mine = component is not Component.FOREST
        return BIT[component] | (BIT[Component.TRANSFORMED] if mine else 0)


@dataclass(frozen=True)
class Labelled:
    """Labels of one picture."""

    image: str
    """Name of the chip."""
    labels: Bits
    """(h, w)."""


@dataclass(frozen=True)
class Export:
    """What an export says."""

    known: tuple[Component, ...]
    """Components its label set has: what the labellers looked for."""
    images: tuple[Labelled, ...]


def read_export(path: Path, names: LabelNames) -> Export:
    """Either format, told by what is in the ZIP (or a COCO file by itself).

    Raises InputError where it is neither, or is damaged.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; export the task from CVAT")
    if path.suffix == ".json":
        return _coco(path.read_bytes(), path.name, names)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {one.filename: one for one in archive.infolist() if not one.is_dir()}
            _check_sizes(members, path)
            found = [name for name in members if name.endswith("labelmap.txt")]
            if found:
                return _masks(archive, list(members), found[0], path.name, names)
            coco = [name for name in members if name.endswith(".json") and "instances" in name]
            if coco:
                parts = [_coco(archive.read(name), f"{path.name}/{name}", names) for name in sorted(coco)]
                return Export(parts[0].known, tuple(one for part in parts for one in part.images))
    except (zipfile.BadZipFile, OSError) as exc:
        raise InputError(f"{path} cannot be read as a ZIP ({exc}); export the task again") from exc
    raise InputError(
        f"{path} holds neither labelmap.txt nor instances_*.json; export it from CVAT as "
        "'Segmentation mask 1.1' or 'COCO 1.0'"
    )


def _check_sizes(members: Mapping[str, zipfile.ZipInfo], path: Path) -> None:
    for name, member in members.items():
        if member.file_size > MAX_MEMBER_BYTES:
            raise InputError(
                f"{path}/{name} has {member.file_size} bytes, at most {MAX_MEMBER_BYTES} are read; "
                "export fewer images at a time"
            )


# Segmentation mask 1.1


def _masks(
    archive: zipfile.ZipFile, members: Sequence[str], labelmap: str, source: str, names: LabelNames
) -> Export:
    colours = _labelmap(archive.read(labelmap).decode("utf-8", "replace"), f"{source}/labelmap.txt")
    bits = {colour: names.bits(name, f"{source}/labelmap.txt") for colour, name in colours.items()}
    root = str(PurePosixPath(labelmap).parent / "SegmentationClass")
    wanted = [name for name in members if name.startswith(f"{root}/") and name.endswith(".png")]
    if not wanted:
        raise InputError(f"{source} has no SegmentationClass/*.png; export finished jobs")
    images = []
    for name in sorted(wanted):
        picture = _rgb(archive.read(name), f"{source}/{name}")
        image = _chip_name(name.removeprefix(f"{root}/"))
        images.append(Labelled(image, _bits_of(picture, bits, f"{source}/{name}")))
    return Export(_known(bits.values(), names), tuple(images))


def _labelmap(text: str, source: str) -> dict[Colour, str]:
    """Lines ``label:r,g,b:parts:actions``."""
    found: dict[Colour, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, colour = line.split(":")[:2]
            red, green, blue = (int(part) for part in colour.split(","))
        except ValueError as exc:
            raise InputError(
                f"{source}:{number}: {line[:60]!r} is not label:r,g,b:parts:actions; export it again"
            ) from exc
        found[red, green, blue] = name
    return found


def _rgb(raw: bytes, source: str) -> NDArray[np.uint8]:
    try:
        with Picture.open(io.BytesIO(raw)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(
                    f"{source} has {picture.width} x {picture.height} pixels, at most {MAX_PIXELS} are read; "
                    "label chips, not scenes"
                )
            return np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError) as exc:
        raise InputError(f"{source} is no picture ({exc}); export it again") from exc


def _bits_of(picture: NDArray[np.uint8], bits: Mapping[Colour, int], source: str) -> Bits:
    wide = picture.astype(np.uint32)
    packed = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    labels = np.zeros(packed.shape, np.uint16)
    for number in np.unique(packed):
        colour = (int(number) >> 16, (int(number) >> 8) & 255, int(number) & 255)
        if colour not in bits:
            raise InputError(f"{source} has the colour {colour}, which labelmap.txt lacks; export it again")
        labels[packed == number] = bits[colour]
    return labels


# COCO 1.0


def _coco(raw: bytes, source: str, names: LabelNames) -> Export:
    try:
        data = json.loads(raw)
        categories = {one["id"]: names.bits(one["name"], source) for one in data["categories"]}
        images = {one["id"]: one for one in data["images"]}
        labels = {number: np.zeros(_shape(one, source), np.uint16) for number, one in images.items()}
        for annotation in data["annotations"]:
            inside = _drawn(annotation["segmentation"], labels[annotation["image_id"]].shape, source)
            # Labels of different heads overlap in space: a pond inside an excavation is both.
            labels[annotation["image_id"]][inside] |= np.uint16(categories[annotation["category_id"]])
    except (KeyError, TypeError, ValueError) as exc:
        raise InputError(f"{source} is no COCO file of instances ({exc!r}); export it as COCO 1.0") from exc
    found = tuple(
        Labelled(_chip_name(images[number]["file_name"]), labels[number]) for number in sorted(images)
    )
    return Export(_known(categories.values(), names), found)


def _shape(image: Mapping[str, Any], source: str) -> tuple[int, int]:
    rows, columns = int(image["height"]), int(image["width"])
    if not 0 < rows * columns <= MAX_PIXELS:
        raise InputError(
            f"{source}: {image['file_name']} has {columns} x {rows} pixels, at most {MAX_PIXELS} are read; "
            "label chips, not scenes"
        )
    return rows, columns


def _drawn(segmentation: Any, shape: tuple[int, int], source: str) -> Mask:
    if isinstance(segmentation, Mapping):
        return _run_lengths(segmentation, shape, source)
    rings = [list(zip(ring[::2], ring[1::2], strict=True)) for ring in segmentation]
    if any(len(ring) < 3 for ring in rings):
        raise InputError(f"{source}: a polygon has fewer than 3 corners; export it again")
    polygons = [{"type": "Polygon", "coordinates": [[*ring, ring[0]]]} for ring in rings]
    # Pixels whose centre is inside; COCO counts from a pixel's corner, as rasterio does.
    inside: Mask = rasterize(polygons, out_shape=shape, transform=Affine.identity()).astype(np.bool_)
    return inside


def _run_lengths(segmentation: Mapping[str, Any], shape: tuple[int, int], source: str) -> Mask:
    """Runs of background and label in turn, down the columns: as numbers, or in COCO's packed text."""
    counts = segmentation["counts"]
    runs = list(_unpacked(counts)) if isinstance(counts, str) else [int(one) for one in counts]
    if tuple(segmentation["size"]) != shape or sum(runs) != shape[0] * shape[1] or min(runs, default=0) < 0:
        raise InputError(
            f"{source}: a mask of size {segmentation['size']} with {sum(runs)} pixels does not fit its image "
            f"of {list(shape)}; export it again"
        )
    marks = np.arange(len(runs)) % 2 == 1
    return np.repeat(marks, runs).reshape(shape[1], shape[0]).T


def _unpacked(text: str) -> Iterator[int]:
    """pycocotools' LEB128-like text: 5 bits per character, differences to the run before the last."""
    runs: list[int] = []
    at = 0
    while at < len(text):
        value, shift, more = 0, 0, True
        while more:
            if at >= len(text):
                raise ValueError("a run ends within a number")
            piece = ord(text[at]) - 48
            value |= (piece & 0x1F) << (5 * shift)
            more = bool(piece & 0x20)
            at, shift = at + 1, shift + 1
            if not more and piece & 0x10:
                value |= -1 << (5 * shift)
        if len(runs) > 2:
            value += runs[-2]
        runs.append(value)
        yield value


# Both


def _known(bits: Iterable[int], names: LabelNames) -> tuple[Component, ...]:
    """What was looked for: the label set. Any mining label marks transformed ground, but only a label set
    that covers it all says where there is none.
    """
    every = set(bits)
    found = {one for one in Component for bit in every if bit & BIT[one] and bit != UNKNOWN}
    if not names.whole_area and BIT[Component.TRANSFORMED] not in every:
        found.discard(Component.TRANSFORMED)
    return tuple(one for one in Component if one in found)


def _chip_name(file_name: str) -> str:
    """``NAME/picture.png``, ``NAME.png`` and ``NAME`` are the chip NAME."""
    path = PurePosixPath(file_name)
    if path.stem == "picture" and path.parent.name:
        return path.parent.name
    return path.stem if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif") else path.name
