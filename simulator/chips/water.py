"""Reflectance of water from what is dissolved and suspended in it: a small bio-optical model. Pure.

Remote-sensing reflectance after Gordon et al. 1988 (u = bb / (a + bb)) and Lee et al. 2002 (through the
surface). Absorption of pure water after Pope & Fry 1997 and Kou et al. 1993, read at the bands' centres;
specific coefficients of sediment, dissolved matter and algae within published ranges for inland water.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.chips.palette import Float32

_NM = np.array([443, 492, 560, 665, 704, 740, 783, 833, 865, 945, 1614, 2202], np.float32)
_PURE = np.array([0.007, 0.018, 0.062, 0.43, 0.72, 2.6, 2.4, 3.3, 4.6, 30.0, 650.0, 2000.0], np.float32)
"""Absorption of pure water, 1/m."""
_ALGAE = np.array([0.034, 0.026, 0.008, 0.017, 0.004, 0, 0, 0, 0, 0, 0, 0], np.float32)
"""Absorption of algae, m2 per mg chlorophyll-a."""


@dataclass(frozen=True)
class Water:
    """What is in it."""

    sediment: float
    """Suspended sediment in g/m3: 1 clear, 50 a muddy river, 1,000 a freshly stirred pit."""
    dissolved: float
    """Absorption of dissolved organic matter at 440 nm, 1/m."""
    algae: float
    """Chlorophyll-a in mg/m3."""
    colour: float = 0.035
    """Absorption of the sediment at 440 nm, m2/g: .004 white rock flour, .03 clay, .08 iron oxide."""
    slope: float = 0.011
    """How fast that falls with wavelength, 1/nm."""
    glint: float = 0.004
    """Sunlight off the surface that correction leaves."""


def reflectance(water: Water) -> Float32:
    """(12,) reflectance of deep water."""
    sediment, algae = np.float32(water.sediment), np.float32(water.algae)
    scattered = 0.0012 * (550.0 / _NM) ** 4 + (0.0105 * sediment + 0.0009 * algae) * (550.0 / _NM) ** 0.5
    absorbed = (
        _PURE
        + water.dissolved * np.exp(-0.016 * (_NM - 440.0))
        + _ALGAE * algae
        + water.colour * sediment * np.exp(-water.slope * (_NM - 440.0))
    )
    u = scattered / (absorbed + scattered)
    below = (0.089 + 0.125 * u) * u
    above = 0.52 * below / (1.0 - 1.7 * below)
    return np.asarray(np.pi * above + water.glint, np.float32)
