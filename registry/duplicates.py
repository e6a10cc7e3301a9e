"""Rows of one id: the same row twice, parts of one right, or another vintage. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import shapely

from registry.geometry import hectares
from registry.import_report import Notes
from registry.models import Permit, Zone
from registry.repair import Repaired, area_note, repaired
from registry.values import digest, stable_id

Listed = TypeVar("Listed", Permit, Zone)

_SHAPE_FIELDS = {"geometry", "area_ha", "geometry_note", "raw", "content_hash"}


def settled(made: Sequence[tuple[int, Listed]], notes: Notes) -> list[Listed]:
    """One value per id: equal rows are named, parts of one polygon joined, different rows numbered."""
    groups: dict[str, list[_Group[Listed]]] = {}
    for number, value in made:
        same_id = groups.setdefault(value.source_id, [])
        group = next((one for one in same_id if one.takes(value)), None)
        if group is None:
            same_id.append(_Group(value, number, _terms(value), [value]))
            if len(same_id) > 1:
                notes.note(
                    number,
                    f"id {value.source_id} stands in row {same_id[0].row} with other terms; "
                    f"kept beside it as {value.source_id}#{len(same_id)}",
                )
        elif value.content_hash in {part.content_hash for part in group.parts}:
            notes.skip(number, f"same as row {group.row}")
        else:
            group.parts.append(value)
            notes.note(number, f"joined to row {group.row}: same id and terms, another polygon")
    return [group.value(rank) for same_id in groups.values() for rank, group in enumerate(same_id, start=1)]


@dataclass
class _Group(Generic[Listed]):
    """Rows of one id and the same terms."""

    first: Listed
    row: int
    terms: str
    parts: list[Listed]

    def takes(self, value: Listed) -> bool:
        return self.terms == _terms(value)

    def value(self, rank: int) -> Listed:
        found = self.first
        if rank > 1:
            source_id = f"{found.source_id}#{rank}"
            kind = "permit" if isinstance(found, Permit) else "zone"
            found = found.model_copy(
                update={"source_id": source_id, "id": stable_id(kind, found.source, source_id)}
            )
        return found if len(self.parts) == 1 else self._joined(found)

    def _joined(self, found: Listed) -> Listed:
        whole: Repaired = repaired(shapely.union_all([part.geometry for part in self.parts]))
        changes: dict[str, Any] = {
            "geometry": whole.geometry,
            "content_hash": digest([part.content_hash for part in self.parts]),
        }
        if isinstance(found, Permit):
            computed = hectares(whole.geometry)
            texts = [f"{len(self.parts)} rows joined", *whole.notes, area_note(found.declared_ha, computed)]
            changes |= {"area_ha": computed, "geometry_note": "; ".join(text for text in texts if text)}
        return found.model_copy(update=changes)


def _terms(value: Permit | Zone) -> str:
    """All but the polygon: rows of one id that agree in it are parts of one right."""
    return digest(value.model_dump(mode="json", exclude=_SHAPE_FIELDS))
