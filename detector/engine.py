"""A card ready to run: its network on a device, in the fastest safe type, and its input made there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from detector.cards import ChangeCard, ForeignCard, NetworkCard, WeightedCard
from detector.inputs import DARK, FAINT, Normalisation
from detector.network import Fine, Residual, Trunk
from detector.plans import STRIDE
from detector.weights import load_network
from detector.windows import HALO_PX, Numbers, Window
from registry.errors import ConfigError
from registry.models import S1_BANDS

LIMIT = 8.0
"""Normalised values beyond this are cut, as in detector.inputs."""

CPUINFO = Path("/proc/cpuinfo")
"""Where Linux says what the processor can do; elsewhere bf16 is not used on a CPU."""

References = Sequence[Mapping[str, float] | None]
"""Per date what replaces the fixed means; None = nothing does."""


class Device(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    """A GPU where one is at hand."""
    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True)
class Engine:
    """What turns bands into class logits."""

    device: torch.device
    stride: int
    halo: int
    prepare: Callable[[Sequence[Mapping[str, Tensor]], References], Tensor]
    """Physical bands per date, (h, w) each -> (channels, h, w) float32 on the device."""
    repeat: bool
    """Whether the last pixels are repeated to fill up to the stride; else zeros, as in our training."""
    run: Callable[[Tensor], Mapping[str, Tensor]]
    """(n, channels, h, w) with sides that are multiples of ``stride`` -> per head (n, classes, h, w) fp32."""


def open_engine(card: WeightedCard, device: Device = Device.AUTO, *, half: bool | None = None) -> Engine:
    """The engine of a card, loaded once per process.

    ``half`` computes in bf16; None = where the machine does that fast. Raises ConfigError where the
    weights are not what the card says, or the device is not there.
    """
    where = pick_device(device)
    return _opened(
        _Key(str(card.file), card.digest, str(where), fast_half(where) if half is None else half, card)
    )


@dataclass(frozen=True)
class _Key:
    path: str
    digest: str
    device: str
    half: bool
    card: WeightedCard = field(compare=False)


@lru_cache(maxsize=8)
def _opened(key: _Key) -> Engine:
    card, device = key.card, torch.device(key.device)
    if isinstance(card, ForeignCard):
        from detector.foreign import open_foreign

        run, feed = open_foreign(card, device)
        return Engine(device, card.inputs.stride, card.inputs.halo, feed, repeat=True, run=run)
    if not isinstance(card, NetworkCard | ChangeCard):
        raise ConfigError(f"card {card.id} is of an unknown kind {type(card).__name__}")
    names, normalisation = card.bands, card.normalisation

    def prepare(dates: Sequence[Mapping[str, Tensor]], references: References) -> Tensor:
        parts = [
            normalised(bands, names, normalisation, reference)
            for bands, reference in zip(dates, references, strict=True)
        ]
        return torch.cat(parts)

    answer = network_runner(load_network(card), device, half=key.half)
    return Engine(device, STRIDE, HALO_PX, prepare, repeat=False, run=answer)


def network_runner(
    network: nn.Module, device: torch.device, *, half: bool
) -> Callable[[Tensor], Mapping[str, Tensor]]:
    """Our network, its normalisation folded into the convolutions, in channels-last layout."""
    kind = torch.bfloat16 if half else torch.float32
    ready = fold_norms(network.eval()).to(device=device, dtype=kind)
    ready = ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(x: Tensor) -> Mapping[str, Tensor]:
        with torch.inference_mode():
            outputs = ready(x.to(dtype=kind, memory_format=torch.channels_last))
            return {name: z.float() for name, z in outputs.items()}

    return run


def fold_norms(network: nn.Module) -> nn.Module:
    """Batch normalisation folded into the convolution before it, in place."""
    pairs = {
        Residual: (("first", "first_norm"), ("second", "second_norm")),
        Trunk: (("stem", "stem_norm"),),
        Fine: (("bands", "bands_norm"),),
    }
    for module in network.modules():
        for conv, norm in pairs.get(type(module), ()):
            setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
            setattr(module, norm, nn.Identity())
    return network


def pick_device(device: Device) -> torch.device:
    """The torch device. Raises ConfigError where a GPU is asked for and none is there."""
    if device is Device.CPU:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if device is Device.CUDA:
        raise ConfigError("no CUDA device is at hand; use --device cpu or install torch for CUDA")
    return torch.device("cpu")


@lru_cache(maxsize=4)
def fast_half(device: torch.device) -> bool:
    """Whether bf16 is fast here: a GPU with it, or a CPU with AMX or AVX-512 BF16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if not CPUINFO.exists():
        return False
    flags = next((line for line in CPUINFO.read_text().splitlines() if line.startswith("flags")), "").split()
    return "amx_bf16" in flags or "avx512_bf16" in flags


def normalised(
    bands: Mapping[str, Tensor],
    names: Sequence[str],
    normalisation: Normalisation,
    reference: Mapping[str, float] | None,
) -> Tensor:
    """(len(names), h, w): what ``inputs.network_input`` computes, on the bands' device."""
    first = next(iter(bands.values()))
    found = torch.zeros((len(names), *first.shape), dtype=torch.float32, device=first.device)
    zeros = normalisation.mean if reference is None else reference
    for channel, name in enumerate(names):
        if name in bands:
            scaled = (_logarithm(name, bands[name]) - zeros[name]) / normalisation.spread[name]
            found[channel] = torch.nan_to_num(scaled.clamp(-LIMIT, LIMIT), nan=0.0)
    return found


def _logarithm(name: str, band: Tensor) -> Tensor:
    if name in S1_BANDS:
        return 10.0 * torch.log10(band.clamp(min=float(FAINT)))
    return torch.log(band.clamp(min=0.0) + float(DARK))


def physical(numbers: Numbers, window: Window, device: torch.device) -> Tensor:
    """(h, w) float32 on the image's grid: scaled, and resampled bilinearly where the band is coarser.

    Pixels without data drop out of the weights, as in detector.resample; a pixel whose centre lies in
    one, or outside, has none.
    """
    raw = _on_device(numbers.data, device)
    if numbers.nodata is not None:
        raw = torch.where(raw == numbers.nodata, torch.nan, raw)
    values = raw * numbers.scale + numbers.offset if (numbers.scale, numbers.offset) != (1.0, 0.0) else raw
    if numbers.step == 1.0:
        return values
    rows, row_at = _taps(window.top, window.height, numbers.step, numbers.top, values.shape[0], device)
    columns, column_at = _taps(window.left, window.width, numbers.step, numbers.left, values.shape[1], device)
    seen = torch.isfinite(values)
    weight = rows @ seen.float() @ columns.T
    total = rows @ torch.where(seen, values, 0.0) @ columns.T
    return torch.where(seen[row_at][:, column_at], total / weight.clamp(min=1e-6), torch.nan)


def _on_device(data: np.ndarray[tuple[int, ...], np.dtype[np.generic]], device: torch.device) -> Tensor:
    """As float32. Unsigned 16-bit numbers travel as they are, half the bytes, and are widened there."""
    if data.dtype == np.uint16:
        wide = torch.from_numpy(np.ascontiguousarray(data).view(np.int16)).to(device, non_blocking=True)
        return wide.to(torch.int32).bitwise_and(0xFFFF).float()
    return torch.from_numpy(np.ascontiguousarray(data)).to(device, non_blocking=True).float()


@lru_cache(maxsize=512)
def _taps(
    start: int, length: int, step: float, first: int, size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """((length, size) bilinear weights, (length,) the pixel each centre lies in), along one axis.

    Kept: bands of one resolution and the windows of one row share them.
    """
    centres = (torch.arange(start, start + length, dtype=torch.float64) + 0.5) / step - first
    below = torch.floor(centres - 0.5)
    share = (centres - 0.5 - below).float()
    weights = torch.zeros((length, size))
    at = torch.arange(length)
    weights[at, below.long().clamp(0, size - 1)] += 1.0 - share
    weights[at, (below.long() + 1).clamp(0, size - 1)] += share
    return weights.to(device), centres.long().clamp(0, size - 1).to(device)


def padded(x: Tensor, stride: int, *, repeat: bool = False) -> Tensor:
    """(n, c, h, w) with zeros, or the last pixels repeated, below and to the right, up to ``stride``."""
    down, right = -x.shape[-2] % stride, -x.shape[-1] % stride
    if not (down or right):
        return x
    return functional.pad(x, (0, right, 0, down), mode="replicate" if repeat else "constant")
