"""An incident against permits and zones at the acquisition date, in hectares per case. Pure.

Every hectare is counted once, under the most favourable case that holds for it: inside a valid permit
before inside an expired one, wherever permits overlap. So a share that is suspect is suspect whichever
of the overlapping permits one looks at. Zones come on top: they apply inside and outside permits.

What a permit says is read for the date asked about (``detector.validity``), not for today.

Grace: land up to ``grace_m`` outside a permit that is valid (or of unknown validity) is
``outside_within_grace``, also where an expired permit lies there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

import shapely
from shapely import STRtree
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from detector.validity import permit_case
from registry.detection import VerdictSettings
from registry.events import RegistrySnapshot
from registry.grid import Grid, area_grid
from registry.models import (
    Incident,
    IncidentKind,
    Permit,
    Verdict,
    VerdictCase,
    VerdictShare,
    Zone,
)

PIXEL_HA = 0.01
"""One pixel of 10 m: pieces below it are counted but do not decide the verdict."""

_DECIMALS = 6
"""Hectares are given to 0.01 m2."""

_VALID = frozenset({VerdictCase.INSIDE, VerdictCase.INSIDE_UNKNOWN_VALIDITY})
_SEVERITY = {case: rank for rank, case in enumerate(VerdictCase)}


def judge(incident: Incident, snapshot: RegistrySnapshot, *, on: date, settings: VerdictSettings) -> Verdict:
    """The verdict of one incident as the rules stood ``on`` the acquisition date."""
    return _Rules.of(snapshot).judge(incident, on=on, settings=settings)


def judge_all(
    incidents: Iterable[Incident], snapshot: RegistrySnapshot, *, settings: VerdictSettings
) -> tuple[Incident, ...]:
    """The incidents, each with its verdict at the date of its last news."""
    rules = _Rules.of(snapshot)
    return tuple(
        incident.model_copy(
            update={"verdict": rules.judge(incident, on=change_date(incident), settings=settings)}
        )
        for incident in incidents
    )


def change_date(incident: Incident) -> date:
    """Date an incident is judged for: its last confirmed change, else when it was first seen.

    Not the newest pass: a pit dug under a valid permit does not become illegal when the permit expires.
    """
    return incident.growth[-1].acquired if incident.growth else incident.first_seen


@dataclass(frozen=True)
class _Claim:
    """What a permit says of land: its own, or the grace strip around it. In metres of the local zone."""

    case: VerdictCase
    permit: Permit
    place: BaseGeometry
    """The permit."""
    land: BaseGeometry
    """What it speaks for."""

    @property
    def order(self) -> tuple[int, str, str, str]:
        """The most favourable case first, then by name."""
        return (-_SEVERITY[self.case], self.permit.source, self.permit.source_id, self.permit.id)


@dataclass(frozen=True)
class _Piece:
    """Part of a footprint under one case."""

    case: VerdictCase
    area: float
    """Square metres in the local zone."""
    permit: Permit | None = None
    """The permit it lies in, or the nearest valid one."""
    distance_m: float | None = None


@dataclass(frozen=True)
class _Places:
    """Permits in local metres, indexed."""

    permits: tuple[Permit, ...]
    lands: tuple[BaseGeometry, ...]
    index: STRtree

    def within(self, land: BaseGeometry, metres: float) -> list[tuple[Permit, BaseGeometry]]:
        """Those no further away than ``metres``."""
        found = self.index.query(land, predicate="dwithin", distance=metres)
        return [(self.permits[int(at)], self.lands[int(at)]) for at in found]

    def nearest(self, land: BaseGeometry) -> tuple[Permit, float] | None:
        """The nearest and its distance in metres; of equals, the first by name."""
        if not self.permits:
            return None
        found = [int(at) for at in self.index.query_nearest(land)]
        best = min(found, key=lambda at: (self.permits[at].source, self.permits[at].source_id))
        return self.permits[best], round(land.distance(self.lands[best]), 1)


def _places(pairs: Sequence[tuple[Permit, BaseGeometry]]) -> _Places:
    lands = tuple(land for _, land in pairs)
    return _Places(tuple(permit for permit, _ in pairs), lands, STRtree(lands))


@dataclass(frozen=True)
class _Rules:
    """A snapshot in local metres, indexed."""

    version: str
    frame: Grid
    permits: _Places
    zones: tuple[tuple[Zone, BaseGeometry], ...]
    zone_index: STRtree
    valid: dict[tuple[IncidentKind, date], _Places] = field(default_factory=dict)
    """Valid permits per kind and date, built when first asked for."""

    @classmethod
    def of(cls, snapshot: RegistrySnapshot) -> _Rules:
        frame = area_grid(snapshot.area.geometry, 0.0)
        zones = tuple((zone, _metres(zone.geometry, frame)) for zone in snapshot.zones)
        return cls(
            version=snapshot.version,
            frame=frame,
            permits=_places([(permit, _metres(permit.geometry, frame)) for permit in snapshot.permits]),
            zones=zones,
            zone_index=STRtree([land for _, land in zones]),
        )

    def judge(self, incident: Incident, *, on: date, settings: VerdictSettings) -> Verdict:
        footprint = _metres(incident.footprint, self.frame)
        near = self.permits.within(footprint, settings.grace_m)
        pieces, rest = _apportion(footprint, _claims(near, incident.kind, on, settings.grace_m))
        if not rest.is_empty:
            pieces.append(self._outside(rest, incident.kind, on))
        shares = (
            *_permit_shares(pieces, incident.hectares),
            *self._zone_shares(footprint, incident.hectares),
        )
        return Verdict(judged_for=on, case=_decisive(shares), shares=shares, registry_version=self.version)

    def _outside(self, land: BaseGeometry, kind: IncidentKind, on: date) -> _Piece:
        nearest = self._valid_on(kind, on).nearest(land)
        permit, distance = nearest or (None, None)
        return _Piece(VerdictCase.OUTSIDE, land.area, permit, distance)

    def _valid_on(self, kind: IncidentKind, on: date) -> _Places:
        if (kind, on) not in self.valid:
            pairs = zip(self.permits.permits, self.permits.lands, strict=True)
            chosen = [(permit, land) for permit, land in pairs if permit_case(permit, kind, on) in _VALID]
            self.valid[(kind, on)] = _places(chosen)
        return self.valid[(kind, on)]

    def _zone_shares(self, footprint: BaseGeometry, hectares: float) -> list[VerdictShare]:
        hits = [self.zones[int(at)] for at in self.zone_index.query(footprint, predicate="intersects")]
        shares = []
        for zone, place in sorted(hits, key=lambda hit: hit[0].id):
            part = footprint.intersection(place).area / footprint.area * hectares
            if round(part, _DECIMALS) > 0.0:
                shares.append(
                    VerdictShare(
                        case=VerdictCase.PROTECTED_ZONE,
                        hectares=round(part, _DECIMALS),
                        zone_id=zone.id,
                        zone_label=f"{zone.name} ({zone.kind})",
                    )
                )
        return shares


def _metres(geometry: BaseGeometry, frame: Grid) -> BaseGeometry:
    flat = frame.from_world(geometry)
    return flat if flat.is_valid else shapely.make_valid(flat)


def _claims(
    near: Sequence[tuple[Permit, BaseGeometry]], kind: IncidentKind, on: date, grace_m: float
) -> list[_Claim]:
    """What permits claim, the most favourable case first; the grace strips of valid ones in between."""
    claims = [_Claim(permit_case(permit, kind, on), permit, land, land) for permit, land in near]
    strips = [
        _Claim(VerdictCase.NEAR, one.permit, one.place, one.place.buffer(grace_m))
        for one in claims
        if one.case in _VALID and grace_m > 0.0
    ]
    return sorted([*claims, *strips], key=lambda claim: claim.order)


def _apportion(footprint: BaseGeometry, claims: Sequence[_Claim]) -> tuple[list[_Piece], BaseGeometry]:
    """(what each claim takes of the footprint, first come first served; what nobody claims)."""
    pieces: list[_Piece] = []
    rest = footprint
    for claim in claims:
        taken, rest = _split(rest, claim.land)
        if not taken.is_empty:
            near = claim.case is VerdictCase.NEAR
            distance = round(taken.distance(claim.place), 1) if near else None
            pieces.append(_Piece(claim.case, taken.area, claim.permit, distance))
    return pieces, rest


def _split(rest: BaseGeometry, land: BaseGeometry) -> tuple[BaseGeometry, BaseGeometry]:
    """(the polygons of ``rest`` in ``land``, those that are not)."""
    return _polygons(rest.intersection(land)), _polygons(rest.difference(land))


def _polygons(geometry: BaseGeometry) -> BaseGeometry:
    """Only what has area: touching edges leave lines and points behind."""
    parts = [
        part for part in shapely.get_parts(geometry).tolist() if isinstance(part, Polygon) and part.area > 0.0
    ]
    return shapely.union_all(parts) if parts else Polygon()


def _permit_shares(pieces: Sequence[_Piece], hectares: float) -> list[VerdictShare]:
    """Pieces in hectares: planar shares of the geodesic size, so that they add up to it."""
    total = sum(piece.area for piece in pieces)
    parts = [round(piece.area / total * hectares, _DECIMALS) for piece in pieces]
    largest = max(range(len(parts)), key=parts.__getitem__)
    parts[largest] = round(hectares - sum(parts) + parts[largest], 9)
    return [
        VerdictShare(
            case=piece.case,
            hectares=part,
            permit_id=piece.permit.id if piece.permit else None,
            permit_label=_label(piece.permit),
            distance_m=piece.distance_m,
        )
        for piece, part in zip(pieces, parts, strict=True)
        if part > 0.0
    ]


def _label(permit: Permit | None) -> str:
    return f"{permit.source} {permit.source_id} ({permit.holder_text})" if permit else ""


def _decisive(shares: Sequence[VerdictShare]) -> VerdictCase:
    """The most severe case with a pixel of land in all; of nothing but slivers, the largest."""
    by_case: dict[VerdictCase, float] = {}
    for share in shares:
        by_case[share.case] = by_case.get(share.case, 0.0) + share.hectares
    weighty = [case for case, size in by_case.items() if size >= PIXEL_HA]
    return min(weighty or [max(by_case, key=by_case.__getitem__)], key=_SEVERITY.__getitem__)
