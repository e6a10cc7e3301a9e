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
from shapely.geometry import MultiPolygon, Polygon, box, mapping
from shapely.geometry.base import BaseGeometry

from registry import archives, imports
from registry.errors import ConfigError, InputError
from registry.geometry import MAX_VERTICES, hectares
from registry.import_report import ImportReport, Level
from registry.imports import read_areas, read_permits, read_zones
from registry.models import Area, AreaKind, Holder, PermitStatus, Target, ZoneKind
from registry.registers import Register, parse_holders, parse_number
from registry.repair import Unusable, needs_repair, repaired
from registry.settings import load_document
from tests.services import program

SQUARE = box(25.0, 45.0, 25.1, 45.1)
BOWTIE = Polygon([(0, 0), (1, 1), (1, 0), (0, 1), (0, 0)])

Row = tuple[dict[str, Any], BaseGeometry | dict[str, Any] | None]


def geojson(path: Path, *rows: Row) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": properties,
            "geometry": mapping(shape) if isinstance(shape, BaseGeometry) else shape,
        }
        for properties, shape in rows
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return path


def frame(crs: str | None = "EPSG:4326", **columns: list[Any]) -> geopandas.GeoDataFrame:
    shapes = columns.pop("geometry", [SQUARE])
    return geopandas.GeoDataFrame(columns or {"name": ["a"] * len(shapes)}, geometry=shapes, crs=crs)


def shapefile(folder: Path, table: geopandas.GeoDataFrame, *, encoding: str = "UTF-8") -> Path:
    path = folder / "permits.shp"
    pyogrio.write_dataframe(table, path, driver="ESRI Shapefile", encoding=encoding)
    return path


def zipped(path: Path, *files: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.name)
    return path


def said(report: ImportReport[Any]) -> list[str]:
    return [str(note) for note in report.problems]


def refusal(read: Callable[..., object], path: Path, **options: Any) -> str:
    with pytest.raises((InputError, ConfigError)) as caught:
        read(path, **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


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


# Areas


def test_ids_names_and_what_the_file_says_of_areas(tmp_path: Path) -> None:
    path = geojson(
        tmp_path / "a.geojson",
        (
            {"name": "North Pit", "kind": "permitted", "buffer_m": 100, "tags": "a; b", "targets": "forest"},
            SQUARE,
        ),
        ({"name": "North  pit!"}, SQUARE),
        ({"name": "  "}, SQUARE),
        ({"name": "x", "kind": "mine", "buffer_m": "wide", "targets": ["gold"]}, SQUARE),
        ({"name": "y", "buffer_m": 99_999}, SQUARE),
    )
    report = read_areas(path)
    first, second, third, fourth = report.rows
    assert (first.id, first.kind, first.buffer_m) == ("north-pit", AreaKind.PERMITTED, 100.0)
    assert (first.tags, first.targets) == (("a", "b"), (Target.FOREST,))
    assert second.id == "north-pit-2"
    assert third.name == third.id
    assert fourth.kind is AreaKind.WATCHED
    assert said(report) == [
        "row 2: note: id north-pit is taken by an earlier row; called north-pit-2",
        f"row 3: note: no name; called {third.id}",
        "row 4: note: kind 'mine' is not one of permitted, watched; left at the default",
        "row 4: note: buffer_m 'wide' is not a number; taken as unknown",
        "row 4: note: targets 'gold' are not known; use transformed, forest",
        "row 5: skipped: buffer_m: Input should be less than or equal to 20000",
    ]


def test_what_a_person_says_of_an_area_wins(tmp_path: Path) -> None:
    path = geojson(tmp_path / "a.geojson", ({"name": "a", "kind": "watched"}, SQUARE))
    (area,) = read_areas(path, area_id="pit", name="Pit", kind="permitted", buffer_m=20.0).rows
    assert (area.id, area.name, area.kind, area.buffer_m) == ("pit", "Pit", AreaKind.PERMITTED, 20.0)
    two = geojson(tmp_path / "b.geojson", ({"name": "a"}, SQUARE), ({"name": "b"}, SQUARE))
    assert "holds 2 areas, --id and --name are for one; leave them out" in refusal(
        read_areas, two, name="Pit"
    )


def test_reading_a_file_twice_gives_the_same_values(tmp_path: Path) -> None:
    path = geojson(tmp_path / "a.geojson", ({"name": ""}, SQUARE), ({"id": 5, "holder": "X"}, BOWTIE))
    assert read_areas(path) == read_areas(path)
    assert read_permits(path) == read_permits(path)


# Permits


def test_a_simple_file_of_permits(tmp_path: Path) -> None:
    properties = {
        "id": "L-1", "name": "Pit", "holder": "Foo Ltd", "valid_from": "2020-01-01", "valid_to": "2025-12-31",
        "activities": "excavation, stockpile", "area_ha": f"{hectares(SQUARE):,.1f}",
    }  # fmt: skip
    path = geojson(tmp_path / "My permits.geojson", (properties, SQUARE))
    report = read_permits(path, release="2024-01-01")
    (permit,) = report.rows
    assert (permit.source, permit.source_id, permit.release) == ("my-permits", "L-1", "2024-01-01")
    assert permit.activities == ("excavation", "stockpile")
    assert (permit.valid_from, permit.valid_to) == (date(2020, 1, 1), date(2025, 12, 31))
    assert permit.declared_ha == pytest.approx(hectares(SQUARE), rel=1e-4)
    assert permit.geometry_note == ""
    assert permit.raw == properties
    assert said(report) == ["file: note: no status column; every permit counts as granted"]


def test_what_cannot_be_understood_is_said_and_kept_raw(tmp_path: Path) -> None:
    properties = {
        "id": 7, "holder": None, "status": "on hold", "valid_from": "03/04/2024", "valid_to": "9999-12-31",
        "area_ha": "lots",
    }  # fmt: skip
    report = read_permits(geojson(tmp_path / "p.geojson", (properties, SQUARE)))
    (permit,) = report.rows
    assert (permit.status, permit.status_raw) == (PermitStatus.UNKNOWN, "on hold")
    assert (permit.valid_from, permit.valid_to, permit.declared_ha) == (None, None, None)
    assert permit.raw == properties
    assert said(report) == [
        "row 1: note: area 'lots' is not a number; taken as unknown",
        "row 1: note: no holder given",
        "row 1: note: status 'on hold' is not in the mapping; taken as unknown",
        "row 1: note: valid_from '03/04/2024' is not a date that is understood; taken as unknown",
        "row 1: note: valid_to '9999-12-31' stands for no date; taken as unknown",
    ]


def test_a_declared_area_that_differs_is_flagged(tmp_path: Path) -> None:
    computed = hectares(SQUARE)
    path = geojson(
        tmp_path / "p.geojson",
        ({"id": "1", "holder": "x", "status": "active", "area_ha": computed * 0.96}, SQUARE),
        ({"id": "2", "holder": "x", "status": "active", "area_ha": computed * 0.90}, SQUARE),
    )
    report = read_permits(path)
    within, beyond = report.rows
    assert within.geometry_note == ""
    assert (
        beyond.geometry_note
        == f"declared {computed * 0.9:,.2f} ha, the polygon has {computed:,.2f} ha (+11%)"
    )
    assert [note.row for note in report.problems] == [2]


def test_rows_of_one_id_are_told_apart(tmp_path: Path) -> None:
    other = box(26.0, 45.0, 26.1, 45.1)
    one = {"id": "1", "holder": "x", "status": "active"}
    path = geojson(
        tmp_path / "p.geojson",
        (one, SQUARE),
        (one, SQUARE),
        (one, other),
        ({**one, "status": "expired"}, SQUARE),
        ({"id": None, "holder": "x", "status": "active"}, other),
    )
    report = read_permits(path)
    joined, vintage, nameless = report.rows
    assert joined.area_ha == pytest.approx(hectares(SQUARE) + hectares(other))
    assert joined.geometry_note == "2 rows joined"
    assert (vintage.source_id, vintage.status) == ("1#2", PermitStatus.EXPIRED)
    assert vintage.id != joined.id
    assert nameless.source_id.startswith("shape-")
    assert said(report) == [
        "row 2: skipped: same as row 1",
        "row 3: note: joined to row 1: same id and terms, another polygon",
        "row 4: note: id 1 stands in row 1 with other terms; kept beside it as 1#2",
        f"row 5: note: no id; called {nameless.source_id} after its polygon",
    ]


def test_a_permit_keeps_its_id_and_a_changed_row_its_hash(tmp_path: Path) -> None:
    before = read_permits(geojson(tmp_path / "p.geojson", ({"id": "1", "status": "pending"}, SQUARE))).rows[0]
    after = read_permits(geojson(tmp_path / "p.geojson", ({"id": "1", "status": "granted"}, SQUARE))).rows[0]
    assert before.id == after.id
    assert before.content_hash != after.content_hash


# Registers


def test_sigmine(tmp_path: Path) -> None:
    table = frame(
        crs="EPSG:4674",
        PROCESSO=["826.123/2005", "800.001/2019", "860.002/2021"],
        AREA_HA=["1.000,00", "87.5", "9,9"],
        FASE=["CONCESSÃO DE LAVRA", "AUTORIZAÇÃO DE PESQUISA", "REQUERIMENTO DE PESQUISA"],
        ULT_EVENTO=["x", "y", "z"],
        NOME=["MINERAÇÃO SÃO JOÃO LTDA", "B", "C"],
        SUBS=["MINÉRIO DE OURO", "AREIA", "FERRO"],
        USO=["INDUSTRIAL"] * 3,
        UF=["PA"] * 3,
        geometry=[box(-50, -5, -49.97, -4.97), box(-51, -5, -50.99, -4.99), box(-52, -5, -51.99, -4.99)],
    )
    path = shapefile(tmp_path, table, encoding="ISO-8859-1")
    path.with_suffix(".cpg").unlink()
    report = read_permits(path, register="sigmine", release="2024-08-01")
    mine, research, asked = report.rows
    assert (mine.source, mine.source_id, mine.original_crs) == ("sigmine", "826.123/2005", "EPSG:4674")
    assert mine.holder_text == "MINERAÇÃO SÃO JOÃO LTDA"
    assert mine.declared_ha == 1000.0
    assert mine.valid_to is None
    assert mine.activities == ("mining",)
    assert research.activities == ("exploration",)
    assert (mine.status, research.status, asked.status) == (
        PermitStatus.GRANTED,
        PermitStatus.GRANTED,
        PermitStatus.PENDING,
    )


def test_geocatmin(tmp_path: Path) -> None:
    table = frame(
        crs="EPSG:32718",
        CODIGOU=["010000109"],
        CONCESION=["MINA ÑAÑA"],
        TIT_CONCES=["S.M.R.L. ÑAÑA"],
        HECTAGIS=["1,000.0000"],
        ESTADO=["T"],
        D_ESTADO=["D.M. Titulado D.L. 708"],
        SUSTANCIA=["M"],
        FEC_DENU=["05/01/2009"],
        geometry=[box(300_000, 8_500_000, 303_163, 8_503_163)],
    )
    path = shapefile(tmp_path, table, encoding="ISO-8859-1")
    path.with_suffix(".cpg").unlink()
    (permit,) = read_permits(path, register="geocatmin").rows
    assert (permit.source_id, permit.holder_text) == ("010000109", "S.M.R.L. ÑAÑA")
    assert (permit.status, permit.applied, permit.declared_ha) == (
        PermitStatus.GRANTED,
        date(2009, 1, 5),
        1000.0,
    )
    assert permit.area_ha == pytest.approx(1000, rel=0.01)


@pytest.mark.parametrize(
    "names",
    [
        ("WDPAID", "NAME", "DESIG_ENG", "STATUS", "MARINE", "0", "2"),
        ("SITE_ID", "NAME_ENG", "DESIG_ENG", "STATUS", "REALM", "Terrestrial", "Marine"),
    ],
)
def test_wdpa_before_and_since_the_renaming(names: tuple[str, ...], tmp_path: Path) -> None:
    key, name, designation, status, sea, land, marine = names
    rows = [
        {key: 1.0, name: "A", designation: "National Park", status: "Designated", sea: land},
        {key: 2.0, name: "B", designation: "Indigenous Area", status: "Established", sea: land},
        {key: 3.0, name: "C", designation: "National Park", status: "Proposed", sea: land},
        {key: 4.0, name: "D", designation: "Marine Park", status: "Designated", sea: marine},
    ]
    path = geojson(tmp_path / "w.geojson", *((row, SQUARE) for row in rows))
    report = read_zones(path, register="wdpa")
    assert [(zone.source_id, zone.name, zone.kind) for zone in report.rows] == [
        ("1", "A", ZoneKind.PROTECTED),
        ("2", "B", ZoneKind.INDIGENOUS),
    ]
    assert said(report) == [
        "row 3: skipped: STATUS is 'Proposed'; the mapping of wdpa leaves those out",
        f"row 4: skipped: {sea} is {marine!r}; the mapping of wdpa leaves those out",
    ]


def test_a_mapping_of_ones_own(tmp_path: Path) -> None:
    mapping_file = tmp_path / "ours.yml"
    mapping_file.write_text(
        "source: ours\ncolumns: {id: [NR], valid_to: [BIS], area: [QKM]}\nrequired: [id]\n"
        'dates: ["%d/%m/%Y"]\narea_unit: km2\ndecimal: ","\nstatus_default: pending\n'
    )
    properties = {"Nr": 12.0, "bis": "03/04/2024", "qkm": "85,5"}
    path = geojson(tmp_path / "p.geojson", (properties, SQUARE))
    (permit,) = read_permits(path, mapping=mapping_file).rows
    assert (permit.source, permit.source_id, permit.valid_to) == ("ours", "12", date(2024, 4, 3))
    assert (permit.declared_ha, permit.status) == (8550.0, PermitStatus.PENDING)
    mapping_file.write_text("source: ours\ncolums: {}\n")
    assert "unknown key; did you mean columns?" in refusal(
        read_permits, tmp_path / "p.geojson", mapping=mapping_file
    )


def test_a_file_of_another_register_is_refused(tmp_path: Path) -> None:
    path = geojson(tmp_path / "p.geojson", ({"foo": 1}, SQUARE))
    assert refusal(read_permits, path, register="sigmine") == (
        f"{path}: no column for id (PROCESSO, DSProcesso) as SIGMINE (ANM, Brazil) has it, but foo; name the "
        "right --register, or give --map FILE"
    )
    assert "register 'x' is not known; use one of generic, geocatmin, landfolio, sigmine, wdpa" in refusal(
        read_permits, path, register="x"
    )


def test_every_shipped_mapping_loads_under_its_own_name() -> None:
    for name, path in imports.registers().items():
        assert load_document(path, Register).source == name


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.234,56", 1234.56), ("1,234.56", 1234.56), ("1 234,5", 1234.5), ("1'234.5", 1234.5),
        ("12.5", 12.5), ("12,5", 12.5), ("1,234", 1234.0), ("1.234", 1.234), ("1.234.567", 1234567.0),
        ("0,123", 0.123),
        ("-3", -3.0), ("1e3", 1000.0), ("abc", None), ("nan", None), ("", None), ("1,2,3", None),
    ],
)  # fmt: skip
def test_numbers_as_registers_write_them(text: str, number: float | None) -> None:
    assert parse_number(text) == number


def test_holders_as_registers_write_them() -> None:
    assert parse_holders("Smith, Jones & Co. (100%)") == (Holder(name="Smith, Jones & Co.", share=1.0),)
    assert parse_holders("A Ltd [33,3 %], B; C\nD") == (
        Holder(name="A Ltd", share=0.333),
        Holder(name="B"),
        Holder(name="C"),
        Holder(name="D"),
    )
    assert parse_holders("A (150%)") == (Holder(name="A"),)
    assert parse_holders(" ; ") == ()


# Real files


def accounted(report: ImportReport[Any]) -> bool:
    """Every row is imported, joined to one that is, or skipped."""
    gone = {
        note.row for note in report.problems if note.level is Level.SKIPPED or "joined to" in note.message
    }
    return len(report.rows) + len(gone) == report.read


def test_brazil_protected_areas(real_data: Path) -> None:
    path = real_data / "brazil_protected_areas" / "federal_conservation_units_legal_amazon_2019.gpkg"
    report = read_zones(path)
    assert report.read == len(report.rows) == 49
    repaired_rows = [note for note in report.problems if "invalid geometry repaired" in note.message]
    assert len(repaired_rows) == 2
    assert all(zone.geometry.is_valid for zone in report.rows)
    jari = next(zone for zone in report.rows if zone.source_id == "0000.00.0067")
    assert jari.name == "ESTAÇÃO ECOLÓGICA DO JARI"
    assert hectares(jari.geometry) == pytest.approx(231_082, rel=0.02)


def test_coal_mines_as_permits(real_data: Path) -> None:
    path = real_data / "gem_coal_mine_boundaries" / "coal-mine-boundaries-methane.geojson"
    report = read_permits(path)
    assert (report.read, len(report.rows)) == (2116, 333)
    assert accounted(report)
    kinds = [note.message.split(",")[0] for note in report.problems if note.level is Level.SKIPPED]
    assert kinds.count("geometry is a Point") == 1782
    assert kinds.count("geometry is a MultiLineString") == 1
    assert report.rows[0].holders == (Holder(name="Pembroke Resources", share=1.0),)


def test_artisanal_mines_as_areas(real_data: Path) -> None:
    path = real_data / "asm_west_africa_gt" / "gt_asm_shapes.shp"
    report = read_areas(path, kind="watched")
    assert report.read == len(report.rows) == 449
    assert len({area.id for area in report.rows}) == 449
    sizes = sorted(hectares(area.geometry) for area in report.rows)
    assert sizes[224] == pytest.approx(1.84, abs=0.03)


def test_new_mining_in_the_amazon_as_zones(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "amazon_mining_watch" / "mining_new_by_period_2018_2025Q3.gpkg"
    part = tmp_path / "part.gpkg"
    pyogrio.write_dataframe(pyogrio.read_dataframe(path, max_features=3000), part)
    report = read_permits(part)
    assert report.read == 3000
    assert accounted(report)
    assert all(permit.declared_ha is not None for permit in report.rows)
    flagged = [permit for permit in report.rows if permit.geometry_note.startswith("declared")]
    assert len(flagged) > 2000  # the README says: mined area is smaller than the patch outline


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
