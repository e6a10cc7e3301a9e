"""Prediction over images of any size: windows read ahead, answered on the device, handed to a sink.

Windows have a core of 512 pixels and a halo of 32: the core is kept, so that cores meet without seams and
there is nothing to blend. Only windows are ever in memory, whatever the image's size; the next ones are
read while one is answered. Several looks at one ground are answered together: their chances are averaged
where they saw it. So are those of one look in several orientations.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.cards import ChangeCard, Condition, NetworkCard, SegmentCard, WeightedCard, condition_of
from detector.engine import Device, Engine, References, open_engine, padded, physical
from detector.inputs import Reference, medians
from detector.windows import CORE_PX, ArrayReader, Bands, Reader, Window, windows
from registry.errors import Reject
from registry.models import Target

Float32 = NDArray[np.float32]
Codes = NDArray[np.uint8]

UNSEEN = 255
"""Class code of a pixel in which a needed band has no data."""
BATCH = {"cpu": 1, "cuda": 8}
"""Windows answered at once: a CPU is full with one."""
READERS = {"cpu": 1, "cuda": 8}
"""Threads that read ahead; on a CPU more would take the network's cores."""
LEAST_CHANCE = 1e-9
"""A mean chance is at least this, so that its logarithm is finite."""


ORIENTATIONS: Mapping[int, tuple[tuple[int, ...], ...]] = {
    1: ((),),
    2: ((), (-2, -1)),
    4: ((), (-2, -1), (-2,), (-1,)),
}
"""Axes that are mirrored, by how many orientations are asked for: as it is, turned by half, mirrored."""


@dataclass(frozen=True)
class Vote:
    """A logit that is asked for: some classes of a head against its others."""

    head: str
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """What is asked of a model, and under which circumstances."""

    codes: tuple[str, ...] = ()
    """Heads whose class codes are wanted."""
    votes: Mapping[str, Vote] = field(default_factory=dict)
    """Logits that are wanted, by the name they are given."""
    condition: Condition = Condition.FRESH
    references: References = (None,)
    """Per date what replaces the fixed means of the normalisation."""
    orientations: int = 1
    """In how many a look is seen; their chances are averaged."""

    def __post_init__(self) -> None:
        if self.orientations not in ORIENTATIONS:
            raise ValueError(f"orientations is {self.orientations}; use one of {list(ORIENTATIONS)}")


@dataclass(frozen=True)
class Answer:
    """What a model says about one window's core, or about a whole image."""

    codes: Mapping[str, Codes]
    """Per head (h, w): 0 background, n the n-th label, 255 unseen."""
    logits: Mapping[str, Float32]
    """Per vote (h, w): its calibrated logit; NaN = unseen."""


Sink = Callable[[Window, Answer], object]
Dates = Sequence[Mapping[str, Tensor]]
"""A window's bands in physical units, per date."""
Outputs = Mapping[str, Tensor]
"""Per head (n, classes, h, w) logits."""
T = TypeVar("T")


@dataclass(frozen=True)
class _OnDevice:
    """An answer that may still be computing."""

    window: Window
    codes: Mapping[str, Tensor]
    logits: Mapping[str, Tensor]

    def fetched(self) -> Answer:
        return Answer(
            {name: codes.cpu().numpy() for name, codes in self.codes.items()},
            {name: logit.cpu().numpy() for name, logit in self.logits.items()},
        )


def predict(
    card: WeightedCard,
    reader: Reader,
    shape: tuple[int, int],
    sink: Sink,
    *,
    question: Question,
    device: Device = Device.AUTO,
    half: bool | None = None,
    core: int = CORE_PX,
) -> None:
    """Answer every window of an image of ``shape`` and hand it to ``sink``, row by row.

    ``reader`` is called from other threads, once per window. What it hands over for a change card are the
    two dates; for other cards it is one look, or several whose answers are averaged. Raises what it
    raises, and ConfigError as ``open_engine`` does.
    """
    engine = open_engine(card, device, half=half)
    cut = windows(shape, core=core, halo=engine.halo, stride=engine.stride)
    kind = engine.device.type
    waiting: deque[_OnDevice] = deque()
    for batch in _batches(read_ahead(reader, cut, READERS[kind]), BATCH[kind]):
        behind = len(waiting)
        waiting.extend(_answers(card, engine, batch, question))
        for _ in range(behind):  # one batch behind: the device computes while the last one is stored
            one = waiting.popleft()
            sink(one.window, one.fetched())
    for one in waiting:
        sink(one.window, one.fetched())


def predict_image(
    card: WeightedCard,
    dates: Sequence[Mapping[str, Float32]],
    question: Question,
    *,
    device: Device = Device.AUTO,
    half: bool | None = None,
    core: int = CORE_PX,
) -> Answer:
    """The same for bands in memory, in physical units: one mapping per date, or per look."""
    shape = next(iter(dates[0].values())).shape
    codes = {head: np.full(shape, UNSEEN, np.uint8) for head in question.codes}
    logits = {name: np.full(shape, np.nan, np.float32) for name in question.votes}

    def keep(window: Window, answer: Answer) -> None:
        for head, found in answer.codes.items():
            codes[head][window.place] = found
        for name, logit in answer.logits.items():
            logits[name][window.place] = logit

    reader = ArrayReader(dates, card.bands)
    predict(card, reader, (shape[0], shape[1]), keep, question=question, device=device, half=half, core=core)
    return Answer(codes, logits)


def target_logits(
    card: SegmentCard,
    bands: Mapping[str, Float32],
    targets: Collection[Target],
    *,
    partner_age_days: float | None = None,
    device: Device = Device.AUTO,
    orientations: int = 1,
) -> Mapping[Target, Float32]:
    """(h, w) logit per target, NaN = unseen; the card's network runs once for all of them."""
    question = Question(
        votes={target.value: target_vote(card, target) for target in targets},
        condition=condition_of(card, bands, partner_age_days),
        references=references(card, (bands,)),
        orientations=orientations,
    )
    found = predict_image(card, (bands,), question, device=device).logits
    return {target: found[target.value] for target in targets}


def target_vote(card: SegmentCard, target: Target) -> Vote:
    """Any label of the target's head against background."""
    name = card.targets[target]
    head = next(head for head in card.heads if head.name == name)
    return Vote(name, tuple(range(1, head.classes)))


def references(
    card: WeightedCard,
    dates: Sequence[Mapping[str, Float32]],
    *,
    history: Mapping[str, float] | None = None,
) -> References:
    """Per date what replaces the fixed means of a card's normalisation.

    Of a pair, the earlier date is the history unless ``history`` is given. Raises Reject where a model of
    single dates needs one and there is none.
    """
    kind = Reference.FIXED
    if isinstance(card, NetworkCard | ChangeCard):
        kind = card.normalisation.reference
    if kind is Reference.FIXED:
        return [None] * len(dates)
    if kind is Reference.RELATIVE:
        return [_known(card, medians(date, _there(card, date))) for date in dates]
    if history is None and not isinstance(card, ChangeCard):
        raise Reject(f"model {card.id} needs the place's clear history; name another model for single images")
    first = _known(card, medians(dates[0], _there(card, dates[0]))) if history is None else history
    return [first] * len(dates)


def _there(card: WeightedCard, date: Mapping[str, Float32]) -> list[str]:
    return [name for name in card.bands if name in date]


def _known(card: WeightedCard, found: Mapping[str, float]) -> Mapping[str, float]:
    """Medians, with the fixed mean where a band has no pixel at all."""
    means = card.normalisation.mean if isinstance(card, NetworkCard | ChangeCard) else {}
    return {name: value if np.isfinite(value) else means[name] for name, value in found.items()}


def read_ahead(
    reader: Reader, cut: Iterator[Window], threads: int
) -> Iterator[tuple[Window, Sequence[Bands]]]:
    """Windows with their numbers, in order; ``threads`` + 1 of them are read or being read at any time."""
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="window") as pool:
        ahead: deque[tuple[Window, Future[Sequence[Bands]]]] = deque()
        try:
            for window in cut:
                ahead.append((window, pool.submit(copy_context().run, reader, window)))
                if len(ahead) > threads:
                    first, future = ahead.popleft()
                    yield first, future.result()
            while ahead:
                first, future = ahead.popleft()
                yield first, future.result()
        finally:
            for _, future in ahead:
                future.cancel()


def _batches(
    read: Iterable[tuple[Window, Sequence[Bands]]], size: int
) -> Iterator[list[tuple[Window, Sequence[Bands]]]]:
    """Neighbours of one shape, at most ``size`` at a time."""
    batch: list[tuple[Window, Sequence[Bands]]] = []
    for window, dates in read:
        if batch and (len(batch) == size or batch[0][0].shape != window.shape):
            yield batch
            batch = []
        batch.append((window, dates))
    if batch:
        yield batch


def _answers(
    card: WeightedCard, engine: Engine, batch: Sequence[tuple[Window, Sequence[Bands]]], question: Question
) -> list[_OnDevice]:
    seen: list[Dates] = [
        [{name: physical(numbers, window, engine.device) for name, numbers in date.items()} for date in dates]
        for window, dates in batch
    ]
    unseen = [torch.stack([_unseen(card, look) for look in _looks(card, dates)]) for dates in seen]
    hidden = torch.stack(unseen, dim=1)  # (looks, n, h, w)
    looks = zip(*(_looks(card, dates) for dates in seen), strict=True)
    references = _looks(card, question.references)
    outputs = (
        outputs
        for dates, zeros in zip(looks, references, strict=True)
        for outputs in _run(engine, dates, zeros, question.orientations)
    )
    if hidden.shape[0] * question.orientations == 1:
        z = next(outputs)
    else:
        every = hidden.repeat_interleave(question.orientations, dim=0)
        z = _averaged(card, outputs, every, question.condition)
    return [
        _answer(card, window, {name: one[at] for name, one in z.items()}, hidden[:, at].all(dim=0), question)
        for at, (window, _) in enumerate(batch)
    ]


def _looks(card: WeightedCard, dates: Sequence[T]) -> Sequence[Sequence[T]]:
    """The dates that are answered together: both of a change card, each by itself of another."""
    return [dates] if isinstance(card, ChangeCard) else [[date] for date in dates]


def _run(
    engine: Engine, windows: Sequence[Dates], references: References, orientations: int
) -> Iterator[Outputs]:
    """One look at each of the windows, which have one shape, in each orientation.

    Filled up before it is mirrored: the network halves the same pixels as in the next window.
    """
    inputs = torch.stack([engine.prepare(dates, references) for dates in windows])
    rows, columns = inputs.shape[-2:]
    filled = padded(inputs, engine.stride, repeat=engine.repeat)
    for axes in ORIENTATIONS[orientations]:
        outputs = engine.run(_mirrored(filled, axes))
        yield {name: _mirrored(z, axes)[:, :, :rows, :columns] for name, z in outputs.items()}


def _mirrored(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return x.flip(axes) if axes else x


def _averaged(card: WeightedCard, looks: Iterable[Outputs], hidden: Tensor, condition: Condition) -> Outputs:
    """Logits of the mean chances over the looks that saw a pixel; ``hidden`` is (looks, n, h, w).

    One look is held at a time, however many there are.
    """
    shares = (~hidden).float() / (~hidden).sum(dim=0).clamp(min=1)
    means: dict[str, Tensor] = {}
    for outputs, share in zip(looks, shares, strict=True):
        for head, z in outputs.items():
            chances = torch.softmax(z / card.temperature_of(head, condition), dim=1) * share[:, None]
            means[head] = means[head].add_(chances) if head in means else chances
    return {
        head: card.temperature_of(head, condition) * torch.log(mean.clamp(min=LEAST_CHANCE))
        for head, mean in means.items()
    }


def _unseen(card: WeightedCard, dates: Sequence[Mapping[str, Tensor]]) -> Tensor:
    needed = [name for name in card.bands if name not in card.may_lack]
    return torch.stack([torch.isnan(date[name]) for date in dates for name in needed]).any(dim=0)


def _winner(z: Tensor) -> Tensor:
    """(classes, h, w) -> (h, w) uint8: argmax, which is slow across planes on a CPU."""
    best, codes = z[0], torch.zeros(z.shape[1:], dtype=torch.uint8, device=z.device)
    for number, one in enumerate(z[1:], start=1):
        codes.masked_fill_(one > best, number)
        best = torch.maximum(best, one)
    return codes


def _answer(
    card: WeightedCard, window: Window, z: Mapping[str, Tensor], unseen: Tensor, question: Question
) -> _OnDevice:
    """Codes and logits of the window's core, still on the device."""
    hidden = unseen[window.kept]
    codes = {head: _winner(z[head][:, *window.kept]).masked_fill_(hidden, UNSEEN) for head in question.codes}
    logits = {}
    for name, vote in question.votes.items():
        core = z[vote.head][:, *window.kept] / card.temperature_of(vote.head, question.condition)
        logits[name] = vote_logit(core, vote.classes).masked_fill(hidden, torch.nan)
    return _OnDevice(window, codes, logits)


def vote_logit(z: Tensor, classes: Sequence[int]) -> Tensor:
    """(classes, h, w) -> (h, w): log of the chosen classes' share over that of the others."""
    rest = [number for number in range(z.shape[0]) if number not in classes]
    return torch.logsumexp(z[list(classes)], dim=0) - torch.logsumexp(z[rest], dim=0)
