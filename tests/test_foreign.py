"""Foreign models: our own network as ONNX and as a torch export gives the same mask through their cards.

The worked example of docs/foreign-models.md is run as it stands there.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from pydantic import ValidationError
from rasterio.transform import from_origin

from detector.cards import ForeignCard, NetworkCard
from detector.engine import Device
from detector.inputs import DARK
from detector.models import check_weights, load_cards, scores
from detector.predict import Question, Vote, predict_image
from detector.weights import load_network
from groundwatch.commands.files import segment
from groundwatch.console import Options
from registry.errors import ConfigError
from registry.models import Target
from tests.conftest import REPO
from tests.small_networks import BANDS, HEADS, image, written

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # The newer exporter needs one more package, onnxscript; what it writes is read alike.
    pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

DOCS = REPO / "docs" / "foreign-models.md"


class Outside(torch.nn.Module):
    """Our network as somebody else would ship it: reflectance and dB in, probabilities out."""

    def __init__(self, card: NetworkCard, *, logits: bool = False) -> None:
        super().__init__()
        self.network = load_network(card)
        norm = card.normalisation
        self.mean = torch.tensor([norm.mean[n] for n in BANDS]).view(1, -1, 1, 1)
        self.spread = torch.tensor([norm.spread[n] for n in BANDS]).view(1, -1, 1, 1)
        self.logits = logits

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(n, bands, h, w) -> one (n, classes, h, w) per head."""
        optical = torch.log(x[:, :-1].clamp(min=0.0) + float(DARK))
        logs = torch.cat([optical, x[:, -1:].clamp(min=-40.0)], dim=1)
        outputs = self.network(((logs - self.mean) / self.spread).clamp(-8.0, 8.0))
        return tuple(z if self.logits else torch.softmax(z, dim=1) for z in outputs.values())


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> NetworkCard:
    torch.set_num_threads(1)
    return written(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def onnx_file(ours: NetworkCard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported with free batch and sides, as docs/foreign-models.md shows."""
    path = tmp_path_factory.mktemp("onnx") / "outside.onnx"
    export_onnx(Outside(ours), path)
    return path


def export_onnx(model: torch.nn.Module, path: Path) -> None:
    torch.onnx.export(
        model.eval(),
        (torch.zeros(1, len(BANDS), 64, 64),),
        path,
        input_names=["image"],
        output_names=[head.name for head in HEADS],
        dynamic_axes={name: {0: "n", 2: "h", 3: "w"} for name in ("image", *(h.name for h in HEADS))},
        dynamo=False,
    )


def foreign(folder: Path, file: Path, **changes: Any) -> ForeignCard:
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    (folder / "weights" / file.name).write_bytes(file.read_bytes())
    facts = {
        "id": "outside",
        "title": "Somebody else's",
        "kind": "foreign",
        "format": "onnx",
        "sensor": "sentinel-2",
        "bands": list(BANDS),
        "partner_max_age_days": 20.0,
        "inputs": {"stride": 16, "halo": 32},
        "outputs": "probabilities",
        "heads": [{"name": h.name, "labels": list(h.labels), "output": h.name} for h in HEADS],
        "targets": {"forest": "forest", "transformed": "transformed"},
        "weights": {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
        "licence": "Apache-2.0",
        "data_licence": "none: made up",
        "limits": "made-up ground",
        "trained_on": "made-up ground",
        "trained": "2026-11-25",
    } | changes
    (folder / "outside.yml").write_text(json.dumps(facts, indent=1))
    card = load_cards([folder])["outside"]
    assert isinstance(card, ForeignCard)
    return card


QUESTION = Question(codes=tuple(head.name for head in HEADS))


def same_masks(ours: NetworkCard, other: ForeignCard) -> None:
    bands, _ = image((160, 176), seed=12)
    one = predict_image(ours, (bands,), QUESTION, device=Device.CPU, half=False, core=64).codes
    two = predict_image(other, (bands,), QUESTION, device=Device.CPU, core=64).codes
    for name, codes in one.items():
        assert len(np.unique(codes)) > 1
        assert (codes == two[name]).mean() > 0.9999, name
    asked = Question(votes={"forest": Vote("forest", (1,))})
    logits = predict_image(ours, (bands,), asked, device=Device.CPU, half=False).logits["forest"]
    found = scores(other, bands, (Target.FOREST,), device="cpu")[Target.FOREST]
    np.testing.assert_allclose(np.clip(logits, -9, 9), np.clip(found, -9, 9), atol=0.05)


def test_onnx_gives_the_same_mask(ours: NetworkCard, onnx_file: Path, tmp_path: Path) -> None:
    same_masks(ours, foreign(tmp_path, onnx_file))


def test_a_torch_export_gives_the_same_mask_once_it_is_trusted(ours: NetworkCard, tmp_path: Path) -> None:
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)
    program = torch.export.export(
        Outside(ours, logits=True).eval(),
        (torch.zeros(2, len(BANDS), 64, 96),),
        dynamic_shapes={"x": free},
        strict=False,
    )
    path = tmp_path / "outside.pt2"
    torch.export.save(program, path)
    heads = [{"name": h.name, "labels": list(h.labels), "output": str(n)} for n, h in enumerate(HEADS)]
    changes = {"format": "torch-export", "outputs": "logits", "heads": heads}
    with pytest.raises(ConfigError, match="trusted: true"):
        foreign(tmp_path / "cards", path, **changes)
    same_masks(ours, foreign(tmp_path / "cards", path, trusted=True, **changes))


def test_other_units_orders_and_backgrounds(tmp_path: Path) -> None:
    """A model on Sentinel-2's own numbers whose first class is the label and last the background."""

    class Numbers(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            """Green where NIR is over 2000 and linear VH over 0.02."""
            green = (x[:, :1] - 2000.0) / 100.0
            return torch.cat([green, -green], dim=1), (x[:, 1:] - 0.02) * 1e3

    path = tmp_path / "outside.onnx"
    torch.onnx.export(
        Numbers(),
        (torch.zeros(1, 2, 32, 32),),
        path,
        input_names=["x"],
        output_names=["green", "rough"],
        dynamic_axes={name: {0: "n", 2: "h", 3: "w"} for name in ("x", "green", "rough")},
        dynamo=False,
    )
    card = foreign(
        tmp_path / "cards",
        path,
        bands=["B08", "VH"],
        inputs={"multiply": 10_000, "decibel": False, "stride": 1, "halo": 0},
        outputs="logits",
        heads=[
            {"name": "green", "labels": ["forest"], "output": "green", "background": 1},
            {"name": "rough", "labels": ["rough"], "output": "rough", "background": None},
        ],
        targets={"forest": "green"},
    )
    bands, _ = image((60, 70), seed=3)
    found = predict_image(card, (bands,), Question(codes=("green", "rough")), device=Device.CPU).codes
    assert np.array_equal(found["green"], (bands["B08"] > 0.2).astype(np.uint8))
    assert np.array_equal(found["rough"], (bands["VH"] > 0.02).astype(np.uint8))
    logit = scores(card, bands, (Target.FOREST,), device="cpu")[Target.FOREST]
    np.testing.assert_allclose(logit, 2 * (bands["B08"] * 1e4 - 2000) / 100, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"heads": [{"name": "forest", "labels": ["a", "b"], "output": "forest"}]}, "its card says"),
        ({"heads": [{"name": "forest", "labels": ["forest"], "output": "woods"}]}, "correct its heads"),
        ({"bands": ["B02", "B04"]}, "as many bands as it has channels"),
        ({"weights": {"file": "outside.onnx", "sha256": "0" * 64}}, "SHA-256"),
    ],
)
def test_a_file_that_is_not_what_the_card_says(
    onnx_file: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    targets = {"targets": {"forest": "forest"}} if "heads" in changes else {}
    card = foreign(tmp_path, onnx_file, **changes, **targets)
    bands, _ = image((48, 48), seed=3)
    given = {name: bands[name] for name in card.bands}
    with pytest.raises(ConfigError, match=said):
        scores(card, given, (Target.FOREST,), device="cpu")


def test_a_file_that_is_no_onnx(tmp_path: Path) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"not a model")
    with pytest.raises(ConfigError, match="no ONNX model"):
        check_weights(foreign(tmp_path / "cards", junk))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": {"mean": {"B12": 0.1}}}, "not in bands"),
        ({"heads": [{"name": "x", "labels": ["a", "b"], "output": "o", "background": None}]}, "background"),
        ({"heads": [{"name": "x", "labels": ["a"], "output": "o", "background": 2}]}, "beyond"),
        ({"format": "torch-export"}, "trusted: true"),
        ({"format": "pickle"}, "onnx"),
    ],
)
def test_a_wrong_card_is_refused(changes: dict[str, Any], said: str) -> None:
    plain = {
        "id": "x", "title": "x", "format": "onnx", "sensor": "sentinel-2", "bands": ["B02", "B04"],
        "heads": [{"name": "x", "labels": ["a"], "output": "o"}], "licence": "x", "data_licence": "x",
        "limits": "x", "trained_on": "x", "trained": "2026-11-25",
    }  # fmt: skip
    ForeignCard.model_validate(plain)
    with pytest.raises(ValidationError, match=said):
        ForeignCard.model_validate(plain | changes)


def test_the_example_in_the_docs_runs(
    ours: NetworkCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its two blocks, the export and the card, then `groundwatch segment` with it: the same mask as ours."""
    text = DOCS.read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (card,) = re.findall(r"```yaml\n(id:.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(script, str(DOCS), "exec"), {"model": Outside(ours)})  # noqa: S102 - our own page
    raw = (tmp_path / "cards" / "weights" / "outside.onnx").read_bytes()
    filled = card.replace("<sha256sum of the file>", hashlib.sha256(raw).hexdigest())
    (tmp_path / "cards" / "outside.yml").write_text(filled)
    (tmp_path / "groundwatch.yml").write_text("model_cards: [cards]\n")
    bands, _ = image((144, 128), seed=21)
    numbers = np.stack([10 * np.log10(bands[n]) if n == "VH" else bands[n] * 1e4 for n in BANDS])
    with rasterio.open(
        "stack.tif", "w", driver="GTiff", count=len(BANDS), dtype="float32", height=144, width=128,
        crs="EPSG:32721", transform=from_origin(5e5, 9e6, 10, 10),
    ) as sink:  # fmt: skip
        sink.write(numbers.astype(np.float32))
    arguments = [
        "stack.tif",
        "--bands",
        ",".join(BANDS),
        "--out",
        "out",
        "--model",
        "outside",
        "--device",
        "cpu",
    ]
    segment.main(arguments, standalone_mode=False, obj=Options())
    with rasterio.open("out/classes_works.tif") as source:
        found = source.read(1)
    expected = predict_image(ours, (bands,), QUESTION, device=Device.CPU, half=False).codes["works"]
    assert (found == expected).mean() > 0.999
