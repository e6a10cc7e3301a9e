"""The life of a pixel (provisional, confirmed, cleared, reclaimed) and the counts behind it. Pure torch.

``p`` holds the state's planes as int32 tensors by name; functions set entries of it, never write in place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from detector.looks import Look
from detector.state import UNITS, PixelStatus, SensorBit
from registry.models import Sensor


def count(p: dict[str, Tensor], positive: Tensor, against: Tensor, clear: Tensor, look: Look) -> None:
    """Begin a run of evidence at its first positive look, and count days for and against."""
    p["last_clear_before"] = torch.where(against & (p["first_seen"] == 0), look.day, p["last_clear_before"])
    begins = positive & (p["first_seen"] == 0)
    p["first_seen"] = torch.where(begins, look.day, p["first_seen"])
    new_day = positive & clear & (p["last_positive"] != look.day)
    own, bit = ("n_pos_s2", SensorBit.S2) if look.sensor is Sensor.S2 else ("n_pos_s1", SensorBit.S1)
    p["n_pos"] = p["n_pos"] + new_day
    p[own] = p[own] + (positive & clear)
    p["sensors"] = torch.where(positive, p["sensors"] | int(bit), p["sensors"])
    p["last_positive"] = torch.where(positive & clear, look.day, p["last_positive"])
    p["n_miss"] = p["n_miss"] + (against & clear & (p["miss_since"] > 0))


def decide(p: dict[str, Tensor], judged: Tensor, positive: Tensor, look: Look) -> None:
    """Statuses by the lifecycle of docs/detection.md; a run ends when it is cleared or reclaimed.

    A positive look never ends a run, however low the odds still are.
    """
    life = look.settings.lifecycle
    odds, settled = p["log_odds"], p["status"] == PixelStatus.CONFIRMED
    doubtful = odds < round(life.cleared_log_odds * UNITS)
    seen_well = (p["n_pos_s2"] >= 1) | (p["n_pos_s1"] >= 2)
    likely = judged & ~settled & (odds >= _threshold(life.provisional_probability))
    certain = judged & ~settled & (odds >= _threshold(life.confirmed_probability)) & seen_well
    likely &= p["n_pos"] >= life.provisional_looks
    certain &= p["n_pos"] >= life.confirmed_looks
    old = judged & (look.day - p["first_seen"] > life.provisional_max_days) & ~certain
    ended = judged & ~settled & (p["first_seen"] > 0) & ((doubtful & ~positive) | old)
    p["status"] = torch.where(likely, int(PixelStatus.PROVISIONAL), p["status"])
    p["status"] = torch.where(certain, int(PixelStatus.CONFIRMED), p["status"])
    p["confirmed_on"] = torch.where(certain, look.day, p["confirmed_on"])
    cleared = ended & (p["status"] == PixelStatus.PROVISIONAL)
    p["status"] = torch.where(cleared, int(PixelStatus.CLEARED), p["status"])
    p["log_odds"] = torch.where(ended & old, round(look.evidence.floor * UNITS), odds)
    _forget(p, ended | _reclaim(p, judged & settled, doubtful, look))


def _reclaim(p: dict[str, Tensor], held: Tensor, doubtful: Tensor, look: Look) -> Tensor:
    """Where a confirmed change has looked undone for long enough; notes since when it does."""
    life = look.settings.lifecycle
    begins = held & doubtful & (p["miss_since"] == 0)
    again = held & (p["log_odds"] > 0)
    p["miss_since"] = torch.where(begins, look.day, torch.where(again, 0, p["miss_since"]))
    p["n_miss"] = torch.where(again, 0, p["n_miss"])
    long = (p["miss_since"] > 0) & (look.day - p["miss_since"] >= life.reclaimed_days)
    undone = held & doubtful & long & (p["n_miss"] >= life.reclaimed_looks)
    p["status"] = torch.where(undone, int(PixelStatus.RECLAIMED), p["status"])
    return undone


def _forget(p: dict[str, Tensor], ended: Tensor) -> None:
    """End the run of evidence; what is known of it stays in the confirmed day and the status."""
    for name in (
        "first_seen",
        "last_positive",
        "n_pos",
        "n_pos_s2",
        "n_pos_s1",
        "sensors",
        "miss_since",
        "n_miss",
    ):
        p[name] = torch.where(ended, 0, p[name])


def _threshold(probability: float) -> int:
    return round(logit(probability) * UNITS)


def logit(probability: float) -> float:
    """Log odds in nats."""
    return math.log(probability / (1.0 - probability))
