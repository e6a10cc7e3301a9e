"""Bad passes through the whole program: neighbours go on, nothing is lost, and what is mended counts in full.

What can be wrong with files and settings given by people is covered in test_imports, test_registers,
test_geometry, test_settings and test_cli; what a STAC server may answer in test_poll and test_catalog.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import rasterio

from tests import romania
from tests.services import stac, web

PASSES = 12
VICTIM = 5
IMPATIENT = """work:
  max_attempts: 1
read:
  retries: 0
"""


@dataclass(frozen=True)
class World:
    """The first real passes, on a web server whose files may be damaged, and a STAC server."""

    files: Path
    proxy: web.Proxy
    stac: stac.PgStac
    items: list[dict[str, Any]]

    @property
    def victim(self) -> dict[str, Any]:
        """The item that goes wrong."""
        return self.items[VICTIM]

    def file(self, band: str) -> Path:
        """A file of the victim."""
        href: str = self.victim["assets"][band]["href"]
        return self.files / href.removeprefix(f"{self.proxy.url}/")

    def home(self, folder: Path) -> romania.Home:
        """A place to run the program, that gives up soon."""
        home = romania.make_home(folder, self.stac.url, targets=f"    archive: file://{folder}/notices\n")
        with (folder / "groundwatch.yml").open("a") as config:
            config.write(IMPATIENT)
        return home


@contextmanager
def served(work: Path, real_data: Path, server: stac.PgStac) -> Iterator[World]:
    """The passes, sound."""
    server.reset("sentinel-2-l2a", "sentinel-1-rtc")
    files, logs = work / "served", work / "nginx"
    logs.mkdir()
    shutil.copytree(real_data / "romania_s2" / "cogs", files)
    with web.files(files, logs) as url, web.proxy(url.rstrip("/")) as proxy:
        items = romania.items(real_data, proxy.url)[:PASSES]
        server.put(items)
        yield World(files, proxy, server, items)


@pytest.fixture
def world(tmp_path: Path, real_data: Path, pgstac_server: stac.PgStac) -> Iterator[World]:
    with served(tmp_path, real_data, pgstac_server) as running:
        yield running


@pytest.fixture(scope="module")
def sound(
    tmp_path_factory: pytest.TempPathFactory, real_data: Path, pgstac_server: stac.PgStac
) -> dict[str, bytes]:
    """What comes out where nothing goes wrong."""
    work = tmp_path_factory.mktemp("sound")
    with served(work, real_data, pgstac_server) as running:
        return folded(running.home(work / "home"))


def folded(home: romania.Home) -> dict[str, bytes]:
    """Backfill and what came of it."""
    home.run("backfill", "--since", "2015-01-01", check=False)
    return home.results()


def dead(home: romania.Home) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = home.json("dead", "list")
    return listed


def truncated(world: World) -> Callable[[], object]:
    path = world.file("red")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return lambda: path.write_bytes(whole)


def missing(world: World) -> Callable[[], object]:
    path = world.file("red")
    path.rename(path.with_suffix(".away"))
    return lambda: path.with_suffix(".away").rename(path)


def always_503(world: World) -> Callable[[], object]:
    world.proxy.answer(world.file("red").parent.name, 503)
    return world.proxy.heal


def wrong_crs(world: World) -> Callable[[], object]:
    path = world.file("red")
    whole = path.read_bytes()
    with rasterio.open(path) as source:
        data, profile = source.read(), source.profile | {"crs": "EPSG:32634"}
    with rasterio.open(path, "w", **profile) as sink:
        sink.write(data)
    return lambda: path.write_bytes(whole)


@pytest.mark.parametrize("fault", [truncated, missing, always_503, wrong_crs])
def test_a_bad_file_blocks_no_neighbour_and_counts_once_mended(
    tmp_path: Path, world: World, sound: dict[str, bytes], fault: Callable[[World], Callable[[], object]]
) -> None:
    mend = fault(world)
    home = world.home(tmp_path / "hurt")
    without = folded(home)
    (letter,) = dead(home)
    assert world.victim["id"] in letter["reason"]
    assert "\n" not in letter["reason"]
    assert "Traceback" not in letter["reason"]
    status = home.json("status")
    assert status["passes"] == PASSES
    rows = [name for name in without if name.startswith("ledger/") and "/forest/" in name]
    assert len(rows) == PASSES - 1
    mend()
    home.run("dead", "retry", "--all")
    home.run("run", "--once")
    assert dead(home) == []
    assert home.results() == sound


def test_odd_items_are_left_out_or_read_and_their_neighbours_go_on(
    tmp_path: Path, world: World, sound: dict[str, bytes]
) -> None:
    shapeless, odd = copy.deepcopy(world.items[0]), copy.deepcopy(world.items[1])
    shapeless["id"], shapeless["geometry"] = "S2_SHAPELESS", None
    shapeless.pop("bbox", None)
    odd["assets"] |= {"mystery": {"href": "ftp://nowhere.example/x.bin", "type": "application/x-unknown"}}

    def with_bad_items(body: bytes) -> bytes:
        answer = json.loads(body)
        if answer.get("type") == "FeatureCollection" and answer["features"]:
            answer["features"] = [odd if one["id"] == odd["id"] else one for one in answer["features"]] + [
                shapeless
            ]
            answer["features"][0]["properties"]["eo:cloud_cover"] = float("nan")
        return json.dumps(answer).encode()

    with web.proxy(world.stac.url) as api:
        api.rewrite("/search", with_bad_items)
        home = romania.make_home(
            tmp_path / "odd", api.url, targets=f"    archive: file://{tmp_path}/odd-notices\n"
        )
        done = home.run("backfill", "--since", "2015-01-01", check=False)
    assert "Traceback" not in done.stderr
    assert "S2_SHAPELESS" in done.stderr
    assert home.results() == sound


def test_a_full_disk_stops_nothing_for_good(
    tmp_path: Path, world: World, sound: dict[str, bytes], small_disk: Path
) -> None:
    home = world.home(tmp_path / "full")
    blobs = home.folder / "data" / "blobs"
    (small_disk / "blobs").mkdir()
    blobs.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(small_disk / "blobs", blobs)
    done = home.run("backfill", "--since", "2015-01-01", check=False)
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr
    partial = {name for name in home.results() if name.startswith("ledger/")}
    assert len(partial) < len([name for name in sound if name.startswith("ledger/")])
    (small_disk / "ballast").unlink()
    # Somebody has tidied up.
    subprocess.run(["mount", "-o", "remount,size=200M", str(small_disk)], check=True)
    home.run("dead", "retry", "--all", check=False)
    home.run("run", "--once")
    assert home.results() == sound
