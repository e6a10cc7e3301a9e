"""Before/after pictures of incidents: which two looks to show, and when a picture is due.

**Before** is a clear look over the footprint no younger than the last clear look without change. Of those
within some 13 months, one of the same season as the after look (60 days in the year) is preferred, so that
leaf-off is not shown against leaf-on; of these the youngest. **After** is the first clear look on or after
the day of the last news; until there is one, the youngest clear look that may show the change. Where clouds
leave no such pair of Sentinel-2 looks, two Sentinel-1 looks of one orbit are shown.

A picture is made when there is news (a new revision), or when a clear after look has come at last. Called
after every step of a fold with the ledger as it stood then, so the pictures do not depend on the order in
which passes arrived.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from detector.drawing import INCIDENT, PERMIT, ZONE, Outline, Panel, Plate, draw
from detector.ledger import Ledger, LedgerEntry
from detector.objects import burn
from detector.products import preview_name
from detector.rasters import Raster, Window, read_raster
from detector.state import is_optical
from registry.blobs import Blobs
from registry.errors import Exists
from registry.events import RegistrySnapshot
from registry.grid import RESOLUTION, Grid
from registry.models import Incident, IncidentKind, IncidentStatus, Pictures
from registry.values import digest

Clear = Callable[[LedgerEntry], bool]
"""Whether a pass shows the footprint clearly, and has a preview."""

SMALLEST_VIEW_PX = 44
"""Pixels of 10 m along the edge of the smallest view."""

SEASON_DAYS = 60
BEFORE_DAYS = 400
CLEAR_FOOTPRINT = 0.95
CLEAR_VIEW = 0.5
"""Shares that must have been seen; a weak look counts half."""

MAX_TRIES = 60
"""Passes looked into for one picture side: some three months of bad weather, or a year of half of it."""

RADAR_COLOURS = "Radar (VV red, VH green, ratio blue)"

_NAMES = {IncidentKind.FOREST_LOSS: "forest loss", IncidentKind.EXCAVATION: "excavation"}


def picture_incidents(
    blobs: Blobs,
    incidents: Iterable[Incident],
    *,
    snapshot: RegistrySnapshot,
    grid: Grid,
    ledger: Ledger,
    entries: Sequence[LedgerEntry],
) -> tuple[Incident, ...]:
    """The incidents, those with news with their pictures. ``entries`` is the ledger up to this step."""
    studio = _Studio(blobs, snapshot, grid, ledger, tuple(entries))
    return tuple(studio.pictured(one) if is_due(one) else one for one in incidents)


def is_due(incident: Incident) -> bool:
    """Whether people will be told of something the incident's picture does not show."""
    told = incident.status in (IncidentStatus.CONFIRMED, IncidentStatus.RECLAIMED) and incident.growth
    made = incident.pictures
    if not told or made.side_by_side is None or made.after_acquired is None:
        return bool(told)
    return (
        f"/r{incident.revision:03d}-" not in made.side_by_side
        or made.after_acquired < incident.growth[-1].acquired
    )


def choose_looks(
    incident: Incident, entries: Sequence[LedgerEntry], clear: Clear
) -> tuple[LedgerEntry, LedgerEntry] | None:
    """(before, after) out of ``entries`` in order of acquisition; None where there is no clear pair."""
    news = incident.growth[-1].acquired if incident.growth else incident.first_seen
    later = [entry for entry in entries if _day(entry) >= news]
    between = [entry for entry in entries if incident.first_seen <= _day(entry) < news]
    after = _first(later, clear) or _first(between[::-1], clear)
    if after is None:
        return None
    until = incident.last_clear_before or incident.first_seen - timedelta(days=1)
    earlier = [entry for entry in entries if _day(entry) <= until][::-1]
    recent = [entry for entry in earlier if (until - _day(entry)).days <= BEFORE_DAYS]
    alike = [entry for entry in recent if _season_gap(_day(entry), _day(after)) <= SEASON_DAYS]
    before = _first(alike, clear) or _first(earlier, clear)
    return (before, after) if before else None


def _first(entries: Sequence[LedgerEntry], clear: Clear) -> LedgerEntry | None:
    return next((entry for entry in entries[:MAX_TRIES] if clear(entry)), None)


def _day(entry: LedgerEntry) -> date:
    return entry.acquired.date()


def _season_gap(one: date, other: date) -> int:
    """Days between two dates in the circle of the year."""
    gap = abs(one.timetuple().tm_yday - other.timetuple().tm_yday)
    return min(gap, 365 - gap)


@dataclass(frozen=True)
class _View:
    """The square that a picture shows, on the area's grid but free to reach over its edge."""

    grid: Grid
    """The view as a grid of its own."""
    row: int
    column: int
    """Its first row and column on the area's grid; may be negative."""

    @property
    def frame(self) -> tuple[float, float, float, float]:
        left, bottom, right, top = self.grid.bounds
        return (float(left), float(bottom), float(right), float(top))

    def inside(self, grid: Grid) -> Window:
        """The part of it on the area's grid."""
        return Window(
            max(0, self.row),
            min(grid.height, self.row + self.grid.height),
            max(0, self.column),
            min(grid.width, self.column + self.grid.width),
        )


def _view(land: BaseGeometry, grid: Grid) -> _View:
    """The footprint with as much again around it: in the middle, or moved to where there is data."""
    left, bottom, right, top = land.bounds
    size = max(SMALLEST_VIEW_PX, math.ceil(2.4 * max(right - left, top - bottom) / RESOLUTION))
    column = _onto(round(((left + right) / 2 - grid.left) / RESOLUTION - size / 2), size, grid.width)
    row = _onto(round((grid.top - (bottom + top) / 2) / RESOLUTION - size / 2), size, grid.height)
    frame = Grid(
        epsg=grid.epsg,
        left=grid.left + column * RESOLUTION,
        top=grid.top - row * RESOLUTION,
        width=size,
        height=size,
    )
    return _View(frame, row, column)


def _onto(start: int, size: int, length: int) -> int:
    """The start of a stretch of ``size``, moved onto 0..``length``; centred where it is longer."""
    return min(max(start, 0), length - size) if size <= length else (length - size) // 2


@dataclass(frozen=True)
class _Studio:
    """What pictures are made with."""

    blobs: Blobs
    snapshot: RegistrySnapshot
    grid: Grid
    ledger: Ledger
    entries: tuple[LedgerEntry, ...]

    def pictured(self, incident: Incident) -> Incident:
        """The incident with a picture; as it was where no clear pair of looks exists."""
        land = self.grid.from_world(incident.footprint)
        view = _view(land, self.grid)
        pair = self._pair(incident, self._clear_over(land, view))
        if pair is None:
            return incident
        before, after = pair
        name = self._name(incident, before, after)
        if not self.blobs.exists(name):
            with suppress(Exists):
                self.blobs.create(name, draw(self._plate(incident, view, before, after)))
        pictures = Pictures(
            before=self._preview(before),
            after=self._preview(after),
            before_acquired=_day(before),
            after_acquired=_day(after),
            side_by_side=name,
        )
        return incident.model_copy(update={"pictures": pictures})

    def _pair(self, incident: Incident, clear: Clear) -> tuple[LedgerEntry, LedgerEntry] | None:
        """Optical looks, else radar looks of one orbit (two orbits differ on every slope)."""
        series = defaultdict(list)
        for entry in self.entries:
            source = self.ledger.source(entry)
            series["" if is_optical(source) else source].append(entry)
        if pair := choose_looks(incident, series.pop("", []), clear):
            return pair
        pairs = [choose_looks(incident, series[source], clear) for source in sorted(series)]
        return max((pair for pair in pairs if pair), key=lambda pair: pair[1].acquired, default=None)

    def _clear_over(self, land: BaseGeometry, view: _View) -> Clear:
        window = view.inside(self.grid)
        if min(window.shape) <= 0:
            return lambda _: False
        footprint = burn([land], window.cut(self.grid))

        def clear(entry: LedgerEntry) -> bool:
            if not self.blobs.exists(self._preview(entry)):
                return False
            seen = self.ledger.looks(entry, self.grid, window) / 2.0
            over = float(seen[footprint].mean()) if footprint.any() else 0.0
            return over >= CLEAR_FOOTPRINT and float(seen.mean()) >= CLEAR_VIEW

        return clear

    def _preview(self, entry: LedgerEntry) -> str:
        return preview_name(entry.pass_name, self.snapshot.area.id, self.grid)

    def _name(self, incident: Incident, before: LedgerEntry, after: LedgerEntry) -> str:
        shown = {
            "incident": incident.model_dump(mode="json", include={"footprint", "hectares", "edge_hectares"}),
            "before": before.pass_name,
            "after": after.pass_name,
            "registry": self.snapshot.version,
            "grid": self.grid.model_dump(),
        }
        return f"pictures/{incident.id}/r{incident.revision:03d}-{digest(shown)[:8]}.png"

    def _plate(self, incident: Incident, view: _View, before: LedgerEntry, after: LedgerEntry) -> Plate:
        years = sorted({before.acquired.year, after.acquired.year})
        colours = "True colour" if is_optical(self.ledger.source(after)) else RADAR_COLOURS
        return Plate(
            before=self._panel("Before", before, view),
            after=self._panel("After", after, view),
            frame=view.frame,
            outlines=self._outlines(incident, view),
            title=_title(incident),
            subtitle=_subtitle(incident, self.snapshot.area.name),
            source=f"Contains modified Copernicus Sentinel data {' and '.join(map(str, years))}. "
            f"{colours}, 10 m, same stretch for both. Detected automatically, not checked on the ground.",
        )

    def _panel(self, word: str, entry: LedgerEntry, view: _View) -> Panel:
        window = view.inside(self.grid)
        raster = read_raster(self.blobs.path(self._preview(entry)), window=window)
        pixels = np.zeros((3, *view.grid.shape), dtype=np.uint8)
        row, column = window.row_start - view.row, window.column_start - view.column
        pixels[:, row : row + window.shape[0], column : column + window.shape[1]] = raster.bands
        return Panel(pixels, f"{word}: {entry.acquired:%Y-%m-%d %H:%M}  UTC, {_platform(raster)}")

    def _outlines(self, incident: Incident, view: _View) -> tuple[Outline, ...]:
        """Zones below permits below the incident; only those whose boundary is in view."""
        seen = shapely.box(*view.frame)
        zones = [(zone.geometry, ZONE, f"zone: {zone.name}") for zone in self.snapshot.zones]
        permits = [
            (permit.geometry, PERMIT, f"permit boundary: {permit.source_id}, {permit.holder_text}")
            for permit in self.snapshot.permits
        ]
        lands = [(self.grid.from_world(world), colour, label) for world, colour, label in (*zones, *permits)]
        shown = [Outline(*one) for one in lands if one[0].boundary.intersects(seen)]
        name = f"suspected {_NAMES[incident.kind]}"
        return (*shown, Outline(self.grid.from_world(incident.footprint), INCIDENT, name))


def _title(incident: Incident) -> str:
    size = f"{incident.hectares:.2f} ha (\u00b1 {incident.edge_hectares:.2f} ha, one pixel along the edge)"
    over = "Reclaimed, was suspected" if incident.status is IncidentStatus.RECLAIMED else "Suspected"
    return f"{over} {_NAMES[incident.kind]}: {size}"


def _subtitle(incident: Incident, area_name: str) -> str:
    lon, lat = incident.anchor
    since = f"after {incident.last_clear_before}, " if incident.last_clear_before else ""
    return (
        f"{area_name}   lat {lat:.5f}, lon {lon:.5f}   happened {since}seen by {incident.first_seen}   "
        f"id {incident.id[:8]}"
    )


def _platform(raster: Raster) -> str:
    """``Sentinel-2A`` for ``sentinel-2a``."""
    text = raster.tags.get("platform", "")
    head, _, tail = text.partition("-")
    return f"{head.capitalize()}-{tail.upper()}" if tail else text
