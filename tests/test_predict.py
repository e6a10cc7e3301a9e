"""Prediction in windows: the same mask as the whole image at once, in every type and form."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detector.cards import ChangeCard, Condition, NetworkCard
from detector.engine import Device, fold_norms, normalised, physical, pick_device
from detector.inputs import network_input
from detector.models import scores
from detector.network import build
from detector.predict import Answer, Question, Vote, predict, predict_image, references, vote_logit
from detector.resample import aligned
from detector.weights import load_network
from detector.windows import Bands, Numbers, Window, native_range, windows
from registry.errors import ConfigError, Reject
from registry.models import Target
from tests.small_networks import BANDS, HEADS, change_card, image, trained, written

Codes = Mapping[str, NDArray[np.uint8]]
ALL = Question(codes=tuple(head.name for head in HEADS))
SHAPE = (300, 270)
CORE = 64


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=["shared", "separate", "fine"])
def card(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NetworkCard:
    torch.set_num_threads(1)
    fine = 8 if request.param == "fine" else 0
    return written(tmp_path_factory.mktemp("card"), separate=request.param == "separate", fine=fine)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> NetworkCard:
    torch.set_num_threads(1)
    return written(tmp_path_factory.mktemp("card"))


def whole(card: NetworkCard, bands: Mapping[str, NDArray[np.float32]]) -> Codes:
    """The oracle: the plain network in fp32 over the whole image, input made by detector.inputs."""
    rows, columns = next(iter(bands.values())).shape
    x = torch.from_numpy(network_input(bands, card.bands, card.normalisation))[None]
    x = torch.nn.functional.pad(x, (0, -columns % 16, 0, -rows % 16))
    with torch.inference_mode():
        outputs = load_network(card)(x)
    return {name: z[0, :, :rows, :columns].argmax(0).to(torch.uint8).numpy() for name, z in outputs.items()}


def seam_pixels(shape: tuple[int, int], core: int) -> NDArray[np.bool_]:
    """(h, w) the two pixels on either side of each border between windows."""
    rows, columns = np.zeros(shape[0], bool), np.zeros(shape[1], bool)
    for axis in (rows, columns):
        for border in range(core, axis.size, core):
            axis[border - 2 : border + 2] = True
    near: NDArray[np.bool_] = rows[:, None] | columns[None, :]
    return near


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
def test_masks_agree_with_the_whole_image_and_show_no_seams(card: NetworkCard, half: bool) -> None:
    bands, truth = image(SHAPE, seed=99)
    expected = whole(card, bands)
    found = predict_image(card, (bands,), ALL, device=Device.CPU, half=half, core=CORE).codes
    seams = seam_pixels(SHAPE, CORE)
    for name, codes in expected.items():
        assert (codes == truth[name]).mean() > 0.75, "the oracle must have learned something"
        assert len(np.unique(codes)) == len(np.unique(truth[name]))
        same = found[name] == codes
        assert same.mean() >= 0.995, name
        assert same[seams].mean() >= 0.99, name


def test_without_a_halo_there_would_be_seams(shared: NetworkCard) -> None:
    bands, _ = image(SHAPE, seed=99)
    expected = whole(shared, bands)["works"]
    cut = np.full(SHAPE, 255, np.uint8)
    for window in windows(SHAPE, core=CORE, halo=0):
        part = {name: band[window.place] for name, band in bands.items()}
        cut[window.place] = whole(shared, part)["works"]
    seams = seam_pixels(SHAPE, CORE)
    assert (cut == expected)[seams].mean() < 0.99


@pytest.mark.parametrize("shape", [(5, 7), (16, 16), (100, 33), (512, 513), (1100, 530)])
def test_windows_cover_every_pixel_once_and_stay_inside(shape: tuple[int, int]) -> None:
    covered = np.zeros(shape, int)
    for window in windows(shape):
        covered[window.place] += 1
        assert window.top % 16 == 0
        assert window.left % 16 == 0
        assert window.top >= 0
        assert window.left >= 0
        assert window.top + window.height <= shape[0]
        assert window.left + window.width <= shape[1]
        rows, columns = window.kept
        assert rows.stop - rows.start == window.core_height
        assert columns.stop - columns.start == window.core_width
        assert rows.stop <= window.height
        assert columns.stop <= window.width
    assert (covered == 1).all()


@pytest.mark.parametrize("fine", [0, 8])
def test_the_fold_of_the_norms_changes_nothing(fine: int) -> None:
    card, state = trained(fine=fine)
    networks = [build(card.plan).eval() for _ in range(2)]
    for network in networks:
        network.load_state_dict(state)
    folded = fold_norms(networks[1])
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    x = torch.randn(1, len(BANDS), 64, 64)
    with torch.inference_mode():
        plain, other = networks[0](x), folded(x)
    for name, z in plain.items():
        torch.testing.assert_close(z, other[name], rtol=1e-4, atol=1e-4)


def test_the_input_made_on_the_device_is_that_of_training(shared: NetworkCard) -> None:
    bands, _ = image((40, 50), seed=1)
    bands["B04"][3:9, 4] = np.nan
    bands["B08"][0] = -0.01
    bands["VH"][5] = 0.0
    del bands["B11"]
    tensors = {name: torch.from_numpy(band) for name, band in bands.items()}
    for reference in (None, dict.fromkeys(BANDS, -1.5)):
        expected = network_input(bands, BANDS, shared.normalisation, reference=reference)
        found = normalised(tensors, BANDS, shared.normalisation, reference)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_coarse_bands_are_resampled_as_the_detector_does(shared: NetworkCard) -> None:
    random = np.random.default_rng(0)
    size = 240
    for step in (2, 6):
        native = random.integers(1, 60_000, (size // step, size // step)).astype(np.uint16)
        native[5:8, 9:14] = 0
        window = Window(32, 48, 130, 110, 64, 64, 64, 64)
        top, bottom = native_range(window.top, window.height, step, size // step)
        left, right = native_range(window.left, window.width, step, size // step)
        numbers = Numbers(
            native[top:bottom, left:right], step=step, top=top, left=left, scale=1e-4, offset=-0.1, nodata=0
        )
        found = physical(numbers, window, torch.device("cpu")).numpy()
        coordinates = aligned(
            left=48 * 10.0,
            top=-32 * 10.0,
            shape=window.shape,
            step=10.0,
            source=(0.0, 0.0, 10.0 * step, 10.0 * step),
        )
        taps = coordinates.taps(0, 0, native.shape)
        values = native.astype(np.float32) * np.float32(1e-4) - np.float32(0.1)
        expected = taps.bilinear(values, native != 0)
        assert np.array_equal(np.isnan(found), np.isnan(expected))
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_unseen_pixels_are_unseen_in_every_answer(shared: NetworkCard) -> None:
    bands, _ = image((96, 96), seed=4)
    bands["B04"][10:20, 30:40] = np.nan
    bands["VH"][50:60] = np.nan
    question = Question(codes=("forest",), votes={"forest": Vote("forest", (1,))})
    found = predict_image(shared, (bands,), question, device=Device.CPU)
    hole = np.zeros((96, 96), bool)
    hole[10:20, 30:40] = True
    assert np.array_equal(found.codes["forest"] == 255, hole)
    assert np.array_equal(np.isnan(found.logits["forest"]), hole)


def test_several_looks_are_averaged_where_they_saw(shared: NetworkCard) -> None:
    looks = [image((96, 96), seed=number)[0] for number in (4, 5, 6)]
    looks[0]["B04"][:40] = np.nan
    looks[1]["B04"][20:60] = np.nan
    looks[2]["B04"][:30] = np.nan
    question = Question(
        codes=("works",),
        votes={"infrastructure": Vote("works", (2,))},
        condition=Condition.STALE,
        references=(None,) * 3,
    )
    found = predict_image(shared, looks, question, device=Device.CPU, half=False)
    network, temperature = load_network(shared).eval(), shared.temperature_of("works", Condition.STALE)
    chances = []
    for bands in looks:
        x = torch.from_numpy(network_input(bands, shared.bands, shared.normalisation))[None]
        with torch.inference_mode():
            one = torch.softmax(network(x)["works"][0] / temperature, dim=0).numpy()
        chances.append(np.where(np.isnan(bands["B04"]), np.nan, one))
    unseen = np.isnan(chances).all(axis=(0, 1))
    assert unseen.any()
    mean = np.nanmean(np.stack(chances)[:, :, ~unseen], axis=0)
    assert np.array_equal(found.codes["works"] == 255, unseen)
    assert (found.codes["works"][~unseen] == mean.argmax(axis=0)).mean() > 0.9999
    expected = np.log(mean[2] / (1.0 - mean[2]))
    np.testing.assert_allclose(found.logits["infrastructure"][~unseen], expected, atol=2e-3)


def test_orientations_are_averaged_and_no_seam_is_left(shared: NetworkCard) -> None:
    bands, _ = image((112, 176), seed=9)
    question = Question(codes=("works",), votes={"infrastructure": Vote("works", (2,))}, orientations=4)
    whole, tiled = (
        predict_image(shared, (bands,), question, device=Device.CPU, half=False, core=core)
        for core in (512, 64)
    )
    network, temperature = load_network(shared).eval(), shared.temperature_of("works", Condition.FRESH)
    x = torch.from_numpy(network_input(bands, shared.bands, shared.normalisation))[None]
    turned: list[tuple[int, ...]] = [(), (2, 3), (2,), (3,)]
    with torch.inference_mode():
        seen = [torch.softmax(network(x.flip(a))["works"].flip(a)[0] / temperature, dim=0) for a in turned]
    mean = torch.stack(seen).mean(dim=0).numpy()
    assert (whole.codes["works"] == mean.argmax(axis=0)).mean() > 0.9999
    expected = np.log(mean[2] / (1.0 - mean[2]))
    np.testing.assert_allclose(whole.logits["infrastructure"], expected, atol=2e-3)
    assert (whole.codes["works"] == tiled.codes["works"]).mean() >= 0.995
    alone = predict_image(
        shared, (bands,), replace(question, orientations=1), device=Device.CPU, half=False
    ).logits["infrastructure"]
    assert float(np.abs(alone - whole.logits["infrastructure"]).max()) > 0.01
    with pytest.raises(ValueError, match="orientations is 3"):
        Question(orientations=3)


def test_a_vote_is_the_log_odds_of_its_classes() -> None:
    z = torch.randn(4, 3, 3, dtype=torch.float64)
    share = torch.softmax(z, dim=0)
    yes = share[1] + share[3]
    torch.testing.assert_close(vote_logit(z, (1, 3)), torch.log(yes / (1 - yes)))


def test_one_pass_serves_every_target(shared: NetworkCard, monkeypatch: pytest.MonkeyPatch) -> None:
    bands, truth = image((128, 128), seed=7)
    passes = []
    plain = torch.nn.Conv2d.forward

    def counted(module: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] == 4 * len(BANDS):
            passes.append(x.shape)
        return plain(module, x)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", counted)
    found = scores(shared, bands, (Target.FOREST, Target.TRANSFORMED), device="cpu")
    assert len(passes) == 1
    assert ((found[Target.FOREST] > 0) == truth["forest"]).mean() > 0.9
    assert ((found[Target.TRANSFORMED] > 0) == truth["transformed"]).mean() > 0.9


def test_the_temperature_is_that_of_the_condition(shared: NetworkCard) -> None:
    temperature = {"forest": {Condition.FRESH: 2.0, Condition.STALE: 4.0, Condition.ABSENT: 8.0}}
    card = shared.model_copy(update={"temperature": temperature})
    bands, _ = image((64, 64), seed=7)
    radarless = {name: band for name, band in bands.items() if name != "VH"}

    def forest(one: NetworkCard, given: Mapping[str, NDArray[np.float32]], age: float | None) -> float:
        found = scores(one, given, (Target.FOREST,), partner_age_days=age, device="cpu")
        return float(np.abs(found[Target.FOREST]).mean())

    assert forest(card, bands, 1.0) == pytest.approx(forest(shared, bands, 1.0) / 2, rel=1e-3)
    assert forest(card, bands, 15.0) == pytest.approx(forest(shared, bands, 15.0) / 4, rel=1e-3)
    assert forest(card, radarless, None) == pytest.approx(forest(shared, radarless, None) / 8, rel=1e-3)


def test_only_a_few_windows_are_read_ahead_and_each_once(shared: NetworkCard) -> None:
    bands, _ = image((64, 640), seed=2)
    asked: list[Window] = []
    most = 0
    done: list[Window] = []
    names = set()

    def reader(window: Window) -> Sequence[Bands]:
        nonlocal most
        asked.append(window)
        names.add(threading.current_thread().name)
        most = max(most, len(asked) - len(done))
        place = (
            slice(window.top, window.top + window.height),
            slice(window.left, window.left + window.width),
        )
        return [{name: Numbers(band[place]) for name, band in bands.items()}]

    def sink(window: Window, _answer: Answer) -> None:
        done.append(window)

    predict(shared, reader, (64, 640), sink, question=ALL, device=Device.CPU, core=64)
    assert done == asked
    assert len(set(asked)) == len(asked) == 10
    assert most <= 4
    assert all(name.startswith("window") for name in names)


def test_a_failed_read_ends_it_with_its_own_error(shared: NetworkCard) -> None:
    def reader(window: Window) -> Sequence[Bands]:
        raise Reject(f"window {window.left} is broken")

    with pytest.raises(Reject, match="window 0 is broken"):
        predict(shared, reader, (64, 640), lambda _w, _a: None, question=ALL, device=Device.CPU, core=64)


def test_a_gpu_that_is_not_there_is_said() -> None:
    if torch.cuda.is_available():
        assert pick_device(Device.CUDA).type == "cuda"
    else:
        assert pick_device(Device.AUTO).type == "cpu"
        with pytest.raises(ConfigError, match="--device cpu"):
            pick_device(Device.CUDA)


def test_history_is_asked_for_where_the_card_needs_it(shared: NetworkCard) -> None:
    bands, _ = image((64, 64), seed=7)
    plain = shared.model_dump(mode="json")
    plain["normalisation"]["reference"] = "history"
    needy = NetworkCard.model_validate(plain)
    with pytest.raises(Reject, match="clear history"):
        references(needy, (bands,))
    with pytest.raises(Reject, match="clear history"):
        references(needy, (bands, bands))
    known = dict.fromkeys(BANDS, -1.0)
    assert references(needy, (bands,), history=known) == [known]


def test_the_earlier_date_of_a_pair_is_its_history(tmp_path: Path) -> None:
    bands, _ = image((64, 64), seed=7)
    plain = change_card(tmp_path).model_dump(mode="json")
    plain["normalisation"]["reference"] = "history"
    first, second = references(ChangeCard.model_validate(plain), (bands, bands))
    assert first == second
    assert first is not None
    assert first["B04"] == pytest.approx(float(np.median(np.log(bands["B04"][::3, ::3] + 0.01))))


def test_a_card_is_written_and_read_as_it_was(tmp_path: Path) -> None:
    card = written(tmp_path)
    assert (tmp_path / "shared.yml").is_file()
    assert card.file.stat().st_size < 2 * sum(t.numel() for t in trained(separate=False)[1].values()) + 20_000
