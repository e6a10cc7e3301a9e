"""Hand a message to a target. The only file that imports apprise; a failed result becomes an exception.

What apprise 2.2 leaves out is added here. Mail gets its own plain text, one stable Message-ID per notice
and target, and a thread per incident. A provider's answer becomes the reason of the error, and the delay
it asks for is honoured. Apprise's own time limit is off: it stops waiting but not sending, and the
repeat would be a duplicate.
"""

from __future__ import annotations

import logging
import smtplib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from typing import Any

import requests
from apprise import Apprise, AppriseAsset, AppriseAttachment, NotifyFormat, NotifyType
from apprise.attachment.memory import AttachMemory
from apprise.exception import AppriseException
from apprise.plugins import url_to_dict
from apprise.plugins.base import NotifyBase
from apprise.plugins.slack import NotifySlack, SlackMode

from alerts.answers import asked_delay, masked, observed, posted_to_slack, reason_of
from alerts.folder import Folder
from alerts.mail import Envelope, compose
from alerts.message import Channel, Form, Message
from registry.errors import ConfigError, Retry
from registry.masking import register_secret_url
from registry.settings import AlertSettings

with warnings.catch_warnings():
    # Its PGP support imports imghdr, which Python 3.11 and 3.12 call deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from apprise.plugins.email.base import NotifyEmail
    from apprise.plugins.email.smtp import AppriseSMTPController

PATIENCE_S = 60
"""Seconds a server may take to answer: giving up on one that has accepted makes a duplicate."""

_LIMITS_MB = {"E-Mail": 20.0, "Discord": 10.0, "Telegram": 50.0}
"""Megabytes of attachments that services take; ``alerts.max_attachment_mb`` may lower it."""

_DATA_SCHEMAS = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})
"""Targets that are read by programs: they get plain text."""

_FORMATS = {
    Form.MAIL: NotifyFormat.HTML,
    Form.HTML: NotifyFormat.HTML,
    Form.MARKDOWN: NotifyFormat.MARKDOWN,
    Form.TEXT: NotifyFormat.TEXT,
}

# Apprise logs whole requests, keys included. Nothing of that may reach a handler of ours: what is worth
# knowing is read from the result. urllib3 logs the path of a webhook, which is its key.
logging.getLogger("apprise").setLevel(logging.DEBUG)
logging.getLogger("apprise").propagate = False
logging.getLogger("apprise").addHandler(logging.NullHandler())
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)


@dataclass(frozen=True)
class Finding:
    """What ``groundwatch check`` says of one target."""

    target: str
    ok: bool
    text: str


class NoticeMail(NotifyEmail):  # type: ignore[no-untyped-call] # apprise types a part of itself
    """Mail as apprise understands its URL, with the message as groundwatch composes it."""

    request_rate_per_sec = 0
    """No pause between messages: a server that wants one says so, and is tried again later."""

    def prepare(self, target: str, now: Callable[[], datetime]) -> None:
        """Give it the target's name and a clock, once."""
        self._target, self._now = target, now
        self.outgoing: Message | None = None
        self._accepted: dict[str, set[str]] = {}

    def send(self, *_: Any, **__: Any) -> bool:
        """Send the message set before. What one recipient accepted is not repeated for the others."""
        message = self.outgoing
        assert message is not None
        accepted = self._accepted.setdefault(message.notice_id, set())
        sender = str(self.from_addr[1])
        try:
            raw = compose(message, self._envelope(), sent=self._now()).as_bytes().decode("ascii")
            with self._connected() as smtp:
                for address in self._recipients():
                    if address not in accepted and smtp.sendmail(sender, [address], raw):
                        accepted.add(address)
        except (OSError, smtplib.SMTPException, RuntimeError, ValueError, AppriseException) as exc:
            self.logger.debug("Socket Exception: %s", exc)
            return False
        if not accepted.issuperset(self._recipients()):
            return False
        del self._accepted[message.notice_id]
        return True

    def reach(self) -> str:
        """Connect and log in without sending; the reason where that fails, else nothing."""
        try:
            with self._connected():
                return ""
        except (OSError, smtplib.SMTPException, RuntimeError, AppriseException) as exc:
            return str(exc)

    def _connected(self) -> AppriseSMTPController:
        return AppriseSMTPController(
            host=self.smtp_host,
            port=self.port or 0,
            secure_mode=str(self.secure_mode),
            user=self.user,
            password=self.password,
            verify_certificate=self.verify_certificate,
            socket_connect_timeout=PATIENCE_S,
        )

    def _recipients(self) -> list[str]:
        return [address for _, address in self.targets] + sorted(self.cc) + sorted(self.bcc)

    def _envelope(self) -> Envelope:
        return Envelope(
            sender=_address(self.from_addr[0], self.from_addr[1]),
            to=[_address(name, address) for name, address in self.targets],
            cc=[_address(self.names.get(one), one) for one in sorted(self.cc)],
            reply_to=[_address(self.names.get(one), one) for one in sorted(self.reply_to)],
            target=self._target,
            headers=self.headers,
        )


class Sender:
    """All targets of the configuration, one apprise object each."""

    def __init__(self, alerts: AlertSettings, *, now: Callable[[], datetime]) -> None:
        """Raises ConfigError where a URL is not understood; the URL is never shown."""
        self._limit = int(alerts.max_attachment_mb * 1e6)
        self._services: dict[str, NotifyBase | Folder] = {
            name: _service(name, url.get_secret_value(), now) for name, url in alerts.targets.items()
        }

    def targets(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(sorted(self._services))

    def channel(self, target: str) -> Channel:
        """What ``target`` can carry. Raises ConfigError where there is no such target."""
        service = self._service(target)
        if isinstance(service, Folder):
            return Channel("folder", Form.MAIL, self._limit)
        return Channel(
            service=_service_text(service),
            form=_form(service),
            attachment_bytes=_attachment_limit(service, self._limit),
            text_chars=service.body_maxlen,
        )

    def send(self, target: str, message: Message) -> str:
        """Deliver. Returns what went wrong without losing the message, else nothing.

        Raises Retry with the provider's reason, and with the delay it asked for.
        """
        service = self._service(target)
        if isinstance(service, Folder):
            service.deliver(message)
            return ""
        if isinstance(service, NoticeMail):
            service.outgoing = message
        trouble, answers = _notify(service, message, _form(service))
        if not trouble:
            return ""
        if any(posted_to_slack(answer) for answer in answers):
            # The message is there; sending it again because a file was refused would be a duplicate.
            return f"the message arrived, a file did not: {trouble}"
        raise Retry(f"target {target} did not take the message: {trouble}", after=asked_delay(answers))

    def check(self, *, reach: bool = True) -> Iterator[Finding]:
        """What a person should know of each target; mail servers are connected to, nothing is sent."""
        for target in self.targets():
            yield from _findings(target, self._service(target), reach=reach)

    def _service(self, target: str) -> NotifyBase | Folder:
        if target not in self._services:
            raise ConfigError(f"target {target!r} is not in alerts.targets; add it there, or drop the notice")
        return self._services[target]


def _service(name: str, url: str, now: Callable[[], datetime]) -> NotifyBase | Folder:
    if url.startswith("file://"):
        return Folder.at(name, url, now)
    register_secret_url(url)
    service = _instantiate(url)
    if service is None or not Apprise().add(service):
        raise ConfigError(
            f"alerts.targets.{name}: apprise does not understand this {_scheme(url)} URL; "
            "see https://appriseit.com/services/ for how it is written"
        )
    if isinstance(service, NoticeMail):
        service.prepare(name, now)
    service.socket_read_timeout = max(service.socket_read_timeout, PATIENCE_S)
    return service


def _scheme(url: str) -> str:
    scheme, found, _ = url.partition("://")
    return f"{scheme}://" if found and scheme.isalnum() else "(it has no SCHEME://)"


def _instantiate(url: str) -> NotifyBase | None:
    asset = AppriseAsset(
        app_id="groundwatch",
        app_desc="groundwatch",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        storage_mode="memory",
        service_timeout=0,
    )
    service = Apprise.instantiate(url, asset=asset)
    if type(service) is NotifyEmail and service.pgp_mode == "no":
        return NoticeMail(**url_to_dict(url), asset=asset)  # type: ignore[no-untyped-call]
    return service


def _form(service: NotifyBase) -> Form:
    formats = service._formats()
    if isinstance(service, NoticeMail):
        return Form.MAIL
    if {service.protocol, service.secure_protocol} & _DATA_SCHEMAS:
        return Form.TEXT
    if NotifyFormat.MARKDOWN in formats:
        return Form.MARKDOWN
    return Form.HTML if NotifyFormat.HTML in formats else Form.TEXT


def _webhook(service: NotifyBase) -> bool:
    return isinstance(service, NotifySlack) and service.mode != SlackMode.BOT


def _service_text(service: NotifyBase) -> str:
    return f"{service.service_name} webhook" if _webhook(service) else str(service.service_name)


def _attachment_limit(service: NotifyBase, wanted: int) -> int:
    if not service.attachment_support or _webhook(service):
        return 0
    return min(wanted, int(_LIMITS_MB.get(str(service.service_name), 1e6) * 1e6))


def _notify(service: NotifyBase, message: Message, form: Form) -> tuple[str, list[requests.Response]]:
    """Send; why it failed (empty = delivered), and the HTTP answers seen."""
    box = Apprise()
    box.add(service)
    with observed() as answers:
        result = box.notify(
            body=message.body,
            title=message.subject,
            body_format=_FORMATS[form],
            notify_type=NotifyType.WARNING if message.urgent else NotifyType.INFO,
            attach=_apprise_files(service, message),
            log_level=logging.DEBUG,
        )
    # The result is truthy only where every service succeeded; ``result is False`` never holds.
    return ("" if result else reason_of(entry.message for entry in result.logs())), answers


def _apprise_files(service: NotifyBase, message: Message) -> AppriseAttachment | None:
    if isinstance(service, NoticeMail) or not message.attachments:
        return None
    box = AppriseAttachment()
    for one in message.attachments:
        file = AttachMemory(content=one.data, name=one.name, mimetype=one.mime)  # type: ignore[no-untyped-call]
        box.add(file)
    return box


def _findings(target: str, service: NotifyBase | Folder, *, reach: bool) -> Iterator[Finding]:
    if isinstance(service, Folder):
        yield Finding(target, True, f"writes to the folder {service.path}")
        return
    trouble = service.reach() if reach and isinstance(service, NoticeMail) else ""
    if trouble:
        yield Finding(target, False, f"{_service_text(service)}: {masked(trouble)}")
    else:
        yield Finding(target, True, _service_text(service))
    if isinstance(service, NoticeMail) and service.secure_mode == "insecure":
        yield Finding(target, True, "mail goes out unencrypted; use mailtos:// unless the server is local")
    if _webhook(service):
        yield Finding(
            target,
            True,
            "a Slack webhook takes no pictures and files; use a bot token (slack://xoxb-...) for them",
        )
    elif not service.attachment_support:
        yield Finding(target, True, f"{_service_text(service)} takes no pictures and files")


def _address(name: object, address: object) -> Address:
    return Address(display_name=str(name) if name else "", addr_spec=str(address))
