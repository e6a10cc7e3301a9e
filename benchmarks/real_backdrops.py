"""Real tiles as land without mines: ``python -m benchmarks.real_backdrops OUT [--leave SITE]``.

``groundwatch train --backdrops OUT`` lays simulated mines on them. Leave out the site that is checked on.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable
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


def write_land(out: Path, tiles: Iterable[Tile], *, leave: Collection[str] = ()) -> list[Path]:
    """Write the tiles of all sites but these as chips; returns their folders."""
    return [write_chip(out, chip_of(tile)) for tile in tiles if tile.site not in leave]


def main() -> None:
    """Write the chips."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_backdrops", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--leave", choices=sorted(BIOMES), action="append", default=[])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    given = parser.parse_args()
    for folder in write_land(given.out, terramind(given.data), leave=given.leave):
        print(folder)


if __name__ == "__main__":
    main()
