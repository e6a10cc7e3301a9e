"""Which new incident continues the thread of one that vanished."""

from __future__ import annotations

import pytest

from registry.models import Incident, IncidentKind
from registry.threads import overlap, successors
from tests.storage_samples import make_incident, square


def at(id_: str, west: float, **changes: object) -> Incident:
    """An incident of one degree, ``west`` degrees east of 0."""
    return make_incident(id_, square(west, 0.0, 1.0), **changes)


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(square(0, 0, 1), square(0, 0, 1)) == 1.0
    assert overlap(square(0, 0, 1), square(0.5, 0, 1)) == pytest.approx(1 / 3)
    assert overlap(square(0, 0, 1), square(1, 0, 1)) == 0.0
    assert overlap(square(0, 0, 1), square(5, 0, 1)) == 0.0


def test_the_same_place_continues() -> None:
    assert successors([at("old", 0.0)], [at("new", 0.5)]) == {"old": "new"}


@pytest.mark.parametrize(
    "new",
    [at("new", 0.7), at("new", 5.0), at("new", 0.0, kind=IncidentKind.FOREST_LOSS)],
    ids=["too little overlap", "elsewhere", "another kind"],
)
def test_another_place_or_kind_does_not(new: Incident) -> None:
    assert successors([at("old", 0.0)], [new]) == {}


def test_nothing_vanished_or_appeared() -> None:
    assert successors([], [at("new", 0.0)]) == {}
    assert successors([at("old", 0.0)], []) == {}


def test_best_overlap_first_and_one_to_one() -> None:
    old = [at("a", 0.0), at("b", 0.4)]
    new = [at("x", 0.3), at("y", 0.6)]
    assert successors(old, new) == {"b": "x", "a": "y"}
    assert successors(old[::-1], new[::-1]) == {"b": "x", "a": "y"}
    assert successors(old, new[:1]) == {"b": "x"}


def test_what_absorbed_another_continues_it_however_large() -> None:
    old = make_incident("old", square(0.0, 0.0, 0.1))
    large = square(0.0, 0.0, 1.0)
    assert successors([old], [make_incident("new", large)]) == {}
    assert successors([old], [make_incident("new", large, absorbed=("old",))]) == {"old": "new"}
