"""The ledger of an area's passes, and the states folded from it, as blobs.

The ledger is the truth: one row per revision of a pass, never deleted. The current ledger is the newest
revision of each pass in order of acquisition, without passes that were withdrawn. States are a cache: each
is named by the digest of the rows folded into it and of the settings of the fold, so a state that is found
is the right one, and one that is missing or damaged is made again.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from detector.rasters import Raster, Window, encode_geotiff, read_raster
from detector.state import LedgerRow, State, from_arrays, to_arrays
from registry.blobs import Blobs
from registry.detection import DetectionSettings
from registry.errors import Exists, NotFound, Reject
from registry.grid import Grid
from registry.log import get_logger
from registry.models import Incident, Pass, Sensor, Target
from registry.values import canonical_json, digest, utc_text

log = get_logger(__name__)

_PASS_NAME = re.compile(r"(?P<acquired>\d{8}T\d{6})_(?P<pass>[0-9a-f]{8})_r(?P<revision>\d{3,})")
_WITHDRAWN = ".withdrawn"
_FIXED = (1980, 1, 1, 0, 0, 0)
"""Time stamp of zip members: the same state gives the same bytes."""

KEPT_PX = 1_000_000
"""Largest grid whose looks are kept in memory (a byte a pixel, KEPT_ROWS rows) for choosing pictures."""
KEPT_ROWS = 128

_INCIDENTS = TypeAdapter(tuple[Incident, ...])


def basis(grid: Grid, settings: DetectionSettings, cards: Iterable[str]) -> str:
    """12 hex digits of what scores depend on besides the pass: grid, settings, and the cards in use.

    ``cards`` are texts that change with the card, such as its id and hash.
    """
    plain = {"grid": grid.model_dump(), "score": settings.score_digest, "cards": sorted(cards)}
    return digest(plain)[:12]


@dataclass(frozen=True)
class LedgerEntry:
    """One row of the current ledger."""

    blob: str
    pass_name: str
    acquired: datetime
    """UTC, to the second."""


class Ledger:
    """The rows of one area, target and basis."""

    def __init__(self, blobs: Blobs, *, area_id: str, target: Target, basis: str) -> None:
        self._blobs = blobs
        self._folder = f"ledger/{area_id}/{target}/{basis}/"

    def stored(self, pass_: Pass) -> bool:
        """Whether this revision of the pass has its row, or its withdrawal."""
        return self._blobs.exists(self._name(pass_))

    def write(self, pass_: Pass, grid: Grid, row: LedgerRow) -> None:
        """Make the row durable. A row that is there already stays as it is."""
        with suppress(Exists):
            self._blobs.create(self._name(pass_), _encode_row(row, grid))

    def withdraw(self, pass_: Pass) -> None:
        """Record that the pass was taken back: from here on it counts as never seen."""
        with suppress(Exists):
            self._blobs.create(self._name(pass_), b"")

    def entries(self) -> tuple[LedgerEntry, ...]:
        """The current ledger in order of acquisition."""
        newest: dict[str, tuple[int, LedgerEntry]] = {}
        for blob in self._blobs.list(self._folder):
            row = _row_of(blob)
            if row is not None and row.revision > newest.get(row.pass_key, (0, row.entry))[0]:
                newest[row.pass_key] = (row.revision, row.entry)
        current = [entry for _, entry in newest.values() if not entry.blob.endswith(_WITHDRAWN)]
        return tuple(sorted(current, key=lambda entry: (entry.acquired, entry.pass_name)))

    def newest_elsewhere(self) -> datetime | None:
        """Newest acquisition in the ledgers of other bases: how far this one has to get to replace them."""
        area_and_target = self._folder.rpartition("/")[0].rpartition("/")[0] + "/"
        others = [blob for blob in self._blobs.list(area_and_target) if not blob.startswith(self._folder)]
        found = [_row_of(blob) for blob in others]
        return max((row.entry.acquired for row in found if row is not None), default=None)

    def read(self, entry: LedgerEntry) -> LedgerRow:
        """The row; its time is to the second, as its name has it. Raises Reject where it is damaged.

        Its name is the entry's without the revision, which depends on the order of arrival.
        """
        return _decode_row(read_raster(self._blobs.path(entry.blob)), entry)

    def looks(self, entry: LedgerEntry, grid: Grid, window: Window) -> NDArray[np.uint8]:
        """How well each pixel of a window of the grid was seen: 0 unseen, 1 weak, 2 clear."""
        if grid.width * grid.height > KEPT_PX:
            return _weights(self._blobs, entry.blob, window)
        return _kept_weights(self._blobs, entry.blob)[
            window.row_start : window.row_stop, window.column_start : window.column_stop
        ]

    def source(self, entry: LedgerEntry) -> str:
        """Whose history the row is judged against, such as ``s1:CARD:ORBIT`` (``state.source_name``)."""
        return _kept_source(self._blobs, entry.blob)

    def chain(self, entries: Sequence[LedgerEntry]) -> tuple[str, ...]:
        """Digests of the ledger after 0, 1, ... all ``entries``; the last one identifies the ledger."""
        found = [hashlib.sha256(self._folder.encode()).hexdigest()]
        for entry in entries:
            found.append(hashlib.sha256(f"{found[-1]}/{entry.pass_name}".encode()).hexdigest())
        return tuple(found)

    def _name(self, pass_: Pass) -> str:
        return f"{self._folder}{pass_.name}{_WITHDRAWN if pass_.withdrawn else '.tif'}"


@dataclass(frozen=True)
class Resume:
    """Where a fold goes on."""

    index: int
    """Entries that are folded in already."""
    state: State | None
    """The state after these; None = start from nothing (index is 0)."""
    incidents: tuple[Incident, ...] = ()


class StateFiles:
    """The stored states and incidents of one area and target, for one way of folding."""

    def __init__(self, blobs: Blobs, *, area_id: str, target: Target, fold_digest: str) -> None:
        self._blobs = blobs
        self._folder = f"state/{area_id}/{target}/"
        self._fold = fold_digest

    def save(self, ledger_digest: str, state: State, incidents: Sequence[Incident]) -> None:
        """Make both durable; what is there already is the same."""
        name = self._name(ledger_digest)
        plain: list[Any] = [one.model_dump(mode="json") for one in incidents]
        for blob, data in ((f"{name}.json", canonical_json(plain)), (f"{name}.npz", _pack(to_arrays(state)))):
            with suppress(Exists):
                self._blobs.create(blob, data)

    def load(self, ledger_digest: str) -> Resume | None:
        """The state and incidents stored for that ledger; None where there are none. ``index`` is 0.

        What cannot be read is deleted: it is a cache, and is made again.
        """
        name = self._name(ledger_digest)
        try:
            state = from_arrays(_unpack(self._blobs.get(f"{name}.npz")))
            incidents = _INCIDENTS.validate_json(self._blobs.get(f"{name}.json"))
        except NotFound:
            return None
        except (
            Reject,
            ValidationError,
            ValueError,
            zipfile.BadZipFile,
            zlib.error,
            KeyError,
            EOFError,
        ) as exc:
            log.warning("stored state is damaged and made again", state=name, reason=str(exc).split("\n")[0])
            self._delete(name)
            return None
        return Resume(0, state, incidents)

    def resume(self, chain: Sequence[str]) -> Resume:
        """The longest stored beginning of the ledger whose ``Ledger.chain`` this is."""
        stored = set(self._blobs.list(self._folder))
        for index in range(len(chain) - 1, 0, -1):
            if f"{self._name(chain[index])}.npz" in stored and (found := self.load(chain[index])):
                return Resume(index, found.state, found.incidents)
        return Resume(0, None)

    def prune(self, chain: Sequence[str], *, every: int) -> int:
        """Delete all but the latest state of the chain and every ``every``-th; how many blobs went."""
        kept = {self._name(chain[index]) for index in {*range(0, len(chain), every), len(chain) - 1}}
        old = [blob for blob in self._blobs.list(self._folder) if blob.rpartition(".")[0] not in kept]
        for blob in old:
            self._blobs.delete(blob)
        return len(old)

    def _name(self, ledger_digest: str) -> str:
        return self._folder + hashlib.sha256(f"{ledger_digest}/{self._fold}".encode()).hexdigest()[:32]

    def _delete(self, name: str) -> None:
        for ending in (".npz", ".json"):
            self._blobs.delete(name + ending)


@dataclass(frozen=True)
class _Row:
    """What a row's name says."""

    pass_key: str
    revision: int
    entry: LedgerEntry


@lru_cache(maxsize=1 << 16)
def _row_of(blob: str) -> _Row | None:
    """None where the blob is no row. Kept, because every pass asks for the whole ledger."""
    parts = _PASS_NAME.match(blob.rpartition("/")[2])
    if parts is None:
        return None
    acquired = datetime.strptime(parts["acquired"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    entry = LedgerEntry(blob=blob, pass_name=parts[0], acquired=acquired)
    return _Row(parts["pass"], int(parts["revision"]), entry)


def _weights(blobs: Blobs, blob: str, window: Window | None) -> NDArray[np.uint8]:
    return np.asarray(read_raster(blobs.path(blob), bands=[2], window=window).bands[0], dtype=np.uint8)


@lru_cache(maxsize=1 << 16)
def _kept_source(blobs: Blobs, blob: str) -> str:
    return read_raster(blobs.path(blob), bands=[2], window=Window(0, 1, 0, 1)).tags.get("source", "")


@lru_cache(maxsize=KEPT_ROWS)
def _kept_weights(blobs: Blobs, blob: str) -> NDArray[np.uint8]:
    """For the next incident and pass that look for a clear day; rows are never written again.

    Only what is not kept here asks for the blob's path, right before it is read.
    """
    return _weights(blobs, blob, None)


def _encode_row(row: LedgerRow, grid: Grid) -> bytes:
    tags = {
        "name": row.name,
        "acquired": utc_text(row.acquired),
        "sensor": row.sensor.value,
        "source": row.source,
    }
    bands = np.stack([row.score, row.weight.astype(np.int16)])
    return encode_geotiff(bands, grid, names=("score", "weight"), tags=tags)


def _decode_row(raster: Raster, entry: LedgerEntry) -> LedgerRow:
    if missing := {"sensor", "source"} - set(raster.tags):
        raise Reject(f"ledger row {entry.blob} lacks {sorted(missing)}; it was not written by groundwatch")
    return LedgerRow(
        name=entry.pass_name.rpartition("_r")[0],
        acquired=entry.acquired,
        sensor=Sensor(raster.tags["sensor"]),
        source=raster.tags["source"],
        score=raster.bands[0],
        weight=raster.bands[1].astype(np.uint8),
    )


def _pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A zip of npy files with fixed times; floats are stored as they are, they hardly shrink."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, values in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=_FIXED)
            plain = np.issubdtype(values.dtype, np.floating)
            member.compress_type = zipfile.ZIP_STORED if plain else zipfile.ZIP_DEFLATED
            data = io.BytesIO()
            np.lib.format.write_array(data, np.ascontiguousarray(values), allow_pickle=False)
            archive.writestr(member, data.getvalue(), compresslevel=1)
    return memory.getvalue()


def _unpack(data: bytes) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {
            member.removesuffix(".npy"): np.lib.format.read_array(
                io.BytesIO(archive.read(member)), allow_pickle=False
            )
            for member in archive.namelist()
        }
