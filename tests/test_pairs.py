"""Scores of two dates: what all the forest of an image lost is no loss; what stands out of it is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.pairs import (
    LARGEST_COMMON,
    USUAL_COMMON,
    clear_share,
    common_fall,
    fall_beyond,
    pooled,
    vegetation_falls,
)

Float32 = NDArray[np.float32]

SIZE = 60
CLEARED = np.s_[20:40, 20:40]
EVERYWHERE = np.full((SIZE, SIZE), 0.95, np.float32)


def forest(ndvi: float, *, cleared: float | None = None, seed: int = 1) -> dict[str, Float32]:
    """Red and near infrared of a forest with this NDVI, a square of it with another."""
    wanted = np.random.default_rng(seed).normal(ndvi, 0.01, (SIZE, SIZE))
    if cleared is not None:
        wanted[CLEARED] = cleared
    near = np.full((SIZE, SIZE), 0.3)
    return {"B04": (near * (1 - wanted) / (1 + wanted)).astype(np.float32), "B08": near.astype(np.float32)}


def beyond(before: dict[str, Float32], after: dict[str, Float32]) -> Float32:
    """How far each pixel fell beyond all the forest, which is everywhere."""
    falls = vegetation_falls(before, after)
    return fall_beyond(falls, [common_fall(fall, EVERYWHERE) for fall in falls])


@pytest.mark.parametrize("season", [0.85, 0.7, 0.6])
def test_a_clearing_stands_out_in_every_season(season: float) -> None:
    loss = beyond(forest(0.85), forest(season, cleared=0.2, seed=2))
    assert loss[CLEARED].min() > 0.1
    loss[CLEARED] = 0.0
    assert loss.max() < 0.05


def test_a_forest_that_is_cleared_whole_is_still_a_loss() -> None:
    loss = beyond(forest(0.85), forest(0.2, seed=2))
    assert np.median(loss) > 0.1
    assert common_fall(np.full((SIZE, SIZE), 0.65, np.float32), EVERYWHERE) == np.float32(LARGEST_COMMON)


def test_greening_and_little_forest_have_their_own_answers() -> None:
    fall = np.full((SIZE, SIZE), -0.2, np.float32)
    assert common_fall(fall, EVERYWHERE) == 0.0
    few = np.zeros((SIZE, SIZE), np.float32)
    few[0, :50] = 1.0
    assert common_fall(fall, few) == np.float32(USUAL_COMMON)
    assert common_fall(np.full_like(fall, np.nan), EVERYWHERE) == np.float32(USUAL_COMMON)


def test_the_fence_is_that_of_a_box_plot() -> None:
    fall = np.random.default_rng(3).normal(0.05, 0.02, (300, 300)).astype(np.float32)
    low, high = np.quantile(fall, (0.25, 0.75))
    chance = np.ones_like(fall)
    assert common_fall(fall, chance) == pytest.approx(high + 1.5 * (high - low), abs=1e-6)
    assert common_fall(fall, chance) == pytest.approx(0.05 + 2.698 * 0.02, abs=2e-3)


def test_an_index_that_rises_hides_none_that_falls() -> None:
    before, after = forest(0.85), forest(0.85, cleared=0.2, seed=2)
    short = {"B12": np.full((SIZE, SIZE), 0.1, np.float32)}
    brighter = {"B12": np.full((SIZE, SIZE), 0.01, np.float32)}
    found = beyond(before | short, after | brighter)
    assert found[CLEARED].min() > 0.2


def test_a_clear_fall_is_a_share_and_unseen_stays_unseen() -> None:
    before, after = forest(0.85), forest(0.85, cleared=0.2, seed=2)
    after["B04"][0, 0] = np.nan
    share = clear_share(beyond(before, after))
    assert np.isnan(share[0, 0])
    assert (share[CLEARED] == 1.0).all()
    assert np.nanmedian(share) == 0.0


def test_two_chances_are_pooled_by_their_logits_and_neither_is_a_veto() -> None:
    one = np.array([0.5, 0.9, 0.2, 0.0, 1.0, np.nan, 0.3, np.nan], np.float32)
    other = np.array([0.9, 0.9, 0.8, 0.9, 0.0, 0.3, np.nan, np.nan], np.float32)
    expected = [0.75, 0.9, 0.5, 0.029119, 0.5, 0.3, 0.3, np.nan]
    assert pooled(one, other) == pytest.approx(expected, abs=1e-5, nan_ok=True)
    assert pooled(other, one) == pytest.approx(expected, abs=1e-5, nan_ok=True)
