"""One look with a network card: one pass for both targets; half a partner is left out."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.transform import from_origin

import detector.predict
from detector.cards import Card
from detector.components import ComponentMaps
from detector.looking import Look, look_at
from detector.models import load_cards, shipped_cards
from detector.reading import ReaderSettings
from registry.blobs import Blobs, open_blobs
from registry.detection import ComponentSettings, DetectionSettings, ModelSettings
from registry.events import PassFound, RegistryRef
from registry.grid import Grid
from registry.models import Area, AreaKind, BandFile, Pass, Target
from tests.small_networks import image, written
from tests.test_stack import WHEN, pass_of, scene_of

SIDE = 96
GRID = Grid(epsg=32721, left=600_000, top=9_000_000, width=SIDE, height=SIDE)
SETTINGS = DetectionSettings(
    models=ModelSettings(
        transformed=("shared", "transformed-spectral-rgbnir"), forest=("shared", "forest-spectral-swir")
    ),
    components=ComponentSettings(models=()),
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Card]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("cards")
    written(folder)
    return dict(load_cards([shipped_cards(), folder]))


def put(path: Path, band: NDArray[np.float32], *, covered: int = SIDE) -> Path:
    """A float raster of the grid; beyond ``covered`` columns there is no data."""
    data = band.copy()
    data[:, covered:] = -1.0
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", count=1, height=SIDE, width=SIDE, nodata=-1.0,
        crs="EPSG:32721", transform=from_origin(GRID.left, GRID.top, 10, 10), tiled=True,
        blockxsize=64, blockysize=64,
    ) as sink:  # fmt: skip
        sink.write(data, 1)
    return path


def task(folder: Path, bands: dict[str, NDArray[np.float32]], *, covered: int = SIDE) -> PassFound:
    files = {name: put(folder / f"{name}.tif", band) for name, band in bands.items() if name != "VH"}
    first = scene_of(files["B02"], band="B02")
    scene = first.model_copy(
        update={"bands": {name: BandFile(href=str(path), nodata=-1.0) for name, path in files.items()}}
    )
    radar = scene_of(put(folder / "VH.tif", bands["VH"], covered=covered), band="VH")
    partner: Pass = pass_of(radar, acquired=WHEN - timedelta(days=3))
    area = Area(id="a", name="A", kind=AreaKind.WATCHED, geometry=scene.footprint.buffer(-0.0005))
    return PassFound.model_validate(
        {
            "area": area,
            "grid": GRID,
            "registry": RegistryRef(version="v", blob="b"),
            "settings": SETTINGS,
            "pass": pass_of(scene),
            "partner": partner,
        }
    )


def looked(found: PassFound, cards: dict[str, Card], blobs: Blobs) -> Look:
    maps = ComponentMaps.of(blobs, found, cards)
    return look_at(found, cards=cards, reader=ReaderSettings(local_files=True), blobs=blobs, maps=maps)


def test_one_forward_pass_serves_both_targets(
    tmp_path: Path, cards: dict[str, Card], monkeypatch: pytest.MonkeyPatch
) -> None:
    bands, truth = image((SIDE, SIDE), seed=41)
    asked: list[list[str]] = []
    plain = detector.predict.predict_image

    def counted(card: object, dates: object, question: object, **more: object) -> object:
        asked.append(sorted(question.votes))  # type: ignore[attr-defined]
        return plain(card, dates, question, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(detector.predict, "predict_image", counted)
    blobs = open_blobs(f"file://{tmp_path / 'blobs'}")
    look = looked(task(tmp_path, bands), cards, blobs)
    assert asked == [["forest", "transformed"]]
    for target in Target:
        row = look.rows[target]
        assert row.source == "s2:shared"
        said = row.score.astype(np.int32) > 0
        assert (said == truth[target.value])[row.weight > 0].mean() > 0.9


def test_half_a_partner_is_not_shown_to_a_network_that_can_do_without(
    tmp_path: Path, cards: dict[str, Card]
) -> None:
    bands, _ = image((SIDE, SIDE), seed=41)
    blobs = open_blobs(f"file://{tmp_path / 'blobs'}")
    half = looked(task(tmp_path, bands, covered=40), cards, blobs)
    full = task(tmp_path, bands)
    alone = full.model_copy(update={"partner": None})
    none = looked(alone, cards, open_blobs(f"file://{tmp_path / 'other'}"))
    for target in Target:
        assert half.rows[target].source == "s2:shared"
        assert np.array_equal(half.rows[target].score, none.rows[target].score)
