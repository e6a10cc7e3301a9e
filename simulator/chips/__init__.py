"""Training chips: small pieces of mining land with known labels, drawn by seed."""

from simulator.chips.make import make_chip, make_pair
from simulator.chips.recipe import HELD_OUT, SHIFTED, TRAIN, Recipe

__all__ = ["HELD_OUT", "SHIFTED", "TRAIN", "Recipe", "make_chip", "make_pair"]
