"""Models made elsewhere: ONNX by onnxruntime, torch exports by torch; fed and read as their card says.

ONNX holds a graph and numbers, nothing that runs on loading. A torch export may hold pickled objects:
``torch.export.load`` falls back to unpickling, so only a card that says ``trusted: true`` gets there.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detector.cards import ForeignCard, ForeignHead, Format, Outputs
from detector.weights import MAX_FOREIGN_BYTES, checked_bytes
from registry.errors import ConfigError
from registry.models import S1_BANDS

FAINTEST = 1e-5
"""gamma0 in linear power (-50 dB) below which radar counts as this."""
SMALLEST = 1e-7
"""Probabilities nearer to 0 or 1 count as this far from it, in logits."""

Run = Callable[[Tensor], Mapping[str, Tensor]]
Prepare = Callable[[Sequence[Mapping[str, Tensor]], Sequence[Mapping[str, float] | None]], Tensor]


def open_foreign(card: ForeignCard, device: torch.device) -> tuple[Run, Prepare]:
    """(what answers, what makes its input). Raises ConfigError where the file is not what the card says."""
    raw = checked_bytes(card, limit=MAX_FOREIGN_BYTES)
    call = _onnx(card, raw) if card.format is Format.ONNX else _export(card, raw, device)

    def run(x: Tensor) -> Mapping[str, Tensor]:
        outputs = call(x)
        return {
            head.name: _class_logits(card, head, outputs[head.output], x).to(x.device)
            for head in card.foreign_heads
        }

    def prepare(
        dates: Sequence[Mapping[str, Tensor]], _references: Sequence[Mapping[str, float] | None]
    ) -> Tensor:
        return foreign_input(card, dates[0])

    return run, prepare


def foreign_input(card: ForeignCard, bands: Mapping[str, Tensor]) -> Tensor:
    """(bands, h, w) in the card's order and units; what is not seen, and a missing band, becomes 0."""
    wants = card.inputs
    first = next(iter(bands.values()))
    found = torch.zeros((len(card.bands), *first.shape), dtype=torch.float32, device=first.device)
    for channel, name in enumerate(card.bands):
        if name in bands:
            if name not in S1_BANDS:
                value = bands[name] * wants.multiply
            elif wants.decibel:
                value = 10.0 * torch.log10(bands[name].clamp(min=FAINTEST))
            else:
                value = bands[name]
            scaled = (value - wants.mean.get(name, 0.0)) / wants.spread.get(name, 1.0)
            found[channel] = torch.nan_to_num(scaled, nan=0.0)
    return found


def _onnx(card: ForeignCard, raw: bytes) -> Callable[[Tensor], Mapping[str, Tensor]]:
    """The model in onnxruntime, on the best provider that is installed."""
    try:
        import onnxruntime
    except ImportError as exc:
        raise ConfigError(
            f"model {card.id} is ONNX and onnxruntime is not installed; pip install 'groundwatch[onnx]'"
        ) from exc
    onnxruntime.set_default_logger_severity(3)
    try:
        session = onnxruntime.InferenceSession(raw, providers=onnxruntime.get_available_providers())
    except Exception as exc:  # onnxruntime's own errors share no base
        raise ConfigError(f"{card.file} is no ONNX model ({_first_line(exc)}); export it again") from exc
    inputs = session.get_inputs()
    named = [output.name for output in session.get_outputs()]
    wanted = [head.output for head in card.foreign_heads]
    if len(inputs) != 1 or set(wanted) - set(named):
        raise ConfigError(
            f"{card.file} has the inputs {[one.name for one in inputs]} and the outputs {named}; the card "
            f"needs one input and {wanted}: correct its heads"
        )

    def call(x: Tensor) -> Mapping[str, Tensor]:
        try:
            found: Sequence[Any] = session.run(wanted, {inputs[0].name: x.cpu().numpy().astype(np.float32)})
        except Exception as exc:
            raise ConfigError(
                f"model {card.id} does not take {tuple(x.shape)} ({_first_line(exc)}); export it with free "
                "sides, and list as many bands as it has channels"
            ) from exc
        return {name: torch.from_numpy(np.asarray(z)) for name, z in zip(wanted, found, strict=True)}

    return call


def _export(card: ForeignCard, raw: bytes, device: torch.device) -> Callable[[Tensor], Mapping[str, Tensor]]:
    """The model of a torch export, which its card calls trusted."""
    try:
        module = torch.export.load(io.BytesIO(raw)).module().to(device)
    except Exception as exc:  # whatever stands in the archive
        raise ConfigError(f"{card.file} is no torch export ({_first_line(exc)}); export it again") from exc

    def call(x: Tensor) -> Mapping[str, Tensor]:
        try:
            with torch.inference_mode():
                found = module(x)
        except Exception as exc:
            raise ConfigError(
                f"model {card.id} does not take {tuple(x.shape)} ({_first_line(exc)}); export it with "
                "dynamic batch and sides, and list as many bands as it has channels"
            ) from exc
        if isinstance(found, Mapping):
            return {str(name): z for name, z in found.items()}
        parts = [found] if isinstance(found, Tensor) else list(found)
        return {str(number): z for number, z in enumerate(parts)}

    return call


def _class_logits(card: ForeignCard, head: ForeignHead, z: Tensor, x: Tensor) -> Tensor:
    """(n, classes, h, w) fp32 logits, background first."""
    given = len(head.labels) + (head.background is not None)
    expected = (x.shape[0], given, *x.shape[-2:])
    if tuple(z.shape) != expected:
        raise ConfigError(
            f"output {head.output} of model {card.id} is {tuple(z.shape)}, its card says {expected}; correct "
            "labels and background of the head"
        )
    z = z.float()
    if head.background is None:
        z = z if card.outputs is Outputs.LOGITS else torch.logit(z, eps=SMALLEST)
        return torch.cat([torch.zeros_like(z), z], dim=1)
    if card.outputs is Outputs.PROBABILITIES:
        z = torch.log(z.clamp(min=SMALLEST))
    order = [head.background, *(number for number in range(given) if number != head.background)]
    return z[:, order]


def _first_line(exc: BaseException) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0][:200]
