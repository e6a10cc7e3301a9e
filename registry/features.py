"""Rows of a file to areas, permits and zones: every row is imported or reported. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import ValidationError
from shapely.geometry.base import BaseGeometry

from registry.duplicates import settled
from registry.geometry import hectares
from registry.import_report import ImportReport, Level, Made, Notes, RowNote
from registry.models import Area, AreaKind, Permit, Target, Zone, ZoneKind
from registry.registers import Column, Register, Row, match_columns
from registry.repair import Repaired, Unusable, area_note, needs_repair, repaired
from registry.values import digest, stable_id

Words = TypeVar("Words", bound=StrEnum)


@dataclass(frozen=True)
class Table:
    """A layer of a file: attributes and geometries in EPSG:4326, row by row."""

    name: str
    """The file, as people named it."""
    records: Sequence[Mapping[str, Any]]
    """Attributes, fit for JSON."""
    geometries: NDArray[np.object_]
    columns: tuple[str, ...]
    crs: str
    """The file's own coordinate reference system."""
    notes: tuple[str, ...] = ()
    """What there is to say of the file."""


@dataclass(frozen=True)
class AreaChoice:
    """What a person said of areas beside the file; None = what the file says."""

    id: str | None = None
    name: str | None = None
    kind: AreaKind | None = None
    buffer_m: float | None = None


def areas_from(table: Table, register: Register, choice: AreaChoice) -> ImportReport[Area]:
    """Areas; ids come from the file's ids or names and are made unique."""
    taken: set[str] = set()

    def make(row: Row, fixed: Repaired) -> Area:
        name = choice.name or row.text(Column.NAME) or row.text(Column.ID)
        wanted = choice.id or slug(row.text(Column.ID)) or slug(name) or f"area-{_shape_id(fixed.geometry)}"
        area_id = next(one for one in _numbered(wanted) if one not in taken)
        if area_id != wanted:
            row.notes.append(f"id {wanted} is taken by an earlier row; called {area_id}")
        if not name:
            row.notes.append(f"no name; called {area_id}")
        taken.add(area_id)
        return Area(
            id=area_id,
            name=(name or area_id)[:200],
            kind=choice.kind or _word(row, Column.KIND, AreaKind) or AreaKind.WATCHED,
            geometry=fixed.geometry,
            buffer_m=(row.number(Column.BUFFER_M) or 0.0) if choice.buffer_m is None else choice.buffer_m,
            targets=_targets(row),
            tags=row.texts(Column.TAGS),
        )

    notes = _file_notes(table)
    made = [value for _, value in _made(table, register, notes, make)]
    return ImportReport(tuple(made), notes.in_order(), len(table.records))


def permits_from(table: Table, register: Register, *, release: str) -> ImportReport[Permit]:
    """Permits of one release of a register."""

    def make(row: Row, fixed: Repaired) -> Permit:
        source_id, computed = _source_id(row, fixed), hectares(fixed.geometry)
        declared = row.declared_ha()
        difference = area_note(declared, computed)
        row.notes.extend([difference] if difference else [])
        holders = row.holders()
        if not holders:
            row.notes.append("no holder given")
        return Permit(
            id=stable_id("permit", register.source, source_id),
            source=register.source,
            source_id=source_id,
            release=release,
            holders=holders,
            status=row.status(),
            status_raw=row.text(Column.STATUS),
            stage=row.text(Column.STAGE),
            commodities=row.texts(Column.COMMODITIES),
            activities=row.activities(),
            applied=row.day(Column.APPLIED),
            granted=row.day(Column.GRANTED),
            valid_from=row.day(Column.VALID_FROM),
            valid_to=row.day(Column.VALID_TO),
            geometry=fixed.geometry,
            original_crs=table.crs,
            declared_ha=declared,
            area_ha=computed,
            geometry_note="; ".join([*fixed.notes, *([difference] if difference else [])]),
            raw=row.raw,
            content_hash=_content_hash(row, fixed.geometry),
        )

    notes = _file_notes(table)
    if Column.STATUS not in match_columns(register, table.columns):
        notes.note(0, f"no status column; every permit counts as {register.status_default.value}")
    made = settled(list(_made(table, register, notes, make)), notes)
    return ImportReport(tuple(made), notes.in_order(), len(table.records))


def zones_from(table: Table, register: Register, *, kind: ZoneKind | None) -> ImportReport[Zone]:
    """Zones; ``kind`` wins over what the rows say."""

    def make(row: Row, fixed: Repaired) -> Zone:
        source_id = _source_id(row, fixed)
        name = row.text(Column.NAME)
        if not name:
            row.notes.append(f"no name; called {source_id}")
        return Zone(
            id=stable_id("zone", register.source, source_id),
            source=register.source,
            source_id=source_id,
            name=name or source_id,
            kind=kind or row.zone_kind() or ZoneKind.PROTECTED,
            geometry=fixed.geometry,
            original_crs=table.crs,
            geometry_note="; ".join(fixed.notes),
            raw=row.raw,
            content_hash=_content_hash(row, fixed.geometry),
        )

    notes = _file_notes(table)
    made = settled(list(_made(table, register, notes, make)), notes)
    return ImportReport(tuple(made), notes.in_order(), len(table.records))


def _file_notes(table: Table) -> Notes:
    return Notes([RowNote(0, Level.NOTE, text) for text in table.notes])


def _made(
    table: Table, register: Register, notes: Notes, make: Callable[[Row, Repaired], Made]
) -> Iterator[tuple[int, Made]]:
    """(row number, value) of each row that can be imported; the others are noted."""
    columns = match_columns(register, table.columns)
    odd = needs_repair(table.geometries)
    for number, (record, geometry) in enumerate(zip(table.records, table.geometries, strict=True), start=1):
        row = Row(register, record, columns, [])
        if reason := row.left_out():
            notes.skip(number, reason)
            continue
        try:
            fixed = repaired(geometry) if odd[number - 1] else Repaired(geometry)
            value = make(row, fixed)
        except Unusable as exc:
            notes.skip(number, str(exc))
        except ValidationError as exc:
            notes.skip(number, _first_mistake(exc))
        else:
            for text in (*fixed.notes, *row.notes):
                notes.note(number, text)
            yield number, value


def _first_mistake(exc: ValidationError) -> str:
    first = exc.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _source_id(row: Row, fixed: Repaired) -> str:
    found = row.text(Column.ID)
    if not found:
        found = f"shape-{_shape_id(fixed.geometry)}"
        row.notes.append(f"no id; called {found} after its polygon")
    return found


def _shape_id(geometry: BaseGeometry) -> str:
    return digest([shapely.to_wkb(geometry, hex=True)])[:12]


def _content_hash(row: Row, geometry: BaseGeometry) -> str:
    return digest({"raw": dict(row.raw), "geometry": shapely.to_wkb(geometry, hex=True)})


def _word(row: Row, column: Column, words: type[Words]) -> Words | None:
    text = row.text(column).lower()
    if text in {word.value for word in words}:
        return words(text)
    if text:
        known = ", ".join(word.value for word in words)
        row.notes.append(f"{column.value} {text[:40]!r} is not one of {known}; left at the default")
    return None


def _targets(row: Row) -> tuple[Target, ...]:
    known = {target.value: target for target in Target}
    texts = row.texts(Column.TARGETS)
    if unknown := [text for text in texts if text not in known]:
        row.notes.append(f"targets {', '.join(unknown)[:60]!r} are not known; use {', '.join(known)}")
    return tuple(known[text] for text in texts if text in known) or tuple(Target)


def slug(text: str) -> str:
    """A name that is safe in file names: ``Mina São João`` -> ``mina-sao-joao``; may be empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")[:63].strip("-_")


def _numbered(wanted: str) -> Iterator[str]:
    yield wanted
    number = 2
    while True:
        yield f"{wanted[:58]}-{number}"
        number += 1
