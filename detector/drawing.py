"""Before and after side by side, as a PNG for a mail: one stretch, outlines, scale, north, dates. Pure.

The width suits a mail at 1:1; colours are reduced until the file is small enough to show inline.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from shapely.geometry import LineString, MultiLineString
from shapely.geometry.base import BaseGeometry

from detector.colour import reflectance

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
Colour = tuple[int, int, int]

PANEL = 536
"""Edge of a panel, pixels."""
MARGIN = 8
GAP = 12
HEAD = 66
FOOT = 54
WIDTH = 2 * MARGIN + 2 * PANEL + GAP
HEIGHT = HEAD + PANEL + FOOT

MAX_BYTES = 290_000
"""Largest file: many mail programs do not show inline pictures above a few hundred kB."""

PAPER: Colour = (250, 250, 248)
INK: Colour = (28, 30, 34)
FAINT: Colour = (96, 100, 108)
HIDDEN: Colour = (120, 122, 126)
"""Where a pass has no data."""

INCIDENT: Colour = (255, 38, 96)
PERMIT: Colour = (0, 224, 255)
ZONE: Colour = (255, 214, 10)

LEAST_SPAN = 0.08
"""Reflectance from black to white at least: uniform forest is not stretched into noise."""

CONTRAST = 1.5
"""Gamma of the picture."""

_FINE = 2
"""Lines are drawn this much larger and reduced, which smooths them."""


@dataclass(frozen=True)
class Panel:
    """One look."""

    pixels: UInt8
    """(3, h, w); 0 in all bands = no data."""
    caption: str


@dataclass(frozen=True)
class Outline:
    """Something drawn over both panels, in grid metres."""

    land: BaseGeometry
    colour: Colour
    label: str


@dataclass(frozen=True)
class Plate:
    """Everything the picture shows."""

    before: Panel
    after: Panel
    frame: tuple[float, float, float, float]
    """(left, bottom, right, top) of both panels in grid metres; square."""
    outlines: tuple[Outline, ...]
    """Drawn in this order, the last on top."""
    title: str
    subtitle: str
    source: str
    """Whose data it is; licences ask for it."""


def draw(plate: Plate) -> bytes:
    """The PNG, below MAX_BYTES; the same plate gives the same bytes."""
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(image)
    _text(pen, (MARGIN + 2, 8), plate.title, 26)
    _text(pen, (MARGIN + 2, 42), plate.subtitle, 15, FAINT)
    for number, (panel, pixels) in enumerate(
        zip((plate.before, plate.after), _stretched(plate), strict=True)
    ):
        image.paste(_panel(panel, pixels, plate), (MARGIN + number * (PANEL + GAP), HEAD))
    _legend(pen, plate)
    return _small_png(image)


def _stretched(plate: Plate) -> tuple[UInt8, UInt8]:
    """Both panels by one stretch, the same for all bands, so that hues stay true and sides compare."""
    pair = (plate.before.pixels, plate.after.pixels)
    bright = [reflectance(pixels) for pixels in pair]
    values = np.concatenate([one[np.isfinite(one)] for one in bright])
    if values.size == 0:
        return (_scaled(bright[0], 0.0, 1.0), _scaled(bright[1], 0.0, 1.0))
    low, high = np.percentile(values, (1.0, 99.5)).tolist()
    low *= 0.7
    high = max(high, low + LEAST_SPAN)
    return _scaled(bright[0], low, high), _scaled(bright[1], low, high)


def _scaled(values: Float32, low: float, high: float) -> UInt8:
    """Reflectance to 0..255 between ``low`` and ``high``, dark tones lifted; grey where there is none."""
    seen = np.isfinite(values).all(axis=0)
    part = np.clip((np.where(seen, values, 0.0) - low) / (high - low), 0.0, 1.0) ** (1.0 / CONTRAST)
    hidden = np.array(HIDDEN, dtype=np.float64)[:, None, None]
    scaled: UInt8 = np.rint(np.where(seen, part * 255.0, hidden)).astype(np.uint8)
    return scaled


def _panel(panel: Panel, pixels: UInt8, plate: Plate) -> Image.Image:
    photo = Image.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    larger = photo.width < PANEL
    photo = photo.resize((PANEL, PANEL), Image.Resampling.BICUBIC if larger else Image.Resampling.LANCZOS)
    photo = _overlaid(photo, plate)
    pen = ImageDraw.Draw(photo, "RGBA")
    _caption(pen, panel.caption)
    _scale_bar(pen, plate.frame)
    _north(pen)
    return photo


def _overlaid(photo: Image.Image, plate: Plate) -> Image.Image:
    """Outlines with a dark halo, so that they show on forest and on bare ground."""
    sheet = Image.new("RGBA", (PANEL * _FINE, PANEL * _FINE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(sheet)
    for outline in plate.outlines:
        paths = list(_paths(outline.land, plate.frame))
        for path in paths:
            pen.line(path, fill=(0, 0, 0, 120), width=5 * _FINE, joint="curve")
        for path in paths:
            pen.line(path, fill=(*outline.colour, 255), width=3 * _FINE, joint="curve")
    sheet = sheet.resize((PANEL, PANEL), Image.Resampling.BOX)
    return Image.alpha_composite(photo.convert("RGBA"), sheet).convert("RGB")


def _paths(
    land: BaseGeometry, frame: tuple[float, float, float, float]
) -> Iterator[list[tuple[float, float]]]:
    """The boundary inside the frame as pixel paths; the frame itself is no boundary."""
    left, bottom, right, top = frame
    margin = (right - left) * 0.02
    view = shapely.box(left - margin, bottom - margin, right + margin, top + margin)
    scale = PANEL * _FINE / (right - left)
    for line in _lines(land.boundary.intersection(view)):
        points = shapely.get_coordinates(line)
        yield [((x - left) * scale, (top - y) * scale) for x, y in points.tolist()]


def _lines(geometry: BaseGeometry) -> Iterator[LineString]:
    for part in shapely.get_parts(geometry).tolist():
        if isinstance(part, LineString):
            yield part
        elif isinstance(part, MultiLineString):
            yield from part.geoms


def _caption(pen: ImageDraw.ImageDraw, text: str) -> None:
    width = pen.textlength(text, font=_font(16))
    pen.rectangle((0, 0, width + 20, 28), fill=(0, 0, 0, 165))
    pen.text((10, 5), text, font=_font(16), fill=(255, 255, 255, 255))


def _scale_bar(pen: ImageDraw.ImageDraw, frame: tuple[float, float, float, float]) -> None:
    metres = _round_length((frame[2] - frame[0]) / 3.0)
    length = PANEL * metres / (frame[2] - frame[0])
    label = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    x, y = 14.0, PANEL - 16.0
    pen.rectangle((x - 8, y - 28, x + length + 8, y + 9), fill=(0, 0, 0, 150))
    pen.rectangle((x, y - 3, x + length, y + 1), fill=(255, 255, 255, 255))
    for end in (x, x + length):
        pen.rectangle((end - 1, y - 7, end + 1, y + 1), fill=(255, 255, 255, 255))
    pen.text((x + length / 2, y - 16), label, font=_font(14), fill=(255, 255, 255, 255), anchor="mm")


def _round_length(metres: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not longer."""
    power = 10.0 ** np.floor(np.log10(metres))
    return float(max(step * power for step in (1.0, 2.0, 5.0) if step * power <= metres))


def _north(pen: ImageDraw.ImageDraw) -> None:
    """Grid north, which is up."""
    x, y = PANEL - 24, 14
    pen.rectangle((x - 16, 4, x + 16, 58), fill=(0, 0, 0, 150))
    pen.polygon([(x, y), (x - 8, y + 22), (x, y + 16), (x + 8, y + 22)], fill=(255, 255, 255, 255))
    pen.text((x, y + 33), "N", font=_font(15), fill=(255, 255, 255, 255), anchor="mm")


def _legend(pen: ImageDraw.ImageDraw, plate: Plate) -> None:
    x, y = MARGIN + 2.0, HEAD + PANEL + 9.0
    shown: list[tuple[Colour, str]] = []
    for outline in reversed(plate.outlines):
        if (outline.colour, outline.label) not in shown:
            shown.append((outline.colour, outline.label))
    for colour, label in shown:
        text = _fitting(pen, label, WIDTH - MARGIN - x - 36, 15)
        if not text:
            break
        pen.rectangle((x, y + 5, x + 22, y + 10), fill=colour, outline=FAINT)
        _text(pen, (x + 30, y - 2), text, 15)
        x += 30 + pen.textlength(text, font=_font(15)) + 26
    _text(pen, (MARGIN + 2, y + 20), plate.source, 13, FAINT)


def _fitting(pen: ImageDraw.ImageDraw, text: str, room: float, size: int) -> str:
    """The text without accents, cut with an ellipsis to the room; empty where not even a few letters fit."""
    text = plain(text)
    if pen.textlength(text, font=_font(size)) <= room:
        return text
    cut = text
    while len(cut) > 8 and pen.textlength(cut + "...", font=_font(size)) > room:
        cut = cut[:-1]
    return cut.rstrip() + "..." if len(cut) > 8 else ""


def _text(
    pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, colour: Colour = INK
) -> None:
    pen.text(at, _fitting(pen, text, WIDTH - at[0] - MARGIN, size), font=_font(size), fill=colour)


def plain(text: str) -> str:
    """Without accents: Pillow's own font has none, and would draw boxes."""
    return "".join(one for one in unicodedata.normalize("NFD", text) if not unicodedata.combining(one))


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _small_png(image: Image.Image) -> bytes:
    """As many colours as fit."""
    pixels = np.asarray(image)
    data = b""
    for step in (4, 8):
        if not data or len(data) > MAX_BYTES:
            data = _png(Image.fromarray((pixels // step * step + step // 2).astype(np.uint8)))
    for colours in (128, 64, 32, 16):
        if len(data) > MAX_BYTES:
            data = _png(image.quantize(colours, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))
    return data


def _png(image: Image.Image) -> bytes:
    memory = io.BytesIO()
    # Half the time of the default level for 8 % more bytes.
    image.save(memory, format="PNG", compress_level=4)
    return memory.getvalue()
