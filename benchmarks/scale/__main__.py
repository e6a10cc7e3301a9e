"""Latency, load and cost for 10, 1,000 and 100,000 areas: ``python -m benchmarks.scale``.

--measure measures what a pass costs on this machine first (a minute; torch on one thread); else the figures
of docs/scale.md are taken. Prices are parameters: give your own.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

from benchmarks.scale.simulation import DAY, HOUR, Fleet, Outcome, World, percentile, simulate

SIZES = (10, 1_000, 100_000)
BUSY = 0.3
"""Share of the time that detectors may work on average: clumps need the rest."""

GPU_S_PER_TILE = 0.084
"""COMPUTED, not measured: an H200 over a full tile of 110 x 110 km (upper end of 28 to 84 ms)."""
TILE_KM2 = 12_100.0
COLLECTIONS = 2


@dataclass(frozen=True)
class Cost:
    """What one pass over ``km2`` costs."""

    km2: float
    cpu_s: float
    requests: float
    read_mb: float
    blobs: float
    written_mb: float
    kept_mb: float = 5.1
    """Of ``written_mb``: ledger and products; the rest are states, of which few are kept."""
    state_mb: float = 146.0
    """States kept per area: two targets, the newest and a snapshot."""


MEASURED = Cost(km2=100.5, cpu_s=3.68, requests=28, read_mb=10.9, blobs=13, written_mb=78.2)
"""``--measure`` on 2 cores (Sapphire Rapids); see docs/scale.md."""


@dataclass(frozen=True)
class Prices:
    """US dollars; parameters, not quotations."""

    core_hour: float
    gb_month: float
    gb_read: float
    million_gets: float
    million_puts: float
    gpu_hour: float


def service_s(cost: Cost, *, round_trip_s: float, mb_per_s: float, threads: int = 8) -> float:
    """Of one pass on one core: its processor time, round trips and the transfer."""
    return cost.cpu_s + 2.0 * round_trip_s * math.ceil(cost.requests / threads) + cost.read_mb / mb_per_s


def fleet_for(areas: int, world: World, seconds: float) -> Fleet:
    """Enough detectors of one core each, and partitions for twice as many."""
    load = areas * world.passes_per_day * seconds / DAY
    detectors = max(1 if areas < 100 else 2, math.ceil(load / BUSY))
    return Fleet(detectors=detectors, service_s=seconds, partitions=max(12, 4 * detectors))


def row(world: World, fleet: Fleet, cost: Cost, prices: Prices, found: Outcome) -> list[str]:
    """One size of fleet."""
    passes = world.areas * world.passes_per_day
    polls = DAY / fleet.poll_s * math.ceil(world.areas / fleet.areas_per_query) * COLLECTIONS
    gpu = passes * GPU_S_PER_TILE * cost.km2 / TILE_KM2
    month = 30.0 * passes
    dollars = (
        fleet.detectors * 24 * 30 * prices.core_hour
        + 2 * 24 * 30 * prices.core_hour
        + (month * cost.kept_mb + world.areas * cost.state_mb) / 1e3 * prices.gb_month
        + month * cost.read_mb / 1e3 * prices.gb_read
        + month * cost.requests / 1e6 * prices.million_gets
        + month * cost.blobs / 1e6 * prices.million_puts
    )
    with_gpu = dollars + 30.0 * gpu / 3600.0 * prices.gpu_hour
    thousands = world.areas * cost.km2 / 1e3

    def both(values: list[float], unit: float) -> str:
        return f"{percentile(values, 0.5) / unit:.1f} / {percentile(values, 0.95) / unit:.1f}"

    return [
        f"{world.areas:,}",
        f"{passes:,.0f}",
        f"{passes * cost.read_mb / 1e3:,.1f}",
        f"{passes * cost.requests:,.0f}",
        f"{polls:,.0f}",
        f"{passes * cost.cpu_s / HOUR:,.2f}",
        f"{gpu:,.1f}",
        f"{fleet.detectors}",
        both(found.own, 60.0),
        both(found.alerts, 60.0),
        both(found.sensed, HOUR),
        f"{found.longest_queue:,}",
        f"{found.failures}",
        f"{dollars / thousands:,.2f}",
        f"{with_gpu / thousands:,.2f}",
    ]


HEADS = (
    "areas", "passes/day", "GB read/day", "file requests/day", "STAC requests/day", "core hours/day",
    "GPU s/day (computed)", "detectors", "published to inferred, min p50 / p95",
    "published to delivered, min p50 / p95", "sensed to delivered, h p50 / p95", "longest queue",
    "failures", "$ / 1,000 km2 month", "with GPU",
)  # fmt: skip


def measured() -> Cost:
    """What a pass costs here."""
    import torch

    from benchmarks.scale.measure import measure

    torch.set_num_threads(1)
    found = measure()
    print(found)
    return Cost(found.km2, found.cpu_s, found.requests, found.read_mb, found.blobs, found.written_mb)


def main() -> None:
    """Simulate each size and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n")[0])
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--days", type=float, default=10.0, help="simulated; longer for few areas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round-trip-ms", type=float, default=40.0)
    parser.add_argument("--mb-per-s", type=float, default=12.5, help="from the provider, of one detector")
    parser.add_argument("--core-hour", type=float, default=0.04)
    parser.add_argument("--gb-month", type=float, default=0.023)
    parser.add_argument("--gb-read", type=float, default=0.0, help="0 where detectors run beside the archive")
    parser.add_argument("--million-gets", type=float, default=0.40)
    parser.add_argument("--million-puts", type=float, default=5.0)
    parser.add_argument("--gpu-hour", type=float, default=4.0)
    given = parser.parse_args()
    cost = measured() if given.measure else MEASURED
    prices = Prices(
        given.core_hour,
        given.gb_month,
        given.gb_read,
        given.million_gets,
        given.million_puts,
        given.gpu_hour,
    )
    seconds = service_s(cost, round_trip_s=given.round_trip_ms / 1e3, mb_per_s=given.mb_per_s)
    print(f"one pass over {cost.km2:.0f} km2 on one core: {seconds:.2f} s")
    columns = []
    for areas in SIZES:
        # Few areas have few notices: they are watched for longer.
        world = World(areas=areas, days=max(given.days, 20_000 / areas))
        fleet = fleet_for(areas, world, seconds)
        columns.append(row(world, fleet, cost, prices, simulate(world, fleet, seed=given.seed)))
    for head, *cells in zip(HEADS, *columns, strict=True):
        print(f"| {head} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
