"""The state's pixels as connected objects: cut out, outlined, measured. Pure.

4-connected, so that every outline is one polygon without self-crossings (rasterio's 8 gives invalid ones).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes
from rasterio.transform import Affine
from scipy import ndimage
from shapely import STRtree
from shapely.geometry import Polygon, shape
from shapely.geometry.base import BaseGeometry

from detector.state import UNITS, PixelStatus, SensorBit, State, to_date
from registry.detection import ObjectSettings
from registry.grid import RESOLUTION, Grid
from registry.models import Area, Sensor

PIXEL_HA = RESOLUTION * RESOLUTION / 10_000.0
"""Nominal hectares of a pixel."""

MAX_VERTICES = 5_000
"""Most vertices of a footprint; above it the outline, not the hectares, is simplified."""

DEGREES = 7
"""Decimals of coordinates: 1e-7 degree is a centimetre."""

LEAVES_AT = -2.0
"""Log odds in nats at which a pixel that was told of leaves a footprint (it enters at 0): no jitter."""

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]
"""Rows and columns of a window."""


@dataclass(frozen=True)
class Patch:
    """A connected object of the state, cut out of the grid."""

    box: Box
    """Where ``pixels`` lies on the grid."""
    pixels: Mask
    """Its pixels inside the box."""
    confirmed: bool
    """Whether its seeds are confirmed (else provisional)."""

    @property
    def size_ha(self) -> float:
        """Nominal hectares."""
        return float(self.pixels.sum()) * PIXEL_HA


def find_patches(state: State, inside: Mask, held: Mask, settings: ObjectSettings) -> list[Patch]:
    """Objects in ``inside`` that are large and sure enough, or confirmed with pixels in ``held``.

    ``held`` are the pixels of incidents that were told of: they stay in until the evidence is against them.
    """
    confirmed = (state.status == PixelStatus.CONFIRMED) & inside
    provisional = (state.status == PixelStatus.PROVISIONAL) & inside
    if not (confirmed.any() or provisional.any()):
        return []
    enough = (state.log_odds > 0) | (held & (state.log_odds > LEAVES_AT * UNITS))
    grown = enough & inside & (state.status != PixelStatus.RECLAIMED)
    labels, _ = ndimage.label(grown | confirmed | provisional)
    sure = np.unique(labels[confirmed])
    maybe = np.setdiff1d(np.unique(labels[provisional]), sure)
    boxes = ndimage.find_objects(labels)
    found = [_cut(labels, boxes, int(label), confirmed=True) for label in sure]
    found += [_cut(labels, boxes, int(label), confirmed=False) for label in maybe]
    around = _neighbourhoods(found, settings)
    known = [one.confirmed and bool(held[one.box][one.pixels].any()) for one in found]
    return [
        patch
        for patch, size, told in zip(found, around, known, strict=True)
        if told or _counts(patch, size, state, settings)
    ]


def joined(patches: Sequence[Patch]) -> Patch:
    """Several objects as one."""
    if len(patches) == 1:
        return patches[0]
    rows = slice(min(b.box[0].start for b in patches), max(b.box[0].stop for b in patches))
    columns = slice(min(b.box[1].start for b in patches), max(b.box[1].stop for b in patches))
    pixels = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=bool)
    for patch in patches:
        inside = tuple(
            slice(part.start - whole.start, part.stop - whole.start)
            for part, whole in zip(patch.box, (rows, columns), strict=True)
        )
        pixels[inside] |= patch.pixels
    return Patch(box=(rows, columns), pixels=pixels, confirmed=patches[0].confirmed)


def outline_all(patches: Sequence[Patch], grid: Grid) -> list[BaseGeometry]:
    """``outline`` of each."""
    with rasterio.Env():  # set up once: rasterio would do it for every call
        return [outline(patch, grid) for patch in patches]


def outline(patch: Patch, grid: Grid) -> BaseGeometry:
    """The union of the object's pixel squares, in grid metres: valid, one polygon per connected part."""
    rows, columns = patch.box
    left, top = grid.left + columns.start * RESOLUTION, grid.top - rows.start * RESOLUTION
    transform = Affine(RESOLUTION, 0.0, left, 0.0, -RESOLUTION, top)
    pixels = patch.pixels.astype(np.uint8)
    parts = [
        shape(found) for found, _ in shapes(pixels, mask=patch.pixels, connectivity=4, transform=transform)
    ]
    land: BaseGeometry = parts[0] if len(parts) == 1 else shapely.union_all(parts)
    return land if land.is_valid else shapely.make_valid(land)


def watched(grid: Grid, area: Area) -> Mask:
    """(h, w) pixels whose centre lies in the area or its buffer."""
    return burn([grid.from_world(shapely.segmentize(area.geometry, 0.01)).buffer(area.buffer_m)], grid)


def burn(lands: Sequence[BaseGeometry], grid: Grid) -> Mask:
    """(h, w) pixels whose centre lies in any of ``lands`` (grid metres)."""
    if not lands:
        return np.zeros(grid.shape, dtype=bool)
    transform = Affine(*grid.geotransform)
    burnt = rasterize(
        [(land, 1) for land in lands], out_shape=grid.shape, transform=transform, dtype=np.uint8
    )
    return np.asarray(burnt, dtype=bool)


@dataclass(frozen=True)
class Planes:
    """The state's planes over one object."""

    state: State
    patch: Patch

    def plane(self, name: str) -> NDArray[Any]:
        """One plane's values, in row order."""
        plane: NDArray[Any] = getattr(self.state, name)[self.patch.box]
        return plane[self.patch.pixels]

    def seeds(self, name: str) -> NDArray[Any]:
        """The same of its seeds only."""
        wanted = PixelStatus.CONFIRMED if self.patch.confirmed else PixelStatus.PROVISIONAL
        values: NDArray[Any] = self.plane(name)[self.plane("status") == wanted]
        return values

    def first_seen(self, today: date) -> tuple[date, date | None]:
        """(day of the first change, last clear look before it) at the seed that changed first."""
        days = self.seeds("first_seen").astype(np.int64)
        at = int(np.argmin(np.where(days == 0, np.iinfo(np.int64).max, days)))
        clear = self.seeds("last_clear_before").astype(np.int64)
        return to_date(int(days[at])) or today, to_date(int(clear[at]))

    def confirmed_on(self) -> date | None:
        """Earliest confirmation of its seeds."""
        days = self.seeds("confirmed_on").astype(np.int64)
        return to_date(int(days[days > 0].min())) if (days > 0).any() else None

    def last_seen(self, first: date) -> date:
        """Newest look with change."""
        return max(first, to_date(int(self.plane("last_positive").astype(np.int64).max())) or first)

    def looks(self) -> int:
        """Days with change at the pixel that has most."""
        return int(self.plane("n_pos").astype(np.int64).max())

    def probability(self) -> float:
        """Median posterior."""
        odds = float(np.median(self.plane("log_odds").astype(np.float64))) / UNITS
        return round(float(1.0 / (1.0 + np.exp(-odds))), 6)

    def sensors(self) -> tuple[Sensor, ...]:
        """Those that saw the change at any seed."""
        bits = int(np.bitwise_or.reduce(self.seeds("sensors").astype(np.int64)))
        pairs = ((SensorBit.S2, Sensor.S2), (SensorBit.S1, Sensor.S1))
        return tuple(sensor for bit, sensor in pairs if bits & bit)


def _cut(labels: NDArray[np.int32], boxes: Sequence[Box], label: int, *, confirmed: bool) -> Patch:
    box = boxes[label - 1]
    return Patch(box=box, pixels=labels[box] == label, confirmed=confirmed)


def _neighbourhoods(patches: Sequence[Patch], settings: ObjectSettings) -> list[float]:
    """For each object: hectares of all objects whose boxes come within the match buffer, itself included."""
    if not patches:
        return []
    edges = [(b.box[1].start, b.box[0].start, b.box[1].stop, b.box[0].stop) for b in patches]
    boxes = shapely.box(*np.array(edges, dtype=float).T * RESOLUTION)
    one, other = STRtree(boxes).query(boxes, predicate="dwithin", distance=settings.match_buffer_m)
    sizes = np.array([patch.size_ha for patch in patches])
    return [float(size) for size in np.bincount(one, weights=sizes[other], minlength=len(patches))]


def edge_pixels(pixels: Mask) -> int:
    """Pixels with a neighbour outside the object."""
    return int(pixels.sum() - ndimage.binary_erosion(pixels).sum())


def _counts(patch: Patch, around_ha: float, state: State, settings: ObjectSettings) -> bool:
    """Whether an object that nobody knows yet is large and sure enough."""
    if patch.size_ha < settings.minimum_mapping_unit_ha - 1e-9:
        return False
    confirmed = state.status[patch.box][patch.pixels] == PixelStatus.CONFIRMED
    if patch.confirmed and float(confirmed.sum()) * PIXEL_HA < settings.confirmed_min_ha - 1e-9:
        return False
    if around_ha >= settings.lone_below_ha - 1e-9 or not patch.confirmed:
        return True
    mean = float(state.log_odds[patch.box][patch.pixels].mean()) / UNITS
    return mean >= settings.lone_min_log_odds


def drawable(land: BaseGeometry) -> BaseGeometry:
    """The outline with so few vertices that events and mails can carry it; most are unchanged.

    Coarser in steps: small holes and parts go, then edges are simplified within the same distance.
    """
    drawn, tolerance = land, float(RESOLUTION)
    while shapely.get_num_coordinates(drawn) > MAX_VERTICES:
        tolerance *= 2.0
        drawn = _without_specks(land, tolerance * tolerance).simplify(tolerance)
    return drawn


def _without_specks(land: BaseGeometry, smallest: float) -> BaseGeometry:
    """Only parts and holes that are larger than ``smallest`` square metres; the largest part always."""
    parts = [part for part in shapely.get_parts(land).tolist() if isinstance(part, Polygon)]
    largest = max(part.area for part in parts)
    kept = [part for part in parts if part.area > min(smallest, largest * 0.999)]
    return shapely.union_all(
        [
            Polygon(part.exterior, [ring for ring in part.interiors if Polygon(ring).area > smallest])
            for part in kept
        ]
    )


def rounded(land: BaseGeometry) -> BaseGeometry:
    """Coordinates in degrees to 1e-7, about a centimetre."""
    coarse = shapely.transform(land, lambda points: np.round(points, DEGREES))
    return coarse if coarse.is_valid else shapely.make_valid(coarse)
