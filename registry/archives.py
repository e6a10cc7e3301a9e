"""Zip files that people send, unpacked within limits: no bombs, no paths that lead elsewhere."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from registry.errors import InputError

MAX_MEMBERS = 1_000
"""Files in an archive."""

MAX_UNPACKED = 4_000_000_000
"""Bytes of all files read from an archive together."""

MAX_RATIO = 200.0
"""Unpacked bytes per packed byte, beyond the first megabytes; shapefiles reach 10 to 30."""

FREE_BYTES = 10_000_000
"""Unpacked bytes for which the ratio does not matter: small files of zeros compress well."""

WANTED = frozenset(
    {".shp", ".shx", ".dbf", ".prj", ".cpg", ".gpkg", ".geojson", ".json", ".kml", ".parquet", ".geoparquet"}
)
"""Endings that are unpacked; pictures and readmes stay packed."""

_BLOCK = 1 << 20


def unpack(path: Path, folder: Path) -> list[Path]:
    """Unpack the data files of ``path`` into ``folder``. Raises InputError where a limit is broken."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _unpack(archive, path, folder)
    except zipfile.BadZipFile as exc:
        raise InputError(f"{path}: broken zip file ({exc}); get it again") from exc
    except (RuntimeError, NotImplementedError) as exc:
        raise InputError(
            f"{path}: zip file cannot be read ({exc}); pack it without password as plain zip"
        ) from exc
    except (EOFError, OSError, ValueError, zlib.error) as exc:
        raise InputError(f"{path}: zip file cannot be unpacked ({exc}); get it again") from exc


def _unpack(archive: zipfile.ZipFile, path: Path, folder: Path) -> list[Path]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise InputError(
            f"{path}: zip file has {len(members)} files, at most {MAX_MEMBERS} are read; split it"
        )
    for member in members:
        _check_name(member, path)
    wanted = [
        one for one in members if PurePosixPath(one.filename).suffix.lower() in WANTED and not one.is_dir()
    ]
    packed = sum(one.compress_size for one in wanted)
    left = min(MAX_UNPACKED, int(max(FREE_BYTES, packed * MAX_RATIO)))
    found = []
    for member in wanted:
        name = PurePosixPath(member.filename)
        target = folder.joinpath(*name.parent.parts, name.stem + name.suffix.lower())
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, target.open("xb") as out:
            left = _copy(source, out, left, path)
        found.append(target)
    return sorted(found)


def _check_name(member: zipfile.ZipInfo, path: Path) -> None:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    link = (member.external_attr >> 16) & 0o170000 == 0o120000
    if name.is_absolute() or ".." in name.parts or ":" in name.parts[:1] or link:
        raise InputError(
            f"{path}: zip file names {member.filename[:60]!r}, outside itself; pack it again without paths"
        )


def _copy(source: IO[bytes], out: IO[bytes], left: int, path: Path) -> int:
    # Sizes in the directory of a zip file may lie: what really comes out is counted.
    while block := source.read(_BLOCK):
        left -= len(block)
        if left < 0:
            raise InputError(
                f"{path}: zip file unfolds to more than {MAX_RATIO:g} times its size or "
                f"{MAX_UNPACKED:,} bytes; unpack it yourself if you trust it"
            )
        out.write(block)
    return left
