"""A process that delivers what is due and is killed on the way: ``DATA URL before|after|never``."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from alerts.message import Message
from alerts.send import Sender
from alerts.worker import AlertWorker
from registry.blobs import open_blobs
from registry.settings import AlertSettings, Settings
from registry.store import open_store


class MortalSender(Sender):
    """Kills its process around the first message."""

    moment = "never"

    def send(self, target: str, message: Message) -> str:
        if self.moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        trouble = super().send(target, message)
        if self.moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return trouble


def main(data: str, url: str, moment: str) -> None:
    settings = Settings(data=Path(data), alerts=AlertSettings(targets={"ops": SecretStr(url)}))
    sender = MortalSender(settings.alerts, now=lambda: datetime.now(UTC))
    sender.moment = moment
    with open_store(settings.store_path) as store:
        blobs = open_blobs(settings.blobs_url)
        worker = AlertWorker(store, blobs, settings, now=lambda: datetime.now(UTC), sender=sender)
        worker.deliver_due()


if __name__ == "__main__":
    main(*sys.argv[1:])
