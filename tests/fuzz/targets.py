"""The doors: each takes damaged input and lets through a value or one of our own errors, nothing else."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import geopandas
from shapely.geometry import box

from detector.models import load_cards
from detector.reading import ReaderSettings, openable
from ingest.items import ItemProblem, acquired_time, read_item, updated_time
from ingest.passes import current, group, revised
from ingest.providers import Profile, load_profile
from registry.errors import ConfigError, GroundwatchError, InputError, Reject
from registry.events import Event, PassFound
from registry.imports import read_areas, read_permits, read_zones
from registry.models import Scene
from registry.reach import Reach
from registry.registers import Register
from registry.settings import load_document, load_settings
from tests.conftest import REPO
from tests.fuzz.mutation import json_bytes, mutated_bytes, mutated_tree
from tests.stac_items import s1_item, s2_item

MOST_CHARS = 4_000
"""Longest line that an error may be; what it quotes of a stranger's text is cut."""

GOLDEN = REPO / "tests" / "golden"
CONFIGS = REPO / "configs"
AREA = box(25.2, 45.2, 25.3, 45.3)
ENVIRONMENT = {"S3_KEY_ID": "key", "S3_SECRET": "secret", "HOME": "/nowhere"}


@dataclass(frozen=True)
class Door:
    """One way in."""

    name: str
    damaged: Callable[[Random], bytes]
    """A specimen of what comes in, broken."""
    enter: Callable[[bytes], bool]
    """Take it: whether it was let in. Raises an AssertionError, or anything else, where that is a fault."""


@contextmanager
def _refusing(*allowed: type[GroundwatchError]) -> Iterator[list[str]]:
    """Lets these errors pass as one clean line each."""
    said: list[str] = []
    try:
        yield said
    except allowed as exc:
        # A file's mistakes are told together, one line each.
        lines = str(exc).split("\n") if isinstance(exc, ConfigError) else [str(exc)]
        said += [clean(line) for line in lines]


def clean(line: str) -> str:
    """The line, if it is one."""
    assert line, "the error says nothing"
    assert "\n" not in line, f"the error is more than one line: {line!r}"
    assert len(line) <= MOST_CHARS, f"the error has {len(line)} characters: {line[:200]!r}"
    return line


# -- events -----------------------------------------------------------------------------------------


@cache
def _golden() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(GOLDEN.glob("*.json")))


def damaged_event(chance: Random) -> bytes:
    """An event of any version, broken as data or as bytes."""
    raw = chance.choice(_golden())
    if chance.random() < 0.75:
        return json_bytes(mutated_tree(json.loads(raw), chance))
    return mutated_bytes(raw, chance, _golden())


def enter_event(raw: bytes) -> bool:
    """What a worker does with an event before it reaches for anything outside."""
    with _refusing(Reject) as said:
        event = Event.from_json(raw)
    if said:
        return False
    assert Event.from_json(event.to_json()) == event
    if isinstance(event.data, PassFound):
        for scene in event.data.pass_.scenes:
            for file in scene.bands.values():
                with _refusing(Reject):
                    openable(file.href, _STRICT)
    return True


_STRICT = ReaderSettings(
    threads=1,
    retries=0,
    timeout_s=1,
    local_files=False,
    reach=Reach(own=frozenset({"h.org"}), hosts=("nobody.invalid",)),  # no name is looked up
)


# -- STAC items -------------------------------------------------------------------------------------

PROFILES = ("earth-search", "planetary-computer", "cdse", "custom-example")


@cache
def _profiles() -> tuple[Profile, ...]:
    return tuple(load_profile(name) for name in PROFILES)


def damaged_item(chance: Random) -> bytes:
    """A STAC item as it stands in an answer, broken."""
    item = chance.choice((s2_item, s1_item))(chance.randint(0, 400))
    tree = mutated_tree(item, chance)
    return json_bytes({"profile": chance.randrange(len(PROFILES)), "item": tree})


def enter_item(raw: bytes) -> bool:
    """An item through reading and grouping; those that are no use are told in one line."""
    given = json.loads(raw)
    profile, item = _profiles()[given["profile"]], given["item"]
    read = [read_item(item, profile=profile, collection=one) for one in profile.collections]
    for one in profile.collections:
        if isinstance(item, dict):
            updated_time(item, one)
    for problem in read:
        if isinstance(problem, ItemProblem):
            clean(str(problem))
    scenes = [one for one in read if isinstance(one, Scene)]
    for scene in scenes:
        assert acquired_time(item) == scene.acquired
        assert Scene.model_validate_json(scene.model_dump_json()) == scene
        for key, found in group([scene, scene], area=AREA).items():
            one = revised(None, current(found), area_id="pit", key=key, area=AREA)
            assert one is not None
            assert revised(one, found, area_id="pit", key=key, area=AREA) is one
    return bool(scenes)


# -- YAML -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    folder: str
    load: Callable[[Path], object]


_KINDS = (
    _Kind("", lambda path: load_settings(path, ENVIRONMENT)),
    _Kind("providers", lambda path: load_document(path, Profile, environ=ENVIRONMENT)),
    _Kind("registers", lambda path: load_document(path, Register, environ=ENVIRONMENT)),
    _Kind("models", lambda path: load_cards((path.parent,))),
)


@cache
def _yaml(folder: str) -> tuple[bytes, ...]:
    found = sorted((CONFIGS / folder).glob("*.yml"))
    # The 490 commented lines of default.yml take a tenth of a second each time: its keys, without them.
    return tuple(_without_comments(path.read_bytes()) for path in found)


def _without_comments(raw: bytes) -> bytes:
    return b"".join(line for line in raw.splitlines(keepends=True) if not line.lstrip().startswith(b"#"))


def damaged_yaml(chance: Random) -> bytes:
    """A configuration, provider profile, register mapping or model card, broken."""
    number = chance.randrange(len(_KINDS))
    some = _yaml(_KINDS[number].folder)
    raw = chance.choice(some)
    if chance.random() < 0.5:
        lines = raw.splitlines(keepends=True)
        chance.shuffle(lines[(first := chance.randrange(len(lines))) : first + 4])
        place = chance.randrange(len(lines))
        lines[place] = mutated_bytes(lines[place], chance)
        raw = b"".join(lines)
    else:
        raw = mutated_bytes(raw, chance, some)
    return bytes([number]) + raw


def enter_yaml(raw: bytes) -> bool:
    """A file through the only reader of YAML."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.yml"
        path.write_bytes(raw[1:])
        with _refusing(ConfigError) as said:
            _KINDS[raw[0]].load(path)
    return not said


# -- files of permits, zones and areas --------------------------------------------------------------


@cache
def _files() -> tuple[tuple[str, bytes], ...]:
    """Small sound files of every kind that is read, as (name, bytes)."""
    frame = geopandas.GeoDataFrame(
        {
            "id": ["A-1", "A-2"],
            "name": ["North pit", "Süd"],
            "holder": ["X Ltd (60%); Y Inc [40 %]", ""],
            "status": ["granted", "?"],
            "valid_from": ["2020-01-01", "31/12/1899"],
            "valid_to": ["2030-12-31", ""],
            "area_ha": ["1.234,5", "x"],
        },
        geometry=[box(25.0, 45.0, 25.1, 45.1), box(25.1, 45.0, 25.2, 45.1)],
        crs="EPSG:4326",
    )
    made: list[tuple[str, bytes]] = []
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        frame.to_file(folder / "a.gpkg", driver="GPKG", layer="permits")
        frame.to_file(folder / "a.shp", encoding="UTF-8")
        frame.to_parquet(folder / "a.parquet")
        frame.to_file(folder / "a.kml", driver="KML")
        frame.to_file(folder / "a.geojson", driver="GeoJSON")
        plain = ("a.geojson", "a.kml", "a.gpkg", "a.parquet")
        made += [(name, (folder / name).read_bytes()) for name in plain]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for part in ("shp", "shx", "dbf", "prj", "cpg"):
                archive.write(folder / f"a.{part}", f"a.{part}")
        made.append(("a.zip", packed.getvalue()))
    return tuple(made)


_READERS: tuple[Callable[[Path], Any], ...] = (read_permits, read_areas, read_zones)


def damaged_file(chance: Random) -> bytes:
    """A file, broken: GeoJSON mostly as data, the parts of a Shapefile inside their zip, others as bytes."""
    number = chance.choices(range(5), weights=(5, 2, 1, 1, 3))[0]
    name, raw = _files()[number]
    if name.endswith("geojson") and chance.random() < 0.8:
        raw = json_bytes(mutated_tree(json.loads(raw), chance))
    elif name.endswith("zip") and chance.random() < 0.8:
        raw = _with_damaged_part(raw, chance)
    else:
        raw = mutated_bytes(raw, chance)
    return bytes([number, chance.randrange(len(_READERS))]) + raw


def _with_damaged_part(raw: bytes, chance: Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as sink:
        names = source.namelist()
        victim = chance.choice(names)
        for name in names:
            data = source.read(name)
            sink.writestr(name, mutated_bytes(data, chance) if name == victim else data)
    return out.getvalue()


def enter_file(raw: bytes) -> bool:
    """A file through the importer; each row is imported or told of in one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _files()[raw[0]][0]
        path.write_bytes(raw[2:])
        with _refusing(InputError, ConfigError) as said:
            report = _READERS[raw[1]](path)
    if said:
        return False
    for note in report.problems:
        clean(str(note))
    for one in report.rows:
        assert type(one).model_validate_json(one.model_dump_json()) == one
    return True


DOORS = (
    Door("events", damaged_event, enter_event),
    Door("STAC items", damaged_item, enter_item),
    Door("YAML files", damaged_yaml, enter_yaml),
    Door("permit files", damaged_file, enter_file),
)
