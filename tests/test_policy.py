"""Who is told of what: one test per line of the table in alerts/policy.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from alerts.policy import decide, targets_of
from registry.models import (
    Components,
    ComponentShare,
    Incident,
    IncidentKind,
    IncidentStatus,
    Notice,
    NoticeKind,
    Review,
    VerdictCase,
)
from registry.setting_models import RouteSettings
from registry.settings import AlertSettings
from registry.stored import StoredIncident
from tests.alert_world import AREA, NOW, grown, incident, notice, verdict

FIRST = incident()


def stored(one: Incident = FIRST, **facts: Any) -> StoredIncident:
    return StoredIncident.model_validate({"incident": one, "thread": "t", "updated": NOW} | facts)


def kinds(*incidents: StoredIncident, last: Notice | None = None) -> Sequence[NoticeKind]:
    told = {"t": last} if last else {}
    return [one.kind for one in decide(incidents, told, area=AREA, now=NOW)]


def with_status(status: IncidentStatus) -> Incident:
    return FIRST.model_copy(update={"status": status, "revision": 2})


def with_case(case: VerdictCase, one: Incident = FIRST) -> Incident:
    return one.model_copy(update={"verdict": verdict(case)})


CLEARED = with_status(IncidentStatus.CLEARED)


def test_confirmed_is_told_once() -> None:
    found = decide([stored()], {}, area=AREA, now=NOW)
    assert [one.kind for one in found] == [NoticeKind.CONFIRMED]
    assert (found[0].area_name, found[0].created, found[0].previous_hectares) == (AREA.name, NOW, None)
    assert decide([stored()], {"t": found[0]}, area=AREA, now=NOW) == ()


@pytest.mark.parametrize("status", sorted(set(IncidentStatus) - {IncidentStatus.CONFIRMED}))
def test_nothing_else_opens_a_thread(status: IncidentStatus) -> None:
    assert kinds(stored(with_status(status))) == []


def test_gone_before_anybody_was_told_is_silent() -> None:
    assert kinds(stored(gone=True)) == []


def test_provisional_never_notifies_even_after_confirmation() -> None:
    assert kinds(stored(with_status(IncidentStatus.PROVISIONAL)), last=notice()) == []


def test_growth_is_told_with_what_people_knew() -> None:
    found = decide([stored(grown(FIRST))], {"t": notice()}, area=AREA, now=NOW)
    assert [(one.kind, one.previous_hectares) for one in found] == [(NoticeKind.GROWN, 2.34)]


def test_larger_without_a_new_revision_is_no_news() -> None:
    assert kinds(stored(FIRST.model_copy(update={"hectares": 2.36})), last=notice()) == []


def test_a_new_revision_that_is_not_larger_is_no_growth() -> None:
    assert kinds(stored(FIRST.model_copy(update={"revision": 2})), last=notice()) == []


def test_another_verdict_is_a_correction() -> None:
    assert kinds(stored(with_case(VerdictCase.EXPIRED)), last=notice()) == [NoticeKind.CORRECTED]


def test_growth_with_another_verdict_is_one_notice() -> None:
    larger = with_case(VerdictCase.PROTECTED_ZONE, grown(FIRST))
    assert kinds(stored(larger), last=notice()) == [NoticeKind.GROWN]


@pytest.mark.parametrize(
    "now",
    [
        stored(gone=True),
        stored(CLEARED),
        stored(with_status(IncidentStatus.CLEARED), gone=True),
    ],
)
def test_gone_or_cleared_is_withdrawn_once(now: StoredIncident) -> None:
    assert kinds(now, last=notice()) == [NoticeKind.WITHDRAWN]
    assert kinds(now, last=notice(NoticeKind.WITHDRAWN)) == []


def test_reclaimed_is_told_once() -> None:
    now = stored(with_status(IncidentStatus.RECLAIMED))
    assert kinds(now, last=notice()) == [NoticeKind.RECLAIMED]
    assert kinds(now, last=notice(NoticeKind.RECLAIMED)) == []


@pytest.mark.parametrize("ending", [NoticeKind.WITHDRAWN, NoticeKind.RECLAIMED])
def test_confirmed_again_after_the_end_is_told_under_an_id_of_its_own(ending: NoticeKind) -> None:
    first = decide([stored()], {}, area=AREA, now=NOW)[0]
    again = decide([stored()], {"t": notice(ending)}, area=AREA, now=NOW)[0]
    assert again.kind is NoticeKind.CONFIRMED
    assert again.id != first.id


def test_a_verdict_that_turns_back_is_told_each_time() -> None:
    last, ids = notice(), []
    for case in (VerdictCase.INSIDE, VerdictCase.OUTSIDE, VerdictCase.INSIDE):
        (last,) = decide([stored(with_case(case))], {"t": last}, area=AREA, now=NOW)
        assert last.kind is NoticeKind.CORRECTED
        ids.append(last.id)
    assert len(set(ids)) == 3


def test_the_same_step_has_the_same_id() -> None:
    one, other = (decide([stored()], {}, area=AREA, now=NOW + timedelta(days=n))[0] for n in (0, 9))
    assert one.id == other.id


def test_dismissed_is_silent_unless_it_grows() -> None:
    dismissed: dict[str, Any] = {"review": Review.DISMISSED}
    assert kinds(stored(FIRST, **dismissed)) == []
    assert kinds(stored(with_case(VerdictCase.EXPIRED), **dismissed), last=notice()) == []
    assert kinds(stored(gone=True, **dismissed), last=notice()) == []
    assert kinds(stored(grown(FIRST), **dismissed), last=notice()) == [NoticeKind.GROWN]


def test_renamed_by_a_refold_is_not_withdrawn() -> None:
    new = incident("renamed")
    old = stored(gone=True, successor=new.id)
    assert kinds(old, stored(new), last=notice()) == []


def test_merged_into_another_is_withdrawn_only_when_that_falls() -> None:
    heir = incident("heir")
    old = stored(gone=True, successor=heir.id)
    assert kinds(old, stored(heir, thread="u"), last=notice()) == [NoticeKind.CONFIRMED]
    assert kinds(old, stored(heir, thread="u", gone=True), last=notice()) == [NoticeKind.WITHDRAWN]
    circle = stored(heir, thread="u", gone=True, successor=FIRST.id)
    assert kinds(old, circle, last=notice()) == [NoticeKind.WITHDRAWN]


def rules(*routes: RouteSettings) -> AlertSettings:
    return AlertSettings(targets={"all": SecretStr("a://"), "police": SecretStr("b://")}, routes=routes)


def test_without_routes_every_target_hears() -> None:
    assert targets_of(notice(), AREA, rules(), told_before=()) == ("all", "police")


@pytest.mark.parametrize(
    ("route", "fits"),
    [
        ({}, True),
        ({"kinds": ["grown"]}, False),
        ({"changes": [IncidentKind.EXCAVATION]}, True),
        ({"changes": [IncidentKind.FOREST_LOSS]}, False),
        ({"cases": ["outside"]}, True),
        ({"cases": ["inside_valid", "inside_expired"]}, False),
        ({"areas": ["serra-verde"]}, True),
        ({"areas": ["elsewhere"]}, False),
        ({"tags": ["gold", "iron"]}, True),
        ({"tags": ["iron"]}, False),
        ({"min_hectares": 2.34}, True),
        ({"min_hectares": 2.35}, False),
        ({"suspects_only": True}, True),
        ({"suspects_only": True, "areas": ["elsewhere"]}, False),
    ],
)
def test_route_matching(route: dict[str, object], fits: bool) -> None:
    chosen = RouteSettings.model_validate({"targets": ["police"]} | route)
    assert targets_of(notice(), AREA, rules(chosen), told_before=()) == (("police",) if fits else ())


def components(shares: dict[str, float]) -> Components:
    named = tuple(ComponentShare(component=name, share=share) for name, share in shares.items())
    return Components(model="mining-rgbnir", looks=3, newest=FIRST.last_seen, shares=named)


@pytest.mark.parametrize(
    ("shares", "fits"),
    [
        ({"excavation": 0.6, "settling_pond": 0.2}, True),
        ({"excavation": 0.9}, False),
        ({}, False),
        (None, True),
    ],
)
def test_a_route_for_components_keeps_nothing_back_that_no_model_saw(
    shares: dict[str, float] | None, fits: bool
) -> None:
    one = FIRST.model_copy(update={"components": None if shares is None else components(shares)})
    ponds = RouteSettings.model_validate({"targets": ["police"], "components": ["settling_pond", "dam"]})
    assert targets_of(notice(one=one), AREA, rules(ponds), told_before=()) == (("police",) if fits else ())


def test_a_route_names_parts_of_a_mine() -> None:
    with pytest.raises(ValidationError, match="forest is no part of a mine; name some of preparatory_works"):
        RouteSettings.model_validate({"targets": ["police"], "components": ["forest"]})


@pytest.mark.parametrize("one", [with_case(VerdictCase.INSIDE), FIRST.model_copy(update={"verdict": None})])
def test_suspects_only_leaves_out_the_rest(one: Incident) -> None:
    suspects = RouteSettings(targets=("police",), suspects_only=True)
    assert targets_of(notice(one=one), AREA, rules(suspects), told_before=()) == ()


def test_whoever_heard_the_beginning_hears_the_correction() -> None:
    nowhere = RouteSettings(targets=("all",), areas=("elsewhere",))
    correction = notice(NoticeKind.CORRECTED)
    assert targets_of(correction, AREA, rules(nowhere), told_before={"police"}) == ("police",)


def test_an_ending_goes_to_nobody_new_and_to_no_removed_target() -> None:
    ending = notice(NoticeKind.WITHDRAWN)
    assert targets_of(ending, AREA, rules(), told_before={"police", "removed"}) == ("police",)
