"""The crash test of the fleet: ``make crash``, or python -m tests.fleet --areas 60 --passes 20.

One process does the work undisturbed. Then 1 ingest, 3 detectors and 1 alerter do it on a broker and an
object store while a random process is killed every few seconds, the broker is restarted, the object store
is away for 20 seconds, items come late, shuffled and in versions that are replaced, and events come twice.
What both leave behind must be equal. Ends with status 1 where it is not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fleet.drill import Drill, Report, run_drill


def main() -> int:
    """Run, and say what came out."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__.split("\n")[0])
    parser.add_argument("--areas", type=int, default=60)
    parser.add_argument("--passes", type=int, default=20, help="acquisitions over each area")
    parser.add_argument("--detectors", type=int, default=3)
    parser.add_argument("--kill-every", type=float, default=8.0, help="mean seconds between two kills")
    parser.add_argument("--outage", type=float, default=20.0, help="seconds without the object store")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep everything here; default: a temporary folder")
    given = parser.parse_args()
    drill = Drill(given.areas, given.passes, given.detectors, given.kill_every, given.outage, given.seed)
    if given.folder is not None:
        given.folder.mkdir(parents=True)
        return _tell(run_drill(given.folder, drill))
    with tempfile.TemporaryDirectory(prefix="groundwatch-fleet-") as folder:
        return _tell(run_drill(Path(folder), drill))


def _tell(report: Report) -> int:
    print(report)
    return int(bool(report.faults))


if __name__ == "__main__":
    sys.exit(main())
