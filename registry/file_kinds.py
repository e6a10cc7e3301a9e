"""What a file holds, told from its first bytes, not from its name; zips are looked into."""

from __future__ import annotations

from pathlib import Path

from registry.archives import unpack
from registry.errors import InputError

_HEAD_BYTES = 4_096

_ENDINGS = {"geojson": (".geojson", ".json"), "gpkg": (".gpkg",), "shp": (".shp",), "kml": (".kml",),
            "parquet": (".parquet", ".geoparquet"), "zip": (".zip", ".kmz")}  # fmt: skip


def data_files(path: Path, folder: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """The files that hold data, each with its kind; a zip is unpacked into ``folder``."""
    kind = _kind(path)
    if kind != "zip":
        return _as_named(path, kind, folder)
    unpacked = unpack(path, folder)
    named = [one for one in unpacked if one.suffix in _MAIN_ENDINGS]
    if not named:
        raise InputError(f"{path}: no GeoJSON, GeoPackage, Shapefile, KML or GeoParquet in it; pack one")
    return [(one, _kind(one)) for one in named], []


_MAIN_ENDINGS = frozenset(ending for kind, endings in _ENDINGS.items() if kind != "zip" for ending in endings)


def _as_named(path: Path, kind: str, folder: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    if path.suffix.lower() in _ENDINGS[kind]:
        return [(path.absolute(), kind)], []
    if kind == "shp":
        raise InputError(f"{path}: is a part of a Shapefile; name the .shp file, or zip all its parts")
    link = folder / f"{path.stem or 'file'}{_ENDINGS[kind][0]}"
    link.symlink_to(path.absolute())
    return [(link, kind)], [f"the file is {kind} although it is named {path.name}"]


def _kind(path: Path) -> str:
    """What a file holds, from its first bytes. Raises InputError."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name the file in it")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] in (b"{", b"["):
        return "geojson"
    if text[:1] == b"<" and b"<kml" in text and b"<OGRVRT" not in text:
        return "kml"
    what = "is empty" if not head else "is of a kind that is not read"
    raise InputError(f"{path}: {what}; give GeoJSON, GeoPackage, Shapefile (zipped), KML or GeoParquet")


_MAGIC = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"SQLite format 3\x00": "gpkg",
    b"PAR1": "parquet",
    b"\x00\x00\x27\x0a": "shp",
}
