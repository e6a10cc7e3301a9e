"""Whether bands are in the unit they should be in; what is not is refused, never predicted from. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from registry.errors import Reject
from registry.models import S1_BANDS

Float32 = NDArray[np.float32]

STRIDE = 7
"""Every so many pixels are looked at."""
FEWEST = 16
"""Samples below which a share says nothing."""

BRIGHTEST_MEDIAN = 1.6
"""Largest median reflectance of a whole band that is believed; even snow under a low sun stays below."""
STRONGEST_MEDIAN = 30.0
"""Largest median gamma0 in linear power (15 dB) that is believed; towns stay below 5."""
SCALED_TWICE = 1e-3
"""Reflectance that the brightest band must pass somewhere: the darkest lake does in blue."""

OFFSET = 0.1
"""What baseline 04.00 added to every number (1000 of 10000)."""
NEARLY = 0.005
TOO_DARK = -0.03
"""Reflectance that no surface has, noise and correction included."""
TOO_DARK_SHARE = 0.01
"""Share of such pixels in one band that shows an offset applied twice."""
NEAR_INFRARED = ("B08", "B8A", "B11", "B12")
"""Bands in which water and shadow are black, and desert and cloud never are."""
GREEN = 0.6
"""Vegetation index that only plants reach; with it, red must fall below the offset."""
GREEN_SHARE = 0.05
HAZY_SWIR = 0.17
"""B11 that woods fall below somewhere, under cirrus or haze too, but not with the offset on top."""
WHITE = 0.4
"""Median visible reflectance of snow and cloud, which may hide everything dark."""


def check_units(bands: Mapping[str, Float32], *, offset_known: bool = False) -> None:
    """Raise Reject where reflectance or radar is not what its name says, with the remedy.

    ``offset_known``: whoever read the bands knows from the processing baseline that the offset is right;
    then an image in which everything lies under haze is not taken for one that still holds it.
    """
    samples = {name: _sample(band) for name, band in bands.items()}
    samples = {name: sample for name, sample in samples.items() if sample.size}
    optical = {name: sample for name, sample in samples.items() if name not in S1_BANDS}
    for name, sample in samples.items():
        if name in S1_BANDS:
            _check_power(name, sample)
        else:
            _check_reflectance(name, sample)
    if optical:
        _check_together(optical, offset_known=offset_known)


def _sample(band: Float32) -> Float32:
    found = band.reshape(-1)[::STRIDE]
    finite: Float32 = found[np.isfinite(found)]
    return finite


def _check_power(name: str, sample: Float32) -> None:
    if float(sample.min()) < 0.0:
        raise Reject(f"{name} holds {float(sample.min()):.4g}; give gamma0 in linear power, not dB")
    if float(np.median(sample)) > STRONGEST_MEDIAN:
        raise Reject(
            f"{name} has a median of {float(np.median(sample)):.4g}; give gamma0 in linear power, "
            "calibrated, not digital numbers"
        )


def _check_reflectance(name: str, sample: Float32) -> None:
    middle = float(np.median(sample))
    if middle > BRIGHTEST_MEDIAN:
        raise Reject(
            f"{name} has a median of {middle:.4g}; give reflectance from 0 to 1 "
            "(Sentinel-2 numbers divided by 10000)"
        )
    if sample.size >= FEWEST and float(np.mean(sample < TOO_DARK)) > TOO_DARK_SHARE:
        raise Reject(
            f"{name} is below {TOO_DARK} in {np.mean(sample < TOO_DARK):.0%} of its pixels; its offset "
            "was applied twice: apply it once"
        )


def _check_together(optical: Mapping[str, Float32], *, offset_known: bool) -> None:
    if min(sample.size for sample in optical.values()) < FEWEST:
        return
    brightest = max(float(np.percentile(sample, 99)) for sample in optical.values())
    if 0.0 < brightest < SCALED_TWICE:
        raise Reject(
            f"the brightest band reaches {brightest:.2g}; reflectance was scaled twice, give it from 0 to 1"
        )
    if not offset_known and _offset_left(optical):
        raise Reject(
            "no band has a pixel darker than 0.1, though there are plants, water or shadow; the offset of "
            "-1000 of Sentinel-2's processing baseline 04.00 was not applied: subtract 0.1 (--offset -0.1)"
        )


def _offset_left(optical: Mapping[str, Float32]) -> bool:
    """Whether every number is 0.1 too high, as the darkest ones show.

    Nothing lies below the offset in any band, and either plants would be seen if it were taken off
    (whose red is far darker than 0.1), or near infrared begins just there, as over water and shadow.
    Desert, snow and cloud may be as bright, but show neither. Woods under a veil of haze have no dark red
    either, but short-wave infrared sees through it.
    """
    floors = {name: float(np.percentile(sample, 0.5)) for name, sample in optical.items()}
    if min(floors.values()) < OFFSET - NEARLY:
        return False
    visible = [float(np.median(optical[name])) for name in ("B02", "B03", "B04") if name in optical]
    if visible and min(visible) > WHITE:
        return False
    if any(floors[name] < OFFSET + 6 * NEARLY for name in NEAR_INFRARED if name in floors):
        return True
    return floors.get("B11", HAZY_SWIR) >= HAZY_SWIR and _green_share(optical) > GREEN_SHARE


def _green_share(optical: Mapping[str, Float32]) -> float:
    """Share of pixels that would be green without the offset."""
    infrared = next((name for name in ("B08", "B8A") if name in optical), None)
    if infrared is None or "B04" not in optical or optical[infrared].size != optical["B04"].size:
        return 0.0
    near, red = optical[infrared] - OFFSET, optical["B04"] - OFFSET
    return float(np.mean(near - red > GREEN * np.maximum(near + red, 1e-3)))
