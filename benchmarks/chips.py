"""Training chips per second on one core: composing a place, looking at it, and both as ``make_chip``.

``python -m benchmarks.chips``; set OMP_NUM_THREADS=1 to see one core's figure.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

from simulator.chips import SHIFTED, TRAIN, Recipe, make_chip, make_pair
from simulator.chips.make import draw_ground
from simulator.chips.sensors import take


def milliseconds(run: Callable[[int], object], count: int) -> tuple[float, float]:
    """(wall, processor) per call, without the first: it fills the banks of random fields."""
    run(0)
    wall, processor = time.perf_counter(), time.process_time()
    for index in range(1, count + 1):
        run(index)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return wall / count * 1e3, processor / count * 1e3


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=5)
    chosen = parser.parse_args()
    seed = chosen.seed
    grounds = [draw_ground(seed, index, TRAIN) for index in range(chosen.count + 1)]

    def look(index: int) -> object:
        ground, day = grounds[index]
        return take(ground, seed=seed, index=index, look=0, recipe=TRAIN, day=day)

    def chips_of(recipe: Recipe) -> Callable[[int], object]:
        return lambda index: make_chip(seed, index, recipe)

    rows = {
        "compose a place": lambda index: draw_ground(seed, index, TRAIN),
        "look at it": look,
        "make_chip": chips_of(TRAIN),
        "make_chip, shifted": chips_of(SHIFTED),
        "make_pair": lambda index: make_pair(seed, index, TRAIN),
    }
    load = os.getloadavg()[0]
    print(f"{TRAIN.size} px, {chosen.count} each, load of the machine {load:.1f} on {os.cpu_count()} cores\n")
    print("| step | wall ms | processor ms | per second and core |\n|---|---|---|---|")
    for name, run in rows.items():
        wall, processor = milliseconds(run, chosen.count)
        print(f"| {name} | {wall:.0f} | {processor:.0f} | {1e3 / processor:.0f} |")


if __name__ == "__main__":
    main()
