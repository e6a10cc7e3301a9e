"""Real tiles as land without mines: ``python -m benchmarks.real_backdrops OUT [--leave SITE]``.

``groundwatch train --backdrops OUT`` lays simulated mines on them. Leave out the site that is checked on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.real_data import BIOMES, Tile, terramind
from detector.training.folder import write_chip
from registry.chips import BIT, CHANNELS, COMPONENTS, UNKNOWN, Chip, Component


def chip_of(tile: Tile) -> Chip:
    """The tile, with forest as its only label."""
    forest = np.where(tile.forest, BIT[Component.FOREST], 0)
    labels = np.where(tile.known, forest, UNKNOWN).astype(np.uint16)
    pixels = np.stack([tile.bands[name] for name in CHANNELS]).astype(np.float32)
    return Chip(tile.name, pixels, labels, COMPONENTS, tile.biome, "", {"source": tile.source})


def main() -> None:
    """Write the chips."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_backdrops", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--leave", choices=sorted(BIOMES), action="append", default=[])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    given = parser.parse_args()
    for tile in terramind(given.data):
        if tile.name.split("_")[0] not in given.leave:
            print(write_chip(given.out, chip_of(tile)))


if __name__ == "__main__":
    main()
