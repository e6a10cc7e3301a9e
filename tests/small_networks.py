"""Small networks that learned a rule, and images that follow it: what tests of prediction are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter
from torch.nn import functional

from detector.cards import CHANGE_LABELS, ChangeCard, NetworkCard
from detector.inputs import Normalisation, network_input
from detector.network import Head, Plan, Separate, Shared, build
from detector.weights import write_card

Float32 = NDArray[np.float32]

BANDS = ("B02", "B03", "B04", "B08", "B11", "VH")
HEADS = (
    Head(name="transformed", labels=("transformed",)),
    Head(name="forest", labels=("forest",)),
    Head(name="works", labels=("excavation", "infrastructure")),
)
NORMALISATION = Normalisation(
    mean={"B02": -2.8, "B03": -2.7, "B04": -2.4, "B08": -1.4, "B11": -1.6, "VH": -16.0},
    spread={"B02": 0.5, "B03": 0.5, "B04": 0.6, "B08": 0.4, "B11": 0.4, "VH": 3.0},
)
SOIL = {"B02": 0.10, "B03": 0.13, "B04": 0.17, "B08": 0.25, "B11": 0.33, "VH": 0.012}
TREES = {"B02": 0.02, "B03": 0.04, "B04": 0.025, "B08": 0.33, "B11": 0.15, "VH": 0.045}
WATER = {"B02": 0.03, "B03": 0.03, "B04": 0.02, "B08": 0.012, "B11": 0.006, "VH": 0.003}


def image(shape: tuple[int, int], *, seed: int) -> tuple[dict[str, Float32], dict[str, NDArray[np.int64]]]:
    """Patches of soil, dark or bright, among trees and water; the truth per head."""
    random = np.random.default_rng(seed)
    relief = gaussian_filter(random.normal(size=shape), 9.0)
    bare = relief > 0.6 * relief.std()
    wet = relief < -1.6 * relief.std()
    bright = gaussian_filter(random.normal(size=shape), 6.0) > 0.0
    bands = {}
    for name in BANDS:
        mean = np.where(bare, SOIL[name] * np.where(bright, 1.25, 0.8), TREES[name])
        mean = uniform_filter(np.where(wet, WATER[name], mean), 2)
        bands[name] = (mean * np.exp(random.normal(0.0, 0.12, shape))).astype(np.float32)
    works = np.where(bare, np.where(bright, 2, 1), 0)
    truth = {"transformed": bare, "forest": ~bare & ~wet, "works": works}
    return bands, {name: codes.astype(np.int64) for name, codes in truth.items()}


def facts(name: str, **changes: Any) -> dict[str, Any]:
    """What a card of a small network says besides its weights."""
    return {
        "id": name,
        "title": "A small network of the tests",
        "sensor": "sentinel-2",
        "bands": BANDS,
        "optional": ("VH",),
        "partner_max_age_days": 20.0,
        "licence": "Apache-2.0",
        "data_licence": "none: made up",
        "limits": "the tests' made-up ground",
        "trained_on": "made-up ground",
        "trained": "2026-11-25",
        "plan": Plan(channels=len(BANDS), width=8, heads=HEADS),
        "normalisation": NORMALISATION,
        "targets": {"transformed": "transformed", "forest": "forest"},
    } | changes


@lru_cache(maxsize=4)
def trained(
    *, separate: bool = False, fine: int = 0, steps: int = 45
) -> tuple[NetworkCard, Mapping[str, torch.Tensor]]:
    """A card without weights file, and the weights: learned in a few seconds, the same every time."""
    torch.manual_seed(3)
    card = NetworkCard.model_validate(
        facts(
            "separate" if separate else "shared",
            plan=Plan(channels=len(BANDS), width=8, heads=HEADS, separate=separate, fine=fine),
        )
    )
    network = build(card.plan)
    learn(network, card.normalisation, card.bands, steps=steps)
    return card, network.state_dict()


def learn(
    network: Shared | Separate, normalisation: Normalisation, names: Sequence[str], *, steps: int
) -> None:
    """Adam on crops of made-up ground; now and then without radar."""
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    crops = [image((64, 64), seed=number) for number in range(24)]
    inputs = torch.stack([torch.from_numpy(network_input(b, names, normalisation)) for b, _ in crops])
    truths = {head.name: torch.stack([torch.from_numpy(t[head.name]) for _, t in crops]) for head in HEADS}
    network.train()
    for step in range(steps):
        chosen = [(step * 8 + at) % len(crops) for at in range(8)]
        x = inputs[chosen].clone()
        if step % 4 == 3:
            x[:, names.index("VH")] = 0.0
        outputs = network(x)
        loss = sum(
            (functional.cross_entropy(z, truths[name][chosen]) for name, z in outputs.items()),
            torch.zeros(()),
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    network.eval()


def written(folder: Path, *, separate: bool = False, fine: int = 0) -> NetworkCard:
    """The trained network with its card in a folder."""
    card, state = trained(separate=separate, fine=fine)
    return write_card(folder, card, state)


def change_card(folder: Path) -> ChangeCard:
    """A change card whose network was not trained: for what does not ask for skill."""
    torch.manual_seed(5)
    plan = Plan(channels=2 * len(BANDS), width=4, heads=(Head(name="change", labels=CHANGE_LABELS),))
    plain = facts("change-small", plan=plan)
    del plain["targets"]
    card = ChangeCard.model_validate(plain)
    return write_card(folder, card, build(plan).state_dict())
