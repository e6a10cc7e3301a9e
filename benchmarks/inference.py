"""Prediction: our shared trunk in windows, beside five separate U-Nets in fp32 with overlapping windows.

``python -m benchmarks.inference`` prints seconds and ratios of one interleaved run. What the networks
learned does not matter here; that masks of windows, types and forms agree is tests/test_predict.py.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.peer_networks import five_networks, sliding
from benchmarks.timing import interleaved
from detector.cards import NetworkCard
from detector.engine import Device, fast_half, pick_device
from detector.inputs import Normalisation, network_input
from detector.network import Head, Plan, build
from detector.predict import Question, predict_image
from detector.weights import write_card
from registry.chips import CHANNELS
from registry.setting_models import FileSettings

HEADS = (
    Head(name="works", labels=("preparatory_works", "excavation", "infrastructure")),
    Head(name="deposits", labels=("dumping_ground", "stockpile", "overburden")),
    Head(name="water", labels=("settling_pond", "tailings_storage_facility", "dam")),
    Head(name="relief", labels=("outcrop", "production_slope", "transport_slope")),
    Head(name="transformed", labels=("transformed",)),
)
"""MineCam's five models."""
PEER_WINDOW = 512
PEER_OVERLAP = 0.25
FINE = 24
"""Channels of the shipped mining networks' last stage, at full resolution."""
AS_SEGMENT = FileSettings().orientations
"""In how many orientations `segment` answers unless told otherwise."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="side of the image in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=32, help="width of our networks")
    parser.add_argument("--fine", type=int, default=FINE, help="their channels at full resolution")
    parser.add_argument("--device", choices=[one.value for one in Device], default="auto")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    form = {"width": given.width, "fine": given.fine}
    figures = measure(given.size, form, rounds=given.rounds, device=Device(given.device))
    for name, value in figures.items():
        print(f"{name:75s} {value:8.3f}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))


def measure(size: int, form: Mapping[str, int], *, rounds: int, device: Device) -> dict[str, float]:
    """Median seconds per contestant, and the peers' seconds over ours; ``form``: width and fine channels."""
    bands = stack(size)
    with tempfile.TemporaryDirectory() as folder:
        contestants = {
            "shared trunk, five heads": _ours(Path(folder), bands, form, device=device, separate=False),
            f"shared trunk, {AS_SEGMENT} orientations": _ours(
                Path(folder), bands, form, device=device, separate=False, orientations=AS_SEGMENT
            ),
            "five of ours, separate": _ours(Path(folder), bands, form, device=device, separate=True),
            "five ResNet-34 U-Nets fp32, overlap .25": _peer(bands, device=device),
        }
        timings = interleaved(contestants, rounds=rounds)
    figures = {f"{name} (s)": timings.median(name) for name in contestants}
    own, turned, *others, peer = contestants
    for name, base, short in [
        *((name, own, "ours") for name in (turned, *others, peer)),
        (peer, turned, f"ours in {AS_SEGMENT} orientations"),
    ]:
        middle, low, high = timings.ratio(name, base)
        ratio = f"{name} / {short}"
        figures |= {ratio: middle, f"{ratio}, lowest": low, f"{ratio}, highest": high}
    figures["bf16"] = float(fast_half(pick_device(device)))
    return figures


def stack(size: int, *, seed: int = 1) -> dict[str, NDArray[np.float32]]:
    """Fourteen bands of made-up ground in physical units."""
    random = np.random.default_rng(seed)
    return {
        name: (random.lognormal(-1.8, 0.4, (size, size)) * (0.3 if name in ("VV", "VH") else 1.0)).astype(
            np.float32
        )
        for name in CHANNELS
    }


def card(folder: Path, form: Mapping[str, int], *, separate: bool) -> NetworkCard:
    """An untrained network of ours over all bands, written and read as a shipped one is."""
    torch.manual_seed(1)
    plan = Plan(channels=len(CHANNELS), heads=HEADS, separate=separate, **form)
    blank = NetworkCard(
        id="separate" if separate else "shared",
        title="Untrained, for timing",
        sensor="sentinel-2",
        bands=CHANNELS,
        partner_max_age_days=24.0,
        licence="Apache-2.0",
        limits="knows nothing",
        trained_on="nothing",
        data_licence="none",
        trained="2026-11-25",
        plan=plan,
        normalisation=Normalisation(mean=dict.fromkeys(CHANNELS, -1.8), spread=dict.fromkeys(CHANNELS, 0.5)),
    )
    return write_card(folder, blank, build(plan).state_dict())


def _ours(
    folder: Path,
    bands: dict[str, NDArray[np.float32]],
    form: Mapping[str, int],
    *,
    device: Device,
    separate: bool,
    orientations: int = 1,
) -> Callable[[], object]:
    one = card(folder, form, separate=separate)
    question = Question(codes=tuple(head.name for head in HEADS), orientations=orientations)
    return lambda: predict_image(one, (bands,), question, device=device)


def _peer(bands: dict[str, NDArray[np.float32]], *, device: Device) -> Callable[[], object]:
    """The same input, made the same way; only the networks and windows are theirs."""
    where = pick_device(device)
    networks = [one.to(where) for one in five_networks(len(CHANNELS), [head.classes for head in HEADS])]
    scaling = Normalisation(mean=dict.fromkeys(CHANNELS, -1.8), spread=dict.fromkeys(CHANNELS, 0.5))

    def run() -> object:
        x = torch.from_numpy(network_input(bands, CHANNELS, scaling)).to(where)
        return [
            sliding(network, x, side=min(PEER_WINDOW, x.shape[-1]), overlap=PEER_OVERLAP)
            .to(torch.uint8)
            .cpu()
            for network in networks
        ]

    return run


if __name__ == "__main__":
    main()
