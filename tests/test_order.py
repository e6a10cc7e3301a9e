"""Items shuffled, late, duplicated, reprocessed: the same state to the byte, the same incidents."""

from __future__ import annotations

import copy
import random
import re
from pathlib import Path
from typing import Any

from tests import romania
from tests.services import stac

BATCHES = 5


def _states(home: romania.Home) -> tuple[set[bytes], set[str]]:
    """Contents of the kept states, and of their incidents with the names of revisions taken out."""
    blobs = home.folder / "data" / "blobs"
    arrays = {path.read_bytes() for path in blobs.glob("state/**/*.npz")}
    incidents = {re.sub(r"_r\d{3}", "", path.read_text()) for path in blobs.glob("state/**/*.json")}
    return arrays, incidents


def _reprocessed(item: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """The item as an earlier, worse version had it: another date's pixels, an older time stamp."""
    old = copy.deepcopy(item)
    old["properties"]["updated"] = "2016-01-01T00:00:00Z"
    for name, asset in old["assets"].items():
        asset["href"] = like["assets"][name]["href"]
    return old


def test_the_order_of_arrival_changes_nothing(tmp_path: Path, real_data: Path, pgstac: stac.PgStac) -> None:
    with romania.served_files(real_data, tmp_path / "web") as files:
        items = [
            one for one in romania.items(real_data, files) if one["properties"]["datetime"] < "2017-08-01"
        ]
        targets = f"    archive: file://{tmp_path}/notices\n"
        shuffled = romania.make_home(tmp_path / "shuffled", pgstac.url, targets=targets)
        mixed = items.copy()
        random.Random(4).shuffle(mixed)
        worse = _reprocessed(items[20], like=items[3])
        pgstac.put([worse])
        for batch in range(BATCHES):
            pgstac.put(one for one in mixed[batch::BATCHES] if one["id"] != worse["id"])
            shuffled.run("backfill", "--since", "2015-01-01")
        pgstac.put([items[20]])
        shuffled.run("backfill", "--since", "2015-01-01")

        ordered = romania.make_home(tmp_path / "ordered", pgstac.url, targets=targets)
        ordered.run("backfill", "--since", "2015-01-01")
    one, other = _states(shuffled), _states(ordered)
    assert one[0] == other[0], "arrays differ"
    assert one[1] == other[1], "incidents differ"
    listed = [home.json("incidents", "--status", "confirmed") for home in (shuffled, ordered)]
    assert listed[0] == listed[1]
    assert listed[0], "the passes must lead to an incident"
