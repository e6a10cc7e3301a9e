"""Prediction on a GPU in one call: seconds per full tile, share of the roofline, agreement with the CPU.

``python -m benchmarks.gpu`` needs no data: it makes a tile of 10980 x 10980 pixels with bands at their
native 10, 20 and 60 m as 16-bit numbers, as a detector reads them. ``--device cpu --size 1200`` tries
the same path on a small size without a GPU.

The roofline is measured on the same machine: bf16 matrix products for compute, a copy for bandwidth. The
network's own need is counted, not assumed: multiplications by torch's counter, bytes as what its
convolutions read and write. Share = the larger of both times / the measured time.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inference import FINE, HEADS, card, stack
from detector.cards import NetworkCard
from detector.engine import Device, fast_half, network_runner, open_engine, padded, pick_device
from detector.predict import BATCH, Question, predict, predict_image
from detector.weights import load_network
from detector.windows import CORE_PX, HALO_PX, Bands, Numbers, Window, native_range, windows
from registry.chips import CHANNELS

STEPS = {"B01": 6, "B09": 6} | dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 2)
"""10 m pixels per pixel of the coarser bands."""
QUESTION = Question(codes=tuple(head.name for head in HEADS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=[one.value for one in Device], default="auto")
    parser.add_argument("--size", type=int, default=10_980, help="side of the tile in 10 m pixels")
    parser.add_argument("--width", type=int, default=32, help="width of the network")
    parser.add_argument("--fine", type=int, default=FINE, help="its channels at full resolution")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    form = {"width": given.width, "fine": given.fine}
    figures = measure(Device(given.device), form, size=given.size)
    print(json.dumps(figures, indent=1))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))


def measure(device: Device, form: Mapping[str, int], *, size: int) -> dict[str, float | str]:
    """All figures of one run; ``form``: the network's width and fine channels."""
    where = pick_device(device)
    with tempfile.TemporaryDirectory() as folder:
        one = card(Path(folder), form, separate=False)
        tile = Tile.made(size)
        predict(one, tile, (min(size, 1100),) * 2, _nothing, question=QUESTION, device=device)
        seconds = _timed(
            lambda: predict(one, tile, (size, size), _nothing, question=QUESTION, device=device), where
        )
        network = _network(one, where)
        figures: dict[str, float | str] = {
            "device": torch.cuda.get_device_name() if where.type == "cuda" else "cpu",
            "type": "bf16" if fast_half(where) else "fp32",
            "tile_px": size,
            "tile_s": seconds,
        }
        figures |= _roofline(one, where, size=size, tile_s=seconds, network=network)
        figures["peak_memory_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        figures["agreement_with_cpu_fp32"] = _agreement(one, device)
        if where.type == "cuda":
            figures["peak_gpu_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return figures


@dataclass(frozen=True)
class Tile:
    """A tile's numbers in memory, at each band's own resolution; called as a reader."""

    bands: dict[str, NDArray[np.uint16]]

    @classmethod
    def made(cls, size: int) -> Tile:
        """Random numbers of the size that reflectance has."""
        random = np.random.default_rng(1)
        block = random.integers(200, 5000, (600, 600), dtype=np.uint16)
        bands = {}
        for name in CHANNELS:
            side = -(-size // STEPS.get(name, 1))
            times = -(-side // 600)
            bands[name] = np.tile(block, (times, times))[:side, :side].copy()
        return cls(bands)

    def __call__(self, window: Window) -> Sequence[Bands]:
        found = {}
        for name, data in self.bands.items():
            step = STEPS.get(name, 1)
            top, bottom = native_range(window.top, window.height, step, data.shape[0])
            left, right = native_range(window.left, window.width, step, data.shape[1])
            if step == 1:
                top, bottom = window.top, window.top + window.height
                left, right = window.left, window.left + window.width
            part = data[top:bottom, left:right]
            found[name] = Numbers(part, step=step, top=top, left=left, scale=1e-4, nodata=0)
        return [found]


def _nothing(_window: Window, _answer: object) -> None:
    """The masks are not kept: writing them is another stage."""


def _timed(run: Callable[[], object], where: torch.device) -> float:
    _wait(where)
    begin = time.perf_counter()
    run()
    _wait(where)
    return time.perf_counter() - begin


def _wait(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize()


def _network(one: NetworkCard, where: torch.device) -> Callable[[Tensor], object]:
    return network_runner(load_network(one), where, half=fast_half(where))


def _roofline(
    one: NetworkCard, where: torch.device, *, size: int, tile_s: float, network: Callable[[Tensor], object]
) -> dict[str, float]:
    """What the machine gives, what the network needs, and the shares reached by network and whole path."""
    side = CORE_PX + 2 * HALO_PX
    batch = BATCH[where.type]
    x = torch.randn(batch, len(CHANNELS), side, side, device=where)
    flops, volume = _needs(one, x)
    peak, bandwidth = _peak_flops(where), _bandwidth(where)
    repeats = 10 if where.type == "cuda" else 1
    network(x)
    alone = min(_timed(lambda: network(x), where) for _ in range(repeats))
    bound = max(flops / peak, volume / bandwidth)
    read = sum(window.height * window.width for window in windows((size, size)))
    tile_bound = bound * read / (batch * side * side)
    return {
        "peak_tflops": peak / 1e12,
        "bandwidth_gb_s": bandwidth / 1e9,
        "batch_gflop": flops / 1e9,
        "batch_gb": volume / 1e9,
        "network_share_of_roofline": bound / alone,
        "tile_bound_s": tile_bound,
        "tile_share_of_roofline": tile_bound / tile_s,
    }


def _needs(one: NetworkCard, x: Tensor) -> tuple[float, float]:
    """(floating-point operations, bytes that convolutions read and write) of one batch."""
    network = load_network(one).to(x.device)
    bytes_each = 2 if fast_half(x.device) else 4
    volume = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal volume
        volume += bytes_each * (inputs[0].numel() + output.numel())
        volume += bytes_each * sum(weight.numel() for weight in module.parameters())

    hooks = [
        module.register_forward_hook(count) for module in network.modules() if isinstance(module, nn.Conv2d)
    ]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(padded(x, 16))
    for hook in hooks:
        hook.remove()
    return float(counter.get_total_flops()), float(volume)


def _peak_flops(where: torch.device) -> float:
    """Operations per second of large matrix products, in the type that prediction uses."""
    side = 8192 if where.type == "cuda" else 1024
    kind = torch.bfloat16 if fast_half(where) else torch.float32
    a, b = (torch.randn(side, side, device=where, dtype=kind) for _ in range(2))
    _ = a @ b
    seconds = min(_timed(lambda: a @ b, where) for _ in range(10))
    return 2.0 * side**3 / seconds


def _bandwidth(where: torch.device) -> float:
    """Bytes per second of a copy, read and written."""
    count = 2**29 if where.type == "cuda" else 2**26
    source = torch.zeros(count, dtype=torch.float32, device=where)
    sink = torch.empty_like(source)
    seconds = min(_timed(lambda: sink.copy_(source), where) for _ in range(5))
    return 2.0 * 4 * count / seconds


def _agreement(one: NetworkCard, device: Device) -> float:
    """Share of equal pixels, over all heads, between this device as it is used and the CPU in fp32."""
    bands = stack(600)
    here = predict_image(one, (bands,), QUESTION, device=device).codes
    there = predict_image(one, (bands,), QUESTION, device=Device.CPU, half=False).codes
    assert open_engine(one, device).device.type == pick_device(device).type
    return float(np.mean([np.mean(here[name] == there[name]) for name in here]))


if __name__ == "__main__":
    main()
