"""Messages: what they say, and that names from outside cannot say anything else."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
import shapely
from apprise.plugins.slack import NotifySlack

from alerts.message import Channel, Form, Message
from alerts.render import clean, hectares_text, markdown_text, percent_text, render
from registry.models import Incident, NoticeKind, Pictures, Verdict, VerdictCase, VerdictShare
from tests.alert_world import PICTURE, grown, incident, notice, picture, verdict

MAIL = Channel("E-Mail", Form.MAIL, 8_000_000)
SLACK = Channel("Slack webhook", Form.MARKDOWN, 0, 35_000)

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "Acme\r\nBcc: victim@example.org\r\n\r\nhello",
    "[safe](https://evil.example/) **bold** `code` <!channel> @here",
    "{{ 7 * 7 }}{% raw %}",
    "Acme\u202egnp.exe\u2066 \u0000 tail",
    "x" * 5_000,
    "\ud800 lone surrogate",
]


class _Tags(HTMLParser):
    """Which elements, addresses and texts a page has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_text(message: Message) -> str:
    return _Tags(message.body).text


FACTS = [
    "Suspected excavation",
    "1.90 ha of 2.34 ha outside any permit",
    "Serra Verde, north pit",
    "45.20150, 25.10200",
    "SIGMINE 810.123/2019, Mineração Serra Verde Ltda",
    "nearest permit, 143 m away: SIGMINE 810.123/2019",
    "0.31 ha",
    "2024-05-02",
    "2024-06-11",
    "2024-07-14",
    "99.7 %",
    "Sentinel-2",
    "excavation on 62 %, settling pond on 18 % of it",
    "mean of 3 clear looks up to 2024-07-13 by the model mining-rgbnir-swir",
    "Suspected only",
]


@pytest.mark.parametrize("fact", [*FACTS, incident().id, f"groundwatch incident show {incident().id}"])
def test_the_substance_is_in_every_form(fact: str) -> None:
    mail = render(notice(), MAIL, picture=picture())
    chat = render(notice(), SLACK, picture=picture())
    assert fact.lower() in page_text(mail).lower()
    assert fact.lower() in mail.text.lower()
    if fact != "Suspected excavation":  # in Slack it is the title above the text
        assert fact.lower() in chat.body.lower()


def test_what_no_model_saw_or_knows_is_said_or_left_out() -> None:
    known = incident().components
    assert known is not None
    nothing = incident(components=known.model_copy(update={"shares": (), "looks": 1}))
    for channel in (MAIL, SLACK):
        assert "no part of a mine that our model knows" in render(notice(one=nothing), channel).body.lower()
        assert "mean of 1 clear look up to" in render(notice(one=nothing), channel).body.lower()
        assert "looks like" not in render(notice(one=incident(components=None)), channel).body.lower()
        assert "looks like" not in render(notice(NoticeKind.WITHDRAWN), channel).body.lower()


def test_subject_says_what_where_how_much() -> None:
    subject = render(notice(), MAIL).subject
    assert subject == (
        "Suspected excavation: 1.90 ha of 2.34 ha outside any permit · Serra Verde, north pit "
        f"[{incident().id[:8]}]"
    )


@pytest.mark.parametrize("kind", NoticeKind)
@pytest.mark.parametrize("case", [*VerdictCase, None])
@pytest.mark.parametrize("form", Form)
def test_never_illegal_as_a_fact(kind: NoticeKind, case: VerdictCase | None, form: Form) -> None:
    one = grown(incident(verdict=verdict(case) if case else None))
    message = render(
        notice(kind, one, previous_hectares=2.34), Channel("x", form, 9_000_000), earlier=[notice()]
    )
    for said in (message.subject, message.body, message.text):
        assert "suspected" in said.lower()
        assert "illegal" not in said.lower()
        assert "None" not in said


def test_each_kind_says_its_own_news() -> None:
    larger = grown(incident())
    said = {
        kind: render(notice(kind, larger, previous_hectares=2.34), MAIL, earlier=[notice()])
        for kind in NoticeKind
    }
    assert "grown by 1.66 ha" in said[NoticeKind.GROWN].subject
    assert "2.34 ha then, 4.00 ha now" in said[NoticeKind.GROWN].text
    assert said[NoticeKind.WITHDRAWN].subject.startswith("Withdrawn: ")
    assert "do not act on it" in said[NoticeKind.WITHDRAWN].text
    assert said[NoticeKind.RECLAIMED].subject.startswith("Reclaimed: ")
    assert [kind for kind, one in said.items() if one.urgent] == ["confirmed", "grown", "corrected"]


def test_a_correction_names_both_verdicts() -> None:
    now = incident(verdict=verdict(VerdictCase.INSIDE))
    text = render(notice(NoticeKind.CORRECTED, now), MAIL, earlier=[notice()]).text
    assert "was reported as outside any permit; it now stands inside a valid permit" in text


def test_a_withdrawal_claims_no_confidence() -> None:
    mail = render(notice(NoticeKind.WITHDRAWN), MAIL, earlier=[notice()])
    assert "WITHDRAWN: SUSPECTED EXCAVATION" in mail.text
    assert "Not any more. Our earlier message said very high" in mail.text
    assert "Withdrawn: suspected excavation" in page_text(mail)


def test_a_neighbour_is_named_as_the_nearest_and_not_as_the_author() -> None:
    inside = render(notice(one=incident(verdict=verdict(VerdictCase.EXPIRED))), MAIL).text
    assert "inside a permit that had expired (SIGMINE" in inside
    assert "outside any permit (nearest permit, 143 m away: SIGMINE" in render(notice(), MAIL).text


def test_mail_carries_the_picture_inside_and_both_files_behind() -> None:
    message = render(notice(), MAIL, picture=picture())
    inside, *behind = sorted(message.attachments, key=lambda one: not one.inline)
    assert (inside.inline, inside.data) == (True, picture())
    assert f"cid:{inside.name}" in _Tags(message.body).addresses
    assert sorted(one.mime for one in behind) == ["application/geo+json", "image/png"]
    assert all(one.name in message.text for one in behind)


def test_without_a_picture_the_mail_says_so() -> None:
    message = render(notice(), MAIL)
    assert "img" not in _Tags(message.body).tags
    assert "No before/after picture" in message.text
    assert "No before/after picture" in page_text(message)


def test_what_is_too_large_is_named_instead() -> None:
    large = picture() + b"\0" * 2_000_000
    message = render(notice(), Channel("E-Mail", Form.MAIL, 1_000_000), picture=large)
    assert [one.mime for one in message.attachments] == ["application/geo+json"]
    assert ".png (2.0 MB) is not attached: E-Mail takes 1.0 MB in all" in message.text
    assert PICTURE in message.text
    assert PICTURE in page_text(message)


def test_the_copy_of_the_picture_goes_first_when_room_is_short() -> None:
    large = picture() + b"\0" * 600_000
    message = render(notice(), Channel("E-Mail", Form.MAIL, 1_000_000), picture=large)
    assert [one.inline for one in message.attachments] == [False, True]
    assert "is not attached" not in message.text


def test_a_channel_without_files_says_so() -> None:
    message = render(notice(), SLACK, picture=picture())
    assert message.attachments == ()
    assert message.body.count("Slack webhook takes no files") == 2


def test_a_short_channel_gets_place_hectares_and_id() -> None:
    message = render(notice(), Channel("SMS", Form.TEXT, 0, 160))
    for fact in ("1.90 ha of 2.34 ha", "45.20150, 25.10200", "2024-07-14", incident().id[:8]):
        assert fact in message.body
    assert len(message.body) < 300


def test_a_long_list_of_parcels_is_cut_and_says_so() -> None:
    shares = tuple(
        VerdictShare(case=VerdictCase.EXPIRED, hectares=n / 10, permit_id=str(n), permit_label=f"lot {n:02}")
        for n in range(1, 21)
    )
    many = Verdict(
        judged_for=incident().last_seen, case=VerdictCase.EXPIRED, shares=shares, registry_version="v"
    )
    message = render(notice(one=incident(verdict=many, hectares=21.0)), MAIL)
    assert [f"lot {n:02}" in message.text for n in range(1, 21)] == [n > 8 for n in range(1, 21)]
    assert "8 smaller parts" in message.text
    assert "8 smaller parts" in page_text(message)


def test_geojson_is_rfc7946_and_complete() -> None:
    message = render(notice(one=grown(incident())), MAIL)
    collection = json.loads(message.attachments[0].data)
    (feature,) = collection["features"]
    ring = shapely.LinearRing(feature["geometry"]["coordinates"][0])
    assert collection["type"] == "FeatureCollection"
    assert "crs" not in collection
    assert ring.is_ccw, "RFC 7946 section 3.1.6: exterior rings are counter-clockwise"
    assert shapely.geometry.shape(feature["geometry"]).equals(incident().footprint)
    assert feature["bbox"] == [25.1, 45.2, 25.104, 45.203]
    told = feature["properties"]
    known = set(Incident.model_fields) - {"id", "footprint", "anchor"}
    assert known <= set(told)
    assert told["incident_id"] == feature["id"] == incident().id
    assert (told["longitude"], told["latitude"]) == incident().anchor
    assert [share["hectares"] for share in told["verdict"]["shares"]] == [1.9, 0.44]
    assert told["suspected"] is True
    assert "Suspected only" in told["remark"]


def hostile(name: str, channel: Channel = MAIL) -> Message:
    """A message in which every text that comes from outside is ``name``."""
    zone = VerdictShare(case=VerdictCase.PROTECTED_ZONE, hectares=0.2, zone_id="z", zone_label=name)
    shares = (*verdict(label=name).shares, zone)
    judged = Verdict(
        judged_for=incident().last_seen, case=VerdictCase.OUTSIDE, shares=shares, registry_version="v"
    )
    one = incident(verdict=judged, pictures=Pictures(side_by_side=name))
    return render(notice(one=one, area_name=name), channel, picture=picture())


@pytest.mark.parametrize("channel", [MAIL, Channel("E-Mail", Form.MAIL, 10)])
@pytest.mark.parametrize("name", HOSTILE)
def test_names_cannot_add_markup_to_the_page(name: str, channel: Channel) -> None:
    plain, attacked = _Tags(hostile("Acme", channel).body), _Tags(hostile(name, channel).body)
    assert attacked.tags == plain.tags
    assert attacked.addresses == plain.addresses
    assert attacked.attributes == plain.attributes


@pytest.mark.parametrize("name", HOSTILE)
def test_names_cannot_break_lines_or_grow(name: str) -> None:
    message = hostile(name)
    assert message.subject.isprintable()
    assert len(message.subject) <= 180
    assert message.text.count("\n") == hostile("Acme").text.count("\n")
    assert len(message.text) < len(hostile("Acme").text) + 6 * 120
    message.text.encode()
    message.body.encode()


@pytest.mark.parametrize("name", HOSTILE)
def test_names_cannot_add_markup_in_slack(name: str) -> None:
    body = hostile(name, SLACK).body
    sent = NotifySlack._commonmark_to_slack(body)  # type: ignore[no-untyped-call]
    outside_code = re.sub(r"`[^`]*`", "", sent)
    links = re.findall(r"<([^>]*)>", outside_code)
    assert [link.partition("|")[2] for link in links] == ["Map", "Satellite image"]
    assert "evil.example" not in outside_code
    assert "<!" not in sent
    assert len(re.findall(r"\*[^*\n]+\*", outside_code)) == 6, "only our own bold words"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.104, "0.10 ha"), (9.994, "9.99 ha"), (9.996, "10.0 ha"), (99.96, "100 ha"), (12345.6, "12,346 ha")],
)
def test_hectares_text(value: float, text: str) -> None:
    assert hectares_text(value) == text


def test_no_promise_of_certainty() -> None:
    assert percent_text(1.0) == percent_text(0.99999) == "above 99.9 %"
    assert percent_text(0.9) == "90.0 %"


def test_clean_and_markdown_text() -> None:
    assert clean(" a\r\n\tb\u202e\u0000c ") == "a b c"
    assert len(clean("y" * 500)) == 120
    assert markdown_text("Müller & Söhne (Pty) Ltd.") == "Müller & Söhne (Pty) Ltd."
    assert markdown_text("a*b`c") == "`a*b'c`"


def test_links_point_at_the_place_and_the_day() -> None:
    addresses = _Tags(render(notice(), MAIL).body).addresses
    osm, browser = addresses
    assert osm.startswith(
        "https://www.openstreetmap.org/?mlat=45.20150&mlon=25.10200#map=15/45.20150/25.10200"
    )
    assert "lat=45.20150&lng=25.10200" in browser
    assert "fromTime=2024-07-14T00%3A00%3A00.000Z" in browser
