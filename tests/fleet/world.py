"""What the fleet watches: many small areas over the simulated district, and a thin record of passes."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from shapely.geometry import box, mapping

from simulator.district import District, write_district
from simulator.frame import Frame

Item = Mapping[str, Any]

OPTICAL_SHARE = 0.8
"""Of the passes, Sentinel-2's share."""

LATER = 0.7
"""Below 1, passes lie closer together towards the end of the record, where things happen."""

EVERY = 2
"""Every second product of the full record is rendered, to choose the clear ones from."""


@dataclass(frozen=True)
class Watch:
    """A world to watch, and how it becomes known."""

    district: District
    areas: Path
    """GeoJSON of the areas."""
    items: tuple[Item, ...]
    """The final items."""
    batches: tuple[tuple[Item, ...], ...]
    """What the catalogue holds at each step: shuffled, some late, some in a version that is replaced."""


def make_watch(folder: Path, *, areas: int, passes: int, seed: int) -> Watch:
    """``areas`` squares over the district and ``passes`` acquisitions; the same seed gives the same."""
    district = write_district(folder / "world", seed=seed, every=EVERY)
    items = tuple(_chosen(district.items, passes))
    path = folder / "areas.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(_squares(areas))}))
    return Watch(district, path, items, tuple(_arrivals(items, random.Random(seed))))


def _squares(number: int) -> Iterator[dict[str, Any]]:
    """Neighbouring rectangles that cover the district, row by row."""
    frame = Frame()
    side = 10.0 * frame.size
    columns = max(1, round(number**0.5))
    rows = -(-number // columns)
    for index in range(number):
        row, column = divmod(index, columns)
        west, north = side * column / columns, side * row / rows
        cell = box(west + 40, north + 40, west + side / columns - 40, north + side / rows - 40)
        yield {
            "type": "Feature",
            "properties": {"id": f"plot-{index:03d}", "name": f"Plot {index}", "kind": "watched"},
            "geometry": mapping(frame.to_lonlat(cell)),
        }


def _chosen(items: Sequence[Item], passes: int) -> Iterator[Item]:
    """The clearest Sentinel-2 day of each stretch of the record, and evenly spread Sentinel-1 days."""
    optical = round(passes * OPTICAL_SHARE)
    days = {"sentinel-2-l2a": optical, "sentinel-1-rtc": passes - optical}
    for collection, wanted in days.items():
        by_day: dict[str, list[Item]] = {}
        for item in items:
            if item["collection"] == collection:
                by_day.setdefault(item["properties"]["datetime"][:10], []).append(item)
        stretches = _stretches(sorted(by_day), wanted)
        for stretch in stretches:
            yield from by_day[min(stretch, key=lambda day: _cloud(by_day[day]))]


def _cloud(items: Sequence[Item]) -> float:
    return max(float(item["properties"].get("eo:cloud_cover", 0.0)) for item in items)


def _stretches(days: Sequence[str], number: int) -> list[Sequence[str]]:
    if len(days) < number:
        raise ValueError(f"the record has {len(days)} days, {number} are wanted")
    edges = [round(len(days) * (index / number) ** LATER) for index in range(number + 1)]
    return [days[first:last] for first, last in pairwise(edges)]


def _arrivals(items: Sequence[Item], chance: random.Random) -> Iterator[tuple[Item, ...]]:
    """Half at first, in any order; then more; a tenth of them first in a version that is replaced later."""
    mixed = list(items)
    chance.shuffle(mixed)
    worse = {id(item): _worse(item, mixed) for item in chance.sample(mixed, max(1, len(mixed) // 10))}
    first = [worse.get(id(item), item) for item in mixed]
    for share in (0.5, 0.75, 1.0):
        yield tuple(first[: round(share * len(first))])
    yield tuple(mixed)


def _worse(item: Item, others: Sequence[Item]) -> Item:
    """An earlier version of the item: the pixels of another day, an older time stamp."""
    like = next(one for one in others if one["collection"] == item["collection"] and one is not item)
    old = copy.deepcopy(dict(item))
    old["properties"]["updated"] = "2023-07-01T00:00:00Z"
    for name, asset in old["assets"].items():
        if name in like["assets"]:
            asset["href"] = like["assets"][name]["href"]
    return old
