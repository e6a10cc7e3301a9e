"""The colour of water by what is in it."""

from __future__ import annotations

import numpy as np

from simulator.chips.layers import Material
from simulator.chips.palette import Float32
from simulator.chips.spectra import Season, look
from simulator.chips.water import Water, reflectance


def test_water_follows_its_sediment() -> None:
    red = [reflectance(Water(sediment, 0.5, 2.0))[3] for sediment in (1.0, 10.0, 100.0, 1000.0)]
    assert red == sorted(red)
    assert red[0] < 0.02
    assert red[-1] > 0.2
    assert reflectance(Water(1000.0, 0.5, 2.0))[10] < 0.02, "water absorbs the short-wave infrared"


def test_the_sea_gives_blue_light_back_as_no_river_does() -> None:
    """Off the Brazilian coast of the TerraMesh tile B02 to B04 are .047, .053 and .018."""
    season = Season(vigour=0.5, moisture=0.1, year=0.5, soil=0.0, spectra="set_a")

    def waters(material: Material) -> list[Float32]:
        return [np.exp(look(material, at, 0.0, season)[1:4]) for at in np.linspace(0.0, 1.0, 21)]

    def off(water: Float32) -> float:
        return float(np.abs(np.log(water + 0.01) - np.log(np.array([0.057, 0.063, 0.028]))).max())

    assert min(map(off, waters(Material.SEA))) < 0.2 < min(map(off, waters(Material.WATER_TURBID)))
    for river in waters(Material.WATER_TURBID):
        as_red = min(waters(Material.SEA), key=lambda sea: abs(float(sea[2] - river[2])))
        assert as_red[0] > 1.1 * river[0]
