"""Where chips come from: one small port, be it a simulator or a folder of labelled chips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from detector.plans import STRIDE
from detector.training.folder import ChipFile, PairFile, list_chips, list_pairs, read_chip, read_pair
from registry.chips import UNKNOWN, Chip, ChipPair
from registry.errors import InputError
from registry.values import digest


class ChipSource(Protocol):
    """Chips by number; the same number is the same chip, in any process."""

    @property
    def key(self) -> str:
        """Digest of all that decides what the chips look like; another key is another cache."""
        ...

    @property
    def about(self) -> str:
        """What these chips are, for the model card."""
        ...

    @property
    def size(self) -> int:
        """Side of a chip in pixels."""
        ...

    @property
    def count(self) -> int | None:
        """How many there are; None = as many as are asked for."""
        ...

    def chip(self, index: int) -> Chip:
        """The chip of that number."""
        ...

    def pair(self, index: int) -> ChipPair:
        """The pair of that number."""
        ...


@dataclass(frozen=True)
class Piece:
    """A square part of a chip."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class FolderSource:
    """Chips of a folder, cut and padded to one size; padding is unknown."""

    folder: Path
    size: int
    chips: tuple[tuple[ChipFile, Piece], ...]
    pairs: tuple[tuple[PairFile, Piece], ...] = ()

    @property
    def key(self) -> str:
        """Digest of the files' names, sizes and times."""
        parts = [[one.stamp, [p.top, p.left]] for one, p in (*self.chips, *self.pairs)]
        return digest({"size": self.size, "files": parts})

    @property
    def about(self) -> str:
        """What these chips are."""
        places = len({one.place for one, _ in self.chips} | {one.place for one, _ in self.pairs})
        return f"{len(self.chips) + len(self.pairs)} labelled chips of {places} places in {self.folder.name}"

    @property
    def count(self) -> int:
        """How many pieces there are: of pairs where it holds pairs, else of chips."""
        return len(self.pairs) or len(self.chips)

    def chip(self, index: int) -> Chip:
        """The piece of that number."""
        file, piece = self.chips[index]
        return cut(read_chip(file), piece, size=self.size)

    def pair(self, index: int) -> ChipPair:
        """The pair of pieces of that number."""
        file, piece = self.pairs[index]
        pair = read_pair(file)
        return cut_pair(pair, piece, size=self.size)


def folder_source(folder: Path, *, largest: int = 256) -> FolderSource:
    """The labelled chips of a folder, in pieces of at most ``largest`` pixels a side.

    Raises InputError where it holds none.
    """
    shapes = [one.shape for one in (*list_chips(folder), *list_pairs(folder))]
    size = min(largest, -(-max((max(shape) for shape in shapes), default=largest) // STRIDE) * STRIDE)
    chips = tuple((one, piece) for one in list_chips(folder) for piece in _pieces(one.shape, size))
    pairs = tuple((one, piece) for one in list_pairs(folder) for piece in _pieces(one.shape, size))
    if not chips and not pairs:
        raise InputError(
            f"{folder} holds no labelled chips; give their labels with --labels, or make some with "
            "`groundwatch simulate`"
        )
    return FolderSource(folder=folder, size=size, chips=chips, pairs=pairs)


def _pieces(shape: tuple[int, int], size: int) -> Iterator[Piece]:
    rows, columns = shape
    for top in range(0, rows, size):
        for left in range(0, columns, size):
            yield Piece(top, left, min(size, rows - top), min(size, columns - left))


def cut(chip: Chip, piece: Piece, *, size: int) -> Chip:
    """A part of a chip, padded at the right and the bottom with what nobody knows."""
    rows = slice(piece.top, piece.top + piece.height)
    columns = slice(piece.left, piece.left + piece.width)
    pixels = np.full((chip.pixels.shape[0], size, size), np.nan, np.float32)
    pixels[:, : piece.height, : piece.width] = chip.pixels[:, rows, columns]
    labels = np.full((size, size), UNKNOWN, np.uint16)
    labels[: piece.height, : piece.width] = chip.labels[rows, columns]
    whole = chip.labels.shape == (size, size)
    name = chip.name if whole else f"{chip.name}-{piece.top}-{piece.left}"
    return replace(chip, name=name, pixels=pixels, labels=labels)


def cut_pair(pair: ChipPair, piece: Piece, *, size: int) -> ChipPair:
    """The same part of both dates; change beyond the edge is unknown."""
    change = np.full((size, size), 255, np.uint8)
    change[: piece.height, : piece.width] = pair.change[
        piece.top : piece.top + piece.height, piece.left : piece.left + piece.width
    ]
    return ChipPair(cut(pair.before, piece, size=size), cut(pair.after, piece, size=size), change)
