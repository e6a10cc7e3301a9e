"""Profiles, and items of real providers as Scenes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from ingest.footprints import buffered, footprint
from ingest.items import ItemProblem, read_item
from ingest.providers import CollectionProfile, effective_profile, load_profile, shipped_profiles
from registry.errors import ConfigError
from registry.models import S2_BANDS, Scene, Sensor
from registry.setting_models import ProviderSettings
from tests.services import web
from tests.stac_items import Item, s1_item, s2_item

SELF = {"rel": "self", "href": "https://api.example/collections/c/items/x"}


def read(item: object, profile_name: str = "earth-search", collection: str = "sentinel-2-l2a") -> Any:
    profile = load_profile(profile_name)
    chosen = next(one for one in profile.collections if one.id == collection)
    return read_item(item, profile=profile, collection=chosen)


def usable(item: object, profile_name: str = "earth-search", collection: str = "sentinel-2-l2a") -> Scene:
    found = read(item, profile_name, collection)
    assert isinstance(found, Scene), str(found)
    return found


def real_items(folder: Path) -> list[Item]:
    found: list[Item] = [json.loads(path.read_text()) for path in sorted(folder.glob("*/*.json"))]
    for item in found:  # nothing changes but hrefs: local file names become addresses
        for asset in item["assets"].values():
            if "://" not in asset["href"]:
                asset["href"] = f"https://files.example/{item['id']}/{asset['href']}"
    return found


def test_shipped_profiles_are_valid_and_cover_both_sensors() -> None:
    public = {"cdse", "earth-search", "planetary-computer"}
    assert public | {"custom-example"} <= set(shipped_profiles())
    for name in shipped_profiles():
        profile = load_profile(name)
        sensors = {one.sensor for one in profile.collections}
        assert sensors == {Sensor.S1, Sensor.S2}, name
        optical = next(one for one in profile.collections if one.sensor is Sensor.S2)
        if name in public:
            assert set(optical.bands.values()) == {*S2_BANDS, "SCL"}, name


def test_real_earth_search_tile_33twl(real_data: Path) -> None:
    items = real_items(real_data / "earthsearch_33TWL")
    scenes = [usable(item) for item in items]
    assert [one.tile for one in scenes] == ["33TWL"] * 4
    assert {one.relative_orbit for one in scenes} == {79, 122}, "out of s2:product_uri"
    first = scenes[0]
    assert first.datatake == "GS2A_20230815T095031_042547", "without its baseline"
    assert (first.baseline, first.epsg, first.platform) == ("05.09", 32633, "sentinel-2a")
    assert first.acquired.isoformat() == "2023-08-15T09:58:11.662000+00:00"
    assert set(first.bands) == {*S2_BANDS, "SCL"}
    # The item says that the offset is in the pixels, although raster:bands still declares it.
    assert (first.bands["B02"].scale, first.bands["B02"].offset, first.offset_check) == (0.0001, 0.0, False)
    assert (first.bands["SCL"].scale, first.bands["SCL"].offset, first.bands["SCL"].nodata) == (1.0, 0.0, 0.0)


def test_real_earth_search_tile_29rkh_has_all_bands_and_an_old_baseline(real_data: Path) -> None:
    (item,) = real_items(real_data / "earthsearch_29RKH")
    one = usable(item)
    assert set(one.bands) == {*S2_BANDS, "SCL"}
    assert (one.baseline, one.relative_orbit, one.bands["B12"].offset, one.offset_check) == (
        "02.14",
        37,
        0.0,
        False,
    )
    assert one.version == "2022-11-06T09:32:34.081877+00:00"


def test_real_items_with_six_bands_and_no_sentinel_properties(real_data: Path) -> None:
    paths = sorted((real_data / "romania_s2" / "items").glob("*.json"))
    assert len(paths) == 140
    for path in paths:
        item = json.loads(path.read_text())
        item["links"] = [{"rel": "self", "href": "https://files.example/items/x.json"}]
        one = usable(item)
        assert set(one.bands) == {"B02", "B03", "B04", "B08", "B8A", "B11", "SCL"}
        assert (one.datatake, one.tile, one.relative_orbit, one.baseline) == (None,) * 4
        assert (one.epsg, one.bands["B02"].offset, one.offset_check) == (3035, 0.0, False)
        assert one.bands["B02"].href == f"https://files.example/cogs/{path.stem}/blue.tif", "relative to self"


def test_earth_search_offset_that_may_be_in_the_pixels_already_is_checked() -> None:
    unsure = usable(s2_item(properties={"earthsearch:boa_offset_applied": False}))
    assert (unsure.bands["B02"].offset, unsure.offset_check) == (-0.1, True)
    applied = usable(s2_item(properties={"earthsearch:boa_offset_applied": True}))
    assert (applied.bands["B02"].offset, applied.offset_check) == (0.0, False)


@pytest.mark.parametrize(
    ("baseline", "offset", "check"),
    [
        ("02.14", 0.0, False),
        ("03.01", 0.0, False),
        ("04.00", -0.1, False),
        ("05.11", -0.1, False),
        ("10.00", -0.1, False),  # as text it would sort before 04.00
        ("99.99", -0.1, True),  # no version at all: the pixels must tell
        (None, -0.1, True),
    ],
)
def test_planetary_computer_offset_follows_the_baseline(
    baseline: str | None, offset: float, check: bool
) -> None:
    item = planetary_item(baseline)
    one = usable(item, "planetary-computer")
    assert (one.bands["B02"].offset, one.bands["B02"].scale, one.offset_check) == (offset, 0.0001, check)
    assert one.bands["SCL"].offset == 0.0
    assert one.tile == "35TLK"


def planetary_item(baseline: str | None) -> Item:
    item = s2_item()
    properties = {key: value for key, value in item["properties"].items() if key != "grid:code"}
    item["properties"] = properties | {"s2:mgrs_tile": "35TLK", "s2:processing_baseline": baseline}
    item["assets"] = {name: {"href": f"https://blob.example/{name}.tif"} for name in ("B02", "B8A", "SCL")}
    return item


def test_cdse_asset_level_numbers_and_a_baseline_that_lost_its_zero() -> None:
    item = s2_item(
        properties={
            "processing:version": "5.1",
            "eopf:datatake_id": "GS2A_X_N05.10",
            "sat:relative_orbit": 93,
        }
    )
    number = {"raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 0, "proj:code": "EPSG:32635"}
    item["assets"] = {
        name: {"href": f"s3://eodata/{name}.jp2"} | number
        for name in ("B02_10m", "B8A_20m", "SCL_20m", "AOT_10m", "WVP_10m")
    }
    one = usable(item, "cdse")
    assert (one.baseline, one.datatake, one.relative_orbit) == ("05.10", "GS2A_X", 93)
    assert (one.bands["B8A"].offset, one.bands["B8A"].nodata, one.offset_check) == (-0.1, 0.0, False)
    assert one.bands["SCL"].offset == 0.0, "a mask has no offset, whatever is declared"
    older = item | {"properties": item["properties"] | {"processing:version": "02.14"}}
    assert usable(older, "cdse").offset_check, "an offset before baseline 04.00 contradicts itself"


def test_numbers_in_stac_1_1_bands() -> None:
    item = s2_item()
    item["assets"]["blue"] = {
        "href": "https://x.example/b.tif",
        "nodata": 0,
        "bands": [{"name": "B02", "raster:scale": 0.0002, "raster:offset": 0.0}],
    }
    assert usable(item).bands["B02"].scale == 0.0002


def test_radar_in_radar_geometry_is_refused_and_rtc_taken() -> None:
    rtc = s1_item()
    one = usable(rtc, "planetary-computer", "sentinel-1-rtc")
    assert (one.bands["VV"].scale, one.bands["VV"].nodata, one.relative_orbit) == (1.0, -32768.0, 80)
    assert one.platform == "sentinel-1a"
    for name in ("planetary-computer", "earth-search", "cdse"):
        refused = read(rtc, name, "sentinel-1-grd")
        assert "not terrain-corrected" in str(refused), name


def test_radar_of_an_unknown_collection_must_have_a_map_projection() -> None:
    settings = ProviderSettings(name="mine", profile="earth-search", collections={Sensor.S1: "my-radar"})
    profile = effective_profile(settings)
    radar = next(one for one in profile.collections if one.sensor is Sensor.S1)
    assert (radar.id, radar.terrain_corrected) == ("my-radar", None)
    item = s1_item()
    assert isinstance(read_item(item, profile=profile, collection=radar), Scene)
    del item["properties"]["proj:epsg"]
    assert "RTC" in str(read_item(item, profile=profile, collection=radar))


def test_settings_choose_collections_and_sensors() -> None:
    assert [one.id for one in effective_profile(ProviderSettings(name="es")).collections] == [
        "sentinel-2-l2a"
    ]
    both = effective_profile(ProviderSettings(name="pc", profile="planetary-computer"))
    assert [one.id for one in both.collections] == ["sentinel-2-l2a", "sentinel-1-rtc"]
    named = ProviderSettings(
        name="es",
        url="http://127.0.0.1:1",
        collections={Sensor.S2: "sentinel-2-c1-l2a"},
        sensors=(Sensor.S2,),
    )
    profile = effective_profile(named)
    assert (profile.name, profile.url) == ("es", "http://127.0.0.1:1")
    assert [one.id for one in profile.collections] == ["sentinel-2-c1-l2a"]
    with pytest.raises(ConfigError, match="polls nothing"):
        effective_profile(ProviderSettings(name="es", sensors=(Sensor.S1,)))


def test_a_profile_of_ones_own_is_checked_with_file_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(
        "name: mine\nurl: http://127.0.0.1:1\ncollections:\n"
        "  - id: c\n    sensor: sentinel-2\n    bandz: {blue: B02}\n"
    )
    with pytest.raises(ConfigError, match=r"mine\.yml:6.*bandz"):
        load_profile(str(path))
    with pytest.raises(ConfigError, match="earth-search"):
        load_profile("erth-search")
    with pytest.raises(ValueError, match="unknown bands"):
        CollectionProfile(id="c", sensor=Sensor.S2, bands={"blue": "B99"})


Change = Callable[[Item], object]


def without(item: Item, *path: str) -> None:
    for name in path[:-1]:
        item = item[name]
    del item[path[-1]]


BROKEN: dict[str, tuple[Change, str]] = {
    "no geometry": (lambda one: one.update(geometry=None), "no geometry"),
    "a point": (
        lambda one: one.update(geometry={"type": "Point", "coordinates": [1, 2]}),
        "must be a Polygon",
    ),
    "NaN in the geometry": (
        lambda one: one["geometry"].update(
            coordinates=[[[25.0, 45.0], [float("nan"), 46.0], [26.0, 46.0], [25.0, 45.0]]]
        ),
        "not a number",
    ),
    "geometry in metres": (
        lambda one: one["geometry"].update(coordinates=[[[5e5, 5e6], [6e5, 5e6], [6e5, 6e6], [5e5, 5e6]]]),
        "outside the world",
    ),
    "half the world": (
        lambda one: one["geometry"].update(coordinates=[[[-80, 0], [80, 0], [80, 9], [-80, 9], [-80, 0]]]),
        "degrees wide",
    ),
    "no datetime": (lambda one: one["properties"].update(datetime=None), "no datetime"),
    "a malformed datetime": (lambda one: one["properties"].update(datetime="June"), "not ISO 8601"),
    "no time zone": (
        lambda one: one["properties"].update(datetime="2024-06-01T00:00:00"),
        "not ISO 8601",
    ),
    "no known assets": (
        lambda one: one.update(assets={"preview": {"href": "https://x.example/p.jpg"}}),
        "none of the assets",
    ),
    "no href": (lambda one: without(one, "assets", "red", "href"), "asset red has no href"),
    "a local file": (
        lambda one: one["assets"]["red"].update(href="file:///etc/passwd"),
        "scheme 'file'",
    ),
    "a path": (lambda one: one["assets"]["red"].update(href="/etc/passwd"), "scheme 'none'"),
    "NaN as scale": (
        lambda one: one["assets"]["red"]["raster:bands"][0].update(scale=float("nan")),
        "not a finite number",
    ),
    "no id": (lambda one: without(one, "id"), "no id"),
    "properties is a list": (lambda one: one.update(properties=[1]), "not a STAC item"),
    "an asset is a text": (lambda one: one["assets"].update(red="x"), "malformed"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_item_is_one_line(name: str) -> None:
    change, reason = BROKEN[name]
    item = s2_item()
    change(item)
    found = read(item)
    assert isinstance(found, ItemProblem)
    assert reason in found.reason
    assert "\n" not in str(found)


def test_nan_in_a_property_that_does_not_matter_is_left_out() -> None:
    one = usable(s2_item(properties={"eo:cloud_cover": float("nan"), "sat:relative_orbit": float("nan")}))
    assert (one.cloud_percent, one.relative_orbit) == (None, 93)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    path=st.sampled_from(
        [
            ("geometry",),
            ("geometry", "coordinates"),
            ("properties",),
            ("properties", "datetime"),
            ("properties", "s2:processing_baseline"),
            ("properties", "s2:datatake_id"),
            ("properties", "grid:code"),
            ("properties", "proj:epsg"),
            ("properties", "updated"),
            ("properties", "eo:cloud_cover"),
            ("assets",),
            ("assets", "blue"),
            ("assets", "blue", "href"),
            ("assets", "blue", "raster:bands"),
            ("links",),
            ("id",),
        ]
    ),
    junk=JSON,
)
def test_no_junk_makes_reading_an_item_raise(path: tuple[str, ...], junk: object) -> None:
    item = s2_item()
    holder = item
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = junk
    found = read(item)
    assert isinstance(found, Scene | ItemProblem)
    assert "\n" not in str(found) or isinstance(found, Scene)


def ring(*points: tuple[float, float]) -> Item:
    return {"type": "Polygon", "coordinates": [[*points, points[0]]]}


@pytest.mark.parametrize(
    "drawn",
    [
        ring((179.5, -17.0), (180.5, -17.0), (180.5, -16.0), (179.5, -16.0)),
        ring((179.5, -17.0), (-179.5, -17.0), (-179.5, -16.0), (179.5, -16.0)),
        ring((-180.5, -17.0), (-179.5, -17.0), (-179.5, -16.0), (-180.5, -16.0)),
    ],
)
def test_a_footprint_over_the_antimeridian_is_split_there(drawn: Item) -> None:
    found = footprint(drawn)
    assert found.geom_type == "MultiPolygon"
    assert found.equals(box(179.5, -17.0, 180.0, -16.0).union(box(-180.0, -17.0, -179.5, -16.0)))


def test_a_self_crossing_footprint_is_repaired() -> None:
    found = footprint(ring((25.0, 45.0), (26.0, 46.0), (26.0, 45.0), (25.0, 46.0)))
    assert found.is_valid
    assert found.area == pytest.approx(0.5)


def test_a_buffer_reaches_at_least_as_far_as_asked_and_over_the_antimeridian() -> None:
    area = box(179.99, 60.0, 180.0, 60.1)
    grown = buffered(area, 2000.0)
    assert grown.intersects(box(-179.99, 60.0, -179.98, 60.1)), "2 km are .036 degrees at 60 north"
    assert grown.bounds[1] < 60.0 - 2000.0 / 111_500.0
    assert grown.bounds[3] < 60.1 + 0.03
    assert buffered(area, 0.0) is area


@pytest.fixture
def token_endpoint() -> Iterator[str]:
    """Answers as the Planetary Computer's token endpoint does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"msft:expiry": "2099-01-01T00:00:00Z", "token": "st=1&sig=abc"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{listener.server_port}"
    listener.shutdown()
    listener.server_close()
    thread.join()


def test_gdal_signs_what_the_planetary_computer_profile_makes_of_an_href(
    real_data: Path, tmp_path: Path, token_endpoint: str
) -> None:
    cogs = real_data / "romania_s2" / "cogs"
    name = sorted(path.name for path in cogs.iterdir())[0]
    with web.files(cogs, tmp_path) as url, web.proxy(url) as proxy:
        item = planetary_item("05.10")
        item["assets"]["B02"]["href"] = f"{proxy.url}/{name}/blue.tif"
        href = usable(item, "planetary-computer").bands["B02"].href
        options = {
            "VSICURL_PC_SAS_TOKEN_URL": f"{token_endpoint}/token/",
            "VSICURL_PC_SAS_SIGN_HREF_URL": f"{token_endpoint}/sign?href=",
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        }
        with rasterio.Env(**options), rasterio.open(href) as file:
            assert file.read(1).max() > 0
        assert proxy.seen
        assert all("sig=abc" in one.path for one in proxy.seen)
