"""One STAC item, as a provider writes it, to one Scene or one line that says why not. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from ingest.assets import NotUsableError, is_number, read_bands, self_link
from ingest.footprints import footprint
from ingest.providers import CollectionProfile, Profile
from registry.models import Scene, Sensor


@dataclass(frozen=True)
class ItemProblem:
    """An item that became no scene; the others go on."""

    provider: str
    collection: str
    item: str
    reason: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.provider}/{self.collection}: item {self.item}: {self.reason}"


def read_item(item: object, *, profile: Profile, collection: CollectionProfile) -> Scene | ItemProblem:
    """The item as a Scene, or why it cannot be one. Never raises, whatever the item holds."""
    name = str(item.get("id", "without id")) if isinstance(item, Mapping) else "without id"
    try:
        scene = _scene(item, profile, collection)
        scene.model_dump_json()  # half a surrogate pair can be read, but neither stored nor sent
        return scene
    except NotUsableError as exc:
        reason = str(exc)
    except ValidationError as exc:
        first = exc.errors()[0]
        reason = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as exc:
        reason = f"malformed ({type(exc).__name__}: {exc})"
    return ItemProblem(profile.name, collection.id, _line(name, 120), _line(reason, 400))


def _line(text: str, chars: int) -> str:
    """What a stranger wrote, as one line that every log can hold."""
    return " ".join(text.split())[:chars].encode(errors="replace").decode()


def updated_time(item: Mapping[str, Any], collection: CollectionProfile) -> datetime | None:
    """When the provider last touched the item; None where it does not say."""
    name = collection.properties.updated
    try:
        return None if name is None else _moment(item["properties"][name])
    except (KeyError, TypeError, ValueError):
        return None


def acquired_time(item: Mapping[str, Any]) -> datetime:
    """Sensing time; where ``datetime`` is null, the start. Raises ValueError."""
    properties = item["properties"]
    text = properties.get("datetime") or properties.get("start_datetime")
    if text is None:
        raise NotUsableError("has no datetime; the provider must correct it")
    try:
        return _moment(text)
    except ValueError as exc:
        raise NotUsableError(f"datetime {str(text)[:60]!r} is not ISO 8601 with a time zone") from exc


def _scene(item: object, profile: Profile, collection: CollectionProfile) -> Scene:
    if not isinstance(item, Mapping) or not isinstance(item.get("properties"), Mapping):
        raise NotUsableError("is not a STAC item; the provider must correct it")
    found = _Properties(item["properties"])
    names = collection.properties
    product = " ".join(found.texts(names.product)) + " " + str(item.get("id", ""))
    baseline = _baseline(found.text(names.baseline))
    if collection.sensor is Sensor.S1:
        _check_terrain_corrected(item, collection)
    applied = found.flag(names.offset_applied)
    bands, unsure = read_bands(item, profile, collection, baseline=baseline, applied=applied)
    return Scene(
        id=_text(item.get("id"), "id"),
        href=self_link(item),
        provider=profile.name,
        collection=collection.id,
        sensor=collection.sensor,
        platform=found.text(("platform",)).lower(),
        acquired=acquired_time(item),
        datatake=re.sub(r"_N\d\d\.\d\d$", "", found.text(names.datatake)) or None,
        tile=_tile(found.text(names.tile), product, collection),
        relative_orbit=_orbit(found.text(names.relative_orbit), product),
        orbit_state=found.text(names.orbit_state).lower() or None,
        baseline=baseline,
        version=found.text(names.version),
        footprint=_footprint(item),
        epsg=_epsg(item, collection),
        bands=bands,
        offset_check=unsure,
        cloud_percent=found.percent("eo:cloud_cover"),
    )


class _Properties:
    """Properties read with a tolerant eye: NaN, null and wrong types count as absent."""

    def __init__(self, plain: Mapping[str, Any]) -> None:
        self._plain = plain

    def texts(self, names: tuple[str, ...]) -> list[str]:
        """The values that are there, as text."""
        values = [self._plain.get(name) for name in names]
        return [str(one) for one in values if isinstance(one, str | int) or is_number(one)]

    def text(self, names: tuple[str, ...]) -> str:
        """The first value that is there, as text; empty where none is."""
        return next(iter(self.texts(names)), "")

    def flag(self, name: str | None) -> bool:
        """True only where the property says so."""
        return name is not None and self._plain.get(name) is True

    def percent(self, name: str) -> float | None:
        """A share in percent; None where it is absent or impossible."""
        value: Any = self._plain.get(name)
        return float(value) if is_number(value) and 0.0 <= value <= 100.0 else None


def _check_terrain_corrected(item: Mapping[str, Any], collection: CollectionProfile) -> None:
    """Refuse radar whose pixels are placed by ground control points only.

    One affine from them is wrong by kilometres, and even a good warp leaves the terrain in. The product
    type does not help: the Planetary Computer writes GRD on its RTC items too.
    """
    if collection.terrain_corrected or (
        collection.terrain_corrected is None and _epsg(item, collection) is not None
    ):
        return
    raise NotUsableError(
        "is Sentinel-1 in radar geometry (GRD with ground control points), not terrain-corrected; "
        "use a collection of RTC gamma0, such as sentinel-1-rtc of planetary-computer"
    )


def _epsg(item: Mapping[str, Any], collection: CollectionProfile) -> int | None:
    """EPSG code from proj:code or proj:epsg of the item or of one of its bands."""
    assets = item.get("assets")
    holders = [item["properties"]]
    if isinstance(assets, Mapping):
        holders += [assets.get(name.partition("#")[0]) for name in collection.bands]
    for one in holders:
        if isinstance(one, Mapping):
            text = str(one.get("proj:code") or one.get("proj:epsg") or "")
            digits = text.upper().removeprefix("EPSG:")
            if digits.isdigit():
                return int(digits)
    return None


def _footprint(item: Mapping[str, Any]) -> Any:
    geometry = item.get("geometry")
    if geometry is None:
        raise NotUsableError("has no geometry, so nobody can say where it lies; the provider must correct it")
    try:
        return footprint(geometry)
    except ValueError as exc:
        raise NotUsableError(str(exc)) from exc


def _tile(text: str, product: str, collection: CollectionProfile) -> str | None:
    """MGRS tile with a two-digit zone, from its property or from the product's name."""
    text = text.removeprefix(collection.tile_prefix)
    match = re.fullmatch(r"(\d{1,2})([C-X][A-Z]{2})", text) or re.search(r"_T(\d\d)([C-X][A-Z]{2})_", product)
    return None if match is None else f"{int(match[1]):02d}{match[2]}"


def _orbit(text: str, product: str) -> int | None:
    """Relative orbit, from its property or from ``R079`` in the product's name."""
    if text.isdigit():
        return int(text)
    match = re.search(r"_R(\d{3})_", product)
    return None if match is None else int(match[1])


def _baseline(text: str) -> str | None:
    """``NN.NN``; 5.1 means 05.10, since 05.10 written as a number loses its zero."""
    match = re.fullmatch(r"(\d{1,2})\.(\d{1,2})", text)
    return None if match is None else f"{int(match[1]):02d}.{match[2]:0<2}"


def _moment(text: object) -> datetime:
    moment = datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise NotUsableError(f"has no {what}; the provider must correct it")
    return value
