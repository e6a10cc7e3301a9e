"""The simulator as a source of chips: the one place where training and simulation meet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path

from detector.training.folder import every_chip, read_chip
from detector.training.material import Three
from registry.chips import Chip, ChipPair, Component
from registry.errors import InputError
from registry.values import digest
from simulator.chips.recipe import HELD_OUT, SHIFTED, TRAIN, Backdrop, Recipe

RECIPES: Mapping[str, Recipe] = {"train": TRAIN, "heldout": HELD_OUT, "shifted": SHIFTED}
ABOUT: Mapping[str, str] = {
    "train": "simulated chips",
    "heldout": "simulated chips of other seeds and other climates",
    "shifted": "simulated chips of other seeds, climates, spectra, generator family and atmosphere",
}
SEEDS: Mapping[str, int] = {"train": 0, "heldout": 1_000_003, "shifted": 2_000_003}
"""Added to the seed, so that no two parts draw the same worlds."""
TEST_SEEDS = 500_000
"""Added for evaluation: worlds that neither training nor choosing has seen."""


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 over the simulator's files: a chip made by other code is another chip."""
    import registry.chips
    import simulator

    folder = Path(simulator.__file__).parent
    files = [path for path in sorted((folder / "chips").rglob("*")) if path.is_file()]
    total = hashlib.sha256(Path(registry.chips.__file__).read_bytes())
    for path in files:
        if "__pycache__" not in path.parts:
            total.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


@dataclass(frozen=True)
class RealLand:
    """Chips of land without mines, for simulated mines to lie on."""

    folder: Path
    share: float = 0.5
    """Of the chips that lie on it; the others are simulated altogether."""
    stamp: str = field(init=False)
    """Tells whether the files are still the same."""

    def __post_init__(self) -> None:
        files = every_chip(self.folder)
        if not files:
            raise InputError(
                f"{self.folder} holds no chips; cut some of land without mines with `groundwatch chips`"
            )
        object.__setattr__(self, "stamp", digest([one.stamp for one in files]))

    @property
    def about(self) -> str:
        """What it adds to a training."""
        places = sorted({one.place for one in every_chip(self.folder)})
        return f", {self.share:.0%} of them on real land ({', '.join(places)})"


@lru_cache(maxsize=2)
def _backdrops(land: RealLand) -> tuple[Backdrop, ...]:
    """The chips as backdrops. Raises InputError where one is labelled as a mine."""
    return tuple(_backdrop(read_chip(file)) for file in every_chip(land.folder))


def _backdrop(chip: Chip) -> Backdrop:
    if chip.has(Component.TRANSFORMED).any():
        raise InputError(
            f"chip {chip.name} is labelled as a mine; backdrops are land without one: take it out"
        )
    return Backdrop(chip.name, chip.pixels, chip.labels, Component.FOREST in chip.known)


@dataclass(frozen=True)
class SimulatedChips:
    """Chips of one recipe and seed, in any number."""

    recipe_name: str
    seed: int
    size: int = 256
    mine_types: tuple[str, ...] = ()
    """Restricts the recipe's; empty = all of them."""
    materials: tuple[str, ...] = ()
    """Likewise."""
    code: str = field(default_factory=code_digest)
    """Of the simulator when this was set up: workers that start later must find the same cache."""
    land: RealLand | None = None
    """What some of the mines lie on instead of simulated land."""

    @property
    def recipe(self) -> Recipe:
        """What is drawn from."""
        base = replace(RECIPES[self.recipe_name], size=self.size)
        if self.land is not None:
            base = replace(base, backdrops=_backdrops(self.land), backdrop_share=self.land.share)
        return replace(
            base,
            mine_types=self.mine_types or base.mine_types,
            materials=self.materials or base.materials,
        )

    @property
    def key(self) -> str:
        """Digest of recipe, seed and the simulator's own code."""
        recipe = {
            one.name: getattr(self.recipe, one.name) for one in fields(Recipe) if one.name != "backdrops"
        }
        land = {"land": self.land.stamp} if self.land else {}
        return digest({"recipe": recipe, "seed": self.seed, "code": self.code} | land)

    @property
    def about(self) -> str:
        """What these chips are."""
        return f"{ABOUT[self.recipe_name]} (seed {self.seed})" + (self.land.about if self.land else "")

    @property
    def count(self) -> None:
        """As many as are asked for."""
        return

    def chip(self, index: int) -> Chip:
        """The chip of that number."""
        from simulator.chips.make import make_chip

        return make_chip(self.seed, index, self.recipe)

    def pair(self, index: int) -> ChipPair:
        """The pair of that number."""
        from simulator.chips.make import make_pair

        return make_pair(self.seed, index, self.recipe)


def simulated(name: str, seed: int, *, size: int = 256) -> SimulatedChips:
    """Chips of a recipe by name. Raises InputError for an unknown one."""
    if name not in RECIPES:
        raise InputError(f"recipe {name!r} is not known; use one of {', '.join(RECIPES)}")
    return SimulatedChips(name, seed + SEEDS[name], size)


def simulated_three(seed: int, *, size: int = 256, land: RealLand | None = None) -> Three:
    """Training, shifted and held-out worlds of a seed; only the training ones lie on real land."""
    train, shifted, held_out = (simulated(name, seed, size=size) for name in ("train", "shifted", "heldout"))
    return Three(replace(train, land=land), shifted, held_out)


@dataclass(frozen=True)
class SimulatedWorlds:
    """Sources of a study."""

    size: int = 256

    def train(self, seed: int, facts: Mapping[str, str]) -> SimulatedChips:
        """What is learnt from."""
        return _restricted(simulated("train", seed, size=self.size), facts)

    def validate(self, seed: int) -> SimulatedChips:
        """What stops a training."""
        return simulated("shifted", seed, size=self.size)

    def calibrate(self, seed: int) -> SimulatedChips:
        """What temperatures are fitted on."""
        return simulated("heldout", seed, size=self.size)

    def test(self, part: str, seed: int, facts: Mapping[str, str]) -> SimulatedChips:
        """What is measured on."""
        name = "train" if part == "in_distribution" else part
        return _restricted(simulated(name, seed + TEST_SEEDS, size=self.size), facts)


def _restricted(source: SimulatedChips, facts: Mapping[str, str]) -> SimulatedChips:
    kept = {"mine_type": "mine_types", "material": "materials"}
    return replace(source, **{kept[name]: (value,) for name, value in facts.items()})  # type: ignore[arg-type]
