"""Reading and fusing one pass beside odc-stac, and the whole area beside odc-stac + per-pixel numpy.

    make bench
    python -m benchmarks.pipeline --area-km 10 --rounds 9 --threads 8 --json result.json

Files are local and in the page cache: what is measured is decoding, resampling and arithmetic.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from shapely.geometry import box

from benchmarks import peers
from benchmarks.scene import NATIVE_M, WHEN, BenchPass, in_neighbouring_zone, write_pass
from benchmarks.timing import Timings, interleaved
from detector.evidence import fold
from detector.incidents import update
from detector.models import Card, choose, load_cards, score, shipped_cards
from detector.quality import look_quality
from detector.reading import ReaderSettings
from detector.stack import Stack, read_stack
from detector.state import LedgerRow, PixelStatus, State, quantise, source_name, start
from registry.detection import DetectionSettings
from registry.grid import Grid
from registry.models import MASK_BAND, S1_BANDS, Area, AreaKind, Sensor, Target

BANDS = (*NATIVE_M, *S1_BANDS)
SETTINGS = DetectionSettings()
HISTORY_LOOKS, CHANGED_LOOKS = 14, 8


@dataclass(frozen=True)
class Ours:
    """A target of the area as groundwatch keeps it."""

    target: Target
    card: Card
    state: State


@dataclass(frozen=True)
class Theirs:
    """The same as the numpy peer keeps it."""

    target: Target
    card: Card
    state: peers.NumpyState


def read_ours(passed: BenchPass, reader: ReaderSettings) -> Stack:
    """Pass and partner, all 14 bands and the scene classes."""
    return read_stack(passed.optical, passed.radar, passed.grid, BANDS, reader=reader)


def area_ours(passed: BenchPass, area: Area, books: tuple[Ours, ...], reader: ReaderSettings) -> list[State]:
    """Read, weigh, score, fold, and bring the incidents up to date, for both targets."""
    stack = read_ours(passed, reader)
    weight = look_quality(stack, SETTINGS.quality).weight
    states = []
    for book in books:
        row = _row(passed.optical.acquired, book.card, quantise(score(book.card, stack.bands)), weight)
        state = fold(book.state, row, target=book.target, settings=SETTINGS)
        update((), state, grid=passed.grid, area=area, target=book.target,
               acquired=row.acquired, settings=SETTINGS)  # fmt: skip
        states.append(state)
    return states


def area_theirs(passed: BenchPass, books: tuple[Theirs, ...], threads: int) -> list[Any]:
    """The same by odc-stac, numpy, rasterio and shapely."""
    bands = peers.odc_stack(passed, BANDS, threads=threads)
    weight = peers.numpy_weight(bands, SETTINGS)
    masks = []
    for book in books:
        row = _row(passed.optical.acquired, book.card, peers.numpy_score(book.card, bands), weight)
        _, confirmed = peers.numpy_fold(book.state, row, target=book.target, settings=SETTINGS)
        peers.numpy_polygons(confirmed, passed.grid, least_ha=SETTINGS.objects.minimum_mapping_unit_ha)
        masks.append(confirmed)
    return masks


def _row(acquired: datetime, card: Card, scores: Any, weight: Any) -> LedgerRow:
    source = source_name(Sensor.S2, card.id)
    return LedgerRow(f"p{acquired:%Y%m%d}", acquired, Sensor.S2, source, scores, weight)


def with_history(grid: Grid) -> tuple[tuple[Ours, ...], tuple[Theirs, ...]]:
    """Both targets after a year of clear looks, the last of which show 20 changes of 1 to 4 ha."""
    cards = load_cards([shipped_cards()])
    order = {Target.FOREST: SETTINGS.models.forest, Target.TRANSFORMED: SETTINGS.models.transformed}
    ours, theirs = [], []
    for target, names in order.items():
        card = choose(cards, names, BANDS, partner_age_days=2.0)
        state, plain = (
            start(grid.shape, floor=SETTINGS.evidence.floor),
            peers.numpy_start(grid.shape, SETTINGS),
        )
        for row in _history(grid, card, target):
            state = fold(state, row, target=target, settings=SETTINGS)
            plain, _ = peers.numpy_fold(plain, row, target=target, settings=SETTINGS)
        ours.append(Ours(target, card, state))
        theirs.append(Theirs(target, card, plain))
    return tuple(ours), tuple(theirs)


def _history(grid: Grid, card: Card, target: Target) -> list[LedgerRow]:
    random = np.random.default_rng(3)
    before = 3.0 if target is Target.FOREST else -3.0
    changed = np.zeros(grid.shape, dtype=bool)
    for _ in range(20):
        row, column = random.integers(0, grid.height - 20), random.integers(0, grid.width - 20)
        changed[row : row + random.integers(10, 20), column : column + random.integers(10, 20)] = True
    rows, total = [], HISTORY_LOOKS + CHANGED_LOOKS
    for number in range(total):
        logits = before + random.normal(0.0, 0.4, grid.shape)
        if number >= HISTORY_LOOKS:
            logits[changed] -= 2 * before
        when = WHEN - timedelta(days=20 * (total - number))
        weight = np.full(grid.shape, 2, dtype=np.uint8)
        rows.append(_row(when, card, quantise(logits.astype(np.float32)), weight))
    return rows


def differences(passed: BenchPass, reader: ReaderSettings) -> dict[str, float]:
    """Largest difference between both readings, in numbers of the file; the share where one lacks data."""
    ours, theirs = read_ours(passed, reader), peers.odc_stack(passed, BANDS, threads=reader.threads)
    worst = {"optical_dn": 0.0, "radar_relative": 0.0, "only_one_has_data": 0.0, "classes": 0.0}
    for name in BANDS:
        if name == MASK_BAND:
            worst["classes"] = float(np.mean(ours.scl != theirs[name]))
            continue
        a, b = ours.bands[name], theirs[name]
        lacking = float(np.mean(np.isfinite(a) != np.isfinite(b)))
        worst["only_one_has_data"] = max(worst["only_one_has_data"], lacking)
        gap = np.nanmax(np.abs(a - b) / (b if name in S1_BANDS else 1e-4))
        kind = "radar_relative" if name in S1_BANDS else "optical_dn"
        worst[kind] = max(worst[kind], float(gap))
    return worst


def measure(folder: Path, *, area_km: float, rounds: int, threads: int, peer_threads: int) -> dict[str, Any]:
    """All figures of one run."""
    print("writing the scenes and a history ...", file=sys.stderr)
    passed = write_pass(folder, area_km=area_km)
    beside = in_neighbouring_zone(passed)
    reader = ReaderSettings(threads=threads)
    area = Area(
        id="bench",
        name="Bench",
        kind=AreaKind.WATCHED,
        geometry=passed.grid.to_world(box(*passed.grid.bounds)),
    )
    ours, theirs = with_history(passed.grid)
    print(f"{rounds} rounds, in turns ...", file=sys.stderr)
    timings = interleaved(
        {
            "read groundwatch": partial(read_ours, passed, reader),
            "read odc-stac": partial(peers.odc_stack, passed, BANDS, threads=peer_threads),
            "other zone groundwatch": partial(read_ours, beside, reader),
            "other zone odc-stac": partial(peers.odc_stack, beside, BANDS, threads=peer_threads),
            "read decode only": partial(peers.decoded, passed, BANDS, threads=threads),
            "area groundwatch": partial(area_ours, passed, area, ours, reader),
            "area odc-stac + numpy": partial(area_theirs, passed, theirs, peer_threads),
        },
        rounds=rounds,
    )
    return {
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "asked": {
            "area_km": area_km,
            "rounds": rounds,
            "threads": threads,
            "peer_threads": peer_threads,
        },
        "median_s": {name: round(timings.median(name), 4) for name in timings.seconds},
        "ratios": _ratios(timings),
        "differences": differences(passed, reader),
        "confirmed_iou": _overlap(
            area_ours(passed, area, ours, reader), area_theirs(passed, theirs, peer_threads)
        ),
    }


def _ratios(timings: Timings) -> Mapping[str, Mapping[str, float]]:
    pairs = {
        "odc-stac / groundwatch, read and fuse": ("read odc-stac", "read groundwatch"),
        "odc-stac / groundwatch, read from another zone": ("other zone odc-stac", "other zone groundwatch"),
        "groundwatch / decode only, read and fuse": ("read groundwatch", "read decode only"),
        "odc-stac + numpy / groundwatch, whole area": ("area odc-stac + numpy", "area groundwatch"),
    }
    found = {}
    for label, (above, below) in pairs.items():
        median, low, high = timings.ratio(above, below)
        found[label] = {"median": round(median, 2), "low": round(low, 2), "high": round(high, 2)}
    return found


def _overlap(states: list[State], masks: list[Any]) -> float:
    """Intersection over union of what both call confirmed, over all targets."""
    ours = np.array([state.status == PixelStatus.CONFIRMED for state in states])
    theirs = np.array(masks)
    return round(float((ours & theirs).sum() / (ours | theirs).sum()), 4)


def main() -> None:
    """Measure and print; ``--json`` keeps the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--area-km", type=float, default=10.0, help="side of the area")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of all contestants in turns")
    parser.add_argument(
        "--threads", type=int, default=8, help="reading threads of groundwatch and of the decoding"
    )
    parser.add_argument("--peer-threads", type=int, default=4, help="reading threads of odc-stac")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="groundwatch-bench-") as folder:
        result = measure(
            Path(folder),
            area_km=asked.area_km,
            rounds=asked.rounds,
            threads=asked.threads,
            peer_threads=asked.peer_threads,
        )
    text = json.dumps(result, indent=2)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
