"""Model cards: loading, choosing, scoring by band name, and refusal of numbers in the wrong unit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from pydantic import ValidationError

from detector.models import (
    ChangeCard,
    SegmentCard,
    SpectralCard,
    choose,
    load_cards,
    score,
    scores,
    shipped_cards,
)
from registry.detection import ModelSettings
from registry.errors import ConfigError, Reject
from registry.models import S2_BANDS, Sensor, Target
from registry.setting_models import FileSettings
from tests.romania_skill import load

Float32 = NDArray[np.float32]

SHIPPED = load_cards([shipped_cards()])
CARDS = {name: card for name, card in SHIPPED.items() if isinstance(card, SpectralCard)}
ORDER = ModelSettings()

FOREST = {"B02": 0.02, "B03": 0.04, "B04": 0.02, "B08": 0.36, "B11": 0.14, "VV": 10**-0.8, "VH": 10**-1.35}
BARE = {"B02": 0.12, "B03": 0.15, "B04": 0.20, "B08": 0.26, "B11": 0.34, "VV": 10**-1.2, "VH": 10**-1.95}


def bands(values: dict[str, float], shape: tuple[int, int] = (3, 4)) -> dict[str, Float32]:
    return {name: np.full(shape, value, dtype=np.float32) for name, value in values.items()}


def a_card(**changes: Any) -> dict[str, Any]:
    plain = {
        "id": "a-card",
        "title": "A card",
        "target": "forest",
        "sensor": "sentinel-2",
        "bands": ["B04", "B08"],
        "bias": -1.0,
        "terms": [{"feature": "ndvi", "low": 0.0, "high": 0.9, "weight": 4.0}],
        "temperature": 0.5,
        "tuned_on": "nothing",
        "tuned": "2026-11-23",
        "licence": "Apache-2.0",
        "limits": "all of them",
    }
    return plain | changes


def test_every_card_that_settings_name_is_shipped_and_fits_its_use() -> None:
    wanted = {
        "transformed": (Target.TRANSFORMED, Sensor.S2),
        "forest": (Target.FOREST, Sensor.S2),
        "transformed_sar": (Target.TRANSFORMED, Sensor.S1),
        "forest_sar": (Target.FOREST, Sensor.S1),
    }
    for group, (target, sensor) in wanted.items():
        for name in getattr(ORDER, group):
            assert target in SHIPPED[name].feeds
            assert SHIPPED[name].sensor is sensor
            assert SHIPPED[name].id == name
            assert SHIPPED[name].metrics
    files = FileSettings()
    assert all(isinstance(SHIPPED[name], SegmentCard) for name in files.segment)
    assert all(isinstance(SHIPPED[name], ChangeCard) for name in files.compare)


@pytest.mark.parametrize("name", sorted(CARDS))
def test_forest_and_bare_ground_are_told_apart(name: str) -> None:
    card = CARDS[name]
    forest, bare = (float(score(card, bands(values))[0, 0]) for values in (FOREST, BARE))
    sign = 1.0 if card.target is Target.FOREST else -1.0
    assert sign * forest > 0.5 or card.sensor is Sensor.S1
    assert sign * (forest - bare) > 1.5


def test_the_logit_is_what_the_card_says() -> None:
    card = SpectralCard.model_validate(a_card())
    ndvi = (0.36 - 0.12) / (0.36 + 0.12)
    found = score(card, bands({"B04": 0.12, "B08": 0.36}))
    assert found.dtype == np.float32
    assert found[1, 1] == pytest.approx((-1.0 + 4.0 * ndvi) / 0.5, rel=1e-6)


def test_features_are_clipped_and_dark_pixels_do_not_divide_by_zero() -> None:
    card = SpectralCard.model_validate(a_card())
    dark = score(card, bands({"B04": 0.0, "B08": 0.0}))
    assert dark[0, 0] == pytest.approx(-2.0)
    green = score(card, bands({"B04": -0.01, "B08": 0.4}))
    assert green[0, 0] == pytest.approx((-1.0 + 4.0 * 0.9) / 0.5)


def test_radar_is_linear_power_in_and_decibel_in_the_formula() -> None:
    card = CARDS["forest-spectral-sar"]
    weights = {term.feature.value: term.weight for term in card.terms}
    found = score(card, bands({"VV": 10**-0.8, "VH": 10**-1.4}))
    assert found[0, 0] == pytest.approx(card.bias - 8 * weights["vv_db"] - 14 * weights["vh_db"], rel=1e-5)


@pytest.mark.parametrize("name", sorted(CARDS))
def test_unseen_where_any_needed_band_is_unseen_and_only_there(name: str) -> None:
    card = CARDS[name]
    for at, needed in enumerate(card.bands):
        given = bands(FOREST)
        given[needed][0, at % 4] = math.nan
        given["B12"] = np.full((3, 4), math.nan, dtype=np.float32)
        unseen = np.isnan(score(card, given))
        assert unseen[0, at % 4]
        assert unseen.sum() == 1


def test_bands_are_taken_by_name() -> None:
    rng = np.random.default_rng(0)
    given = {name: rng.uniform(0.01, 0.5, (5, 5)).astype(np.float32) for name in (*S2_BANDS, "VV", "VH")}
    turned = dict(reversed(given.items()))
    for card in CARDS.values():
        assert np.array_equal(score(card, given), score(card, turned))


def test_a_missing_band_is_refused() -> None:
    given = bands({"B04": 0.1, "B08": 0.3})
    with pytest.raises(Reject, match="lacks B11"):
        score(CARDS["forest-spectral-swir"], given)


def test_unscaled_reflectance_is_refused() -> None:
    given = bands({name: value * 10_000 for name, value in FOREST.items()})
    with pytest.raises(Reject, match="divided by 10000"):
        score(CARDS["forest-spectral-rgbnir"], given)


def test_decibels_are_refused() -> None:
    with pytest.raises(Reject, match="linear power"):
        score(CARDS["forest-spectral-sar"], bands({"VV": -8.0, "VH": -14.0}))


def test_bands_without_any_look_give_no_score() -> None:
    given = {name: np.full((2, 2), np.nan, dtype=np.float32) for name in ("B04", "B08")}
    assert np.isnan(score(CARDS["forest-spectral-rgbnir"], given)).all()


@pytest.mark.parametrize(
    ("available", "age", "chosen"),
    [
        ({"B04", "B08", "B11", "VH", "VV"}, 3.0, "forest-spectral-swir-sar"),
        ({"B04", "B08", "B11", "VH", "VV"}, None, "forest-spectral-swir-sar"),
        ({"B04", "B08", "B11", "VH", "VV"}, 25.0, "forest-spectral-swir"),
        ({"B02", "B03", "B04", "B08", "B8A", "B11"}, None, "forest-spectral-swir"),
        ({"B02", "B03", "B04", "B08"}, None, "forest-spectral-rgbnir"),
    ],
)
def test_the_best_card_that_the_pass_can_feed(available: set[str], age: float | None, chosen: str) -> None:
    card = choose(CARDS, ORDER.forest, available, partner_age_days=age)
    assert card.id == chosen


def test_an_empty_order_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"detection\.models"):
        choose(CARDS, (), {"B04"})


def test_no_card_fits_and_the_message_says_what_each_lacks() -> None:
    with pytest.raises(Reject, match="forest-spectral-rgbnir lacks B08"):
        choose(CARDS, ORDER.forest, {"B04"})


def test_an_unknown_card_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ConfigError, match="no-such-card"):
        choose(CARDS, ("forest-spectral-swir", "no-such-card"), {"B04", "B08", "B11"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bands": ["B04", "B08", "B99"]}, "unknown bands"),
        ({"bands": ["B04", "B08", "B11"]}, "list these"),
        ({"kind": "magic"}, "spectral"),
        ({"temperature": 0.0}, "greater than 0"),
        ({"surprise": 1}, "surprise"),
        ({"terms": [{"feature": "ndvi", "low": 1.0, "high": 0.0, "weight": 1.0}]}, "low < high"),
        ({"sensor": "sentinel-1"}, "partner_max_age_days"),
    ],
)
def test_a_wrong_card_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SpectralCard.model_validate(a_card(**changes))


def test_the_digest_follows_what_the_score_depends_on() -> None:
    card = SpectralCard.model_validate(a_card())
    assert SpectralCard.model_validate(a_card(title="Another name", limits="none")).digest == card.digest
    assert SpectralCard.model_validate(a_card(bias=-1.1)).digest != card.digest
    assert SpectralCard.model_validate(a_card(temperature=1.0)).digest != card.digest


def test_own_cards_replace_shipped_ones(tmp_path: Path) -> None:
    text = (shipped_cards() / "forest-spectral-swir.yml").read_text().replace("bias: -0.67", "bias: -9.0")
    (tmp_path / "mine.yml").write_text(text)
    card = load_cards([shipped_cards(), tmp_path])["forest-spectral-swir"]
    assert isinstance(card, SpectralCard)
    assert card.bias == -9.0


def test_a_card_with_a_typo_names_file_line_and_key(tmp_path: Path) -> None:
    text = (shipped_cards() / "forest-spectral-swir.yml").read_text().replace("temperature:", "temprature:")
    (tmp_path / "mine.yml").write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yml:\d+.*temprature"):
        load_cards([tmp_path])


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_cards([tmp_path / "nowhere"])


OFFSET_LEFT = "433D_629L_3_1"
"""A tile published with the offset of baseline 04.00 still in its numbers; its lakes show it."""


def ranking(logit: Float32, positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the share of pairs in the right order."""
    ranks = np.argsort(np.argsort(logit))[positive] + 1.0
    wins = ranks.sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(wins / (positive.sum() * (~positive).sum()))


@pytest.mark.parametrize(
    ("name", "site", "land_cover", "least"),
    [
        ("forest-spectral-rgbnir", "282D_485L_3_3", 2, 0.95),
        ("forest-spectral-swir", "282D_485L_3_3", 2, 0.95),
        ("forest-spectral-swir", "433D_629L_3_1", 2, 0.8),
        ("forest-spectral-swir-sar", "433D_629L_3_1", 2, 0.8),
        ("forest-spectral-sar", "282D_485L_3_3", 2, 0.85),
        ("transformed-spectral-rgbnir", "282D_485L_3_3", 6, 0.9),
        ("transformed-spectral-swir", "282D_485L_3_3", 6, 0.9),
    ],
)
def test_real_land_cover_is_ranked(
    real_data: Path, name: str, site: str, land_cover: int, least: float
) -> None:
    folder = real_data / "terramind_s1s2"
    with rasterio.open(folder / "S2L2A" / f"{site}.tif") as source:
        stack = dict(zip(S2_BANDS, source.read().astype(np.float32) / 10_000, strict=True))
    if site == OFFSET_LEFT:
        with pytest.raises(Reject, match="offset"):
            score(CARDS["forest-spectral-swir"], stack)
        stack = {band: values - np.float32(0.1) for band, values in stack.items()}
    with rasterio.open(folder / "S1RTC" / f"{site}.tif") as source:
        stack |= dict(zip(("VV", "VH"), 10 ** (source.read().astype(np.float32) / 10), strict=True))
    with rasterio.open(folder / "LULC" / f"{site}.tif") as source:
        labels = source.read(1)
    land = ~np.isin(labels, (0, 1, 7, 8))
    assert ranking(score(CARDS[name], stack)[land], labels[land] == land_cover) > least


def test_woods_under_haze_are_no_offset() -> None:
    """Cirrus lifts the visible above the offset (Romania, 2015-08-11); short-wave infrared tells it apart."""
    rng = np.random.default_rng(2)
    level = {"B02": 0.11, "B03": 0.12, "B04": 0.11, "B08": 0.40, "B11": 0.175}
    bands = {name: rng.normal(mean, 0.01, (40, 40)).astype(np.float32) for name, mean in level.items()}
    card = CARDS["transformed-spectral-swir"]
    assert np.isfinite(score(card, bands)).all()
    lifted = {name: band + np.float32(0.06 if name == "B11" else 0.01) for name, band in bands.items()}
    with pytest.raises(Reject, match="offset"):
        score(card, lifted)
    assert np.isfinite(
        scores(card, lifted, (Target.TRANSFORMED,), offset_known=True)[Target.TRANSFORMED]
    ).all()


def test_no_real_date_of_romania_is_refused(real_data: Path) -> None:
    for look in load(real_data / "romania_s2")[1]:
        score(CARDS["forest-spectral-swir"], look.bands)
        score(CARDS["transformed-spectral-swir"], look.bands)
