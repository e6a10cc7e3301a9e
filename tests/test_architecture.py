"""The rules of the house over the real import graph: rooms, no cycles, heavy libraries in their files.

The length of files and functions is a guide, printed with ``pytest -s``, not a limit.
"""

from __future__ import annotations

import ast
import statistics
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPO

ROOMS = ("ingest", "detector", "alerts")
PACKAGES = ("registry", *ROOMS, "simulator", "groundwatch")

MAY_IMPORT = {
    "registry": {"registry"},
    "ingest": {"ingest", "registry"},
    "detector": {"detector", "registry"},
    "alerts": {"alerts", "registry"},
    "simulator": {"simulator", "registry"},
    "groundwatch": set(PACKAGES),
}
"""What each package may import of the house."""

HEAVY: Mapping[str, tuple[str, ...]] = {
    "pystac_client": ("ingest/catalog.py",),
    "apprise": ("alerts/send.py",),
    "geopandas": ("registry/imports.py",),
    "pyogrio": ("registry/imports.py",),
    "sqlite_utils": ("registry/store.py", "registry/store_*.py", "registry/migrations.py"),
    "yaml": ("registry/yaml_lines.py",),
    "torch": (
        "detector/evidence.py",
        "detector/history.py",
        "detector/lifecycle.py",
        "detector/looks.py",
        "detector/network.py",
        "detector/weights.py",
        "detector/engine.py",
        "detector/predict.py",
        "detector/foreign.py",
        "detector/training/*.py",
    ),
    "safetensors": ("detector/weights.py",),
    "onnxruntime": ("detector/foreign.py",),
    "rasterio": (
        "detector/reading.py",
        "detector/buckets.py",
        "detector/rasters.py",
        "detector/objects.py",
        "detector/oneoff*.py",
        "detector/images.py",
        "detector/image_windows.py",
        "detector/segmenting.py",
        "detector/training/folder.py",
        "detector/training/cvat.py",
        "simulator/*.py",
    ),
    "prometheus_client": ("groundwatch/serving.py",),
    "kafka": ("registry/bus/kafka*.py",),
    "jinja2": ("alerts/render.py", "simulator/page.py"),
    "obstore": ("registry/blobs_s3.py",),
    "rustac": ("simulator/server.py",),
    "uvicorn": ("simulator/server.py",),
    "starlette": ("simulator/server.py",),
    "fastapi": (),
    "pandas": (),
    "pystac": (),
}
"""Library -> the files that may import it."""

FACADES = {
    ("registry.bus", "registry.bus.local"),
    ("registry.bus", "registry.bus.kafka"),
    ("registry.bus", "registry.bus.kafka_settings"),
    ("registry.blobs", "registry.blobs_s3"),
}
"""Imports inside a function by which a port opens its own back end (``open_bus``, ``open_blobs``)."""

ENVIRONMENT = ("registry/settings.py",)
"""Files that may read environment variables."""

CLOCK = (
    "groundwatch/wiring.py",
    "ingest/http.py",
    "registry/blobs.py",
    "registry/bus/kafka.py",
    "registry/bus/local.py",
    "registry/store.py",
)
"""Files whose parameter ``now`` or ``clock`` is the real one unless given; the rest gets it handed in."""


@dataclass(frozen=True)
class Import:
    """One import statement."""

    importer: str
    """Dotted name of the module that imports."""
    path: str
    """Its file, relative to the repository."""
    module: str
    """What it imports: a dotted module name."""
    line: int
    typing_only: bool
    """True under ``if TYPE_CHECKING``: not there at run time."""

    @property
    def root(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


@dataclass(frozen=True)
class House:
    """The source files of the distribution, parsed."""

    trees: Mapping[str, ast.Module]
    """File, relative to the repository -> its syntax tree."""

    @property
    def modules(self) -> frozenset[str]:
        return frozenset(module_name(path) for path in self.trees)

    def imports(self) -> Iterator[Import]:
        for path, tree in self.trees.items():
            hidden = {inner for node in ast.walk(tree) if _type_checking(node) for inner in ast.walk(node)}
            for node in ast.walk(tree):
                for module in self._targets(node, path):
                    yield Import(module_name(path), path, module, getattr(node, "lineno", 0), node in hidden)

    def _targets(self, node: ast.AST, path: str) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            base = _absolute(node, path)
            inner = [f"{base}.{alias.name}" for alias in node.names]
            return [*(name for name in inner if name in self.modules), base]
        return []

    def own_imports(self) -> list[Import]:
        return [one for one in self.imports() if one.root in PACKAGES]


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _absolute(node: ast.ImportFrom, path: str) -> str:
    if not node.level:
        return node.module or ""
    parts = Path(path).with_suffix("").parts[: -node.level]
    return ".".join([*parts, *([node.module] if node.module else [])])


def parsed(sources: Mapping[str, str]) -> House:
    return House({path: ast.parse(text) for path, text in sources.items()})


@pytest.fixture(scope="module")
def house() -> House:
    files = [path for package in PACKAGES for path in sorted((REPO / package).rglob("*.py"))]
    return parsed({path.relative_to(REPO).as_posix(): path.read_text(encoding="utf-8") for path in files})


# The rules, as functions that return what breaks them


def wrong_rooms(house: House) -> list[str]:
    return [
        str(one) for one in house.own_imports() if one.root not in MAY_IMPORT[one.importer.partition(".")[0]]
    ]


def cycles(house: House) -> list[list[str]]:
    """Every group of modules that import each other, at run time, wherever the import stands."""
    graph: dict[str, set[str]] = {name: set() for name in house.modules}
    for one in house.own_imports():
        if not one.typing_only and (one.importer, one.module) not in FACADES and one.module in graph:
            graph[one.importer].add(one.module)
    for name in graph:
        # A package's __init__ that gathers its own modules is their roof, and "from a import a.b" means a.b.
        graph[name].discard(name)
    return [group for group in _strongly_connected(graph) if len(group) > 1]


def _strongly_connected(graph: Mapping[str, set[str]]) -> list[list[str]]:
    reached = {name: _reachable(graph, name) for name in graph}
    groups = {
        tuple(sorted(other for other in graph if other in reached[name] and name in reached[other]))
        or (name,)
        for name in graph
    }
    return [list(group) for group in sorted(groups)]


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in graph[waiting.pop()] - found:
            found.add(name)
            waiting.append(name)
    return found


def heavy_outside(house: House) -> list[str]:
    return [
        str(one)
        for one in house.imports()
        if one.root in HEAVY and not any(Path(one.path).match(allowed) for allowed in HEAVY[one.root])
    ]


def store_in_detector(house: House) -> list[str]:
    return [
        str(one)
        for one in house.own_imports()
        if one.path.startswith("detector/") and one.module.startswith("registry.store")
    ]


def environment_readers(house: House) -> list[str]:
    return _uses(house, {"os.environ", "os.getenv", "os.environb"}, ENVIRONMENT)


def clock_readers(house: House) -> list[str]:
    return _uses(house, {"datetime.now", "datetime.utcnow", "date.today", "time.time"}, CLOCK)


def _uses(house: House, names: set[str], allowed: tuple[str, ...]) -> list[str]:
    found = []
    for path, tree in house.trees.items():
        for node in ast.walk(tree):
            name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            direct = isinstance(node, ast.ImportFrom) and node.module == "os" and "environ" in ast.dump(node)
            if (name in names or direct) and path not in allowed:
                found.append(f"{path}:{getattr(node, 'lineno', 0)} uses {name or 'os.environ'}")
    return found


# The tests


def test_rooms_do_not_import_each_other(house: House) -> None:
    assert wrong_rooms(house) == []


def test_there_are_no_import_cycles(house: House) -> None:
    assert cycles(house) == []


def test_heavy_libraries_stay_in_their_files(house: House) -> None:
    assert heavy_outside(house) == []


def test_the_detector_never_touches_the_store(house: House) -> None:
    assert store_in_detector(house) == []


def test_only_settings_read_the_environment(house: House) -> None:
    assert environment_readers(house) == []


def test_the_clock_is_handed_in(house: House) -> None:
    assert clock_readers(house) == []


def test_nothing_is_called_utils_or_common(house: House) -> None:
    banned = {"utils", "util", "common", "helpers", "misc"}
    assert [path for path in house.trees if banned & set(Path(path).with_suffix("").parts)] == []


def test_every_library_that_is_imported_is_declared(house: House) -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = " ".join([*project["dependencies"], *extras["demo"], *extras["fleet"], *extras["onnx"]])
    names = {
        "PIL": "pillow",
        "prometheus_client": "prometheus-client",
        "yaml": "pyyaml",
        "pystac_client": "pystac-client",
        "sqlite_utils": "sqlite-utils",
    }
    known = {names.get(root, root) for root in {one.root for one in house.imports()} - _own_and_standard()}
    carried = {
        "pyogrio", "requests", "urllib3", "pydantic_core", "rasterio", "markupsafe", "affine", "pystac",
    }  # fmt: skip
    assert sorted(name for name in known - carried if name not in declared) == []


def _own_and_standard() -> set[str]:
    import sys

    return {*PACKAGES, "configs", *sys.stdlib_module_names}


def test_a_report_of_lengths(house: House) -> None:
    """A guide, not a limit: files p90 <= 300 lines, function bodies median <= 9 and p90 <= 35."""
    files = {path: (REPO / path).read_text(encoding="utf-8").count("\n") for path in house.trees}
    bodies = {
        f"{path}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.body[0].lineno + 1
        for path, tree in house.trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for what, sizes, goal in (("files", files, "p90 300"), ("bodies", bodies, "median 9, p90 35")):
        values = sorted(sizes.values())
        p90 = values[int(0.9 * (len(values) - 1))]
        print(f"{what}: {len(values)}, median {statistics.median(values):g}, p90 {p90} (guide: {goal})")
        for name, size in sorted(sizes.items(), key=lambda pair: -pair[1])[:5]:
            print(f"  {size:4d} {name}")
    assert files
    assert bodies


# The rules can fail


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (wrong_rooms, "ingest/poll.py", "from detector.stack import read_stack"),
        (wrong_rooms, "registry/x.py", "def f():\n    import alerts.send"),
        (wrong_rooms, "detector/x.py", "from groundwatch import wiring"),
        (heavy_outside, "detector/worker.py", "import torch.nn"),
        (heavy_outside, "registry/store.py", "from yaml import safe_load"),
        (store_in_detector, "detector/worker.py", "from registry import store"),
        (store_in_detector, "detector/worker.py", "def f():\n    from registry.store_places import x"),
        (environment_readers, "ingest/http.py", "import os\nos.environ['X']"),
        (environment_readers, "ingest/http.py", "from os import environ"),
        (clock_readers, "ingest/poll.py", "from datetime import datetime\ndatetime.now()"),
    ],
)
def test_each_rule_catches_what_breaks_it(rule: object, path: str, text: str) -> None:
    broken = parsed({path: text, "registry/store.py": "", "groundwatch/wiring.py": ""} | {path: text})
    assert rule(broken) != []  # type: ignore[operator]


def test_a_cycle_is_caught_wherever_the_import_stands() -> None:
    sources = {
        "registry/__init__.py": "",
        "registry/a.py": "from registry.b import x",
        "registry/b.py": "def f():\n    from registry import c",
        "registry/c.py": "import registry.a",
        "registry/d.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from registry.e import x",
        "registry/e.py": "import registry.d",
    }
    assert cycles(parsed(sources)) == [["registry.a", "registry.b", "registry.c"]]
