"""STAC 1.0 items and collections as Earth Search (S2) and the Planetary Computer (S1) write them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry

from simulator.frame import Frame, Sun
from simulator.optical import NATIVE
from simulator.products import S2_ORBIT, OpticalProduct, RadarProduct

S2_COLLECTION = "sentinel-2-l2a"
S1_COLLECTION = "sentinel-1-rtc"

COG = "image/tiff; application=geotiff; profile=cloud-optimized"

_SCHEMA = "https://stac-extensions.github.io"
_S2_EXTENSIONS = [
    f"{_SCHEMA}/eo/v1.1.0/schema.json",
    f"{_SCHEMA}/grid/v1.1.0/schema.json",
    f"{_SCHEMA}/mgrs/v1.0.0/schema.json",
    f"{_SCHEMA}/projection/v1.1.0/schema.json",
    f"{_SCHEMA}/raster/v1.1.0/schema.json",
    f"{_SCHEMA}/sat/v1.0.0/schema.json",
    f"{_SCHEMA}/view/v1.0.0/schema.json",
]
_S1_EXTENSIONS = [
    f"{_SCHEMA}/projection/v1.1.0/schema.json",
    f"{_SCHEMA}/raster/v1.1.0/schema.json",
    f"{_SCHEMA}/sar/v1.0.0/schema.json",
    f"{_SCHEMA}/sat/v1.0.0/schema.json",
]

ASSETS: Mapping[str, tuple[str, str | None, float, float]] = {
    "coastal": ("B01", "coastal", 0.443, 0.027),
    "blue": ("B02", "blue", 0.490, 0.098),
    "green": ("B03", "green", 0.560, 0.045),
    "red": ("B04", "red", 0.665, 0.038),
    "rededge1": ("B05", "rededge", 0.704, 0.019),
    "rededge2": ("B06", "rededge", 0.740, 0.018),
    "rededge3": ("B07", "rededge", 0.783, 0.028),
    "nir": ("B08", "nir", 0.842, 0.145),
    "nir08": ("B8A", "nir08", 0.865, 0.033),
    "nir09": ("B09", "nir09", 0.945, 0.026),
    "swir16": ("B11", "swir16", 1.610, 0.143),
    "swir22": ("B12", "swir22", 2.190, 0.242),
}
"""Asset name: band, common name, centre and width in micrometres (the figures Earth Search gives)."""


def text(when: datetime) -> str:
    """RFC 3339 with milliseconds, as the archives write it."""
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"


def _transform(frame: Frame, metres: int) -> list[int]:
    return [metres, 0, frame.left, 0, -metres, frame.top]


def _shape(frame: Frame, metres: int) -> list[int]:
    return [frame.size * 10 // metres] * 2


def footprint(frame: Frame, part: str = "whole") -> BaseGeometry:
    """Where a product has pixels, lon/lat."""
    side, half = frame.size * 10, frame.size * 5
    edges = {
        "whole": (0, 0, side, side),
        "north": (0, 0, side, half + 300),
        "south": (0, half - 300, side, side),
    }
    return frame.to_lonlat(box(*edges[part]))


def _s2_asset(frame: Frame, folder: str, name: str) -> dict[str, Any]:
    band, common, centre, width = ASSETS[name]
    metres = NATIVE[band]
    return {
        "href": f"{folder}/{band}.tif",
        "type": COG,
        "title": f"{name} ({band}) - {metres}m",
        "eo:bands": [
            {
                "name": name,
                "common_name": common,
                "description": f"{name} ({band})",
                "center_wavelength": centre,
                "full_width_half_max": width,
            }
        ],
        "gsd": metres,
        "proj:shape": _shape(frame, metres),
        "proj:transform": _transform(frame, metres),
        "raster:bands": [
            {
                "nodata": 0,
                "data_type": "uint16",
                "bits_per_sample": 15,
                "spatial_resolution": metres,
                "scale": 0.0001,
                "offset": -0.1,
            }
        ],
        "roles": ["data", "reflectance"],
    }


def _scl_asset(frame: Frame, folder: str) -> dict[str, Any]:
    return {
        "href": f"{folder}/SCL.tif",
        "type": COG,
        "title": "Scene classification map (SCL)",
        "proj:shape": _shape(frame, 20),
        "proj:transform": _transform(frame, 20),
        "raster:bands": [{"nodata": 0, "data_type": "uint8", "spatial_resolution": 20}],
        "roles": ["data", "reflectance"],
    }


def optical_item(
    frame: Frame,
    product: OpticalProduct,
    *,
    folder: str,
    sun: Sun,
    cloud: float,
    created: datetime,
    updated: datetime,
) -> dict[str, Any]:
    """One Sentinel-2 L2A item; asset hrefs are relative to the district's folder."""
    shape = footprint(frame, product.part)
    generated = text(product.generated)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": _S2_EXTENSIONS,
        "id": product.id,
        "collection": S2_COLLECTION,
        "bbox": [round(edge, 7) for edge in shape.bounds],
        "geometry": mapping(shape),
        "properties": {
            "datetime": text(product.sensed),
            "created": text(created),
            "updated": text(updated),
            "platform": product.platform,
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "eo:cloud_cover": round(cloud, 6),
            "proj:epsg": frame.epsg,
            "mgrs:utm_zone": int(frame.tile[:2]),
            "mgrs:latitude_band": frame.tile[2],
            "mgrs:grid_square": frame.tile[3:],
            "grid:code": f"MGRS-{frame.tile}",
            "sat:relative_orbit": S2_ORBIT,
            "sat:orbit_state": "descending",
            "sat:absolute_orbit": product.orbit,
            "view:sun_azimuth": round(sun.azimuth, 6),
            "view:sun_elevation": round(90.0 - sun.zenith, 6),
            "s2:product_type": "S2MSI2A",
            "s2:processing_baseline": product.baseline,
            "s2:product_uri": product.product_uri,
            "s2:generation_time": generated,
            "s2:datatake_id": product.datatake,
            "s2:datatake_type": "INS-NOBS",
            "s2:sequence": str(product.sequence),
            "earthsearch:boa_offset_applied": False,
        },
        "assets": {name: _s2_asset(frame, folder, name) for name in ASSETS}
        | {"scl": _scl_asset(frame, folder)},
        "links": [],
    }


def radar_item(frame: Frame, product: RadarProduct, *, folder: str, created: datetime) -> dict[str, Any]:
    """One Sentinel-1 RTC item."""
    shape = footprint(frame)
    state = "ascending" if product.track.ascending else "descending"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": _S1_EXTENSIONS,
        "id": product.id,
        "collection": S1_COLLECTION,
        "bbox": [round(edge, 7) for edge in shape.bounds],
        "geometry": mapping(shape),
        "properties": {
            "datetime": text(product.start),
            "created": text(created),
            "updated": text(created),
            "platform": "sentinel-1a",
            "constellation": "sentinel-1",
            "instruments": ["c-sar"],
            "proj:epsg": frame.epsg,
            "proj:shape": _shape(frame, 10),
            "proj:transform": _transform(frame, 10),
            "sar:instrument_mode": "IW",
            "sar:frequency_band": "C",
            "sar:center_frequency": 5.405,
            "sar:polarizations": ["VV", "VH"],
            "sar:product_type": "RTC",
            "sar:looks_equivalent_number": 4.4,
            "sar:observation_direction": "right",
            "sat:relative_orbit": product.track.relative_orbit,
            "sat:orbit_state": state,
            "sat:absolute_orbit": product.orbit,
            "s1:datatake_id": str(product.orbit * 9 + 17),
        },
        "assets": {name: _s1_asset(frame, folder, name) for name in ("vv", "vh")},
        "links": [],
    }


def _s1_asset(frame: Frame, folder: str, name: str) -> dict[str, Any]:
    return {
        "href": f"{folder}/{name.upper()}.tif",
        "type": COG,
        "title": f"{name.upper()}: gamma0, terrain-corrected, linear power",
        "proj:shape": _shape(frame, 10),
        "proj:transform": _transform(frame, 10),
        "raster:bands": [{"nodata": -32768, "data_type": "float32", "spatial_resolution": 10}],
        "sar:polarizations": [name.upper()],
        "roles": ["data"],
    }


def collections(frame: Frame, start: datetime) -> tuple[dict[str, Any], ...]:
    """The two collections."""
    west, south, east, north = footprint(frame).bounds
    titles = {
        S2_COLLECTION: "Simulated Sentinel-2 Level 2A",
        S1_COLLECTION: "Simulated Sentinel-1 terrain-corrected gamma0",
    }
    return tuple(
        {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": name,
            "title": title,
            "description": f"{title}: a fictional district made by groundwatch's simulator.",
            "license": "Apache-2.0",
            "extent": {
                "spatial": {"bbox": [[west, south, east, north]]},
                "temporal": {"interval": [[text(start), None]]},
            },
            "links": [],
        }
        for name, title in titles.items()
    )
