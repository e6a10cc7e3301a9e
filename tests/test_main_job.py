"""The main job on real input: real passes, a real STAC API, COGs over HTTP ranges, a real mail server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio import Affine
from rasterio.features import rasterize
from shapely.geometry import shape

from groundwatch.wiring import App
from registry.bus import Topic
from tests import romania
from tests.romania_skill import Skill, load, measure, ndvi_drop
from tests.services import stac
from tests.services.mail import mail_server

PATIENCE_S = 240.0
"""Longest wait for a running groundwatch to get through its work."""


def _wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, "groundwatch did not get through in time"
        time.sleep(0.2)


def _confirmed(home: romania.Home) -> list[dict[str, Any]]:
    rows = home.json("incidents", "--status", "confirmed")
    return [home.json("incident", "show", row["id"]) for row in rows]


def _skill(shown: list[dict[str, Any]], real_data: Path) -> Skill:
    grid, looks = load(real_data / "romania_s2")
    losses = [one["incident"]["footprint"] for one in shown if one["incident"]["kind"] == "forest_loss"]
    lands = [(grid.from_world(shape(footprint)), 1) for footprint in losses]
    flagged = rasterize(lands, out_shape=grid.shape, transform=Affine(*grid.geotransform)).astype(bool)
    return measure(flagged, ndvi_drop(looks))


@pytest.mark.timeout(900)  # 140 real dates through the whole program
def test_real_passes_become_mails_people_can_act_on(
    tmp_path: Path, real_data: Path, pgstac: stac.PgStac, capsys: pytest.CaptureFixture[str]
) -> None:
    with romania.served_files(real_data, tmp_path / "web") as files, mail_server() as mail:
        items = romania.items(real_data, files)
        home = romania.make_home(tmp_path / "home", pgstac.url, targets=f"    ranger: {mail.url()}\n")
        pgstac.load(items[:100])
        home.run("backfill", "--since", "2015-01-01")
        assert home.json("status")["passes"] == 100

        running = subprocess.Popen(
            [sys.executable, "-m", "groundwatch", "run"], cwd=home.folder, stderr=subprocess.DEVNULL
        )
        try:
            with home.opened() as app:  # each look by the command would take a core from what it waits for
                pgstac.put(items[100:120])
                _wait_for(lambda: app.store.status().passes == 120)
                pgstac.put(items[120:])
                _wait_for(lambda: _is_done(app, passes=len(items)))
            assert home.json("status")["passes"] == len(items)
        finally:
            running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == 0

        shown = _confirmed(home)
        skill = _skill(shown, real_data)
        with capsys.disabled():
            print(f"\nromania through the program: {skill}, false share {skill.false_share:.3f}")
        assert skill.recall >= 0.80
        assert skill.false_share <= 0.25

        _check_ground(shown)
        _check_mails(mail.got, shown)
        before, sent = home.results(), len(mail.got)
        again = home.json("run", "--once")
        assert (again["passes_queued"], again["delivered"]) == (0, 0)
        assert (home.results(), len(mail.got)) == (before, sent)


def _is_done(app: App, *, passes: int) -> bool:
    """In the order in which work flows: what has left a place is seen further on."""
    if app.store.status().passes != passes:
        return False
    depths = [app.bus.depth(topic) for topic in Topic]
    queued = sum(one.waiting + one.in_flight for one in depths)
    return queued == 0 and app.store.status().pending_deliveries == 0


def _check_ground(shown: list[dict[str, Any]]) -> None:
    """Every one was looked at, and no mine is seen where trees were cut."""
    seen = [one["incident"]["components"] for one in shown]
    assert all(seen)
    assert {one["model"] for one in seen} == {"mining-rgbnir-swir"}
    assert sum(bool(one["shares"]) for one in seen) <= 1


def _check_mails(mails: list[Any], shown: list[dict[str, Any]]) -> None:
    assert len({mail["Message-ID"] for mail in mails}) == len(mails)
    told = sum(len(one["notices"]) for one in shown)
    assert len(mails) >= told >= len(shown) > 0
    for mail in mails:
        parts = {part.get_content_type(): part for part in mail.walk()}
        assert {"text/plain", "text/html", "image/png"} <= set(parts), sorted(parts)
        geojson = next(part for part in mail.walk() if str(part.get_filename()).endswith(".geojson"))
        feature = json.loads(geojson.get_payload(decode=True))["features"][0]
        assert shape(feature["geometry"]).is_valid
        assert parts["image/png"].get_payload(decode=True).startswith(b"\x89PNG")
        text = parts["text/plain"].get_content()
        assert "uspected" in text
        assert "WHAT IT LOOKS LIKE" in text or text.startswith(("RECLAIMED", "WITHDRAWN"))


@pytest.mark.timeout(900)
def test_a_server_that_ignores_filters_gives_the_same(
    tmp_path: Path, real_data: Path, rustac: stac.Rustac
) -> None:
    with romania.served_files(real_data, tmp_path / "web") as files:
        items = romania.items(real_data, files)[:60]
        rustac.serve(items[:40])
        home = romania.make_home(
            tmp_path / "home", rustac.url, targets=f"    archive: file://{tmp_path}/notices\n"
        )
        home.run("backfill", "--since", "2015-01-01")
        rustac.serve(items)
        home.run("run", "--once")
        status = home.json("status")
        assert status["passes"] == 60
        assert [queue["dead"] for queue in status["queues"]] == [0, 0]
        assert home.json("run", "--once")["passes_queued"] == 0
        assert np.all([one["incident"]["hectares"] > 0 for one in _confirmed(home)])
