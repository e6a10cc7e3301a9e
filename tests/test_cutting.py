"""Chips cut from passes: the same pixels the detector would read, where the area is, when it is clear."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from shapely.geometry import box

from detector.stack import read_stack
from detector.training.folder import every_chip, list_chips, read_chip
from groundwatch.cutting import Cut, cut_area, windows_of
from registry.chips import CHANNELS
from registry.detection import DetectionSettings
from registry.errors import InputError
from registry.grid import Grid
from registry.models import Area, AreaKind, BandFile, Pass, Sensor
from tests.test_stack import READER, WHEN, pass_of, scene_of, write_raster

GROUND = Grid(epsg=32634, left=500_000, top=5_000_000, width=140, height=140)
SETTINGS = DetectionSettings()


@pytest.fixture
def area() -> Area:
    left, bottom, right, top = GROUND.bounds
    corner = GROUND.to_world(box(left + 20, bottom + 20, right - 20, top - 20))
    return Area(id="pit", name="Pit", kind=AreaKind.WATCHED, geometry=corner)


@pytest.fixture
def timeline(tmp_path: Path) -> list[Pass]:
    where = {"epsg": 32634, "left": 499_000.0, "top": 5_001_000.0, "step": 10.0, "size": (360, 360)}
    red = write_raster(tmp_path / "red.tif", **where, seed=1)  # type: ignore[arg-type]
    near = write_raster(tmp_path / "near.tif", **where, seed=2)  # type: ignore[arg-type]
    radar = write_raster(tmp_path / "vv.tif", **where, dtype="float32", seed=3)  # type: ignore[arg-type]
    files = {
        "B04": BandFile(href=str(red), nodata=0, scale=1e-4),
        "B08": BandFile(href=str(near), nodata=0, scale=1e-4),
    }
    optical = [
        pass_of(
            scene_of(red, id=f"s2-{day}", bands=files, acquired=WHEN + timedelta(days=day)),
            acquired=WHEN + timedelta(days=day),
        )
        for day in (0, 10, 20, 30)
    ]
    return [
        pass_of(scene_of(radar, band="VV"), acquired=WHEN - timedelta(days=2)),
        *optical,
    ]


def test_a_chip_is_what_the_detector_would_read(tmp_path: Path, area: Area, timeline: list[Pass]) -> None:
    found = cut_area(
        area, timeline, tmp_path / "chips", Cut(size=64, windows=2, dates=2), reader=READER, settings=SETTINGS
    )
    assert len(found) == 4
    assert list_chips(tmp_path / "chips") == []
    file = every_chip(tmp_path / "chips")[0]
    chip = read_chip(file)
    assert (chip.known, chip.place, file.facts["area"]) == ((), "pit", "pit")
    with rasterio.open(file.folder / "pixels.tif") as source:
        left, top = round(source.bounds.left), round(source.bounds.top)
        assert source.crs.to_epsg() == 32634
        assert source.descriptions == CHANNELS
    grid = Grid(epsg=32634, left=left, top=top, width=64, height=64)
    wanted = read_stack(timeline[1], timeline[0], grid, ("B04", "B08", "VV"), reader=READER)
    for name in ("B04", "B08", "VV"):
        assert np.array_equal(chip.pixels[CHANNELS.index(name)], wanted.bands[name], equal_nan=True)
    assert np.isnan(chip.pixels[CHANNELS.index("B11")]).all()
    assert file.facts["partner_lag_days"] == "2.00"
    assert {one.acquired for one in every_chip(tmp_path / "chips")} == {"2024-05-01", "2024-05-21"}


def test_windows_meet_the_area_and_are_spread_over_it(area: Area) -> None:
    every = windows_of(area, Cut(size=64, windows=100))
    assert len(every) == 9
    few = windows_of(area, Cut(size=64, windows=3))
    assert [every.index(one) for one in few] == [0, 4, 8]


def test_cloudy_dates_are_passed_over(tmp_path: Path, area: Area, timeline: list[Pass]) -> None:
    where = {"epsg": 32634, "left": 499_000.0, "top": 5_001_000.0, "step": 10.0, "size": (360, 360)}
    path = write_raster(tmp_path / "scl.tif", **where, dtype="uint8")  # type: ignore[arg-type]
    with rasterio.open(path, "r+") as sink:
        sink.write(np.full((360, 360), 9, np.uint8), 1)
    first = timeline[1]
    scene = first.scenes[0]
    bands = {**scene.bands, "SCL": BandFile(href=str(path), nodata=0)}
    cloudy = first.model_copy(update={"scenes": (scene.model_copy(update={"bands": bands}),)})
    found = cut_area(
        area, [timeline[0], cloudy, *timeline[2:]], tmp_path / "chips", Cut(size=64, windows=1, dates=1),
        reader=READER, settings=SETTINGS,
    )  # fmt: skip
    assert [one.acquired for one in found] == ["2024-05-11"]


def test_an_area_without_passes_says_what_to_do(tmp_path: Path, area: Area, timeline: list[Pass]) -> None:
    radar = [one for one in timeline if one.sensor is Sensor.S1]
    with pytest.raises(InputError, match="groundwatch backfill --area pit"):
        cut_area(area, radar, tmp_path, Cut(), reader=READER, settings=SETTINGS)
