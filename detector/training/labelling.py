"""Labels brought together with the chips they were drawn on: a folder that `train` and `evaluate` take."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from detector.training.cvat import LabelNames, read_export
from detector.training.folder import every_chip, read_chip, write_chip
from registry.chips import UNKNOWN
from registry.errors import InputError


def label_chips(
    chips: Path, exports: Sequence[Path], out: Path, *, names: LabelNames | None = None
) -> list[str]:
    """Write the chips that the exports label to ``out``; returns their names.

    Mining labels mark transformed ground too. What the label sets lack was not looked for.
    Raises InputError for an image without a chip, or of another size than its chip.
    """
    there = {file.name: file for file in every_chip(chips)}
    done: list[str] = []
    out.mkdir(parents=True, exist_ok=True)
    for path in exports:
        export = read_export(path, names or LabelNames())
        for one in export.images:
            if one.image not in there:
                raise InputError(
                    f"{path.name} labels {one.image!r}, which is no chip of {chips}; "
                    "name the folder that holds the pictures that were labelled"
                )
            chip = read_chip(there[one.image])
            if one.labels.shape != chip.pixels.shape[1:]:
                raise InputError(
                    f"{path.name}: {one.image} is labelled with {one.labels.shape} pixels, its chip has "
                    f"{chip.pixels.shape[1:]}; label picture.png in its own size"
                )
            labels = np.where(np.isfinite(chip.pixels).any(axis=0), one.labels, np.uint16(UNKNOWN))
            if (out / one.image).exists():
                shutil.rmtree(out / one.image)
            write_chip(out, replace(chip, labels=labels.astype(np.uint16), known=export.known))
            done.append(one.image)
    return done
