"""`compare` with networks: who answers, in windows as in one piece, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image as Picture

from detector.cards import NetworkCard
from detector.image_windows import CACHE_MB
from detector.images import Scaling
from detector.inputs import Reference
from detector.models import load_cards, shipped_cards
from detector.oneoff import compare
from detector.oneoff_models import Models
from detector.pair_scores import pair_scores
from detector.pairs import smoothed
from registry.detection import DetectionSettings
from registry.errors import InputError
from registry.models import IncidentKind
from registry.setting_models import FileSettings
from tests.small_networks import BANDS, change_card, image, written
from tests.test_segment import put

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Of a trained network, which is named, and an untrained change model."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("cards")
    written(folder)
    change_card(folder)
    cards = load_cards([shipped_cards(), folder])
    return Models(cards, DetectionSettings(), named="shared", device="cpu")


def test_compare_takes_a_network_for_both_dates(tmp_path: Path, models: Models) -> None:
    (before, was), (after, now) = image((96, 96), seed=31), image((96, 96), seed=32)
    one, other = put(tmp_path / "a.tif", before), put(tmp_path / "b.tif", after)
    (found,) = compare(one, other, BANDS, out=tmp_path / "out", scaling=Scaling(), models=models)
    mined = (was["forest"] == 1) & (now["transformed"] == 1)
    assert found.transformation_ha == pytest.approx(0.01 * mined.sum(), rel=0.25)


def test_compare_takes_a_model_of_two_dates(tmp_path: Path, models: Models) -> None:
    (before, _), (after, _) = image((96, 96), seed=31), image((96, 96), seed=32)
    one, other = put(tmp_path / "a.tif", before), put(tmp_path / "b.tif", after)
    for preference in (
        Models(models.cards, models.settings, named="change-small", device="cpu"),
        Models(models.cards, models.settings, FileSettings(compare=("change-small",)), device="cpu"),
    ):
        compare(one, other, BANDS, out=tmp_path / "out", scaling=Scaling(), models=preference)
        with rasterio.open(tmp_path / "out" / "b" / "scores.tif") as source:
            assert source.descriptions == ("forest_loss", "transformation")
            loss, mined = source.read()
        assert loss.min() >= 0.0
        assert (loss + mined).max() <= 1.0001, "probabilities of two classes of one head"
        assert not np.allclose(loss, mined)


def test_compare_judges_a_large_image_in_windows_as_one_in_memory(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before, _), (after, _) = image((700, 1100), seed=31), image((700, 1100), seed=32)
    before["B04"][:40, :600] = np.nan
    one, other = put(tmp_path / "a.tif", before), put(tmp_path / "b.tif", after)
    files = FileSettings(compare=("change-small",), segment=("shared",))
    models = replace(models, named=None, files=files)
    monkeypatch.setattr("detector.image_windows.OVERVIEW_PX", 100)
    told: list[int] = []

    def advance(pixels: int) -> None:
        told.append(pixels)
        assert rasterio.env.getenv()["GDAL_CACHEMAX"] == CACHE_MB

    (found,) = compare(one, other, BANDS, out=tmp_path, scaling=Scaling(), models=models, advance=advance)
    assert found.model == "change-small + shared"
    assert sum(told) == 700 * 1100
    for name in before:
        before[name][:40, :600] = np.nan
        after[name][:40, :600] = np.nan
    expected = pair_scores(before, after, models=models)
    assert found.seen_share == pytest.approx(1.0 - 40 * 600 / (700 * 1100), abs=1e-4)
    with rasterio.open(tmp_path / "b" / "scores.tif") as source:
        for score, kind in zip(
            source.read(), (IncidentKind.FOREST_LOSS, IncidentKind.EXCAVATION), strict=True
        ):
            whole = smoothed(expected.scores[kind])
            assert (np.isnan(score) == np.isnan(whole)).mean() > 0.9999, "but for single white pixels"
            gap = np.abs(score - whole)
            assert (gap[np.isfinite(gap)] < 0.01).mean() > 0.995
    with Picture.open(tmp_path / "b" / "before_after.png") as picture:
        assert picture.width > 200


def test_compare_refuses_a_network_that_needs_a_history(tmp_path: Path, models: Models) -> None:
    card = models.cards["shared"]
    assert isinstance(card, NetworkCard)
    normalisation = card.normalisation.model_copy(update={"reference": Reference.HISTORY})
    cards = {**models.cards, "shared": card.model_copy(update={"normalisation": normalisation})}
    files = FileSettings(compare=("change-small",), segment=("shared",))
    bands, _ = image((64, 64), seed=31)
    path = put(tmp_path / "a.tif", bands)
    with pytest.raises(
        InputError, match=r"a\.tif: model shared needs the place's clear history; name another"
    ):
        compare(
            path, path, BANDS, out=tmp_path, scaling=Scaling(),
            models=Models(cards, models.settings, files, device="cpu"),
        )  # fmt: skip


def test_compare_goes_on_where_radar_ends(tmp_path: Path, models: Models) -> None:
    (before, _), (after, _) = image((96, 160), seed=31), image((96, 160), seed=32)
    whole = [put(tmp_path / f"{name}.tif", one) for name, one in (("a", before), ("b", after))]
    before["VH"][:, 60:] = np.nan
    after["VH"][:, 90:] = np.nan
    half = [put(tmp_path / f"half_{name}.tif", one) for name, one in (("a", before), ("b", after))]
    models = replace(models, named="change-small")
    scores = {}
    for name, (one, other) in (("whole", whole), ("half", half)):
        (found,) = compare(one, other, BANDS, out=tmp_path / name, scaling=Scaling(), models=models)
        assert found.seen_share == pytest.approx(1.0)
        with rasterio.open(found.folder / "scores.tif") as source:
            scores[name] = source.read()
    assert np.isfinite(scores["half"]).all()
    assert np.abs(scores["half"] - scores["whole"])[:, :, :28].mean() < 0.01
