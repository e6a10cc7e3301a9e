"""What is peculiar to each provider, as data: a profile in YAML, so that a new provider needs no code.

Shipped profiles lie in ``configs/providers``; a settings file may name the path of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from registry.errors import ConfigError
from registry.models import BANDS, S1_BANDS, Sensor, Slug
from registry.setting_models import HttpUrl, ProviderSettings
from registry.settings import load_document
from registry.values import Value, WrongAt


class OffsetRule(StrEnum):
    """How the offset of Sentinel-2 reflectance is known."""

    DECLARED = "declared"
    """The item's own scale and offset hold; checked in the pixels where the baseline contradicts them."""
    MAYBE_APPLIED = "maybe-applied"
    """Declared, but the pixels may hold it already (Earth Search): the reader checks them."""
    BASELINE = "baseline"
    """Not declared: -1000 from processing baseline 04.00 on (Planetary Computer)."""


class Batching(StrEnum):
    """How many areas are asked for in one request."""

    GEOMETRY = "geometry"
    """One geometry made of the areas' boxes."""
    TILES = "tiles"
    """``tile IN (...)`` with the tiles seen before, by geometry until they are known."""


class Numbers(Value):
    """How numbers become reflectance or gamma0 where the item does not say."""

    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None


class PropertyNames(Value):
    """Where an item keeps what; of several names the first that is there counts."""

    baseline: tuple[str, ...] = ("s2:processing_baseline", "processing:version")
    datatake: tuple[str, ...] = ("s2:datatake_id", "eopf:datatake_id", "s1:datatake_id")
    tile: tuple[str, ...] = ("grid:code", "s2:mgrs_tile")
    relative_orbit: tuple[str, ...] = ("sat:relative_orbit",)
    orbit_state: tuple[str, ...] = ("sat:orbit_state",)
    product: tuple[str, ...] = ("s2:product_uri",)
    """Product name, out of which a missing orbit (``R079``) and tile (``T33TWL``) are read."""
    version: tuple[str, ...] = ("updated", "s2:generation_time", "published", "created")
    updated: str | None = "updated"
    """Property that rises whenever an item is made or replaced; null = the provider has none."""
    offset_applied: str | None = None
    """Property that is true where the offset is in the pixels already."""


class CollectionProfile(Value):
    """One collection of one provider."""

    id: str = Field(min_length=1)
    """Collection id at the provider."""
    sensor: Sensor
    enabled: bool = True
    """False = known but not polled, unless the settings name it."""
    bands: Mapping[str, str] = Field(min_length=1)
    """Canonical band by asset name; ``asset#2`` means the second band of the asset."""
    numbers: Numbers = Numbers()
    offset_rule: OffsetRule = OffsetRule.DECLARED
    terrain_corrected: bool | None = None
    """Sentinel-1: true = RTC gamma0; false = refused; null = refused unless the item has a map projection."""
    properties: PropertyNames = PropertyNames()
    tile_query: str | None = None
    """Property that can be asked for by tile, such as ``grid:code``."""
    tile_prefix: str = "MGRS-"
    """What stands before the tile in that property."""
    href_template: str | None = None
    """How an asset is opened, with ``{href}`` percent-encoded and ``{collection}``; null = by its href."""

    @model_validator(mode="after")
    def _bands_known(self) -> Self:
        unknown = sorted(set(self.bands.values()) - set(BANDS))
        if unknown:
            raise WrongAt(("bands",), f"unknown bands {unknown}; use names out of {list(BANDS)}")
        radar = set(self.bands.values()) & set(S1_BANDS)
        if bool(radar) != (self.sensor is Sensor.S1):
            raise WrongAt(("bands",), f"bands {sorted(self.bands.values())} do not fit sensor {self.sensor}")
        if self.href_template is not None and "{href}" not in self.href_template:
            raise WrongAt(("href_template",), f"href_template {self.href_template!r} lacks {{href}}")
        return self


class Profile(Value):
    """A provider: where its API is, what its collections look like, what it can be asked."""

    name: Slug
    title: str = ""
    url: HttpUrl
    """Root of the STAC API."""
    collections: tuple[CollectionProfile, ...] = Field(min_length=1)
    filter: bool = True
    """False = never ask with a filter, whatever the conformance classes say."""
    batching: Batching = Batching.GEOMETRY
    href_schemes: tuple[str, ...] = ("https", "http", "s3")
    """Schemes that an asset may have; others are refused, so that no item makes us read a local file."""
    href_query_env: str | None = None
    """Environment variable with a query string that readers append to hrefs (a SAS token, say)."""


def shipped_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with groundwatch."""
    folder = files("configs.providers")
    return tuple(
        sorted(one.name.removesuffix(".yml") for one in folder.iterdir() if one.name.endswith(".yml"))
    )


def load_profile(name_or_path: str) -> Profile:
    """A shipped profile by name, or one from a YAML file. Raises ConfigError with file, line and key."""
    if name_or_path in shipped_profiles():
        return load_document(Path(str(files("configs.providers") / f"{name_or_path}.yml")), Profile)
    path = Path(name_or_path)
    if path.suffix not in {".yml", ".yaml"}:
        known = ", ".join(shipped_profiles())
        raise ConfigError(f"provider profile {name_or_path!r} is not known; use {known}, or a .yml file")
    return load_document(path, Profile)


def effective_profile(settings: ProviderSettings) -> Profile:
    """The profile with what the settings say otherwise: name, url, collections, sensors.

    Raises ConfigError where the settings name a collection for a sensor the profile knows nothing of.
    """
    profile = load_profile(settings.profile)
    collections = [
        chosen for sensor in settings.sensors for chosen in _chosen(profile, sensor, settings.collections)
    ]
    if not collections:
        raise ConfigError(
            f"provider {settings.name}: profile {profile.name} polls nothing of sensors "
            f"{[str(sensor) for sensor in settings.sensors]}; name a collection or another sensor"
        )
    return profile.model_copy(
        update={
            "name": settings.name,
            "url": settings.url or profile.url,
            "collections": tuple(collections),
        }
    )


def _chosen(profile: Profile, sensor: Sensor, named: Mapping[Sensor, str]) -> list[CollectionProfile]:
    of_sensor = [one for one in profile.collections if one.sensor is sensor]
    if sensor not in named:
        return [one for one in of_sensor if one.enabled]
    wanted = named[sensor]
    exact = [one for one in of_sensor if one.id == wanted]
    if not of_sensor:
        raise ConfigError(
            f"collection {wanted!r}: profile {profile.name} describes no {sensor} collection; "
            "write a profile of your own (configs/providers/custom-example.yml)"
        )
    if exact:
        return [exact[0].model_copy(update={"enabled": True})]
    # A collection of another name: whether its radar is terrain-corrected, its items must show.
    return [of_sensor[0].model_copy(update={"id": wanted, "enabled": True, "terrain_corrected": None})]
