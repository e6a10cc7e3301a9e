"""Each look against its pixel's own history, and the fold of ledger rows into a state. Pure.

Formulas and defaults are explained in docs/detection.md. Whatever enters a decision is either an integer or
float32 arithmetic of one rounded operation at a time (+ - * / sqrt), logarithms and exponentials come from
tables of integers: so every machine, and every replay, gets the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detector.history import SUMS, Expected, expect, learn, trust
from detector.lifecycle import count, decide, logit
from detector.looks import BEFORE_PLANE, LOOK_PLANE, Look, Pixels
from detector.state import (
    NO_SCORE,
    PLANES,
    UNITS,
    Float32,
    LedgerRow,
    PixelStatus,
    SensorBit,
    State,
    from_arrays,
    posterior,
    quantise,
    source_name,
    start,
    to_arrays,
    to_date,
    to_day,
)
from registry.detection import DetectionSettings, EvidenceSettings, SourceWeights
from registry.models import Sensor, Target
from registry.values import utc_text

__all__ = [
    "LedgerRow",
    "PixelStatus",
    "SensorBit",
    "State",
    "fold",
    "from_arrays",
    "posterior",
    "quantise",
    "source_name",
    "start",
    "to_arrays",
    "to_date",
    "to_day",
]

SAMPLE = 1 << 15
"""Pixels asked, at most about twice this, for what they share on a day."""

STEP = 64
"""Table steps per logit of distance."""
SIGMA_STEP = 32
"""Table steps per logit of spread."""
REACH = 12
"""Largest distance in logits that the tables tell apart."""
MAX_SIGMA = 4
"""Largest spread in logits that the tables tell apart."""
MAX_GAP = 400
"""Days; a longer gap counts as this."""
OUTLIER_SHIFT = 3.0
"""Logits by which missed cloud, haze and shadow push a score towards change (detection.md section 3)."""
OUTLIER_SPREAD = 3.0
"""Their spread in logits."""


def fold(state: State, row: LedgerRow, *, target: Target, settings: DetectionSettings) -> State:
    """The state after one more row; ``state`` is not touched.

    Rows come in order of (acquired, name). A second look by one sensor on one day adds nothing.
    Raises ValueError where a row is out of order or of another shape.
    """
    last = _order(state, row)
    look = Look.of(row, target=target, settings=settings)
    planes = {name: getattr(state, name).copy() for name in PLANES}
    sums = _history(state, row.source)
    pixels = Pixels.of(planes, sums, row)
    shift = _common_shift(pixels, look)
    for block in pixels.blocks():
        _fold_block(block, look, shift)
    return State(**planes, history={**state.history, row.source: sums}, last=last)


def _order(state: State, row: LedgerRow) -> tuple[str, str]:
    last = (utc_text(row.acquired), row.name)
    if last <= state.last:
        raise ValueError(
            f"row {row.name} of {last[0]} comes after {state.last[1]} of {state.last[0]}; sort the ledger"
        )
    if row.score.shape != state.shape or row.weight.shape != state.shape:
        raise ValueError(f"row {row.name} is {row.score.shape}, the state {state.shape}; use one grid")
    return last


def _history(state: State, source: str) -> Float32:
    known = state.history.get(source)
    return np.zeros((len(SUMS), *state.shape), dtype=np.float32) if known is None else known.copy()


def _was_otherwise(pixels: Pixels, expected: Expected, look: Look) -> Tensor:
    """True where the pixel was not yet what the change leads to: forest, or not transformed."""
    limit = logit(look.evidence.before_probability)
    own = expected.mean < -limit
    if look.sensor is Sensor.S2:
        return own
    # Optical history knows a forest better than radar does, where there is one.
    optical = pixels.tensor("before_s2")
    return torch.where(optical == NO_SCORE, own, optical.to(torch.float32) * (look.sign / UNITS) < -limit)


def _common_shift(pixels: Pixels, look: Look) -> float:
    """What most unchanged pixels share today, upwards only, in logits: weather, season, haze; not change.

    The median residual of a regular sample, between 0 and ``shift_max``; 0 where fewer than
    ``shift_min_pixels`` can be asked.
    """
    if look.evidence.shift_max == 0.0:
        return 0.0
    sample = pixels.part(slice(None, None, max(1, pixels.score.size // SAMPLE)))
    seen, _, score = sample.looks(look)
    expected = expect(sample.sums, look)
    asked = (
        seen & expected.known & _was_otherwise(sample, expected, look) & (sample.tensor("first_seen") == 0)
    )
    if int(asked.sum()) < look.evidence.shift_min_pixels:
        return 0.0
    steps = torch.round((score - expected.score)[asked] * STEP).to(torch.int32)
    return min(max(int(steps.median()) / STEP, 0.0), look.evidence.shift_max)


def _fold_block(pixels: Pixels, look: Look, shift: float) -> None:
    """Fold one block in place: judge, predict and update, then learn where nothing is going on."""
    seen, clear, score = pixels.looks(look)
    share = torch.where(clear, 1.0, look.evidence.weak_look) * seen
    expected = expect(pixels.sums, look)
    p = {name: pixels.tensor(name) for name in PLANES}
    judged = seen & expected.known & (_was_otherwise(pixels, expected, look) | (p["first_seen"] > 0))
    above = score - shift - expected.score
    step = _evidence(above, score - shift, expected, look)
    step = torch.where(judged, (step * torch.round(share * UNITS).to(torch.int32)) >> 8, 0)
    p["log_odds"] = torch.where(judged, _update(p, step, look), p["log_odds"])
    least = round(look.evidence.positive * UNITS)
    positive, against = judged & (step >= least), judged & (step <= -least)
    count(p, positive, against, clear, look)
    decide(p, judged, positive, look)
    calm = seen & (p["first_seen"] == 0) & ~(positive & expected.known)
    learn(pixels.sums, score, trust(above, expected, share * calm, look), look)
    own = BEFORE_PLANE[look.sensor]
    before = torch.round(torch.clamp(expected.mean * look.sign, -127.0, 127.0) * UNITS).to(torch.int32)
    p[own] = torch.where(calm & expected.known, before, p[own])
    p[LOOK_PLANE[look.sensor]] = torch.where(seen, look.day, p[LOOK_PLANE[look.sensor]])
    p["n_obs"] = p["n_obs"] + judged
    for name in PLANES:
        pixels.planes[name][...] = p[name].numpy()


def _evidence(above: Tensor, score: Tensor, expected: Expected, look: Look) -> Tensor:
    """Log-likelihood ratio of change against no change, weighted and capped, in 1/256 nat.

    A score below what is expected counts as expected, one beyond what is expected of change counts as that:
    the ratio never falls as the score rises.
    """
    source = look.source
    same, changed = _tables(source)
    mean = torch.clamp(expected.score + expected.sigma, min=source.changed_mean)
    row = torch.clamp(torch.round(expected.sigma * SIGMA_STEP), 1, MAX_SIGMA * SIGMA_STEP).to(torch.int64)
    column = torch.clamp(torch.round(above * STEP), 0, REACH * STEP).to(torch.int64)
    off = torch.clamp(torch.round((mean - score) * STEP), 0, REACH * STEP).to(torch.int64)
    ratio = changed[off] - same[row * (REACH * STEP + 1) + column]
    cap = round(source.cap * UNITS)
    return torch.clamp((ratio * round(source.weight * UNITS)) >> 8, -cap, cap)


@lru_cache(maxsize=8)
def _tables(source: SourceWeights) -> tuple[Tensor, Tensor]:
    """Log densities in 1/256 nat: no change by (sigma, distance above it), change by distance below it."""
    distance = np.arange(REACH * STEP + 1) / STEP
    sigma = np.maximum(np.arange(MAX_SIGMA * SIGMA_STEP + 1), 1)[:, None] / SIGMA_STEP
    stray = source.outlier * _normal(distance - OUTLIER_SHIFT, OUTLIER_SPREAD)
    same = np.log((1.0 - source.outlier) * _normal(distance, sigma) + stray)
    wide = source.outlier * _normal(distance, OUTLIER_SPREAD)
    changed = np.log((1.0 - source.outlier) * _normal(distance, source.changed_sigma) + wide)
    return _units(same).reshape(-1), _units(changed)


def _normal(x: NDArray[np.float64], sigma: NDArray[np.float64] | float) -> NDArray[np.float64]:
    density: NDArray[np.float64] = np.exp(-0.5 * (x / sigma) ** 2) / (sigma * math.sqrt(2.0 * math.pi))
    return density


def _units(nats: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.rint(nats * UNITS).astype(np.int32))


def _update(p: Mapping[str, Tensor], step: Tensor, look: Look) -> Tensor:
    """Predict over the days since the last look, add the evidence, keep between floor and ceiling."""
    evidence = look.evidence
    floor, ceiling = round(evidence.floor * UNITS), round(evidence.ceiling * UNITS)
    table = _prediction(evidence)
    last = torch.maximum(p["look_s1"], p["look_s2"])
    gap = torch.where(last == 0, 0, torch.clamp(look.day - last, 0, MAX_GAP))
    predicted = table[(gap * (ceiling - floor + 1) + p["log_odds"] - floor).to(torch.int64)]
    return torch.clamp(predicted + step, floor, ceiling)


@lru_cache(maxsize=8)
def _prediction(evidence: EvidenceSettings) -> Tensor:
    """New log odds by (gap in days, log odds), flat: the two-state chain's solution over the gap."""
    hazard, reversal = evidence.hazard_per_day, evidence.reversal_per_day
    floor, ceiling = round(evidence.floor * UNITS), round(evidence.ceiling * UNITS)
    probability = 1.0 / (1.0 + np.exp(-np.arange(floor, ceiling + 1) / UNITS))
    settled = hazard / (hazard + reversal)
    kept = np.exp(-(hazard + reversal) * np.arange(MAX_GAP + 1))[:, None]
    later = settled + (probability - settled) * kept
    return torch.clamp(_units(np.log(later / (1.0 - later))), floor, ceiling).reshape(-1)
