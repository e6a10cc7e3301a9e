"""The imperfect scene classification of a shot: an extra, for what reads passes and not chips. Pure."""

from __future__ import annotations

from datetime import date

import numpy as np

from registry.chips import CHANNELS, Codes
from simulator.chips.layers import Ground
from simulator.chips.palette import Float32
from simulator.chips.sensors import Shot, open_water
from simulator.noise import block_mean
from simulator.sky import Coarse, classify


def scene_classes(shot: Shot, ground: Ground, seed: int) -> Codes:
    """(size / 2, size / 2) SCL at 20 m with its habits: misses thin cloud, finds it on bright ground."""
    red, nir, green = (shot.chip.pixels[CHANNELS.index(band)] for band in ("B04", "B08", "B03"))
    seen = np.isfinite(red)
    red, nir, green = (np.nan_to_num(band) for band in (red, nir, green))
    bare = (nir - red < 0.2 * (nir + red)) & (red > 0.15)
    nothing = np.zeros_like(red)
    coarse = Coarse(
        red=block_mean(red, 2),
        nir=block_mean(nir, 2),
        visible=block_mean(0.5 * (red + green), 2),
        cloud=block_mean(_or(shot.air.cloud, nothing), 2),
        shade=block_mean(_or(shot.air.shade, nothing), 2),
        water=block_mean(open_water(ground), 2),
        bare=block_mean(bare.astype(np.float32), 2),
    )
    found = classify(coarse, seed, date.fromisoformat(shot.chip.acquired))
    found[block_mean(seen.astype(np.float32), 2) < 1.0] = 0
    return found


def _or(field: Float32 | None, nothing: Float32) -> Float32:
    return nothing if field is None else field
