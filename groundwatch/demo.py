"""`groundwatch demo`: a simulated district, and the real program run on it as a person would."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import click

from groundwatch.console import progress
from registry.errors import Exists, GroundwatchError
from registry.models import IncidentStatus
from registry.stored import StoredIncident
from simulator.district import District, write_district
from simulator.page import write_page
from simulator.scoring import HEADER, table
from simulator.server import Served, serving

MONTHS = 18
"""Length of the record."""

LIVE_DAYS = 120
"""Days before the end from which passes are found by polling, as news; what came before is history."""

CONFIG = """# Written by `groundwatch demo`. Run any command here with --config groundwatch.yml
data: data
providers:
  - name: simulated
    profile: simulated
    url: {stac}
poll:
  start: {start}
log:
  level: warning
alerts:
  targets:
    archive: file://{notices}
"""


@dataclass(frozen=True)
class DemoResult:
    """What the demo leaves behind."""

    rows: tuple[Mapping[str, str], ...]
    """Incidents against truth."""
    notices: Path
    page: Path


def run_demo(out: Path, *, seed: int, months: int = MONTHS) -> DemoResult:
    """Simulate, serve, watch, report. Raises Exists where ``out`` holds a demo already."""
    if (out / "groundwatch.yml").exists():
        raise Exists(f"{out} holds a demo already; name another folder with --out, or remove it")
    district = _simulate(out / "world", seed=seed, months=months)
    home = _Home(out.resolve())
    live_from = datetime.combine(district.end, time(), UTC) - timedelta(days=LIVE_DAYS)
    with serving(district, items=district.items_at(live_from)) as served:
        home.configure(served, district)
        home.run("area", "add", str(district.areas.resolve()))
        home.run("permit", "import", str(district.permits.resolve()))
        home.run("zone", "import", str(district.zones.resolve()))
        _say(f"the archive as it stood on {live_from:%Y-%m-%d}: a pixel has to learn its seasons first")
        home.run("run", "--once")
        _say(f"{LIVE_DAYS} days later: new, late and reprocessed passes have come in")
        served.publish(district.items)
        home.run("run", "--once")
        _say("once more, with nothing new: nobody is told anything twice")
        home.run("run", "--once")
    return _report(home, district)


def _simulate(folder: Path, *, seed: int, months: int) -> District:
    _say(f"simulating {months} months of Sentinel-1 and Sentinel-2 over a mining district (seed {seed})")
    with progress(None, what="simulating") as advance:
        seen = 0

        def step(done: int, _total: int) -> None:
            nonlocal seen
            advance(done - seen)
            seen = done

        return write_district(folder, seed=seed, months=months, progress=step)


@dataclass(frozen=True)
class _Home:
    """The folder a person would work in."""

    folder: Path

    @property
    def notices(self) -> Path:
        """Where the messages go."""
        return self.folder / "notices"

    def configure(self, served: Served, district: District) -> None:
        """Write groundwatch.yml."""
        text = CONFIG.format(stac=served.stac_url, start=district.start, notices=self.notices)
        (self.folder / "groundwatch.yml").write_text(text)

    def run(self, *arguments: str) -> None:
        """Run a command of the program here and show it. Raises GroundwatchError where it fails."""
        shown = [part if not part.startswith("/") else Path(part).name for part in arguments]
        click.secho(f"$ groundwatch {' '.join(shown)}", bold=True, err=True)
        done = subprocess.run(
            [sys.executable, "-m", "groundwatch", *arguments], cwd=self.folder, stdout=sys.stderr, check=False
        )
        if done.returncode:
            raise GroundwatchError(f"`groundwatch {' '.join(shown)}` ended with {done.returncode}, see above")

    def incidents(self) -> list[StoredIncident]:
        """Everything the store knows."""
        from groundwatch.wiring import open_app

        with open_app(self.folder / "groundwatch.yml") as app:
            return list(app.store.incidents())


def _report(home: _Home, district: District) -> DemoResult:
    told = (IncidentStatus.CONFIRMED, IncidentStatus.RECLAIMED)
    incidents = [one.incident for one in home.incidents() if one.incident.status in told]
    blobs = home.folder / "data" / "blobs"
    pictures = {one.id: blobs / one.pictures.side_by_side for one in incidents if one.pictures.side_by_side}
    page = home.folder / "index.html"
    notices = {one.id: _notices_of(one.id, home.notices) for one in incidents}
    score = write_page(page, district=district, incidents=incidents, pictures=pictures, notices=notices)
    rows = tuple(dict(zip(HEADER, row, strict=True)) for row in table(score))
    return DemoResult(rows=rows, notices=home.notices, page=page)


def _notices_of(incident_id: str, folder: Path) -> Sequence[tuple[str, Path]]:
    """(revision and kind, page) of every notice about an incident, in the order they were sent."""
    found = []
    for page in folder.glob(f"*_{incident_id[:8]}_r*/message.html"):
        _, _, rest = page.parent.name.rpartition(f"{incident_id[:8]}_r")
        revision, _, kind = rest.partition("_")
        found.append((int(revision), kind, page))
    return [(f"{number} {kind}", page) for number, kind, page in sorted(found)]


def _say(text: str) -> None:
    click.echo(text, err=True)
