"""What is written of the settings for people and editors; other YAML is checked the same way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, SecretStr

from registry.config_errors import all_keys
from registry.detection import DetectionSettings
from registry.errors import ConfigError, Exists, InputError
from registry.field_docs import field_docs, models_in
from registry.settings import Settings, load_document, load_settings, settings_schema, write_starter
from registry.starter import SCHEMA_LINE, default_yaml, reference_markdown
from registry.yaml_lines import read_document
from tests.config_files import write
from tests.conftest import REPO

DEFAULT_FILE = REPO / "configs" / "default.yml"
pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_secrets_left")


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
