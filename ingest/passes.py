"""Scenes to passes: grouped by acquisition, duplicates left out, revised when they change. Pure.

Whatever the order in which scenes arrive, the same scenes give the same passes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from urllib.parse import urlsplit

import shapely
from shapely.geometry.base import BaseGeometry

from ingest.assets import baseline_number
from registry.detection import PartnerSettings
from registry.models import Pass, Scene, Sensor, pass_id
from registry.values import digest, utc_text

COVERED = 0.9
"""Share of a scene's footprint that newer products must cover to replace it."""

DAY_PARTS = 4
"""Quarters of the local day, around 0, 6, 12, 18 h: optical passes come near 10:30, radar near 6 and 18."""


def acquisition_key(scene: Scene, longitude: float) -> str:
    """What makes scenes over one area one acquisition.

    The datatake where it is known (without its baseline, so that reprocessing stays the same pass), else
    platform, orbit and the quarter of the local day at ``longitude`` (degrees): a pass takes seconds over
    an area, the next one of the same platform and orbit comes days later.
    """
    if scene.datatake:
        return f"{scene.sensor}:{scene.datatake}"
    local = scene.acquired + timedelta(hours=longitude / 15.0 + 24.0 / DAY_PARTS / 2)
    orbit = "" if scene.relative_orbit is None else f"{scene.relative_orbit:03d}"
    part = local.hour * DAY_PARTS // 24
    return f"{scene.sensor}:{scene.platform}:{orbit}:{local:%Y%m%d}.{part}"


def latest_versions(scenes: Iterable[Scene]) -> list[Scene]:
    """One scene per item: the newest version, the same one in whatever order they come."""
    newest: dict[tuple[str, str, str], Scene] = {}
    for scene in scenes:
        name = (scene.provider, scene.collection, scene.id)
        known = newest.get(name)
        if known is None or _version(scene) > _version(known):
            newest[name] = scene
    return list(newest.values())


def current(scenes: Iterable[Scene]) -> tuple[Scene, ...]:
    """The scenes of one acquisition that count, in a fixed order.

    Products of an older baseline, radar products sliced anew and copies in another collection are left
    out where newer ones of the same tile and datatake cover them. Station-split products of one tile
    have the same baseline and different ground: both stay.
    """
    newest = latest_versions(scenes)
    return tuple(sorted((one for one in newest if not _replaced(one, newest)), key=_order))


def group(scenes: Iterable[Scene], *, area: BaseGeometry) -> dict[str, tuple[Scene, ...]]:
    """Scenes that meet the area (lon/lat degrees), by acquisition key; duplicates are still in."""
    longitude = float(area.representative_point().x)
    shapely.prepare(area)
    groups: dict[str, list[Scene]] = defaultdict(list)
    for scene in scenes:
        if area.intersects(scene.footprint):
            groups[acquisition_key(scene, longitude)].append(scene)
    return {key: tuple(groups[key]) for key in sorted(groups)}


def revised(
    stored: Pass | None,
    found: Sequence[Scene],
    *,
    area_id: str,
    key: str,
    area: BaseGeometry,
    gone: Collection[str] = (),
) -> Pass | None:
    """The pass after these scenes came and those ids went; None where there is nothing of it.

    Unchanged content gives back ``stored`` itself; anything else is its next revision.
    """
    kept = [] if stored is None or stored.withdrawn else list(stored.scenes)
    kept = [one for one in kept if one.id not in gone and area.intersects(one.footprint)]
    scenes = current([*kept, *found])
    if stored is None:
        return _pass(area_id, key, scenes, 1) if scenes else None
    if not scenes:
        if stored.withdrawn:
            return stored
        return stored.model_copy(update={"withdrawn": True, "revision": stored.revision + 1})
    if not stored.withdrawn and fingerprint(stored.scenes) == fingerprint(scenes):
        return stored
    return _pass(area_id, key, scenes, stored.revision + 1)


def fingerprint(scenes: Iterable[Scene]) -> str:
    """What a pass rests on. Signatures in hrefs change by the hour and are left out."""
    return digest([_content(scene) for scene in scenes])


def other_sensor(sensor: Sensor) -> Sensor:
    """Radar for optical, optical for radar."""
    return Sensor.S1 if sensor is Sensor.S2 else Sensor.S2


def partner_age(sensor: Sensor, settings: PartnerSettings) -> timedelta:
    """How old the partner of a pass of ``sensor`` may be."""
    days = settings.s1_max_age_days if sensor is Sensor.S2 else settings.s2_max_age_days
    return timedelta(days=days)


def partner_of(one: Pass, timeline: Iterable[Pass], settings: PartnerSettings) -> Pass | None:
    """The latest pass of the other sensor acquired before it, within its age limit."""
    age = partner_age(one.sensor, settings)
    wanted = other_sensor(one.sensor)
    fitting = [
        other
        for other in timeline
        if other.sensor is wanted
        and not other.withdrawn
        and other.acquired < one.acquired
        and one.acquired - other.acquired <= age
    ]
    latest = max((other.acquired for other in fitting), default=None)
    return min((other for other in fitting if other.acquired == latest), key=lambda one: one.id, default=None)


def _pass(area_id: str, key: str, scenes: tuple[Scene, ...], revision: int) -> Pass:
    orbits = {scene.relative_orbit for scene in scenes} - {None}
    return Pass(
        id=pass_id(area_id, key),
        area_id=area_id,
        key=key,
        sensor=scenes[0].sensor,
        acquired=min(scene.acquired for scene in scenes),
        relative_orbit=min(orbits, default=None, key=lambda orbit: orbit or 0),
        revision=revision,
        scenes=scenes,
    )


def _version(scene: Scene) -> tuple[str, str]:
    """Orders the versions of one item; equal ones are told apart by content, so that order never counts."""
    return scene.version, digest(_content(scene))


def _order(scene: Scene) -> tuple[str, str, str, str, str]:
    """Oldest baseline first, so that a mosaic which lets later scenes win shows the newest product."""
    number = baseline_number(scene.baseline) or 0.0
    return f"{number:06.2f}", utc_text(scene.acquired), scene.tile or "", scene.id, scene.collection


def _replaced(scene: Scene, all_of_them: Sequence[Scene]) -> bool:
    newer = [other.footprint for other in all_of_them if _replaces(other, scene)]
    if not newer or scene.footprint.area == 0.0:
        return False
    covered = scene.footprint.intersection(shapely.union_all(newer)).area
    return bool(covered >= COVERED * scene.footprint.area)


def _replaces(other: Scene, scene: Scene) -> bool:
    """Whether ``other`` is a newer product of the same tile (or radar strip) and datatake."""
    if other is scene or other.tile != scene.tile or other.datatake != scene.datatake or not scene.datatake:
        return False
    source, others_source = (scene.provider, scene.collection), (other.provider, other.collection)
    if scene.sensor is Sensor.S1:
        return _slice_rank(other) > _slice_rank(scene)
    if scene.tile is None:
        return False
    number, others_number = baseline_number(scene.baseline) or 0.0, baseline_number(other.baseline) or 0.0
    if others_number != number:
        return others_number > number
    return others_source < source


def _slice_rank(scene: Scene) -> tuple[str, str, str, str]:
    """Radar has no baseline: the later version counts, then the source, so that copies are told apart."""
    return scene.version, scene.provider, scene.collection, scene.id


def _content(scene: Scene) -> dict[str, object]:
    bands = {
        name: [_without_signature(band.href), band.index, band.scale, band.offset, band.nodata]
        for name, band in scene.bands.items()
    }
    return {
        "id": scene.id,
        "source": [scene.provider, scene.collection],
        "version": scene.version,
        "acquired": utc_text(scene.acquired),
        "baseline": scene.baseline,
        "offset_check": scene.offset_check,
        "bands": bands,
    }


def _without_signature(href: str) -> str:
    """The href up to its query; GDAL's own options (``/vsicurl?...``) are part of the name."""
    return href if href.startswith("/vsi") else urlsplit(href)._replace(query="", fragment="").geturl()
