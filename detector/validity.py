"""How one permit stands on a date, for one kind of change. Pure.

- **Dates decide before status**: a permit that expired after the date was valid on it. Where the register
  calls a permit expired although its last day lies after the date, and its release is no younger than that
  last day, the permit was ended early on a day nobody tells: validity unknown.
- **valid_to null is unknown**, never for ever; such a permit is ``inside_unknown_validity``. A permit that
  is called granted and has a last day is valid until then, also where its first day is not known.
- **Activities** are compared by word stems. Forest loss is covered by clearing and by any right to dig,
  because a pit cannot be opened under standing trees; a permit for exploration or dumping alone covers
  neither. Where the register uses words that are not known here, nobody is accused: validity unknown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import date

from registry.models import IncidentKind, Permit, PermitStatus, VerdictCase

DIGGING = (
    "excav",
    "extrac",
    "extrat",
    "extracao",
    "exploit",
    "explot",
    "min",
    "pit",
    "quarr",
    "dig",
    "dredg",
    "opencast",
    "lavra",
    "slope",
    "overburden",
    "abbau",
)
"""Word stems of activities that move earth; ``min`` covers mine, mining, mineral, minería."""

CLEARING = (
    "clear",
    "deforest",
    "desmat",
    "desmont",
    "vegetat",
    "preparat",
    "logging",
    "felling",
    "timber",
    "forest",
)
"""Word stems of activities that take trees down."""

OTHER = (
    "explor",
    "prospec",
    "research",
    "pesquisa",
    "survey",
    "dump",
    "stockpil",
    "pond",
    "tailing",
    "dam",
    "water",
    "road",
    "access",
    "infrastruct",
    "process",
    "storag",
    "transport",
    "camp",
)
"""Word stems of activities that are known and cover neither."""


def permit_case(permit: Permit, kind: IncidentKind, on: date) -> VerdictCase:
    """How land inside ``permit`` stands on a date."""
    begins = permit.valid_from or permit.granted
    if permit.status is PermitStatus.PENDING:
        return VerdictCase.NOT_GRANTED
    if begins is not None and on < begins:
        return VerdictCase.NOT_YET_VALID
    if permit.valid_to is not None and permit.valid_to < on:
        return VerdictCase.EXPIRED
    if permit.valid_to is None and permit.status is PermitStatus.EXPIRED:
        return VerdictCase.EXPIRED
    covered = _covers(permit.activities, kind)
    if covered is False:
        return VerdictCase.ACTIVITY_NOT_PERMITTED
    if covered is None or permit.valid_to is None or _status_doubtful(permit):
        return VerdictCase.INSIDE_UNKNOWN_VALIDITY
    return VerdictCase.INSIDE


def _status_doubtful(permit: Permit) -> bool:
    """True where the dates say valid and the status does not say so."""
    if permit.status is PermitStatus.UNKNOWN:
        return permit.valid_from is None and permit.granted is None
    return permit.status is PermitStatus.EXPIRED and not _lapsed_by_release(permit)


def _lapsed_by_release(permit: Permit) -> bool:
    """True where the register's release is younger than the last day: it simply ran out since."""
    try:
        released = date.fromisoformat(permit.release[:10])
    except ValueError:
        return False
    return permit.valid_to is not None and permit.valid_to < released


def _covers(activities: Sequence[str], kind: IncidentKind) -> bool | None:
    """True or False where the register says; None where it says nothing that is understood."""
    if not activities:
        return True
    words = [word for activity in activities for word in _words(activity)]
    allowed = DIGGING if kind is IncidentKind.EXCAVATION else DIGGING + CLEARING
    if any(word.startswith(allowed) for word in words):
        return True
    known = all(any(word.startswith(CLEARING + OTHER) for word in _words(one)) for one in activities)
    return False if known else None


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return re.findall(r"[a-z]+", plain)
