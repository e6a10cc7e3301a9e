"""A message as an Internet mail (RFC 5322): HTML beside plain text, the picture inside, files behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from alerts.message import Message


@dataclass(frozen=True)
class Envelope:
    """From whom to whom."""

    sender: Address
    to: Sequence[Address]
    target: str
    """The target's name; part of the Message-ID, which is one per notice and target."""
    cc: Sequence[Address] = ()
    reply_to: Sequence[Address] = ()
    headers: Mapping[str, str] | None = None
    """Further headers, from the target's URL."""


def compose(message: Message, envelope: Envelope, *, sent: datetime) -> EmailMessage:
    """Build the mail. The Message-ID names notice and target, so a repeat can be told from news, and
    every mail of one incident refers to one thread.

    Raises ValueError where a header would hold a line break.
    """
    mail = EmailMessage(policy=SMTP)
    domain = envelope.sender.domain or "localhost"
    mail["From"] = envelope.sender
    mail["To"] = tuple(envelope.to)
    if envelope.cc:
        mail["Cc"] = tuple(envelope.cc)
    if envelope.reply_to:
        mail["Reply-To"] = tuple(envelope.reply_to)
    # EmailMessage loses spaces between encoded words (python/cpython#92081); Header does not.
    subject = Header(" ".join(message.subject.split()), header_name="Subject")
    mail.set_raw("Subject", subject.encode())
    mail["Date"] = format_datetime(sent)
    mail["Message-ID"] = f"<{message.notice_id}.{envelope.target}@{domain}>"
    mail["In-Reply-To"] = mail["References"] = f"<{message.thread_id}.incident@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Groundwatch-Notice"] = message.notice_id
    mail["X-Groundwatch-Incident"] = message.thread_id
    for name, value in (envelope.headers or {}).items():
        mail[name] = value
    _fill(mail, message)
    return mail


def _fill(mail: EmailMessage, message: Message) -> None:
    mail.set_content(message.text, charset="utf-8", cte="quoted-printable")
    mail.add_alternative(message.body, subtype="html", charset="utf-8", cte="quoted-printable")
    html = mail.get_body(("html",))
    assert html is not None
    for one in message.attachments:
        kind, _, subtype = one.mime.partition("/")
        if one.inline:
            cid = f"<{one.name}>"
            html.add_related(one.data, kind, subtype, cid=cid, filename=one.name, disposition="inline")
    for one in message.attachments:
        kind, _, subtype = one.mime.partition("/")
        if not one.inline:
            mail.add_attachment(one.data, kind, subtype, filename=one.name)
