"""The processes of a fleet, each in a folder of its own, started again whenever one dies."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.services import program

STOP_S = 60.0
"""Longest wait for a process to finish its work in hand."""


@dataclass
class Member:
    """One process of the fleet, as compose or systemd would keep it."""

    name: str
    command: tuple[str, ...]
    folder: Path
    """Where it runs: its groundwatch.yml lies here."""
    process: ForkServerProcess | None = None
    starts: int = 0

    def start(self) -> None:
        """Run the command; its log grows in ``log.txt``."""
        self.process = program.start(self.command, self.folder, self.folder / "log.txt")
        self.starts += 1

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.is_alive()

    def send(self, number: signal.Signals) -> None:
        """Signal the process, and no other."""
        if self.process is not None and self.process.is_alive() and self.process.pid is not None:
            with suppress(ProcessLookupError):  # it has just died
                os.kill(self.process.pid, number)


@dataclass
class Crew:
    """All members, kept running."""

    members: tuple[Member, ...]
    kills: int = 0
    _leaving: threading.Event = field(default_factory=threading.Event, repr=False)

    @contextmanager
    def working(self) -> Iterator[Crew]:
        """Everybody runs until the block ends; then all finish what they have in hand."""
        keeper = threading.Thread(target=self._keep_running, name="keeper", daemon=True)
        for member in self.members:
            member.start()
        keeper.start()
        try:
            yield self
        finally:
            self._leaving.set()
            keeper.join()
            self._stop()

    @contextmanager
    def under_fire(self, *, every_s: float, chance: random.Random) -> Iterator[None]:
        """Meanwhile a random member is killed with SIGKILL every ``every_s`` seconds or so."""
        over = threading.Event()

        def fire() -> None:
            while not over.wait(every_s * chance.uniform(0.5, 1.5)):
                running = [one for one in self.members if one.is_running]
                if running:
                    chance.choice(running).send(signal.SIGKILL)
                    self.kills += 1

        thread = threading.Thread(target=fire, name="fire", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def starts(self) -> Mapping[str, int]:
        """How often each member was started."""
        return {one.name: one.starts for one in self.members}

    def _keep_running(self) -> None:
        while not self._leaving.wait(0.2):
            for member in self.members:
                if not member.is_running:
                    member.start()

    def _stop(self) -> None:
        for member in self.members:
            member.send(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for member in self.members:
            if member.process is not None:
                member.process.join(timeout=max(0.1, deadline - time.monotonic()))
                member.process.kill()
                member.process.join()
