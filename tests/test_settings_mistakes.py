"""Mistakes in a configuration: each one line with file, line, key, value and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import ConfigError
from registry.settings import Settings, load_settings
from registry.yaml_lines import parse_document
from tests.config_files import refusal, write

SQUARE = "{type: Polygon, coordinates: [[[25, 45], [25.1, 45], [25.1, 45.1], [25, 45.1], [25, 45]]]}"
pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_secrets_left")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "poll:\n  intervall_s: 5",
            "groundwatch.yml:2: key poll.intervall_s: unknown key; did you mean interval_s?",
        ),
        (
            "detection:\n  quality:\n    cloud_dilaton_m: 5",
            "groundwatch.yml:3: key detection.quality.cloud_dilaton_m: unknown key; did you mean "
            "cloud_dilation_m?",
        ),
        (
            "providers:\n  - name: a\n    xyz: 1",
            "groundwatch.yml:3: key providers.0.xyz: unknown key; use one of name, profile, url, "
            "collections, sensors, headers, token",
        ),
        (
            "areas:\n  north:\n    bufer_m: 1",
            "groundwatch.yml:3: key areas.north.bufer_m: unknown key; did you mean buffer_m?",
        ),
        (
            "poll:\n  interval_s: 0",
            "groundwatch.yml:2: key poll.interval_s: value 0 is too small; give at least 1",
        ),
        (
            "detection: {lifecycle: {confirmed_probability: 1.5}}",
            "groundwatch.yml:1: key detection.lifecycle.confirmed_probability: value 1.5 is too large; give "
            "less than 1",
        ),
        (
            "detection:\n  verdict:\n    grace_m: .nan",
            "groundwatch.yml:3: key detection.verdict.grace_m: value nan is not finite; give a number",
        ),
        (
            "poll:\n  start: 31.12.2024",
            "groundwatch.yml:2: key poll.start: value '31.12.2024' is not a day; write it as 2024-03-31",
        ),
        (
            "poll:\n  page_size: many",
            "groundwatch.yml:2: key poll.page_size: value 'many' is not a whole number; write one such as 3",
        ),
        (
            "log:\n  json_lines: perhaps",
            "groundwatch.yml:2: key log.json_lines: value 'perhaps' is not true or false; write one of them",
        ),
        (
            "log:\n  level: loud",
            "groundwatch.yml:2: key log.level: value 'loud' is not one of debug, info, warning, error; use "
            "one of debug, info, warning, error",
        ),
        (
            "areas:\n  a:\n    kind: permited",
            "groundwatch.yml:3: key areas.a.kind: value 'permited' is not one of permitted, watched; did you "
            "mean permitted?",
        ),
        (
            "areas:\n  North Pit: {}",
            "groundwatch.yml:2: key areas.North Pit: 'North Pit' cannot be a name; use lower-case "
            "letters, digits, - and _, at most 63",
        ),
        (
            "providers:\n  - profile: cdse",
            "groundwatch.yml:2: key providers.0.name: missing; add it",
        ),
        (
            "providers: [{name: a, url: ftp.org}]",
            "groundwatch.yml:1: key providers.0.url: value 'ftp.org' is not a web address; begin it with "
            "https://",
        ),
        (
            "poll: 5",
            "groundwatch.yml:1: key poll: value 5 is not a mapping; write `key: value` lines below it",
        ),
        ("areas: [a]", "groundwatch.yml:1: key areas: value ['a'] is not a mapping; write `key: value` "
                       "lines below it"),
        (
            "model_cards: cards",
            "groundwatch.yml:1: key model_cards: value 'cards' is not a list; write [a, b]",
        ),
        (
            "providers:\n - {name: a}\n - {name: a}",
            "groundwatch.yml:3: key providers.1.name: provider name 'a' stands twice; give each its own name",
        ),
        (
            "alerts:\n  targets: {office: 'json://h'}\n  routes:\n    - targets: [ofice]",
            "groundwatch.yml:4: key alerts.routes.0.targets.0: route names target 'ofice'; name one of "
            "alerts.targets (office)",
        ),
        (
            "detection:\n  lifecycle:\n    provisional_looks: 9",
            "groundwatch.yml:3: key detection.lifecycle.provisional_looks: provisional_looks 9 "
            "is above confirmed_looks 3; lower it",
        ),
        (
            "areas:\n  a:\n    detection:\n      objects:\n        match_bufer_m: 1",
            "groundwatch.yml:5: key areas.a.detection.objects.match_bufer_m: unknown key; did you mean "
            "match_buffer_m?",
        ),
        (
            "areas:\n  a:\n    detection:\n      verdict: {grace_m: -1}",
            "groundwatch.yml:4: key areas.a.detection.verdict.grace_m: value -1 is too small; give "
            "at least 0",
        ),
        ("poll:\n  page_size: 1\n  page_size: 2", "groundwatch.yml:3: key poll.page_size stands twice, first "
                                                 "at groundwatch.yml:2; remove one of them"),
        (
            "poll:\n\tpage_size: 1",
            "groundwatch.yml:2: not YAML at 'page_size': found character '\\t' that cannot start any token; "
            "indent with spaces, not tabs",
        ),
        (
            "poll:\n  page_size: 1\n start: 2024-01-01",
            "groundwatch.yml:3: not YAML at 'start': expected <block end>, but found "
            "'<block mapping start>'; check the indentation, and write `key: value` with one colon, texts "
            "with a colon in quotes",
        ),
        (
            "data: groundwatch: data",
            "groundwatch.yml:1: not YAML at 'data': mapping values are not allowed here; check the "
            "indentation, and write `key: value` with one colon, texts with a colon in quotes",
        ),
        (
            "data: &a x\nstore: *a",
            "groundwatch.yml:1: not YAML at 'data': anchors and aliases are not used here; write the "
            "value out",
        ),
        (
            "data: !!python/object/apply:os.system [ls]",
            "groundwatch.yml:1: key data: value ['ls'] is not a path; write it as a text",
        ),
        ("- poll", "groundwatch.yml:1: the file is a list, not a mapping; write `key: value` lines"),
        ("poll", "groundwatch.yml:1: the file is the text 'poll', not a mapping; write `key: value` lines"),
        ("[" * 5000, "groundwatch.yml: nested too deeply, at most 60 levels are read"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(text: str, line: str) -> None:
    assert refusal(text) == line


@pytest.mark.parametrize(
    ("geometry", "said"),
    [
        ("{type: Point, coordinates: [25, 45]}", "geometry is a Point; give a Polygon or MultiPolygon"),
        (
            "{type: Polygon, coordinates: [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}",
            "geometry is invalid (Self-intersection[0.5 0.5]); repair it first",
        ),
        (
            "{type: Polygon, coordinates: [[[500000, 0], [500010, 0], [500010, 10], [500000, 0]]]}",
            "geometry reaches 500000,0,500010,10, outside -180,-90,180,90; give longitude, latitude in "
            "degrees (EPSG:4326), split at 180",
        ),
        ("{type: Polygn, coordinates: []}", "geometry is not GeoJSON (Unknown geometry type: 'polygn')"),
        ("{type: Polygon, coordinates: []}", "geometry is empty; give a Polygon or MultiPolygon"),
        ("here", "geometry is the text 'here'; give a GeoJSON object"),
    ],
)
def test_a_bad_polygon_is_refused_where_it_stands(geometry: str, said: str) -> None:
    text = refusal(f"areas:\n  north:\n    name: North\n    geometry: {geometry}\n")
    assert text.startswith("groundwatch.yml:4: key areas.north.geometry: ")
    assert said.split(" (")[0] in text
    assert "\n" not in text


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^nowhere\.yml: no such file; name one that exists"):
        load_settings(Path("nowhere.yml"), {})
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        load_settings(tmp_path, {})


def test_a_file_in_another_encoding_is_named() -> None:
    Path("g.yml").write_bytes("data: x\n# Área\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"^g\.yml:2: byte 0xc1 is not UTF-8; save the file as UTF-8$"):
        load_settings(Path("g.yml"), {})


def test_a_huge_file_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"at most 2000000 are read; keep large polygons in a GeoJSON file"):
        load_settings(write("#" * 2_000_001), {})


def test_every_mistake_gets_its_own_line() -> None:
    lines = refusal("poll: {interval_s: 0, page_size: 0}\nbus: x").splitlines()
    assert [line.split(": ")[1] for line in lines] == ["key bus", "key poll.interval_s", "key poll.page_size"]


def test_yaml_1_1_traps_are_closed() -> None:
    data = parse_document(
        b"country: no\nrate: 2e-5\noctal: 010\ntime: 12:30\nday: 2024-01-01\nnone: ~", "x"
    ).data
    assert data == {
        "country": "no",
        "rate": 2e-5,
        "octal": 10,
        "time": "12:30",
        "day": "2024-01-01",
        "none": None,
    }


@given(st.binary(max_size=200))
def test_any_bytes_give_a_document_or_a_clean_refusal(raw: bytes) -> None:
    try:
        parse_document(raw, "x")
    except ConfigError as exc:
        assert "\n" not in str(exc)  # noqa: PT017 - either outcome is right


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["poll", "areas", "alerts", "geometry", "detection", "x"]), inner),
))  # fmt: skip
def test_any_content_gives_settings_or_a_clean_refusal(data: Any) -> None:
    from registry.settings import _validated
    from registry.yaml_lines import Document

    try:
        _validated(Document(data, "x"), Settings)
    except ConfigError as exc:
        assert all(line.startswith("x:") for line in str(exc).split("\n"))  # noqa: PT017
