"""A real SMTP server on loopback (aiosmtpd) that keeps what it gets and fails on request."""

from __future__ import annotations

from asyncio import WriteTransport
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from enum import StrEnum

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.services.processes import free_port


class Fault(StrEnum):
    NONE = "none"
    REFUSE = "refuse"
    """550 to every recipient."""
    LATER = "later"
    """451 to every message, as grey-listing servers say."""
    DROP = "drop"
    """The connection breaks while the message is handed over; nothing is kept."""


class MailServer:
    """``mails`` holds (recipient, mail) in order of arrival."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, EmailMessage]] = []
        self.fault = Fault.NONE
        self.refused: set[str] = set()
        """Addresses that get a 550."""
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def url(self, *recipients: str, options: str = "") -> str:
        """An apprise URL that sends to this server without TLS."""
        to = ",".join(recipients or ("ranger@example.org",))
        return f"mailto://127.0.0.1:{self.port}/?from=watch@example.org&to={to}&mode=insecure{options}"

    def stop(self) -> None:
        """Nobody listens any more."""
        if self._controller.server is not None:
            self._controller.stop()

    @property
    def got(self) -> list[EmailMessage]:
        return [mail for _, mail in self.mails]

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.fault is Fault.REFUSE or address in self.refused:
            return "550 5.1.1 mailbox is not here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.fault is Fault.DROP:
            assert isinstance(server.transport, WriteTransport)
            server.transport.abort()
            return "421 bye"
        if self.fault is Fault.LATER:
            return "451 4.7.1 grey-listed, come back later"
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails += [(one, mail) for one in envelope.rcpt_tos]
        return "250 kept"


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """A server that runs meanwhile."""
    server = MailServer()
    try:
        yield server
    finally:
        server.stop()
