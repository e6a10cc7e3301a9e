"""What a pass leaves for people: a preview in colour, and masks as COGs with a STAC item.

Previews of all passes of a sensor share one stretch, so before and after can be compared. Masks depend on
every pass before them; the digests of their states are in the name, so a re-fold writes new ones beside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import mapping

from detector.colour import radar_colour, true_colour
from detector.rasters import Style, encode_cog, read_raster
from detector.state import PixelStatus, State, posterior
from registry.blobs import Blobs
from registry.errors import Exists, Reject
from registry.geometry import hectares
from registry.grid import RESOLUTION, Grid
from registry.log import get_logger
from registry.models import Area, Pass, Scene, Sensor, Target
from registry.values import canonical_json, digest, utc_text

log = get_logger(__name__)

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class _Preview:
    """How a sensor's passes are shown."""

    needs: tuple[str, ...]
    names: tuple[str, str, str]
    """What red, green and blue stand for."""
    title: str
    paint: Callable[[Sequence[Float32]], NDArray[np.uint8]]


_PREVIEWS = {
    Sensor.S2: _Preview(
        ("B04", "B03", "B02"),
        ("red", "green", "blue"),
        "True colour, one stretch for all passes",
        true_colour,
    ),
    Sensor.S1: _Preview(
        ("VV", "VH"),
        ("VV", "VH", "VV/VH"),
        "Radar, VV, VH and VV/VH in dB, one stretch for all passes",
        radar_colour,
    ),
}

PREVIEW_BANDS = {sensor: kind.needs for sensor, kind in _PREVIEWS.items()}
"""What previews, and so pictures, are made of."""

UNSEEN = 255
"""Mask value where no look was judged yet, or a band that a map needs has no data."""

_STATUS_COLOURS = {
    PixelStatus.NONE: (0, 0, 0, 0),
    PixelStatus.PROVISIONAL: (255, 200, 60, 255),
    PixelStatus.CONFIRMED: (220, 30, 60, 255),
    PixelStatus.CLEARED: (150, 190, 150, 255),
    PixelStatus.RECLAIMED: (60, 140, 220, 255),
}

_EXTENSIONS = (
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
)
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"


@dataclass(frozen=True)
class Layer:
    """One target's state after a pass."""

    state: State
    digest: str
    """Text that identifies the state: digest of its ledger and of the way it was folded."""


def preview_name(pass_name: str, area_id: str, grid: Grid) -> str:
    """Blob name of a pass's preview."""
    return f"products/{area_id}/{pass_name}/preview-{digest(grid)[:8]}.tif"


def write_preview(blobs: Blobs, pass_: Pass, grid: Grid, bands: Mapping[str, Float32]) -> str | None:
    """Store the pass in true or radar colours; its name, or None where a band for them is missing.

    ``bands`` are (h, w) reflectance or linear power by canonical name, NaN = not valid.
    """
    kind = _PREVIEWS[pass_.sensor]
    if not set(kind.needs) <= set(bands):
        return None
    name = preview_name(pass_.name, pass_.area_id, grid)
    if not blobs.exists(name):
        pixels = kind.paint([bands[band] for band in kind.needs])
        style = Style(names=kind.names, nodata=0, overviews="average")
        _create(blobs, name, encode_cog(pixels, grid, style, tags=pass_tags(pass_)))
    return name


def write_products(
    blobs: Blobs,
    pass_: Pass,
    grid: Grid,
    area: Area,
    layers: Mapping[Target, Layer],
    *,
    components: str = "",
    clear_fraction: float | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Store status and probability of each target after the pass, and a STAC item; the item's blob name.

    ``components``: blob of the pass's component map, if there is one.

    The item comes last, so where it is everything is; then nothing is done again.
    """
    folder = f"products/{area.id}/{pass_.name}/{_layers_digest(layers)}"
    item_name = f"{folder}/item.json"
    if blobs.exists(item_name):
        return item_name
    assets: dict[str, Any] = {}
    for target in sorted(layers):
        for asset, data in _masks(target, layers[target].state, grid, pass_tags(pass_)).items():
            _create(blobs, f"{folder}/{asset}.tif", data)
            assets[asset] = _mask_asset(asset, data, grid)
    preview = preview_name(pass_.name, area.id, grid)
    if blobs.exists(preview):
        assets["preview"] = _preview_asset(
            preview.rpartition("/")[2], blobs.get(preview), grid, _PREVIEWS[pass_.sensor]
        )
    if components and blobs.exists(components):
        try:
            assets["components"] = _components_asset(blobs, components, grid)
        except Reject as exc:  # a hint less, no reason to stop
            log.warning("component map is left out", look=pass_.name, reason=str(exc))
    item = _item(pass_, grid, area, assets)
    item["properties"] |= _own_properties(pass_, area, layers, clear_fraction, notes)
    _create(blobs, item_name, canonical_json(item))
    return item_name


def _layers_digest(layers: Mapping[Target, Layer]) -> str:
    return digest({target.value: layer.digest for target, layer in layers.items()})[:12]


def _create(blobs: Blobs, name: str, data: bytes) -> None:
    with suppress(Exists):
        blobs.create(name, data)


def pass_tags(pass_: Pass) -> dict[str, str]:
    """What a raster of a pass says of it."""
    return {"pass": pass_.name, "acquired": utc_text(pass_.acquired), "platform": platform(pass_)}


def platform(pass_: Pass) -> str:
    """The spacecraft, such as ``sentinel-2a``; the constellation where the provider does not say."""
    named = sorted({scene.platform.lower() for scene in pass_.scenes if scene.platform})
    return named[0] if named else pass_.sensor.value


def _masks(target: Target, state: State, grid: Grid, tags: Mapping[str, str]) -> dict[str, bytes]:
    seen = state.n_obs > 0
    status = np.where(seen, state.status, UNSEEN).astype(np.uint8)
    percent = np.where(seen, np.rint(posterior(state) * 100.0), UNSEEN).astype(np.uint8)
    colours = {int(value): colour for value, colour in _STATUS_COLOURS.items()}
    as_classes = Style(names=(f"{target} status",), nodata=UNSEEN, colours=colours, overviews="mode")
    as_amounts = Style(names=(f"{target} probability, percent",), nodata=UNSEEN, overviews="average")
    return {
        f"{target}-status": encode_cog(status[np.newaxis], grid, as_classes, tags=tags),
        f"{target}-probability": encode_cog(percent[np.newaxis], grid, as_amounts, tags=tags),
    }


def _mask_asset(name: str, data: bytes, grid: Grid) -> dict[str, Any]:
    asset = _asset(f"{name}.tif", data, grid, roles=["data"], bands=[{"name": name, "data_type": "uint8"}])
    asset["nodata"] = UNSEEN
    if name.endswith("status"):
        asset["title"] = f"Status per pixel: {name.removesuffix('-status')}"
        asset["classification:classes"] = [
            {"value": int(status), "name": status.name.lower(), "color_hint": _hint(_STATUS_COLOURS[status])}
            for status in PixelStatus
        ]
    else:
        asset["title"] = f"Probability of change: {name.removesuffix('-probability')}"
        asset["unit"] = "%"
    return asset


def _hint(colour: tuple[int, int, int, int]) -> str:
    return "".join(f"{part:02X}" for part in colour[:3])


def _preview_asset(file: str, data: bytes, grid: Grid, kind: _Preview) -> dict[str, Any]:
    bands = [{"name": name, "data_type": "uint8"} for name in kind.names]
    asset = _asset(f"../{file}", data, grid, roles=["visual", "overview"], bands=bands)
    return asset | {"title": kind.title, "nodata": 0}


def _components_asset(blobs: Blobs, name: str, grid: Grid) -> dict[str, Any]:
    tags = read_raster(blobs.path(name)).tags
    bands = [
        {"name": head, "data_type": "uint8", "classification:classes": _classes(labels)}
        for head, labels in json.loads(tags["labels"]).items()
    ]
    asset = _asset(f"../{name.rpartition('/')[2]}", blobs.get(name), grid, roles=["data"], bands=bands)
    return asset | {"title": f"Mining components by the model {tags['model']}", "nodata": UNSEEN}


def _classes(labels: Sequence[str]) -> list[dict[str, Any]]:
    return [{"value": value, "name": name} for value, name in enumerate(("background", *labels))]


def _asset(
    href: str, data: bytes, grid: Grid, *, roles: list[str], bands: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "href": href if href.startswith(".") else f"./{href}",
        "type": _COG,
        "roles": roles,
        "bands": bands,
        "raster:spatial_resolution": RESOLUTION,
        "raster:sampling": "area",
        "proj:shape": list(grid.shape),
        "proj:transform": list(grid.geotransform),
        "file:size": len(data),
        "file:checksum": f"1220{hashlib.sha256(data).hexdigest()}",
    }


def _item(pass_: Pass, grid: Grid, area: Area, assets: Mapping[str, Any]) -> dict[str, Any]:
    corners = shapely.transform(grid.to_world(shapely.box(*grid.bounds)), lambda xy: np.round(xy, 7))
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(_EXTENSIONS),
        "id": f"{area.id}_{pass_.name}",
        "geometry": {"type": "Polygon", "coordinates": mapping(corners)["coordinates"]},
        "bbox": list(corners.bounds),
        "properties": {
            "datetime": utc_text(pass_.acquired),
            "title": f"{area.name}, {pass_.acquired:%Y-%m-%d %H:%M} UTC",
            "constellation": pass_.sensor.value,
            "platform": platform(pass_),
            "gsd": RESOLUTION,
            "proj:code": grid.crs,
            "proj:shape": list(grid.shape),
            "proj:transform": list(grid.geotransform),
            "proj:bbox": list(grid.bounds),
        },
        "links": [_source_link(scene) for scene in pass_.scenes],
        "assets": dict(assets),
    }


def _source_link(scene: Scene) -> dict[str, str]:
    """To the STAC item where its link is known, else to a file of it."""
    title = f"{scene.provider} {scene.collection} {scene.id}"
    if scene.href:
        return {"rel": "derived_from", "href": scene.href, "type": "application/geo+json", "title": title}
    first = scene.bands[min(scene.bands)]
    return {"rel": "via", "href": first.href, "title": title}


def _own_properties(
    pass_: Pass,
    area: Area,
    layers: Mapping[Target, Layer],
    clear_fraction: float | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    return {
        "groundwatch:area": area.id,
        "groundwatch:area_hectares": round(hectares(area.geometry), 2),
        "groundwatch:pass": pass_.id,
        "groundwatch:revision": pass_.revision,
        "groundwatch:states": {target.value: layer.digest for target, layer in layers.items()},
        "groundwatch:clear_fraction": clear_fraction,
        "groundwatch:notes": list(notes),
        "groundwatch:scenes": [
            {
                "id": scene.id,
                "provider": scene.provider,
                "collection": scene.collection,
                "baseline": scene.baseline,
                "relative_orbit": scene.relative_orbit,
                "version": scene.version,
            }
            for scene in pass_.scenes
        ],
    }
