"""Network cards: what they must say, weights that must be theirs, and the choice between kinds of cards."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save

from detector.cards import CHANGE_LABELS, ChangeCard, Condition, NetworkCard, Weights, condition_of
from detector.models import SpectralCard, check_weights, choose, load_cards, score, scores, shipped_cards
from detector.network import build, class_logits
from detector.predict import vote_logit
from detector.weights import load_network, write_card
from registry.chips import Change
from registry.errors import ConfigError, Reject
from registry.models import Target
from tests.small_networks import BANDS, HEADS, change_card, facts, image


def untrained(folder: Path, **changes: Any) -> NetworkCard:
    torch.manual_seed(0)
    card = NetworkCard.model_validate(facts("small", **changes))
    return write_card(folder, card, build(card.plan).state_dict())


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = untrained(tmp_path, temperature={"forest": {"fresh": 1.25, "absent": 1.5}})
    found = load_cards([tmp_path])["small"]
    assert found == written
    assert found.digest == written.digest
    assert found.feeds == {Target.FOREST, Target.TRANSFORMED}
    check_weights(found)


def test_weights_are_halved_on_disk_and_computed_with_in_fp32(tmp_path: Path) -> None:
    card = untrained(tmp_path)
    network = load_network(card)
    parameters = sum(tensor.numel() for tensor in network.state_dict().values())
    assert card.file.stat().st_size < 2.3 * parameters + 20_000
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}
    assert not network.training


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bands": ("B02", "B03", "B04", "B08", "B11", "B99")}, "unknown bands"),
        ({"bands": ("B02", "B02", "B03", "B04", "B08", "VH")}, "one twice"),
        ({"bands": ("B02", "B03", "B04"), "optional": ()}, "channels"),
        ({"bands": ("B02", "B03", "B04", "B08", "B12", "VH")}, "normalisation.mean"),
        ({"optional": ("VV",)}, "optional"),
        ({"optional": BANDS}, "optional"),
        ({"targets": {"forest": "trees"}}, "the heads are"),
        ({"temperature": {"trees": {"fresh": 1.0}}}, "the heads are"),
        ({"temperature": {"forest": {"fresh": 0.0}}}, "greater than 0"),
        ({"partner_max_age_days": None}, "partner_max_age_days"),
        ({"weights": {"file": "../elsewhere", "sha256": "0" * 64}}, "pattern"),
        ({"weights": {"file": "x.safetensors", "sha256": "0"}}, "pattern"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_card_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        NetworkCard.model_validate(facts("small", **changes))


def test_the_digest_follows_what_the_answer_depends_on(tmp_path: Path) -> None:
    card = untrained(tmp_path)

    def changed(**changes: Any) -> str:
        return card.model_copy(update=changes).digest

    assert changed(title="Another", limits="none", command="x", seed=9) == card.digest
    assert changed(temperature={"forest": {Condition.FRESH: 2.0}}) != card.digest
    assert changed(weights=Weights(file="small.safetensors", sha256="1" * 64)) != card.digest
    assert changed(bands=tuple(reversed(card.bands))) != card.digest


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        ("bytes", "SHA-256"),
        ("gone", "do not exist"),
        ("pickle", "no safetensors file"),
        ("names", "missing or unknown to the plan"),
        ("shapes", "asks for"),
        ("nan", "NaN"),
        ("none", "names no weights"),
    ],
)
def test_weights_that_are_not_the_cards_are_refused(tmp_path: Path, break_it: str, said: str) -> None:
    card = untrained(tmp_path)
    state = dict(load_network(card).state_dict())
    if break_it == "bytes":
        raw = bytearray(card.file.read_bytes())
        raw[-1] ^= 1
        card.file.write_bytes(raw)
    elif break_it == "gone":
        card.file.unlink()
    elif break_it == "none":
        card = card.model_copy(update={"weights": None})
    else:
        first = next(name for name in state if name.endswith("stem.weight"))
        if break_it == "names":
            state["head.extra"] = state.pop(first)
        elif break_it == "shapes":
            state[first] = state[first][:, :-1].contiguous()
        elif break_it == "nan":
            state[first] = torch.full_like(state[first], torch.nan)
        raw_bytes = save(state)
        if break_it == "pickle":
            torch.save(state, card.file)
            raw_bytes = card.file.read_bytes()
        card.file.write_bytes(raw_bytes)
        sha256 = hashlib.sha256(raw_bytes).hexdigest()
        card = card.model_copy(update={"weights": Weights(file=card.file.name, sha256=sha256)})
    with pytest.raises(ConfigError, match=said):
        check_weights(card)


def test_the_four_pixels_of_a_place_begin_alike() -> None:
    card = NetworkCard.model_validate(facts("small"))
    torch.manual_seed(0)
    with torch.no_grad():
        answers = build(card.plan).eval()(torch.randn(1, card.plan.channels, 32, 32))
    for logits in answers.values():
        corners = [logits[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]
        assert all(torch.equal(corners[0], one) for one in corners[1:])


def test_a_state_that_does_not_fit_is_not_written(tmp_path: Path) -> None:
    card = NetworkCard.model_validate(facts("small"))
    state = build(card.plan.model_copy(update={"width": 16})).state_dict()
    with pytest.raises(ConfigError, match="asks for"):
        write_card(tmp_path, card, state)
    assert not list(tmp_path.iterdir())


def test_an_unknown_kind_names_file_and_line(tmp_path: Path) -> None:
    untrained(tmp_path)
    path = tmp_path / "small.yml"
    path.write_text(path.read_text().replace('kind: "network"', 'kind: "oracle"'))
    with pytest.raises(ConfigError, match=r"small\.yml:3: kind 'oracle'.*spectral"):
        load_cards([tmp_path])


def test_networks_stand_first_where_they_are_named_first_and_fit(tmp_path: Path) -> None:
    untrained(tmp_path)
    cards = load_cards([shipped_cards(), tmp_path])
    order = ("small", "forest-spectral-swir", "forest-spectral-rgbnir")

    def chosen(available: set[str], age: float | None = None) -> str:
        return choose(cards, order, available, target=Target.FOREST, partner_age_days=age).id

    assert chosen(set(BANDS), 3.0) == "small"
    assert chosen(set(BANDS) - {"VH"}) == "small", "radar may be missing"
    assert chosen(set(BANDS) - {"VH"}, 90.0) == "small", "an old partner that is not fed does not matter"
    assert chosen(set(BANDS), 90.0) == "forest-spectral-swir"
    assert chosen(set(BANDS) - {"B11"}) == "forest-spectral-rgbnir"


def test_a_card_that_does_not_score_the_target_is_a_mistake(tmp_path: Path) -> None:
    untrained(tmp_path, targets={"forest": "forest"})
    cards = load_cards([tmp_path])
    with pytest.raises(ConfigError, match="no score of transformed"):
        choose(cards, ("small",), set(BANDS), target=Target.TRANSFORMED)


def test_conditions() -> None:
    card = NetworkCard.model_validate(facts("small", partner_fresh_days=5.0))
    assert condition_of(card, BANDS, None) is Condition.FRESH
    assert condition_of(card, BANDS, 5.0) is Condition.FRESH
    assert condition_of(card, BANDS, 5.1) is Condition.STALE
    assert condition_of(card, set(BANDS) - {"VH"}, 1.0) is Condition.ABSENT


def test_bands_are_taken_by_name_and_missing_ones_refused(tmp_path: Path) -> None:
    card = untrained(tmp_path)
    bands, _ = image((48, 48), seed=1)
    straight = scores(card, bands, (Target.FOREST,), device="cpu")[Target.FOREST]
    turned = scores(card, dict(reversed(bands.items())), (Target.FOREST,), device="cpu")[Target.FOREST]
    assert np.array_equal(straight, turned)
    swapped = bands | {"B04": bands["B08"], "B08": bands["B04"]}
    assert not np.allclose(straight, scores(card, swapped, (Target.FOREST,), device="cpu")[Target.FOREST])
    for name in set(BANDS) - {"VH"}:
        with pytest.raises(Reject, match=f"lacks {name}"):
            score(card, {other: band for other, band in bands.items() if other != name}, target=Target.FOREST)
    less = {name: band for name, band in bands.items() if name != "VH"}
    assert np.isfinite(scores(card, less, (Target.FOREST,), device="cpu")[Target.FOREST]).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("unscaled", "divided by 10000"),
        ("scaled twice", "scaled twice"),
        ("decibel", "linear power"),
        ("digital numbers", "calibrated"),
        ("offset left", "offset of -1000"),
        ("offset twice", "applied twice"),
    ],
)
@pytest.mark.parametrize("kind", ["network", "spectral"])
def test_numbers_in_the_wrong_unit_are_refused(tmp_path: Path, kind: str, wrong: str, said: str) -> None:
    bands, _ = image((64, 64), seed=11)
    changes = {
        "unscaled": lambda name, band: band if name == "VH" else band * 1e4,
        "scaled twice": lambda name, band: band if name == "VH" else band / 1e4,
        "decibel": lambda name, band: 10 * np.log10(band) if name == "VH" else band,
        "digital numbers": lambda name, band: np.sqrt(band) * 1e3 if name == "VH" else band,
        "offset left": lambda name, band: band if name == "VH" else band + np.float32(0.1),
        "offset twice": lambda name, band: band if name == "VH" else band - np.float32(0.1),
    }
    card = (
        untrained(tmp_path)
        if kind == "network"
        else load_cards([shipped_cards()])["forest-spectral-swir-sar"]
    )
    assert np.isfinite(score(card, bands, target=Target.FOREST)).all()
    given = {name: changes[wrong](name, band).astype(np.float32) for name, band in bands.items()}
    with pytest.raises(Reject, match=said):
        score(card, given, target=Target.FOREST)


def test_ground_without_anything_dark_is_no_offset() -> None:
    """Desert, snow and cloud are as bright as numbers with the offset left in them; they are believed."""
    card = load_cards([shipped_cards()])["transformed-spectral-swir"]
    random = np.random.default_rng(0)
    for ground in (
        {"B02": 0.16, "B03": 0.22, "B04": 0.30, "B08": 0.38, "B11": 0.46},
        {"B02": 0.85, "B03": 0.86, "B04": 0.86, "B08": 0.80, "B11": 0.11},
        {"B02": 0.60, "B03": 0.60, "B04": 0.62, "B08": 0.65, "B11": 0.45},
    ):
        bands = {
            name: (value * random.normal(1, 0.02, (40, 40))).astype(np.float32)
            for name, value in ground.items()
        }
        assert np.isfinite(score(card, bands)).all()


def test_a_votes_logit_is_the_class_logit_of_training() -> None:
    z = torch.randn(2, 3, 4, 4)
    found = class_logits({"works": z})["works"]
    for label in (1, 2):
        torch.testing.assert_close(found[0, label - 1], vote_logit(z[0], (label,)))


def test_the_change_card(tmp_path: Path) -> None:
    assert tuple(Change[name.upper()] for name in CHANGE_LABELS) == tuple(range(1, 6))
    card = change_card(tmp_path)
    assert load_cards([tmp_path])["change-small"] == card
    check_weights(card)
    bands, _ = image((32, 32), seed=1)
    with pytest.raises(Reject, match="two dates"):
        scores(card, bands, (Target.FOREST,))
    plain = card.model_dump(mode="json", exclude={"weights"})
    plain["plan"]["channels"] = len(BANDS)
    with pytest.raises(ValidationError, match="2 dates"):
        ChangeCard.model_validate(plain)
    plain = card.model_dump(mode="json", exclude={"weights"})
    plain["plan"]["heads"] = [head.model_dump() for head in HEADS]
    with pytest.raises(ValidationError, match="one head `change`"):
        ChangeCard.model_validate(plain)


def test_spectral_cards_need_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, numpy as np\n"
        "from detector.models import load_cards, score, shipped_cards\n"
        "card = load_cards([shipped_cards()])['forest-spectral-rgbnir']\n"
        "score(card, {n: np.full((8, 8), v, np.float32) for n, v in (('B04', 0.02), ('B08', 0.3))})\n"
        "assert 'torch' not in sys.modules and 'onnxruntime' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_shipped_card_is_whole() -> None:
    cards = load_cards([shipped_cards()])
    for card in cards.values():
        check_weights(card)
    weights = shipped_cards() / "weights"
    total = sum(path.stat().st_size for path in weights.glob("*")) if weights.is_dir() else 0
    assert total <= 20_000_000
    assert any(isinstance(card, SpectralCard) for card in cards.values())
