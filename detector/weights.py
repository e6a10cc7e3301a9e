"""Weights of our own networks: written beside their card, and checked before they are used.

safetensors only: a header of names, shapes and types, and numbers; nothing in it can run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from detector.cards import ChangeCard, NetworkCard, WeightedCard, Weights
from detector.network import Separate, Shared, build
from registry.errors import ConfigError
from registry.settings import load_document

MAX_BYTES = 200_000_000
"""Largest weights file of our own networks that is read; 50 million parameters in fp32."""
MAX_FOREIGN_BYTES = 2_000_000_000
"""Largest foreign model that is read."""

_Ours = TypeVar("_Ours", NetworkCard, ChangeCard)


def write_card(folder: Path, card: _Ours, state: Mapping[str, Tensor], *, half: bool = True) -> _Ours:
    """Write ``folder/weights/ID.safetensors`` and ``folder/ID.yml``; returns the card with both named.

    ``half`` stores the numbers as fp16 (they are computed with in fp32). What was there is replaced,
    weights first, so that a card never names weights that are not there.
    """
    _check_state(card, state, where="the state that is to be written")
    raw = save({name: _stored(value, half=half) for name, value in sorted(state.items()) if _kept(name)})
    weights = Weights(file=f"{card.id}.safetensors", sha256=hashlib.sha256(raw).hexdigest())
    written = card.model_copy(update={"weights": weights}).at(folder)
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    written.file.write_bytes(raw)
    path = folder / f"{card.id}.yml"
    path.write_text(card_text(written), encoding="utf-8")
    return load_document(path, type(card)).at(folder)


def load_network(card: NetworkCard | ChangeCard) -> Shared | Separate:
    """The network of a card in fp32, in evaluation mode. Raises ConfigError where file and card differ."""
    raw = checked_bytes(card, limit=MAX_BYTES)
    try:
        state = load(raw)
    except SafetensorError as exc:
        raise ConfigError(f"{card.file} is no safetensors file ({exc}); fetch it again") from exc
    _check_state(card, state, where=str(card.file))
    network = build(card.plan)
    network.load_state_dict({name: value.float() for name, value in state.items()}, strict=False)
    return network.eval()


def checked_bytes(card: WeightedCard, *, limit: int) -> bytes:
    """The weights file, once its size and SHA-256 are as they should be. Raises ConfigError."""
    path = card.file
    if not path.is_file():
        raise ConfigError(f"weights {path} of card {card.id} do not exist; put the file there")
    size = path.stat().st_size
    if size > limit:
        raise ConfigError(
            f"weights {path} have {size} bytes, at most {limit} are read; choose a smaller model"
        )
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if card.weights is None or found != card.weights.sha256:
        raise ConfigError(
            f"weights {path} have the SHA-256 {found[:12]}..., card {card.id} names another; fetch the "
            "file that belongs to the card"
        )
    return raw


def _kept(name: str) -> bool:
    """The count of training steps in a normalisation layer is of no use later."""
    return not name.endswith("num_batches_tracked")


def _stored(value: Tensor, *, half: bool) -> Tensor:
    plain = value.detach().cpu().contiguous()
    return plain.to(torch.float16 if half else torch.float32)


def _check_state(card: NetworkCard | ChangeCard, state: Mapping[str, Tensor], *, where: str) -> None:
    """Tensor names and shapes against the plan, and every number within fp16."""
    with torch.device("meta"):
        wanted = {name: t.shape for name, t in build(card.plan).state_dict().items() if _kept(name)}
    found = {name: tensor.shape for name, tensor in state.items() if _kept(name)}
    if found.keys() != wanted.keys():
        odd = sorted(found.keys() ^ wanted.keys())
        raise ConfigError(
            f"{where}: {len(odd)} tensors are missing or unknown to the plan of card {card.id}, such as "
            f"{odd[0]}; use the weights that belong to the card"
        )
    for name, shape in wanted.items():
        if found[name] != shape:
            raise ConfigError(
                f"{where}: {name} is {tuple(found[name])}, the plan of card {card.id} asks for "
                f"{tuple(shape)}; use the weights that belong to the card"
            )
        if not bool(torch.isfinite(state[name].to(torch.float16)).all()):
            raise ConfigError(f"{where}: {name} holds NaN, or more than fp16 does; train the model again")


def card_text(card: WeightedCard) -> str:
    """The card as YAML: a line per key, mappings and lists of mappings opened once."""
    plain = card.model_dump(mode="json", by_alias=True, exclude_none=True)
    first = ("id", "title", "kind")
    keys = [*first, *(key for key in plain if key not in first)]
    return "\n".join(line for key in keys for line in _entry(key, plain[key])) + "\n"


def _entry(key: str, value: object) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield f"{key}:"
        yield from (f"  {name}: {_flow(inner)}" for name, inner in value.items())
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield f"{key}:"
        yield from (f"  - {_flow(inner)}" for inner in value)
    else:
        yield f"{key}: {_flow(value)}"


def _flow(value: object) -> str:
    """JSON, which YAML reads as it is; figures to six digits."""
    return json.dumps(_rounded(value), ensure_ascii=False)


def _rounded(value: object) -> object:
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value
