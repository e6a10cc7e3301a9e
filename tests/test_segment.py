"""`segment` and `compare` with networks: files in, class maps with legends, polygons, pictures out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image as Picture
from rasterio.transform import from_origin

from detector.cards import NetworkCard
from detector.engine import Device
from detector.images import Scaling
from detector.models import load_cards, shipped_cards
from detector.oneoff import compare
from detector.oneoff_models import Models
from detector.predict import Question, predict_image
from detector.segmenting import Segmented, segment
from groundwatch.cli import cli
from groundwatch.console import Options
from registry.detection import DetectionSettings, ModelSettings
from registry.errors import ConfigError, InputError
from registry.models import S1_BANDS, S2_BANDS
from registry.setting_models import FileSettings
from tests.small_networks import BANDS, HEADS, change_card, image, written

SHAPE = (220, 180)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cards of a trained network and of an untrained change model."""
    torch.set_num_threads(1)
    found = tmp_path_factory.mktemp("cards")
    written(found)
    change_card(found)
    return found


@pytest.fixture
def models(folder: Path) -> Models:
    cards = load_cards([shipped_cards(), folder])
    return Models(cards, DetectionSettings(), named="shared", device="cpu")


def put(path: Path, bands: dict[str, Any], *, names: tuple[str, ...] = BANDS, **how: Any) -> Path:
    """Reflectance as Sentinel-2's numbers, radar in dB unless ``linear``."""
    add, factor = how.get("add", 0.0), how.get("factor", 1e4)
    stack = []
    for name in names:
        radar = bands[name] if how.get("linear") else 10 * np.log10(bands[name])
        stack.append(radar if name == "VH" else bands[name] * factor + add)
    data = np.stack(stack).astype(np.float32)
    profile = {"driver": "GTiff", "count": len(names), "dtype": "float32", "crs": "EPSG:32721"}
    place = from_origin(5e5, 9e6, how.get("pixel", 10), how.get("pixel", 10))
    size = {"height": data.shape[1], "width": data.shape[2], "transform": place}
    with rasterio.open(path, "w", **profile, **size, nodata=float("nan")) as sink:
        sink.write(data)
        if how.get("described"):
            for number, name in enumerate(names, start=1):
                sink.set_band_description(number, name)
    return path


def run(path: Path, models: Models, out: Path, *, names: tuple[str, ...] = BANDS) -> Segmented:
    return segment([path], names, out=out, scaling=Scaling(), models=models)


def test_orientations_are_those_of_the_settings(tmp_path: Path, models: Models) -> None:
    bands, _ = image(SHAPE, seed=31)
    path = put(tmp_path / "a.tif", bands)
    once = replace(models, files=FileSettings(orientations=1))
    run(path, models, tmp_path / "twice")
    run(path, once, tmp_path / "once")
    card = models.cards["shared"]
    assert isinstance(card, NetworkCard)
    expected = predict_image(card, (bands,), Question(codes=("works",)), device=Device.CPU).codes["works"]
    found = {}
    for how in ("twice", "once"):
        with rasterio.open(tmp_path / how / "classes_works.tif") as source:
            found[how] = source.read(1)
    assert (found["once"] == expected).mean() > 0.999
    assert (found["twice"] != found["once"]).any()


def test_class_maps_polygons_and_a_picture(tmp_path: Path, models: Models) -> None:
    bands, truth = image(SHAPE, seed=31)
    bands["B04"][:30, :40] = np.nan
    found = run(put(tmp_path / "a.tif", bands), models, tmp_path / "out")
    assert found.model == "shared"
    card = models.cards["shared"]
    assert isinstance(card, NetworkCard)
    for name in set(BANDS) - {"B04"}:
        bands[name][:30, :40] = np.nan
    question = Question(codes=tuple(head.name for head in HEADS), orientations=2)
    expected = predict_image(card, (bands,), question, device=Device.CPU).codes
    for head in HEADS:
        with rasterio.open(tmp_path / "out" / f"classes_{head.name}.tif") as source:
            codes, colours = source.read(1), source.colormap(1)
            assert source.nodata == 255
            assert [source.tags()[f"class_{n}"] for n, _ in enumerate(head.labels, 1)] == list(head.labels)
        assert (codes == expected[head.name]).mean() > 0.999
        assert (codes[:30, :40] == 255).all()
        assert len({colours[number] for number in range(1, head.classes)}) == len(head.labels)
        polygons = json.loads((tmp_path / "out" / f"classes_{head.name}.geojson").read_text())["features"]
        for label in head.labels:
            sizes = [one["properties"]["hectares"] for one in polygons if one["properties"]["class"] == label]
            assert sum(sizes) == pytest.approx(found.hectares[label], abs=0.01)
            assert all(size >= 0.1 for size in sizes)
    seen = truth["forest"].astype(bool)
    seen[:30, :40] = False
    assert found.hectares["forest"] == pytest.approx(0.01 * seen.sum(), rel=0.1)
    with rasterio.open(tmp_path / "out" / "probabilities.tif") as source:
        layers = dict(zip(source.descriptions, source.read(), strict=True))
    assert list(layers) == ["forest", "transformed"]
    assert np.array_equal(np.isnan(layers["forest"]), codes == 255)
    forest = expected["forest"]
    assert ((layers["forest"] > 0.5) == (forest == 1))[forest != 255].mean() > 0.999
    with Picture.open(tmp_path / "out" / "classes.png") as picture:
        shades = {pixel for _, pixel in picture.convert("RGB").getcolors(1 << 20) or []}
    assert {(230, 159, 0), (0, 114, 178)} <= shades, "the legend shows the colours of the labels"


def test_radar_in_decibel_and_in_linear_power_gives_the_same(tmp_path: Path, models: Models) -> None:
    bands, _ = image((96, 96), seed=31)
    one = run(put(tmp_path / "db.tif", bands), models, tmp_path / "one")
    other = run(put(tmp_path / "linear.tif", bands, linear=True), models, tmp_path / "two")
    for name, size in one.hectares.items():
        assert other.hectares[name] == pytest.approx(size, abs=0.05)


def test_where_radar_ends_the_optical_bands_are_mapped_without_it(tmp_path: Path, models: Models) -> None:
    bands, _ = image((96, 160), seed=31)
    whole = put(tmp_path / "whole.tif", bands)
    bands["VH"][:, 60:] = np.nan
    half = put(tmp_path / "half.tif", bands)
    without = put(tmp_path / "without.tif", bands | {"VH": np.full((96, 160), np.nan)})
    codes = {}
    for path in (whole, half, without):
        run(path, models, tmp_path / path.stem)
        with rasterio.open(tmp_path / path.stem / "classes_works.tif") as source:
            codes[path.stem] = source.read(1)
    assert not any((one == 255).any() for one in codes.values())
    left, right = np.s_[:, :28], np.s_[:, 92:]  # a halo's width away from where radar ends
    assert (codes["half"][left] == codes["whole"][left]).mean() > 0.99
    assert (codes["half"][right] == codes["without"][right]).mean() > 0.99
    assert (codes["whole"][right] == codes["without"][right]).mean() < 0.98, "radar does not matter here"


def test_radar_alone_is_no_clear_look(tmp_path: Path, models: Models) -> None:
    bands, _ = image((96, 96), seed=31)
    for name in set(BANDS) - {"VH"}:
        bands[name][:48] = np.nan
        bands[name][48:] = 0.6
    path = put(tmp_path / "a.tif", bands)
    with pytest.raises(InputError, match="has no clear pixel; choose another date"):
        run(path, models, tmp_path / "out")


def test_bands_may_stand_in_any_order_once_they_are_named(tmp_path: Path, models: Models) -> None:
    bands, _ = image((96, 96), seed=31)
    straight = run(put(tmp_path / "a.tif", bands), models, tmp_path / "one")
    turned = tuple(reversed(BANDS))
    other = run(put(tmp_path / "b.tif", bands, names=turned), models, tmp_path / "two", names=turned)
    assert straight == other


@pytest.mark.parametrize(
    ("how", "names", "said"),
    [
        ({"described": True}, ("B03", "B02", "B04", "B08", "B11", "VH"), "--bands says"),
        ({"names": ("B02", "B03", "B08", "B11")}, ("B02", "B03", "B08", "B11"), "lacks B04"),
        ({"factor": 1.0}, BANDS, "correct --scale"),
        ({"factor": 1e8}, BANDS, "correct --scale"),
        ({"add": 1000.0}, BANDS, "--offset -0.1"),
        ({"add": -1000.0}, BANDS, "correct --scale and --offset|applied twice"),
    ],
)
def test_numbers_that_are_not_what_they_are_called_are_refused(
    tmp_path: Path, models: Models, how: dict[str, Any], names: tuple[str, ...], said: str
) -> None:
    bands, _ = image((96, 96), seed=31)
    path = put(tmp_path / "a.tif", bands, **how)
    with pytest.raises(InputError, match=said):
        run(path, models, tmp_path / "out", names=names)


def test_the_offset_is_taken_when_it_is_given(tmp_path: Path, models: Models) -> None:
    bands, _ = image((96, 96), seed=31)
    plain = run(put(tmp_path / "a.tif", bands), models, tmp_path / "one")
    path = put(tmp_path / "b.tif", bands, add=1000.0)
    other = segment([path], BANDS, out=tmp_path / "two", scaling=Scaling(1e-4, -0.1), models=models)
    for name, size in plain.hectares.items():
        assert other.hectares[name] == pytest.approx(size, abs=0.05)


def test_a_card_that_must_do_without_bands_comes_after_those_that_have_all() -> None:
    shipped = Models(load_cards([shipped_cards()]), DetectionSettings(), device="cpu")

    def mapper(bands: tuple[str, ...]) -> str:
        card = shipped.mapper(bands)
        assert card is not None
        return card.id

    assert mapper((*S2_BANDS, *S1_BANDS)) == "mining-msi-sar"
    assert mapper(S2_BANDS) == "mining-msi"
    assert mapper(("B02", "B03", "B04", "B08", "B11", "B12")) == "mining-rgbnir-swir"
    assert mapper(("B02", "B03", "B04", "B08")) == "mining-rgbnir"
    only = Models(shipped.cards, shipped.settings, FileSettings(segment=("mining-msi-sar",)), device="cpu")
    assert only.mapper(S2_BANDS) == shipped.cards["mining-msi-sar"]


def test_by_default_the_preferences_decide(tmp_path: Path, models: Models) -> None:
    bands, _ = image((64, 64), seed=31)
    path = put(tmp_path / "a.tif", bands)

    def chosen(files: FileSettings, detection: DetectionSettings) -> str:
        return run(path, Models(models.cards, detection, files, device="cpu"), tmp_path / "out").model

    first = DetectionSettings(models=ModelSettings(transformed=("shared",)))
    none = FileSettings(segment=())
    assert chosen(none, DetectionSettings()) == "spectral"
    assert chosen(FileSettings(segment=("shared",)), DetectionSettings()) == "shared"
    assert chosen(none, first) == "shared"
    with pytest.raises(ConfigError, match="no-such"):
        chosen(FileSettings(segment=("no-such",)), DetectionSettings())


def test_a_spectral_card_that_is_named_maps_its_target(tmp_path: Path, models: Models) -> None:
    bands, _ = image((64, 64), seed=31)
    one = Models(models.cards, models.settings, named="forest-spectral-swir", device="cpu")
    found = run(put(tmp_path / "a.tif", bands), one, tmp_path / "out")
    assert found.model == "forest-spectral-swir"
    assert list(found.hectares) == ["forest"]


def test_the_command(tmp_path: Path, folder: Path) -> None:
    bands, _ = image((64, 64), seed=31)
    path = put(tmp_path / "a.tif", bands)
    (tmp_path / "groundwatch.yml").write_text(f"model_cards: ['{folder}']\n")
    arguments = ["segment", str(path), "--bands", ",".join(BANDS), "--out", str(tmp_path / "out"), "--json"]
    more = ["--model", "shared", "--device", "cpu", "--config", str(tmp_path / "groundwatch.yml")]
    done = CliRunner().invoke(cli, [*arguments, *more], obj=Options())
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["model"] == "shared"
    assert (tmp_path / "out" / "classes_works.tif").is_file()
    without = [one for one in (*arguments, *more) if one not in ("--bands", ",".join(BANDS))]
    untold = CliRunner().invoke(cli, without, obj=Options())
    assert isinstance(untold.exception, InputError)
    assert "does not describe its bands; name them in the file's order with --bands" in str(untold.exception)
    put(path, bands, described=True)
    told = CliRunner().invoke(cli, without, obj=Options())
    assert json.loads(told.stdout) == json.loads(done.stdout)


@pytest.mark.parametrize("model", ["shared", "forest-spectral-swir"])
def test_several_dates_fill_each_others_gaps(tmp_path: Path, models: Models, model: str) -> None:
    models = replace(models, named=model)
    looks = [dict(image((96, 96), seed=31)[0]) for _ in range(2)]
    looks[0]["B04"] = np.where(np.arange(96)[:, None] < 30, np.nan, looks[0]["B04"]).astype(np.float32)
    looks[1]["B04"] = np.where(np.arange(96)[:, None] > 60, np.nan, looks[1]["B04"]).astype(np.float32)
    paths = [put(tmp_path / f"{number}.tif", bands) for number, bands in enumerate(looks)]
    whole = [put(tmp_path / "whole.tif", image((96, 96), seed=31)[0])]

    def mapped(files: list[Path], name: str) -> NDArray[np.float32]:
        segment(files, BANDS, out=tmp_path / name, scaling=Scaling(), models=models)
        with rasterio.open(tmp_path / name / "probabilities.tif") as source:
            return np.asarray(source.read(1))

    both, one, all_of_it = mapped(paths, "both"), mapped(paths[:1], "one"), mapped(whole, "whole")
    assert np.isnan(one[:30]).all()
    assert np.isfinite(both).all()
    inner = slice(40, 50)  # what both saw and no gap's surroundings touch
    assert np.abs(both - all_of_it)[inner].mean() < 0.01
    np.testing.assert_allclose(both[70:], one[70:], atol=1e-4)


def test_dates_on_other_grids_are_refused(tmp_path: Path, models: Models) -> None:
    bands, _ = image((96, 96), seed=31)
    paths = [put(tmp_path / "a.tif", bands)]
    paths.append(put(tmp_path / "b.tif", {name: band[:-1] for name, band in bands.items()}))
    with pytest.raises(InputError, match=r"b\.tif is not on the first image's grid; warp it"):
        segment(paths, BANDS, out=tmp_path / "out", scaling=Scaling(), models=models)


def test_pixels_of_another_size_are_refused(tmp_path: Path, models: Models) -> None:
    bands, _ = image((96, 96), seed=31)
    coarse, near = (put(tmp_path / f"{side}.tif", bands, pixel=side) for side in (20, 12))
    line = r"20\.tif has pixels of 20 m, \S+ is made for 10 m; take the bands at 10 m"
    with pytest.raises(InputError, match=line):
        run(coarse, models, tmp_path / "out")
    by_default = replace(models, named=None)
    with pytest.raises(InputError, match=line):
        compare(coarse, coarse, BANDS, out=tmp_path / "out", scaling=Scaling(), models=by_default)
    assert not (tmp_path / "out").exists()
    spectral = replace(models, named="forest-spectral-swir")
    assert run(coarse, spectral, tmp_path / "spectral").model == "forest-spectral-swir"
    assert run(near, models, tmp_path / "near").model == "shared"


def test_a_large_file_is_looked_over_thinned_and_mapped_in_full(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    bands, _ = image((130, 75), seed=31)
    path = put(tmp_path / "a.tif", bands)
    full = run(path, models, tmp_path / "one")
    monkeypatch.setattr("detector.image_windows.OVERVIEW_PX", 50)
    assert run(path, models, tmp_path / "two") == full
    with rasterio.open(tmp_path / "two" / "classes_works.tif") as source:
        assert source.shape == (130, 75)
