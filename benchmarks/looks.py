"""What more looks at a place add, and what keeps forest from a perfect map: python -m benchmarks.looks

On simulated worlds: mean IoU of each head's labels (F1 of forest) from one look and from several of one year
(``--looks``), averaged as `segment` does, each also in two orientations and in four. Then F1 of forest on all
pixels and without those at a forest's edge (one pixel on either side), beside an eye that knows every leaf
but looks through Sentinel-2's blur and shift; and what the ground is where one look is wrong.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion

from benchmarks.real_skill import Row, table
from detector.cards import Condition, SegmentCard
from detector.models import load_cards, shipped_cards
from detector.objects import Mask
from detector.predict import ORIENTATIONS, UNSEEN, Question, predict_image
from detector.training.metrics import confusion_of, f1, iou
from groundwatch.simulated import SEEDS, TEST_SEEDS, SimulatedChips, simulated
from registry.chips import BIT, Chip, Codes, Component, by_name, class_codes
from simulator.chips.labels import MATERIALS, paint_materials, window_of
from simulator.chips.layers import Ground
from simulator.chips.make import draw_ground
from simulator.chips.optics import Lattice, through_optics
from simulator.chips.sensors import take

Float32 = NDArray[np.float32]
Counts = NDArray[np.int64]

YEAR = 360
"""Days that the looks are spread over: leaves fall and crops ripen between them."""
SHIFT = 0.2
"""Standard deviation of a pass's shift in pixels of 10 m: 5 m CE95 (simulator.chips.sensors)."""
FOREST = "forest"
INSIDE = "forest without its edges"
EYE = "perfect eye, one look"


def looks_of(
    source: SimulatedChips, index: int, count: int, *, clear: bool = False
) -> Iterator[tuple[Ground, Chip]]:
    """One place on its own day, under its own sky unless ``clear``; then clear ones through the year."""
    _, first = draw_ground(source.seed, index, source.recipe)
    for look in range(count):
        day = (first - 1 + look * (YEAR // count)) % 365 + 1
        ground, _ = draw_ground(source.seed, index, source.recipe, day=day)
        shot = take(
            ground,
            seed=source.seed,
            index=index,
            look=look,
            recipe=source.recipe,
            day=day,
            clear=clear or look > 0,
        )
        yield ground, shot.chip


def canopy(ground: Ground) -> Float32:
    """(size, size) share of each pixel that is forest."""
    share = np.zeros((ground.size, ground.size), np.float32)
    for layer in ground.layers:
        if layer.keep & BIT[Component.FOREST]:
            continue
        window, own = window_of(layer), float(bool(layer.labels & BIT[Component.FOREST]))
        share[window] += layer.cover * (np.float32(own) - share[window])
    return share


def perfect_eye(ground: Ground, rng: np.random.Generator) -> Codes:
    """(size, size) 1 where a look without noise, whose every band tells canopy from all else, sees forest."""
    south, east = rng.normal(0.0, SHIFT, 2)
    still = np.zeros((12, ground.size, ground.size), np.float32)
    light = np.ascontiguousarray(np.broadcast_to(canopy(ground), still.shape))
    seen, _ = through_optics(light, Lattice(0, 0, float(south), float(east)), still, baseline="02.14")
    answer: Codes = (seen[1] >= 0.5).astype(np.uint8)  # B02, at 10 m
    return answer


def inside(forest: Mask) -> Mask:
    """Pixels that no edge of a forest touches."""
    away: Mask = ~(binary_dilation(forest) & ~binary_erosion(forest))
    return away


class Tally:
    """Confusion counts of every contestant and head, and the ground under the errors of one look."""

    def __init__(self, card: SegmentCard) -> None:
        self.card = card
        self.counts: dict[tuple[str, str], Counts] = {}
        self.covers, self.missed, self.false = Counter[str](), Counter[str](), Counter[str]()

    def add(self, who: str, what: str, answer: Codes, truth: Codes, *, classes: int = 2) -> None:
        """One place, where both are known; ``what`` is a head, or INSIDE."""
        known = (answer != UNSEEN) & (truth != UNSEEN)
        counts = confusion_of(truth[known], answer[known], classes)
        self.counts[who, what] = self.counts.get((who, what), 0) + counts

    def add_errors(self, ground: Ground, answer: Codes, truth: Codes) -> None:
        """What lies where forest is missed or seen in vain."""
        numbers = paint_materials(ground)
        known = (answer != UNSEEN) & (truth != UNSEEN)
        for counter, counted in (
            (self.covers, known),
            (self.missed, known & (truth == 1) & (answer == 0)),
            (self.false, known & (truth == 0) & (answer == 1)),
        ):
            for number, count in zip(*np.unique(numbers[counted], return_counts=True), strict=True):
                counter[MATERIALS[number]] += int(count)

    def heads(self) -> Iterator[Row]:
        """One row per contestant."""
        for who in dict.fromkeys(who for who, _ in self.counts if who != EYE):
            figures = {head.name: self._mean_iou(who, head.name) for head in self.card.heads}
            yield {"mean IoU": who, **figures, "forest F1": self._f1(who, FOREST)}

    def forest(self) -> Iterator[Row]:
        """One row per contestant."""
        for who in dict.fromkeys(who for who, _ in self.counts):
            yield {
                "F1": who,
                "all pixels": self._f1(who, FOREST),
                "inside": self._f1(who, INSIDE),
                "of the errors at edges": 1.0 - self._wrong(who, INSIDE) / self._wrong(who, FOREST),
            }

    def errors(self, what: str, counter: Counter[str]) -> Iterator[Row]:
        """The grounds with most errors."""
        for name, count in counter.most_common(6):
            yield {"ground": name, what: count / counter.total(), "of its pixels": count / self.covers[name]}

    def _mean_iou(self, who: str, head: str) -> float:
        return float(np.nanmean(iou(self.counts[who, head])[1:]))

    def _wrong(self, who: str, head: str) -> int:
        counts = self.counts[who, head]
        return int(counts.sum() - np.trace(counts))

    def _f1(self, who: str, head: str) -> float:
        return float(f1(self.counts[who, head])[1])


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.looks", description=__doc__)
    parser.add_argument("--places", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--recipe", default="heldout", choices=sorted(SEEDS))
    parser.add_argument("--looks", type=int, default=3)
    parser.add_argument("--clear", action="store_true", help="the first look under a clear sky, too")
    parser.add_argument("--model", default="mining-msi-sar", help="id of a card")
    given = parser.parse_args()
    card = load_cards((shipped_cards(),))[given.model]
    if not isinstance(card, SegmentCard):
        parser.error(f"{given.model} has no heads")
    source, rng = simulated(given.recipe, given.seed + TEST_SEEDS), np.random.default_rng(given.seed)
    tally = Tally(card)
    for index in range(given.places):
        looks = looks_of(source, index, given.looks, clear=given.clear)
        _place(card, tally, *zip(*looks, strict=True), rng=rng)
    for rows in (
        tally.heads(),
        tally.forest(),
        tally.errors("missed", tally.missed),
        tally.errors("taken for forest", tally.false),
    ):
        print(table(list(rows)) + "\n")


def _count(looks: int) -> str:
    return "one look" if looks == 1 else f"{looks} looks"


def _named(who: str, orientations: int) -> str:
    return who if orientations == 1 else f"{who}, {orientations} orientations"


def _place(
    card: SegmentCard,
    tally: Tally,
    grounds: tuple[Ground, ...],
    chips: tuple[Chip, ...],
    *,
    rng: np.random.Generator,
) -> None:
    names = tuple(head.name for head in card.heads)
    looks = [{name: by_name(chip.pixels)[name] for name in card.bands} for chip in chips]
    found = {
        _named(who, orientations): predict_image(
            card,
            dates,
            Question(
                names,
                condition=Condition.FRESH,
                references=[None] * len(dates),
                orientations=orientations,
            ),
        )
        for who, dates in {"one look": looks[:1], _count(len(looks)): looks}.items()
        for orientations in ORIENTATIONS
    }
    for head in card.heads:
        truth = class_codes(chips[0].labels, [Component(one) for one in head.labels])
        for who, answer in found.items():
            tally.add(who, head.name, answer.codes[head.name], truth, classes=head.classes)
        if head.name == FOREST:
            answers = {who: answer.codes[FOREST] for who, answer in found.items()}
            answers[EYE] = perfect_eye(grounds[0], rng)
            tally.add(EYE, FOREST, answers[EYE], truth)
            core = np.where(inside(chips[0].has(Component.FOREST)), truth, UNSEEN).astype(np.uint8)
            for who, codes in answers.items():
                tally.add(who, INSIDE, codes, core)
            tally.add_errors(grounds[0], answers["one look"], truth)


if __name__ == "__main__":
    main()
