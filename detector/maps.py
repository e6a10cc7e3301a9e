"""Class maps of a model's heads: codes to names and colours, rasters, polygons, one picture with legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from detector.images import Image
from detector.oneoff_files import shown_bands, stretch_of

UInt8 = NDArray[np.uint8]
Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (0, 114, 178),
    (204, 121, 167),
    (0, 158, 115),
    (213, 94, 0),
    (86, 180, 233),
    (240, 228, 66),
)
"""Okabe and Ito 2008: told apart also by people with red-green weakness. Label n has colour n."""
GREY: Colour = (128, 128, 128)
"""Not seen."""

PANEL_PX = 460
"""Longest side of a panel of the picture."""
LINE_PX = 22
"""Height of a line of text."""
GAP_PX = 8
OPACITY = 0.7
"""How much of a class's colour covers the picture below."""


@dataclass(frozen=True)
class ClassMap:
    """What one head says everywhere."""

    name: str
    labels: tuple[str, ...]
    codes: UInt8
    """(h, w) 0 background, n the n-th label, 255 unseen."""

    @property
    def names(self) -> dict[int, str]:
        """Code -> label."""
        return dict(enumerate(self.labels, start=1))

    @property
    def colours(self) -> dict[int, Colour]:
        """Code -> colour."""
        classes = {code: PALETTE[(code - 1) % len(PALETTE)] for code in self.names}
        return {0: (0, 0, 0), 255: GREY} | classes

    def thinned(self, every: int) -> UInt8:
        """One pixel in so many, for the picture."""
        return self.codes[::every, ::every]


def write_overview(path: Path, image: Image, maps: Sequence[ClassMap], *, every: int, caption: str) -> None:
    """The image, then each map laid over it with its legend, side by side in rows of three."""
    base = _base(image)
    panels: list[tuple[str, NDArray[np.uint8], dict[int, str]]] = [(caption, base, {})]
    panels += [(one.name, _coloured(base, one.thinned(every), one), one.names) for one in maps]
    scale = PANEL_PX / max(base.shape[:2])
    size = (max(1, round(base.shape[1] * scale)), max(1, round(base.shape[0] * scale)))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    height = LINE_PX + size[1] + LINE_PX * max(len(one.labels) for one in maps) + GAP_PX
    sheet = Picture.new(
        "RGB", (columns * (size[0] + GAP_PX) + GAP_PX, rows * height + GAP_PX), (255, 255, 255)
    )
    for number, (title, pixels, names) in enumerate(panels):
        left = GAP_PX + number % columns * (size[0] + GAP_PX)
        top = GAP_PX + number // columns * height
        sheet.paste(Picture.fromarray(pixels).resize(size), (left, top + LINE_PX))
        _write_beside(sheet, title, names, left=left, top=top, below=top + LINE_PX + size[1])
    sheet.save(path, optimize=True)


def _base(image: Image) -> NDArray[np.uint8]:
    """(h, w, 3) the image in true colour, or its first band in grey."""
    channels = []
    for name, (low, high) in zip(shown_bands(image), stretch_of((image,)), strict=True):
        level = np.clip((np.nan_to_num(image.bands[name]) - low) / (high - low), 0.0, 1.0)
        channels.append((255 * np.sqrt(level)).astype(np.uint8))
    return np.stack(channels, axis=-1)


def _coloured(base: NDArray[np.uint8], codes: UInt8, one: ClassMap) -> NDArray[np.uint8]:
    pixels = base.copy()
    for code, colour in one.colours.items():
        inside = codes == code
        if code and inside.any():
            pixels[inside] = (1 - OPACITY) * pixels[inside] + OPACITY * np.array(colour)
    return pixels


def _write_beside(
    sheet: Picture.Image, title: str, names: dict[int, str], *, left: int, top: int, below: int
) -> None:
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    draw.text((left, top), title[:60], fill=(20, 20, 20), font=font)
    for at, (code, name) in enumerate(names.items()):
        line = below + 2 + at * LINE_PX
        draw.rectangle((left, line + 2, left + 14, line + 16), fill=PALETTE[(code - 1) % len(PALETTE)])
        draw.text((left + 22, line), name.replace("_", " "), fill=(20, 20, 20), font=font)
