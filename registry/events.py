"""What rooms tell each other: CloudEvents 1.0 envelopes, one version per type, keyed by area.

Golden files in tests/golden pin the wire form of every version.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from registry.detection import DetectionSettings
from registry.errors import Reject
from registry.grid import Grid
from registry.models import Area, Incident, Pass, Permit, Slug, Zone
from registry.values import UtcDatetime, Value, canonical_json, digest, stable_id

MAX_EVENT_BYTES = 8_000_000
"""Largest event that is read; a pass of a few hundred scenes is far below it."""


class RegistrySnapshot(Value):
    """The area with the permits and zones near it: all a verdict needs, stored as a blob."""

    area: Area
    permits: tuple[Permit, ...]
    zones: tuple[Zone, ...]

    @property
    def version(self) -> str:
        """SHA-256 of the content."""
        return digest(self)

    @property
    def blob(self) -> str:
        """Where it is stored: the name carries the content."""
        return f"registry/{self.area.id}/{self.version}.json"


class RegistryRef(Value):
    """Names a stored RegistrySnapshot."""

    version: str
    blob: str


class Task(Value):
    """What every event to a detector carries."""

    area: Area
    grid: Grid
    registry: RegistryRef
    settings: DetectionSettings


class PassFound(Task):
    """A pass to detect on: new, revised, or with a new partner."""

    pass_: Pass = Field(alias="pass")
    partner: Pass | None = None
    """Latest pass of the other sensor acquired before it, within its age limit."""

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        for one in (self.pass_, self.partner):
            if one is not None and one.area_id != self.area.id:
                raise ValueError(f"pass {one.id} is of area {one.area_id}, not {self.area.id}")
        if self.partner is not None and self.partner.sensor == self.pass_.sensor:
            raise ValueError(f"partner {self.partner.id} has the pass's own sensor")
        return self


class PermitsChanged(Task):
    """Permits or zones near an area changed: judge its incidents again."""


class ChangeFound(Value):
    """The incidents of an area after a pass was folded in, or judged again: the whole list."""

    area: Area
    pass_id: str | None
    """The pass that led to it; null after a change of permits."""
    pass_revision: int | None
    acquired: UtcDatetime | None
    """Newest acquisition in the ledger."""
    ledger_digest: str
    """Identifies the passes the list rests on."""
    registry_version: str
    settings_digest: str
    incidents: tuple[Incident, ...]
    clear_fraction: float | None = None
    """Share of the area seen clearly by the pass; null after a change of permits."""
    notes: tuple[str, ...] = ()
    """What a person should know of the pass: offset found applied, shift, rejected scenes."""


Data = PassFound | PermitsChanged | ChangeFound

_TYPES: dict[str, type[PassFound] | type[PermitsChanged] | type[ChangeFound]] = {
    "org.groundwatch.pass-found.v1": PassFound,
    "org.groundwatch.permits-changed.v1": PermitsChanged,
    "org.groundwatch.change-found.v1": ChangeFound,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


class Event(Value):
    """A CloudEvents 1.0 envelope; ``subject`` is the area and the ordering key."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: Slug
    time: UtcDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str
    data: Data

    @model_validator(mode="after")
    def _ordered_by_its_area(self) -> Self:
        if self.subject != self.data.area.id:
            raise ValueError(f"subject is {self.subject}, but the data are of area {self.data.area.id}")
        return self

    @property
    def key(self) -> str:
        """Events of one key are handled in order."""
        return self.subject

    def to_json(self) -> bytes:
        """The wire form, canonical."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def from_json(cls, raw: bytes) -> Event:
        """Parse and check an event from outside. Raises Reject with one line.

        Attributes of the envelope that are not known are passed over, as CloudEvents asks, and so is what a
        newer detector says beyond this version. A task must be understood to the last field: half
        understood, it would be carried out wrongly.
        """
        if len(raw) > MAX_EVENT_BYTES:
            raise Reject(f"event has {len(raw)} bytes, at most {MAX_EVENT_BYTES} are read")
        try:
            plain: Any = json.loads(raw, parse_constant=_refuse_constant)
            if _HALF_PAIR.search(raw):
                json.dumps(plain, ensure_ascii=False).encode()
            kind = _TYPES[plain["type"]]
            data = kind.model_validate(plain["data"], extra="ignore" if kind is ChangeFound else None)
            return cls.model_validate({**plain, "data": data}, extra="ignore")
        except KeyError as exc:
            what = _short(repr(exc.args[0]))
            raise Reject(f"event has no or an unknown {what}; known types: {sorted(_TYPES)}") from exc
        except ValidationError as exc:
            first = exc.errors()[0]
            where = _short(".".join(str(part) for part in first["loc"]))
            raise Reject(f"event is not valid at {where or 'top'}: {_short(first['msg'])}") from exc
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
            raise Reject(f"event is not a CloudEvents JSON object: {_short(str(exc))}") from exc


_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
"""Where half of a surrogate pair may stand escaped: text that can be read and never written again."""


def _short(text: str) -> str:
    """What a stranger wrote, as one line of a length to be read."""
    return " ".join(text.split())[:500]


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def make_event(data: Data, *, source: str, at: UtcDatetime, identity: tuple[object, ...]) -> Event:
    """Wrap ``data``; the id is a uuid5 of the type and ``identity``, so a repeat is the same event."""
    name = _NAMES[type(data)]
    area = data.area.id
    return Event(
        id=stable_id(name, area, *identity),
        source=source,
        type=name,
        subject=area,
        time=at,
        dataschema=f"urn:groundwatch:schema:{name.removeprefix('org.groundwatch.')}",
        data=data,
    )


def pass_found(data: PassFound, *, at: UtcDatetime) -> Event:
    """The event for a pass; the same pass, revision, registry and settings give the same id."""
    identity = (
        data.pass_.id,
        data.pass_.revision,
        data.grid.model_dump_json(),
        data.settings.digest,
    )
    return make_event(data, source="groundwatch/ingest", at=at, identity=identity)


def permits_changed(data: PermitsChanged, *, at: UtcDatetime) -> Event:
    """The event for a change of permits near an area."""
    identity = (data.registry.version, data.settings.digest)
    return make_event(data, source="groundwatch/registry", at=at, identity=identity)


def change_found(data: ChangeFound, *, at: UtcDatetime) -> Event:
    """The event for an area's incidents; the same ledger, permits and settings give the same id."""
    identity = (data.ledger_digest, data.registry_version, data.settings_digest, data.pass_id)
    return make_event(data, source="groundwatch/detector", at=at, identity=identity)
