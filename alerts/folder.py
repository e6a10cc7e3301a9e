"""A folder as a target (``file:///out/notices``): for demos, air-gapped machines and archives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from pathlib import Path
from urllib.parse import unquote

from alerts.mail import Envelope, compose
from alerts.message import Message
from registry.errors import ConfigError, Retry


@dataclass(frozen=True)
class Folder:
    """Writes each notice as a mail, a page with its picture, plain text and the files."""

    target: str
    path: Path
    now: Callable[[], datetime]

    @classmethod
    def at(cls, target: str, url: str, now: Callable[[], datetime]) -> Folder:
        """Of a ``file:///ABSOLUTE/FOLDER`` URL. Raises ConfigError on a relative one."""
        path = Path(unquote(url.removeprefix("file://")))
        if not path.is_absolute():
            raise ConfigError(
                f"alerts.targets.{target}: {url} has no absolute path; use file:///ABSOLUTE/FOLDER"
            )
        return cls(target, path, now)

    def deliver(self, message: Message) -> None:
        """Write ``<path>/<message name>/``; a repeat writes the same files again. Raises Retry."""
        place = self.path / message.name
        here = Address("groundwatch", "groundwatch", "localhost")
        mail = compose(message, Envelope(here, [here], self.target), sent=self.now())
        page = message.body
        for one in message.attachments:
            page = page.replace(f"cid:{one.name}", one.name)
        try:
            place.mkdir(parents=True, exist_ok=True)
            for one in message.attachments:
                (place / one.name).write_bytes(one.data)
            (place / "message.txt").write_text(message.text, encoding="utf-8")
            (place / "message.html").write_text(page, encoding="utf-8")
            (place / "message.eml").write_bytes(mail.as_bytes())
        except OSError as exc:
            raise Retry(
                f"target {self.target} could not be written: {exc.strerror}; check {self.path}"
            ) from exc
