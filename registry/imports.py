"""Areas, permits and zones from files people have; the only file that imports geopandas and pyogrio.

GeoJSON, Esri JSON, GeoPackage, Shapefile, KML, GeoParquet, plain or zipped, in any coordinate reference
system. What a file holds is told from its first bytes, not from its name.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import geopandas
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS
from pyproj.exceptions import CRSError, ProjError

from registry.errors import InputError
from registry.features import AreaChoice, Table, areas_from, permits_from, slug, zones_from
from registry.file_kinds import data_files
from registry.import_report import ImportReport, Level, RowNote
from registry.models import Area, AreaKind, Permit, Zone, ZoneKind
from registry.registers import Register, json_ready, match_columns
from registry.settings import load_document

__all__ = ["ImportReport", "Level", "RowNote", "read_areas", "read_permits", "read_zones", "registers"]

GENERIC = "generic"
"""The mapping of common column names, where no register is named."""

_ALWAYS_DEGREES = ("geojson", "kml")


def read_areas(
    path: Path,
    *,
    area_id: str | None = None,
    name: str | None = None,
    kind: str | None = None,
    buffer_m: float | None = None,
    crs: str | None = None,
    layer: str | None = None,
) -> ImportReport[Area]:
    """Areas of a file. ``area_id`` and ``name`` are for a file of one area; ``buffer_m`` in metres.

    Raises InputError where the file as a whole cannot be read; rows are reported one by one.
    """
    table = _read_table(path, crs=crs, layer=layer)
    if (area_id or name) and len(table.records) != 1:
        raise InputError(
            f"{path}: holds {len(table.records)} areas, --id and --name are for one; leave them out"
        )
    choice = AreaChoice(area_id, name, AreaKind(kind) if kind else None, buffer_m)
    return areas_from(table, _register(None, None, table), choice)


def read_permits(
    path: Path,
    *,
    register: str | None = None,
    mapping: Path | None = None,
    release: str | None = None,
    crs: str | None = None,
    layer: str | None = None,
) -> ImportReport[Permit]:
    """Permits of a file, by the mapping of a shipped ``register`` or a ``mapping`` file.

    ``release`` is the register's own; the file's date (ISO) where it is not given. Raises InputError,
    ConfigError (the mapping).
    """
    table = _read_table(path, crs=crs, layer=layer)
    found = _register(register, mapping, table)
    return permits_from(table, found, release=release or _file_date(path))


def read_zones(
    path: Path,
    *,
    register: str | None = None,
    mapping: Path | None = None,
    kind: str | None = None,
    crs: str | None = None,
    layer: str | None = None,
) -> ImportReport[Zone]:
    """Zones of a file; ``kind`` wins over what its rows say. Raises InputError, ConfigError."""
    table = _read_table(path, crs=crs, layer=layer)
    return zones_from(table, _register(register, mapping, table), kind=ZoneKind(kind) if kind else None)


def registers() -> dict[str, Path]:
    """The shipped register mappings by name."""
    folder = Path(str(resources.files("configs.registers")))
    return {path.stem: path for path in sorted(folder.glob("*.yml"))}


def _register(name: str | None, mapping: Path | None, table: Table) -> Register:
    shipped = registers()
    if name is not None and name not in shipped:
        raise InputError(f"register {name!r} is not known; use one of {', '.join(shipped)}, or --map FILE")
    found = load_document(mapping or shipped[name or GENERIC], Register)
    columns = match_columns(found, table.columns)
    for column in found.required:
        if column not in columns:
            raise InputError(
                f"{table.name}: no column for {column.value} ({', '.join(found.columns[column])}) as "
                f"{found.title or found.source} has it, but {', '.join(table.columns) or 'no columns'}; "
                "name the right --register, or give --map FILE"
            )
    if mapping is None and name in (None, GENERIC):
        # Ids of two files of unknown origin must not meet: each file is a register of its own.
        found = found.model_copy(update={"source": slug(Path(table.name).stem) or found.source})
    return found


def _file_date(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()


@dataclass(frozen=True)
class _Layer:
    """One layer that could be read."""

    file: Path
    kind: str
    name: str


def _read_table(path: Path, *, crs: str | None, layer: str | None) -> Table:
    """Read one layer, bring it to EPSG:4326. Raises InputError."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _named_errors(path),
        warnings.catch_warnings(record=True) as said,
    ):
        warnings.simplefilter("always")
        files, notes = data_files(path, Path(folder))
        chosen = _choose(path, [one for file, kind in files for one in _layers(file, kind)], layer)
        frame, encoding_notes = _read_frame(chosen)
        frame, own_crs, crs_notes = _to_degrees(path, frame, chosen.kind, crs)
        notes += encoding_notes + crs_notes
    notes += [text for warning in said if (text := _worth_saying(str(warning.message)))]
    attributes = frame.drop(columns=frame.geometry.name)
    twice = attributes.columns.duplicated()
    notes += [
        f"column {str(name)[:60]!r} stands twice; the first is read" for name in attributes.columns[twice]
    ]
    attributes = attributes.loc[:, ~twice]
    records = [
        {str(key): json_ready(value) for key, value in record.items()}
        for record in attributes.to_dict("records")
    ]
    columns = tuple(str(one) for one in attributes.columns)
    return Table(str(path), records, frame.geometry.to_numpy(), columns, own_crs, tuple(dict.fromkeys(notes)))


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Errors of the libraries as one line that names the file."""
    try:
        yield
    except (DataSourceError, DataLayerError, UnicodeError) as exc:
        text = " ".join(str(exc).split())
        raise InputError(
            f"{path}: cannot be read ({text[:200]}); the file is broken or incomplete, get it again"
        ) from exc
    except OSError as exc:
        raise InputError(f"{path}: cannot be read ({exc}); check the path and the file") from exc


_DEALT_WITH = ("non conformant file extension", "Several features with id", "Could not parse column")


def _worth_saying(text: str) -> str:
    """A library's warning as a note, without its advice to programmers; empty for what is dealt with here."""
    line = " ".join(text.split()).partition(". To ")[0][:300]
    return "" if any(part in line for part in _DEALT_WITH) else line


def _layers(file: Path, kind: str) -> list[_Layer]:
    if kind == "parquet":
        return [_Layer(file, kind, file.stem)]
    listed = pyogrio.list_layers(file)
    # Tables without geometry stand in many GeoPackages beside the layer that is meant.
    return [_Layer(file, kind, str(name)) for name, shape in listed if shape is not None]


def _choose(path: Path, layers: list[_Layer], wanted: str | None) -> _Layer:
    names = ", ".join(one.name for one in layers)
    if wanted is not None:
        found = next((one for one in layers if one.name == wanted), None)
        if found is None:
            raise InputError(f"{path}: has no layer {wanted!r}; it has {names or 'none with geometry'}")
        return found
    if len(layers) != 1:
        what = (
            f"has {len(layers)} layers ({names}); choose one with --layer"
            if layers
            else "has no layer with geometry"
        )
        raise InputError(f"{path}: {what}")
    return layers[0]


def _read_frame(layer: _Layer) -> tuple[geopandas.GeoDataFrame, list[str]]:
    if layer.kind == "parquet":
        return _read_parquet(layer.file), []
    if layer.kind == "kml":
        return _without_made_up_ids(_read_vector(layer, {})), []
    if layer.kind != "shp":
        return _read_vector(layer, {}), []
    declared = layer.file.with_suffix(".cpg").is_file()
    try:
        return _read_vector(layer, {} if declared else {"encoding": "UTF-8"}), []
    except UnicodeDecodeError:
        found = _read_vector(layer, {"encoding": "ISO-8859-1"})
        said = "texts are not in the encoding of the .cpg file" if declared else "texts are not UTF-8"
        return found, [f"{said}; read as latin-1"]


def _without_made_up_ids(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """KML writers number placemarks layer.1, layer.2: that is a place in the file, not an id."""
    if "id" in frame and frame["id"].astype(str).str.fullmatch(r".*\.\d+").all():
        return frame.drop(columns="id")
    return frame


def _read_vector(layer: _Layer, options: Mapping[str, Any]) -> geopandas.GeoDataFrame:
    # A ring of two points is no reason to lose the file: it comes out without geometry and is reported.
    try:
        found = pyogrio.read_dataframe(layer.file, layer=layer.name, on_invalid="ignore", **options)
    except (DataSourceError, DataLayerError, UnicodeError, OSError):
        raise
    except Exception as exc:  # dates before Christ, damaged projections: pyogrio stumbles over them itself
        raise InputError(
            f"{layer.file.name}: cannot be read ({_one_line(exc)}); the file is broken, get it again"
        ) from exc
    if not isinstance(found, geopandas.GeoDataFrame):
        raise InputError(f"{layer.file}: layer {layer.name} has no geometry; choose another with --layer")
    return found


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())[:200]


def _read_parquet(file: Path) -> geopandas.GeoDataFrame:
    try:
        return geopandas.read_parquet(file)
    except ImportError as exc:
        raise InputError(f"{file}: GeoParquet needs pyarrow; pip install 'groundwatch[parquet]'") from exc
    except Exception as exc:  # pyarrow has a tree of errors of its own
        text = " ".join(str(exc).split())[:200]
        raise InputError(f"{file}: cannot be read as GeoParquet ({text}); write it with geopandas") from exc


def _to_degrees(
    path: Path, frame: geopandas.GeoDataFrame, kind: str, given: str | None
) -> tuple[geopandas.GeoDataFrame, str, list[str]]:
    notes = []
    if given is not None:
        named = _crs(given)
        if frame.crs is not None and not frame.crs.equals(named):
            notes.append(f"the file says {_crs_name(frame.crs)}; read as {given} as asked")
        frame = frame.set_crs(named, allow_override=True)
    if frame.crs is None and kind in _ALWAYS_DEGREES:
        frame = frame.set_crs("EPSG:4326")
    if frame.crs is None:
        raise InputError(f"{path}: names no coordinate reference system; give it, e.g. --crs EPSG:4674")
    own = _crs_name(frame.crs)
    try:
        return frame.to_crs("EPSG:4326"), own, notes
    except (ProjError, CRSError) as exc:
        raise InputError(
            f"{path}: cannot be brought from {own} to EPSG:4326 ({exc}); give another --crs"
        ) from exc


def _crs(text: str) -> CRS:
    try:
        return CRS.from_user_input(text)
    except CRSError as exc:
        raise InputError(
            f"--crs {text!r} is not a coordinate reference system; write it as EPSG:4674"
        ) from exc


def _crs_name(crs: CRS) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.name
