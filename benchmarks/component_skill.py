"""What stands on changed ground, named and true, on simulated pairs: python -m benchmarks.component_skill

Every patch of new mine (from the minimum mapping unit) of held-out or shifted worlds is named as an incident
is, from one look and from the true outline. Lost forest, where no mine is, should be named nothing.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from benchmarks.real_skill import Row, table
from detector.components import averaged, choose_mapper, map_components, mine_heads, shares
from detector.models import SegmentCard, load_cards, shipped_cards
from detector.objects import Mask
from groundwatch.simulated import TEST_SEEDS, simulated
from registry.chips import Change, ChipPair, Component, by_name, class_codes
from registry.detection import ComponentSettings

SMALLEST_PX = 10
"""Pixels of 10 m of the smallest patch: the minimum mapping unit."""


def patches(change: NDArray[np.uint8], kind: Change) -> Iterator[Mask]:
    """(h, w) each of the 4-connected patches of a kind of change."""
    numbered, count = label(change == kind)
    for number in range(1, count + 1):
        if (patch := numbered == number).sum() >= SMALLEST_PX:
            yield patch


class Names:
    """What was named and what was true, over many patches."""

    def __init__(self, card: SegmentCard, least: float) -> None:
        self.card, self.least = card, least
        self.named, self.true, self.both = Counter[str](), Counter[str](), Counter[str]()
        self.mines = self.first_right = self.silent = 0  # of patches that have a component
        self.clearings = self.clearings_named = 0

    def add(self, pair: ChipPair) -> None:
        """All patches of a pair."""
        heads = mine_heads(self.card)
        whole = by_name(pair.after.pixels)
        found = map_components(self.card, {name: whole[name] for name in self.card.bands})
        truth = {
            head: class_codes(pair.after.labels, [Component(one) for one in labels])
            for head, labels in heads.items()
        }
        for patch in patches(pair.change, Change.NEW_MINE):
            self._mine(
                [one.component for one in averaged([shares(found, heads, patch)], least=self.least)],
                [one.component for one in averaged([shares(truth, heads, patch)], least=self.least)],
            )
        for patch in patches(pair.change, Change.FOREST_LOSS):
            self.clearings += 1
            self.clearings_named += bool(averaged([shares(found, heads, patch)], least=self.least))

    def _mine(self, named: list[str], true: list[str]) -> None:
        self.named.update(named)
        self.true.update(true)
        self.both.update(set(named) & set(true))
        if not true:
            return
        self.mines += 1
        self.silent += not named
        self.first_right += bool(named) and named[0] in true

    def rows(self) -> Iterator[Row]:
        """Per component, then in all."""
        for name in sorted(self.true | self.named):
            yield self._row(name, self.both[name], self.named[name], self.true[name])
        yield self._row("all", self.both.total(), self.named.total(), self.true.total())

    @staticmethod
    def _row(name: str, both: int, named: int, true: int) -> Row:
        return {
            "component": name, "patches": true,
            "found": both / max(true, 1), "right": both / max(named, 1),
        }  # fmt: skip


def main() -> None:
    """Measure, and print the tables."""
    settings = ComponentSettings()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.component_skill", description=__doc__)
    parser.add_argument("--places", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--recipe", default="heldout", choices=["train", "heldout", "shifted"])
    parser.add_argument("--cards", type=Path, action="append", default=[], help="a further folder of cards")
    parser.add_argument("--model", default=settings.models[0], help="id of a card")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cards = load_cards((shipped_cards(), *given.cards))
    names = Names(choose_mapper(cards, (given.model,), cards[given.model].bands), settings.min_share)
    source = simulated(given.recipe, given.seed + TEST_SEEDS)
    for number in range(given.places):
        names.add(source.pair(number))
    rows = list(names.rows())
    print(table(rows))
    mines, clearings = max(names.mines, 1), max(names.clearings, 1)
    print(
        f"{names.mines} patches of new mine with a component: "
        f"first name right {names.first_right / mines:.2f}, "
        f"named nothing {names.silent / mines:.2f}; "
        f"{names.clearings} of lost forest: named as part of a mine {names.clearings_named / clearings:.2f}"
    )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
