"""The training loop: draw, augment, learn, average, validate, keep; it goes on where a kill cut it off.

Every draw of chance is named by (seed, run, epoch, step), so an interrupted training ends with the weights
of an uninterrupted one: to the bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detector.engine import fast_half
from detector.network import build
from detector.plans import Plan
from detector.training.augment import augmented
from detector.training.batches import Batch, Crops, Recipe, class_shares, network_batch, physical
from detector.training.journal import Journal
from detector.training.loss import total_loss
from detector.training.measure import measure
from detector.training.plan import Augmentation, Loss, Schedule
from detector.training.resident import Resident, resident
from registry.errors import InputError
from registry.log import get_logger
from registry.values import digest

log = get_logger(__name__)

LOWEST_RATE = 0.01
"""Share of the peak rate at the end."""
HEAVIEST = 5.0
"""Largest class weight against the mean."""
GRADIENT_NORM = 5.0
"""Gradients are cut to this norm: one odd batch must not undo an hour."""

FIRST_LAYERS = ("stem.weight", "fine.bands.weight")
"""What sees the bands themselves."""

State = dict[str, Tensor]
Progress = Callable[[int, str], None]
"""Told steps done since last time, and a word on how it goes."""


@dataclass(frozen=True)
class Job:
    """One run with all it needs; everything that decides its result is in ``settings_digest``."""

    name: str
    network: Plan
    recipe: Recipe
    schedule: Schedule
    augmentation: Augmentation
    loss: Loss
    train: Crops
    shifted: Crops
    """Validation that early stopping looks at: shifted against training."""
    folder: Path
    """Where checkpoint and log are kept."""
    seed: int = 1
    ema: float = 0.995
    band_dropout: float = 0.0
    smaller_sets: tuple[tuple[str, ...], ...] = ()
    start: State | None = None
    """Weights to start from; None = random ones."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def settings_digest(self) -> str:
        """Tells whether a checkpoint belongs to this job."""
        started = None
        if self.start is not None:
            started = zlib.crc32(b"".join(t.cpu().numpy().tobytes() for t in self.start.values()))
        return digest(
            {
                "network": self.network.model_dump(mode="json"),
                "schedule": self.schedule.model_dump(mode="json"),
                "augmentation": self.augmentation.model_dump(mode="json"),
                "loss": self.loss.model_dump(mode="json"),
                "normalisation": self.recipe.normalisation.model_dump(mode="json"),
                "bands": list(self.recipe.bands),
                "data": [self.train.cache.folder.name, list(self.train.numbers)],
                "shifted": [self.shifted.cache.folder.name, list(self.shifted.numbers)],
                "seed": self.seed,
                "ema": self.ema,
                "band_dropout": self.band_dropout,
                "sets": [list(one) for one in self.smaller_sets],
                "start": started,
            }
        )


@dataclass(frozen=True)
class Trained:
    """What a run ended with."""

    state: State
    """Averaged weights of the best epoch, on the CPU."""
    score: float
    """Mean IoU on the shifted validation."""
    epoch: int
    """Which epoch, from 1; 0 where nothing was trained."""


@dataclass
class _Progress:
    """All that changes while a run goes on."""

    network: nn.Module
    weights: State
    """Those of the network, which a step changes in place."""
    average: State
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    best: State | None = None
    best_score: float = -1.0
    best_epoch: int = 0
    finished: bool = False


def train(job: Job, *, progress: Progress | None = None) -> Trained:
    """Run a job to its end, from its checkpoint where there is one.

    Raises InputError where the folder holds the checkpoint of another job.
    """
    journal = Journal(job.folder)
    state = _begin(job, journal)
    weights = class_weights(job)
    crops = job.train if state.finished else resident(job.train, job.schedule, job.device)
    if progress:
        progress(state.epoch * job.schedule.steps, "")
    while not state.finished:
        loss = _epoch(job, state, crops, weights, progress)
        state.epoch += 1
        scores = _validated(job, state.average)
        _judge(job, state, scores["iou"])
        journal.write(
            {"epoch": state.epoch, "rate": rate(job.schedule, state.epoch * job.schedule.steps), "loss": loss}
            | {f"shifted_{name}": value for name, value in scores.items()}
        )
        _save(job, state)
        log.info("epoch", run=job.name, epoch=state.epoch, loss=round(loss, 4), iou=round(scores["iou"], 4))
    assert state.best is not None
    if job.device.type == "cuda":
        # What the chips took is for the trainings beside this one.
        del crops
        torch.cuda.empty_cache()
    best = {name: value.cpu() for name, value in state.best.items()}
    return Trained(state=best, score=state.best_score, epoch=state.best_epoch)


def _begin(job: Job, journal: Journal) -> _Progress:
    torch.manual_seed(_number(job.seed, job.name))
    network = build(job.network)
    if job.start is not None:
        network.load_state_dict(job.start)
    on_gpu = job.device.type == "cuda"
    if on_gpu:
        # Which algorithm a convolution uses is tried out once: crops are all of one size.
        torch.backends.cudnn.benchmark = True
    network.to(job.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(
        _groups(network, job.schedule.weight_decay),
        lr=job.schedule.learning_rate,
        foreach=not on_gpu,
        fused=on_gpu,
    )
    weights = network.state_dict()
    state = _Progress(network, weights, _copied(weights), optimiser)
    path = job.folder / "checkpoint.pt"
    if path.is_file():
        _restore(job, state, path)
    journal.cut_after(state.epoch)
    return state


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Norms and biases are not pulled towards zero."""
    kernels = [one for one in network.parameters() if one.ndim > 1]
    others = [one for one in network.parameters() if one.ndim <= 1]
    return [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _restore(job: Job, state: _Progress, path: Path) -> None:
    kept = torch.load(path, map_location=job.device, weights_only=True)
    if kept["job"] != job.settings_digest:
        raise InputError(
            f"{path} belongs to a training with other settings or chips; "
            "give another --out, or delete that folder"
        )
    state.network.load_state_dict(kept["network"])
    state.optimiser.load_state_dict(kept["optimiser"])
    state.average = kept["average"]
    state.epoch, state.finished = kept["epoch"], kept["finished"]
    state.best, state.best_score, state.best_epoch = kept["best"], kept["best_score"], kept["best_epoch"]


def _save(job: Job, state: _Progress) -> None:
    """Whole or not at all: written beside, then renamed."""
    path = job.folder / "checkpoint.pt"
    beside = path.with_suffix(".new")
    kept = {
        "job": job.settings_digest,
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "average": state.average,
        "epoch": state.epoch,
        "finished": state.finished,
        "best": state.best,
        "best_score": state.best_score,
        "best_epoch": state.best_epoch,
    }
    with beside.open("wb") as file:
        torch.save(kept, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _epoch(
    job: Job,
    state: _Progress,
    crops: Crops | Resident,
    weights: Mapping[str, Tensor],
    progress: Progress | None,
) -> float:
    """One epoch; returns the mean loss."""
    state.network.train()
    total = torch.zeros((), device=job.device)
    first = state.epoch * job.schedule.steps
    for step, batch in _drawn(job, crops, first):
        for group in state.optimiser.param_groups:
            group["lr"] = rate(job.schedule, step)
        loss = _step(job, state, batch, weights, step)
        total += loss
        if progress:
            progress(1, f"{job.name} epoch {state.epoch + 1}/{job.schedule.last}")
    mean = float(total) / job.schedule.steps
    if not np.isfinite(mean):
        raise InputError(
            f"run {job.name}: the loss is {mean} in epoch {state.epoch + 1}; lower the learning rate"
        )
    return mean


def _drawn(job: Job, crops: Crops | Resident, first: int) -> Iterator[tuple[int, Batch]]:
    """Batches of an epoch; the next ones are gathered while a step runs."""

    def draw(step: int) -> Batch:
        rng = np.random.default_rng([job.seed, zlib.crc32(job.name.encode()), step])
        return crops.draw(rng, job.schedule.batch, job.schedule.crop, rich=job.schedule.rich)

    steps = range(first, first + job.schedule.steps)
    if isinstance(crops, Resident):
        yield from ((step, draw(step)) for step in steps)
        return
    # A GPU is done with a batch before one thread has gathered the next.
    threads = 4 if job.device.type == "cuda" else 1
    with ThreadPoolExecutor(threads, thread_name_prefix="crops") as pool:
        ahead: deque[Future[Batch]] = deque(pool.submit(draw, step) for step in steps[:threads])
        for step in steps:
            batch = ahead.popleft().result()
            if step + threads in steps:
                ahead.append(pool.submit(draw, step + threads))
            yield step, batch.to(job.device)


def _step(job: Job, state: _Progress, batch: Batch, weights: Mapping[str, Tensor], step: int) -> Tensor:
    generator = torch.Generator().manual_seed(_number(job.seed, f"{job.name}/{step}"))
    with torch.no_grad():
        values = augmented(
            physical(batch.pixels),
            job.augmentation,
            generator,
            smaller_sets=job.smaller_sets,
            band_dropout=job.band_dropout,
        )
        inputs = network_batch(values, batch.medians, job.recipe)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    with torch.autocast(job.device.type, torch.bfloat16, enabled=fast_half(job.device)):
        outputs = state.network(inputs)
    loss = total_loss(outputs, batch, weights, job.loss)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.network.parameters(), GRADIENT_NORM, foreach=True)
    state.optimiser.step()
    _average(state.average, state.weights, min(job.ema, (1.0 + step) / (10.0 + step)))
    return loss.detach()


@torch.no_grad()
def _average(average: State, now: Mapping[str, Tensor], kept: float) -> None:
    """Running mean of weights and of the norms' statistics; counters are taken over."""
    old = [average[name] for name in now if now[name].is_floating_point()]
    new = [one for one in now.values() if one.is_floating_point()]
    torch._foreach_lerp_(old, new, 1.0 - kept)
    counters = [name for name, one in now.items() if not one.is_floating_point()]
    torch._foreach_copy_([average[name] for name in counters], [now[name] for name in counters])


def taken(job: Job) -> Trained:
    """What a run starts from, measured and not trained further."""
    assert job.start is not None
    return Trained(state=job.start, score=_validated(job, job.start)["iou"], epoch=0)


def _validated(job: Job, weights: State) -> dict[str, float]:
    network = build(job.network).to(job.device)
    network.load_state_dict(weights)
    return measure(network.eval(), job.shifted, job.device)


def _judge(job: Job, state: _Progress, score: float) -> None:
    """Keep the best; stop at the end, or where it has not become better for long."""
    if score > state.best_score:
        state.best, state.best_score, state.best_epoch = _copied(state.average), score, state.epoch
    late = state.epoch - state.best_epoch >= job.schedule.patience
    state.finished = late or state.epoch >= job.schedule.last


def rate(schedule: Schedule, step: int) -> float:
    """One cycle: up in a line, down in half a cosine."""
    rise = max(1, round(schedule.warmup * schedule.cycle))
    if step < rise:
        return schedule.learning_rate * (step + 1) / rise
    way = min(1.0, (step - rise) / max(1, schedule.cycle - rise))
    low = LOWEST_RATE * schedule.learning_rate
    return float(low + 0.5 * (schedule.learning_rate - low) * (1.0 + np.cos(np.pi * way)))


def class_weights(job: Job) -> dict[str, Tensor]:
    """Per head (classes,): rarer classes weigh more, with a mean of 1 over the pixels."""
    found = {}
    for head, shares in class_shares(job.train.cache, job.recipe.heads, job.train.numbers).items():
        weights = np.maximum(shares, 1e-5) ** -job.loss.class_weight_power
        weights /= float((weights * shares).sum()) or 1.0
        found[head] = torch.tensor(np.minimum(weights, HEAVIEST), dtype=torch.float32, device=job.device)
    return found


def narrowed(
    state: Mapping[str, Tensor], before: tuple[str, ...], after: tuple[str, ...], dates: int
) -> State:
    """Weights for fewer bands: those of the bands that stay, as if the others were missing.

    The stem sees 4 positions (a 2 x 2 block) per band and date, in that order; a fine stage sees one.
    """
    places = [date * len(before) + before.index(name) for date in range(dates) for name in after]
    blocks = [4 * place + corner for place in places for corner in range(4)]
    kept = dict(zip(FIRST_LAYERS, (blocks, places), strict=True))
    narrow = dict(state)
    for name, value in state.items():
        for layer, inputs in kept.items():
            if name.endswith(layer):
                narrow[name] = value[:, inputs]
    return _copied(narrow)


def _copied(state: Mapping[str, Tensor]) -> State:
    return {name: value.detach().clone() for name, value in state.items()}


def _number(seed: int, name: str) -> int:
    return (seed * 1_000_003 + zlib.crc32(name.encode())) % (2**63)
