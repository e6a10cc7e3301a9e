"""Fuzzing at full length: ``make fuzz``, or python -m tests.fuzz --inputs 100000 --seed 1.

Each door gets its share of damaged input in worker processes, so that a crash inside GDAL or Arrow is told
of, too. Ends with status 1 where anything but a value or a clean error came out; the seed of each fault
repeats it: python -m tests.fuzz --repeat 'events/1/771'.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from random import Random

from tests.fuzz.running import Found, fuzz
from tests.fuzz.targets import DOORS

SHARES = {"events": 0.42, "STAC items": 0.4, "YAML files": 0.09, "permit files": 0.09}
"""Of all inputs: what a door costs and how many strangers stand before it."""


def lines(name: str, inputs: int, found: Found, seconds: float) -> Iterator[str]:
    """What to say of a door."""
    counts = ", ".join(f"{what} {number:,}" for what, number in sorted(found.counts.items()))
    yield (
        f"{name}: {inputs:,} inputs in {seconds:.0f} s: {counts}; "
        f"slowest {found.slowest_s * 1000:.0f} ms ({found.slowest})"
    )
    yield from (f"  FAULT {where}: {how}" for where, how in found.faults.items())


def main() -> int:
    """Run, and say what came out."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeat", metavar="SEED", help="one input, with its traceback")
    given = parser.parse_args()
    if given.repeat:
        door = next(one for one in DOORS if given.repeat.startswith(f"{one.name}/"))
        raw = door.damaged(Random(given.repeat))
        print(repr(raw[:2_000]))
        print("let in" if door.enter(raw) else "refused")
        return 0
    faults = 0
    for number, door in enumerate(DOORS):
        inputs, began = round(given.inputs * SHARES[door.name]), time.perf_counter()
        found = fuzz(number, given.seed, inputs, processes=given.processes)
        faults += len(found.faults)
        for line in lines(door.name, inputs, found, time.perf_counter() - began):
            print(line, flush=True)
    print("FAILED" if faults else f"{given.inputs:,} inputs: values and clean errors, nothing else")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
