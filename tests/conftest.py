"""Shared rules of the test suite: loopback only, real data where it lies, a missing service fails in CI."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

pytest_plugins = ("tests.config_files", "tests.services.fixtures", "tests.small_disk")

# No test is timed: on a machine that is busy with others' work an example may take any time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

LONGEST = (
    "test_fleet.py",
    "test_crash.py",
    "test_demo.py",
    "test_main_job.py",
    "test_order.py",
    "test_kafka_bus.py",
    "test_bad_input.py",
    "test_simulator.py",
    "test_training_plans.py",
    "test_earth_search.py",
    "test_poll.py",
    "test_canary.py",
)
"""Files whose tests take longest, in the order in which they begin: a long one that began late would keep
one worker busy while the others have nothing left."""

REPO = Path(__file__).resolve().parent.parent
_connect = socket.socket.connect


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait, for a lease to end or a disk to be written."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, see ``LONGEST``; what stands in no list stays in its order."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


def _guarded_connect(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        host = address[0]
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise RuntimeError(f"tests reach loopback only, not {host}")
    _connect(self, address)


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Iterator[None]:
    socket.socket.connect = _guarded_connect  # type: ignore[assignment, method-assign]
    yield
    socket.socket.connect = _connect  # type: ignore[method-assign]


def service_missing(what: str) -> None:
    """A service that a test needs is not installed: in CI a failure, on a laptop a skip that says so."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing; .ci/run installs it")
    pytest.skip(f"{what} is missing; see .ci/run for how to install it")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch computes on one core, for files that train: the other cores belong to other workers."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real Sentinel data: GROUNDWATCH_TEST_DATA, or shared/data beside the checkout."""
    named = os.environ.get("GROUNDWATCH_TEST_DATA")
    for folder in [Path(named)] if named else [REPO.parent / "shared" / "data", REPO / "shared" / "data"]:
        if (folder / "README.md").is_file():
            return folder
    pytest.skip("real data is missing: it is no part of the project; set GROUNDWATCH_TEST_DATA")
