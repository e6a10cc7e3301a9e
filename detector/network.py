"""The encoder-decoder, in plain torch: one trunk with a head per model, or one network per head.

Residual encoder over four scales, decoder that ends at half resolution. Heads shuffle their channels up to
full resolution (Shi et al. 2016), or a fine stage does and looks at the bands once more. Batch
normalisation, since its statistics are fixed when a model is used: a window's answer does not depend on
what else lies in the window.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.plans import STRIDE, Head, Plan

__all__ = ["STRIDE", "Head", "Plan", "Separate", "Shared", "build", "class_logits"]


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if before != after:
            self.shortcut = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) -> (n, after, h, w)."""
        inner = functional.relu(self.first_norm(self.first(x)), inplace=True)
        return functional.relu(self.second_norm(self.second(inner)) + self.shortcut(x), inplace=True)


class Trunk(nn.Module):
    """(n, channels, h, w) -> (n, width, h/2, w/2)."""

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        widths = [min(width * 2**level, 4 * width) for level in range(4)]
        self.stem = nn.Conv2d(4 * channels, width, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.down = nn.ModuleList(
            nn.Sequential(
                Residual(widths[max(level - 1, 0)], widths[level]),
                *(Residual(widths[level], widths[level]) for _ in range(blocks - 1)),
            )
            for level in range(4)
        )
        self.narrow = nn.ModuleList(
            nn.Conv2d(widths[level + 1], widths[level], 1, bias=False) for level in range(3)
        )
        self.up = nn.ModuleList(Residual(widths[level], widths[level]) for level in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Features at half resolution."""
        x = functional.pixel_unshuffle(x, 2)
        x = functional.relu(self.stem_norm(self.stem(x)), inplace=True)
        scales = []
        for level, stage in enumerate(self.down):
            x = stage(functional.max_pool2d(x, 2) if level else x)
            scales.append(x)
        for level in (2, 1, 0):
            raised = functional.interpolate(self.narrow[level](x), scale_factor=2, mode="nearest")
            x = self.up[level](raised + scales[level])
        return x


class Fine(nn.Module):
    """Full resolution again: what the trunk knows of a place, beside the bands of each pixel.

    Edges and ramps are a few pixels wide; at half resolution four pixels share the trunk's channels.
    """

    def __init__(self, channels: int, width: int, fine: int) -> None:
        super().__init__()
        self.bands = nn.Conv2d(channels, fine, 3, padding=1, bias=False)
        self.bands_norm = nn.BatchNorm2d(fine)
        self.spread = _shuffled(width, fine)
        self.look = Residual(fine, fine)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """(n, channels, h, w) and (n, width, h/2, w/2) -> (n, fine, h, w)."""
        known = functional.pixel_shuffle(self.spread(features), 2)
        seen = self.bands_norm(self.bands(x))
        together: Tensor = self.look(functional.relu(seen + known, inplace=True))
        return together


class Shared(nn.Module):
    """One trunk, a 1 x 1 head per model."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.trunk = Trunk(plan.channels, plan.width, plan.blocks)
        self.fine = Fine(plan.channels, plan.width, plan.fine) if plan.fine else None
        self.heads = nn.ModuleDict(
            {
                head.name: nn.Conv2d(plan.fine, head.classes, 1)
                if plan.fine
                else _shuffled(plan.width, head.classes)
                for head in plan.heads
            }
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(n, channels, h, w) -> per head (n, classes, h, w) logits; class 0 is background."""
        features = self.trunk(x)
        if self.fine is not None:
            features = self.fine(x, features)
            return {name: head(features) for name, head in self.heads.items()}
        return {name: functional.pixel_shuffle(head(features), 2) for name, head in self.heads.items()}


def _shuffled(width: int, channels: int) -> nn.Conv2d:
    """The four pixels that a place is shuffled into begin alike (Aitken et al. 2017): no checkerboard."""
    head = nn.Conv2d(width, 4 * channels, 1)
    with torch.no_grad():
        head.weight.copy_(head.weight[::4].repeat_interleave(4, dim=0))
        assert head.bias is not None
        head.bias.copy_(head.bias[::4].repeat_interleave(4, dim=0))
    return head


class Separate(nn.Module):
    """One whole network per head, as MineCam had it."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        single = {head.name: plan.model_copy(update={"heads": (head,)}) for head in plan.heads}
        self.networks = nn.ModuleDict({name: Shared(one) for name, one in single.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(n, channels, h, w) -> per head (n, classes, h, w) logits; class 0 is background."""
        return {name: network(x)[name] for name, network in self.networks.items()}


def build(plan: Plan) -> Shared | Separate:
    """A network with random weights, seeded by torch's generator."""
    return Separate(plan) if plan.separate else Shared(plan)


def class_logits(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Per head (n, labels, h, w): each label's logit against everything else of its head.

    logit p_k = z_k - log sum_{j != k} exp z_j, so that a label's probability is the sigmoid of it.
    """
    found = {}
    for name, z in outputs.items():
        others = [
            torch.logsumexp(torch.cat([z[:, :k], z[:, k + 1 :]], dim=1), dim=1) for k in range(1, z.shape[1])
        ]
        found[name] = z[:, 1:] - torch.stack(others, dim=1)
    return found
