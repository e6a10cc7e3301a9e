"""The real main job: 140 real passes over one square kilometre in Romania, served as a provider would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services import web

AREA = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"id": "romania", "name": "Forest in the Southern Carpathians", "kind": "watched"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [
                    [
                        [22.1469068, 45.2099579],
                        [22.1449392, 45.2010813],
                        [22.1575163, 45.1996179],
                        [22.1594858, 45.2084941],
                        [22.1469068, 45.2099579],
                    ]
                ],
            },
        }
    ],
}

CONFIG = """
data: data
providers:
  - name: real
    profile: earth-search
    url: {stac}
    sensors: [sentinel-2]
poll:
  start: 2015-01-01
  interval_s: 1
http:
  backoff_s: 0.05
  max_backoff_s: 0.5
alerts:
  backoff_s: 0.2
  targets:
{targets}
"""


def items(real_data: Path, files_url: str) -> list[dict[str, Any]]:
    """The real items in order of acquisition, unchanged but for hrefs."""
    found = []
    for path in sorted((real_data / "romania_s2" / "items").glob("*.json")):
        text = path.read_text().replace('"../cogs/', f'"{files_url.rstrip("/")}/')
        found.append(json.loads(text))
    return found


@contextmanager
def served_files(real_data: Path, work: Path) -> Iterator[str]:
    """The COGs over HTTP ranges."""
    work.mkdir(parents=True, exist_ok=True)
    with web.files(real_data / "romania_s2" / "cogs", work) as url:
        yield url


@dataclass(frozen=True)
class Home:
    """A folder with a configuration, where the program is run as a person runs it."""

    folder: Path

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `groundwatch ARGUMENTS` there."""
        done = subprocess.run(
            [sys.executable, "-m", "groundwatch", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr[-3000:]
        return done

    def json(self, *arguments: str) -> Any:
        """The command's JSON answer."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def results(self) -> dict[str, bytes]:
        """Ledger and newest states by name: what must not depend on the order of arrival."""
        blobs = self.folder / "data" / "blobs"
        wanted = [*blobs.glob("ledger/**/*"), *blobs.glob("state/**/*")]
        return {str(path.relative_to(blobs)): path.read_bytes() for path in wanted if path.is_file()}


def make_home(folder: Path, stac_url: str, *, targets: str) -> Home:
    """Configuration and area, by the program's own commands."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "groundwatch.yml").write_text(CONFIG.format(stac=stac_url, targets=targets))
    (folder / "area.geojson").write_text(json.dumps(AREA))
    home = Home(folder)
    home.run("area", "add", "area.geojson")
    return home
