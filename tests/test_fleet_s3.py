"""A detector whose scenes and blobs lie in S3: the same bytes under the same names as on a local disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry.blobs import open_blobs
from simulator.district import District, write_district
from tests.conftest import REPO
from tests.romania import Home
from tests.services import stac
from tests.services.s3 import KEY, SECRET, S3Server

MONTHS = 13
"""The pit begins to grow in the eleventh month of seed 1's district."""
MOST_CLOUD = 70.0
"""Percent; radar has no such figure and is left out too: the rest suffices to confirm and to picture."""

CONFIG = """
data: data
{blobs}
s3:
  endpoint: {s3}
  region: us-east-1
  access_key_id: {key}
  secret_access_key: {secret}
  allow_http: true
  cache_mb: 1
read:
  s3:
    endpoint: {s3}
    region: us-east-1
    access_key_id: {key}
    secret_access_key: {secret}
providers:
  - name: simulated
    profile: in-buckets.yml
    url: {stac}
poll:
  start: {start}
alerts:
  targets:
    archive: file://{folder}/notices
"""


@dataclass(frozen=True)
class World:
    """Scenes in a bucket, a STAC server that names them."""

    district: District
    stac_url: str
    s3: S3Server

    def home(self, folder: Path, *, blobs: str = "") -> Home:
        """A place to run the program, with the areas of the district."""
        folder.mkdir()
        config = CONFIG.format(
            blobs=f"blobs: {blobs}" if blobs else "",
            s3=self.s3.url,
            key=KEY,
            secret=SECRET,
            stac=self.stac_url,
            start=self.district.start,
            folder=folder,
        )
        (folder / "groundwatch.yml").write_text(config)
        shipped = (REPO / "configs" / "providers" / "simulated.yml").read_text()
        (folder / "in-buckets.yml").write_text(shipped.replace("href_schemes: [http]", "href_schemes: [s3]"))
        home = Home(folder)
        areas = json.loads(self.district.areas.read_text())
        mine = [one for one in areas["features"] if one["properties"]["id"] == "serra-clara-mine"]
        (folder / "area.geojson").write_text(json.dumps({**areas, "features": mine}))
        home.run("area", "add", "area.geojson")
        home.run("permit", "import", str(self.district.permits.resolve()))
        return home


@pytest.fixture
def world(s3_server: S3Server, rustac: stac.Rustac, tmp_path: Path) -> World:
    district = write_district(tmp_path / "world", seed=1, months=MONTHS)
    scenes = s3_server.new_bucket()
    clear = [one for one in district.items if one["properties"].get("eo:cloud_cover", 100.0) < MOST_CLOUD]
    for key in {asset["href"] for item in clear for asset in item["assets"].values()}:
        s3_server.put(scenes, key, (tmp_path / "world" / key).read_bytes())
    rustac.serve([_in_bucket(item, scenes) for item in clear])
    return World(district, rustac.url, s3_server)


def _in_bucket(item: Mapping[str, Any], bucket: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(item))
    for asset in found["assets"].values():
        asset["href"] = f"s3://{bucket}/{asset['href']}"
    return found


def test_s3_and_a_local_disk_hold_the_same_blobs(world: World, bucket: str, tmp_path: Path) -> None:
    local = world.home(tmp_path / "local")
    local.run("run", "--once")
    fleet = world.home(tmp_path / "fleet", blobs=f"s3://{bucket}/groundwatch")
    fleet.run("run", "--once")

    on_disk = open_blobs((local.folder / "data" / "blobs").as_uri())
    in_s3 = open_blobs(f"s3://{bucket}/groundwatch", world.s3.settings(), tmp_path / "cache")
    names = list(on_disk.list(""))
    assert {name.partition("/")[0] for name in names} >= {
        "ledger",
        "state",
        "products",
        "pictures",
        "registry",
    }
    assert list(in_s3.list("")) == names
    assert [name for name in names if on_disk.get(name) != in_s3.get(name)] == []

    assert not (fleet.folder / "data" / "blobs").exists()
    cached = [path for path in (fleet.folder / "data" / "blob-cache").rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in cached) <= 1_000_000
    told = [sorted(path.name for path in (home.folder / "notices").iterdir()) for home in (local, fleet)]
    assert told[0] == told[1] != []
    incident = fleet.json("incidents")[0]["id"]
    assert f"s3://{bucket}/groundwatch/pictures/" in fleet.run("incident", "show", incident).stdout
