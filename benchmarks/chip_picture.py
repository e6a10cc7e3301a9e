"""The picture of docs/simulator.md: ``python -m benchmarks.chip_picture docs/images/chips.png``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from registry.chips import CHANNELS, Chip, Component
from simulator.chips import HELD_OUT, TRAIN, Recipe, make_chip

SHOWN = (
    ("humid_tropics", "alluvial", "gold"),
    ("seasonal_tropics", "open_pit", "metal_ores"),
    ("temperate", "opencast", "coal_lignite"),
    ("mediterranean", "open_pit", "rock_raw"),
    ("humid_tropics", "mountain_top", "coal_lignite"),
    ("dry_savanna", "alluvial", "gold"),
    ("desert", "open_pit", "metal_ores"),
    ("boreal", "open_pit", "metal_ores"),
)
"""Climate, type of mine and material of each chip, row by row."""
COLUMNS = 4
LEAST_SHARE = 0.05
"""Of the chip that its mine covers."""


def shown_chip(climate: str, mine_type: str, material: str, seed: int) -> Chip:
    """The first clear one with a mine to see."""
    recipe: Recipe = replace(
        TRAIN if climate in TRAIN.climates else HELD_OUT,
        climates=(climate,), mine_types=(mine_type,), materials=(material,), mine_share=1.0,
    )  # fmt: skip
    for index in range(200):
        chip = make_chip(seed, index, recipe)
        clear = chip.facts["sky"] == "clear" and np.isfinite(chip.pixels).all()
        if clear and chip.has(Component.TRANSFORMED).mean() > LEAST_SHARE:
            return chip
    raise SystemExit(f"no clear {mine_type} in 200 chips of {climate}; give another --seed")


def composite(chip: Chip, bands: tuple[str, str, str], top: float) -> NDArray[np.uint8]:
    """(h, w, 3): reflectance 0 to ``top``, mid-tones lifted a little."""
    light = np.dstack([chip.pixels[CHANNELS.index(band)] for band in bands])
    return np.asarray(np.clip(light / top, 0.0, 1.0) ** 0.8 * 255, np.uint8)


def picture(seed: int) -> Image.Image:
    """Each chip in true colour above the same in short-wave infrared, near infrared, red."""
    rows = []
    for first in range(0, len(SHOWN), COLUMNS):
        chips = [shown_chip(*SHOWN[n], seed + n) for n in range(first, first + COLUMNS)]
        rows.append(np.hstack([composite(chip, ("B04", "B03", "B02"), 0.25) for chip in chips]))
        rows.append(np.hstack([composite(chip, ("B11", "B08", "B04"), 0.45) for chip in chips]))
    return Image.fromarray(np.vstack(rows))


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=42)
    chosen = parser.parse_args()
    # 256 colours are enough for a page, and a third of the bytes.
    picture(chosen.seed).quantize(256).save(chosen.path, optimize=True)


if __name__ == "__main__":
    main()
