"""What an import has to say: rows imported, and a note for each row that is not as it should be."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Level(StrEnum):
    """What became of a row."""

    NOTE = "note"
    """Imported; a person should know this of it."""
    SKIPPED = "skipped"
    """Not imported."""


@dataclass(frozen=True)
class RowNote:
    """What a person should know of one row."""

    row: int
    """1 = first row of the file; 0 = the file as a whole."""
    level: Level
    message: str
    """One line."""

    def __str__(self) -> str:
        place = f"row {self.row}" if self.row else "file"
        return f"{place}: {self.level.value}: {self.message}"


@dataclass(frozen=True)
class ImportReport(Generic[Made]):
    """What a file gave: rows imported, and what there is to say of rows."""

    rows: tuple[Made, ...]
    problems: tuple[RowNote, ...]
    """In the order of the file."""
    read: int
    """Rows in the file; each is in ``rows``, joined to one of them, or SKIPPED in ``problems``."""


@dataclass
class Notes:
    """Collects notes as they come up."""

    found: list[RowNote] = field(default_factory=list)

    def note(self, row: int, message: str) -> None:
        """The row is imported."""
        self.found.append(RowNote(row, Level.NOTE, message))

    def skip(self, row: int, message: str) -> None:
        """The row is not imported."""
        self.found.append(RowNote(row, Level.SKIPPED, message))

    def in_order(self) -> tuple[RowNote, ...]:
        """Row by row, what concerns the whole file first."""
        return tuple(sorted(self.found, key=lambda note: note.row))
