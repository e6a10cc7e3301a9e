"""Which chips teach and which test: by place or by time, never by random tile. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from detector.training.cache import Entry
from registry.errors import InputError

DAY_LENGTH = 10
"""Characters of an ISO day."""


@dataclass(frozen=True)
class Split:
    """Numbers of entries on each side."""

    train: tuple[int, ...]
    validate: tuple[int, ...]
    test: tuple[int, ...] = ()


def place_share(place: str, *, salt: str = "split") -> float:
    """Where a place stands between 0 and 1: the same on every machine and in every run."""
    number = int.from_bytes(hashlib.sha256(f"{salt}:{place}".encode()).digest()[:8], "big")
    return number / 2.0**64


def by_place(entries: Sequence[Entry], *, validate: float = 0.15, test: float = 0.15) -> Split:
    """Shares of the places, whatever else there is: a place is on one side only.

    Adding chips never moves a place to another side. Raises InputError where a side would be empty.
    """
    places = sorted({entry.place for entry in entries}, key=place_share)
    sides = {
        place: "test" if share < test else "validate" if share < test + validate else "train"
        for place, share in ((place, place_share(place)) for place in places)
    }
    # Few places: the hash may leave a side empty; then the places nearest to it are taken.
    for side, wanted in (("test", test), ("validate", validate)):
        if wanted > 0.0 and side not in sides.values() and len(places) >= 3:
            sides[next(place for place in places if sides[place] == "train")] = side
    numbers = {
        side: tuple(number for number, entry in enumerate(entries) if sides[entry.place] == side)
        for side in ("train", "validate", "test")
    }
    if not numbers["train"] or (validate > 0.0 and not numbers["validate"]):
        raise InputError(
            f"{len(places)} places are too few to split by place; label chips of at least 3 places, "
            "or split by time with --validate-from DATE"
        )
    return Split(train=numbers["train"], validate=numbers["validate"], test=numbers["test"])


def by_time(entries: Sequence[Entry], *, validate_from: str, test_from: str = "9999-12-31") -> Split:
    """Days before ``validate_from`` teach, later ones validate, and from ``test_from`` on they test.

    A place on both sides is at another time there: the question is whether what was learnt lasts.
    Raises InputError for an entry without a day.
    """
    undated = [entry.name for entry in entries if not entry.acquired]
    if undated:
        raise InputError(f"chip {undated[0]} has no date; give all chips one, or split by place")
    sides: dict[str, list[int]] = {"train": [], "validate": [], "test": []}
    for number, entry in enumerate(entries):
        day = entry.acquired[:DAY_LENGTH]
        side = "train" if day < validate_from else "validate" if day < test_from else "test"
        sides[side].append(number)
    if not sides["train"] or not sides["validate"]:
        raise InputError(
            f"no chips on one side of {validate_from}; give a day between "
            f"{min(entry.acquired for entry in entries)} and {max(entry.acquired for entry in entries)}"
        )
    return Split(*(tuple(sides[side]) for side in ("train", "validate", "test")))
