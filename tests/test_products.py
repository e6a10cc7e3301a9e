"""Ledger rows, states and masks as blobs: round trips, the same bytes, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from stac_pydantic import Item

from detector.colour import WHITE_AT, reflectance, true_colour
from detector.ledger import Ledger, StateFiles, basis
from detector.products import UNSEEN, Layer, write_preview, write_products
from detector.rasters import Window
from detector.state import NO_SCORE, LedgerRow, PixelStatus, State, source_name, start, to_arrays
from registry.blobs import Blobs, open_blobs
from registry.detection import DetectionSettings
from registry.errors import Exists, Reject
from registry.grid import Grid
from registry.models import (
    Area,
    Pass,
    Sensor,
    Target,
)
from tests.storage_samples import make_area, make_incident, make_pass

GRID = Grid(epsg=32635, left=400_000, top=5_010_000, width=90, height=70)
LAND = GRID.to_world(shapely.box(*GRID.bounds))
AREA: Area = make_area(geometry=LAND)
FOREST = Target.FOREST


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return open_blobs(f"file://{tmp_path}/blobs")


def ledger_of(blobs: Blobs) -> Ledger:
    return Ledger(blobs, area_id="pit", target=FOREST, basis="0123456789ab")


def states_of(blobs: Blobs, fold: str = "f" * 64) -> StateFiles:
    return StateFiles(blobs, area_id="pit", target=FOREST, fold_digest=fold)


def row_of(one: Pass, *, weight: int = 2, seed: int = 1) -> LedgerRow:
    score = np.random.default_rng(seed).integers(-9000, 9000, GRID.shape).astype(np.int16)
    score[:3] = NO_SCORE
    return LedgerRow(
        name=one.name,
        acquired=one.acquired,
        sensor=one.sensor,
        source=source_name(one.sensor, "forest-spectral", 82),
        score=score,
        weight=np.full(GRID.shape, weight, dtype=np.uint8),
    )


def files(blobs: Blobs) -> dict[str, bytes]:
    return {name: blobs.get(name) for name in blobs.list("")}


# ---------------------------------------------------------------- ledger


def test_a_row_comes_back_as_it_was(blobs: Blobs) -> None:
    ledger, one = ledger_of(blobs), make_pass(3)
    row = row_of(one)
    assert not ledger.stored(one)
    ledger.write(one, GRID, row)
    assert ledger.stored(one)
    (entry,) = ledger.entries()
    back = ledger.read(entry)
    assert (back.name, back.acquired, back.sensor, back.source) == (
        one.name.removesuffix("_r001"),
        one.acquired,
        Sensor.S2,
        row.source,
    )
    assert np.array_equal(back.score, row.score)
    assert back.score.dtype == np.int16
    assert np.array_equal(back.weight, row.weight)
    assert back.weight.dtype == np.uint8
    window = Window(10, 20, 30, 45)
    assert ledger.looks(entry, GRID, window).shape == (10, 15)


def test_a_row_is_a_tiled_zstd_geotiff_on_the_grid(blobs: Blobs) -> None:
    ledger, one = ledger_of(blobs), make_pass(3)
    ledger.write(one, GRID, row_of(one))
    with rasterio.open(blobs.path(ledger.entries()[0].blob)) as file:
        assert file.profile["compress"] == "zstd"
        assert file.profile["tiled"]
        assert (file.crs.to_epsg(), file.transform.c, file.transform.f) == (32635, 400_000, 5_010_000)
        assert file.descriptions == ("score", "weight")
        assert file.tags()["name"] == one.name
        assert file.tags()["acquired"] == "2024-05-04T12:00:00.000000Z"


def test_rows_are_never_overwritten_and_the_same_gives_the_same_bytes(blobs: Blobs, tmp_path: Path) -> None:
    one = make_pass(3)
    ledger_of(blobs).write(one, GRID, row_of(one))
    before = files(blobs)
    ledger_of(blobs).write(one, GRID, row_of(one, seed=2))
    assert files(blobs) == before
    other = open_blobs(f"file://{tmp_path}/other")
    ledger_of(other).write(one, GRID, row_of(one))
    assert files(other) == before


def test_the_current_ledger_is_the_newest_revision_of_each_pass_in_order(blobs: Blobs) -> None:
    ledger = ledger_of(blobs)
    for one in (
        make_pass(9),
        make_pass(3),
        make_pass(3, revision=2),
        make_pass(3, revision=10),
        make_pass(5),
    ):
        ledger.write(one, GRID, row_of(one))
    assert [entry.pass_name for entry in ledger.entries()] == [
        make_pass(3, revision=10).name,
        make_pass(5).name,
        make_pass(9).name,
    ]
    ledger.withdraw(make_pass(5, revision=2, withdrawn=True))
    ledger.withdraw(make_pass(5, revision=2, withdrawn=True))
    assert make_pass(5).name not in [entry.pass_name for entry in ledger.entries()]
    back = make_pass(5, revision=3)
    ledger.write(back, GRID, row_of(back))
    assert back.name in [entry.pass_name for entry in ledger.entries()]


def test_the_chain_depends_on_rows_not_on_arrival(blobs: Blobs, tmp_path: Path) -> None:
    other = open_blobs(f"file://{tmp_path}/other")
    for order, store in (((1, 5, 9), blobs), ((9, 1, 5), other)):
        for day in order:
            ledger_of(store).write(make_pass(day), GRID, row_of(make_pass(day)))
    one, two = ledger_of(blobs), ledger_of(other)
    chain = one.chain(one.entries())
    assert chain == two.chain(two.entries())
    assert len(set(chain)) == 4
    assert one.chain(one.entries()[:2]) == chain[:3]
    assert Ledger(blobs, area_id="pit", target=FOREST, basis="b" * 12).chain(()) != chain[:1]


def test_the_basis_follows_grid_settings_and_cards_only() -> None:
    plain = DetectionSettings()
    name = basis(GRID, plain, ["a 1", "b 2"])
    assert len(name) == 12
    assert name == basis(GRID, plain, ["b 2", "a 1"])
    folds = plain.model_copy(update={"evidence": plain.evidence.model_copy(update={"floor": -5.0})})
    assert name == basis(GRID, folds, ["a 1", "b 2"])
    scores = plain.model_copy(update={"quality": plain.quality.model_copy(update={"edge_erosion_px": 2})})
    for changed in (
        basis(GRID, scores, ["a 1", "b 2"]),
        basis(GRID, plain, ["a 1"]),
        basis(GRID.model_copy(update={"left": 0}), plain, ["a 1", "b 2"]),
    ):
        assert changed != name


def test_a_damaged_row_is_refused_by_name(blobs: Blobs) -> None:
    ledger, one = ledger_of(blobs), make_pass(3)
    ledger.write(one, GRID, row_of(one))
    (entry,) = ledger.entries()
    Path(blobs.path(entry.blob)).write_bytes(blobs.get(entry.blob)[:200])
    with pytest.raises(Reject, match=one.name):
        ledger.read(entry)


# ---------------------------------------------------------------- states


def some_state(seed: int = 1) -> State:
    chance = np.random.default_rng(seed)
    state = start(GRID.shape)
    history = {"s2:card": chance.random((3, *GRID.shape), dtype=np.float32)}
    status = chance.integers(0, 5, GRID.shape).astype(np.uint8)
    seen = np.ones(GRID.shape, dtype=np.uint16)
    seen[:5] = 0
    return replace(state, status=status, n_obs=seen, history=history, last=("2024-05-04T12:00:00Z", "name"))


def same(one: State, other: State) -> bool:
    left, right = to_arrays(one), to_arrays(other)
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def test_a_state_comes_back_with_its_incidents_and_gives_the_same_bytes(blobs: Blobs, tmp_path: Path) -> None:
    state, incidents = some_state(), (make_incident("a"), make_incident("b"))
    states_of(blobs).save("digest", state, incidents)
    found = states_of(blobs).load("digest")
    assert found is not None
    assert found.state is not None
    assert same(found.state, state)
    assert found.incidents == incidents
    other = open_blobs(f"file://{tmp_path}/other")
    states_of(other).save("digest", some_state(), incidents)
    assert files(other) == files(blobs)
    assert states_of(blobs).load("else") is None
    assert states_of(blobs, fold="e" * 64).load("digest") is None


def test_a_fold_resumes_at_the_longest_stored_beginning(blobs: Blobs) -> None:
    states, chain = states_of(blobs), [f"d{n}" for n in range(8)]
    assert states.resume(chain) == states.resume(chain[:1])
    assert states.resume(chain).index == 0
    for index in (2, 5):
        states.save(chain[index], some_state(index), ())
    found = states.resume(chain)
    assert found.index == 5
    assert found.state is not None
    assert same(found.state, some_state(5))
    late = [*chain[:4], *(f"late{n}" for n in range(4, 9))]
    assert states.resume(late).index == 2


def test_half_a_state_does_not_count_and_a_damaged_one_is_made_again(blobs: Blobs) -> None:
    states, chain = states_of(blobs), ["d0", "d1", "d2"]
    states.save("d1", some_state(1), ())
    states.save("d2", some_state(2), ())
    (newest,) = [name for name in blobs.list("state/") if name.endswith(".npz") and is_state(blobs, name, 2)]
    Path(blobs.path(newest)).write_bytes(blobs.get(newest)[:-300])
    assert states.resume(chain).index == 1
    assert newest not in set(blobs.list("state/"))
    states.save("d2", some_state(2), ())
    assert states.resume(chain).index == 2
    blobs.delete(newest.replace(".npz", ".json"))
    assert states.resume(chain).index == 1


def is_state(blobs: Blobs, name: str, seed: int) -> bool:
    with np.load(io.BytesIO(blobs.get(name))) as archive:
        return np.array_equal(archive["status"], some_state(seed).status)


def test_pruning_keeps_the_latest_and_every_nth_of_the_chain(blobs: Blobs) -> None:
    states, chain = states_of(blobs), [f"d{n}" for n in range(8)]
    for digest in (*chain[1:], "abandoned"):
        states.save(digest, start((2, 2)), ())
    assert states.prune(chain, every=3) == 2 * 5
    kept = [n for n in range(8) if states.load(chain[n])]
    assert kept == [3, 6, 7]
    assert states.prune(chain, every=3) == 0


# ---------------------------------------------------------------- killed writers

WRITER = """
import sys
from registry.blobs import open_blobs
from tests.test_products import GRID, ledger_of, row_of, make_pass, some_state, states_of
blobs = open_blobs(sys.argv[1])
print("ready", flush=True)
for day in range(int(sys.argv[2])):
    ledger_of(blobs).write(make_pass(day), GRID, row_of(make_pass(day)))
    states_of(blobs).save(f"d{day}", some_state(day), ())
    print(day, flush=True)
sys.stdin.read()
"""


def test_a_killed_writer_leaves_only_whole_blobs_and_can_be_repeated(blobs: Blobs, tmp_path: Path) -> None:
    days = 12
    command = [sys.executable, "-c", WRITER, f"file://{tmp_path}/blobs", str(days)]
    for killed_after in (0, 2, 5):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                if line.strip() == str(killed_after):
                    os.kill(writer.pid, signal.SIGKILL)
        assert writer.returncode == -signal.SIGKILL
        for entry in ledger_of(blobs).entries():
            assert ledger_of(blobs).read(entry).score.shape == GRID.shape
        for day in range(days):
            found = states_of(blobs).load(f"d{day}")
            assert found is None or same(found.state or start((1, 1)), some_state(day))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    clean = open_blobs(f"file://{tmp_path}/clean")
    subprocess.run(
        [*command[:3], f"file://{tmp_path}/clean", str(days)], check=True, stdout=subprocess.DEVNULL
    )
    assert files(blobs) == files(clean)


# ---------------------------------------------------------------- masks and STAC


def bands_of(value: float = 0.04) -> dict[str, Any]:
    field = np.full(GRID.shape, value, dtype=np.float32)
    return {"B02": field, "B03": field * 1.5, "B04": field * 0.8, "B08": field * 6}


def published(blobs: Blobs, one: Pass) -> dict[str, Any]:
    write_preview(blobs, one, GRID, bands_of())
    name = write_products(
        blobs,
        one,
        GRID,
        AREA,
        {FOREST: Layer(some_state(), "digest")},
        clear_fraction=0.8,
        notes=("shifted",),
    )
    item: dict[str, Any] = json.loads(blobs.get(name))
    return item | {"_folder": name.rpartition("/")[0]}


def test_masks_are_real_cogs_with_classes_and_no_data(blobs: Blobs) -> None:
    item = published(blobs, make_pass(3))
    state = some_state()
    for asset in ("forest-status", "forest-probability", "preview"):
        path = Path(blobs.path(item["_folder"])) / item["assets"][asset]["href"]
        with rasterio.open(path.resolve()) as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.profile["compress"] == "deflate"
            assert file.crs.to_epsg() == GRID.epsg
            assert file.shape == GRID.shape
            assert set(file.dtypes) == {"uint8"}
            assert file.tags()["pass"] == make_pass(3).name
            if asset == "forest-status":
                values = file.read(1)
                assert file.nodata == UNSEEN
                assert np.array_equal(values[5:], state.status[5:])
                assert (values[:5] == UNSEEN).all()
                assert file.colormap(1)[PixelStatus.CONFIRMED] == (220, 30, 60, 255)
            if asset == "forest-probability":
                assert file.read(1).max() == UNSEEN
                assert file.read(1)[5:].max() <= 100


def test_a_large_mask_has_overviews_of_classes_that_exist(blobs: Blobs) -> None:
    grid = GRID.model_copy(update={"width": 1100, "height": 1100})
    state = start(grid.shape)
    chance = np.random.default_rng(1).choice([0, 4], grid.shape).astype(np.uint8)
    state = replace(state, status=chance, n_obs=np.ones(grid.shape, dtype=np.uint16))
    name = write_products(blobs, make_pass(3), grid, AREA, {FOREST: Layer(state, "d")})
    with rasterio.open(blobs.path(f"{name.rpartition('/')[0]}/forest-status.tif")) as file:
        assert file.overviews(1)
        small = file.read(1, out_shape=(1, 550, 550))
        assert set(np.unique(small)) <= {0, 4}


def test_the_item_is_valid_stac_and_says_where_it_comes_from(blobs: Blobs) -> None:
    one = make_pass(3)
    linked = one.scenes[0].model_copy(update={"href": "https://stac.example/items/S-3"})
    item = published(blobs, one.model_copy(update={"scenes": (one.scenes[0], linked)}))
    folder = item.pop("_folder")
    Item.model_validate(item)
    parsed = pystac.Item.from_dict(item)
    assert parsed.datetime == one.acquired
    assert [link["rel"] for link in item["links"]] == ["via", "derived_from"]
    assert item["links"][1]["href"] == "https://stac.example/items/S-3"
    properties = item["properties"]
    assert properties["proj:code"] == "EPSG:32635"
    assert properties["proj:shape"] == [70, 90]
    assert properties["groundwatch:clear_fraction"] == 0.8
    assert properties["groundwatch:notes"] == ["shifted"]
    assert properties["groundwatch:scenes"][0]["id"] == "S-3"
    assert shapely.geometry.shape(item["geometry"]).equals_exact(LAND, 1e-6)
    for asset in item["assets"].values():
        data = (Path(blobs.path(folder)) / asset["href"]).read_bytes()
        assert asset["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest()
        assert asset["file:size"] == len(data)


def test_products_are_made_once_and_are_the_same_everywhere(blobs: Blobs, tmp_path: Path) -> None:
    published(blobs, make_pass(3))
    before = files(blobs)
    published(blobs, make_pass(3))
    assert files(blobs) == before
    for name, data in before.items():
        with pytest.raises(Exists):
            blobs.create(name, data)
    other = open_blobs(f"file://{tmp_path}/other")
    published(other, make_pass(3))
    assert files(other) == before
    write_products(blobs, make_pass(3), GRID, AREA, {FOREST: Layer(some_state(2), "refolded")})
    assert len(files(blobs)) == len(before) + 3


def test_previews_share_one_stretch_and_keep_no_data(blobs: Blobs) -> None:
    bands = bands_of()
    bands["B02"][:2] = np.nan
    name = write_preview(blobs, make_pass(3), GRID, bands)
    assert name is not None
    with rasterio.open(blobs.path(name)) as file:
        pixels = file.read()
        assert file.nodata == 0
        assert [interp.name for interp in file.colorinterp] == ["red", "green", "blue"]
        assert file.tags()["acquired"].startswith("2024-05-04")
    assert (pixels[:, :2] == 0).all()
    assert (pixels[:, 2:] > 0).all()
    assert write_preview(blobs, make_pass(4), GRID, {"VV": bands["B02"]}) is None


def test_true_colour_can_be_read_back_as_reflectance() -> None:
    values = np.linspace(0.0, WHITE_AT, 200, dtype=np.float32).reshape(1, -1)
    back = reflectance(true_colour([values, values, values]))
    assert np.abs(back - values).max() < 0.002
    assert np.isnan(reflectance(true_colour([values, values * np.nan, values]))).all()
    bright = true_colour([values + 5, values + 5, values + 5])
    assert (bright == 255).all()
