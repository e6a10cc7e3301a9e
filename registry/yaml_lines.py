"""YAML that remembers where each value stood; the only file that imports yaml.

Stricter than YAML 1.1 where people lose hours: a key that stands twice, anchors, tags and ``no`` read
as false are out; ``2e-5`` is a number; dates stay text until a model asks for a date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import yaml

from registry.errors import ConfigError
from registry.values import KeyPath

MAX_BYTES = 2_000_000
"""Largest configuration file; polygons with more detail belong into a GeoJSON file."""

MAX_DEPTH = 60
"""Deepest nesting; GeoJSON inside an area needs ten."""


@dataclass(frozen=True)
class Document:
    """Plain data and, for each key path, where it came from."""

    data: Any
    source: str
    """The file, as people named it."""
    origins: Mapping[KeyPath, str] = field(default_factory=dict)
    """``FILE:LINE`` or ``environment NAME`` of each key path."""
    above: KeyPath = ()
    """Key path of the whole where this is a part of a larger document."""

    @classmethod
    def empty(cls) -> Document:
        """No file: everything at its default."""
        return cls({}, "defaults")

    def origin(self, path: KeyPath) -> str:
        """Where the value at ``path`` stands, or the nearest value around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return self.source

    def with_value(self, path: KeyPath, value: object, origin: str) -> Document:
        """A copy with one value set; mappings on the way are made, list entries must exist."""
        return replace(self, data=_set(self.data, path, value), origins={**self.origins, path: origin})

    def below(self, path: KeyPath) -> Document:
        """A view of one part, whose key paths still name the whole way."""
        inside = {
            where[len(path) :]: origin for where, origin in self.origins.items() if where[: len(path)] == path
        }
        data: Any = self.data
        for part in path:
            data = data[part]
        return Document(data, self.source, inside, (*self.above, *path))

    def mapped(self, change: Callable[[KeyPath, str], str]) -> Document:
        """A copy with ``change`` applied to every text value."""
        return replace(self, data=_mapped(self.data, (), change))


def read_document(path: Path) -> Document:
    """Read a YAML file. Raises ConfigError with file and line."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(
                f"{path}: file has {size} bytes, at most {MAX_BYTES} are read; "
                "keep large polygons in a GeoJSON file and add them with `groundwatch area add`"
            )
        raw = path.read_bytes()
    except FileNotFoundError as exc:
        raise ConfigError(
            f"{path}: no such file; name one that exists or write one with `groundwatch init`"
        ) from exc
    except OSError as exc:
        raise ConfigError(
            f"{path}: cannot be read ({exc.strerror}); check the path and its permissions"
        ) from exc
    return parse_document(raw, str(path))


def parse_document(raw: bytes, source: str) -> Document:
    """Parse YAML bytes. Raises ConfigError with ``source`` and line."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw[: exc.start].count(b"\n") + 1
        raise ConfigError(
            f"{source}:{line}: byte {raw[exc.start]:#04x} is not UTF-8; save the file as UTF-8"
        ) from exc
    node = _compose(text, source)
    origins: dict[KeyPath, str] = {(): source}
    data = {} if node is None else _value(node, (), source, origins)
    return Document(data, source, origins)


def parse_flow(text: str, source: str) -> Any:
    """A value written in one line, such as ``[a, b]`` or ``{a: 1}``: for environment variables."""
    node = _compose(text, source)
    return None if node is None else _value(node, (), source, {})


class _Loader(yaml.SafeLoader):
    """Resolves as YAML 1.2's core schema does, and refuses anchors (a few bytes can unfold to gigabytes)."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not used here",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)


for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))", list("-+.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^{_pattern}$"), _first)


def _compose(text: str, source: str) -> yaml.Node | None:
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as exc:
        raise _yaml_error(exc, text, source) from exc
    except yaml.YAMLError as exc:
        raise ConfigError(
            f"{source}: not YAML ({' '.join(str(exc).split())}); remove that character"
        ) from exc
    except RecursionError as exc:
        raise ConfigError(f"{source}: nested too deeply, at most {MAX_DEPTH} levels are read") from exc
    finally:
        if loader is not None:
            loader.dispose()


def _yaml_error(exc: yaml.MarkedYAMLError, text: str, source: str) -> ConfigError:
    mark = exc.problem_mark or exc.context_mark
    number = mark.line if mark else 0
    lines = text.splitlines() or [""]
    # Only the key: the rest of a broken line may be a password.
    shown = lines[min(number, len(lines) - 1)].strip().partition(":")[0][:60]
    problem = exc.problem or "cannot be read"
    return ConfigError(
        f"{source}:{number + 1}: not YAML at {shown!r}: {problem}; {_remedy(problem, lines, number)}"
    )


def _remedy(problem: str, lines: list[str], number: int) -> str:
    nearby = "".join(lines[max(0, number - 1) : number + 1])
    if r"'\t'" in problem or "\t" in nearby:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in problem or "block end" in problem:
        return "check the indentation, and write `key: value` with one colon, texts with a colon in quotes"
    if "expected ':'" in problem:
        return "write `key: value` with a colon and a space after the key"
    if "anchors" in problem:
        return "write the value out"
    if "end of stream" in problem or "quoted scalar" in problem:
        return "close the quote"
    if "flow" in problem or "',' or" in problem:
        return "close the bracket, and put commas between entries"
    return "see the line above it as well"


def _value(node: yaml.Node, path: KeyPath, source: str, origins: dict[KeyPath, str]) -> Any:
    origins.setdefault(path, f"{source}:{node.start_mark.line + 1}")
    if len(path) > MAX_DEPTH:
        raise ConfigError(f"{origins[path]}: nested deeper than {MAX_DEPTH} levels; write it flatter")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, source, origins)
    if isinstance(node, yaml.SequenceNode):
        return [_value(one, (*path, i), source, origins) for i, one in enumerate(node.value)]
    return _scalar(node, origins[path])


def _mapping(
    node: yaml.MappingNode, path: KeyPath, source: str, origins: dict[KeyPath, str]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = f"{source}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{line}: a key is a {key_node.id}, not a text; write `key: value`")
        key: str = key_node.value
        here = (*path, key)
        if key in found:
            dotted = ".".join(map(str, here))
            raise ConfigError(
                f"{line}: key {dotted} stands twice, first at {origins[here]}; remove one of them"
            )
        origins[here] = line
        found[key] = _value(value_node, here, source, origins)
    return found


def _scalar(node: yaml.Node, origin: str) -> Any:
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    text: str = node.value
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int" and len(text) <= 40:
        return int(text)
    if kind == "float" or kind == "int":
        return float(text.replace(".inf", "inf").replace(".nan", "nan").lower())
    raise ConfigError(f"{origin}: tag {node.tag} is not used here; write the plain value")


def _set(data: Any, path: KeyPath, value: object) -> Any:
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(data, list) and isinstance(key, int):
        return [_set(one, rest, value) if i == key else one for i, one in enumerate(data)]
    inside = data if isinstance(data, dict) else {}
    return {**inside, key: _set(inside.get(key), rest, value)}


def _mapped(data: Any, path: KeyPath, change: Callable[[KeyPath, str], str]) -> Any:
    if isinstance(data, str):
        return change(path, data)
    if isinstance(data, dict):
        return {key: _mapped(one, (*path, key), change) for key, one in data.items()}
    if isinstance(data, list):
        return [_mapped(one, (*path, i), change) for i, one in enumerate(data)]
    return data


def texts(data: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Every text in plain data with its key path."""
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict):
        for key, one in data.items():
            yield from texts(one, (*path, key))
    elif isinstance(data, list):
        for i, one in enumerate(data):
            yield from texts(one, (*path, i))
