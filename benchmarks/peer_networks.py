"""Five separate networks as MineCam had them: ResNet-34 U-Nets in fp32, windows that overlap, blended.

The network is what segmentation_models_pytorch calls Unet("resnet34") (24 million parameters), in plain
torch with the same layers and channels; the windows and their Gaussian weights are those of MONAI's
sliding_window_inference at an overlap of .25. Nothing of either library is needed, so neither's
overhead counts against it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS = (3, 4, 6, 3)
"""Residual blocks per scale of a ResNet-34."""
ENCODER = (64, 64, 128, 256, 512)
DECODER = (256, 128, 64, 32, 16)
SIGMA = 0.125
"""Spread of the blending weights as a share of the window, MONAI's default."""


class Basic(nn.Module):
    """A ResNet basic block."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x), inplace=True)


def _twice(before: int, after: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for channels in (before, after):
        parts += [
            nn.Conv2d(channels, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*parts)


class ResNetUNet(nn.Module):
    """U-Net with a ResNet-34 encoder; (n, channels, h, w) -> (n, classes, h, w)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, ENCODER[0], 7, 2, 3, bias=False),
            nn.BatchNorm2d(ENCODER[0]),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                Basic(ENCODER[at], ENCODER[at + 1], 1 if at == 0 else 2),
                *(Basic(ENCODER[at + 1], ENCODER[at + 1], 1) for _ in range(blocks - 1)),
            )
            for at, blocks in enumerate(LAYERS)
        )
        skips = (*reversed(ENCODER[:-1]), 0)
        befores = (ENCODER[-1], *DECODER[:-1])
        self.decoder = nn.ModuleList(
            _twice(before + skip, after) for before, skip, after in zip(befores, skips, DECODER, strict=True)
        )
        self.head = nn.Conv2d(DECODER[-1], classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.stem(x)]
        y = functional.max_pool2d(skips[0], 3, 2, 1)
        for stage in self.stages:
            y = stage(y)
            skips.append(y)
        y = skips.pop()
        for block in self.decoder:
            y = functional.interpolate(y, scale_factor=2, mode="nearest")
            y = block(torch.cat([y, skips.pop()], dim=1) if skips else y)
        return self.head(y)  # type: ignore[no-any-return]


def five_networks(channels: int, classes: Sequence[int]) -> list[ResNetUNet]:
    """One per model, untrained: what they cost does not depend on what they learned."""
    return [ResNetUNet(channels, count).eval() for count in classes]


def sliding(network: nn.Module, x: Tensor, *, side: int, overlap: float, batch: int = 4) -> Tensor:
    """(h, w) classes of (channels, h, w): overlapping windows, blended with Gaussian weights."""
    step = int(side * (1 - overlap))
    rows, columns = x.shape[-2:]
    places = [(top, left) for top in _starts(rows, side, step) for left in _starts(columns, side, step)]
    axis = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    bell = torch.exp(-(axis**2) / (2 * (SIGMA * side) ** 2))
    weight = (bell[:, None] * bell[None, :]).clamp(min=1e-3).to(x.device)
    total: Tensor | None = None
    norm = torch.zeros((rows, columns), device=x.device)
    with torch.inference_mode():
        for first in range(0, len(places), batch):
            some = places[first : first + batch]
            z = network(torch.stack([x[:, t : t + side, u : u + side] for t, u in some]))
            if total is None:
                total = torch.zeros((z.shape[1], rows, columns), device=x.device)
            for (top, left), one in zip(some, z, strict=True):
                total[:, top : top + side, left : left + side] += one * weight
                norm[top : top + side, left : left + side] += weight
    assert total is not None
    return (total / norm).argmax(dim=0)


def _starts(length: int, side: int, step: int) -> list[int]:
    last = max(length - side, 0)
    return sorted({*range(0, last, step), last})
