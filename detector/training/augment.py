"""What crops go through before a network sees them: other sensors' days, gains, haze, missing bands.

Values are reflectance and dB with NaN for no data, (n, dates, 14, s, s). Small numbers are drawn on the CPU
and decided by there, so that nothing waits for a GPU; noise of every pixel is drawn on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from detector.training.batches import OPTICAL, carried
from detector.training.plan import Augmentation
from registry.chips import CHANNELS

HAZE = (1.0, 0.9, 0.72, 0.55, 0.5, 0.45, 0.42, 0.38, 0.35, 0.3, 0.1, 0.05)
"""Opacity of a thin veil per optical band against that in B01: aerosol, a little below Angstrom's 1.3."""
HAZE_BRIGHT = 0.45
"""Reflectance of the veil itself."""
SPECKLE_DB = 1.6
"""Spread of the dB of another look against this one after both were speckled (ENL about 4.4, correlated)."""
DRIFT_DB = 1.2
"""Spread of what the ground itself changed between two looks: rain, leaves; smooth over 16 px."""


def augmented(
    values: Tensor,
    settings: Augmentation,
    generator: torch.Generator,
    *,
    smaller_sets: Sequence[Sequence[str]] = (),
    band_dropout: float = 0.0,
) -> Tensor:
    """The crops, changed; ``smaller_sets`` are the band sets that crops may be cut down to."""
    values = _gains(values, settings, generator)
    values = _veil(values, settings, generator)
    values = _partner(values, settings, generator)
    if smaller_sets and band_dropout > 0.0:
        values = _cut_down(values, smaller_sets, band_dropout, generator)
    return _missing_band(values, settings, generator)


def _normal(values: Tensor, *shape: int, generator: torch.Generator) -> Tensor:
    return carried(torch.randn(*shape, generator=generator), values)


def _chosen(values: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """(n, dates, 1, 1, 1) bool, on the CPU."""
    n, dates = values.shape[:2]
    return torch.rand(n, dates, 1, 1, 1, generator=generator) < share


def _gains(values: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    n, dates = values.shape[:2]
    common = _normal(values, n, dates, 1, 1, 1, generator=generator)
    own = _normal(values, n, dates, OPTICAL, 1, 1, generator=generator)
    shift = _normal(values, n, dates, OPTICAL, 1, 1, generator=generator)
    decibel = _normal(values, n, dates, 2, 1, 1, generator=generator)
    gain = torch.exp(settings.gain * common + 0.5 * settings.gain * own)
    optical = values[:, :, :OPTICAL] * gain + settings.offset * shift
    return torch.cat([optical, values[:, :, OPTICAL:] + settings.radar_db * decibel], dim=2)


def _smooth(values: Tensor, channels: int, generator: torch.Generator, *, cells: int) -> Tensor:
    """(n, dates, channels, s, s) smooth standard normal fields."""
    n, dates, size = values.shape[0], values.shape[1], values.shape[-1]
    coarse = _normal(values, n * dates, channels, cells, cells, generator=generator)
    fine = functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
    return fine.reshape(n, dates, channels, size, size)


def _veil(values: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    chosen = _chosen(values, settings.haze, generator)
    field = torch.sigmoid(1.5 * _smooth(values, 1, generator, cells=4))
    depth = carried(torch.rand(values.shape[0], values.shape[1], 1, 1, 1, generator=generator), values)
    if not bool(chosen.any()):
        return values
    opacity = settings.haze_depth * depth * field * carried(chosen, values)
    per_band = opacity * carried(torch.tensor(HAZE), values)[:, None, None]
    optical = values[:, :, :OPTICAL] * (1.0 - per_band) + HAZE_BRIGHT * per_band
    return torch.cat([optical, values[:, :, OPTICAL:]], dim=2)


def _partner(values: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    draw = torch.rand(values.shape[0], values.shape[1], 1, 1, 1, generator=generator)
    absent = draw < settings.absent_partner
    stale = (draw >= settings.absent_partner) & (draw < settings.absent_partner + settings.stale_partner)
    return with_partner(values, absent=absent, stale=stale, generator=generator)


def with_partner(values: Tensor, *, absent: Tensor, stale: Tensor, generator: torch.Generator) -> Tensor:
    """Radar taken away or made another day's, where the (n, dates, 1, 1, 1) masks on the CPU say so."""
    radar = values[:, :, OPTICAL:]
    if bool(stale.any()):
        drift = DRIFT_DB * _smooth(radar, 2, generator, cells=max(2, values.shape[-1] // 16))
        noise = functional.avg_pool2d(_noise(radar, generator).flatten(0, 1), 3, stride=1, padding=1)
        # A mean over 3 x 3 has a third of the spread.
        other = radar + drift + 3.0 * SPECKLE_DB * noise.reshape(radar.shape)
        radar = torch.where(carried(stale, values), other, radar)
    radar = torch.where(carried(absent, values), torch.nan, radar)
    return torch.cat([values[:, :, :OPTICAL], radar], dim=2)


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of the shape and on the device of another tensor."""
    if like.device.type == "cpu":
        return torch.randn(like.shape, generator=generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    own = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=own, device=like.device)


def _cut_down(
    values: Tensor, smaller_sets: Sequence[Sequence[str]], share: float, generator: torch.Generator
) -> Tensor:
    """Both dates of a crop lose the same bands."""
    n = values.shape[0]
    kept = torch.tensor([[name in names for name in CHANNELS] for names in smaller_sets])
    which = torch.randint(len(smaller_sets), (n,), generator=generator)
    whole = torch.rand(n, 1, generator=generator) >= share
    keep = carried(kept[which] | whole, values)
    return torch.where(keep[:, None, :, None, None], values, torch.nan)


def _missing_band(values: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    n, dates = values.shape[:2]
    chosen = carried(_chosen(values, settings.missing_band, generator), values)
    which = torch.randint(len(CHANNELS), (n, dates), generator=generator)
    lost = carried(functional.one_hot(which, len(CHANNELS)).bool(), values)
    return torch.where(chosen & lost[..., None, None], torch.nan, values)
