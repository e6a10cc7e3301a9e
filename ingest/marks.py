"""What was read and issued for each area, kept in the store: losing it costs a second look, never a pass."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from registry.models import Area
from registry.store import Store
from registry.values import digest

NAME = "poll/areas"
"""Cursor that holds the marks of all areas: one row, so that a thousand new areas are one write."""


@dataclass(frozen=True)
class AreaMark:
    """What is remembered of one area."""

    outline: str
    """Identifies polygon and buffer."""
    start: str
    """``poll.start`` of then."""
    sources: frozenset[str] = frozenset()
    """Whose history since then was read."""
    issued: str = ""
    """Identifies outline and settings that its passes were issued for; empty = none issued yet."""
    passes: bool = False
    """True where it had passes: an area that lost them was removed and added again."""


class AreaMarks:
    """The marks of all areas."""

    def __init__(self, store: Store, *, start: date, sources: Collection[str]) -> None:
        self._store = store
        self._start = start
        self._sources = frozenset(sources)
        self._text = store.cursor(NAME)
        self._marks = _from_text(self._text)

    def by_unread(self, areas: Iterable[Area]) -> list[tuple[frozenset[str], list[Area]]]:
        """Areas by the sources whose history was not read for them: all where they are new, their
        outline or ``poll.start`` changed, or their passes were forgotten."""
        groups: dict[frozenset[str], list[Area]] = defaultdict(list)
        with_passes = self._with_passes()
        for area in areas:
            mark = self._fitting(area)
            lost = mark.passes and area.id not in with_passes
            groups[self._sources - (frozenset() if lost else mark.sources)].append(area)
        return sorted(groups.items(), key=lambda group: sorted(group[0]))

    def joined(self, areas: Iterable[Area], sources: Collection[str]) -> None:
        """The history of these areas was read at these sources."""
        for area in areas if sources else ():
            mark = self._fitting(area)
            self._marks[area.id] = replace(mark, sources=mark.sources | set(sources), passes=False)
        self._save()

    def issued(self, area: Area) -> str:
        """What its passes were issued for; empty = none yet."""
        return self._fitting(area).issued

    def set_issued(self, issued: Iterable[tuple[Area, str]]) -> None:
        """What their passes are issued for from now on."""
        for area, value in issued:
            self._marks[area.id] = replace(self._fitting(area), issued=value)
        self._save()

    def settle(self, areas: Iterable[Area]) -> None:
        """At the end of a poll: marks of removed areas go, areas that got their first pass say so."""
        with_passes = self._with_passes()
        self._marks = {
            area.id: replace(self._marks[area.id], passes=area.id in with_passes)
            for area in areas
            if area.id in self._marks
        }
        self._save()

    def _fitting(self, area: Area) -> AreaMark:
        """The area's mark where it was made for this outline and start; else one that knows no source."""
        fresh = AreaMark(outline=outline_digest(area), start=str(self._start))
        mark = self._marks.get(area.id, fresh)
        fits = (mark.outline, mark.start) == (fresh.outline, fresh.start)
        return mark if fits else replace(fresh, issued=mark.issued, passes=mark.passes)

    def _with_passes(self) -> set[str]:
        return {area_id for area_id, last in self._store.status().last_pass.items() if last}

    def _save(self) -> None:
        text = _to_text(self._marks)
        if text != self._text:
            self._store.set_cursor(NAME, text)
            self._text = text


def outline_digest(area: Area) -> str:
    """Changes when an area's polygon or buffer does."""
    return digest({"wkb": area.geometry.wkb_hex, "buffer_m": area.buffer_m})


def _from_text(text: str | None) -> dict[str, AreaMark]:
    try:
        plain: dict[str, dict[str, Any]] = json.loads(text or "{}")
        return {id_: AreaMark(**{**one, "sources": frozenset(one["sources"])}) for id_, one in plain.items()}
    except (ValueError, KeyError, TypeError, AttributeError):  # damaged: everything is looked at again
        return {}


def _to_text(marks: dict[str, AreaMark]) -> str:
    plain = {id_: {**vars(one), "sources": sorted(one.sources)} for id_, one in sorted(marks.items())}
    return json.dumps(plain, separators=(",", ":"))
