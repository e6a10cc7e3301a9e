"""`groundwatch compare` and `segment` on files: real pairs, made pairs with known answers, bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import reproject

from tests.services import program

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
FOREST = (250, 450, 300, 3000, 1500, 700)
MINE = (1500, 1900, 2300, 2700, 3600, 3200)
WATER = (400, 350, 250, 150, 80, 60)


def _scene(patch: tuple[int, ...] | None = None, *, size: int = 60, noise: int = 20, seed: int = 1) -> Any:
    random = np.random.default_rng(seed)
    stack = np.stack([random.normal(value, noise, (size, size)) for value in FOREST])
    if patch is not None:
        stack[:, 20:40, 20:40] = np.array(patch)[:, None, None] + random.normal(
            0, noise, (len(patch), 20, 20)
        )
    return np.clip(stack, 1, 10_000).astype(np.uint16)


def _write(
    path: Path, stack: Any, *, crs: str | None = "EPSG:32634", names: bool = True, left: float = 500_000
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = stack.shape
    profile = {"driver": "GTiff", "dtype": stack.dtype, "count": count, "height": height, "width": width}
    with rasterio.open(
        path, "w", **profile, crs=crs, transform=from_origin(left, 5_000_000, 10, 10), nodata=0
    ) as sink:
        sink.write(stack)
        if names:
            for index, name in enumerate(BANDS[:count], start=1):
                sink.set_band_description(index, name)
    return path


def _compare(
    before: Path,
    after: Path,
    out: Path,
    *,
    bands: str = ",".join(BANDS),
    extra: tuple[str, ...] = (),
    settings: str = "files: { compare: [] }",  # a plain square will do for models of single dates
) -> Any:
    (out.parent / "groundwatch.yml").write_text(settings)
    command = ("compare", str(before), str(after), "--bands", bands, "--out", str(out), "--json", *extra)
    return program.run(command, out.parent)


def _scores(folder: Path) -> dict[str, Any]:
    with rasterio.open(folder / "scores.tif") as source:
        assert source.dtypes == ("float32", "float32")
        assert np.isnan(source.nodata)
        return dict(zip(source.descriptions, source.read(), strict=True))


def test_a_new_mine_in_forest_is_found_and_measured(tmp_path: Path) -> None:
    before, after = _write(tmp_path / "a.tif", _scene()), _write(tmp_path / "b.tif", _scene(MINE, seed=2))
    done = _compare(before, after, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    scores = _scores(tmp_path / "out" / "b")
    assert list(scores) == ["forest_loss", "transformation"]
    for band in scores.values():
        assert (band >= 0).all()
        assert band[25:35, 25:35].min() > 10 * max(band[:15].max(), 1e-3)
    found = json.loads((tmp_path / "out" / "b" / "changes.geojson").read_text())["features"]
    assert [one["properties"]["class"] for one in found] == ["excavation"]
    assert found[0]["properties"]["hectares"] == pytest.approx(4.0, rel=0.1)
    assert (tmp_path / "out" / "b" / "before_after.png").stat().st_size > 1000


def test_gains_and_water_are_not_losses(tmp_path: Path) -> None:
    mine, forest = _write(tmp_path / "a.tif", _scene(MINE)), _write(tmp_path / "b.tif", _scene(seed=2))
    assert _compare(mine, forest, tmp_path / "out").returncode == 0
    scores = _scores(tmp_path / "out" / "b")
    assert all(float(np.nanmax(band)) < 0.05 for band in scores.values())
    flooded = _write(tmp_path / "c.tif", _scene(WATER, seed=3))
    assert _compare(forest, flooded, tmp_path / "out").returncode == 0
    assert float(np.nanmax(_scores(tmp_path / "out" / "c")["transformation"][22:38, 22:38])) < 0.05


def test_the_second_image_may_lie_on_another_grid(tmp_path: Path) -> None:
    before = _write(tmp_path / "a.tif", _scene())
    stack = _scene(MINE, seed=2)
    other = np.zeros((6, 80, 80), np.uint16)
    frm, to = from_origin(500_000, 5_000_000, 10, 10), from_origin(20.9999, 45.1535, 0.00013, 0.00009)
    reproject(
        stack,
        other,
        src_transform=frm,
        src_crs="EPSG:32634",
        dst_transform=to,
        dst_crs="EPSG:4326",
        src_nodata=0,
    )
    path = tmp_path / "b.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint16", count=6, height=80, width=80, crs="EPSG:4326",
        transform=to, nodata=0,
    ) as sink:  # fmt: skip
        sink.write(other)
    done = _compare(before, path, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert _scores(tmp_path / "out" / "b")["transformation"][25:35, 25:35].min() > 0.1


def test_unseen_pixels_are_nan(tmp_path: Path) -> None:
    hole = _scene(MINE, seed=2)
    hole[:, :10, :10] = 0
    before, after = _write(tmp_path / "a.tif", _scene()), _write(tmp_path / "b.tif", hole)
    assert _compare(before, after, tmp_path / "out").returncode == 0
    for band in _scores(tmp_path / "out" / "b").values():
        assert np.isnan(band[:10, :10]).all()
        assert np.isfinite(band[12:, 12:]).all()


def test_folders_are_paired_by_name_and_the_rest_is_said(tmp_path: Path) -> None:
    for name, patch in (("one.tif", MINE), ("two.tif", None)):
        _write(tmp_path / "a" / name, _scene())
        _write(tmp_path / "b" / name, _scene(patch, seed=2))
    _write(tmp_path / "a" / "alone.tif", _scene())
    done = _compare(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "alone.tif" in done.stderr
    rows = {row["pair"]: row for row in json.loads(done.stdout)}
    assert {row["model"] for row in rows.values()} == {"single dates"}
    assert rows["one"]["transformation_ha"] > 3.5
    assert rows["two"]["transformation_ha"] == 0.0


def test_by_default_a_model_of_two_dates_answers(tmp_path: Path) -> None:
    before, after = _write(tmp_path / "a.tif", _scene()), _write(tmp_path / "b.tif", _scene(seed=2))
    done = _compare(before, after, tmp_path / "out", settings="{}")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["model"], row["polygons"]) == ("change-rgbnir-swir + mining-rgbnir-swir", 0)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        ("bands", "6 bands, --bands names 4"),
        ("permuted", "--bands says"),
        ("crs", "no coordinate system"),
        ("scale", "correct --scale"),
        ("truncated", "cannot be read"),
        ("elsewhere", "no pixel"),
        ("unknown", "B99"),
    ],
)
def test_bad_images_get_one_line(tmp_path: Path, break_it: str, says: str) -> None:
    before, after = _write(tmp_path / "a.tif", _scene()), _write(tmp_path / "b.tif", _scene(MINE, seed=2))
    bands = ",".join(BANDS)
    extra: tuple[str, ...] = ()
    if break_it == "bands":
        bands = "B02,B03,B04,B08"
    elif break_it == "permuted":
        bands = "B03,B02,B04,B08,B11,B12"
    elif break_it == "crs":
        _write(after, _scene(), crs=None)
    elif break_it == "scale":
        extra = ("--scale", "1")
    elif break_it == "truncated":
        after.write_bytes(after.read_bytes()[: after.stat().st_size // 3])
    elif break_it == "elsewhere":
        _write(after, _scene(), left=700_000)
    elif break_it == "unknown":
        bands = "B99"
    done = _compare(before, after, tmp_path / "out", bands=bands, extra=extra, settings="{}")
    assert done.returncode == 3, (done.stdout, done.stderr)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("groundwatch: ")
    assert says in last
    assert "Traceback" not in done.stderr


def test_segment_maps_forest_and_mine(tmp_path: Path) -> None:
    stack = _write(tmp_path / "s.tif", _scene(MINE))
    (tmp_path / "groundwatch.yml").write_text("files: { segment: [] }\n")  # spectral: a plain square will do
    command = ("segment", str(stack), "--bands", ",".join(BANDS), "--out", "out", "--json")
    done = program.run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["transformed_ha"] == pytest.approx(4.0, rel=0.15)
    assert found["forest_ha"] == pytest.approx(32.0, rel=0.1)
    with rasterio.open(tmp_path / "out" / "classes.tif") as source:
        assert set(np.unique(source.read(1))) == {1, 2}
