"""An evaluation from chips to folder: tables side by side, and the chips that went worst and best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.cards import Card
from detector.engine import Device
from detector.training.cache import Cache, fill
from detector.training.evaluate import Judgement, Sample, chances_of, judge, samples, task_of
from detector.training.gallery import true_colour, write_sheet
from detector.training.material import Bar
from detector.training.plan import Task
from detector.training.report import Row, rows_of, side_by_side, write
from detector.training.sources import ChipSource
from registry.errors import InputError

SHOWN = 4
"""Chips drawn from each end."""


@dataclass(frozen=True)
class Examination:
    """What is examined, and on what."""

    cards: tuple[Card, ...]
    source: ChipSource
    count: int
    """Chips at most."""
    out: Path
    cache: Path
    bar: Bar
    processes: int = 2
    device: Device = Device.AUTO
    without: tuple[str, ...] = ()
    """Bands left out."""
    by: str = ""
    """Fact by whose values the figures are also told: mine_type, material, climate."""


def examine(exam: Examination) -> list[Row]:
    """Write OUT/evaluation.md, .json and OUT/chips; returns the rows.

    Raises InputError where cards look at one date and at two: their figures do not compare.
    """
    tasks = {task_of(card) for card in exam.cards}
    if len(tasks) != 1:
        raise InputError("cards of one date and of two do not compare; evaluate them in two calls")
    cache = _chips(exam, tasks.pop())
    places = {number: entry.place for number, entry in enumerate(cache.entries)}
    rows, notes = [], [f"chips: {len(places)} of {len(set(places.values()))} places; {exam.source.about}"]
    notes += [f"bands left out: {', '.join(exam.without)}"] if exam.without else []
    notes.append("intervals: 95 %, bootstrap over places")
    judged = []
    for card in exam.cards:
        with exam.bar(len(places), card.id) as advance:
            found = samples(cache, without=exam.without)
            judged.append(judge(card, found, device=exam.device, advance=advance))
        rows += rows_of(judged[-1], places)
        notes += _skipped(judged[-1])
    write(exam.out, "evaluation", "Evaluation", rows, notes=notes)
    if len(exam.cards) > 1:
        write(exam.out, "side_by_side", "IoU side by side", side_by_side(rows), notes=notes)
    if exam.by:
        write(exam.out, f"by_{exam.by}", f"By {exam.by}", _by(exam, cache, judged, places), notes=notes)
    for card, judgement in zip(exam.cards, judged, strict=True):
        _draw(exam, cache, card, judgement)
    return rows


def _chips(exam: Examination, task: Task) -> Cache:
    total = exam.count if exam.source.count is None else min(exam.count, exam.source.count)
    with exam.bar(total, "chips") as advance:
        return fill(exam.source, exam.cache, task, exam.count, processes=exam.processes, advance=advance)


def _skipped(judgement: Judgement) -> list[str]:
    if not judgement.skipped:
        return []
    return [f"{judgement.card} left out {len(judgement.skipped)} chips, such as {judgement.skipped[0]}"]


def _by(exam: Examination, cache: Cache, judged: Sequence[Judgement], places: dict[int, str]) -> list[Row]:
    groups: dict[str, set[int]] = {}
    for number, entry in enumerate(cache.entries):
        groups.setdefault(entry.facts.get(exam.by) or "none", set()).add(number)
    return [
        {exam.by: value, "chips": len(numbers)} | row
        for value, numbers in sorted(groups.items())
        for judgement in judged
        for row in rows_of(judgement, places, only=frozenset(numbers), draws=50)
    ]


def _draw(exam: Examination, cache: Cache, card: Card, judgement: Judgement) -> None:
    """The worst and the best chips of a card."""
    numbers = sorted({number for chips in judgement.sums.values() for number in chips})
    scored = sorted((score, n) for n in numbers if np.isfinite(score := judgement.chip_score(n)))
    folder = exam.out / "chips" / card.id
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {n: f"worst-{rank + 1}" for rank, (_, n) in enumerate(scored[:SHOWN])}
    for rank, (_, n) in enumerate(reversed(scored[SHOWN:][-SHOWN:])):
        wanted[n] = f"best-{rank + 1}"
    for sample in samples(cache, without=exam.without, numbers=wanted):
        _sheet(folder / f"{wanted[sample.number]}.png", card, judgement, sample, exam.device)


def _sheet(path: Path, card: Card, judgement: Judgement, sample: Sample, device: Device) -> None:
    chances = chances_of(card, sample, device=device)
    answers = []
    for head in judgement.heads:
        unseen = ~np.isfinite(chances[head.name]).all(axis=0)
        answer = np.nan_to_num(chances[head.name]).argmax(axis=0).astype(np.uint8)
        answer[unseen] = 255
        answers.append((head, sample.truth(head), answer))
    facts = ", ".join(f"{key} {value}" for key, value in sample.facts.items() if value)
    title = f"{card.id} on {sample.name}: mean IoU {judgement.chip_score(sample.number):.2f}; {facts}"
    write_sheet(path, true_colour(sample.dates), answers, title=title)
