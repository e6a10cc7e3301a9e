"""What rows say of areas, permits and zones: columns of registers, numbers, holders, and real releases."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyogrio
import pytest
from shapely.geometry import box

from registry import imports
from registry.geometry import hectares
from registry.import_report import ImportReport, Level
from registry.imports import read_areas, read_permits, read_zones
from registry.models import AreaKind, Holder, PermitStatus, Target, ZoneKind
from registry.registers import Register, parse_holders, parse_number
from registry.settings import load_document
from tests.import_files import BOWTIE, SQUARE, frame, geojson, refusal, said, shapefile

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
