"""The nouns of groundwatch (see docs/vocabulary.md): frozen values that validate themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from registry.geometry import AreaGeometry
from registry.values import UtcDatetime, Value, stable_id

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""A name that is safe in file names, URLs and message keys."""

Hectares = Annotated[float, Field(ge=0.0)]


class AreaKind(StrEnum):
    """Why an area is watched."""

    PERMITTED = "permitted"
    WATCHED = "watched"


class Sensor(StrEnum):
    """The two constellations."""

    S1 = "sentinel-1"
    S2 = "sentinel-2"


class Target(StrEnum):
    """What evidence is gathered for: total transformed area (rises), tree cover (falls)."""

    TRANSFORMED = "transformed"
    FOREST = "forest"


S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
S1_BANDS = ("VV", "VH")
MASK_BAND = "SCL"
BANDS = (*S2_BANDS, *S1_BANDS, MASK_BAND)
"""Canonical band names; everything inside groundwatch uses these, whatever the provider says."""


class Area(Value):
    """A polygon to watch."""

    id: Slug
    name: str = Field(min_length=1, max_length=200)
    kind: AreaKind
    geometry: AreaGeometry
    buffer_m: float = Field(default=0.0, ge=0.0, le=20_000.0)
    """Metres around the polygon that are watched too."""
    targets: tuple[Target, ...] = (Target.TRANSFORMED, Target.FOREST)
    tags: tuple[str, ...] = ()


class Holder(Value):
    """Who holds a permit."""

    name: str
    share: float | None = Field(default=None, ge=0.0, le=1.0)


class PermitStatus(StrEnum):
    """Normalised status of a permit; the register's own word is kept beside it."""

    GRANTED = "granted"
    PENDING = "pending"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class Permit(Value):
    """A right to mine, as one release of one register states it."""

    id: str
    """uuid5 of (source, source_id)."""
    source: str
    """The register, e.g. ``sigmine``."""
    source_id: str
    """The register's own id of the permit."""
    release: str = ""
    """The register's release or the file's date."""
    holders: tuple[Holder, ...] = ()
    status: PermitStatus = PermitStatus.UNKNOWN
    status_raw: str = ""
    stage: str = ""
    commodities: tuple[str, ...] = ()
    activities: tuple[str, ...] = ()
    """Activities or components allowed; empty = the register does not say."""
    applied: date | None = None
    granted: date | None = None
    valid_from: date | None = None
    valid_to: date | None = None
    """Last day of validity; null = unknown, never "for ever"."""
    geometry: AreaGeometry
    original_crs: str = "EPSG:4326"
    declared_ha: Hectares | None = None
    area_ha: Hectares
    """Geodesic area of the geometry."""
    geometry_note: str = ""
    """What was repaired, or how the declared area differs; empty = nothing to note."""
    raw: Mapping[str, Any] = Field(default_factory=dict)
    """The register's attributes as they came."""
    content_hash: str
    """SHA-256 of raw attributes and geometry, so that a changed row is seen as changed."""

    @property
    def holder_text(self) -> str:
        """Holders in one line, or ``holder unknown``."""
        return ", ".join(holder.name for holder in self.holders) or "holder unknown"


class ZoneKind(StrEnum):
    """Why a place has a rule of its own."""

    PROTECTED = "protected"
    INDIGENOUS = "indigenous"
    WATER = "water"
    OTHER = "other"


class Zone(Value):
    """A place with its own rule."""

    id: str
    source: str
    source_id: str
    name: str
    kind: ZoneKind = ZoneKind.PROTECTED
    geometry: AreaGeometry
    original_crs: str = "EPSG:4326"
    geometry_note: str = ""
    raw: Mapping[str, Any] = Field(default_factory=dict)
    content_hash: str


MAX_HREF = 16_384
"""Characters of an href; signed ones percent-encoded into another have some 2,000."""

MAX_SCENES = 1_000
"""Scenes of one pass; the largest area is touched by a few dozen tiles, each in a few revisions."""


class BandFile(Value):
    """Where one band of a scene lies and how its numbers become reflectance or gamma0."""

    href: str = Field(min_length=1, max_length=MAX_HREF)
    scale: float = 1.0
    offset: float = 0.0
    """physical value = number * scale + offset, as the provider declares it."""
    nodata: float | None = None
    index: int = Field(default=1, ge=1)
    """1-based band inside the file."""


class Scene(Value):
    """One STAC item, normalised: bands by canonical name, numbers explained, identity kept."""

    id: str
    """STAC item id."""
    href: str = ""
    """The STAC item's own link (rel=self), so that products can point at their source; empty = not given."""
    provider: str
    collection: str
    sensor: Sensor
    platform: str = ""
    acquired: UtcDatetime
    """Sensing time."""
    datatake: str | None = None
    """Datatake id without its ``_Nxx.xx`` baseline ending."""
    tile: str | None = None
    """MGRS tile, e.g. ``33TWL``."""
    relative_orbit: int | None = None
    orbit_state: str | None = None
    baseline: str | None = None
    """Processing baseline as ``NN.NN``."""
    version: str = ""
    """Text that changes when the provider replaces the item (updated or generation time)."""
    footprint: AreaGeometry
    epsg: int | None = None
    bands: Mapping[str, BandFile]
    offset_check: bool = False
    """True where the declared offset may already have been applied: the reader checks the pixels."""
    cloud_percent: float | None = Field(default=None, ge=0.0, le=100.0)

    @model_validator(mode="after")
    def _bands_known(self) -> Scene:
        unknown = sorted(set(self.bands) - set(BANDS))
        if unknown:
            raise ValueError(f"unknown bands {unknown}; use names out of {list(BANDS)}")
        if not self.bands:
            raise ValueError("scene has no bands; check the provider's asset names")
        return self


class Pass(Value):
    """All scenes of one acquisition over one area: the unit of work."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-zA-Z-]{8,64}$")]
    """uuid5 of (area, acquisition key); the same for every revision."""
    area_id: Slug
    key: str
    """What makes it one acquisition: sensor and datatake, or sensor, platform, orbit and time."""
    sensor: Sensor
    acquired: UtcDatetime
    """Earliest sensing time of its scenes."""
    relative_orbit: int | None = None
    revision: int = Field(default=1, ge=1)
    """Rises when scenes come, go or change, or when the partner changes."""
    scenes: tuple[Scene, ...] = Field(max_length=MAX_SCENES)
    withdrawn: bool = False
    """True = the provider took it back; it counts as never seen."""

    @property
    def name(self) -> str:
        """Sortable and unique within the area: ``20200801T092000_<id8>_r001``."""
        return f"{self.acquired:%Y%m%dT%H%M%S}_{self.id[:8]}_r{self.revision:03d}"

    @property
    def published(self) -> datetime | None:
        """When the provider put or changed the newest of its scenes, as far as their versions are times."""
        return max(filter(None, (_moment(scene.version) for scene in self.scenes)), default=None)


def _moment(version: str) -> datetime | None:
    """The version of a scene as a time; None where it is none, or names no time zone."""
    try:
        moment = datetime.fromisoformat(version)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def pass_id(area_id: str, key: str) -> str:
    """Id of a pass, whatever its revision."""
    return stable_id("pass", area_id, key)


class IncidentKind(StrEnum):
    """What kind of change an incident is."""

    FOREST_LOSS = "forest_loss"
    EXCAVATION = "excavation"


KIND_OF_TARGET = {
    Target.FOREST: IncidentKind.FOREST_LOSS,
    Target.TRANSFORMED: IncidentKind.EXCAVATION,
}


class IncidentStatus(StrEnum):
    """What the satellites say of an incident."""

    PROVISIONAL = "provisional"
    CONFIRMED = "confirmed"
    CLEARED = "cleared"
    RECLAIMED = "reclaimed"


class Review(StrEnum):
    """What people say of an incident."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"


class VerdictCase(StrEnum):
    """How a piece of an incident stands to permits and zones at the acquisition date."""

    PROTECTED_ZONE = "protected_zone"
    OUTSIDE = "outside"
    EXPIRED = "inside_expired"
    NOT_YET_VALID = "inside_not_yet_valid"
    NOT_GRANTED = "inside_not_granted"
    ACTIVITY_NOT_PERMITTED = "inside_activity_not_permitted"
    NEAR = "outside_within_grace"
    INSIDE_UNKNOWN_VALIDITY = "inside_unknown_validity"
    INSIDE = "inside_valid"


SUSPECT_CASES = frozenset(
    {
        VerdictCase.PROTECTED_ZONE,
        VerdictCase.OUTSIDE,
        VerdictCase.EXPIRED,
        VerdictCase.NOT_YET_VALID,
        VerdictCase.NOT_GRANTED,
        VerdictCase.ACTIVITY_NOT_PERMITTED,
    }
)
"""Cases that make an incident suspected of being illegal; the enum's order is their severity."""


class VerdictShare(Value):
    """Hectares of an incident that fall under one case."""

    case: VerdictCase
    hectares: Hectares
    permit_id: str | None = None
    permit_label: str = ""
    """Register id and holder of the permit, as people know it."""
    zone_id: str | None = None
    zone_label: str = ""
    distance_m: float | None = Field(default=None, ge=0.0)
    """Metres to the nearest valid permit, where the piece lies outside."""


class Verdict(Value):
    """An incident against permits and zones at the acquisition date."""

    judged_for: date
    """The acquisition date the rules were applied for."""
    case: VerdictCase
    """The most severe case with at least one pixel of area."""
    shares: tuple[VerdictShare, ...]
    """Permit cases add up to the incident's hectares; zone shares come on top of them."""
    registry_version: str

    @property
    def suspect(self) -> bool:
        """True where some of it is suspected of being illegal."""
        return self.case in SUSPECT_CASES


class Growth(Value):
    """One step in an incident's size."""

    acquired: date
    hectares: Hectares


class Pictures(Value):
    """Before and after, as blob names."""

    before: str | None = None
    after: str | None = None
    before_acquired: date | None = None
    after_acquired: date | None = None
    side_by_side: str | None = None
    """One PNG with both, outline, scale bar and dates: what a mail shows."""


class ComponentShare(Value):
    """How much of an incident's footprint one component covers."""

    component: Slug
    """Such as ``excavation`` or ``settling_pond``: a label of the model's."""
    share: float = Field(gt=0.0, le=1.0)


class Components(Value):
    """What a mining model sees on an incident's ground: a hint at what the change is, no evidence of it."""

    model: Slug
    """Id of the model card."""
    looks: int = Field(ge=1)
    """Clear optical looks since the change was first seen, whose answers are averaged."""
    newest: date
    """Acquisition date of the newest of them."""
    shares: tuple[ComponentShare, ...] = ()
    """The largest first; a place may have several (a pond inside an excavation). Empty = none named."""


class Incident(Value):
    """One change at one place over time, as the satellites see it."""

    id: str
    area_id: Slug
    kind: IncidentKind
    status: IncidentStatus
    footprint: AreaGeometry
    hectares: Hectares
    """Geodesic area of the footprint on WGS 84."""
    edge_hectares: Hectares
    """What one pixel more or less along the edge is worth."""
    anchor: tuple[float, float]
    """(lon, lat) of a point inside the footprint."""
    last_clear_before: date | None = None
    """Last clear look without change at the earliest-seen pixel: it happened after this."""
    first_seen: date
    """First look with change: it happened by then."""
    confirmed_on: date | None = None
    last_seen: date
    """Acquisition date of the newest look that this incident rests on."""
    looks: int = Field(ge=0)
    """Positive acquisition days at its best-seen pixel."""
    probability: float = Field(ge=0.0, le=1.0)
    """Median posterior over the footprint."""
    revision: int = Field(default=1, ge=1)
    """Rises when its status changes or it grows enough to be news."""
    growth: tuple[Growth, ...] = ()
    """Size at each revision, oldest first."""
    verdict: Verdict | None = None
    pictures: Pictures = Pictures()
    components: Components | None = None
    """null = no clear optical look was mapped yet, or none is to be."""
    sensors: tuple[Sensor, ...] = ()
    absorbed: tuple[str, ...] = ()
    """Ids of incidents that grew into this one: they leave the list without being withdrawn."""


class NoticeKind(StrEnum):
    """Why people are told."""

    CONFIRMED = "confirmed"
    GROWN = "grown"
    CORRECTED = "corrected"
    WITHDRAWN = "withdrawn"
    RECLAIMED = "reclaimed"


class Notice(Value):
    """A message to people about an incident; unique per (incident, kind, revision)."""

    id: str
    """uuid5 of (incident, kind, revision)."""
    kind: NoticeKind
    incident: Incident
    area_name: str
    area_kind: AreaKind
    previous_hectares: Hectares | None = None
    """What people were last told, for growth."""
    created: UtcDatetime


class DeliveryStatus(StrEnum):
    """Where one notice to one target stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up after the last attempt; ``dead retry`` revives it."""


class DeliveryRecord(Value):
    """One notice to one target."""

    notice_id: str
    target: str
    """The target's name in the configuration, never its URL."""
    status: DeliveryStatus
    attempts: int = Field(ge=0)
    error: str = ""
    not_before: UtcDatetime | None = None
    delivered: UtcDatetime | None = None
