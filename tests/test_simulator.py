"""The simulated district: same seed, same bytes; physics that points the right way; truth that is true."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pystac
import pytest
import rasterio
import shapely
from pystac_client import Client
from rasterio.features import rasterize
from stac_pydantic import Collection, Item

from ingest.items import read_item
from ingest.passes import current
from ingest.providers import load_profile
from registry.errors import Exists
from registry.imports import read_areas, read_permits, read_zones
from registry.models import Scene, VerdictCase
from simulator.district import District, write_district
from simulator.frame import MARGIN, SUB, Frame, sun_at
from simulator.noise import generator
from simulator.optical import Camera, OpticalPass
from simulator.radar import LOOKS, TRACKS, Radar
from simulator.server import Served, serving
from simulator.sky import make_sky
from simulator.spectra import Surface
from simulator.truth import find_truth, read_truth, truth_geojson
from simulator.world import World, make_world

SEED = 11


@pytest.fixture(scope="module")
def district(tmp_path_factory: pytest.TempPathFactory) -> District:
    return write_district(tmp_path_factory.mktemp("district"), seed=SEED, months=2)


@pytest.fixture(scope="module")
def served(district: District) -> Iterator[Served]:
    with serving(district) as where:
        yield where


@cache
def world() -> World:
    return make_world(SEED)


@cache
def camera() -> Camera:
    return Camera(world())


@cache
def shot(day: date) -> OpticalPass:
    return camera().shoot(day, "sentinel-2a")


@cache
def clear_day(after: date) -> date:
    """First day on or after ``after`` with hardly a cloud."""
    days = (after + timedelta(days=number) for number in range(120))
    return next(day for day in days if shot(day).sky.cover < 0.01 and float(shot(day).sky.shade.max()) < 0.3)


def reflectance(one: OpticalPass, band: str) -> Any:
    return (one.bands[band].astype(np.float64) - 1000.0) / 10_000.0


def ndvi(one: OpticalPass) -> Any:
    red, nir = reflectance(one, "B04"), reflectance(one, "B08")
    return (nir - red) / (nir + red)


def pure(day: date, *surfaces: Surface) -> Any:
    """(300, 300) True where a pixel is all of these surfaces, its neighbours too."""
    cells = np.asarray(np.isin(world().state(day).numbers, [int(one) for one in surfaces]))
    wide = cells.copy()
    for axis in (0, 1):
        for step in (-3, -2, -1, 1, 2, 3):
            wide &= np.roll(cells, step, axis=axis)
    size = cells.shape[0] // SUB
    pixels = np.asarray(wide.reshape(size, SUB, size, SUB).all(axis=(1, 3)))
    return pixels[MARGIN:-MARGIN, MARGIN:-MARGIN]


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def optical_items(district: District) -> list[Any]:
    return [item for item in district.items if item["collection"] == "sentinel-2-l2a"]


# the same seed


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, district: District) -> None:
    seen: list[tuple[int, int]] = []
    again = write_district(
        tmp_path / "again", seed=SEED, months=2, progress=lambda done, total: seen.append((done, total))
    )
    assert digests(again.folder) == digests(district.folder)
    assert seen == [(number, len(seen)) for number in range(1, len(seen) + 1)]


def test_another_seed_gives_another_place() -> None:
    here, elsewhere = (
        world().state(date(2024, 1, 1)).numbers,
        make_world(SEED + 1).state(date(2024, 1, 1)).numbers,
    )
    assert float((here != elsewhere).mean()) > 0.1


def test_a_district_is_never_written_over(district: District) -> None:
    with pytest.raises(Exists, match="holds a simulated district already"):
        write_district(district.folder, seed=SEED, months=2)


# files and metadata


def test_every_asset_is_a_cog_on_the_sentinel_lattice(district: District) -> None:
    frame = Frame()
    for item in district.items:
        for name, asset in item["assets"].items():
            with rasterio.open(district.folder / asset["href"]) as file:
                metres = file.transform.a
                assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                assert file.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "DEFLATE"
                assert [metres, 0, frame.left, 0, -metres, frame.top] == asset["proj:transform"], name
                assert list(file.shape) == asset["proj:shape"]
                assert file.crs.to_epsg() == item["properties"]["proj:epsg"]
                assert file.nodata == asset["raster:bands"][0]["nodata"]
                assert file.dtypes[0] == asset["raster:bands"][0]["data_type"]
                assert (file.transform.c - 499_980) % 60 == 0
                assert (9_000_000 - file.transform.f) % 60 == 0


def test_items_and_collections_are_valid_stac(district: District) -> None:
    for collection in district.collections:
        Collection.model_validate(collection)
    for plain in district.items:
        Item.model_validate(plain)
        item = pystac.Item.from_dict(dict(plain))
        assert shapely.geometry.shape(plain["geometry"]).is_valid
        assert item.datetime is not None
        assert item.properties["created"] <= item.properties["updated"]


def test_product_names_follow_the_archives(district: District) -> None:
    uri = re.compile(r"S2[AB]_MSIL2A_\d{8}T\d{6}_N05\d\d_R067_T21LWK_\d{8}T\d{6}\.SAFE")
    take = re.compile(r"GS2[AB]_\d{8}T\d{6}_\d{6}_N05\.\d\d")
    for item in optical_items(district):
        assert uri.fullmatch(item["properties"]["s2:product_uri"])
        assert take.fullmatch(item["properties"]["s2:datatake_id"])
        baseline = item["properties"]["s2:processing_baseline"]
        assert item["properties"]["s2:datatake_id"].endswith(f"N{baseline}")
    radar = re.compile(r"S1A_IW_GRDH_1SDV_\d{8}T\d{6}_\d{8}T\d{6}_\d{6}_[0-9A-F]{6}_rtc")
    rest = [item for item in district.items if item["collection"] == "sentinel-1-rtc"]
    assert all(radar.fullmatch(item["id"]) for item in rest)
    assert {item["properties"]["sat:relative_orbit"] for item in rest} == {141, 32}


def scenes(district: District) -> list[Scene]:
    profile = load_profile("simulated")
    found = []
    for item in district.items:
        collection = next(one for one in profile.collections if one.id == item["collection"])
        assets = {
            name: {**asset, "href": f"http://127.0.0.1:1/{asset['href']}"}
            for name, asset in item["assets"].items()
        }
        scene = read_item({**item, "assets": assets}, profile=profile, collection=collection)
        assert isinstance(scene, Scene), scene
        found.append(scene)
    return found


def test_the_shipped_profile_reads_every_item(district: District) -> None:
    for scene in scenes(district):
        if scene.sensor == "sentinel-2":
            assert len(scene.bands) == 13
            assert scene.bands["B02"].offset == pytest.approx(-0.1)
            assert scene.tile == "21LWK"
            assert not scene.offset_check
        else:
            assert set(scene.bands) == {"VV", "VH"}


def test_paper_files_import_without_a_word(district: District) -> None:
    for report, count in (
        (read_areas(district.areas), 3),
        (read_permits(district.permits), 3),
        (read_zones(district.zones), 1),
    ):
        assert len(report.rows) == count
        assert not report.problems


# irregularities of a real archive


def take_of(item: Any) -> str:
    return str(item["properties"]["s2:datatake_id"]).split("_N")[0]


def test_one_datatake_comes_again_under_a_newer_baseline(district: District) -> None:
    by_take: dict[str, set[str]] = {}
    for item in optical_items(district):
        by_take.setdefault(take_of(item), set()).add(item["properties"]["s2:processing_baseline"])
    assert sorted(len(found) for found in by_take.values())[-2:] == [1, 2]
    doubled = next(take for take, found in by_take.items() if len(found) == 2)
    kept = [scene for scene in current(scenes(district)) if (scene.datatake or "").startswith(doubled)]
    assert [scene.baseline for scene in kept] == ["05.11"]


def test_two_stations_share_one_datatake_without_a_gap(district: District) -> None:
    halves = [
        item
        for item in optical_items(district)
        if shapely.geometry.shape(item["geometry"]).area
        < 0.9 * shapely.geometry.shape(district.items[0]["geometry"]).area
    ]
    assert len(halves) == 2
    assert len({take_of(item) for item in halves}) == 1
    assert len({item["properties"]["s2:product_uri"] for item in halves}) == 2
    pieces = []
    for item in halves:
        with rasterio.open(district.folder / item["assets"]["blue"]["href"]) as file:
            pieces.append(file.read(1))
    assert all((piece == 0).any() for piece in pieces)
    assert ((pieces[0] > 0) | (pieces[1] > 0)).all()
    both = (pieces[0] > 0) & (pieces[1] > 0)
    assert (pieces[0][both] == pieces[1][both]).all()


def test_the_catalogue_of_an_earlier_day_lacks_the_late_and_shows_the_replaced(district: District) -> None:
    (first,) = district.superseded
    final = next(item for item in district.items if item["id"] == first["id"])
    assert final["properties"]["updated"] > first["properties"]["updated"]
    assert final["properties"]["created"] == first["properties"]["created"]
    late = [
        item
        for item in optical_items(district)
        if item["properties"]["created"][:10]
        > (date.fromisoformat(item["properties"]["datetime"][:10]) + timedelta(days=30)).isoformat()
        and item["properties"]["s2:sequence"] == "0"
    ]
    assert len(late) == 1
    then = pystac.utils.str_to_datetime(first["properties"]["updated"]) + timedelta(days=1)
    known = {item["id"]: item for item in district.items_at(then)}
    assert known[first["id"]]["assets"]["blue"]["href"] == first["assets"]["blue"]["href"]
    assert late[0]["id"] not in known
    assert len(district.items_at(then + timedelta(days=400))) == len(district.items)


# physics


def test_surfaces_look_like_what_they_are() -> None:
    day = clear_day(date(2024, 6, 1))
    one = shot(day)
    forest, pit = pure(day, Surface.EVERGREEN), pure(day, Surface.PIT_FLOOR, Surface.PIT_BENCH)
    water = pure(day, Surface.POND)
    assert forest.sum() > 200
    assert pit.sum() > 100
    assert water.sum() > 5
    assert 0.70 < float(np.median(ndvi(one)[forest])) < 0.92
    assert float(np.median(ndvi(one)[pit])) < 0.2
    assert 0.01 < float(np.median(reflectance(one, "B04")[forest])) < 0.06
    assert 0.12 < float(np.median(reflectance(one, "B04")[pit])) < 0.30
    assert float(np.median(reflectance(one, "B08")[water])) < 0.10
    spread = reflectance(one, "B08")[forest].std() / reflectance(one, "B08")[forest].mean()
    assert 0.05 < float(spread) < 0.25


def test_leaves_fall_in_the_dry_season_and_the_forest_stays_green() -> None:
    wet, dry = clear_day(date(2024, 2, 1)), clear_day(date(2024, 8, 1))
    pasture = pure(dry, Surface.PASTURE)
    forest = pure(dry, Surface.EVERGREEN)
    assert float(np.median(ndvi(shot(wet))[pasture]) - np.median(ndvi(shot(dry))[pasture])) > 0.25
    assert float(np.median(ndvi(shot(wet))[forest]) - np.median(ndvi(shot(dry))[forest])) < 0.12


def test_the_river_rises_and_falls() -> None:
    water = [
        int((world().state(day).numbers == Surface.RIVER).sum())
        for day in (date(2024, 2, 25), date(2024, 9, 1))
    ]
    assert water[0] > 1.3 * water[1] > 0


def test_shadows_lie_away_from_the_sun_and_are_dark() -> None:
    checked = 0
    for number in range(60):
        day = date(2024, 1, 3) + timedelta(days=5 * number)
        sun = sun_at(day, Frame().latitude)
        sky = make_sky(day, sun, Frame(), SEED)
        if not 0.05 < sky.cover < 0.5:
            continue
        east, south = sky.offset
        towards = sun.towards
        assert east * towards[0] + south * towards[1] == pytest.approx(-np.hypot(east, south))
        moved = np.roll(sky.cloud, (round(south / 10), round(east / 10)), axis=(0, 1))
        wrong = np.roll(sky.cloud, (-round(south / 10), -round(east / 10)), axis=(0, 1))
        right = float(np.corrcoef(moved[60:-60, 60:-60].ravel(), sky.shade[60:-60, 60:-60].ravel())[0, 1])
        other = float(np.corrcoef(wrong[60:-60, 60:-60].ravel(), sky.shade[60:-60, 60:-60].ravel())[0, 1])
        assert right > 0.5 > other
        one, edge = shot(day), slice(MARGIN, -MARGIN)
        shade, cloud = sky.shade[edge, edge], sky.cloud[edge, edge]
        forest = pure(day, Surface.EVERGREEN) & (cloud < 0.02)
        dark, lit = forest & (shade > 0.6), forest & (shade < 0.02)
        if dark.sum() > 50 and lit.sum() > 50:
            nir = reflectance(one, "B08")
            assert float(np.median(nir[dark])) < 0.6 * float(np.median(nir[lit]))
            checked += 1
        if checked == 3:
            return
    pytest.fail(f"only {checked} passes with forest in shade and in sun")


def test_the_classification_is_good_but_not_perfect() -> None:
    thick = found = thin = missed = mistaken = 0
    edge = slice(MARGIN, -MARGIN)
    for number in range(24):
        one = shot(date(2024, 1, 3) + timedelta(days=15 * number))
        cloud = one.sky.cloud[edge, edge].reshape(150, 2, 150, 2).mean(axis=(1, 3))
        called = np.isin(one.scl, (8, 9, 10))
        thick, found = thick + int((cloud > 0.5).sum()), found + int((called & (cloud > 0.5)).sum())
        veil = (cloud > 0.08) & (cloud < 0.3)
        thin, missed = thin + int(veil.sum()), missed + int((veil & ~called).sum())
        mistaken += int((called & (cloud < 0.01)).sum())
    assert found / thick > 0.97
    assert 0.2 < missed / thin < 0.95
    assert mistaken > 50


def test_radar_has_the_backscatter_and_speckle_of_gamma0() -> None:
    day = date(2024, 7, 12)
    power = Radar(world()).shoot(day, TRACKS[0])
    assert {band: pixels.dtype.name for band, pixels in power.items()} == {"VV": "float32", "VH": "float32"}
    forest, pit = (
        pure(day, Surface.EVERGREEN),
        pure(day, Surface.PIT_FLOOR, Surface.PIT_BENCH, Surface.STRIPPED),
    )
    level = {band: 10 * np.log10(float(pixels[forest].mean())) for band, pixels in power.items()}
    assert -9.0 < level["VV"] < -5.5
    assert -15.0 < level["VH"] < -11.0
    assert 10 * np.log10(float(power["VH"][pit].mean())) < level["VH"] - 4.0
    assert all(float(pixels.min()) > 0 for pixels in power.values())


def test_speckle_is_gamma_of_4_4_looks_and_correlated() -> None:
    speckle = Radar(world())._speckle(generator(SEED, 99), 512)
    assert float(speckle.mean()) == pytest.approx(1.0, abs=0.02)
    assert float(speckle.mean() ** 2 / speckle.var()) == pytest.approx(LOOKS, rel=0.06)
    near = float(np.corrcoef(speckle[:, 1:].ravel(), speckle[:, :-1].ravel())[0, 1])
    far = float(np.corrcoef(speckle[:, 6:].ravel(), speckle[:, :-6].ravel())[0, 1])
    assert 0.4 < near < 0.75
    assert abs(far) < 0.05


# truth


def on_grid(geometry: Any) -> Any:
    grid = Frame().grid
    transform = rasterio.Affine(*grid.geotransform)
    return rasterize([grid.from_world(geometry)], out_shape=grid.shape, transform=transform) > 0


def test_the_truth_is_where_the_pixels_changed() -> None:
    before = clear_day(date(2024, 3, 1))
    for event in find_truth(world(), date(2024, 12, 31)):
        after = clear_day(event.steps[-1].on)
        inside = on_grid(event.footprint.buffer(-0.00009))
        around = on_grid(event.footprint.buffer(0.0006)) & ~on_grid(event.footprint.buffer(0.0002))
        drop = ndvi(shot(before)) - ndvi(shot(after))
        was_bare = ndvi(shot(before)) < 0.3
        assert float(np.median(drop[inside])) > 0.25, event.name
        assert float(np.median(drop[around & ~was_bare])) < 0.5 * float(np.median(drop[inside])), event.name


def test_the_truth_grows_and_its_hectares_fit_its_verdict() -> None:
    events = find_truth(world(), date(2024, 12, 31))
    assert [event.expected for event in events] == [
        VerdictCase.OUTSIDE,
        VerdictCase.INSIDE,
        VerdictCase.PROTECTED_ZONE,
    ]
    for event in events:
        sizes = [step.hectares for step in event.steps]
        assert sizes == sorted(sizes)
        assert event.at(event.started - timedelta(days=1)) is None
        assert event.at(event.started) == event.steps[0]
    outside, inside, clearing = (event.steps[-1] for event in events)
    assert outside.outside_permit_ha > 1.0
    assert outside.hectares > outside.outside_permit_ha
    assert inside.outside_permit_ha == 0.0
    assert clearing.in_reserve_ha == pytest.approx(clearing.hectares, abs=0.01)


def test_an_event_that_has_not_begun_is_not_in_the_truth(district: District) -> None:
    assert district.truth == ()
    early = find_truth(world(), date(2024, 5, 10))
    assert [event.name for event in early] == ["pit grows inside the permit"]
    assert len(early[0].steps) == 2


def test_truth_survives_its_file() -> None:
    events = find_truth(world(), date(2024, 12, 31))
    assert read_truth(json.loads(json.dumps(truth_geojson(events)))) == events


# serving


def test_the_api_lists_every_item_with_hrefs_to_the_file_server(district: District, served: Served) -> None:
    client = Client.open(served.stac_url)
    found = list(client.search(collections=["sentinel-2-l2a", "sentinel-1-rtc"], limit=7).items())
    assert sorted(item.id for item in found) == sorted(item["id"] for item in district.items)
    assert all(
        asset.href.startswith(served.files_url + "/cogs/") for item in found for asset in item.assets.values()
    )


def test_the_file_server_answers_ranges(district: District, served: Served) -> None:
    href = district.items[0]["assets"]["vv" if "vv" in district.items[0]["assets"] else "blue"]["href"]
    whole = (district.folder / href).read_bytes()
    with httpx.Client(base_url=served.files_url) as http:
        part = http.get(f"/{href}", headers={"Range": "bytes=100-299"})
        assert part.status_code == 206
        assert part.content == whole[100:300]
        assert http.get("/cogs/nothing.tif").status_code == 404
        assert http.get("/../areas.geojson/../../etc/passwd").status_code == 404
    with rasterio.open(f"/vsicurl/{served.files_url}/{href}") as file:
        assert file.read(1).any()


def test_servers_are_on_loopback_and_end_with_the_block(district: District) -> None:
    with serving(district, items=district.items[:3]) as where:
        assert where.stac_url.startswith("http://127.0.0.1:")
        assert where.files_url.startswith("http://127.0.0.1:")
        assert (
            len(
                list(
                    Client.open(where.stac_url)
                    .search(collections=["sentinel-2-l2a", "sentinel-1-rtc"])
                    .items()
                )
            )
            == 3
        )
    for url in (where.stac_url, where.files_url):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
