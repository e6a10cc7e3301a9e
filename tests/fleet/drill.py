"""The drill itself: the same passes through one process in peace, and through a fleet under fire."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from groundwatch.wiring import App
from registry.errors import GroundwatchError
from simulator.server import Served, serving
from tests.fleet.crew import Crew, Member
from tests.fleet.ground import Ground, ground
from tests.fleet.outcome import Outcome, Progress, open_home, outcome_of, progress_of, sky_of
from tests.fleet.world import Watch, make_watch
from tests.romania import Home
from tests.services.mail import MailServer, mail_server

PATIENCE_S = 3_600.0
"""Longest wait for a fleet to get through."""

LOOK_S = 3.0
"""Seconds between two looks at the fleet."""

EVER = datetime(2000, 1, 1, tzinfo=UTC)

CONFIG = """
data: data
providers:
  - name: simulated
    profile: simulated
    url: {stac}
poll:
  start: 2023-07-01
  interval_s: 6
  lookback_days: 3650
http:
  backoff_s: 0.2
  max_backoff_s: 2
read:
  threads: 2
detection:
  evidence:
    min_history: 4
    hazard_per_day: 0.001
work:
  lease_s: 8
  idle_s: 0.5
alerts:
  backoff_s: 0.5
  targets:
    ranger: {mail}
{ground}
"""


@dataclass(frozen=True)
class Drill:
    """How hard it is."""

    areas: int
    passes: int
    detectors: int
    kill_every_s: float
    outage_s: float
    seed: int


@dataclass
class Report:
    """What came out."""

    drill: Drill
    alone_s: float = 0.0
    fleet_s: float = 0.0
    kills: int = 0
    starts: dict[str, int] = field(default_factory=dict)
    repeated_events: int = 0
    recoveries: dict[str, float] = field(default_factory=dict)
    """Seconds from the end of a fault to the next pass that was worked off."""
    longest_pause_s: float = 0.0
    """Longest stretch, under fire, in which no pass was worked off."""
    alone: Outcome | None = None
    fleet: Outcome | None = None
    traces: tuple[str, ...] = ()
    """Where the passes that are lost were last seen."""

    @property
    def faults(self) -> list[str]:
        """What differs or is missing; empty = passed."""
        alone, fleet = self.alone, self.fleet
        assert alone is not None
        assert fleet is not None
        found = {
            "states differ": alone.states != fleet.states,
            "incidents or verdicts differ": alone.incidents != fleet.incidents,
            f"passes lost: {fleet.missing[:3]}": bool(fleet.missing),
            f"dead letters: {fleet.dead[:3]}": bool(fleet.dead),
            f"not delivered: {fleet.undelivered[:3]}": bool(fleet.undelivered),
            f"{fleet.unheard} notices never came": fleet.unheard > 0,
            "no notice at all: the drill shows nothing": fleet.notices == 0,
        }
        return [text for text, is_so in found.items() if is_so]

    def __str__(self) -> str:
        assert self.fleet is not None
        lines = [
            f"{self.drill.areas} areas x {self.drill.passes} passes, {self.drill.detectors} detectors",
            f"alone {self.alone_s:.0f} s; fleet under fire {self.fleet_s:.0f} s",
            f"{self.kills} kills; starts {self.starts}; {self.repeated_events} events injected twice",
            *(f"back at work {seconds:.1f} s after {name}" for name, seconds in self.recoveries.items()),
            f"longest pause {self.longest_pause_s:.1f} s",
            f"{len(self.fleet.incidents)} incidents, {sum(self.fleet.states.values())} states compared",
            f"{self.fleet.notices} notices, {self.fleet.repeated} messages came more than once",
            *(f"FAULT: {fault}" for fault in self.faults),
            *self.traces,
            "FAILED" if self.faults else "equal to the single process, nothing lost",
        ]
        return "\n".join(lines)


def run_drill(folder: Path, drill: Drill, *, say: Callable[[str], None] | None = None) -> Report:
    """Both runs, one after the other."""
    say = say or _say
    report = Report(drill)
    say("simulating the passes")
    watch = make_watch(folder, areas=drill.areas, passes=drill.passes, seed=drill.seed)
    with serving(watch.district, items=watch.items) as served:
        say(f"one process: {drill.areas} areas, {len(watch.items)} items")
        began = time.monotonic()
        report.alone, sky = _alone(folder / "alone", watch, served)
        report.alone_s = time.monotonic() - began
        say(f"done in {report.alone_s:.0f} s, {len(sky)} passes; now the fleet")
        began = time.monotonic()
        _under_fire(folder / "fleet", watch, served, report, sky, say)
        report.fleet_s = time.monotonic() - began
    return report


def _alone(folder: Path, watch: Watch, served: Served) -> tuple[Outcome, frozenset[str]]:
    with mail_server() as mail:
        home = _home(folder, watch, served, mail, "")
        home.run("run", "--once")
        app = open_home(folder)
        try:
            return outcome_of(app, mail.got), sky_of(app)
        finally:
            app.close()


def _home(folder: Path, watch: Watch, served: Served, mail: MailServer, ground_yaml: str) -> Home:
    """The host that owns the store, configured by the program's own commands."""
    _configure(folder, served, mail, ground_yaml)
    home = Home(folder)
    home.run("area", "add", str(watch.areas))
    home.run("permit", "import", str(watch.district.permits))
    home.run("zone", "import", str(watch.district.zones))
    return home


def _configure(folder: Path, served: Served, mail: MailServer, ground_yaml: str) -> None:
    folder.mkdir(parents=True)
    text = CONFIG.format(stac=served.stac_url, mail=mail.url(), ground=ground_yaml)
    (folder / "groundwatch.yml").write_text(text)


def _under_fire(
    folder: Path,
    watch: Watch,
    served: Served,
    report: Report,
    sky: frozenset[str],
    say: Callable[[str], None],
) -> None:
    drill, chance = report.drill, random.Random(report.drill.seed)
    with ExitStack() as stack:
        mail = stack.enter_context(mail_server())
        standing = stack.enter_context(ground(folder))
        served.publish(watch.batches[0])
        home = _home(folder / "host", watch, served, mail, standing.yaml)
        crew = _crew(folder, home, drill, served, mail, standing)
        app = open_home(home.folder)
        stack.callback(app.close)
        seen = _Seen(app, standing, report, say)
        with crew.working(), crew.under_fire(every_s=drill.kill_every_s, chance=chance):
            _script(watch, served, standing, drill, len(sky), seen)
            seen.wait_until(lambda now: now.is_done(sky))
        report.kills, report.starts = crew.kills, dict(crew.starts())
        report.fleet = outcome_of(app, mail.got)
        report.traces = standing.whereabouts(report.fleet.missing)


def _script(watch: Watch, served: Served, standing: Ground, drill: Drill, passes: int, seen: _Seen) -> None:
    """What happens meanwhile, at shares of the work done."""
    seen.wait_for(passes // 8)
    served.publish(watch.batches[1])
    seen.report.repeated_events += standing.repeat_events(drill.seed)
    seen.wait_for(passes // 4)
    with seen.recovery("the broker was restarted"):
        standing.restart_broker()
    served.publish(watch.batches[2])
    seen.wait_for(passes // 2)
    with seen.recovery(f"the object store was away for {drill.outage_s:.0f} s"):
        standing.gate.shut()
        time.sleep(drill.outage_s)
        standing.gate.reopen()
    seen.wait_for(passes * 3 // 4)
    served.publish(watch.batches[3])
    seen.report.repeated_events += standing.repeat_events(drill.seed + 1)


def _crew(folder: Path, home: Home, drill: Drill, served: Served, mail: MailServer, standing: Ground) -> Crew:
    """Ingest and alerts beside the store; each detector in a folder where there is none."""
    members = [
        Member("ingest", ("poll",), folder / "ingest"),
        Member("alerts", ("notify",), folder / "alerts"),
    ]
    for member in members:
        member.folder.mkdir()
        text = (home.folder / "groundwatch.yml").read_text()
        data = json.dumps(str((home.folder / "data").absolute()))
        (member.folder / "groundwatch.yml").write_text(text.replace("data: data", f"data: {data}"))
    for number in range(drill.detectors):
        member = Member(f"detector-{number}", ("detect",), folder / f"detector-{number}")
        _configure(member.folder, served, mail, standing.yaml)
        members.append(member)
    return Crew(tuple(members))


class _Seen:
    """Watches the work from outside, notes pauses and recoveries."""

    def __init__(self, app: App, standing: Ground, report: Report, say: Callable[[str], None]) -> None:
        self._app, self._ground, self.report, self._say = app, standing, report, say
        self._done = 0
        self._moved = time.monotonic()
        self._told = 0.0

    def wait_for(self, passes: int) -> None:
        """Until so many passes are worked off."""
        deadline = time.monotonic() + PATIENCE_S
        while self.done() < passes:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._done} passes done after {PATIENCE_S} s, {passes} were awaited")
            time.sleep(LOOK_S)

    def wait_until(self, is_reached: Callable[[Progress], bool]) -> None:
        """Until it is so twice in a row."""
        deadline, held = time.monotonic() + PATIENCE_S, 0
        while held < 2:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the fleet did not get through in {PATIENCE_S} s")
            time.sleep(LOOK_S)
            self.done()
            try:
                now = progress_of(self._app, self._ground.ends)
            except GroundwatchError:
                continue
            held = held + 1 if is_reached(now) else 0
            self._tell(f"{now}")

    def done(self) -> int:
        """Passes worked off and heard of by the alerter; a new revision counts anew."""
        done, now = self._app.store.flow(EVER).inferred, time.monotonic()
        if done > self._done:
            self.report.longest_pause_s = max(self.report.longest_pause_s, now - self._moved)
            self._done, self._moved = done, now
        self._tell(f"{done} passes done")
        return done

    @contextmanager
    def recovery(self, name: str) -> Iterator[None]:
        """Note how long after the block the work goes on."""
        yield
        before, began = self.done(), time.monotonic()
        while self.done() <= before and time.monotonic() - began < PATIENCE_S:
            time.sleep(0.5)
        self.report.recoveries[name] = time.monotonic() - began

    def _tell(self, text: str) -> None:
        if time.monotonic() - self._told > 10.0:
            self._told = time.monotonic()
            self._say(text)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
