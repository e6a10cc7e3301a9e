"""What a message is before it is sent, and what a channel can carry. Frozen values, no libraries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    """How a channel shows text."""

    MAIL = "mail"
    """HTML and plain text side by side, pictures inside the HTML."""
    HTML = "html"
    """HTML only, sent by a mail service's own interface: pictures are attached, not shown inside."""
    MARKDOWN = "markdown"
    TEXT = "text"


@dataclass(frozen=True)
class Channel:
    """What one target can carry; the message is written to fit."""

    service: str
    """What people call it, e.g. ``Slack webhook``."""
    form: Form
    attachment_bytes: int
    """Most bytes of all attachments together; 0 = the channel takes none."""
    text_chars: int = 32_768
    """Longest text; below ``BRIEF_BELOW`` the brief form is sent."""


BRIEF_BELOW = 2_500
"""Characters; channels that take less get place, hectares and the id only."""


@dataclass(frozen=True)
class Attachment:
    """One file that goes along."""

    name: str
    """File name, plain ASCII."""
    mime: str
    data: bytes
    inline: bool = False
    """True where the HTML shows it as ``cid:NAME``."""


@dataclass(frozen=True)
class Message:
    """A notice in words, ready for one channel."""

    notice_id: str
    """Goes out as Message-ID and in the footer, so that receivers can spot a repeat."""
    thread_id: str
    """Incident of the thread's first notice: what mail programs group by."""
    name: str
    """A file name without ending, e.g. ``pit-north_1a2b3c4d_r2_grown``."""
    subject: str
    """One line."""
    body: str
    """In the channel's own form; for mail the HTML."""
    text: str
    """The plain text; for mail it stands beside the HTML."""
    urgent: bool
    """True where the incident is suspected of being illegal and the news is not good."""
    attachments: tuple[Attachment, ...] = ()
