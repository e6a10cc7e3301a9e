"""Settings: what is read, from files and the environment; secrets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from pydantic import BaseModel

from registry import masking
from registry.detection import EvidenceSettings
from registry.errors import ConfigError
from registry.field_docs import models_in
from registry.models import Sensor, Target
from registry.settings import Settings, load_settings
from tests.config_files import refusal, write

SQUARE = "{type: Polygon, coordinates: [[[25, 45], [25.1, 45], [25.1, 45.1], [25, 45.1], [25, 45]]]}"
pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_secrets_left")


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
