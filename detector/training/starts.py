"""Weights of a card, or of an earlier run, as the start of a run: of its bands, and of its dates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from detector.cards import Card, ChangeCard, NetworkCard
from detector.inputs import Normalisation
from detector.network import build
from detector.plans import Head, Plan
from detector.training.loop import FIRST_LAYERS, State, narrowed
from detector.training.plan import Task, TrainingPlan
from detector.weights import load_network
from registry.errors import ConfigError


@dataclass(frozen=True)
class Starts:
    """What runs begin with, by run."""

    states: Mapping[str, State] = field(default_factory=dict)
    normalisations: Mapping[str, Normalisation] = field(default_factory=dict)
    """Scaling that belongs to the weights."""


def starts_of(plan: TrainingPlan, cards: Mapping[str, Card]) -> Starts:
    """Weights and scaling of every run that the plan starts from a card. Raises ConfigError."""
    states: dict[str, State] = {}
    normalisations: dict[str, Normalisation] = {}
    for name, run in plan.runs.items():
        if run.start_card is None:
            continue
        card = cards.get(run.start_card.id)
        if not isinstance(card, NetworkCard | ChangeCard) or card.weights is None:
            raise ConfigError(f"run {name} starts from {run.start_card.id}, no card of weights of our own")
        if card.weights.sha256 != run.start_card.sha256:
            raise ConfigError(
                f"run {name} starts from weights {run.start_card.sha256[:12]}..., card {card.id} has "
                f"{card.weights.sha256[:12]}...; take the card of that time or name the present weights"
            )
        states[name] = _state(plan, name, card)
        normalisations[name] = card.normalisation
    return Starts(states, normalisations)


def _state(plan: TrainingPlan, name: str, card: NetworkCard | ChangeCard) -> State:
    """The card's weights in the run's network; heads that the card lacks start anew, by the plan's seed."""
    network = plan.network_of(name)
    bands, dates = plan.bands_of(name), _dates(card)
    foreign = sorted(set(bands) - set(card.bands))
    if foreign or network.form != card.plan.form:
        raise ConfigError(
            f"run {name} cannot start from card {card.id}: bands {foreign} it lacks, or other width, blocks, "
            f"fine channels or form {network.form}; use the card's {card.plan.form}"
        )
    kept = narrowed(load_network(card).state_dict(), card.bands, bands, dates)
    if plan.runs[name].task is Task.SEGMENT and dates > 1:
        kept = both_dates_alike(kept, dates)
    return onto(network, kept, card.plan.heads, seed=plan.seed)


def onto(network: Plan, kept: State, heads: Sequence[Head], *, seed: int) -> State:
    """Weights of a network with these heads, in another one: trunk and equal heads, others start anew.

    Where it sees two dates and the weights saw one, they see the later date, and the earlier one starts anew.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = dict(build(network).state_dict())
    labels = {head.name: head.labels for head in network.heads}
    same = {head.name for head in heads if labels.get(head.name) == head.labels}
    return state | {
        key: _last_inputs(state[key], value) if key.endswith(FIRST_LAYERS) else value
        for key, value in kept.items()
        if key in state and (key.split(".")[1] in same or not key.startswith(("heads.", "networks.")))
    }


def _last_inputs(fresh: Tensor, kept: Tensor) -> Tensor:
    """(out, inputs, 3, 3): the kept weights for the last inputs, fresh ones for those before."""
    return torch.cat([fresh[:, : fresh.shape[1] - kept.shape[1]], kept], dim=1)


def _dates(card: NetworkCard | ChangeCard) -> int:
    return 2 if isinstance(card, ChangeCard) else 1


def both_dates_alike(state: State, dates: int) -> State:
    """Weights for one date that answer as those for several do where all dates are the same image."""
    return {
        name: torch.stack(value.chunk(dates, dim=1)).sum(dim=0) if name.endswith(FIRST_LAYERS) else value
        for name, value in state.items()
    }
