"""An item's assets as bands: where they lie and how their numbers become reflectance or gamma0. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from ingest.providers import CollectionProfile, Numbers, OffsetRule, Profile
from registry.models import MASK_BAND, BandFile, Sensor

OFFSET_BASELINE = 4.0
"""First processing baseline with BOA_ADD_OFFSET -1000 (25 January 2022 and Collection-1)."""

UNOFFICIAL_BASELINE = 90.0
"""From here on a baseline is no version at all: CDSE writes 99.99 for products it made itself."""

BOA_OFFSET = -0.1
"""BOA_ADD_OFFSET -1000 as reflectance."""


class NotUsableError(Exception):
    """Why an item is refused; becomes an ItemProblem."""


def read_bands(
    item: Mapping[str, Any],
    profile: Profile,
    collection: CollectionProfile,
    *,
    baseline: str | None,
    applied: bool,
) -> tuple[dict[str, BandFile], bool]:
    """The bands by canonical name, and whether the pixels must tell if the offset is in them."""
    assets = item.get("assets")
    assets = assets if isinstance(assets, Mapping) else {}
    bands: dict[str, BandFile] = {}
    unsure = False
    for where, band in collection.bands.items():
        asset_name, _, index = where.partition("#")
        if asset_name not in assets:
            continue
        asset, number = assets[asset_name], int(index or 1)
        declared = _declared(asset, asset_name, number, collection.numbers)
        if band == MASK_BAND:
            declared = Numbers(nodata=declared.nodata)
        elif collection.sensor is Sensor.S2:
            declared, check = _with_offset(declared, collection.offset_rule, baseline, applied=applied)
            unsure = unsure or check
        href = _href(asset, asset_name, item, profile, collection)
        bands[band] = BandFile(href=href, index=number, **declared.model_dump())
    if not bands:
        raise NotUsableError(
            f"has none of the assets {sorted(collection.bands)[:20]}, only {sorted(map(str, assets))[:20]}; "
            "name them under bands in the provider's profile"
        )
    return bands, unsure


def _declared(asset: Mapping[str, Any], name: str, index: int, otherwise: Numbers) -> Numbers:
    """Scale, offset and no data as raster:bands, STAC 1.1 bands or the asset say; else the profile's."""
    described: list[Mapping[str, Any]] = []
    for key in ("raster:bands", "bands"):
        listed = asset.get(key)
        if isinstance(listed, list) and len(listed) >= index and isinstance(listed[index - 1], Mapping):
            described.append(listed[index - 1])
    described.append(asset)
    found: dict[str, float | None] = {}
    for field in ("scale", "offset", "nodata"):
        keys = (f"raster:{field}", field) if field != "nodata" else ("nodata", "raster:nodata")
        values = [one[key] for one in described for key in keys if one.get(key) is not None]
        found[field] = _number(values[0], f"{field} of asset {name}") if values else getattr(otherwise, field)
    return Numbers.model_validate(found)


def _number(value: object, what: str) -> float | None:
    """A finite number. STAC writes no data that is not a number as the text "nan": NaN is never valid."""
    if what.startswith("nodata") and str(value).lower() in {"nan", "inf", "-inf"}:
        return None
    if not is_number(value):
        raise NotUsableError(
            f"{what} is {str(value)[:40]}, not a finite number; the provider must correct it"
        )
    return float(str(value))


def _with_offset(
    declared: Numbers, rule: OffsetRule, baseline: str | None, *, applied: bool
) -> tuple[Numbers, bool]:
    """The numbers with the offset that holds, and whether only the pixels can tell for sure."""
    number = baseline_number(baseline)
    if applied:
        return declared.model_copy(update={"offset": 0.0}), False
    if rule is OffsetRule.BASELINE:
        offset = BOA_OFFSET if number is None or number >= OFFSET_BASELINE else 0.0
        return declared.model_copy(update={"offset": offset}), number is None
    if rule is OffsetRule.MAYBE_APPLIED:
        return declared, declared.offset != 0.0
    return declared, declared.offset != 0.0 and (number is None or number < OFFSET_BASELINE)


def _href(
    asset: Mapping[str, Any],
    name: str,
    item: Mapping[str, Any],
    profile: Profile,
    collection: CollectionProfile,
) -> str:
    href = asset.get("href")
    if not isinstance(href, str) or not href.strip():
        raise NotUsableError(f"asset {name} has no href; the provider must correct it")
    full = urljoin(self_link(item), href.strip())
    scheme = urlsplit(full).scheme
    if scheme not in profile.href_schemes:
        raise NotUsableError(
            f"asset {name} has href {full[:120]!r} of scheme {scheme or 'none'!r}; "
            f"allowed are {', '.join(profile.href_schemes)} (href_schemes of the provider's profile)"
        )
    if collection.href_template is None:
        return full
    return collection.href_template.format(
        href=quote(full, safe=""), collection=quote(collection.id, safe="")
    )


def baseline_number(baseline: str | None) -> float | None:
    """A processing baseline as a number to compare; None where there is none or it is no version."""
    if baseline is None:
        return None
    number = float(baseline)
    return None if number >= UNOFFICIAL_BASELINE else number


def self_link(item: Mapping[str, Any]) -> str:
    """The item's own address; empty where it gives none."""
    links = item.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, Mapping) and link.get("rel") == "self" and isinstance(link.get("href"), str):
            return str(link["href"])
    return ""


def is_number(value: object) -> bool:
    """A finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # whole numbers of over 308 digits
        return False
