"""kill -9 at each step of the main path, then a restart: the same result, nothing lost or sent twice."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import romania
from tests.services import program, stac
from tests.services.mail import mail_server
from tests.services.program import Step

SETTINGS = "work:\n  lease_s: 1\n"
MOST_CLOUD = 35.0
"""Percent; the clearer passes up to the summer of 2017, in which a clearing is confirmed and grows."""

STEPS: list[Step] = [
    ("registry.store:Store.record_passes", "before", 1),
    ("registry.store:Store.record_passes", "after", 1),
    ("registry.store:Store.set_cursor", "before", 1),
    ("detector.worker:look_at", "after", 1),
    ("detector.ledger:Ledger.write", "after", 3),
    ("detector.ledger:StateFiles.save", "before", 4),
    ("registry.blobs:FileBlobs.create", "after", 25),
    ("detector.ledger:StateFiles.save", "after", 7),
    ("detector.pictures:_Studio.pictured", "after", 1),
    ("detector.worker:write_products", "before", 9),
    ("registry.bus.local:LocalBus.publish", "before", 5),
    ("registry.bus.local:LocalBus.publish", "after", 5),
    ("registry.store:Store.mirror", "after", 6),
    ("registry.store:Store.add_notices", "before", 8),
    ("registry.store:Store.add_notices", "after", 8),
    ("alerts.send:Sender.send", "before", 2),
]


@dataclass(frozen=True)
class World:
    """What all runs share."""

    api: str
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """What must be the same."""

    results: dict[str, bytes]
    incidents: list[dict[str, Any]]
    mails: Counter[str]


@pytest.fixture(scope="module")
def world(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("crash")
    with romania.served_files(real_data, folder / "web") as files, stac.rustac(folder) as api:
        items = romania.items(real_data, files)
        items = [one for one in items if one["properties"]["datetime"] < "2017-08-01"]
        items = [one for one in items if one["properties"]["eo:cloud_cover"] < MOST_CLOUD]
        api.serve(items)
        yield World(api.url, folder)


@pytest.fixture(scope="module")
def undisturbed(world: World) -> Outcome:
    with mail_server() as mail:
        home = _home(world, "undisturbed", mail.url())
        home.run("run", "--once")
        return _outcome(home, mail.got)


def _home(world: World, name: str, url: str) -> romania.Home:
    home = romania.make_home(world.folder / name, world.api, targets=f"    ranger: {url}\n")
    config = home.folder / "groundwatch.yml"
    config.write_text(config.read_text() + SETTINGS)
    return home


def _outcome(home: romania.Home, mails: list[Any]) -> Outcome:
    with home.opened() as app:
        found = app.store.incidents(include_gone=True)
        incidents = [one.model_dump(exclude={"updated"}) for one in found]  # that is when, not what
    return Outcome(home.results(), incidents, Counter(mail["Message-ID"] for mail in mails))


def _kill(home: romania.Home, step: Step) -> None:
    done = program.run(("run", "--once"), home.folder, dies=step)
    assert done.returncode == -signal.SIGKILL, f"{step} was never reached: {done.stderr[-800:]}"


@pytest.mark.parametrize(
    "step", STEPS, ids=[f"{when} {name.rpartition(':')[2]} {nth}" for name, when, nth in STEPS]
)
def test_a_kill_loses_and_repeats_nothing(world: World, undisturbed: Outcome, step: Step) -> None:
    assert undisturbed.mails, "the passes must lead to a notice"
    assert undisturbed.incidents
    with mail_server() as mail:
        home = _home(world, f"{step[0].rpartition('.')[2]}-{step[1]}-{step[2]}", mail.url())
        _kill(home, step)
        home.run("run", "--once")
        outcome = _outcome(home, mail.got)
    assert outcome.results == undisturbed.results
    assert outcome.incidents == undisturbed.incidents
    assert outcome.mails == undisturbed.mails


def test_the_one_window_repeats_one_mail_recognisably(world: World, undisturbed: Outcome) -> None:
    with mail_server() as mail:
        home = _home(world, "window", mail.url())
        _kill(home, ("alerts.send:Sender.send", "after", 2))
        home.run("run", "--once")
        outcome = _outcome(home, mail.got)
    assert outcome.results == undisturbed.results
    assert set(outcome.mails) == set(undisturbed.mails)
    assert outcome.mails.total() == undisturbed.mails.total() + 1
