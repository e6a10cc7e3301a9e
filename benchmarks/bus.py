"""How many passes the bus carries, and how it scales with detectors.

    make bench-bus
    python -m benchmarks.bus --events 1500 --rounds 3 --wait 0.25

The broker is Tansu in memory, on this machine: it and the clients share its cores. Real PassFound events
of 60 areas. For scaling, each detector is a process whose handler waits as long as a GPU takes for a small
area and does nothing else, so that what is measured is the hand-out, not the machine's arithmetic.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from registry.bus import Bus, Delivery, Topic
from registry.bus.consume import consume
from registry.bus.kafka import KafkaBus
from registry.bus.kafka_settings import KafkaSettings
from registry.bus.local import LocalBus
from registry.events import Event
from tests.services.kafka import Broker, broker
from tests.storage_samples import make_event

AREAS = 60
PUBLISHERS = 8
"""Threads that publish to the broker: each waits for its acknowledgement."""


def events(number: int) -> list[Event]:
    """Passes of AREAS areas, in turns."""
    return [make_event(index, area=f"area-{index % AREAS}") for index in range(number)]


def carried(bus: Bus, some: Sequence[Event], *, publishers: int) -> tuple[float, float]:
    """Publish all, then work all off: (published per second, handled per second)."""
    began = time.perf_counter()
    if publishers == 1:
        for event in some:
            bus.publish(Topic.PASSES, event)
    else:
        with ThreadPoolExecutor(publishers) as pool:
            list(pool.map(lambda event: bus.publish(Topic.PASSES, event), some))
    published = time.perf_counter() - began
    join(bus)
    began, done = time.perf_counter(), 0
    while done < len(some):
        delivery = bus.receive(Topic.PASSES, worker="bench")
        if delivery is None:
            time.sleep(0.001)
            continue
        delivery.ack()
        done += 1
    return len(some) / published, len(some) / (time.perf_counter() - began)


def join(bus: Bus) -> None:
    """Membership in a group takes seconds once; it is not what a pass costs."""
    if isinstance(bus, KafkaBus):
        bus.next_ready(Topic.PASSES)
        while not bus.is_settled():
            time.sleep(0.05)


def settings() -> KafkaSettings:
    """Twelve partitions, as a small fleet has."""
    return KafkaSettings(partitions=12, session_timeout_s=6.0, timeout_s=20.0)


def open_kafka(at: Broker, prefix: str) -> KafkaBus:
    """One process's handle."""
    return KafkaBus(at.address, prefix, settings=settings())


def scaled(at: Broker, detectors: int, passes: int, wait_s: float) -> float:
    """Seconds in which so many detectors work off ``passes``, from the first hand-out to the last."""
    prefix = at.new_prefix()
    bus = open_kafka(at, prefix)
    command = [sys.executable, "-m", "benchmarks.bus", "--detector", at.address, prefix, str(wait_s)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(detectors)]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(8.0)  # the last to come makes the group share out once more
        began = time.perf_counter()
        with ThreadPoolExecutor(PUBLISHERS) as pool:
            list(pool.map(lambda event: bus.publish(Topic.PASSES, event), events(passes)))
        done = 0
        while done < passes:
            done = passes - bus.depth(Topic.PASSES).waiting - bus.depth(Topic.PASSES).in_flight
            time.sleep(0.1)
        return time.perf_counter() - began
    finally:
        for process in processes:
            process.kill()
            process.wait()
        bus.close()


def detect(address: str, prefix: str, wait_s: float) -> None:
    """A detector whose work is to wait."""
    bus = KafkaBus(address, prefix, settings=settings())
    bus.next_ready(Topic.PASSES)
    while not bus.is_settled():
        time.sleep(0.05)
    print("ready", flush=True)

    def handle(_event: Event, _delivery: Delivery) -> None:
        time.sleep(wait_s)

    consume(bus, Topic.PASSES, handle, worker="bench", once=False)


def told(name: str, values: Iterable[float], unit: str) -> None:
    """Median, lowest and highest."""
    known = list(values)
    print(f"{name:44} {statistics.median(known):8.1f} {unit} ({min(known):.1f} to {max(known):.1f})")


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bus")
    parser.add_argument("--events", type=int, default=1_500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=180, help="passes for scaling")
    parser.add_argument("--wait", type=float, default=0.25, help="seconds of a GPU per pass")
    parser.add_argument("--detector", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.detector:
        detect(given.detector[0], given.detector[1], float(given.detector[2]))
        return
    some = events(given.events)
    with tempfile.TemporaryDirectory() as folder, broker(Path(folder)) as at:
        turns: dict[str, Callable[[int], tuple[float, float]]] = {
            "local": lambda number: carried(LocalBus(Path(folder) / f"{number}.db"), some, publishers=1),
            "broker": lambda _number: carried(open_kafka(at, at.new_prefix()), some, publishers=PUBLISHERS),
        }
        rates = {name: [turn(number) for number in range(given.rounds)] for name, turn in turns.items()}
        for name, pairs in rates.items():
            told(f"{name}: published", [pair[0] for pair in pairs], "passes/s")
            told(f"{name}: received and acknowledged", [pair[1] for pair in pairs], "passes/s")
            told(f"{name}: both", [1 / (1 / pair[0] + 1 / pair[1]) for pair in pairs], "passes/s")
        ratios = []
        for _ in range(given.rounds):
            one, three = (scaled(at, count, given.passes, given.wait) for count in (1, 3))
            ratios.append(one / three)
        told(f"1 -> 3 detectors, {given.wait} s a pass", ratios, "times as fast")


if __name__ == "__main__":
    main()
