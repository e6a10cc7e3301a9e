"""The real main job: 140 real passes over one square kilometre in Romania, served as a provider would."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from groundwatch.wiring import App
from registry.settings import load_settings
from tests.services import program, web

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
        done = program.run(arguments, self.folder)
        assert not check or done.returncode == 0, done.stderr[-3000:]
        return done

    def json(self, *arguments: str) -> Any:
        """The command's JSON answer."""
        return json.loads(self.run(*arguments, "--json").stdout)

    @contextmanager
    def opened(self) -> Iterator[App]:
        """The program configured there, to look at it from outside: a process costs seconds for each look."""
        app = App(load_settings(self.folder / "groundwatch.yml"))
        try:
            yield app
        finally:
            app.close()

    def results(self) -> dict[str, bytes]:
        """Ledger and newest states by name: what must not depend on the order of arrival."""
        blobs = self.folder / "data" / "blobs"
        wanted = [*blobs.glob("ledger/**/*"), *blobs.glob("state/**/*")]
        return {str(path.relative_to(blobs)): path.read_bytes() for path in wanted if path.is_file()}


def make_home(folder: Path, stac_url: str, *, targets: str) -> Home:
    """Configuration and area; the area as the program's own command adds it, see ``_with_area``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "groundwatch.yml").write_text(CONFIG.format(stac=stac_url, targets=targets))
    for name, content in _with_area().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return Home(folder)


@cache
def _with_area() -> Mapping[str, bytes]:
    """What `groundwatch area add` leaves in a new folder. Run once, for it is the same for every home."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        (home.folder / "groundwatch.yml").write_text("data: data\n")
        (home.folder / "area.geojson").write_text(json.dumps(AREA))
        home.run("area", "add", "area.geojson")
        (home.folder / "groundwatch.yml").unlink()
        files = [path for path in home.folder.rglob("*") if path.is_file()]
        return {path.relative_to(home.folder).as_posix(): path.read_bytes() for path in files}
