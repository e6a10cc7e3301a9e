"""An area's scenes to recorded, published passes: what is new, what is revised, whose partner changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from shapely.geometry.base import BaseGeometry

from ingest.footprints import buffered
from ingest.marks import outline_digest
from ingest.passes import group, partner_age, partner_of, revised
from registry.blobs import Blobs
from registry.bus import Lane
from registry.detection import DetectionSettings
from registry.events import Event, PassFound, RegistryRef, pass_found
from registry.grid import Grid, area_grid
from registry.log import bound, get_logger
from registry.metrics import observe
from registry.models import Area, Pass, Scene, Sensor
from registry.snapshots import store_snapshot
from registry.store import Store
from registry.values import digest

log = get_logger(__name__)


@dataclass
class Counts:
    """What became of the passes of one run."""

    new: int = 0
    revised: int = 0
    withdrawn: int = 0
    reissued: int = 0
    unchanged: int = 0
    published: int = 0


@dataclass
class Issuer:
    """Records the passes of areas, one transaction for each area and group of scenes."""

    store: Store
    blobs: Blobs
    settings: Callable[[str], DetectionSettings]
    """Effective detection settings by area id."""
    now: Callable[[], datetime]
    counts: Counts = field(default_factory=Counts)

    def record(
        self,
        area: Area,
        scenes: Iterable[Scene],
        *,
        gone: Mapping[str, Collection[str]],
        since: datetime,
        until: datetime | None,
        force: bool = False,
        lane: Lane = Lane.LIVE,
    ) -> None:
        """Make passes of the scenes acquired from ``since`` to before ``until``, and publish what is new
        or changed.

        ``gone`` names by pass key the scenes that the provider took back. ``force`` publishes unchanged
        ones too: the bus drops what it had under the same grid and settings. History belongs on the lane
        BACKFILL, where it holds up no news. Raises InputError where the area has no grid.
        """
        place = _Place(area, self.settings(area.id))
        groups = _within(group(scenes, area=place.shape), since, until)
        changed: list[Pass] = []
        same: list[Pass] = []
        for key in sorted({*groups, *gone}):
            stored = self.store.latest_pass(area.id, key)
            one = revised(
                stored,
                groups.get(key, ()),
                area_id=area.id,
                key=key,
                area=place.shape,
                gone=gone.get(key, ()),
            )
            if one is not None:
                self._count(stored, one)
                (same if one is stored else changed).append(one)
        if changed or (force and same):
            self._publish(place, changed, same if force else [], lane)

    def reissue_if_changed(self, area: Area, known: str) -> str:
        """Publish all passes of an area again where its outline or settings are not the ``known`` ones.

        Otherwise its history would rest on other thresholds than its next pass. Gives what identifies
        outline and settings now; an empty ``known`` stands for no passes issued yet.
        """
        place = _Place(area, self.settings(area.id))
        value = digest({"outline": outline_digest(area), "settings": place.settings.digest})
        if known not in {"", value}:
            passes = self.store.passes(area.id)
            with bound(area=area.id):
                log.info("settings or outline changed, issuing all passes again", passes=len(passes))
            if passes:
                self._publish(place, [], passes, Lane.BACKFILL)
        return value

    def _publish(self, place: _Place, changed: Sequence[Pass], same: Sequence[Pass], lane: Lane) -> None:
        timeline = self._timeline(place, [*changed, *same])
        timeline.update((one.id, one) for one in changed)
        repartnered = self._repartnered(place, changed, timeline)
        self.counts.reissued += len(repartnered)
        timeline.update((one.id, one) for one in repartnered)
        due = {one.id: one for one in [*same, *changed, *repartnered]}
        ordered = sorted(due.values(), key=lambda one: (one.acquired, one.id))
        events = self._events(place, ordered, timeline.values())
        published = self.store.record_passes(events, lane=lane)
        self.counts.published += published
        for one in changed if lane is Lane.LIVE else ():
            observe("groundwatch_seen_age_seconds", (self.now() - one.acquired).total_seconds())
        with bound(area=place.area.id):
            log.info("passes recorded", passes=len(events), published=published)

    def _timeline(self, place: _Place, passes: Sequence[Pass]) -> dict[str, Pass]:
        """Stored passes by id that may be partners of these, or have them as partner."""
        reach = max(partner_age(sensor, place.settings.partner) for sensor in Sensor)
        since = min(one.acquired for one in passes) - reach
        until = max(one.acquired for one in passes) + reach + timedelta(seconds=1)
        return {one.id: one for one in self.store.passes(place.area.id, since=since, until=until)}

    def _repartnered(
        self, place: _Place, changed: Sequence[Pass], timeline: Mapping[str, Pass]
    ) -> list[Pass]:
        """Stored passes that get another partner, or whose partner's scenes changed, as new revisions.

        A partner that was itself only given another partner is the same picture and changes nothing.
        """
        changed_ids = {one.id for one in changed}
        found = []
        for one in timeline.values():
            if one.withdrawn or one.id in changed_ids or not _may_concern(one, changed, place.settings):
                continue
            issued = self.store.issued(place.area.id, one.id)
            partner = partner_of(one, timeline.values(), place.settings.partner)
            partner_id = None if partner is None else partner.id
            if issued is None or issued.partner_id != partner_id or partner_id in changed_ids:
                found.append(one.model_copy(update={"revision": one.revision + 1}))
        return found

    def _events(self, place: _Place, passes: Iterable[Pass], timeline: Iterable[Pass]) -> list[Event]:
        grid, registry, at = place.grid, self._registry(place.area), self.now()
        known = list(timeline)
        return [
            pass_found(
                PassFound.model_validate(
                    {
                        "area": place.area,
                        "grid": grid,
                        "registry": registry,
                        "settings": place.settings,
                        "pass": one,
                        "partner": partner_of(one, known, place.settings.partner),
                    }
                ),
                at=at,
            )
            for one in passes
        ]

    def _registry(self, area: Area) -> RegistryRef:
        return store_snapshot(self.blobs, self.store.snapshot(area.id))

    def _count(self, stored: Pass | None, one: Pass) -> None:
        if one is stored:
            self.counts.unchanged += 1
        elif stored is None:
            self.counts.new += 1
        elif one.withdrawn:
            self.counts.withdrawn += 1
        else:
            self.counts.revised += 1


class _Place:
    """An area with what hangs on its outline and settings."""

    def __init__(self, area: Area, settings: DetectionSettings) -> None:
        self.area = area
        self.settings = settings

    @cached_property
    def shape(self) -> BaseGeometry:
        """The area with its buffer, lon/lat degrees."""
        return buffered(self.area.geometry, self.area.buffer_m)

    @cached_property
    def grid(self) -> Grid:
        """The area's grid."""
        return area_grid(self.area.geometry, self.area.buffer_m)


def _within(
    groups: Mapping[str, tuple[Scene, ...]], since: datetime, until: datetime | None
) -> dict[str, tuple[Scene, ...]]:
    """Acquisitions that begin inside the window; those at its edges may be incomplete."""
    begins = {key: min(scene.acquired for scene in scenes) for key, scenes in groups.items()}
    return {
        key: scenes
        for key, scenes in groups.items()
        if since <= begins[key] and (until is None or begins[key] < until)
    }


def _may_concern(one: Pass, changed: Iterable[Pass], settings: DetectionSettings) -> bool:
    """Whether one of the changed passes is near enough before this one to be its partner."""
    age = partner_age(one.sensor, settings.partner)
    return any(
        other.sensor is not one.sensor and timedelta(0) < one.acquired - other.acquired <= age
        for other in changed
    )
