"""The only reader of environment and YAML: one frozen ``Settings``, every error one line with its remedy.

Order of weight: environment (``GROUNDWATCH_<SECTION>__<KEY>``), then the YAML file, then the defaults in
``registry.setting_models``. ``${NAME}`` inside a text is taken from the environment, ``${NAME:-text}``
has a default, ``${file:/ABSOLUTE/PATH}`` is what a file holds (a mounted secret), ``$${`` is a plain ``${``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from registry.config_errors import config_error, known_keys, merged, nearest
from registry.detection import DetectionSettings
from registry.errors import ConfigError
from registry.masking import register_secret_url
from registry.s3_settings import S3Settings
from registry.setting_models import (
    AlertSettings,
    AreaSettings,
    HttpSettings,
    LogLevel,
    LogSettings,
    PollSettings,
    ProviderSettings,
    ReadSettings,
    RouteSettings,
    Settings,
    WorkSettings,
)
from registry.starter import settings_schema, write_starter
from registry.values import KeyPath
from registry.yaml_lines import Document, parse_flow, read_document

__all__ = [
    "AlertSettings",
    "AreaSettings",
    "HttpSettings",
    "LogLevel",
    "LogSettings",
    "PollSettings",
    "ProviderSettings",
    "ReadSettings",
    "RouteSettings",
    "Settings",
    "WorkSettings",
    "load_document",
    "load_read",
    "load_settings",
    "settings_schema",
    "write_starter",
]

PREFIX = "GROUNDWATCH_"
"""What the names of override variables begin with."""

CONFIG_NAME = "groundwatch.yml"
"""The file that is read from the working directory where none is named."""

_NOT_KEYS = ("GROUNDWATCH_CONFIG", "GROUNDWATCH_TEST_")
"""Variables that begin with the prefix and name no key."""

_REFERENCE = re.compile(r"\$\$\{|\$\{file:(?P<file>[^}]*)\}|\$\{(?P<name>[^}:]*)(?::-(?P<default>[^}]*))?\}")

MAX_SECRET_BYTES = 65_536
"""Largest file that ``${file:...}`` reads: a certificate chain is far below it."""

Model = TypeVar("Model", bound=BaseModel)


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of ``path``, else of GROUNDWATCH_CONFIG, else ./groundwatch.yml, else the defaults.

    Secrets are registered with the log's mask. Raises ConfigError: one line for each mistake.
    """
    environ = os.environ if environ is None else environ
    found = config_path(path, environ)
    document = read_document(found) if found else Document.empty()
    document = _expanded(_overridden(_with_defaults(document), environ), environ)
    settings = _validated(document, Settings)
    for area_id, area in settings.areas.items():
        _check_override(settings, area_id, area, document)
    _register_secrets(settings)
    return _resolved(settings, found.parent if found else Path())


def config_path(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file that is in force; None = defaults only."""
    if path is not None:
        return path
    if named := environ.get("GROUNDWATCH_CONFIG"):
        return Path(named)
    return Path(CONFIG_NAME) if Path(CONFIG_NAME).is_file() else None


def load_document(path: Path, model: type[Model], *, environ: Mapping[str, str] | None = None) -> Model:
    """Another YAML file (provider profile, model card, register mapping) as a value of ``model``.

    Raises ConfigError as ``load_settings`` does.
    """
    return load_read(read_document(path), model, environ=environ)


def load_read(document: Document, model: type[Model], *, environ: Mapping[str, str] | None = None) -> Model:
    """The same of a file that was read already. Raises ConfigError as ``load_settings`` does."""
    return _validated(_expanded(document, os.environ if environ is None else environ), model)


def _validated(document: Document, model: type[Model]) -> Model:
    if not isinstance(document.data, dict):
        kind = "a list" if isinstance(document.data, list) else f"the text {str(document.data)[:40]!r}"
        raise ConfigError(f"{document.source}:1: the file is {kind}, not a mapping; write `key: value` lines")
    try:
        return model.model_validate(document.data)
    except ValidationError as exc:
        raise config_error(exc, model, document) from exc


def _with_defaults(document: Document) -> Document:
    """Lay ``detection`` over its defaults, so that one threshold of a group may stand alone."""
    given = document.data.get("detection") if isinstance(document.data, dict) else None
    if not isinstance(given, dict):
        return document
    full = merged(DetectionSettings().model_dump(mode="json"), given)
    return document.with_value(("detection",), full, document.origin(("detection",)))


def _check_override(settings: Settings, area_id: str, area: AreaSettings, document: Document) -> None:
    """An area's own thresholds are wrong where they stand, not where they are merged."""
    plain = merged(settings.detection.model_dump(mode="json"), area.detection)
    try:
        DetectionSettings.model_validate(plain)
    except ValidationError as exc:
        raise config_error(exc, DetectionSettings, document.below(("areas", area_id, "detection"))) from exc


def _overridden(document: Document, environ: Mapping[str, str]) -> Document:
    """Lay the environment over the file. Raises ConfigError for a variable that names no key."""
    schema = Settings.model_json_schema()
    for name in sorted(environ):
        if name.startswith(PREFIX) and not name.startswith(_NOT_KEYS):
            path = _variable_path(name, document.data, schema)
            value = _variable_value(environ[name], name)
            document = document.with_value(path, value, f"environment {name}")
    return document


def _variable_path(name: str, data: Any, schema: dict[str, Any]) -> KeyPath:
    """GROUNDWATCH_POLL__INTERVAL_S -> ("poll", "interval_s"); free names match with - written as _."""
    path: KeyPath = ()
    for part in name.removeprefix(PREFIX).lower().split("__"):
        if isinstance(data, list):
            data, path = _entry(data, part, name), (*path, int(part))
            continue
        present = list(data) if isinstance(data, dict) else []
        keys = known_keys(schema, path)
        key = next((one for one in (*keys, *present) if str(one).replace("-", "_") == part), part)
        if keys and key not in keys:
            raise ConfigError(
                f"environment {name}: unknown key {'.'.join(map(str, (*path, key)))}; {nearest(key, keys)}"
            )
        data, path = data.get(key) if isinstance(data, dict) else None, (*path, key)
    return path


def _entry(data: list[Any], part: str, name: str) -> Any:
    if not part.isdecimal() or int(part) >= len(data):
        raise ConfigError(
            f"environment {name}: {part!r} is no entry of that list; give a number below {len(data)}"
        )
    return data[int(part)]


def _variable_value(text: str, name: str) -> Any:
    """Lists and mappings are written as in YAML, ``[a, b]``; all else stays text and is converted."""
    return parse_flow(text, f"environment {name}") if text[:1] in ("[", "{") else text


def _expanded(document: Document, environ: Mapping[str, str]) -> Document:
    """Put variables in place of ``${NAME}``. Raises ConfigError naming the missing one."""

    def expand(path: KeyPath, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            if match.group() == "$${":
                return "${"
            if match["file"] is not None:
                return _file_text(match["file"], f"{document.origin(path)}: key {'.'.join(map(str, path))}")
            name, default = match["name"], match["default"]
            found = environ.get(name, default)
            if found is None:
                key, shown = ".".join(map(str, path)), name[:60]
                raise ConfigError(
                    f"{document.origin(path)}: key {key}: variable {shown!r} is not set; "
                    f"set it, or write ${{{shown}:-default}}"
                )
            return found

        return _REFERENCE.sub(value, text)

    return document.mapped(expand)


def _file_text(name: str, where: str) -> str:
    """What a secret file holds, without the newline at its end. Raises ConfigError where it can't be."""
    if not Path(name).is_absolute():
        raise ConfigError(f"{where}: file {name[:200]!r} has no absolute path; write ${{file:/PATH}}")
    try:
        with Path(name).open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
        text = raw.decode()
    except OSError as exc:
        raise ConfigError(
            f"{where}: file {name} can't be read ({exc.strerror}); make it, or let this user read it"
        ) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(
            f"{where}: file {name} is not UTF-8 text; name a file that holds the value"
        ) from exc
    if len(raw) > MAX_SECRET_BYTES:
        raise ConfigError(
            f"{where}: file {name} has over {MAX_SECRET_BYTES} bytes; name a file of the value alone"
        )
    return text.removesuffix("\n").removesuffix("\r")


def _register_secrets(settings: Settings) -> None:
    for secret in _secrets(settings):
        register_secret_url(secret.get_secret_value())


def _secrets(value: object) -> list[SecretStr]:
    if isinstance(value, SecretStr):
        return [value]
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, Mapping):
        return [secret for one in value.values() for secret in _secrets(one)]
    if isinstance(value, tuple):
        return [secret for one in value for secret in _secrets(one)]
    return []


def _resolved(settings: Settings, folder: Path) -> Settings:
    """Paths are meant from the file's folder, wherever the command is run."""
    here = folder.absolute()
    return settings.model_copy(
        update={
            "data": here / settings.data.expanduser(),
            "store": here / settings.store.expanduser() if settings.store else None,
            "s3": _resolved_cache(settings.s3, here),
            "model_cards": tuple(here / one.expanduser() for one in settings.model_cards),
            "providers": tuple(_resolved_profile(one, here) for one in settings.providers),
        }
    )


def _resolved_cache(s3: S3Settings, here: Path) -> S3Settings:
    return s3.model_copy(update={"cache": here / s3.cache.expanduser()}) if s3.cache else s3


def _resolved_profile(provider: ProviderSettings, here: Path) -> ProviderSettings:
    if not provider.profile.endswith((".yml", ".yaml")):
        return provider
    return provider.model_copy(update={"profile": str(here / Path(provider.profile).expanduser())})
