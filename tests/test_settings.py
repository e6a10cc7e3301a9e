"""Settings: files, environment, secrets; each mistake one line with file, line, key, value and remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from registry import masking
from registry.config_errors import all_keys
from registry.detection import DetectionSettings, EvidenceSettings
from registry.errors import ConfigError, Exists, InputError
from registry.field_docs import field_docs, models_in
from registry.models import Sensor, Target
from registry.settings import Settings, load_document, load_settings, settings_schema, write_starter
from registry.starter import SCHEMA_LINE, default_yaml, reference_markdown
from registry.yaml_lines import parse_document, read_document
from tests.conftest import REPO

DEFAULT_FILE = REPO / "configs" / "default.yml"
SQUARE = "{type: Polygon, coordinates: [[[25, 45], [25.1, 45], [25.1, 45.1], [25, 45.1], [25, 45]]]}"


@pytest.fixture(autouse=True)
def no_secrets_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_known", set())


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "groundwatch.yml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(text), environ)
    return str(caught.value)


# What is read


def test_without_a_file_everything_is_at_its_default(tmp_path: Path) -> None:
    settings = load_settings(None, {})
    assert settings == Settings(data=tmp_path / "groundwatch-data")
    assert settings.bus_url == f"sqlite:///{tmp_path}/groundwatch-data/groundwatch.db"
    assert settings.blobs_url == f"file://{tmp_path}/groundwatch-data/blobs"


def test_the_named_file_goes_before_the_variable_and_that_before_the_working_directory() -> None:
    write("poll: {interval_s: 1}")
    by_variable = write("poll: {interval_s: 2}", "variable.yml")
    named = write("poll: {interval_s: 3}", "named.yml")
    variable = {"GROUNDWATCH_CONFIG": str(by_variable)}
    assert load_settings(None, {}).poll.interval_s == 1
    assert load_settings(None, variable).poll.interval_s == 2
    assert load_settings(named, variable).poll.interval_s == 3


def test_an_empty_file_is_all_defaults() -> None:
    assert load_settings(write("# nothing\n"), {}).poll == Settings().poll


def test_a_threshold_may_stand_alone_and_an_area_may_override_it() -> None:
    path = write(
        """
detection:
  evidence:
    s2: {cap: 2.0}
areas:
  north:
    detection: {lifecycle: {confirmed_looks: 5}, evidence: {s1: {weight: 0.3}}}
  south: {name: South}
"""
    )
    settings = load_settings(path, {})
    assert settings.detection.evidence.s2 == EvidenceSettings().s2.model_copy(update={"cap": 2.0})
    north = settings.detection_for("north")
    assert (north.lifecycle.confirmed_looks, north.evidence.s1.weight) == (5, 0.3)
    assert north.evidence.s2.cap == 2.0
    assert settings.detection_for("south") == settings.detection_for("elsewhere") == settings.detection
    assert north.digest != settings.detection.digest


def test_areas_with_a_polygon_are_defined_by_the_file() -> None:
    text = (
        f"areas:\n  north: {{kind: permitted, geometry: {SQUARE}, targets: [forest]}}\n  south: {{name: S}}\n"
    )
    (north,) = load_settings(write(text), {}).defined_areas()
    assert (north.id, north.name, north.kind, north.targets) == (
        "north",
        "north",
        "permitted",
        (Target.FOREST,),
    )


def test_paths_are_meant_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    path = write("data: store\nmodel_cards: [cards]\nproviders: [{name: x, profile: x.yml}]", "etc/g.yml")
    settings = load_settings(path, {})
    assert settings.data == tmp_path / "etc" / "store"
    assert settings.model_cards == (tmp_path / "etc" / "cards",)
    assert settings.providers[0].profile == str(tmp_path / "etc" / "x.yml")
    assert settings.store_path == tmp_path / "etc" / "store" / "groundwatch.db"


# The environment


def test_variables_override_the_file() -> None:
    path = write("poll: {interval_s: 10}\nproviders: [{name: a}]\nareas: {north-pit: {buffer_m: 1}}")
    environ = {
        "GROUNDWATCH_POLL__INTERVAL_S": "600",
        "GROUNDWATCH_DATA": "/srv/groundwatch",
        "GROUNDWATCH_LOG__JSON_LINES": "true",
        "GROUNDWATCH_POLL__START": "2020-02-29",
        "GROUNDWATCH_PROVIDERS__0__URL": "https://stac.example.org",
        "GROUNDWATCH_PROVIDERS__0__COLLECTIONS": "{sentinel-2: s2}",
        "GROUNDWATCH_AREAS__NORTH_PIT__BUFFER_M": "50",
        "GROUNDWATCH_DETECTION__VERDICT__GRACE_M": "35",
        "GROUNDWATCH_MODEL_CARDS": "[/a, /b]",
        "GROUNDWATCH_TEST_DATA": "means something else",
        "UNRELATED": "x",
    }
    settings = load_settings(path, environ)
    assert settings.poll.interval_s == 600
    assert settings.poll.start == date(2020, 2, 29)
    assert settings.data == Path("/srv/groundwatch")
    assert settings.log.json_lines is True
    assert settings.providers[0].url == "https://stac.example.org"
    assert settings.providers[0].collections == {Sensor.S2: "s2"}
    assert settings.areas["north-pit"].buffer_m == 50
    assert settings.detection.verdict.grace_m == 35
    assert settings.model_cards == (Path("/a"), Path("/b"))


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "GROUNDWATCH_POLL__INTERVALS",
            "5",
            "environment GROUNDWATCH_POLL__INTERVALS: unknown key poll.intervals; did you mean interval_s?",
        ),
        (
            "GROUNDWATCH_POLL__INTERVAL_S",
            "soon",
            "environment GROUNDWATCH_POLL__INTERVAL_S: key poll.interval_s: value 'soon' is not a number; "
            "write one such as 0.5",
        ),
        (
            "GROUNDWATCH_PROVIDERS__7__URL",
            "x",
            "environment GROUNDWATCH_PROVIDERS__7__URL: '7' is no entry of that list; give a number below 1",
        ),
        (
            "GROUNDWATCH_MODEL_CARDS",
            "[a, b",
            "environment GROUNDWATCH_MODEL_CARDS:1: not YAML at '[a, b': expected ',' or ']', but got "
            "'<stream end>'; close the bracket, and put commas between entries",
        ),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str, line: str) -> None:
    assert refusal("providers: [{name: a}]", **{name: value}) == line


def test_references_are_read_from_files(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cr3t-t0ken\n")
    path = write(f"providers: [{{name: a, token: '${{file:{secret}}}'}}]")
    settings = load_settings(path, {})
    token = settings.providers[0].token
    assert token is not None
    assert token.get_secret_value() == "s3cr3t-t0ken"
    assert "s3cr3t-t0ken" not in masking.mask(f"refused: s3cr3t-t0ken {settings}")


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "can't be read"), (b"\xff\xfe", "not UTF-8"), (b"x" * 70_000, "over 65536 bytes")],
)
def test_a_secret_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, says: str) -> None:
    secret = tmp_path / "token"
    if content is not None:
        secret.write_bytes(content)
    text = refusal(f"alerts:\n  targets:\n    office: slack://${{file:{secret}}}\n")
    assert says in text
    assert "key alerts.targets.office" in text


def test_a_secret_file_is_named_by_its_whole_path() -> None:
    assert "no absolute path" in refusal("providers: [{name: a, token: '${file:token}'}]")


def test_references_are_taken_from_the_environment() -> None:
    path = write("data: ${HOME}/g\nproviders: [{name: a, url: 'https://${HOST:-h.org}/$${x}'}]")
    settings = load_settings(path, {"HOME": "/home/me"})
    assert settings.data == Path("/home/me/g")
    assert settings.providers[0].url == "https://h.org/${x}"


def test_a_missing_variable_is_named() -> None:
    assert refusal("alerts:\n  targets:\n    office: slack://${SLACK_TOKEN}/#mines\n") == (
        "groundwatch.yml:3: key alerts.targets.office: variable 'SLACK_TOKEN' is not set; set it, or write "
        "${SLACK_TOKEN:-default}"
    )


# Mistakes


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


# Secrets


SECRET_FILE = """
providers:
  - name: a
    token: tok3n-value
    headers: {X-Api: head3r-value}
alerts:
  targets:
    office: mailto://me:passw0rd-value@mail.org?to=x@y.org
"""
SECRET_WORDS = ("tok3n", "head3r", "passw0rd")


def test_secrets_are_readable_by_code_and_shown_nowhere() -> None:
    settings = load_settings(write(SECRET_FILE), {})
    target = settings.alerts.targets["office"].get_secret_value()
    assert target == "mailto://me:passw0rd-value@mail.org?to=x@y.org"
    shown = repr(settings) + str(settings) + settings.model_dump_json() + repr(settings.model_dump())
    assert not any(word in shown for word in SECRET_WORDS)
    logged = masking.mask(f"{target} tok3n-value head3r-value")
    assert not any(word in logged for word in SECRET_WORDS)


@pytest.mark.parametrize(
    "change",
    [
        ("token: tok3n-value", "token: [tok3n-value]"),
        ("{X-Api: head3r-value}", "{X-Api: {head3r-value: 1}}"),
        ("{X-Api: head3r-value}", "[head3r-value]"),
        ("office: mailto", 'office: "mailto'),
        ("office: ", "office: !!x "),
        ("office: ", "office: - "),
        ("@mail.org?to=x@y.org", "@mail.org?to=x@y.org: 1"),
        ("name: a", "nam: a"),
    ],
)
def test_secrets_are_not_in_errors(change: tuple[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(SECRET_FILE.replace(*change)), {})
    assert not any(word in str(caught.value) for word in SECRET_WORDS)


def test_every_secret_key_is_hidden_in_errors() -> None:
    """Walks the models, so that a secret added later is covered too."""

    def keys(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for name, field in model.model_fields.items():
            if "SecretStr" in str(field.annotation):
                yield (*path, name)
            for inner in models_in(field.annotation):
                if inner in [*models_in(model)][1:]:
                    yield from keys(inner, (*path, name))

    from registry.config_errors import _shown

    found = set(keys(Settings, ()))
    assert found >= {("alerts", "targets"), ("providers", "token"), ("providers", "headers")}
    for path in found:
        for below in ((), ("x",), (0, "x")):
            assert _shown("s3cret", (*path, *below)) == masking.MASK


# What is written for people and editors


def test_default_yml_is_made_from_the_code_and_equals_its_defaults() -> None:
    assert DEFAULT_FILE.read_text(encoding="utf-8") == default_yaml(), "run: python -m registry.starter"
    loaded = load_document(DEFAULT_FILE, Settings)
    assert loaded == Settings()


def test_the_reference_page_is_made_from_the_code_and_names_every_key() -> None:
    page = (REPO / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == reference_markdown(), "run: python -m registry.starter"
    for path in all_keys(Settings.model_json_schema()):
        if path[-1] != "*":
            dotted = ".".join(map(str, path)).replace("areas.*", "areas.<name>").replace(".*", "[]")
            assert f"| `{dotted}` |" in page


def test_every_key_has_a_docstring() -> None:
    missing = [
        f"{model.__name__}.{name}"
        for model in {*models_in(Settings), *models_in(DetectionSettings)}
        for name in model.model_fields
        if not field_docs(model).get(name)
    ]
    assert missing == []


def test_the_schema_accepts_the_defaults_and_refuses_a_typo() -> None:
    schema = settings_schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    validator.validate(read_document(DEFAULT_FILE).data)
    validator.validate({"detection": {"evidence": {"s2": {"cap": 2.0}}}, "areas": {"a": {"detection": {}}}})
    mistakes: tuple[dict[str, Any], ...] = (
        {"pol": {}},
        {"poll": {"interval_s": 0}},
        {"areas": {"A B": {}}},
        {"areas": {"a": {"detection": {"quality": {"x": 1}}}}},
        {"detection": {"lifecycle": {"confirmed_looks": 0}}},
    )
    for wrong in mistakes:
        assert not validator.is_valid(wrong), wrong
    assert "years of history" in json.dumps(schema)


def test_the_starter_is_written_once_and_loads(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    config, schema = write_starter(folder)
    assert config.read_text().startswith(SCHEMA_LINE)
    assert json.loads(schema.read_text()) == settings_schema()
    jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(read_document(config).data)
    assert load_settings(config, {}) == Settings(data=folder / "groundwatch-data")
    config.write_text("data: mine")
    with pytest.raises(Exists, match="is there already; edit it"):
        write_starter(folder)
    schema.unlink()
    assert write_starter(folder) == (schema,)
    assert config.read_text() == "data: mine"


def test_the_commented_examples_of_the_starter_load() -> None:
    config, _ = write_starter(Path("new"))
    lines = config.read_text().splitlines()
    body = lines[lines.index("data: groundwatch-data") :]
    prose = (
        "# Folder",
        "# STAC",
        "# Seconds",
        "# First",
        "# Thresholds",
        "# Areas",
        "# here",
        "# Apprise",
        "# Without",
    )
    kept = [line for line in body if not line.strip().startswith(prose)]
    text = "\n".join(_uncommented(line) for line in kept).replace("targets: {}", "targets:")
    environ = {"MY_TOKEN": "t", "MAIL_USER": "u", "MAIL_PASSWORD": "p", "SLACK_TOKEN": "s"}
    settings = load_settings(write(text), environ)
    assert sorted(settings.alerts.targets) == ["field-team", "office"]
    assert settings.detection_for("north-forest").lifecycle.confirmed_looks == 4
    assert settings.defined_areas()[0].id == "north-forest"


def _uncommented(line: str) -> str:
    head, mark, rest = line.partition("# ")
    return head + rest if mark and not head.strip() else line


def test_a_folder_that_cannot_be_written_is_named() -> None:
    Path("file").write_text("")
    with pytest.raises(InputError, match="cannot write there"):
        write_starter(Path("file") / "below")


# Other YAML


class Card(BaseModel, extra="forbid"):
    name: str
    weight: float
    key: SecretStr | None = None


def test_another_document_is_checked_the_same_way() -> None:
    assert load_document(write("name: a\nweight: 1", "card.yml"), Card).weight == 1
    with pytest.raises(ConfigError, match=r"^card\.yml:2: key wieght: unknown key; did you mean weight\?$"):
        load_document(write("name: a\nwieght: 1", "card.yml"), Card)
