"""Scores of two dates beside the indices to beat, on shifted simulations: python -m benchmarks.pair_skill

The worlds have other seeds, climates, spectra, generator family and atmosphere than training. Per pixel:
`transformation` against max(0, dBSI) for new mines, `forest_loss` against -dNDVI for lost forest; per band
set and model. Average precision (area under precision and recall), mean over places and its interval; and
of what `compare` flags by these scores, the share of the changed pixels found and of the flagged ones right.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.ranking import average_precision, roc_auc
from benchmarks.real_skill import Row, table
from detector.models import load_cards, shipped_cards
from detector.oneoff_models import Models
from detector.pair_scores import pair_scores
from detector.pairs import bare_soil_index, ndvi, red_nir_bareness
from groundwatch.simulated import TEST_SEEDS, simulated
from registry.chips import Change, ChipPair, Codes, by_name
from registry.detection import DetectionSettings
from registry.models import S1_BANDS, S2_BANDS, IncidentKind
from registry.setting_models import FileSettings

Float32 = NDArray[np.float32]
Bands = Mapping[str, Float32]

BAND_SETS: Mapping[str, tuple[str, ...]] = {
    "rgbnir": ("B02", "B03", "B04", "B08"),
    "rgbnir_swir": ("B02", "B03", "B04", "B08", "B11"),
    "msi": S2_BANDS,
    "msi_sar": (*S2_BANDS, *S1_BANDS),
}
TRUTH = {IncidentKind.EXCAVATION: Change.NEW_MINE, IncidentKind.FOREST_LOSS: Change.FOREST_LOSS}
EVERY = 5
"""Every so many pixels count: neighbours say the same."""


def index_scores(before: Bands, after: Bands) -> dict[IncidentKind, Float32]:
    """The indices to beat: one-sided rise of bareness, one-sided fall of greenness."""
    bareness = bare_soil_index if "B11" in before else red_nir_bareness
    rise, fall = bareness(after) - bareness(before), ndvi(before) - ndvi(after)
    return {IncidentKind.EXCAVATION: np.maximum(rise, 0.0), IncidentKind.FOREST_LOSS: np.maximum(fall, 0.0)}


class Samples:
    """Scores and truth of every contestant, gathered over places."""

    def __init__(self) -> None:
        self.scores: dict[tuple[str, str, IncidentKind], list[Float32]] = {}
        self.truth: dict[tuple[str, str, IncidentKind], list[NDArray[np.bool_]]] = {}
        self.flagged: dict[tuple[str, str, IncidentKind], list[NDArray[np.bool_]]] = {}

    def add(
        self,
        bands: str,
        who: str,
        kind: IncidentKind,
        score: Float32,
        change: Codes,
        flagged: NDArray[np.bool_] | None = None,
    ) -> None:
        """One place."""
        left_out = [Change.UNKNOWN, Change.HIDDEN]
        # New mines take forest with them: for lost forest they are neither right nor wrong.
        left_out += [Change.NEW_MINE] if kind is IncidentKind.FOREST_LOSS else []
        seen = np.isfinite(score) & ~np.isin(change, left_out)
        picked = np.flatnonzero(seen)[::EVERY]
        key = (bands, who, kind)
        self.scores.setdefault(key, []).append(score.reshape(-1)[picked])
        self.truth.setdefault(key, []).append(change.reshape(-1)[picked] == TRUTH[kind])
        if flagged is not None:
            self.flagged.setdefault(key, []).append(flagged.reshape(-1)[picked])

    def rows(self) -> Iterator[Row]:
        """Average precision and area under the ROC over all places, with a bootstrap over places."""
        for key, scores in self.scores.items():
            truth = self.truth[key]
            score, true = np.concatenate(scores), np.concatenate(truth)
            low, high = self._interval(scores, truth)
            bands, who, kind = key
            found, right = self._at_work(key, true)
            yield {"bands": bands, "kind": kind.value, "by": who, "places": len(scores)} | {
                "ap": average_precision(score, true), "low": low, "high": high, "auc": roc_auc(score, true),
                "found": found, "right": right,
            }  # fmt: skip

    def _at_work(self, key: tuple[str, str, IncidentKind], true: NDArray[np.bool_]) -> tuple[float, float]:
        """Shares of the changed pixels that are flagged and of the flagged ones that changed."""
        if key not in self.flagged:
            return float("nan"), float("nan")
        called = np.concatenate(self.flagged[key])
        hits = float((called & true).sum())
        return hits / max(1, int(true.sum())), hits / max(1, int(called.sum()))

    @staticmethod
    def _interval(
        scores: Sequence[Float32], truth: Sequence[NDArray[np.bool_]], draws: int = 40
    ) -> tuple[float, float]:
        rng = np.random.default_rng(1)
        found = []
        for _ in range(draws):
            picked = rng.integers(0, len(scores), len(scores))
            found.append(
                average_precision(
                    np.concatenate([scores[i] for i in picked]), np.concatenate([truth[i] for i in picked])
                )
            )
        low, high = np.nanpercentile(found, (2.5, 97.5))
        return float(low), float(high)


def contest(pairs: Iterator[ChipPair], contestants: Mapping[str, Models], samples: Samples) -> None:
    """Score every pair by everybody who can read the bands."""
    for pair in pairs:
        whole = by_name(pair.before.pixels), by_name(pair.after.pixels)
        for label, names in BAND_SETS.items():
            before, after = ({name: date[name] for name in names} for date in whole)
            for kind, score in index_scores(before, after).items():
                samples.add(label, "index", kind, score, pair.change)
            for who, models in contestants.items():
                if not _fits(models, names):
                    continue
                found = pair_scores(before, after, models=models)
                for kind, score in found.scores.items():
                    samples.add(label, who, kind, score, pair.change, found.flagged(kind))


def _fits(models: Models, names: Sequence[str]) -> bool:
    if models.named is None:
        return True
    card = models.cards[models.named]
    return set(card.bands) - card.may_lack <= set(names)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pair_skill", description=__doc__)
    parser.add_argument("--places", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--recipe", default="shifted", choices=["train", "heldout", "shifted"])
    parser.add_argument("--cards", type=Path, action="append", default=[], help="a further folder of cards")
    parser.add_argument("--model", action="append", default=[], help="id of a card; all with weights if none")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cards = load_cards((shipped_cards(), *given.cards))
    settings = DetectionSettings()
    weighted = given.model or [name for name, card in cards.items() if len(card.feeds) != 1]
    spectral = FileSettings(compare=())
    contestants = {"compare": Models(cards=cards, settings=settings, device="cpu")}
    contestants["spectral"] = Models(cards=cards, settings=settings, files=spectral, device="cpu")
    contestants |= {n: Models(cards=cards, settings=settings, named=n, device="cpu") for n in weighted}
    source, samples = simulated(given.recipe, given.seed + TEST_SEEDS), Samples()
    contest((source.pair(number) for number in range(given.places)), contestants, samples)
    rows = sorted(samples.rows(), key=lambda row: (row["kind"], row["bands"], -row["ap"]))
    print(table(rows))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
