"""Passes as products: names, orbits and times as the real archives write them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from simulator.frame import START, Frame, moment
from simulator.noise import generator
from simulator.radar import TRACKS, Track

S2_ORBIT = 67
"""Relative orbit of Sentinel-2 over the district."""

BASELINES = ((date(2024, 7, 23), "05.11"), (date(2023, 12, 13), "05.10"), (date(2022, 12, 6), "05.09"))
"""From when on products carry which processing baseline, newest first."""

_S2_ORBITS = {"sentinel-2a": 41_904, "sentinel-2b": 32_995}
"""Absolute orbit at START, by which 143 orbits are flown in 10 days."""


@dataclass(frozen=True)
class OpticalProduct:
    """One Sentinel-2 product."""

    day: date
    platform: str
    sensed: datetime
    generated: datetime
    baseline: str
    sequence: int
    """Counts products of one tile and day, as Earth Search does."""
    tile: str
    part: str = "whole"
    """``north`` or ``south`` where two ground stations each got a piece."""

    @property
    def short(self) -> str:
        """Mission in the products' own way: ``S2A``."""
        return "S2" + self.platform[-1].upper()

    @property
    def id(self) -> str:
        """STAC item id."""
        return f"{self.short}_{self.tile}_{self.day:%Y%m%d}_{self.sequence}_L2A"

    @property
    def start(self) -> datetime:
        """Start of the datatake, some minutes of flight before the tile."""
        return moment(self.day, 14, 0, 51 if self.platform == "sentinel-2a" else 49)

    @property
    def orbit(self) -> int:
        """Absolute orbit."""
        flown = round((self.day - START).days * 14.3)
        return _S2_ORBITS[self.platform] + flown

    @property
    def datatake(self) -> str:
        """Datatake id with its baseline."""
        return f"G{self.short}_{self.start:%Y%m%dT%H%M%S}_{self.orbit:06d}_N{self.baseline}"

    @property
    def product_uri(self) -> str:
        """Name of the SAFE product."""
        number = self.baseline.replace(".", "")
        return (
            f"{self.short}_MSIL2A_{self.start:%Y%m%dT%H%M%S}_N{number}_R{S2_ORBIT:03d}_T{self.tile}_"
            f"{self.generated:%Y%m%dT%H%M%S}.SAFE"
        )


@dataclass(frozen=True)
class RadarProduct:
    """One Sentinel-1 product."""

    day: date
    track: Track
    start: datetime
    orbit: int

    @property
    def id(self) -> str:
        """STAC item id as the Planetary Computer writes it."""
        stop = self.start + timedelta(seconds=25)
        take = (self.orbit * 0x1F3 + 0x3A7) % 0xFFFFFF
        span = f"{self.start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}"
        return f"S1A_IW_GRDH_1SDV_{span}_{self.orbit:06d}_{take:06X}_rtc"


def optical_products(frame: Frame, days: int, seed: int) -> tuple[OpticalProduct, ...]:
    """Every fifth day, Sentinel-2A and 2B in turn."""
    found = []
    for number, offset in enumerate(range(2, days, 5)):
        day = START + timedelta(days=offset)
        delay = float(generator(seed, 60, day.toordinal()).uniform(3.2, 6.5))
        sensed = moment(day, 14, 8, 31.6 + 0.1 * (number % 7))
        found.append(
            OpticalProduct(
                day=day,
                platform="sentinel-2b" if number % 2 else "sentinel-2a",
                sensed=sensed,
                generated=_whole(sensed + timedelta(hours=delay)),
                baseline=next(number for since, number in BASELINES if day >= since),
                sequence=0,
                tile=frame.tile,
            )
        )
    return tuple(found)


def radar_products(days: int, seed: int) -> tuple[RadarProduct, ...]:
    """Every twelfth day on each of two relative orbits."""
    found = []
    for track in TRACKS:
        for offset in range(track.first, days, 12):
            day = START + timedelta(days=offset)
            jitter = float(generator(seed, 61, day.toordinal()).uniform(-0.4, 0.4))
            start = _whole(moment(day, track.hour, track.minute, 12.5 + jitter))
            orbit = 49_218 + track.relative_orbit // 8 + int(np.floor(offset * 175 / 12))
            found.append(RadarProduct(day=day, track=track, start=start, orbit=orbit))
    return tuple(sorted(found, key=lambda one: one.start))


def _whole(when: datetime) -> datetime:
    return when.replace(microsecond=0)
