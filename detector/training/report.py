"""Tables of an evaluation or a study, for people (Markdown) and for programs (JSON)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detector.training.evaluate import Judgement
from detector.training.metrics import Interval, Sums, over_places

FIGURES = ("iou", "f1", "pr_auc", "ece", "brier")
INTERVALS = ("iou", "f1", "pr_auc")
"""Figures that get an interval by bootstrap over places."""

Row = dict[str, Any]


def rows_of(
    judgement: Judgement,
    places: Mapping[int, str],
    *,
    only: frozenset[int] | None = None,
    draws: int = 200,
) -> list[Row]:
    """One row per head and label, with intervals over places; a mean row per head of several labels."""
    rows: list[Row] = []
    for head in judgement.heads:
        parts = judgement.by_place(head.name, places, only=only)
        if not parts:
            continue
        for code, label in enumerate(head.labels, start=1):
            rows.append(_row(judgement.card, head.name, label, parts, head.labels, code, draws))
        if len(head.labels) > 1:
            mean = over_places(parts, lambda sums, h=head: mean_iou(sums, h.labels), draws=draws)  # type: ignore[misc]
            rows.append({"model": judgement.card, "head": head.name, "label": "mean", "iou": _plain(mean)})
    return rows


def _row(
    card: str, head: str, label: str, parts: Mapping[str, Sums], labels: Sequence[str], code: int, draws: int
) -> Row:
    row: Row = {"model": card, "head": head, "label": label}
    for name in INTERVALS:
        row[name] = _plain(
            over_places(parts, lambda sums, n=name: _one(sums, labels, code, n), draws=draws)  # type: ignore[misc]
        )
    whole = next(iter(parts.values()))
    for part in list(parts.values())[1:]:
        whole = whole + part
    figures = whole.figures(labels)[label]
    return row | {name: _number(figures[name]) for name in ("ece", "brier", "share")}


def _one(sums: Sums, labels: Sequence[str], code: int, name: str) -> float:
    return sums.figures(labels)[labels[code - 1]][name]


def mean_iou(sums: Sums, labels: Sequence[str]) -> float:
    """Over the labels that are there or were answered."""
    values = [one["iou"] for one in sums.figures(labels).values() if not math.isnan(one["iou"])]
    return sum(values) / len(values) if values else float("nan")


def _plain(interval: Interval) -> Row:
    return {
        "value": _number(interval.value),
        "low": _number(interval.low),
        "high": _number(interval.high),
        "n": interval.n,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def markdown(title: str, rows: Sequence[Row], *, notes: Sequence[str] = ()) -> str:
    """A page with one table: columns are the keys of the first full row."""
    lines = [f"# {title}", "", *(f"- {note}" for note in notes), ""]
    if not rows:
        return "\n".join([*lines, "Nothing was measured.", ""])
    heads = list(dict.fromkeys(key for row in rows for key in row))
    lines.append("| " + " | ".join(heads) + " |")
    lines.append("|" + "|".join("---" for _ in heads) + "|")
    lines += ["| " + " | ".join(cell(row.get(head)) for head in heads) + " |" for row in rows]
    return "\n".join([*lines, ""])


def cell(value: Any) -> str:
    """A figure with its interval, a number, or a text."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        if value["value"] is None:
            return ""
        if value["low"] is None or value["high"] is None:
            return f"{value['value']:.3f}"
        return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def flat(rows: Sequence[Row]) -> list[Row]:
    """Rows for a terminal: the figures without their intervals."""
    return [
        {key: value["value"] if isinstance(value, Mapping) else value for key, value in row.items()}
        for row in rows
    ]


def side_by_side(rows: Sequence[Row], figure: str = "iou") -> list[Row]:
    """One row per label, one column per model."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        line = found.setdefault(
            (row["head"], row["label"]),
            {"head": row["head"], "label": row["label"], **dict.fromkeys(models)},
        )
        line[row["model"]] = row.get(figure)
    return list(found.values())


def write(folder: Path, name: str, title: str, rows: Sequence[Row], *, notes: Sequence[str] = ()) -> None:
    """``NAME.md`` and ``NAME.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(markdown(title, rows, notes=notes))
    (folder / f"{name}.json").write_text(
        json.dumps({"title": title, "notes": list(notes), "rows": list(rows)}, indent=1) + "\n"
    )
