"""How a run goes, epoch by epoch: a CSV file, and TensorBoard's where that is installed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class Journal:
    """One line per epoch in ``log.csv``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.csv"
        self._board = _board(folder)

    def cut_after(self, epoch: int) -> None:
        """Take off lines of epochs that no checkpoint holds."""
        kept = [row for row in self.rows() if int(row["epoch"]) <= epoch]
        self._path.unlink(missing_ok=True)
        for row in kept:
            self._append(row)

    def write(self, row: Mapping[str, float]) -> None:
        """Add an epoch."""
        self._append({name: f"{value:.6g}" for name, value in row.items()})
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, int(row["epoch"]))
            self._board.flush()

    def rows(self) -> list[dict[str, str]]:
        """What was written."""
        if not self._path.is_file():
            return []
        with self._path.open(newline="") as file:
            return list(csv.DictReader(file))

    def _append(self, row: Mapping[str, str]) -> None:
        fresh = not self._path.is_file()
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)


def _board(folder: Path) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))
