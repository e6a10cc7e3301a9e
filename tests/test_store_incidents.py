"""The store's mirror of incidents, their threads and reviews, and what people were told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import InputError, NotFound
from registry.models import (
    DeliveryRecord,
    DeliveryStatus,
    Incident,
    IncidentKind,
    IncidentStatus,
    Notice,
    NoticeKind,
    Review,
)
from registry.store import Store, StoredIncident, open_store
from tests.storage_samples import START, Clock, make_change, make_incident, make_notice, square


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with open_store(tmp_path / "groundwatch.db", now=clock) as store:
        yield store


def at(id_: str, east: float = 0.0, **changes: object) -> Incident:
    """An incident of 0.01 degrees, ``east`` of its own widths to the east."""
    return make_incident(id_, square(25.0 + 0.01 * east), **changes)


def listed(store: Store, **options: bool) -> dict[str, StoredIncident]:
    return {one.incident.id: one for one in store.incidents(**options)}  # type: ignore[arg-type]


# The mirror


def test_the_list_is_mirrored(store: Store) -> None:
    a, b = at("a", first_seen=date(2024, 5, 2)), at("b", 5.0)
    store.mirror(make_change("1", a, b))
    assert [one.incident for one in store.incidents()] == [b, a]
    stored = store.incident("a")
    assert (stored.incident, stored.review, stored.gone, stored.thread) == (a, Review.OPEN, False, "a")
    assert stored.updated == START


def test_incidents_are_found_by_area_and_status(store: Store) -> None:
    provisional = at("a", status=IncidentStatus.PROVISIONAL)
    other = at("c", area_id="wood")
    store.mirror(make_change("1", provisional, at("b", 5.0)))
    store.mirror(make_change("1", other, area="wood"))
    assert [one.incident.id for one in store.incidents("pit")] == ["a", "b"]
    assert [one.incident.id for one in store.incidents(status=IncidentStatus.CONFIRMED)] == ["b", "c"]
    assert [one.incident.id for one in store.incidents("pit", IncidentStatus.PROVISIONAL)] == ["a"]
    assert store.status().incidents == {IncidentStatus.PROVISIONAL: 1, IncidentStatus.CONFIRMED: 2}


def test_what_is_not_listed_any_more_is_gone(store: Store) -> None:
    store.mirror(make_change("1", at("a"), at("b", 5.0)))
    store.mirror(make_change("1", at("c", area_id="wood"), area="wood"))
    store.mirror(make_change("2", at("b", 5.0)))
    assert set(listed(store)) == {"b", "c"}
    gone = listed(store, include_gone=True)["a"]
    assert (gone.gone, gone.successor, gone.incident) == (True, None, at("a"))
    assert store.incident("a").gone
    assert store.status().incidents == {IncidentStatus.CONFIRMED: 2}


def test_only_what_changed_is_updated(store: Store, clock: Clock) -> None:
    store.mirror(make_change("1", at("a"), at("b", 5.0)))
    clock.advance(60.0)
    store.mirror(make_change("2", at("a"), at("b", 5.0, hectares=9.0)))
    assert store.incident("a").updated == START
    assert store.incident("b").updated == START + timedelta(seconds=60)


def test_the_same_change_again_changes_nothing(store: Store, clock: Clock) -> None:
    first, second = make_change("1", at("a")), make_change("2", at("b", 5.0))
    store.mirror(first)
    store.mirror(second)
    before = store.incidents(include_gone=True)
    clock.advance(60.0)
    for change in (second, first):
        store.mirror(change)
        assert store.incidents(include_gone=True) == before


def test_an_older_ledger_is_mirrored_if_it_is_news(store: Store) -> None:
    store.mirror(make_change("1", at("a"), acquired=START))
    store.mirror(make_change("2", at("b", 5.0), acquired=START - timedelta(days=9)))
    assert set(listed(store)) == {"b"}


def test_what_comes_back_keeps_its_thread(store: Store) -> None:
    store.mirror(make_change("1", at("a")))
    store.mirror(make_change("2"))
    store.mirror(make_change("3", at("a")))
    stored = store.incident("a")
    assert (stored.gone, stored.thread, stored.successor) == (False, "a", None)


# Threads


def test_a_renamed_incident_keeps_its_thread_and_review(store: Store) -> None:
    store.mirror(make_change("1", at("a")))
    store.set_review("a", Review.DISMISSED, "permitted", "ana")
    store.mirror(make_change("2", at("b", 0.3)))
    old, new = store.incident("a"), store.incident("b")
    assert (old.gone, old.successor) == (True, "b")
    assert (new.thread, new.review, new.review_by) == ("a", Review.DISMISSED, "ana")
    store.mirror(make_change("3", at("c", 0.4)))
    assert store.incident("c").thread == "a"


@pytest.mark.parametrize(
    "new", [at("b", 0.7), at("b", kind=IncidentKind.FOREST_LOSS)], ids=["elsewhere", "another kind"]
)
def test_another_place_or_kind_is_another_thread(store: Store, new: Incident) -> None:
    store.mirror(make_change("1", at("a")))
    store.mirror(make_change("2", new))
    assert store.incident("b").thread == "b"
    assert store.incident("a").successor is None


def test_an_incident_beside_one_that_stays_is_another_thread(store: Store) -> None:
    store.mirror(make_change("1", at("a")))
    store.mirror(make_change("2", at("a"), at("b", 0.1)))
    assert store.incident("b").thread == "b"


def test_renamed_and_named_back(store: Store) -> None:
    for ledger, name in enumerate("abab"):
        store.mirror(make_change(str(ledger), at(name)))
        assert store.incident(name).thread == "a"
        assert set(listed(store)) == {name}


def test_two_never_share_a_thread(store: Store) -> None:
    store.mirror(make_change("1", at("a")))
    store.mirror(make_change("2", at("b")))
    store.mirror(make_change("3", at("a", 0.3), at("b")))
    threads = {one.thread for one in store.incidents()}
    assert store.incident("b").thread == "a"
    assert len(threads) == 2


def test_what_grew_into_another_has_a_successor(store: Store) -> None:
    store.mirror(make_change("1", at("a"), at("b", 5.0)))
    whole = make_incident("a", square(24.99, 44.99, 0.2), absorbed=("b",))
    store.mirror(make_change("2", whole))
    assert store.incident("b").successor == "a"
    assert store.incident("a").thread == "a"


PLACES = st.sampled_from([0.0, 0.3, 0.6, 3.0, 3.3])
LISTS = st.lists(st.dictionaries(st.sampled_from("abcd"), PLACES, max_size=4), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(LISTS)
def test_any_sequence_of_lists_is_mirrored_with_one_thread_each(lists: list[dict[str, float]]) -> None:
    with open_store(":memory:", now=Clock()) as store:
        for ledger, places in enumerate(lists):
            incidents = [at(id_, east) for id_, east in places.items()]
            before = listed(store)
            store.mirror(make_change(str(ledger), *incidents))
            after = listed(store)
            assert {id_: one.incident for id_, one in after.items()} == {one.id: one for one in incidents}
            threads = [one.thread for one in after.values()]
            assert len(threads) == len(set(threads))
            for id_ in before.keys() & after.keys():
                assert after[id_].thread == before[id_].thread
            for id_, stored in listed(store, include_gone=True).items():
                if stored.gone and id_ in before and stored.successor is not None:
                    assert after[stored.successor].thread == stored.thread


# Reviews and names


def test_reviews_are_kept_and_the_last_counts(store: Store) -> None:
    store.mirror(make_change("1", at("a")))
    store.set_review("a", Review.ACKNOWLEDGED, "", "ana")
    stored = store.set_review("a", Review.DISMISSED, "agriculture", "ben")
    assert (stored.review, stored.review_reason, stored.review_by) == (
        Review.DISMISSED,
        "agriculture",
        "ben",
    )
    store.mirror(make_change("2", at("a", hectares=7.0)))
    stored = store.incident("a")
    assert (stored.review, stored.incident.hectares) == (Review.DISMISSED, 7.0)


def test_an_incident_is_found_by_the_beginning_of_its_id(store: Store) -> None:
    store.mirror(make_change("1", at("abc1"), at("abc2", 3.0), at("abc", 6.0), at("x%y", 9.0)))
    assert store.incident("abc1").incident.id == "abc1"
    assert store.incident("abc").incident.id == "abc"
    assert store.incident("x").incident.id == "x%y"
    for prefix in ("ab", ""):
        with pytest.raises(InputError, match="or others"):
            store.incident(prefix)
    for prefix in ("%", "abc12", "ABC1"):
        with pytest.raises(NotFound, match=prefix):
            store.incident(prefix)
    with pytest.raises(NotFound):
        store.set_review("zzz", Review.CONFIRMED, "", "ana")


# Notices and deliveries


def test_a_notice_is_recorded_once(store: Store) -> None:
    store.mirror(make_change("1", at("a")))
    notice = make_notice(at("a"))
    assert store.add_notices([notice], ["mail", "slack"]) == 1
    assert store.add_notices([notice], ["mail", "slack", "late"]) == 0
    assert store.notice(notice.id) == notice
    assert store.notices("a") == store.notices() == (notice,)
    assert [one.target for one in store.deliveries(notice.id)] == ["mail", "slack"]
    with pytest.raises(NotFound, match="unknown"):
        store.notice("unknown")


def test_targets_may_differ_by_notice(store: Store) -> None:
    a, b, c = make_notice(at("a")), make_notice(at("b")), make_notice(at("c"))
    assert store.add_notices([a, b, c], {a.id: ("mail",), b.id: ("slack", "mail")}) == 3
    assert [one.target for one in store.deliveries(b.id)] == ["mail", "slack"]
    assert store.deliveries(c.id) == ()
    assert store.status().pending_deliveries == 3


def test_told_is_the_latest_of_each_thread(store: Store) -> None:
    store.mirror(make_change("1", at("a"), at("b", 5.0)))
    store.mirror(make_change("1", at("w", area_id="wood"), area="wood"))
    first, other = make_notice(at("a")), make_notice(at("b", 5.0))
    elsewhere = make_notice(at("w", area_id="wood"))
    store.add_notices([first, other, elsewhere], [])
    store.mirror(make_change("2", at("renamed", 0.1, revision=2), at("b", 5.0)))
    grown = make_notice(at("renamed", 0.1, revision=2), NoticeKind.GROWN)
    store.add_notices([grown], [])
    assert store.told("pit") == {"a": grown, "b": other}
    assert store.notices("renamed") == store.notices("a") == (first, grown)


def test_deliveries_are_due_until_they_are_settled(store: Store) -> None:
    notice = make_notice(at("a"))
    store.add_notices([notice], ["mail", "slack"])
    mail, slack = store.due_deliveries(START)
    assert (mail.target, mail.status, mail.attempts) == ("mail", DeliveryStatus.PENDING, 0)
    store.record_delivery(delivered(mail))
    later = START + timedelta(minutes=5)
    store.record_delivery(slack.model_copy(update={"attempts": 1, "error": "429", "not_before": later}))
    assert store.due_deliveries(START) == ()
    (due,) = store.due_deliveries(later)
    assert (due.target, due.attempts, due.error) == ("slack", 1, "429")
    store.record_delivery(due.model_copy(update={"status": DeliveryStatus.FAILED}))
    assert store.due_deliveries(later) == ()
    assert [one.target for one in store.failed_deliveries()] == ["slack"]
    assert (store.status().pending_deliveries, store.status().failed_deliveries) == (0, 1)


def delivered(record: DeliveryRecord) -> DeliveryRecord:
    settled = {"status": DeliveryStatus.DELIVERED, "attempts": record.attempts + 1, "delivered": START}
    return record.model_copy(update=settled)


def test_what_was_delivered_stays_delivered(store: Store) -> None:
    store.add_notices([make_notice(at("a"))], ["mail"])
    (record,) = store.due_deliveries(START)
    store.record_delivery(delivered(record))
    store.record_delivery(record.model_copy(update={"status": DeliveryStatus.FAILED, "error": "late"}))
    assert store.deliveries() == (delivered(record),)
    with pytest.raises(NotFound, match="pigeon"):
        store.record_delivery(record.model_copy(update={"target": "pigeon"}))


def test_a_delivery_is_claimed_by_one(store: Store) -> None:
    store.add_notices([make_notice(at("a"))], ["mail"])
    (record,) = store.due_deliveries(START)
    until = START + timedelta(minutes=1)
    assert store.claim_delivery(record, until=until)
    assert not store.claim_delivery(record, until=until)
    assert store.due_deliveries(START) == ()
    (again,) = store.due_deliveries(until)
    assert again.attempts == 1
    store.record_delivery(delivered(again))
    assert not store.claim_delivery(again, until=until)


def test_failed_deliveries_are_revived(store: Store) -> None:
    store.add_notices([make_notice(at("a"))], ["mail"])
    (record,) = store.due_deliveries(START)
    with pytest.raises(NotFound, match="no failed"):
        store.revive_delivery(record)
    store.record_delivery(record.model_copy(update={"status": DeliveryStatus.FAILED, "attempts": 9}))
    store.revive_delivery(record)
    (due,) = store.due_deliveries(START)
    assert due.attempts == 0


def test_a_thread_is_told_in_order(store: Store) -> None:
    store.mirror(make_change("1", at("a"), at("b", 5.0)))
    first, second = make_notice(at("a")), make_notice(at("a", revision=2), NoticeKind.GROWN)
    other = make_notice(at("b", 5.0))
    store.add_notices([first, second, other], ["mail", "slack"])
    due = store.due_deliveries(START)
    assert [one.notice_id for one in due] == [first.id, first.id, second.id, second.id, other.id, other.id]
    later = START + timedelta(minutes=5)
    store.record_delivery(due[0].model_copy(update={"attempts": 1, "not_before": later}))
    assert [(one.notice_id, one.target) for one in store.due_deliveries(START)] == [
        (first.id, "slack"),
        (second.id, "slack"),
        (other.id, "mail"),
        (other.id, "slack"),
    ]
    assert len(store.due_deliveries(later)) == 6


@settings(max_examples=40, deadline=None)
@given(
    hectares=st.floats(0.0, 1e9),
    probability=st.floats(0.0, 1.0),
    anchor=st.tuples(st.floats(-180, 180), st.floats(-90, 90)),
    status=st.sampled_from(IncidentStatus),
    error=st.text(st.characters(codec="utf-8")),
    kind=st.sampled_from(NoticeKind),
)
def test_any_incident_and_notice_come_back(
    hectares: float,
    probability: float,
    anchor: tuple[float, float],
    status: IncidentStatus,
    error: str,
    kind: NoticeKind,
) -> None:
    incident = at("a", hectares=hectares, probability=probability, anchor=anchor, status=status)
    notice: Notice = make_notice(incident, kind)
    with open_store(":memory:", now=Clock()) as store:
        store.mirror(make_change("1", incident))
        store.add_notices([notice], [error])
        (record,) = store.due_deliveries(START)
        store.record_delivery(record.model_copy(update={"error": error}))
        assert store.incident("a").incident == incident
        assert store.told("pit") == {"a": notice}
        assert [(one.target, one.error) for one in store.deliveries()] == [(error, error)]
