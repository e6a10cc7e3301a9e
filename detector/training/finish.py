"""A trained run becomes a card: balanced, calibrated, measured, written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import torch
from torch import nn

from detector.cards import ChangeCard, Condition, Metric, NetworkCard
from detector.inputs import Normalisation
from detector.network import build
from detector.training.balance import balanced
from detector.training.batches import Crops, Recipe
from detector.training.calibrate import drawn, temperatures
from detector.training.loop import Job, State, Trained
from detector.training.material import Material, Part
from detector.training.measure import predictions
from detector.training.metrics import Sums, sums_of, total_of
from detector.training.plan import Task, TrainingPlan, only
from detector.weights import write_card
from registry.log import get_logger
from registry.models import S1_BANDS, S2_BANDS, Sensor, Target
from registry.values import digest

log = get_logger(__name__)

RADAR_MAX_AGE_DAYS = 24.0
"""Oldest radar a card with radar takes; older, its evidence does not count anyway."""
PIXELS_FOR_SHARES = 8192
"""Pixels per chip that the shares of classes are balanced on: rare ones need many."""
LIMITS = {
    True: (
        "Trained on simulated chips only: no claim beyond the figures measured on real data. Bright "
        "natural surfaces (sandbars, landslides, bare rock, building sites) are what it takes for mines."
    ),
    False: "Knows the places and seasons it was shown; others are to be checked before it is relied on.",
}


@dataclass(frozen=True)
class Origin:
    """What a card says of its making."""

    today: date
    command: str
    code_version: str
    simulated: bool
    data_licence: str
    starts: Mapping[str, State] = field(default_factory=dict)
    """Weights that runs without a ``start`` begin with, by run."""
    normalisations: Mapping[str, Normalisation] = field(default_factory=dict)
    """Scaling that belongs to these weights, by run."""


def finish(
    plan: TrainingPlan,
    name: str,
    job: Job,
    trained: Trained,
    material: Material,
    seen: int,
    out: Path,
    origin: Origin,
) -> Path:
    """Balance and calibrate on one half of the held-out places, measure on the other, write the card."""
    network = build(job.network).to(job.device)
    network.load_state_dict(trained.state)
    network.eval()
    learn, check = material.held_out.halves()
    crops = Crops(learn.cache, job.recipe, learn.numbers)
    samples = drawn(network, crops, job.device, pixels=PIXELS_FOR_SHARES)
    state = balanced(trained.state, job.network, samples)
    network.load_state_dict(state)
    found = temperatures(network, crops, job.device)
    held_out = f"held out: half of the places of {check.about}"
    shifted = f"shifted, looked at to choose the epoch: {material.shifted.about}"
    metrics = (
        *_metrics(network, check, job, found, held_out),
        *_metrics(network, material.shifted, job, found, shifted),
    )
    facts = {
        "id": name,
        "title": plan.runs[name].title or name,
        "sensor": _sensor(job.recipe.bands),
        "bands": job.recipe.bands,
        "optional": _optional(job.recipe.bands),
        "partner_max_age_days": RADAR_MAX_AGE_DAYS if _fused(job.recipe.bands) else None,
        "licence": plan.licence,
        "metrics": metrics,
        "limits": LIMITS[origin.simulated],
        "temperature": found,
        "trained_on": f"{seen} of {material.train.about}",
        "data_licence": origin.data_licence,
        "trained": origin.today,
        "seed": plan.seed,
        "command": origin.command,
        "code_version": f"{origin.code_version}, plan {digest(only(plan, [name]))[:12]}",
        "plan": job.network,
        "normalisation": job.recipe.normalisation,
    }
    card: NetworkCard | ChangeCard
    if job.recipe.task is Task.CHANGE:
        card = write_card(out, ChangeCard.model_validate(facts), state)
    else:
        heads = {head.name for head in job.network.heads}
        targets = {target: target.value for target in Target if target.value in heads}
        card = write_card(out, NetworkCard.model_validate(facts | {"targets": targets}), state)
    log.info("card", id=card.id, epoch=trained.epoch, shifted_iou=round(trained.score, 4))
    return out / f"{card.id}.yml"


def _fused(bands: tuple[str, ...]) -> bool:
    return bool(set(bands) & set(S1_BANDS)) and bool(set(bands) & set(S2_BANDS))


def _sensor(bands: tuple[str, ...]) -> Sensor:
    return Sensor.S2 if set(bands) & set(S2_BANDS) else Sensor.S1


def _optional(bands: tuple[str, ...]) -> tuple[str, ...]:
    """Radar beside optical bands may be missing: a share of the crops lacked it."""
    return tuple(name for name in bands if name in S1_BANDS) if _fused(bands) else ()


def measured(
    network: nn.Module,
    part: Part,
    recipe: Recipe,
    device: torch.device,
    found: Mapping[str, Mapping[Condition, float]],
) -> dict[str, dict[int, Sums]]:
    """Per head and chip number, the sums over its pixels at the calibrated chances of fresh input."""
    sums: dict[str, dict[int, Sums]] = {head.name: {} for head in recipe.heads}
    for numbers, batch, outputs in predictions(network, Crops(part.cache, recipe, part.numbers), device):
        for head, logits in outputs.items():
            temperature = found.get(head, {}).get(Condition.FRESH, 1.0)
            chances = torch.softmax(logits / temperature, dim=1).cpu().numpy()
            codes = batch.truth(head).cpu().numpy()
            for at, number in enumerate(numbers):
                sums[head][number] = sums_of(chances[at], codes[at])
    return sums


def _metrics(
    network: nn.Module,
    part: Part,
    job: Job,
    found: Mapping[str, Mapping[Condition, float]],
    data: str,
) -> list[Metric]:
    metrics = []
    for head, chips in measured(network, part, job.recipe, job.device, found).items():
        labels = next(one.labels for one in job.network.heads if one.name == head)
        figures = total_of(list(chips.values())).figures(labels)
        ious = [one["iou"] for one in figures.values() if one["share"] > 0.0]
        if len(labels) > 1 and ious:
            metrics.append(Metric(name=f"{head}.mean_iou", value=round(sum(ious) / len(ious), 4), data=data))
        for label, one in figures.items():
            for name in ("iou", "f1", "pr_auc", "ece"):
                if one["share"] > 0.0 and one[name] == one[name]:
                    value = round(one[name], 4)
                    metrics.append(Metric(name=f"{label}.{name}", value=value, data=data))
    return metrics
