"""The docstrings under the fields of models, for JSON Schemas, comments and reference pages. Pure."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, get_args

from pydantic import BaseModel


@cache
def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """{field: its docstring on one line}, read from the source of ``model`` and of its bases."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base is not BaseModel and issubclass(base, BaseModel):
            docs |= _own_docs(base)
    return docs


def _own_docs(model: type[BaseModel]) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(model)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    docs: dict[str, str] = {}
    for before, after in pairwise(body):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name):
            text = ast.get_docstring(ast.Module([after], []))
            if text:
                docs[before.target.id] = " ".join(text.split())
    return docs


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Every model inside a type: ``tuple[Provider, ...]``, ``Mapping[str, Area]``, ``Area | None``."""
    if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for part in get_args(annotation):
        yield from models_in(part)


def documented_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of ``model`` with the docstrings as descriptions."""
    schema = model.model_json_schema()
    parts = {**schema.get("$defs", {}), model.__name__: schema}
    for one in {found.__name__: found for found in models_in(model)}.values():
        properties = parts[one.__name__].get("properties", {})
        for name, text in field_docs(one).items():
            properties.get(name, {}).setdefault("description", text)
    return schema
