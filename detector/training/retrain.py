"""A plan cut to what somebody labelled: which heads, which bands, and from whose weights to start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from detector.cards import Card, ChangeCard, NetworkCard
from detector.inputs import Normalisation
from detector.plans import STRIDE
from detector.training.cache import Entry
from detector.training.loop import State
from detector.training.plan import Run, Task, TrainingPlan, only
from detector.training.starts import onto
from detector.weights import load_network
from registry.chips import CHANNELS, Component
from registry.errors import InputError

SUFFIX = "-own"
"""Added to the id of a retrained card, so that it stands beside the one it came from."""


@dataclass(frozen=True)
class Retraining:
    """What `train_set` is asked for."""

    plan: TrainingPlan
    starts: Mapping[str, State]
    """Weights to start from, by run."""
    normalisations: Mapping[str, Normalisation]
    """Scaling that belongs to them."""


def retraining(
    plan: TrainingPlan, entries: tuple[Entry, ...], task: Task, size: int, cards: Mapping[str, Card]
) -> Retraining:
    """The plan's cards of one task, over the bands and labels that the chips have.

    A run starts from the card of its name where there is one, else from nothing. Heads of which no label
    was looked for are left out: they would forget. Raises InputError where nothing is left to train.
    """
    plan = _with_all_chips(_with_crops(_with_heads(plan, entries) if task is Task.SEGMENT else plan, size))
    seen = _bands_seen(entries)
    runs = [
        name
        for name, run in plan.runs.items()
        if run.card and run.task is task and set(plan.bands_of(name)) <= seen
    ]
    if not runs:
        raise InputError(f"no run of the plan fits chips with the bands {sorted(seen)}; add bands or a run")
    starts: dict[str, State] = {}
    normalisations: dict[str, Normalisation] = {}
    chosen: dict[str, Run] = {}
    for name in runs:
        card = cards.get(name)
        if isinstance(card, NetworkCard | ChangeCard) and _fits(card, plan, name):
            own = name + SUFFIX
            anew = {"start": None, "start_card": None, "schedule": plan.schedule_of(name)}
            form = {"width": card.plan.width, "fine": card.plan.fine}
            chosen[own] = plan.runs[name].model_copy(update={**anew, **form})
            starts[own] = _state(card, plan, name)
            normalisations[own] = card.normalisation
        else:
            chain = only(plan, [name]).runs
            chosen |= {one: run for one, run in chain.items() if one != name}
            chosen[name + SUFFIX] = plan.runs[name]
    return Retraining(plan.model_copy(update={"runs": chosen}), starts, normalisations)


def _fits(card: NetworkCard | ChangeCard, plan: TrainingPlan, name: str) -> bool:
    """Whether a run's network can take over a card's weights."""
    same_build = (card.plan.blocks, card.plan.separate) == (plan.blocks, plan.network_of(name).separate)
    return same_build and card.bands == plan.bands_of(name)


def _with_heads(plan: TrainingPlan, entries: tuple[Entry, ...]) -> TrainingPlan:
    known = {one for entry in entries for one in entry.known}
    heads = {name: labels for name, labels in plan.heads.items() if known & set(labels)}
    if not heads:
        raise InputError(
            f"the chips know {sorted(known)}, no head of the plan has such a label; "
            f"label some of {', '.join(Component)}"
        )
    return plan.model_copy(update={"heads": heads})


def _with_crops(plan: TrainingPlan, size: int) -> TrainingPlan:
    """Crops no larger than the chips."""
    largest = size - size % STRIDE
    schedules = {
        name: one.model_copy(update={"crop": min(one.crop, largest)}) for name, one in plan.schedules.items()
    }
    return plan.model_copy(update={"schedules": schedules})


def _with_all_chips(plan: TrainingPlan) -> TrainingPlan:
    """Every run sees every labelled chip: there are few, and none is still being made."""
    runs = {name: run.model_copy(update={"chips": None, "skip": 0}) for name, run in plan.runs.items()}
    return plan.model_copy(update={"runs": runs})


def _bands_seen(entries: tuple[Entry, ...]) -> set[str]:
    """Bands with data in some chip."""
    return {
        name
        for at, name in enumerate(CHANNELS)
        if any(date[at] is not None for entry in entries for date in entry.medians)
    }


def _state(card: NetworkCard | ChangeCard, plan: TrainingPlan, name: str) -> State:
    """The card's weights, without the heads that are left out; heads of other labels start anew."""
    form = {"width": card.plan.width, "fine": card.plan.fine}
    network = plan.network_of(name).model_copy(update=form)
    return onto(network, load_network(card).state_dict(), card.plan.heads, seed=plan.seed)
