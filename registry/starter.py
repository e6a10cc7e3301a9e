"""What editors and people start from: JSON Schema, all defaults with their reasons, a first configuration."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from registry.errors import Exists, InputError
from registry.field_docs import documented_schema, field_docs, models_in
from registry.setting_models import Settings

SCHEMA_NAME = "groundwatch.schema.json"
CONFIG_NAME = "groundwatch.yml"
SCHEMA_LINE = f"# yaml-language-server: $schema=./{SCHEMA_NAME}"

STARTER = f"""\
{SCHEMA_LINE}
# groundwatch: what is watched, where images come from, who is told.
# Every key with its bounds and reason: docs/configuration.md. Your editor completes them.
# ${{NAME}} in a text is taken from the environment; GROUNDWATCH_<SECTION>__<KEY> overrides a key,
# for example GROUNDWATCH_POLL__INTERVAL_S=600. Check this file with `groundwatch check`.

# Folder of the database and the images; relative to this file.
data: groundwatch-data

# STAC APIs to poll: earth-search needs no account; planetary-computer and cdse are shipped as well.
providers:
  - name: earth-search
    profile: earth-search
    # token: ${{MY_TOKEN}}

poll:
  # Seconds between two polls.
  interval_s: 3600
  # First acquisition day that is fetched; two years of history teach a pixel its seasons.
  start: 2024-01-01

# Thresholds of detection, where yours differ from the defaults.
# detection:
#   objects:
#     minimum_mapping_unit_ha: 0.2
#   verdict:
#     grace_m: 50

# Areas come from files (`groundwatch area add FILE`) or stand here by id; an imported area may be named
# here too, to give it thresholds of its own.
# areas:
#   north-forest:
#     name: North forest
#     kind: watched
#     geometry:
#       type: Polygon
#       coordinates: [[[25.30, 45.70], [25.35, 45.70], [25.35, 45.74], [25.30, 45.74], [25.30, 45.70]]]
#     detection:
#       lifecycle: {{ confirmed_looks: 4 }}

alerts:
  # Apprise URLs by name (https://appriseit.com/services/); keep passwords in the environment.
  targets: {{}}
  #   office: mailto://${{MAIL_USER}}:${{MAIL_PASSWORD}}@mail.example.org?to=office@example.org
  #   field-team: slack://${{SLACK_TOKEN}}/#mines
  # Without routes every notice goes to every target.
  # routes:
  #   - targets: [field-team]
  #     suspects_only: true
  #     min_hectares: 0.5
"""
"""What ``groundwatch init`` writes; its values are the defaults."""


def settings_schema() -> dict[str, Any]:
    """The JSON Schema of the configuration file, with each field's docstring, for editors."""
    schema = documented_schema(Settings)
    definitions = schema["$defs"]
    # A part of detection may stand alone, there and in an area: the rest keeps its value.
    definitions["AreaSettings"]["properties"]["detection"]["$ref"] = "#/$defs/DetectionSettings"
    definitions["AreaSettings"]["properties"]["detection"].pop("additionalProperties", None)
    definitions["SourceWeights"].pop("required", None)
    for part in [schema, *definitions.values()]:
        for inside in part["properties"].values() if "properties" in part else ():
            if "patternProperties" in inside:
                inside["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "groundwatch"}


def write_starter(folder: Path) -> tuple[Path, ...]:
    """Write the starting configuration and its schema; what is there already stays.

    Returns the files written. Raises Exists where there was nothing left to write.
    """
    contents = {CONFIG_NAME: STARTER, SCHEMA_NAME: json.dumps(settings_schema(), indent=2) + "\n"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = tuple(folder / name for name, text in contents.items() if _create(folder / name, text))
    except OSError as exc:
        raise InputError(f"{folder}: cannot write there ({exc.strerror}); name another folder") from exc
    if not written:
        raise Exists(f"{folder / CONFIG_NAME} is there already; edit it, or name another folder")
    return written


def _create(path: Path, text: str) -> bool:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def default_yaml() -> str:
    """``configs/default.yml``: every key at its default, with its unit and reason above it."""
    head = [
        "# Every key of groundwatch at its default, with unit and reason. Nothing here needs copying:",
        "# a configuration names only what differs. Written from registry/setting_models.py and",
        "# registry/detection.py by `python -m registry.starter`; a test compares.",
    ]
    return "\n".join([*head, *_section(Settings())]) + "\n"


def _section(value: BaseModel, indent: str = "") -> Iterator[str]:
    for number, (name, one) in enumerate(value):
        if number or not indent:
            yield ""
        yield from _comment(type(value), name, indent)
        yield from _entry(name, one, indent)


def _comment(model: type[BaseModel], name: str, indent: str) -> Iterator[str]:
    text = " ".join(part for part in (field_docs(model).get(name, ""), bounds(model, name)) if part)
    yield from textwrap.wrap(text, 100, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _entry(name: str, value: object, indent: str) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield f"{indent}{name}:"
        yield from _section(value, indent + "  ")
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        yield f"{indent}{name}:"
        for one in value:
            yield f"{indent}  -"
            yield from _section(one, indent + "    ")
    else:
        yield f"{indent}{name}: {plain(value)}"


def plain(value: object) -> str:
    """A value as YAML writes it on one line."""
    if isinstance(value, tuple):
        return "[" + ", ".join(plain(one) for one in value) + "]"
    if isinstance(value, Mapping):
        return "{}"
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z][\w./-]*|\d{4}-\d\d-\d\d", text) else json.dumps(text)


_SIGNS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))


def bounds(model: type[BaseModel], name: str) -> str:
    """``At least 0, at most 500.``, from the field's constraints."""
    found = [
        f"{words} {getattr(part, sign):g}"
        for sign, words in _SIGNS
        for part in model.model_fields[name].metadata
        if getattr(part, sign, None) is not None
    ]
    text = ", ".join(found)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


REFERENCE_HEAD = """\
# Configuration

One YAML file, by default `groundwatch.yml` in the working directory, else the one named by `--config` or
the variable `GROUNDWATCH_CONFIG`. `groundwatch init` writes one to start from, with a JSON Schema beside it
so that editors complete and check the keys. Nothing is required: every key has a default.

- **Environment**: `GROUNDWATCH_<SECTION>__<KEY>` overrides a key of the file, for example
  `GROUNDWATCH_POLL__INTERVAL_S=600` or `GROUNDWATCH_DETECTION__VERDICT__GRACE_M=50`. Lists and mappings are
  written as in YAML: `GROUNDWATCH_MODEL_CARDS='[cards, more-cards]'`; an entry of a list by its number:
  `GROUNDWATCH_PROVIDERS__0__URL`. A variable that names no key is an error.
- **References**: `${NAME}` inside a text is taken from the environment, `${NAME:-text}` has a default,
  `$${` is a plain `${`. A variable that is not set is an error that names it.
- **Secrets**: alert targets, provider tokens and headers are never shown in logs, errors or JSON. Keep them
  in the environment and write `${NAME}`.
- **Paths** are meant from the folder of the file.
- **Mistakes** are refused at the start, one line each, with file, line, key, value, bound and remedy:
  `groundwatch.yml:14: key poll.interval_s: value 0 is too small; give at least 1`.
- **Areas** may override any part of `detection`, under `areas.<id>.detection`.
- YAML is read as in version 1.2: `no` is a text, `2e-5` a number. A key that stands twice is an error;
  anchors and aliases are not used.

Written by `python -m registry.starter` from the docstrings of `registry/setting_models.py` and
`registry/detection.py`; a test compares.
"""


def reference_markdown() -> str:
    """``docs/configuration.md``: every key with its default, bounds and reason."""
    return REFERENCE_HEAD + "\n".join(_reference_section(Settings, "", Settings())) + "\n"


def _reference_section(model: type[BaseModel], path: str, value: BaseModel | None) -> Iterator[str]:
    yield f"\n## {path or 'Top level'}\n\n{' '.join((model.__doc__ or '').split())}\n"
    yield "| key | default | meaning |\n|---|---|---|"
    inner: list[tuple[type[BaseModel], str, BaseModel | None]] = []
    for name, info in model.model_fields.items():
        here = f"{path}.{name}" if path else name
        text = " ".join(part for part in (field_docs(model).get(name, ""), bounds(model, name)) if part)
        found = next(iter(models_in(info.annotation)), None)
        at_first = _at_first(info, value, name)
        yield f"| `{here}` | {_shown(at_first, found)} | {text.replace('``', '`').replace('|', '&#124;')} |"
        if found is not None:
            below = at_first if isinstance(at_first, BaseModel) else None
            inner.append((found, here + _FREE.get(get_origin(info.annotation), ""), below))
    for part in inner:
        yield from _reference_section(*part)


_FREE: dict[Any, str] = {tuple: "[]", Mapping: ".<name>"}


def _at_first(info: FieldInfo, value: BaseModel | None, name: str) -> object:
    return getattr(value, name) if value is not None else info.get_default(call_default_factory=True)


def _shown(value: object, found: type[BaseModel] | None) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel) or (found is not None and value):
        return "see below"
    return f"`{plain(value)}`"


def main(repository: Path = Path()) -> None:
    """Write the pages that are made from the code."""
    (repository / "configs" / "default.yml").write_text(default_yaml(), encoding="utf-8")
    (repository / "docs" / "configuration.md").write_text(reference_markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
