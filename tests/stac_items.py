"""STAC items as providers write them, small enough to read: for tests of ingest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from shapely.geometry import box, mapping

from ingest.items import read_item
from ingest.providers import load_profile
from registry.models import Scene

Item = dict[str, Any]

NOON = datetime(2024, 6, 1, 9, 20, tzinfo=UTC)
"""A usual sensing time over Europe."""

TILE = (25.0, 45.0, 26.4, 46.0)
"""Box of the tile that the samples lie in, degrees."""


def text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"


def s2_item(
    day: int = 0,
    *,
    tile: str = "35TLK",
    where: tuple[float, float, float, float] = TILE,
    baseline: str = "05.10",
    sequence: int = 0,
    seconds: float = 0.0,
    updated: datetime | None = None,
    properties: dict[str, object] | None = None,
) -> Item:
    """A Sentinel-2 item as Earth Search writes it, acquired ``day`` days after NOON."""
    acquired = NOON + timedelta(days=day, seconds=seconds)
    start = f"{NOON + timedelta(days=day):%Y%m%dT%H%M%S}"
    number = baseline.replace(".", "")
    known: dict[str, object] = {
        "datetime": text(acquired),
        "created": text(acquired + timedelta(hours=6)),
        "updated": text(updated or acquired + timedelta(hours=6)),
        "platform": "sentinel-2a",
        "eo:cloud_cover": 12.5,
        "grid:code": f"MGRS-{tile}",
        "proj:epsg": 32635,
        "s2:processing_baseline": baseline,
        "s2:datatake_id": f"GS2A_{start}_{40000 + day:06d}_N{baseline}",
        "s2:product_uri": f"S2A_MSIL2A_{start}_N{number}_R093_T{tile}_{start}.SAFE",
    }
    id_ = f"S2A_{tile}_{start}_{sequence}_L2A_{number}"
    names = {"blue": 10, "green": 10, "red": 10, "nir": 10, "swir16": 20}
    assets = {name: s2_asset(f"https://cogs.example/{id_}/{name}.tif") for name in names}
    assets["scl"] = {
        "href": f"https://cogs.example/{id_}/scl.tif",
        "raster:bands": [{"nodata": 0, "data_type": "uint8"}],
    }
    return feature(id_, "sentinel-2-l2a", where, known | (properties or {}), assets)


def s2_asset(href: str) -> Item:
    return {
        "href": href,
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "raster:bands": [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}],
    }


def s1_item(
    day: float = 0.0, *, where: tuple[float, float, float, float] = TILE, updated: datetime | None = None
) -> Item:
    """A Sentinel-1 RTC item as the Planetary Computer writes it."""
    acquired = NOON + timedelta(days=day, hours=-5)
    start = f"{acquired:%Y%m%dT%H%M%S}"
    properties: dict[str, object] = {
        "datetime": text(acquired),
        "updated": text(updated or acquired + timedelta(hours=12)),
        "platform": "SENTINEL-1A",
        "sar:product_type": "GRD",
        "sat:orbit_state": "descending",
        "sat:relative_orbit": 80,
        "s1:datatake_id": f"{200000 + int(day)}",
        "proj:epsg": 32635,
    }
    id_ = f"S1A_IW_GRDH_1SDV_{start}_rtc"
    bands = [{"nodata": -32768, "data_type": "float32"}]
    assets = {
        name: {"href": f"https://cogs.example/{id_}/{name}.tif", "raster:bands": bands}
        for name in ("vv", "vh")
    }
    return feature(id_, "sentinel-1-rtc", where, properties, assets)


def feature(
    id_: str,
    collection: str,
    where: tuple[float, float, float, float],
    properties: dict[str, object],
    assets: dict[str, Any],
) -> Item:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": id_,
        "collection": collection,
        "geometry": mapping(box(*where)),
        "bbox": list(where),
        "properties": properties,
        "links": [],
        "assets": assets,
    }


def scene(item: Item) -> Scene:
    """The item as ingest reads it with the Earth Search or the Planetary Computer profile."""
    radar = item["collection"] == "sentinel-1-rtc"
    profile = load_profile("custom-example")
    found = read_item(item, profile=profile, collection=profile.collections[int(radar)])
    assert isinstance(found, Scene), found
    return found
