"""Real passes: real loss is found, and what did not change is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.real_data import romania_losses, romania_pairs
from benchmarks.real_skill import flagged_share, loss_row
from detector.models import choose, load_cards, shipped_cards
from detector.oneoff_models import Models
from detector.state import PixelStatus, State
from registry.detection import DetectionSettings
from registry.models import IncidentKind, Target
from registry.setting_models import FileSettings
from tests.romania_skill import Mask, folded, ledger, load, measure, ndvi_drop, never_lost, told

SETTINGS = DetectionSettings()


class Result:
    """One fold over all passes."""

    def __init__(self, folder: Path, target: Target) -> None:
        cards = load_cards([shipped_cards()])
        _, looks = load(folder)
        card = choose(cards, getattr(SETTINGS.models, target.value), looks[0].bands)
        self.card = card.id
        rows = tuple(ledger(looks, card, target, SETTINGS))
        self.ever = np.zeros(rows[0].score.shape, dtype=bool)
        for state in folded(rows, target, SETTINGS):
            self.ever |= state.status == PixelStatus.CONFIRMED
        self.state: State = state

    def flagged(self) -> Mask:
        """What would be told."""
        return told(self.state)


@pytest.fixture(scope="module")
def forest(real_data: Path) -> Result:
    return Result(real_data / "romania_s2", Target.FOREST)


def test_real_loss_is_found_and_little_else(forest: Result, real_data: Path) -> None:
    _, looks = load(real_data / "romania_s2")
    skill = measure(forest.flagged(), ndvi_drop(looks))
    print(f"{forest.card}: {skill.hit} of {skill.clusters} clusters, {skill.flagged} px flagged, ", end="")
    print(f"{skill.false_share:.1%} of it where NDVI fell by less than 0.1")
    assert skill.clusters >= 5
    assert skill.recall >= 0.8
    assert 0 < skill.false_share <= 0.25


def test_what_never_lost_greenness_was_never_confirmed(forest: Result, real_data: Path) -> None:
    _, looks = load(real_data / "romania_s2")
    calm = never_lost(looks, 0.05)
    assert int(calm.sum()) > 3000
    assert int((forest.ever & calm).sum()) <= calm.sum() // 500


def test_logging_is_not_excavation(real_data: Path) -> None:
    assert not Result(real_data / "romania_s2", Target.TRANSFORMED).flagged().any()


@pytest.mark.parametrize("files", [FileSettings(), FileSettings(compare=())], ids=["network", "spectral"])
def test_two_clear_dates_of_an_unchanged_forest_stay_calm(real_data: Path, files: FileSettings) -> None:
    models = Models(load_cards([shipped_cards()]), SETTINGS, files, device="cpu")
    pairs, losses = list(romania_pairs(real_data)), list(romania_losses(real_data))
    for kind in IncidentKind:
        shares = [share for pair in pairs if (share := flagged_share(models, pair, kind)) is not None]
        assert len(shares) == len(pairs) > 40
        assert max(shares) <= 0.02
    found = [row for pair in losses if (row := loss_row(models, pair))]
    means = {key: float(np.mean([row[key] for row in found])) for key in found[0]}
    print(means)
    assert means["pixels_found"] >= 0.4
    assert means["called_without_drop"] <= 0.35
