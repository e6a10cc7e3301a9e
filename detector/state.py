"""The nouns of evidence: a ledger row, a pixel's status, and the state that rows are folded into. Pure numpy.

Days are whole days since 1970-01-01 in uint16; 0 means never. Log odds and scores are in 1/256 nat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import Reject
from registry.models import Sensor

UNITS = 256
"""Integer steps per nat, of scores and of log odds."""

NO_SCORE = -32768
"""Score of a pixel that was not seen."""

EPOCH = date(1970, 1, 1)
"""Day 0; as a day of an event it means never."""

UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]
Int16 = NDArray[np.int16]
Float32 = NDArray[np.float32]


class PixelStatus(IntEnum):
    """Where a pixel stands; stored as uint8."""

    NONE = 0
    PROVISIONAL = 1
    CONFIRMED = 2
    CLEARED = 3
    """Was provisional; the evidence went away or grew old."""
    RECLAIMED = 4
    """Was confirmed; looks like before again, long enough."""


class SensorBit(IntFlag):
    """Which sensors gave a pixel positive looks; stored as uint8."""

    S2 = 1
    S1 = 2


def to_day(moment: date) -> int:
    """Days since 1970-01-01 (UTC for a datetime)."""
    if isinstance(moment, datetime):
        moment = moment.astimezone(UTC).date()
    return (moment - EPOCH).days


def to_date(day: int) -> date | None:
    """The date of a stored day; None where it never happened."""
    return EPOCH + timedelta(days=int(day)) if day else None


@dataclass(frozen=True)
class LedgerRow:
    """What one pass says, before any history: quantised scores and how well each pixel was seen."""

    name: str
    """The pass's name without its revision, which hangs on the order of arrival; breaks ties in time."""
    acquired: datetime
    """Sensing time, with a time zone."""
    sensor: Sensor
    source: str
    """Whose history it is judged against: see ``source_name``."""
    score: Int16
    """(h, w) logit at 1/256; NO_SCORE = not seen."""
    weight: UInt8
    """(h, w) 0 unseen, 1 weak, 2 clear."""


def source_name(sensor: Sensor, card_id: str, relative_orbit: int | None = None) -> str:
    """Name of a series that may share one baseline: the card, and for radar also the relative orbit."""
    if sensor is Sensor.S2:
        return f"s2:{card_id}"
    return f"s1:{card_id}:{'none' if relative_orbit is None else relative_orbit}"


def is_optical(source: str) -> bool:
    """Whether a source is of Sentinel-2."""
    return source.startswith("s2:")


def quantise(score: Float32) -> Int16:
    """Logits (NaN = unseen) to int16 at 1/256, rounded to even, clipped to +-127 nat."""
    seen = np.isfinite(score)
    units = np.rint(np.clip(np.where(seen, score, 0.0), -127.0, 127.0) * UNITS)
    return np.where(seen, units, NO_SCORE).astype(np.int16)


@dataclass(frozen=True)
class State:
    """Evidence so far, per pixel, for one target. Arrays are (h, w) unless said, and never written to."""

    log_odds: Int16
    """Log odds of change, 1/256 nat, between floor and ceiling."""
    status: UInt8
    """A PixelStatus."""
    sensors: UInt8
    """SensorBits that gave positive looks in the run of evidence that stands."""
    n_obs: UInt16
    """Looks that were judged (had a history or a prior to stand against), one per sensor and day."""
    n_pos: UInt16
    """Distinct acquisition days with change, in the run of evidence that stands."""
    n_pos_s2: UInt16
    """Of these, clear (not weak) Sentinel-2 looks."""
    n_pos_s1: UInt16
    """Of these, Sentinel-1 looks."""
    n_miss: UInt16
    """Looks against change since ``miss_since``."""
    first_seen: UInt16
    """Day of the first look with change of the run of evidence that stands."""
    last_positive: UInt16
    """Day of the newest look with change of that run."""
    confirmed_on: UInt16
    """Day it was confirmed."""
    last_clear_before: UInt16
    """Day of the newest look without change before ``first_seen``: it happened after this."""
    miss_since: UInt16
    """Day since when the evidence stands against change."""
    look_s2: UInt16
    """Day of the newest Sentinel-2 look."""
    look_s1: UInt16
    """Day of the newest Sentinel-1 look."""
    before_s2: Int16
    """Yearly mean of the score before any change by Sentinel-2, 1/256 logit; NO_SCORE = not known yet."""
    before_s1: Int16
    """The same by Sentinel-1."""
    history: Mapping[str, Float32] = field(default_factory=dict)
    """Per source (k, h, w): weighted sums of its looks, from which its harmonic history is solved."""
    last: tuple[str, str] = ("", "")
    """(acquired in UTC, name) of the newest row folded in; rows must come in this order."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        height, width = self.status.shape
        return (height, width)


PLANES = tuple(item.name for item in fields(State) if item.name not in ("history", "last"))
"""Names of the per-pixel arrays, in order."""

_DTYPES = {
    "log_odds": np.int16,
    "status": np.uint8,
    "sensors": np.uint8,
    "before_s2": np.int16,
    "before_s1": np.int16,
}


def plane_dtype(name: str) -> np.dtype[np.generic]:
    """Stored type of a per-pixel array."""
    return np.dtype(_DTYPES.get(name, np.uint16))


def to_arrays(state: State) -> dict[str, NDArray[np.generic]]:
    """Plain arrays by name, in a fixed order, for storage: the same state gives the same bytes."""
    arrays: dict[str, NDArray[np.generic]] = {name: getattr(state, name) for name in PLANES}
    for source in sorted(state.history):
        arrays[f"history/{source}"] = state.history[source]
    arrays["last"] = np.frombuffer("\n".join(state.last).encode(), dtype=np.uint8)
    return arrays


def from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> State:
    """The state that ``to_arrays`` wrote. Raises Reject where a plane is missing or does not fit."""
    missing = sorted({*PLANES, "last"} - set(arrays))
    if missing:
        raise Reject(f"state lacks {missing}; delete it, it is made again from the ledger")
    shape = arrays["status"].shape
    for name in PLANES:
        if arrays[name].shape != shape or arrays[name].dtype != plane_dtype(name):
            raise Reject(
                f"state plane {name} is {arrays[name].dtype} {arrays[name].shape}, "
                f"needs {plane_dtype(name)} {shape}; delete the state, it is made again from the ledger"
            )
    planes: dict[str, Any] = {name: np.asarray(arrays[name]) for name in PLANES}
    sources = {name.removeprefix("history/"): name for name in arrays if name.startswith("history/")}
    acquired, _, name = bytes(np.asarray(arrays["last"]).tobytes()).decode().partition("\n")
    history: dict[str, Any] = {source: np.asarray(arrays[key]) for source, key in sources.items()}
    return State(**planes, history=history, last=(acquired, name))


def start(shape: tuple[int, int], *, floor: float = -4.0) -> State:
    """A state that has seen nothing; ``floor`` is EvidenceSettings.floor in nats."""
    planes: dict[str, Any] = {name: np.zeros(shape, dtype=plane_dtype(name)) for name in PLANES}
    planes["log_odds"] = np.full(shape, round(floor * UNITS), dtype=np.int16)
    for name in ("before_s2", "before_s1"):
        planes[name] = np.full(shape, NO_SCORE, dtype=np.int16)
    return State(**planes)


def posterior(state: State) -> Float32:
    """(h, w) probability of change."""
    odds = np.exp(state.log_odds.astype(np.float32) / UNITS)
    probability: Float32 = (odds / (1.0 + odds)).astype(np.float32)
    return probability
