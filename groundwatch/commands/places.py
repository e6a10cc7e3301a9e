"""Name places: areas to watch, permits, zones; imported from files, listed, removed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from groundwatch.console import Group, Options, pass_options, say, show_rows, show_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.imports import ImportReport

FILE = click.argument("file", type=click.Path(path_type=Path, exists=True))


def _file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--crs`` and ``--layer``, for files that do not say."""
    crs = click.option("--crs", help="Coordinate system of a file that names none, e.g. EPSG:4674.")
    layer = click.option("--layer", help="Layer to read where the file holds several.")
    return crs(layer(command))


def _report_rows(file: Path, report: ImportReport[Any]) -> None:
    """Say what there is to say of rows. Raises InputError where rows were there and none could be read."""
    from registry.errors import InputError

    say(str(note) for note in report.problems)
    if report.read and not report.rows:
        raise InputError(f"{file}: none of its {report.read} rows can be read, see above; mend the file")


@click.group(cls=Group)
def area() -> None:
    """Areas to watch."""


@area.command("add")
@FILE
@_file_options
@click.option("--id", "area_id", help="Id of a single area; else taken from the file.")
@click.option("--name", help="Name of a single area; else taken from the file.")
@click.option(
    "--kind",
    type=click.Choice(["permitted", "watched"]),
    help="permitted = a mine with permits, watched = anything else. Default: the file's, or watched.",
)
@click.option("--buffer", "buffer_m", type=float, help="Metres around the polygon that are watched too.")
@pass_options
def area_add(options: Options, /, file: Path, **given: Any) -> None:
    """Add areas from GeoJSON, GeoPackage, zipped Shapefile, KML or GeoParquet."""
    from registry.imports import read_areas

    report = read_areas(file, **given)
    _report_rows(file, report)
    with options.app() as app:
        changed = app.add_areas(report.rows)
    click.echo(f"{len(report.rows)} areas read, {changed} new or changed")


@area.command("list")
@pass_options
def area_list(options: Options) -> None:
    """List the areas."""
    from registry.geometry import hectares

    with options.app() as app:
        rows = [
            {
                "id": one.id,
                "name": one.name,
                "kind": one.kind.value,
                "ha": round(hectares(one.geometry), 1),
                "buffer_m": one.buffer_m,
                "targets": [target.value for target in one.targets],
            }
            for one in app.store.areas()
        ]
    show_rows(options, rows, empty="no areas yet; add one with `groundwatch area add FILE`")


@area.command("show")
@click.argument("area_id")
@pass_options
def area_show(options: Options, area_id: str) -> None:
    """Show one area with its grid, permits, zones and passes."""
    from registry.geometry import hectares
    from registry.grid import area_grid

    with options.app() as app:
        one = app.store.area(area_id)
        snapshot = app.store.snapshot(area_id)
        passes = app.store.passes(area_id)
    grid = area_grid(one.geometry, one.buffer_m)
    show_value(
        options,
        {
            "id": one.id,
            "name": one.name,
            "kind": one.kind.value,
            "hectares": round(hectares(one.geometry), 2),
            "buffer_m": one.buffer_m,
            "targets": [target.value for target in one.targets],
            "tags": list(one.tags),
            "grid": f"{grid.width} x {grid.height} pixels of 10 m, {grid.crs}",
            "permits": [f"{permit.source}:{permit.source_id}" for permit in snapshot.permits],
            "zones": [zone.name for zone in snapshot.zones],
            "passes": len(passes),
            "last_pass": f"{passes[-1].acquired:%Y-%m-%d %H:%M}" if passes else None,
        },
    )


@area.command("remove")
@click.argument("area_id")
@pass_options
def area_remove(options: Options, area_id: str) -> None:
    """Stop watching an area; its products and incidents stay on disk."""
    with options.app() as app:
        app.store.remove_area(area_id)
    click.echo(f"{area_id} is no longer watched")


@click.group(cls=Group)
def permit() -> None:
    """Rights to mine."""


@permit.command("import")
@FILE
@_file_options
@click.option("--register", help="Known register: sigmine, geocatmin, landfolio; else common column names.")
@click.option(
    "--map",
    "mapping",
    type=click.Path(path_type=Path, exists=True),
    help="Mapping file (YAML) of another register.",
)
@click.option("--release", help="Release of the register, best as a date; default the file's date.")
@pass_options
def permit_import(options: Options, /, file: Path, **given: Any) -> None:
    """Import permits; every row is imported or reported. Open incidents near them are judged again."""
    from registry.imports import read_permits

    report = read_permits(file, **given)
    _report_rows(file, report)
    with options.app() as app:
        counts, judged = app.import_permits(report.rows)
    click.echo(
        f"{len(report.rows)} permits read: {counts.added} new, {counts.changed} changed, "
        f"{counts.unchanged} unchanged; {judged} areas will be judged again"
    )


@permit.command("list")
@pass_options
def permit_list(options: Options) -> None:
    """List the permits."""
    with options.app() as app:
        rows = [
            {
                "register": one.source,
                "permit": one.source_id,
                "holder": one.holder_text,
                "status": one.status.value,
                "valid_from": one.valid_from,
                "valid_to": one.valid_to or "unknown",
                "ha": round(one.area_ha, 1),
                "note": one.geometry_note,
            }
            for one in app.store.permits()
        ]
    show_rows(options, rows, empty="no permits yet; import some with `groundwatch permit import FILE`")


@click.group(cls=Group)
def zone() -> None:
    """Places with their own rule: protected areas, Indigenous land, water."""


@zone.command("import")
@FILE
@_file_options
@click.option("--register", help="Known register: wdpa; else common column names.")
@click.option(
    "--map",
    "mapping",
    type=click.Path(path_type=Path, exists=True),
    help="Mapping file (YAML) of another register.",
)
@click.option(
    "--kind",
    type=click.Choice(["protected", "indigenous", "water", "other"]),
    help="Kind of all zones in the file; default: the file's, or protected.",
)
@pass_options
def zone_import(options: Options, /, file: Path, **given: Any) -> None:
    """Import zones; every row is imported or reported. Open incidents near them are judged again."""
    from registry.imports import read_zones

    report = read_zones(file, **given)
    _report_rows(file, report)
    with options.app() as app:
        counts, judged = app.import_zones(report.rows)
    click.echo(
        f"{len(report.rows)} zones read: {counts.added} new, {counts.changed} changed, "
        f"{counts.unchanged} unchanged; {judged} areas will be judged again"
    )


@zone.command("list")
@pass_options
def zone_list(options: Options) -> None:
    """List the zones."""
    with options.app() as app:
        rows = [
            {"register": one.source, "zone": one.source_id, "name": one.name, "kind": one.kind.value}
            for one in app.store.zones()
        ]
    show_rows(options, rows, empty="no zones yet; import some with `groundwatch zone import FILE`")


COMMANDS = (area, permit, zone)
