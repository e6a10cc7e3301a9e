"""Exports of CVAT: masks and COCO become bits, labels meet their chips, damaged files are refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Picture

from detector.training.cvat import LabelNames, read_export
from detector.training.folder import list_chips, read_chip, write_chip
from detector.training.labelling import label_chips
from registry.chips import BIT, UNKNOWN, Bits, Component
from registry.errors import InputError
from tests.training_world import Discs


def labelled_by_hand(shape: tuple[int, int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    pond, pit = np.zeros(shape, bool), np.zeros(shape, bool)
    pond[10:20, 12:30] = True
    pit[30:50, 5:25] = True
    return pond, pit


def masks_zip(path: Path, images: Mapping[str, Sequence[tuple[tuple[int, int, int], Any]]]) -> Path:
    """The layout of CVAT's "Segmentation mask 1.1"."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "labelmap.txt",
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\nSettling pond:250,50,83::\n"
            "excavation:51,221,255::\ncloud:184,61,245::\n",
        )
        archive.writestr("ImageSets/Segmentation/default.txt", "\n".join(images) + "\n")
        for name, layers in images.items():
            picture = np.zeros((64, 64, 3), np.uint8)
            for colour, inside in layers:
                picture[inside] = colour
            raw = io.BytesIO()
            Picture.fromarray(picture).save(raw, "PNG")
            archive.writestr(f"SegmentationClass/{name}.png", raw.getvalue())
            archive.writestr(f"SegmentationObject/{name}.png", raw.getvalue())
    return path


def packed(runs: Sequence[int]) -> str:
    """pycocotools' text form of run lengths."""
    text = []
    for number, run in enumerate(runs):
        value = run - (runs[number - 2] if number > 2 else 0)
        more = True
        while more:
            piece = value & 0x1F
            value >>= 5
            more = value != -1 if piece & 0x10 else value != 0
            text.append(chr((piece | (0x20 if more else 0)) + 48))
    return "".join(text)


def runs_of(mask: NDArray[np.bool_]) -> list[int]:
    flat = np.concatenate([[False], mask.T.ravel(), [not mask.T.ravel()[-1]]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(run) for run in np.diff(np.concatenate([[0], edges]))]


def coco_zip(path: Path, name: str, annotations: Sequence[tuple[int, Any]]) -> Path:
    """The layout of CVAT's "COCO 1.0"."""
    data = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "version": "", "year": ""},
        "categories": [
            {"id": 1, "name": "Settling pond", "supercategory": ""},
            {"id": 2, "name": "excavation", "supercategory": ""},
        ],
        "images": [{"id": 1, "width": 64, "height": 64, "file_name": name, "license": 0}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": category, "segmentation": segmentation, "area": 1.0,
             "bbox": [0, 0, 1, 1], "iscrowd": int(isinstance(segmentation, dict)), "attributes": {}}
            for n, (category, segmentation) in enumerate(annotations, start=1)
        ],
    }  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("annotations/instances_default.json", json.dumps(data))
    return path


def test_segmentation_masks_become_bits(tmp_path: Path) -> None:
    pond, pit = labelled_by_hand((64, 64))
    cloud = np.zeros((64, 64), bool)
    cloud[:5] = True
    layers = [((250, 50, 83), pond), ((51, 221, 255), pit), ((184, 61, 245), cloud)]
    export = read_export(masks_zip(tmp_path / "m.zip", {"a/picture": layers, "b": []}), LabelNames())
    assert [one.image for one in export.images] == ["a", "b"]
    assert set(export.known) == {Component.SETTLING_POND, Component.EXCAVATION}
    labels = export.images[0].labels
    assert np.array_equal((labels & BIT[Component.SETTLING_POND]) != 0, pond)
    assert np.array_equal((labels & BIT[Component.EXCAVATION]) != 0, pit)
    assert np.array_equal((labels & BIT[Component.TRANSFORMED]) != 0, pond | pit)
    assert np.array_equal(labels == UNKNOWN, cloud)


@pytest.mark.parametrize("form", ["polygon", "numbers", "text"])
def test_coco_in_its_three_forms_becomes_bits(tmp_path: Path, form: str) -> None:
    pond, pit = labelled_by_hand((64, 64))
    shapes: dict[str, Any] = {
        "polygon": [[12, 10, 30, 10, 30, 20, 12, 20]],
        "numbers": {"size": [64, 64], "counts": runs_of(pond)},
        "text": {"size": [64, 64], "counts": packed(runs_of(pond))},
    }
    overlapping = [[5, 30, 25, 30, 25, 50, 5, 50]]
    path = coco_zip(
        tmp_path / "c.zip", "chip/picture.png", [(1, shapes[form]), (2, overlapping), (1, overlapping)]
    )
    (one,) = read_export(path, LabelNames()).images
    assert one.image == "chip"
    assert np.array_equal((one.labels & BIT[Component.SETTLING_POND]) != 0, pond | pit)
    assert np.array_equal((one.labels & BIT[Component.EXCAVATION]) != 0, pit)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_packed_runs_read_back(runs: list[int]) -> None:
    from detector.training.cvat import _unpacked

    assert list(_unpacked(packed(runs))) == runs


def test_an_unknown_label_is_refused_and_can_be_mapped(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labelmap.txt", "background:0,0,0::\nTagebau:1,2,3::\n")
        raw = io.BytesIO()
        Picture.new("RGB", (8, 8), (1, 2, 3)).save(raw, "PNG")
        archive.writestr("SegmentationClass/a.png", raw.getvalue())
    with pytest.raises(InputError, match="'Tagebau' is not known; map it"):
        read_export(path, LabelNames())
    mapped = LabelNames(names={"Tagebau": Component.EXCAVATION})
    (one,) = read_export(path, mapped).images
    assert (one.labels == BIT[Component.EXCAVATION] | BIT[Component.TRANSFORMED]).all()


def annotated(segmentation: Any) -> dict[str, Any]:
    return {"annotations": [{"image_id": 1, "category_id": 1, "segmentation": segmentation}]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": [{"id": 1, "width": 64, "height": 10**9, "file_name": "a"}]}, "label chips, not scenes"),
        ({"annotations": [{"image_id": 9, "category_id": 1, "segmentation": []}]}, "no COCO file"),
        (annotated({"size": [64, 64], "counts": [5]}), "does not fit its image"),
        (annotated([[1, 2, 3, 4]]), "fewer than 3"),
    ],
)  # fmt: skip
def test_a_damaged_coco_file_is_refused_in_one_line(
    tmp_path: Path, change: Mapping[str, Any], says: str
) -> None:
    with zipfile.ZipFile(coco_zip(tmp_path / "c.zip", "a.png", [])) as archive:
        data = json.loads(archive.read("annotations/instances_default.json"))
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(data | change))
    with pytest.raises(InputError, match=says):
        read_export(path, LabelNames())


def test_labels_meet_their_chips_and_strangers_are_refused(tmp_path: Path) -> None:
    chip = replace(Discs(1).chip(0), name="a", known=())
    write_chip(tmp_path / "chips", chip)
    assert list_chips(tmp_path / "chips") == []
    pond, _ = labelled_by_hand((64, 64))
    export = masks_zip(tmp_path / "m.zip", {"a": [((250, 50, 83), pond)]})
    assert label_chips(tmp_path / "chips", [export], tmp_path / "out") == ["a"]
    (file,) = list_chips(tmp_path / "out")
    back: Bits = read_chip(file).labels
    seen = np.isfinite(chip.pixels).any(axis=0)
    assert np.array_equal((back & BIT[Component.SETTLING_POND]) != 0, pond & seen)
    assert (back[~seen] == UNKNOWN).all()
    assert Component.TRANSFORMED not in file.known
    stranger = masks_zip(tmp_path / "s.zip", {"elsewhere": []})
    with pytest.raises(InputError, match="'elsewhere', which is no chip"):
        label_chips(tmp_path / "chips", [stranger], tmp_path / "out")
