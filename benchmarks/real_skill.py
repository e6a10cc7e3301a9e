"""Cards against real data, side by side: ``python -m benchmarks.real_skill [--cards FOLDER] [--json FILE]``.

Forest on land cover of five tiles, on monthly points and on hand-made masks of deforestation; how much of
tiles without mines is called transformed; how much of an unchanged forest two clear dates call changed.
No network has seen an image of it, but the simulator's spectra and texture were measured on the tiles, and
the spectral models were fitted to the tiles and points (their cards say so). Romania is new to both.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ranking import roc_auc
from benchmarks.real_data import (
    CalmPair,
    LossPair,
    Tile,
    multiearth,
    points,
    romania_losses,
    romania_pairs,
    terramind,
    tree_cover,
)
from detector.cards import Card, ChangeCard, SegmentCard
from detector.engine import Device
from detector.models import load_cards, scores, shipped_cards
from detector.oneoff_models import Models, mean_seen, sigmoid
from detector.pair_scores import PairScores, pair_scores
from detector.predict import target_logits
from detector.spectral import SpectralCard
from registry.detection import DetectionSettings
from registry.errors import GroundwatchError
from registry.models import S1_BANDS, IncidentKind, Target
from registry.setting_models import FileSettings
from tests.romania_skill import Look, folded, ledger, load, measure, ndvi_drop, told

Float32 = NDArray[np.float32]
Row = dict[str, Any]

CALM_BOUND = 0.02
"""Most of an unchanged forest that a pair of clear dates should flag."""
HIT_SHARE = 0.3
"""Least share of a cluster's pixels for it to be found."""


def forest_rows(cards: Sequence[Card], tiles: Sequence[Tile]) -> list[Row]:
    """One row per card and tile that it can read."""
    rows = []
    for tile in tiles:
        for card in cards:
            logit = _score(card, tile, Target.FOREST)
            if logit is None:
                continue
            seen = tile.known & np.isfinite(logit)
            called, truth = logit[seen] > 0, tile.forest[seen]
            if not seen.any():
                continue
            rows.append(
                {"tile": tile.name, "biome": tile.biome, "card": card.id, "f1": _f1(called, truth)}
                | {"auc": roc_auc(logit[seen], truth), "called": float(called.mean())}
                | {"true": float(truth.mean()), "false": float((called & ~truth).mean())}
            )
    return rows


TOGETHER = 5
"""Dates that are averaged, beside single ones."""


def tree_cover_rows(
    cards: Sequence[Card], dates: Sequence[Tile], *, together: int = 1, orientations: int = 1
) -> list[Row]:
    """Forest against a map that no model has seen, all dates in turn or so many of them averaged."""
    rows = []
    for card in cards:
        called, truth, areas = [], [], []
        for first in range(0, len(dates), together):
            chance = _mean_chance(card, dates[first : first + together], orientations)
            if chance is None:
                break
            seen = np.isfinite(chance)
            called.append(chance[seen] > 0.5)
            truth.append(dates[first].forest[seen])
            areas.append(roc_auc(chance[seen], truth[-1]))
        if called:
            said, true = np.concatenate(called), np.concatenate(truth)
            balanced = 0.5 * float(said[true].mean() + (~said[~true]).mean())
            rows.append(
                {"card": card.id, "dates": len(dates), "averaged": together, "f1": _f1(said, true)}
                | {"auc": float(np.mean(areas)), "balanced": balanced}
                | {"true": float(true.mean()), "false": float((said & ~true).mean())}
            )
    return rows


def _mean_chance(card: Card, dates: Sequence[Tile], orientations: int) -> Float32 | None:
    """(h, w) mean chance of forest over the dates that saw a pixel, as `segment` averages; NaN where none."""
    chances = []
    for tile in dates:
        logit = _score(card, tile, Target.FOREST, orientations)
        if logit is None:
            return None
        chances.append(np.where(tile.known, sigmoid(logit), np.float32(np.nan)))
    return mean_seen(chances)


def transformed_rows(cards: Sequence[Card], tiles: Sequence[Tile]) -> list[Row]:
    """Share of tiles without a mine that each card calls transformed."""
    rows = []
    for tile in tiles:
        for card in cards:
            logit = _score(card, tile, Target.TRANSFORMED)
            if logit is not None:
                share = float((logit[np.isfinite(logit)] > 0).mean())
                rows.append({"tile": tile.name, "biome": tile.biome, "card": card.id, "called": share})
    return rows


def calm_rows(cards: Mapping[str, Card], pairs: Sequence[CalmPair], names: Sequence[str]) -> list[Row]:
    """Share of the calm pixels of Romania that ``compare`` flags, per card and kind of change."""
    rows = []
    for name in names:
        models = _models(cards, name)
        for kind in IncidentKind:
            shares = [flagged_share(models, pair, kind) for pair in pairs]
            found = [share for share in shares if share is not None]
            if found:
                over = sum(share > CALM_BOUND for share in found)
                rows.append(
                    {"card": name or "by order", "kind": kind.value, "pairs": len(found)}
                    | {"mean": float(np.mean(found)), "worst": float(np.max(found)), "over": over}
                )
    return rows


SPECTRAL = "spectral"
"""Stands for the spectral models of both dates."""


def _models(cards: Mapping[str, Card], name: str) -> Models:
    """Those of the default settings, the spectral ones, or the one of this name."""
    files = FileSettings(compare=()) if name == SPECTRAL else FileSettings()
    named = None if name in ("", SPECTRAL) else name
    return Models(cards=cards, settings=DetectionSettings(), files=files, named=named)


def flagged_share(models: Models, pair: CalmPair, kind: IncidentKind) -> float | None:
    """Of the calm pixels; None where the models cannot read the bands."""
    found = _compared(models, pair.before, pair.after, pair.calm)
    return None if found is None else float(found.flagged(kind)[pair.calm].mean())


def _compared(models: Models, before: Look, after: Look, seen: NDArray[np.bool_]) -> PairScores | None:
    """None where the models cannot read the bands."""
    clear = (
        {name: np.where(seen, band, np.nan).astype(np.float32) for name, band in look.bands.items()}
        for look in (before, after)
    )
    try:
        return pair_scores(*clear, models=models)
    except GroundwatchError:
        return None


def loss_rows(cards: Mapping[str, Card], pairs: Sequence[LossPair], names: Sequence[str]) -> list[Row]:
    """How ``compare`` finds the losses of Romania over three to five years, mean over pairs of dates."""
    rows = []
    for name in names:
        models = _models(cards, name)
        found = [row for pair in pairs if (row := loss_row(models, pair)) is not None]
        if found:
            means = {key: float(np.mean([row[key] for row in found])) for key in found[0]}
            rows.append({"card": name or "by order", "pairs": len(found)} | means)
    return rows


def loss_row(models: Models, pair: LossPair) -> Row | None:
    """Shares of the lost pixels and clusters found, and of what is flagged where nothing was lost."""
    found = _compared(models, pair.before, pair.after, pair.seen)
    if found is None:
        return None
    called = pair.seen & np.any([found.flagged(kind) for kind in IncidentKind], axis=0)
    lost = np.any(pair.lost, axis=0) & pair.seen
    hit = [called[cluster & pair.seen].mean() >= HIT_SHARE for cluster in pair.lost]
    still = called & (pair.drop < 0.1)
    return {
        "pixels_found": float(called[lost].mean()),
        "clusters_found": float(np.mean(hit)),
        "called_elsewhere": float(called[pair.seen & ~pair.near].mean()),
        "called_without_drop": float(still.sum() / max(1, called.sum())),
    }


def _score(card: Card, tile: Tile, target: Target, orientations: int = 1) -> Float32 | None:
    if target not in card.feeds or (set(card.bands) - card.may_lack) - set(tile.bands):
        return None
    bands = {name: band for name, band in tile.bands.items() if name in card.bands}
    if orientations > 1 and isinstance(card, SegmentCard):
        return target_logits(card, bands, (target,), device=Device.CPU, orientations=orientations)[target]
    return scores(card, bands, (target,), device="cpu", offset_known=True)[target]


def _f1(called: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    hits = int((called & truth).sum())
    total = int(called.sum()) + int(truth.sum())
    return 2.0 * hits / total if total else 1.0


def series_rows(cards: Sequence[Card], folder: Path) -> list[Row]:
    """The 140 dates of Romania through the detector's evidence, with each card as its score of forest."""
    _, looks = load(folder / "romania_s2")
    drop, settings, rows = ndvi_drop(looks), DetectionSettings(), []
    for card in cards:
        if Target.FOREST in card.feeds and set(card.bands) - card.may_lack <= set(looks[0].bands):
            passes = tuple(ledger(looks, card, Target.FOREST, settings))
            *_, last = folded(passes, Target.FOREST, settings)
            skill = measure(told(last), drop)
            rows.append(
                {"card": card.id, "clusters": skill.clusters, "hit": skill.hit, "pixels": skill.flagged}
                | {"without_drop": skill.false_share}
            )
    return rows


def _radar_yardstick(card: Card) -> bool:
    return isinstance(card, SpectralCard) and bool(set(card.bands) & set(S1_BANDS))


def table(rows: Sequence[Row]) -> str:
    """Markdown of rows with the same keys."""
    if not rows:
        return "(no rows)"
    keys = list(rows[0])
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    for row in rows:
        cells = [f"{row[k]:.3f}" if isinstance(row[k], float) else str(row[k]) for k in keys]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_skill", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--cards", type=Path, action="append", default=[], help="a further folder of cards")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cards = load_cards((shipped_cards(), *given.cards))
    single = [card for card in cards.values() if card.feeds and not _radar_yardstick(card)]
    tiles, covered = [*terramind(given.data)], [*tree_cover(given.data)]
    changes = [card.id for card in cards.values() if isinstance(card, ChangeCard)]
    joint = [card.id for card in single if len(card.feeds) > 1]
    networks = [card for card in single if isinstance(card, SegmentCard)]
    named = ["", SPECTRAL, *joint, *changes]
    found = {
        "forest": forest_rows(single, [*tiles, *points(given.data), *multiearth(given.data)]),
        "tree cover": tree_cover_rows(single, covered),
        "tree cover, dates averaged": tree_cover_rows(single, covered, together=TOGETHER),
        "tree cover, turned": tree_cover_rows(networks, covered, orientations=FileSettings().orientations),
        "tree cover, dates averaged, turned": tree_cover_rows(
            networks, covered, together=TOGETHER, orientations=FileSettings().orientations
        ),
        "transformed": transformed_rows(single, tiles),
        "calm": calm_rows(cards, list(romania_pairs(given.data)), named),
        "series": series_rows(single, given.data),
        "losses": loss_rows(cards, list(romania_losses(given.data)), named),
    }
    for name, rows in found.items():
        print(f"\n## {name}\n\n{table(rows)}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
