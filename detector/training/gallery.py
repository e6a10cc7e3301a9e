"""Chips beside their truth and what a model made of them: one picture per chip, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from detector.plans import Head
from detector.training.folder import rgb
from registry.chips import CHANNELS, COMPONENTS, Bits, Chip, Component

Codes = NDArray[np.uint8]
Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
    (0, 114, 178),
    (204, 121, 167),
    (120, 60, 30),
    (150, 110, 220),
)
"""Okabe and Ito 2008, told apart also by people with red-green weakness; then two more."""
FOREST_COLOUR: Colour = (0, 158, 115)
UNKNOWN_COLOUR: Colour = (128, 128, 128)
CAPTION_PX = 18
PANEL_PX = 256


def colours_of(labels: Sequence[str]) -> dict[int, Colour]:
    """Colours of class codes: green is for trees, grey for what nobody knows."""
    chosen = {
        code: FOREST_COLOUR if label == Component.FOREST else PALETTE[(code - 1) % len(PALETTE)]
        for code, label in enumerate(labels, start=1)
    }
    return {0: (25, 25, 25), 255: UNKNOWN_COLOUR} | chosen


def painted(codes: Codes, labels: Sequence[str]) -> NDArray[np.uint8]:
    """(h, w, 3)."""
    picture = np.zeros((*codes.shape, 3), np.uint8)
    for code, colour in colours_of(labels).items():
        picture[codes == code] = colour
    return picture


def true_colour(dates: Sequence[Mapping[str, NDArray[np.float32]]]) -> list[NDArray[np.uint8]]:
    """A picture per date; near infrared and radar where there is no colour."""
    pictures = []
    for date in dates:
        shape = next(iter(date.values())).shape
        pixels = np.full((len(CHANNELS), *shape), np.nan, np.float32)
        for name, band in date.items():
            pixels[CHANNELS.index(name)] = band
        pictures.append(rgb(pixels))
    return pictures


def write_sheet(
    path: Path,
    pictures: Sequence[NDArray[np.uint8]],
    answers: Sequence[tuple[Head, Codes, Codes]],
    *,
    title: str,
) -> None:
    """One or two dates in the first column; per head a column with the truth above and the answer below."""
    names = ("before", "after") if len(pictures) > 1 else ("image",)
    columns = [list(zip(names, pictures, strict=True))]
    for head, truth, answer in answers:
        columns.append(
            [
                (f"{head.name}: truth", painted(truth, head.labels)),
                (f"{head.name}: model", painted(answer, head.labels)),
            ]
        )
    width = len(columns) * (PANEL_PX + 6) + 6
    legend = [(label, colours_of(head.labels)[code]) for head, _, _ in answers
              for code, label in enumerate(head.labels, start=1)]  # fmt: skip
    height = 3 * CAPTION_PX + 2 * (PANEL_PX + CAPTION_PX) + CAPTION_PX * (1 + len(legend) // 6)
    sheet = Picture.new("RGB", (max(width, 700), height), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    draw.text((6, 3), title[:160], fill=(20, 20, 20), font=font)
    for number, column in enumerate(columns):
        left = 6 + number * (PANEL_PX + 6)
        for row, (caption, pixels) in enumerate(column):
            top = CAPTION_PX + row * (PANEL_PX + CAPTION_PX)
            draw.text((left, top + 2), caption, fill=(20, 20, 20), font=font)
            panel = Picture.fromarray(pixels).resize((PANEL_PX, PANEL_PX), Picture.Resampling.NEAREST)
            sheet.paste(panel, (left, top + CAPTION_PX))
    _legend(draw, legend, top=2 * CAPTION_PX + 2 * (PANEL_PX + CAPTION_PX), font=font)
    sheet.save(path, optimize=True)


def _legend(
    draw: ImageDraw.ImageDraw,
    legend: Sequence[tuple[str, Colour]],
    *,
    top: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    for number, (label, colour) in enumerate(legend):
        left, down = 6 + (number % 6) * 180, top + (number // 6) * CAPTION_PX
        draw.rectangle((left, down + 3, left + 11, down + 14), fill=colour)
        draw.text((left + 16, down + 1), label, fill=(20, 20, 20), font=font)


def overlay(pixels: NDArray[np.float32], labels: Bits) -> NDArray[np.uint8]:
    """(h, 2w, 3) a chip beside itself with its components painted over, the later ones on top."""
    picture = rgb(pixels)
    over = picture.astype(np.float32)
    shown = [one for one in COMPONENTS if one is not Component.TRANSFORMED]
    for number, component in enumerate(shown):
        colour = FOREST_COLOUR if component is Component.FOREST else _spread(number)
        inside = (labels & (1 << COMPONENTS.index(component))) != 0
        strength = 0.35 if component is Component.FOREST else 0.65
        over[inside] = (1 - strength) * picture[inside] + strength * np.array(colour, np.float32)
    return np.concatenate([picture, over.astype(np.uint8)], axis=1)


def _spread(number: int) -> Colour:
    """Twelve colours: the palette, then darker."""
    base = PALETTE[number % len(PALETTE)]
    factor = 1.0 if number < len(PALETTE) else 0.6
    return (int(base[0] * factor), int(base[1] * factor), int(base[2] * factor))


def write_overlay(folder: Path, chip: Chip) -> None:
    """``overlay.png``: the chip beside itself with its components painted over."""
    Picture.fromarray(overlay(chip.pixels, chip.labels)).save(folder / "overlay.png")
