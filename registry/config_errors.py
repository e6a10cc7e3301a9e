"""Validation errors as people can use them: ``FILE:LINE: key a.b.c: value X, bound; remedy``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from registry.errors import ConfigError
from registry.masking import MASK, is_secret_name, mask
from registry.values import KeyPath, WrongAt
from registry.yaml_lines import Document

MOST = 20
"""Mistakes named at once; the rest are counted."""

LONGEST = 60
"""Characters of a wrong value that are shown."""

_SECRET_SECTIONS = (("alerts", "targets"),)


def config_error(exc: ValidationError, model: type[BaseModel], document: Document) -> ConfigError:
    """One line for each mistake pydantic found in ``document``."""
    schema = model.model_json_schema()
    errors = [dict(error) for error in exc.errors(include_url=False)]
    meant = {_meant(error, schema) for error in errors if error["type"] == "extra_forbidden"}
    # A key that is misspelt is not missing as well.
    lines = [
        _line(one, schema, document) for one in errors if one["type"] != "missing" or one["loc"] not in meant
    ]
    more = [f"{document.source}: and {len(lines) - MOST} more mistakes"] if len(lines) > MOST else []
    return ConfigError("\n".join(mask(line) for line in [*lines[:MOST], *more]))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` laid on top: mappings are merged key by key, all else is replaced."""
    found = dict(base)
    for key, value in over.items():
        below = found.get(key)
        found[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return found


def nearest(word: str, known: list[str]) -> str:
    """``did you mean X?`` where something is close, else what there is."""
    close = _closest(word, known)
    if close:
        return f"did you mean {close}?"
    return f"use one of {', '.join(known)}" if known else "remove it"


def _closest(word: str, known: list[str]) -> str | None:
    names = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), list(names), n=1, cutoff=0.6)
    return names[close[0]] if close else None


def _meant(error: dict[str, Any], schema: dict[str, Any]) -> KeyPath:
    *above, key = error["loc"]
    return (*above, _closest(str(key), known_keys(schema, tuple(above))) or "")


def _line(error: dict[str, Any], schema: dict[str, Any], document: Document) -> str:
    # pydantic adds "[key]" where the name of an entry is wrong, not what stands under it.
    path: KeyPath = tuple(part for part in error["loc"] if part != "[key]")
    mistake = error.get("ctx", {}).get("error")
    if isinstance(mistake, WrongAt):
        path = (*path, *mistake.path)
    key = ".".join(str(part) for part in (*document.above, *path))
    where = f"{document.origin(path)}: key {key}" if key else document.origin(path)
    return f"{where}: {_problem(error, path, schema)}"


def _problem(error: dict[str, Any], path: KeyPath, schema: dict[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; {nearest(str(path[-1]), known_keys(schema, path[:-1]))}"
    if kind == "missing":
        return "missing; add it"
    if kind == "value_error":
        return str(context["error"])
    shown = _shown(error["input"], path)
    if error["loc"][-1:] == ("[key]",):
        return f"{shown} cannot be a name; use lower-case letters, digits, - and _, at most 63"
    describe = _PROBLEMS.get(kind)
    if describe is None:
        return f"value {shown}: {error['msg'][:1].lower()}{error['msg'][1:]}"
    return f"value {shown} {describe(error, context)}"


def _shown(value: object, path: KeyPath) -> str:
    names = [str(part) for part in path]
    hidden = any(is_secret_name(name) or name == "headers" for name in names)
    if hidden or any(tuple(names[: len(section)]) == section for section in _SECRET_SECTIONS):
        return MASK
    text = mask("null" if value is None else repr(value))
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


Describe = Callable[[dict[str, Any], dict[str, Any]], str]


def _choice(error: dict[str, Any], context: dict[str, Any]) -> str:
    known = [part.strip().strip("'") for part in context["expected"].replace(" or ", ", ").split(",")]
    return f"is not one of {', '.join(known)}; {nearest(str(error['input']), known)}"


_PROBLEMS: dict[str, Describe] = {
    "greater_than": lambda _, c: f"is too small; give more than {c['gt']:g}",
    "greater_than_equal": lambda _, c: f"is too small; give at least {c['ge']:g}",
    "less_than": lambda _, c: f"is too large; give less than {c['lt']:g}",
    "less_than_equal": lambda _, c: f"is too large; give at most {c['le']:g}",
    "finite_number": lambda *_: "is not finite; give a number",
    "enum": _choice,
    "literal_error": _choice,
    "string_type": lambda *_: "is not a text; put it in quotes",
    "string_too_short": lambda _, c: f"is too short; give at least {c['min_length']} characters",
    "string_too_long": lambda _, c: f"is too long; give at most {c['max_length']} characters",
    "string_pattern_mismatch": lambda _, c: _pattern(c["pattern"]),
    "too_short": lambda _, c: f"has too few entries; give at least {c['min_length']}",
    "tuple_type": lambda *_: "is not a list; write [a, b]",
    "model_type": lambda *_: "is not a mapping; write `key: value` lines below it",
    "model_attributes_type": lambda *_: "is not a mapping; write `key: value` lines below it",
    "mapping_type": lambda *_: "is not a mapping; write `key: value` lines below it",
    "dict_type": lambda *_: "is not a mapping; write `key: value` lines below it",
    "bool_type": lambda *_: "is not true or false; write one of them",
    "bool_parsing": lambda *_: "is not true or false; write one of them",
    "float_type": lambda *_: "is not a number; write one such as 0.5",
    "float_parsing": lambda *_: "is not a number; write one such as 0.5",
    "int_type": lambda *_: "is not a whole number; write one such as 3",
    "int_parsing": lambda *_: "is not a whole number; write one such as 3",
    "int_from_float": lambda *_: "is not a whole number; write one such as 3",
    "date_type": lambda *_: "is not a day; write it as 2024-03-31",
    "date_parsing": lambda *_: "is not a day; write it as 2024-03-31",
    "date_from_datetime_parsing": lambda *_: "is not a day; write it as 2024-03-31",
    "path_type": lambda *_: "is not a path; write it as a text",
}


def _pattern(pattern: str) -> str:
    if "https?" in pattern:
        return "is not a web address; begin it with https://"
    if "://" in pattern:
        return "is not a URL; write it as scheme://place"
    return "cannot be a name; use lower-case letters, digits, - and _, at most 63"


def known_keys(schema: dict[str, Any], path: KeyPath) -> list[str]:
    """Names of the keys that may stand at ``path``, from the model's JSON Schema."""
    here = schema
    for part in path:
        here = _step(here, part, schema)
    return list(_resolved(here, schema).get("properties", {}))


def _step(here: dict[str, Any], part: str | int, schema: dict[str, Any]) -> dict[str, Any]:
    here = _resolved(here, schema)
    if isinstance(part, int):
        inside = here.get("items", {})
    else:
        inside = here.get("properties", {}).get(part) or _free(here)
    return inside if isinstance(inside, dict) else {}


def _free(here: dict[str, Any]) -> Any:
    """What may stand under a free name."""
    patterns = list(here.get("patternProperties", {}).values())
    return patterns[0] if patterns else here.get("additionalProperties", {})


def _resolved(here: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for option in [here, *here.get("anyOf", []), *here.get("allOf", [])]:
        if "$ref" in option:
            found: dict[str, Any] = schema["$defs"][option["$ref"].rpartition("/")[2]]
            return found
    return next((one for one in here.get("anyOf", []) if one.get("type") != "null"), here)


def all_keys(schema: dict[str, Any], here: dict[str, Any] | None = None) -> Iterator[KeyPath]:
    """Every key path of a model's schema; ``*`` stands for a free name or an index."""
    found = _resolved(schema if here is None else here, schema)
    for name, inside in found.get("properties", {}).items():
        yield (name,)
        yield from ((name, *rest) for rest in all_keys(schema, inside))
    free = _free(found) or found.get("items")
    if isinstance(free, dict):
        yield from (("*", *rest) for rest in all_keys(schema, free))
