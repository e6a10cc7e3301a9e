"""The command line as a person meets it: fast help, docs for every command, one-line errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from groundwatch.cli import cli
from groundwatch.console import Options

DOCS = Path(__file__).resolve().parent.parent / "docs" / "commands.md"
INTRO = """# Commands

Every command takes `--config FILE`, `-v` and `--json`, before or after its name. An error is one line
that names the value, the bound and the remedy; `-v` adds the traceback. This page is written by
`WRITE_DOCS=1 make test` and checked by every other run.
"""


def _walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _walk(command.commands[name], (*path, name))


def _reference() -> str:
    """The page, made in a process of its own: click remembers help options of the first call of a command."""
    code = "from tests.test_cli import page; print(page(), end='')"
    root = DOCS.parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    return done.stdout


def page() -> str:
    parts = [INTRO]
    for path, command in _walk(cli, ("groundwatch",)):
        with click.Context(
            command,
            info_name=" ".join(path),
            max_content_width=100,
            terminal_width=100,
            **cli.context_settings,  # as when it is called from the top
        ) as context:
            parts.append(f"## {' '.join(path)}\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def test_docs_show_every_command_and_option() -> None:
    reference = _reference()
    if os.environ.get("WRITE_DOCS"):
        DOCS.write_text(reference)
    assert DOCS.read_text() == reference, "run WRITE_DOCS=1 make test"


def test_every_command_and_option_has_help() -> None:
    for path, command in _walk(cli, ("groundwatch",)):
        assert command.help, path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (path, parameter.name)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from groundwatch.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'rasterio', 'geopandas', 'pandas', 'numpy', 'shapely', 'pydantic', 'sqlite_utils',"
        " 'pystac_client', 'apprise', 'yaml', 'PIL', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "groundwatch demo" in done.stdout


def _run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "groundwatch", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("incident", "show", "nothing"), 4, "nothing"),
        (("backfill", "--area", "nowhere", "--since", "2024-01-01"), 4, "nowhere"),
        (("backfill", "--since", "01.02.2024"), 2, "2024-03-31"),
        (("dead", "retry"), 2, "--all"),
        (("--config", "missing.yml", "status"), 2, "missing.yml"),
    ],
)
def test_an_error_is_one_line_without_traceback(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = _run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()[-1:]) == 1


def test_a_fresh_folder_from_init_to_status(tmp_path: Path) -> None:
    assert _run("init", cwd=tmp_path).returncode == 0
    area = {
        "type": "Feature",
        "properties": {"id": "pit", "name": "Pit", "kind": "permitted"},
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[22.14, 45.2], [22.15, 45.2], [22.15, 45.21], [22.14, 45.21], [22.14, 45.2]]],
        },
    }
    (tmp_path / "areas.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [area]}))
    added = _run("area", "add", "areas.geojson", cwd=tmp_path)
    assert added.returncode == 0, added.stderr
    listed = _run("area", "list", "--json", cwd=tmp_path)
    assert [row["id"] for row in json.loads(listed.stdout)] == ["pit"]
    status = _run("status", "--json", cwd=tmp_path)
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["areas"] == 1
    assert _run("check", "--offline", cwd=tmp_path).returncode == 0
    config, plain = tmp_path / "groundwatch.yml", (tmp_path / "groundwatch.yml").read_text()
    for mistake, said in {
        "detection: { components: { models: [mining-rgbnir, forest-spectral-swir] } }":
            "model card 'forest-spectral-swir' has no mining component; name one that has",
        "detection: { models: { forest: [forest-spectral-swir, forest-of-mine] } }":
            "model card 'forest-of-mine' does not exist",
        "areas: { pit: { detection: { models: { transformed_sar: [transformed-spectral-swir] } } } }":
            "transformed-spectral-swir lacks B02",
    }.items():  # fmt: skip
        config.write_text(f"{plain}{mistake}\n")
        wrong = _run("check", "--offline", cwd=tmp_path)
        assert wrong.returncode != 0
        assert said in wrong.stdout


def test_options_are_taken_before_and_after_the_command(tmp_path: Path) -> None:
    options = Options()
    CliRunner().invoke(cli, ["--json", "init", str(tmp_path), "-v"], obj=options)
    assert options.as_json
    assert options.verbose
