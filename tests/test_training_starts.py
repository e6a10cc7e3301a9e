"""A run that starts from a card: of its bands, of one date, and only from the weights that the plan names."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import torch

from detector.cards import Card, ChangeCard, NetworkCard
from detector.inputs import Reference
from detector.models import load_cards, shipped_cards
from detector.network import Shared, build
from detector.training.cache import fill
from detector.training.finish import Origin
from detector.training.material import Three
from detector.training.plan import Run, StartCard, Task, TrainingPlan, load_plan, only, shipped_plan
from detector.training.retrain import retraining
from detector.training.starts import both_dates_alike, starts_of
from detector.training.train_set import Workshop, train_set
from detector.weights import load_network, write_card
from registry.errors import ConfigError, InputError
from registry.values import digest
from tests.training_world import Discs, no_bar, small_plan

pytestmark = pytest.mark.usefixtures("one_thread")

TRAINED = (NetworkCard, ChangeCard)
ORIGIN = Origin(date(2026, 1, 2), "groundwatch train", "1", simulated=True, data_licence="none")


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Card]:
    """A change card and two of one date, hardly trained."""
    folder = tmp_path_factory.mktemp("cards")
    shop = Workshop(folder / "out", folder / "cache", no_bar, processes=1)
    train_set(small_plan(), Three(Discs(1), Discs(2), Discs(3)), shop, ORIGIN)
    return dict(load_cards((folder / "out",)))


def started(run: Run, cards: dict[str, Card], card: str, *, sha256: str | None = None) -> TrainingPlan:
    """The small plan with one run, which starts from a card."""
    weights = cards[card].weights  # type: ignore[attr-defined]
    start = StartCard(id=card, sha256=sha256 or weights.sha256)
    return small_plan(runs={"own": run.model_copy(update={"start": None, "start_card": start})})


@pytest.mark.parametrize("fine", [0, 5])
def test_a_change_card_sees_one_date_as_both(cards: dict[str, Card], fine: int) -> None:
    card = cards["small-change"]
    assert isinstance(card, ChangeCard)
    plan = card.plan.model_copy(update={"fine": fine})
    network = build(plan).eval()
    one = torch.randn(2, plan.channels // 2, 32, 32)
    trunk = build(plan.model_copy(update={"channels": plan.channels // 2})).eval()
    trunk.load_state_dict(both_dates_alike(network.state_dict(), 2))
    with torch.no_grad():
        expected = network(torch.cat([one, one], dim=1))["change"]
        assert torch.allclose(trunk(one)["change"], expected, atol=1e-4)


def test_change_begins_with_what_a_card_of_one_date_knows_of_the_later_date(cards: dict[str, Card]) -> None:
    plan = started(small_plan().runs["small-change"], cards, "small-rgbnir")
    state = starts_of(plan, cards).states["own"]
    network = build(plan.network_of("own")).eval()
    network.load_state_dict(state)
    card = cards["small-rgbnir"]
    assert isinstance(card, NetworkCard)
    one = load_network(card).eval()
    assert isinstance(network, Shared)
    assert isinstance(one, Shared)
    trunk = network.trunk
    before, after = torch.randn(2, 1, card.plan.channels, 32, 32)
    with torch.no_grad():
        earlier = trunk.stem.weight[:, : 4 * card.plan.channels]
        assert float(earlier.abs().min()) > 0.0
        earlier.zero_()
        seen, known = trunk(torch.cat([before, after], dim=1)), one.trunk(after)
    assert torch.allclose(seen, known, atol=1e-5)


def test_change_may_follow_one_date_in_a_plan_not_the_other_way_round(tmp_path: Path) -> None:
    runs = small_plan().runs
    change = runs["small-change"].model_copy(update={"start": "base", "reference": Reference.FIXED})
    plan = small_plan(runs={"base": runs["base"], "small-change": change}, fine=4)
    shop = Workshop(tmp_path / "out", tmp_path / "cache", no_bar, processes=1)
    base, made = train_set(plan, Three(Discs(1), Discs(2), Discs(3)), shop, ORIGIN)
    assert made.recipe.normalisation.mean == {
        band: base.recipe.normalisation.mean[band] for band in plan.bands_of("small-change")
    }
    card = load_cards((tmp_path / "out",))["small-change"]
    assert isinstance(card, ChangeCard)
    assert card.plan.form == plan.network_of("base").form
    [_, again] = train_set(plan, Three(Discs(1), Discs(2), Discs(3)), shop, ORIGIN)
    beside = replace(shop, out=tmp_path / "beside", parallel=2)
    [_, apart] = train_set(plan, Three(Discs(1), Discs(2), Discs(3)), beside, ORIGIN)
    for other in (again, apart):
        assert all(torch.equal(value, made.trained.state[key]) for key, value in other.trained.state.items())
    backwards = {**plan.runs, "back": runs["small-rgbnir"].model_copy(update={"start": "small-change"})}
    for wrong in ({"runs": backwards}, {"separate": True}):
        with pytest.raises(ValueError, match=r"cannot start from .*change from one trunk of segment"):
            TrainingPlan.model_validate(plan.model_copy(update=wrong).model_dump(mode="json"))


def test_trunk_and_scaling_are_the_cards_and_heads_begin_anew(cards: dict[str, Card], tmp_path: Path) -> None:
    plan = started(small_plan().runs["small-rgbnir"], cards, "small-change")
    first, second = starts_of(plan, cards), starts_of(plan, cards)
    state = first.states["own"]
    assert all(torch.equal(value, second.states["own"][name]) for name, value in state.items())
    assert set(state) == set(build(plan.network_of("own")).state_dict())
    assert not [name for name in state if name.startswith("heads.change")]
    assert first.normalisations["own"] == cards["small-change"].normalisation  # type: ignore[attr-defined]
    origin = replace(ORIGIN, starts=first.states, normalisations=first.normalisations)
    shop = Workshop(tmp_path / "out", tmp_path / "cache", no_bar, processes=1)
    [made] = train_set(plan, Three(Discs(1), Discs(2), Discs(3)), shop, origin)
    bands = plan.bands_of("own")
    mean = cards["small-change"].normalisation.mean  # type: ignore[attr-defined]
    assert made.recipe.normalisation.mean == {band: mean[band] for band in bands}


def test_other_weights_under_the_same_name_are_refused(cards: dict[str, Card]) -> None:
    plan = started(small_plan().runs["small-rgbnir"], cards, "small-change", sha256="0" * 64)
    with pytest.raises(ConfigError, match=r"starts from weights 000000000000\.\.\., card small-change has"):
        starts_of(plan, cards)


def test_a_start_that_does_not_fit_is_refused_before_anything_is_made(cards: dict[str, Card]) -> None:
    wide = small_plan().runs["small-rgbnir"].model_copy(update={"width": 12})
    with pytest.raises(
        ConfigError,
        match=r"other width, blocks, fine .*\(12, 1, 0, False\); use the card's \(6, 1, 0, False\)",
    ):
        starts_of(started(wide, cards, "small-change"), cards)
    with pytest.raises(ConfigError, match="no card of weights of our own"):
        starts_of(started(small_plan().runs["small-rgbnir"], cards, "small-change"), {})


def test_a_start_that_nobody_handed_over_is_no_start_from_nothing(
    cards: dict[str, Card], tmp_path: Path
) -> None:
    plan = started(small_plan().runs["small-rgbnir"], cards, "small-change")
    shop = Workshop(tmp_path / "out", tmp_path / "cache", no_bar, processes=1)
    with pytest.raises(InputError, match="starts from card small-change"):
        train_set(plan, Three(Discs(1), Discs(2), Discs(3)), shop, ORIGIN)


def test_a_retrained_card_starts_from_itself(cards: dict[str, Card], tmp_path: Path) -> None:
    runs = started(small_plan().runs["small-rgbnir"], cards, "small-change").runs
    plan = small_plan(runs={"small-rgbnir": runs["own"]})
    entries = fill(Discs(4, limit=4), tmp_path, Task.SEGMENT, 4).entries
    cut = retraining(plan, entries, Task.SEGMENT, 64, cards)
    assert list(cut.plan.runs) == list(cut.starts) == ["small-rgbnir-own"]
    assert cut.plan.runs["small-rgbnir-own"].start_card is None


def test_a_card_is_retrained_in_its_own_form_by_the_schedule_of_its_plan(
    cards: dict[str, Card], tmp_path: Path
) -> None:
    folder = tmp_path / "cards"
    card = cards["small-rgbnir"]
    assert isinstance(card, NetworkCard)
    finer = card.model_copy(update={"plan": card.plan.model_copy(update={"fine": 4})})
    write_card(folder, finer, build(finer.plan).state_dict())
    plan = small_plan()
    untrained = plan.runs["small-rgbnir"].model_copy(update={"schedule": None})
    plan = small_plan(runs={**plan.runs, "small-rgbnir": untrained})
    entries = fill(Discs(4, limit=4), tmp_path, Task.SEGMENT, 4).entries
    cut = retraining(plan, entries, Task.SEGMENT, 64, load_cards((folder,)))
    own = cut.plan.runs["small-rgbnir-own"]
    assert (own.schedule, own.start) == ("s", None)
    assert cut.plan.network_of("small-rgbnir-own").form == finer.plan.form
    build(cut.plan.network_of("small-rgbnir-own")).load_state_dict(cut.starts["small-rgbnir-own"])


def test_labelled_chips_are_seen_whole_whatever_the_plan_leaves_to_other_parts(tmp_path: Path) -> None:
    plan = small_plan()
    base = plan.runs["base"].model_copy(update={"chips": 9, "skip": 5})
    plan = small_plan(runs={**plan.runs, "base": base})
    entries = fill(Discs(4, limit=4), tmp_path, Task.SEGMENT, 4).entries
    cut = retraining(plan, entries, Task.SEGMENT, 64, {})
    assert "base" in cut.plan.runs
    assert {(run.chips, run.skip) for run in cut.plan.runs.values()} == {(None, 0)}


def test_a_run_has_one_start() -> None:
    plan = small_plan()
    runs = {name: run.model_dump(mode="json") for name, run in plan.runs.items()}
    chained = next(name for name, run in plan.runs.items() if run.start)
    runs[chained]["start_card"] = {"id": "change-msi-sar", "sha256": "0" * 64}
    with pytest.raises(ValueError, match=f"run {chained} starts from .* and from a card; give one"):
        TrainingPlan.model_validate(plan.model_dump(mode="json") | {"runs": runs})
    runs[chained] |= {"start_card": None, "start": None, "schedule": None}
    with pytest.raises(ValueError, match=f"run {chained} has no schedule; give it one, or a run"):
        TrainingPlan.model_validate(plan.model_dump(mode="json") | {"runs": runs})


def test_the_plan_of_the_mining_cards_makes_those_of_the_large_plan_and_one_more() -> None:
    plan, whole = load_plan(shipped_plan("mining")), load_plan(shipped_plan("large"))
    assert plan.heads == whole.heads
    assert plan.band_sets.items() > whole.band_sets.items()
    cards = [name for name, run in whole.runs.items() if run.card and run.task is Task.SEGMENT]
    assert [name for name, run in plan.runs.items() if run.card] == [*cards, "mining-rgb"]


def test_every_shipped_network_is_of_a_shipped_plan() -> None:
    """What made the weights can be made again: the card's digest of its plan is that of the file."""
    ours = [card for card in load_cards((shipped_cards(),)).values() if isinstance(card, TRAINED)]
    assert len(ours) == 8
    for card in ours:
        plan = load_plan(shipped_plan(card.command.split("--plan ")[1].split()[0]))
        assert card.code_version.endswith(f"plan {digest(only(plan, [card.id]))[:12]}")
