"""Files of areas, permits and zones for the tests of imports, and what reading them said."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import pyogrio
import pytest
from shapely.geometry import Polygon, box, mapping
from shapely.geometry.base import BaseGeometry

from registry.errors import ConfigError, InputError
from registry.import_report import ImportReport

SQUARE = box(25.0, 45.0, 25.1, 45.1)
BOWTIE = Polygon([(0, 0), (1, 1), (1, 0), (0, 1), (0, 0)])

Row = tuple[dict[str, Any], BaseGeometry | dict[str, Any] | None]


def geojson(path: Path, *rows: Row) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": properties,
            "geometry": mapping(shape) if isinstance(shape, BaseGeometry) else shape,
        }
        for properties, shape in rows
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return path


def frame(crs: str | None = "EPSG:4326", **columns: list[Any]) -> geopandas.GeoDataFrame:
    shapes = columns.pop("geometry", [SQUARE])
    return geopandas.GeoDataFrame(columns or {"name": ["a"] * len(shapes)}, geometry=shapes, crs=crs)


def shapefile(folder: Path, table: geopandas.GeoDataFrame, *, encoding: str = "UTF-8") -> Path:
    path = folder / "permits.shp"
    pyogrio.write_dataframe(table, path, driver="ESRI Shapefile", encoding=encoding)
    return path


def zipped(path: Path, *files: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.name)
    return path


def said(report: ImportReport[Any]) -> list[str]:
    return [str(note) for note in report.problems]


def refusal(read: Callable[..., object], path: Path, **options: Any) -> str:
    with pytest.raises((InputError, ConfigError)) as caught:
        read(path, **options)
    line = str(caught.value)
    assert "\n" not in line
    return line
