"""Sending: real SMTP and HTTP servers on loopback, and what becomes of their failures."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

import pytest
from apprise.plugins.slack import NotifySlack
from pydantic import SecretStr

from alerts.message import Form
from alerts.render import render
from alerts.send import Sender
from registry.errors import ConfigError, Retry
from registry.models import NoticeKind
from registry.settings import AlertSettings
from tests.alert_world import NOW, grown, incident, notice, picture
from tests.services.mail import Fault, MailServer, mail_server
from tests.services.slack import BOT, TOKENS, SlackServer, slack_server


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackServer]:
    with slack_server() as server:
        monkeypatch.setattr(NotifySlack, "webhook_url", f"{server.url}/services")
        monkeypatch.setattr(NotifySlack, "api_url", server.url + "/api/{}")
        monkeypatch.setattr(NotifySlack, "request_rate_per_sec", 0)
        yield server


def sender(**urls: str) -> Sender:
    targets = {name: SecretStr(url) for name, url in urls.items()}
    return Sender(AlertSettings(targets=targets), now=lambda: NOW)


def send(to: Sender, target: str, **facts: object) -> str:
    told = notice(**facts)  # type: ignore[arg-type]
    return to.send(target, render(told, to.channel(target), picture=picture()))


def part(mail: EmailMessage, kind: str, disposition: str | None) -> EmailMessage:
    """The only part of this type and disposition."""
    (found,) = [
        one
        for one in mail.walk()
        if one.get_content_type() == kind and one.get_content_disposition() == disposition
    ]
    assert isinstance(found, EmailMessage)
    return found


def test_mail_arrives_whole(mail: MailServer) -> None:
    assert send(sender(ops=mail.url()), "ops") == ""
    (got,) = mail.got
    assert str(got["Subject"]).startswith("Suspected excavation: 1.90 ha of 2.34 ha outside any permit")
    assert (got["From"], got["To"]) == ("watch@example.org", "ranger@example.org")
    assert got["Message-ID"] == f"<{notice().id}.ops@example.org>"
    assert got["X-Groundwatch-Notice"] == notice().id
    assert "Serra Verde, north pit" in part(got, "text/plain", None).get_content()
    page = part(got, "text/html", None).get_content()
    inside = part(got, "image/png", "inline")
    assert f"cid:{inside['Content-ID'].strip('<>')}" in page
    assert inside.get_content() == part(got, "image/png", "attachment").get_content() == picture()
    outline = json.loads(part(got, "application/geo+json", "attachment").get_content())
    assert outline["features"][0]["properties"]["notice_id"] == notice().id


def test_mail_is_nested_as_mail_programs_expect(mail: MailServer) -> None:
    send(sender(ops=mail.url()), "ops")
    kinds = [one.get_content_type() for one in mail.got[0].walk()]
    assert kinds == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/geo+json",
        "image/png",
    ]


def test_mails_of_one_incident_are_one_thread(mail: MailServer) -> None:
    to = sender(ops=mail.url())
    send(to, "ops")
    send(to, "ops", kind=NoticeKind.GROWN, one=grown(incident()), previous_hectares=2.34)
    one, two = mail.got
    assert one["References"] == two["References"] == two["In-Reply-To"]
    assert one["Message-ID"] != two["Message-ID"]


def test_line_breaks_in_names_do_not_become_headers(mail: MailServer) -> None:
    send(sender(ops=mail.url()), "ops", area_name="Pit\r\nBcc: victim@example.org\r\n\r\nbody")
    (got,) = mail.got
    assert got["Bcc"] is None
    assert len(mail.mails) == 1
    assert "Pit Bcc: victim@example.org body" in str(got["Subject"])


def test_names_in_any_script_arrive(mail: MailServer) -> None:
    send(sender(ops=mail.url()), "ops", area_name="Río Ñandú – Кар'єр 北")
    (got,) = mail.got
    assert "Río Ñandú – Кар'єр 北" in str(got["Subject"])
    assert "Río Ñandú – Кар'єр 北" in part(got, "text/plain", None).get_content()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Fault.REFUSE, "mailbox is not here"), (Fault.LATER, "grey-listed"), (Fault.DROP, "closed")],
)
def test_a_failing_mail_server_is_a_retry_with_its_own_words(
    mail: MailServer, fault: Fault, reason: str
) -> None:
    to = sender(ops=mail.url())
    mail.fault = fault
    with pytest.raises(Retry, match=reason) as caught:
        send(to, "ops")
    assert str(caught.value).startswith("target ops did not take the message: ")
    assert "\n" not in str(caught.value)
    mail.fault = Fault.NONE
    assert send(to, "ops") == ""
    assert len(mail.got) == 1


def test_nobody_listening_is_a_retry(mail: MailServer) -> None:
    to = sender(ops=mail.url())
    mail.stop()
    with pytest.raises(Retry, match="refused"):
        send(to, "ops")


def test_recipients_that_took_it_do_not_get_it_again(mail: MailServer) -> None:
    to = sender(ops=mail.url("a@example.org", "b@example.org", options="&bcc=c@example.org"))
    mail.refused = {"b@example.org"}
    with pytest.raises(Retry, match="mailbox is not here"):
        send(to, "ops")
    mail.refused = set()
    send(to, "ops")
    assert sorted(address for address, _ in mail.mails) == ["a@example.org", "b@example.org", "c@example.org"]
    assert all("c@example.org" not in str(got) for got in mail.got)


def test_headers_of_the_url_go_along(mail: MailServer) -> None:
    send(sender(ops=mail.url(options="&%2BX-Ticket=mines&reply=desk@example.org")), "ops")
    assert (mail.got[0]["X-Ticket"], mail.got[0]["Reply-To"]) == ("mines", "desk@example.org")


def test_slack_webhook_gets_the_text_and_hears_that_files_are_missing(slack: SlackServer) -> None:
    to = sender(chat=f"slack://{TOKENS}")
    assert to.channel("chat").attachment_bytes == 0
    assert send(to, "chat") == ""
    (post,) = slack.posts
    (shown,) = post["attachments"]
    assert shown["title"].startswith("Suspected excavation: 1.90 ha of 2.34 ha")
    assert "*1.90 ha of 2.34 ha outside any permit*" in shown["text"]
    assert "|Map>" in shown["text"]
    assert "Slack webhook takes no files" in shown["text"]
    assert notice().id in shown["text"]
    assert "apprise" not in json.dumps(post).lower()


def test_slack_bot_gets_text_picture_and_outline(slack: SlackServer) -> None:
    assert send(sender(chat=f"slack://{BOT}/#mines"), "chat") == ""
    (post,) = slack.posts
    assert post["channel"] == "#mines"
    ending = {name.rpartition(".")[2]: content for name, content in slack.files.items()}
    assert ending["png"] == picture()
    assert json.loads(ending["geojson"])["type"] == "FeatureCollection"


def test_a_file_that_slack_refuses_does_not_repeat_the_message(slack: SlackServer) -> None:
    slack.fail["/upload"] = (500, {}, b"storage is full")
    trouble = send(sender(chat=f"slack://{BOT}/#mines"), "chat")
    assert "the message arrived, a file did not" in trouble
    assert "storage is full" in trouble
    assert len(slack.posts) == 1


@pytest.mark.parametrize("target", [f"slack://{TOKENS}", f"slack://{BOT}/#mines"])
def test_rate_limits_carry_the_delay_asked_for(slack: SlackServer, target: str) -> None:
    slack.fail["/"] = (429, {"Retry-After": "37"}, b"rate_limited")
    with pytest.raises(Retry, match="rate_limited") as caught:
        send(sender(chat=target), "chat")
    assert caught.value.after == 37.0


def test_retry_after_may_be_a_date(slack: SlackServer) -> None:
    # The server dates its answers by the real clock, so the date asked for must be real too.
    until = format_datetime(datetime.now(UTC) + timedelta(hours=1))
    slack.fail["/"] = (503, {"Retry-After": until}, b"down")
    with pytest.raises(Retry) as caught:
        send(sender(chat=f"slack://{TOKENS}"), "chat")
    assert caught.value.after == pytest.approx(3600, abs=60)


@pytest.mark.parametrize("header", ["", "soon", "Mon, 99 Foo"])
def test_a_retry_after_nobody_understands_is_no_delay(slack: SlackServer, header: str) -> None:
    slack.fail["/"] = (429, {"Retry-After": header}, b"rate_limited")
    with pytest.raises(Retry) as caught:
        send(sender(chat=f"slack://{TOKENS}"), "chat")
    assert caught.value.after is None


@pytest.fixture
def everything_logged() -> Iterator[io.StringIO]:
    """What handlers of a program with all loggers at debug get to see."""
    lines, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(lines), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(level)


def test_secrets_are_in_no_error_and_no_log(
    slack: SlackServer, mail: MailServer, everything_logged: io.StringIO
) -> None:
    wrong = TOKENS.replace("secretWebhook", "otherSecretHook")
    slack.fail["/services"] = (404, {}, b"no_service for " + wrong.encode())
    login = mail.url().replace("mailto://", "mailto://user:hunter2secret@")
    told = []
    for url in (f"slack://{wrong}", login):
        with pytest.raises(Retry) as caught:
            send(sender(chat=url), "chat")
        told.append(str(caught.value))
    assert "no_service" in told[0]
    assert "AUTH" in told[1]
    assert "127.0.0.1" in everything_logged.getvalue(), "the mail server's own lines are seen"
    for secret in ("otherSecretHook", "hunter2secret", "T1AAAAAAA", "B2BBBBBBB"):
        assert secret not in "".join(told) + everything_logged.getvalue()


@pytest.mark.parametrize(
    "url",
    ["nonsense://secretKey12345", "slack://bad", "mailto://", "no url at all secretKey12345", "file://here"],
)
def test_a_bad_url_is_a_config_error_that_does_not_show_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"alerts\.targets\.chat") as caught:
        sender(chat=url)
    assert "secretKey12345" not in str(caught.value)


def test_an_unknown_target_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"'gone' is not in alerts\.targets"):
        sender().channel("gone")


def test_channels() -> None:
    to = sender(
        mail="mailtos://me:pw12345678@example.org",
        hook=f"slack://{TOKENS}",
        bot=f"slack://{BOT}/#mines",
        program="json://127.0.0.1:9",
        telegram="tgram://123456789:abcdefg_hijklmnop/12315544/",
        sms="twilio://AC" + 32 * "a" + ":" + 32 * "b" + "@15551230000/15551230001",
    )
    forms = {name: to.channel(name).form for name in to.targets()}
    assert forms == {
        "mail": Form.MAIL,
        "hook": Form.MARKDOWN,
        "bot": Form.MARKDOWN,
        "program": Form.TEXT,
        "telegram": Form.MARKDOWN,
        "sms": Form.TEXT,
    }
    assert to.channel("mail").attachment_bytes == 8_000_000
    assert to.channel("hook").attachment_bytes == 0
    assert to.channel("sms").text_chars < 200


def test_check_connects_to_mail_and_warns_of_webhooks(mail: MailServer) -> None:
    to = sender(ops=mail.url(), chat=f"slack://{TOKENS}")
    said = {(one.target, one.ok): one.text for one in to.check()}
    assert "bot token" in said["chat", True]
    assert "unencrypted" in said["ops", True]
    assert mail.mails == []
    mail.stop()
    assert [one.target for one in to.check() if not one.ok] == ["ops"]


def test_a_folder_gets_page_mail_and_files(tmp_path: Path) -> None:
    to = sender(out=f"file://{tmp_path}/notices")
    for _ in range(2):
        assert send(to, "out") == ""
    (place,) = (tmp_path / "notices").iterdir()
    names = sorted(one.name for one in place.iterdir())
    base = place.name
    assert names == sorted(
        [f"{base}.geojson", f"{base}.png", "before-after.png", "message.eml", "message.html", "message.txt"]
    )
    assert 'src="before-after.png"' in (place / "message.html").read_text()
    kept = message_from_bytes((place / "message.eml").read_bytes(), policy=policy.default)
    assert kept["X-Groundwatch-Notice"] == notice().id


def test_a_folder_that_cannot_be_written_is_a_retry(tmp_path: Path) -> None:
    (tmp_path / "notices").write_text("a file is in the way")
    with pytest.raises(Retry, match="target out could not be written"):
        send(sender(out=f"file://{tmp_path}/notices"), "out")
