"""Register mappings: which column of a register means what, and its words, dates and numbers. Pure.

``configs/registers/*.yml`` are values of ``Register``; ``--map FILE`` gives another.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Literal

from registry.models import Holder, PermitStatus, Slug, ZoneKind
from registry.values import Value

HECTARES_PER = {"ha": 1.0, "km2": 100.0, "m2": 1e-4, "acre": 0.404_685_642_24}
"""Hectares per unit of a declared area."""

UNIT_NAMES = {
    "ha": "ha", "hectare": "ha", "hectares": "ha", "hectarea": "ha", "hectareas": "ha",
    "km2": "km2", "sqkm": "km2", "squarekilometers": "km2", "squarekilometres": "km2",
    "m2": "m2", "sqm": "m2", "squaremeters": "m2", "squaremetres": "m2",
    "acre": "acre", "acres": "acre", "ac": "acre",
}  # fmt: skip
"""How registers spell the units."""

PLACEHOLDER_YEARS = (1900, 2900)
"""Dates before and after stand for "no date" in registers (1899-12-30, 9999-12-31)."""


class Column(StrEnum):
    """What a column can mean."""

    ID = "id"
    NAME = "name"
    HOLDERS = "holders"
    STATUS = "status"
    STAGE = "stage"
    COMMODITIES = "commodities"
    ACTIVITIES = "activities"
    APPLIED = "applied"
    GRANTED = "granted"
    VALID_FROM = "valid_from"
    VALID_TO = "valid_to"
    AREA = "area"
    AREA_UNIT = "area_unit"
    KIND = "kind"
    BUFFER_M = "buffer_m"
    TARGETS = "targets"
    TAGS = "tags"


class Register(Value):
    """How one register turns into permits, zones or areas."""

    source: Slug
    """Name of the register; with a row's own id it makes the permit's or zone's id."""
    title: str = ""
    """What people call it."""
    columns: Mapping[Column, tuple[str, ...]]
    """Column names by meaning, best first; case, accents, spaces and underscores do not matter."""
    required: tuple[Column, ...] = ()
    """Columns without which the file is not of this register."""
    decimal: Literal[".", ",", "either"] = "either"
    """Decimal mark of numbers written as text; either = the last mark in the number."""
    dates: tuple[str, ...] = ("iso", "epoch_ms")
    """Date formats, first that fits: iso, epoch_ms (milliseconds since 1970), or as in strptime."""
    area_unit: Literal["ha", "km2", "m2", "acre"] = "ha"
    """Unit of declared areas where no column names it."""
    statuses: Mapping[PermitStatus, tuple[str, ...]] = {}
    """The register's words for each status."""
    status_default: PermitStatus = PermitStatus.UNKNOWN
    """Status where the register has no column for it."""
    activities: Mapping[str, tuple[str, ...]] = {}
    """Activities that a status or stage allows, where the register has no column for them."""
    kinds: Mapping[ZoneKind, tuple[str, ...]] = {}
    """What a word in the kind column begins with, for each kind of zone."""
    leave_out: Mapping[str, tuple[str, ...]] = {}
    """Rows that are reported and not imported: values by column name."""


@dataclass(frozen=True)
class Row:
    """One row of a file, read by way of its register."""

    register: Register
    raw: Mapping[str, Any]
    """Attributes as they came, made fit for JSON."""
    columns: Mapping[Column, str]
    """Which column of the file holds what."""
    notes: list[str]
    """What could not be understood; filled as values are read."""

    def text(self, column: Column) -> str:
        """The value as text without blanks around it; empty where there is none."""
        value = self.raw.get(self.columns.get(column, ""))
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        text = "" if value is None else str(value).strip()
        return "" if text.lower() in _NOTHING else text

    def texts(self, column: Column) -> tuple[str, ...]:
        """A list written in one cell: separated by ; , | or line breaks, or a JSON list."""
        value = self.raw.get(self.columns.get(column, ""))
        if isinstance(value, list):
            return tuple(str(one).strip() for one in value if str(one).strip())
        return tuple(part.strip() for part in re.split(r"[;,|\n]", self.text(column)) if part.strip())

    def day(self, column: Column) -> date | None:
        """A date; None, with a note, where it cannot be read or is a register's stand-in for none."""
        text = self.text(column)
        if not text:
            return None
        found = next((day for form in self.register.dates if (day := _day(text, form))), None)
        if found is None:
            self.notes.append(
                f"{column.value} {text[:40]!r} is not a date that is understood; taken as unknown"
            )
        elif not PLACEHOLDER_YEARS[0] < found.year < PLACEHOLDER_YEARS[1]:
            self.notes.append(f"{column.value} {text[:40]!r} stands for no date; taken as unknown")
            return None
        return found

    def number(self, column: Column) -> float | None:
        """A number, also one written as text; None, with a note, where it cannot be read."""
        text = self.text(column)
        if not text:
            return None
        found = parse_number(text, self.register.decimal)
        if found is None:
            self.notes.append(f"{column.value} {text[:40]!r} is not a number; taken as unknown")
        return found

    def declared_ha(self) -> float | None:
        """The register's own area in hectares."""
        number = self.number(Column.AREA)
        unit = UNIT_NAMES.get(plain_name(self.text(Column.AREA_UNIT)), self.register.area_unit)
        return number * HECTARES_PER[unit] if number is not None and number > 0 else None

    def holders(self) -> tuple[Holder, ...]:
        """Holders with their shares."""
        return parse_holders(self.text(Column.HOLDERS))

    def status(self) -> PermitStatus:
        """The status in groundwatch's words."""
        if Column.STATUS not in self.columns:
            return self.register.status_default
        text = self.text(Column.STATUS)
        for status, words in self.register.statuses.items():
            if plain_name(text) in {plain_name(word) for word in words}:
                return status
        if text:
            self.notes.append(f"status {text[:40]!r} is not in the mapping; taken as unknown")
        return PermitStatus.UNKNOWN

    def activities(self) -> tuple[str, ...]:
        """Activities allowed: the column's, else those of the status or stage."""
        found = self.texts(Column.ACTIVITIES)
        if found:
            return found
        words = {plain_name(self.text(Column.STATUS)), plain_name(self.text(Column.STAGE))}
        for word, allowed in self.register.activities.items():
            if plain_name(word) in words:
                return allowed
        return ()

    def zone_kind(self) -> ZoneKind | None:
        """The kind of zone, where the row says."""
        found = [plain_name(word) for word in self.text(Column.KIND).split()]
        for kind, words in self.register.kinds.items():
            if any(one.startswith(plain_name(word)) for word in words for one in found):
                return kind
        return None

    def left_out(self) -> str:
        """Why the mapping leaves this row out; empty where it does not."""
        names = {plain_name(name): name for name in self.raw}
        for column, values in self.register.leave_out.items():
            value = self.raw.get(names.get(plain_name(column), ""))
            if value is not None and plain_name(str(value)) in {plain_name(one) for one in values}:
                return f"{column} is {value!r}; the mapping of {self.register.source} leaves those out"
        return ""


_NOTHING = frozenset({"", "none", "null", "nan", "nat", "n/a", "-", "<null>"})


def match_columns(register: Register, present: Sequence[str]) -> dict[Column, str]:
    """Which of the file's columns hold what; a Shapefile's names may be cut off after 10 characters."""
    names = {plain_name(name): name for name in reversed(present)}
    cut = {plain_name(name): name for name in reversed(present) if len(name) == 10}
    found = {}
    for column, wanted in register.columns.items():
        for name in map(plain_name, wanted):
            match = names.get(name) or next(
                (one for short, one in cut.items() if name.startswith(short)), None
            )
            if match is not None:
                found[column] = match
                break
    return found


def plain_name(text: str) -> str:
    """Lower case without accents, blanks and punctuation, for comparing names and words."""
    bare = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in bare if letter.isalnum())


def parse_number(text: str, decimal: str = "either") -> float | None:
    """``1.234,56``, ``1,234.56``, ``1 234`` and ``12.5``; None where it is no finite number."""
    bare = re.sub(r"[\s'\u00a0\u202f]", "", text)
    if decimal == "either":
        decimal = _decimal_mark(bare)
    thousands = "." if decimal == "," else ","
    bare = bare.replace(thousands, "").replace(decimal, ".")
    try:
        found = float(bare)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _decimal_mark(text: str) -> str:
    marks = [mark for mark in ".," if mark in text]
    if len(marks) == 2:
        return "," if text.rindex(",") > text.rindex(".") else "."
    if not marks:
        return "."
    grouped = re.fullmatch(r"[-+]?[1-9]\d{0,2}(?:[.,]\d{3})+", text) is not None
    # 1,234 and 1.234.567 are thousands; a lone point before three digits is how programs write 1.234.
    if grouped and (marks == [","] or text.count(".") > 1):
        return "." if marks == [","] else ","
    return marks[0]


def parse_holders(text: str) -> tuple[Holder, ...]:
    """``X Ltd (60%); Y Inc [40 %]`` to holders with shares; a name alone has no share."""
    return tuple(_holders(text))


_SHARE = re.compile(r"[\(\[]\s*(\d+(?:[.,]\d+)?)\s*%\s*[\)\]]")


def _holders(text: str) -> Iterator[Holder]:
    for part in re.split(r"[;|\n]|(?<=[\)\]])\s*,", text):
        share = _SHARE.search(part)
        name = _SHARE.sub("", part).strip(" ,")
        if name:
            fraction = round(float(share[1].replace(",", ".")) / 100.0, 6) if share else None
            yield Holder(name=name, share=fraction if fraction is None or fraction <= 1.0 else None)


def _day(text: str, form: str) -> date | None:
    try:
        if form == "iso":
            return date.fromisoformat(text[:10].replace("/", "-"))
        if form == "epoch_ms":
            milliseconds = float(text)
            return (
                datetime.fromtimestamp(milliseconds / 1000.0, UTC).date()
                if abs(milliseconds) >= 1e9
                else None
            )
        return datetime.strptime(text, form).date()
    except (ValueError, OverflowError, OSError):
        return None


MAX_NESTED = 50
"""Deepest nesting of an attribute that is kept; pydantic reads JSON back to some 190 levels in all."""


def json_ready(value: Any, depth: int = 0) -> Any:
    """An attribute as JSON can hold it: no NaN, no timestamps, nested values kept down to MAX_NESTED."""
    if depth > MAX_NESTED:
        return None
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): json_ready(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(one, depth + 1) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return json_ready(value.tolist(), depth + 1)
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    # Files hold days; readers make moments of them.
    return None if text == "NaT" else text.removesuffix("T00:00:00")
