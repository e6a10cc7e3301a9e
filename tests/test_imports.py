"""Areas, permits and zones from files: every row imported or reported, every broken file one line."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Polygon, box

from registry import archives
from registry.errors import InputError
from registry.geometry import MAX_VERTICES, hectares
from registry.imports import read_areas, read_permits
from registry.models import Area, AreaKind, Holder, PermitStatus
from registry.repair import Unusable, needs_repair, repaired
from tests.import_files import BOWTIE, SQUARE, frame, geojson, refusal, said, shapefile, zipped
from tests.services import program

# Formats


def write_gpkg(folder: Path, table: geopandas.GeoDataFrame) -> Path:
    pyogrio.write_dataframe(table, folder / "areas.gpkg")
    return folder / "areas.gpkg"


def write_geojson(folder: Path, table: geopandas.GeoDataFrame) -> Path:
    pyogrio.write_dataframe(table.to_crs(4326), folder / "areas.geojson")
    return folder / "areas.geojson"


def write_kml(folder: Path, table: geopandas.GeoDataFrame) -> Path:
    pyogrio.write_dataframe(table.to_crs(4326), folder / "areas.kml", driver="LIBKML")
    return folder / "areas.kml"


def write_parquet(folder: Path, table: geopandas.GeoDataFrame) -> Path:
    table.to_parquet(folder / "areas.parquet")
    return folder / "areas.parquet"


def write_shp(folder: Path, table: geopandas.GeoDataFrame) -> Path:
    return shapefile(folder, table)


def write_zip(folder: Path, table: geopandas.GeoDataFrame) -> Path:
    path = shapefile(folder, table)
    return zipped(folder / "areas.zip", *sorted(path.parent.glob("permits.*")))


WRITERS = [write_gpkg, write_geojson, write_kml, write_parquet, write_shp, write_zip]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32635", "EPSG:3035", "EPSG:4674", "EPSG:3857"])
def test_every_format_in_any_system_gives_the_same_area(
    write: Callable[[Path, geopandas.GeoDataFrame], Path], crs: str, tmp_path: Path
) -> None:
    table = frame(name=["Pârâul Rece"], geometry=[SQUARE]).to_crs(crs)
    (area,) = read_areas(write(tmp_path, table)).rows
    assert (area.id, area.name) == ("paraul-rece", "Pârâul Rece")
    assert np.allclose(shapely.get_coordinates(area.geometry.normalize()),
                       shapely.get_coordinates(SQUARE.normalize()), atol=2e-6)  # fmt: skip


def test_a_pass_through_keeps_every_coordinate(tmp_path: Path) -> None:
    shape = shapely.segmentize(SQUARE.buffer(0.01), 0.001)
    (area,) = read_areas(geojson(tmp_path / "a.geojson", ({"name": "a"}, shape))).rows
    assert area.geometry.equals_exact(shape, 1e-9)


def test_the_first_bytes_count_not_the_name(tmp_path: Path) -> None:
    pyogrio.write_dataframe(frame(), tmp_path / "a.gpkg")
    renamed = (tmp_path / "a.gpkg").rename(tmp_path / "a.shp")
    report = read_areas(renamed)
    assert len(report.rows) == 1
    assert said(report) == ["file: note: the file is gpkg although it is named a.shp"]


def test_esri_json_of_a_map_server(tmp_path: Path) -> None:
    path = tmp_path / "licences.json"
    ring = [
        [3181366, -1491542],
        [3191366, -1491542],
        [3191366, -1481542],
        [3181366, -1481542],
        [3181366, -1491542],
    ]
    attributes = {
        "Code": "8589-HQ-LEL", "Status": "Active", "Type": "Large Scale Exploration Licence",
        "Parties": "Foo Ltd (60%), Bar Plc (40%)", "Commodities": "Copper; Cobalt",
        "DteGranted": 1262304000000, "DteExpires": 1893455999000,
        "AreaValue": 95.6, "AreaUnit": "Square Kilometers",
    }  # fmt: skip
    fields = [{"name": name, "type": f"esriFieldType{kind}"} for name, kind in
              [("Code", "String"), ("Status", "String"), ("Type", "String"), ("Parties", "String"),
               ("Commodities", "String"), ("DteGranted", "Date"), ("DteExpires", "Date"),
               ("AreaValue", "Double"), ("AreaUnit", "String")]]  # fmt: skip
    content = {
        "geometryType": "esriGeometryPolygon",
        "spatialReference": {"wkid": 102100, "latestWkid": 3857},
        "fields": fields,
        "features": [{"attributes": attributes, "geometry": {"rings": [ring]}}],
    }
    path.write_text(json.dumps(content))
    report = read_permits(path, register="landfolio", release="2024-05-01")
    (permit,) = report.rows
    assert said(report) == []
    assert permit.source_id == "8589-HQ-LEL"
    assert permit.holders == (Holder(name="Foo Ltd", share=0.6), Holder(name="Bar Plc", share=0.4))
    assert (permit.granted, permit.valid_from, permit.valid_to) == (
        date(2010, 1, 1),
        date(2010, 1, 1),
        date(2029, 12, 31),
    )
    assert permit.status is PermitStatus.GRANTED
    assert permit.activities == ("exploration",)
    assert permit.commodities == ("Copper", "Cobalt")
    assert permit.declared_ha == pytest.approx(9560)
    assert permit.original_crs == "EPSG:3857"


# Geometry: repaired, split, simplified, reported


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (None, "skipped: row has no geometry; draw one or take the row out"),
        (shapely.Point(25, 45), "skipped: geometry is a Point, not a polygon; give the outline as a polygon"),
        (
            shapely.LineString([(0, 0), (1, 1)]),
            "skipped: geometry is a LineString, not a polygon; give the outline as a polygon",
        ),
        (Polygon([(0, 0), (1, 1), (0, 0)]), "skipped: polygon encloses no area; draw it again"),
        (
            box(44.9, 120.0, 45.0, 120.1),
            "skipped: latitude reaches 120.1, beyond 90: longitude and latitude look swapped; swap them",
        ),
        (
            box(500_000, 4_600_000, 500_010, 4_600_010),
            "skipped: coordinates reach 4.60001e+06, which is not degrees; give the file's CRS, e.g. "
            "--crs EPSG:32722",
        ),
        (
            Polygon([(-180, 80), (-90, 80), (0, 80), (90, 80), (170, 80)]),
            "skipped: polygon goes round a pole; cut it along a meridian",
        ),
        ({"type": "Polygon", "coordinates": [[[0, 0], [0, 0]]]},
         "skipped: row has no geometry; draw one or take the row out"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_stored_is_reported_and_the_others_go_on(
    shape: Any, message: str, tmp_path: Path
) -> None:
    path = geojson(
        tmp_path / "a.geojson", ({"name": "a"}, SQUARE), ({"name": "b"}, shape), ({"name": "c"}, SQUARE)
    )
    report = read_areas(path)
    assert [area.name for area in report.rows] == ["a", "c"]
    assert said(report) == [f"row 2: {message}"]
    assert report.read == 3


def test_a_self_crossing_polygon_is_repaired_and_said_so(tmp_path: Path) -> None:
    report = read_areas(geojson(tmp_path / "a.geojson", ({"name": "a"}, BOWTIE)))
    (area,) = report.rows
    assert area.geometry.is_valid
    assert area.geometry.area == pytest.approx(0.5)
    (note,) = said(report)
    assert note.startswith("row 1: note: invalid geometry repaired (Self-intersection[0.5 0.5]); ")
    assert note.endswith(f"{hectares(area.geometry):,.2f} ha after repair")


def test_lines_beside_polygons_are_left_out_and_said_so() -> None:
    mixed = shapely.GeometryCollection([SQUARE, shapely.Point(1, 1)])
    fixed = repaired(mixed)
    assert fixed.geometry.equals(SQUARE)
    assert fixed.notes == ("points and lines beside the polygons left out",)


@pytest.mark.parametrize(
    "crossing",
    [
        pytest.param(box(179.0, -17.0, 181.0, -16.0), id="beyond 180"),
        pytest.param(Polygon([(179, -17), (-179, -17), (-179, -16), (179, -16)]), id="jumping"),
        pytest.param(box(-181.0, -17.0, -179.0, -16.0), id="below -180"),
        pytest.param(
            Polygon([(179, -17), (-179, -17), (-179, -16), (179, -16)]).reverse(),
            id="jumping, other way round",
        ),
    ],
)
def test_an_area_across_the_antimeridian_is_split_whichever_way_it_was_written(
    crossing: Polygon, tmp_path: Path
) -> None:
    report = read_areas(geojson(tmp_path / "a.geojson", ({"name": "a"}, crossing)))
    (area,) = report.rows
    expected = MultiPolygon([box(179, -17, 180, -16), box(-180, -17, -179, -16)])
    assert area.geometry.equals(expected)
    assert hectares(area.geometry) == pytest.approx(hectares(box(10, -17, 12, -16)), rel=1e-4)
    assert said(report) == ["row 1: note: crosses the antimeridian: split at 180 degrees into parts"]


def test_an_area_that_is_split_already_is_left_alone() -> None:
    split = MultiPolygon([box(179, -17, 180, -16), box(-180, -17, -179, -16)])
    assert repaired(split).geometry.equals_exact(split)
    assert repaired(split).notes == ()


def test_a_hole_across_the_antimeridian_stays_a_hole() -> None:
    shell = [(178, -18), (-178, -18), (-178, -14), (178, -14)]
    hole = [(179, -17), (-179, -17), (-179, -15), (179, -15)]
    found = repaired(Polygon(shell, [hole])).geometry
    assert found.area == pytest.approx(4 * 4 - 2 * 2)


def test_an_area_in_a_national_grid_across_the_antimeridian(tmp_path: Path) -> None:
    table = geopandas.GeoDataFrame(
        {"name": ["chatham"]}, geometry=[box(2_110_000, 5_100_000, 2_210_000, 5_150_000)], crs="EPSG:2193"
    )
    report = read_areas(write_gpkg(tmp_path, table))
    (area,) = report.rows
    assert len(area.geometry.geoms) == 2  # type: ignore[attr-defined]
    assert hectares(area.geometry) == pytest.approx(500_000, rel=0.02)


def test_a_polygon_of_a_million_vertices_is_simplified_and_said_so(tmp_path: Path) -> None:
    angle = np.linspace(0, 2 * np.pi, 1_000_000, endpoint=False)
    noise = np.random.default_rng(1).normal(0, 2e-6, angle.size)
    radius = 0.1 + 0.02 * np.sin(40 * angle) + noise
    ring = np.column_stack([25 + radius * np.cos(angle), 45 + radius * np.sin(angle)]).round(9).tolist()
    path = geojson(
        tmp_path / "a.geojson", ({"name": "big"}, {"type": "Polygon", "coordinates": [[*ring, ring[0]]]})
    )
    report = read_areas(path)
    (area,) = report.rows
    assert area.geometry.is_valid
    assert shapely.get_num_coordinates(area.geometry) <= MAX_VERTICES
    assert area.geometry.area == pytest.approx(Polygon(ring).area, rel=1e-4)
    (note,) = said(report)
    assert note.startswith("row 1: note: 1,000,001 vertices simplified to ")
    assert "no edge moved by more than" in note


def test_heights_are_dropped(tmp_path: Path) -> None:
    (area,) = read_areas(geojson(tmp_path / "a.geojson", ({"name": "a"}, shapely.force_3d(SQUARE, 5.0)))).rows
    assert not area.geometry.has_z


coordinates = st.floats(-200, 200) | st.sampled_from([0.0, 180.0, -180.0, 90.0, float("nan"), 1e7])
rings = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8)


@given(rings)
@settings(max_examples=200)
def test_any_ring_becomes_a_polygon_that_can_be_stored_or_is_refused(ring: list[tuple[float, float]]) -> None:
    assume(not np.isnan(ring[0]).any())  # such a ring cannot be closed
    with np.errstate(invalid="ignore"):
        shape = Polygon(ring)
        try:
            fixed = repaired(shape)
        except Unusable:
            return
        Area(id="a", name="a", kind=AreaKind.WATCHED, geometry=fixed.geometry)
        if not needs_repair(np.array([shape], dtype=object))[0]:
            assert fixed.geometry.equals_exact(shape)


# Coordinate reference systems, encodings


def test_a_file_without_system_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = shapefile(tmp_path, frame())
    path.with_suffix(".prj").unlink()
    line = refusal(read_permits, path)
    assert line == f"{path}: names no coordinate reference system; give it, e.g. --crs EPSG:4674"
    (permit,) = read_permits(path, crs="EPSG:4674").rows
    assert permit.original_crs == "EPSG:4674"


def test_a_named_system_wins_over_the_files_and_is_said(tmp_path: Path) -> None:
    metres = frame(geometry=[box(500_000, 5_000_000, 501_000, 5_001_000)], crs="EPSG:32634")
    report = read_areas(write_gpkg(tmp_path, metres), crs="EPSG:32635")
    assert report.rows[0].geometry.centroid.x == pytest.approx(27.0, abs=0.01)
    assert said(report) == ["file: note: the file says EPSG:32634; read as EPSG:32635 as asked"]
    assert "--crs 'EPSG:abc' is not a coordinate reference system; write it as EPSG:4674" in refusal(
        read_areas, tmp_path / "areas.gpkg", crs="EPSG:abc"
    )


@pytest.mark.parametrize(
    ("encoding", "cpg", "note"),
    [
        ("UTF-8", None, None),
        ("UTF-8", "UTF-8", None),
        ("ISO-8859-1", "ISO-8859-1", None),
        ("ISO-8859-1", None, "file: note: texts are not UTF-8; read as latin-1"),
        (
            "ISO-8859-1",
            "UTF-8",
            "file: note: texts are not in the encoding of the .cpg file; read as latin-1",
        ),
    ],
)
def test_accents_survive_whatever_the_shapefile_says(
    encoding: str, cpg: str | None, note: str | None, tmp_path: Path
) -> None:
    path = shapefile(
        tmp_path, frame(id=["1"], holder=["Minería Ñandú"], status=["active"]), encoding=encoding
    )
    path.with_suffix(".cpg").unlink()
    if cpg:
        path.with_suffix(".cpg").write_text(cpg)
    report = read_permits(zipped(tmp_path / "p.zip", *sorted(tmp_path.glob("permits.*"))))
    assert report.rows[0].holder_text == "Minería Ñandú"
    assert said(report) == ([note] if note else [])


# Files that cannot be read


def test_broken_files_are_one_line_each(tmp_path: Path) -> None:
    good = write_gpkg(tmp_path, frame())
    cases: dict[str, bytes] = {
        "empty.geojson": b"",
        "text.geojson": b"hello",
        "cut.geojson": b'{"type": "FeatureCollection", "features": [{"type": "Fea',
        "list.geojson": b"[1, 2]",
        "other.json": b'{"type": "Topology"}',
        "cut.gpkg": good.read_bytes()[:3000],
        "broken.zip": b"PK\x03\x04" + b"\x00" * 40,
        "empty.zip": b"PK\x05\x06" + b"\x00" * 18,
        "bad.kml": b"<?xml version='1.0'?><kml><Document><Placemark>",
        "bad.parquet": b"PAR1" + b"\x00" * 50 + b"PAR1",
        "lonely.shp": struct.pack(">i", 9994) + b"\x00" * 96,
        "vrt.kml": b"<OGRVRTDataSource><kml/></OGRVRTDataSource>",
        "picture.png": b"\x89PNG\r\n\x1a\n",
    }
    for name, content in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        line = refusal(read_areas, path)
        assert line.startswith(f"{path}: "), line
        assert ";" in line, line


def test_a_folder_and_a_part_of_a_shapefile_are_named(tmp_path: Path) -> None:
    path = shapefile(tmp_path, frame())
    assert refusal(read_areas, tmp_path) == f"{tmp_path}: is a folder; name the file in it"
    part = path.with_suffix(".shx")
    assert (
        refusal(read_areas, part)
        == f"{part}: is a part of a Shapefile; name the .shp file, or zip all its parts"
    )
    assert "cannot be read" in refusal(read_areas, tmp_path / "nowhere.gpkg")


def test_a_shapefile_without_its_index_is_one_line(tmp_path: Path) -> None:
    path = shapefile(tmp_path, frame())
    lonely = zipped(tmp_path / "lonely.zip", path)
    assert refusal(read_areas, lonely).startswith(f"{lonely}: ")


def test_several_layers_are_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    pyogrio.write_dataframe(frame(name=["one"]), path, layer="pits")
    pyogrio.write_dataframe(frame(name=["two"]), path, layer="reserves")
    assert refusal(read_areas, path) == f"{path}: has 2 layers (pits, reserves); choose one with --layer"
    assert read_areas(path, layer="reserves").rows[0].name == "two"
    assert refusal(read_areas, path, layer="x") == f"{path}: has no layer 'x'; it has pits, reserves"


def test_a_table_without_geometry_beside_the_layer_is_no_second_layer(tmp_path: Path) -> None:
    path = write_gpkg(tmp_path, frame(name=["one"]))
    pyogrio.write_dataframe(frame(name=["x"]).drop(columns="geometry"), path, layer="notes")
    assert read_areas(path).rows[0].name == "one"


def test_a_zip_with_several_files_is_chosen_by_name(tmp_path: Path) -> None:
    first = geojson(tmp_path / "pits.geojson", ({"name": "one"}, SQUARE))
    second = write_kml(tmp_path, frame(name=["two"]))
    path = zipped(tmp_path / "both.zip", first, second)
    assert "has 2 layers (areas, pits); choose one with --layer" in refusal(read_areas, path)
    assert read_areas(path, layer="pits").rows[0].name == "one"


# Zip limits


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.geojson", b" " * 20_000_000)
    assert "unfolds to more than 200 times its size" in refusal(read_areas, path)


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.geojson", b" " * 20_000_000)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 10)  # unpacked size in the directory
    path.write_bytes(raw)
    assert refusal(read_areas, path).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "name", ["../evil.geojson", "/etc/evil.geojson", "a/../../evil.geojson", "..\\evil.geojson"]
)
def test_a_zip_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "{}")
    assert "outside itself" in refusal(read_areas, path)
    assert not list(tmp_path.parent.glob("evil.geojson"))


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo("a.geojson")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    assert "outside itself" in refusal(read_areas, path)


def test_a_zip_of_too_many_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(archives.MAX_MEMBERS + 1):
            archive.writestr(f"{number}.txt", "")
    assert f"has {archives.MAX_MEMBERS + 1} files, at most {archives.MAX_MEMBERS}" in refusal(
        read_areas, path
    )


@pytest.mark.parametrize("command", ["permit", "zone", "area"])
def test_a_file_of_which_nothing_can_be_read_is_an_error(tmp_path: Path, command: str) -> None:
    open_ring = {"type": "Polygon", "coordinates": [[[25, 45], [25.1, 45], [25.1, 45.1]]]}
    geojson(tmp_path / "a.geojson", ({"name": "a", "id": "a"}, open_ring), ({"name": "b", "id": "b"}, None))
    done = program.run((command, "add" if command == "area" else "import", "a.geojson"), tmp_path)
    assert done.returncode == 3, done.stdout
    lines = done.stderr.strip().splitlines()
    assert lines[-1] == "groundwatch: a.geojson: none of its 2 rows can be read, see above; mend the file"
    assert [line.split(":")[0] for line in lines[-3:-1]] == ["row 1", "row 2"]


@given(st.binary(max_size=300))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "a.geojson"
    path.write_bytes(raw)
    with pytest.raises(InputError):
        read_areas(path)
