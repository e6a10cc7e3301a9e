"""Who is asked what became of a place between two dates, and what they say together."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.ranking import average_precision
from detector.models import load_cards, shipped_cards
from detector.oneoff_models import Models
from detector.pair_scores import SINGLE_DATES, TARGETS, pair_scores
from detector.pairs import clear_share, common_fall, fall_beyond, pooled, vegetation_falls
from groundwatch.simulated import TEST_SEEDS, simulated
from registry.chips import Change, ChipPair, by_name
from registry.detection import DetectionSettings
from registry.errors import InputError
from registry.models import S2_BANDS, IncidentKind, Target
from registry.setting_models import FileSettings

Float32 = NDArray[np.float32]
Bands = dict[str, Float32]

CARDS = load_cards((shipped_cards(),))
FIVE = ("B02", "B03", "B04", "B08", "B11")


def models(*, named: str | None = None, files: FileSettings | None = None) -> Models:
    return Models(
        cards=CARDS, settings=DetectionSettings(), files=files or FileSettings(), named=named, device="cpu"
    )


@pytest.fixture(scope="module")
def pair() -> ChipPair:
    """A place where a new mine takes forest, and more forest is lost beside it."""
    source = simulated("shifted", 1 + TEST_SEEDS)
    found = (source.pair(number) for number in range(60))
    return next(
        one
        for one in found
        if min(np.bincount(one.change.ravel(), minlength=256)[[Change.NEW_MINE, Change.FOREST_LOSS]]) > 500
    )


def dates(pair: ChipPair, names: tuple[str, ...]) -> tuple[Bands, Bands]:
    one, other = (by_name(chip.pixels) for chip in (pair.before, pair.after))
    return {name: one[name] for name in names}, {name: other[name] for name in names}


def test_networks_of_both_dates_and_of_each_are_pooled(pair: ChipPair) -> None:
    before, after = dates(pair, FIVE)
    together = pair_scores(before, after, models=models())
    assert together.model == "change-rgbnir-swir + mining-rgbnir-swir"
    alone = pair_scores(before, after, models=models(named="change-rgbnir-swir"))
    assert alone.model == "change-rgbnir-swir"
    mapper = models(named="mining-rgbnir-swir")
    was, now = (mapper.probabilities(TARGETS, date) for date in (before, after))
    new = (1.0 - was[Target.TRANSFORMED]) * now[Target.TRANSFORMED]
    mine = IncidentKind.EXCAVATION
    np.testing.assert_allclose(together.scores[mine], pooled(alone.scores[mine], new), rtol=1e-6)
    loss = together.scores[IncidentKind.FOREST_LOSS]
    falls = vegetation_falls(before, after)
    fallen = clear_share(fall_beyond(falls, [common_fall(fall, was[Target.FOREST]) for fall in falls]))
    assert (loss[fallen == 0.0] == 0.0).all()
    assert (loss <= fallen).all()


@pytest.mark.parametrize(
    ("bands", "files", "who"),
    [
        (FIVE, FileSettings(segment=()), "change-rgbnir-swir"),
        (FIVE, FileSettings(compare=()), SINGLE_DATES),
        (FIVE[:4], FileSettings(), "change-rgbnir + mining-rgbnir"),
        (S2_BANDS, FileSettings(), "change-msi-sar + mining-msi"),
    ],
)
def test_preferences_say_who_is_asked(
    pair: ChipPair, bands: tuple[str, ...], files: FileSettings, who: str
) -> None:
    corner = [{name: band[:64, :64] for name, band in date.items()} for date in dates(pair, bands)]
    assert pair_scores(corner[0], corner[1], models=models(files=files)).model == who


def test_together_they_rank_pixels_better_than_the_network_of_both_dates_alone(pair: ChipPair) -> None:
    before, after = dates(pair, FIVE)
    known = ~np.isin(pair.change, [Change.UNKNOWN, Change.HIDDEN])
    truth = pair.change[known] == Change.NEW_MINE
    together, alone = (
        average_precision(
            pair_scores(before, after, models=models(named=name)).scores[IncidentKind.EXCAVATION][known],
            truth,
        )
        for name in (None, "change-rgbnir-swir")
    )
    assert together > alone + 0.05


def test_bands_in_the_wrong_unit_are_refused(pair: ChipPair) -> None:
    before, after = dates(pair, FIVE)
    late = {name: 10_000.0 * band for name, band in after.items()}
    with pytest.raises(InputError, match="reflectance"):
        pair_scores(before, late, models=models())
