"""What a person can set, as frozen values with their bounds. ``registry.settings`` reads them.

``configs/default.yml`` and ``docs/configuration.md`` are written from the docstrings under the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, ValidationError, model_validator

from registry.bus.kafka_settings import KafkaSettings
from registry.chips import MineComponent
from registry.config_errors import config_error, merged
from registry.detection import DetectionSettings
from registry.geometry import AreaGeometry
from registry.models import (
    Area,
    AreaKind,
    IncidentKind,
    NoticeKind,
    Sensor,
    Slug,
    Target,
    VerdictCase,
)
from registry.operations_settings import OperationsSettings
from registry.s3_settings import S3ReadSettings, S3Settings
from registry.values import Value, WrongAt
from registry.yaml_lines import Document

HostName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.:-]+$", max_length=253)]
HostPattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.:*-]+$", max_length=253)]
HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")]


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogSettings(Value):
    """Log lines on stderr."""

    level: LogLevel = LogLevel.INFO
    """debug, info, warning or error."""
    json_lines: bool = False
    """One JSON object a line, for a log collector, instead of text for people."""


class HttpSettings(Value):
    """Requests to STAC APIs."""

    timeout_s: float = Field(default=60.0, gt=0.0, le=3_600.0)
    """Seconds until one request is given up; slow catalogues need half a minute for a large page."""
    retries: int = Field(default=5, ge=0, le=50)
    """Further tries after a 429, a 5xx or a lost connection."""
    backoff_s: float = Field(default=1.0, ge=0.0, le=600.0)
    """Seconds before the first retry; doubles each time, unless the server names a delay."""
    max_backoff_s: float = Field(default=120.0, ge=0.0, le=86_400.0)
    """Longest wait in seconds, also where a server asks for more: the pass is tried again later."""


class FileSettings(Value):
    """What `groundwatch segment` and `compare` use on files, beside detection.models."""

    segment: tuple[Slug, ...] = ("mining-msi-sar", "mining-msi", "mining-rgbnir-swir", "mining-rgbnir")
    """Cards whose heads are mapped, best first; empty = the first for transformed ground that fits."""
    orientations: Literal[1, 2, 4] = 2
    """In how many `segment` shows an image to our networks; the chances are averaged, each takes its time."""
    compare: tuple[Slug, ...] = ("change-msi-sar", "change-rgbnir-swir", "change-rgbnir")
    """Cards of two dates, best first, pooled with what `segment` says of each; empty = indices decide."""


class ReadSettings(Value):
    """Reading of pixels."""

    threads: int = Field(default=8, ge=1, le=64)
    """Windows read at the same time; reading waits on the network, so more than there are cores."""
    timeout_s: float = Field(default=60.0, gt=0.0, le=3_600.0)
    """Seconds until a stalled read is cut off."""
    retries: int = Field(default=5, ge=0, le=50)
    """Further tries of one window after a failed or truncated answer."""
    backoff_s: float = Field(default=0.5, ge=0.0, le=600.0)
    """Seconds before the first retry of a window; doubles each time."""
    hosts: tuple[HostPattern, ...] = ()
    """Public hosts that items may name besides a provider's own, such as ``*.amazonaws.com``; empty = all."""
    private_hosts: tuple[HostName, ...] = ()
    """Hosts of a private network or of this machine that items may name; others there are refused."""
    s3: S3ReadSettings = S3ReadSettings()
    """Buckets that s3:// hrefs are read from; the keys of the blobs are never used for them."""


class ProviderSettings(Value):
    """One STAC API to poll."""

    name: Slug
    """Name in logs and cursors; changing it reads the provider from ``poll.start`` again."""
    profile: str = Field(default="earth-search", min_length=1)
    """A shipped profile (earth-search, planetary-computer, cdse) or the path of a YAML file."""
    url: HttpUrl | None = None
    """Root of the STAC API, where it is not the profile's."""
    collections: Mapping[Sensor, str] = {}
    """Collection ids by sensor, where they are not the profile's."""
    sensors: tuple[Sensor, ...] = Field(default=(Sensor.S2, Sensor.S1), min_length=1)
    """Which constellations are taken from this provider."""
    headers: Mapping[str, SecretStr] = {}
    """Further HTTP headers, sent with every request and never shown."""
    token: SecretStr | None = None
    """Sent as ``Authorization: Bearer``, never shown; write it as ``${NAME}``."""


class PollSettings(Value):
    """Looking for new passes."""

    interval_s: float = Field(default=3_600.0, ge=1.0, le=604_800.0)
    """Seconds between two polls; a place is passed every two to three days, an hour loses nothing."""
    start: date = date(2024, 1, 1)
    """First acquisition day that is fetched; two years of history teach a pixel its seasons."""
    lookback_days: float = Field(default=14.0, ge=0.0, le=3_650.0)
    """Days before the cursor that are asked for again: tiles arrive late and are reprocessed."""
    areas_per_query: int = Field(default=50, ge=1, le=1_000)
    """Areas asked for in one request; neighbours share tiles, so batches save most requests."""
    page_size: int = Field(default=100, ge=1, le=10_000)
    """Items per page of a search; servers cap it, and answer slowly above a few hundred."""


class WorkSettings(Value):
    """The bus: how events are handed to workers."""

    lease_s: float = Field(default=60.0, ge=1.0, le=86_400.0)
    """Seconds until the event of a silent worker is handed to another; a busy worker renews its lease."""
    max_attempts: int = Field(default=12, ge=1, le=100)
    """Tries before an event goes to the dead letters; the waits between 12 add up to most of an hour."""
    halt_after: int = Field(default=20, ge=1, le=10_000)
    """Rejected events in a row after which the process stops, rather than lose everything."""
    idle_s: float = Field(default=2.0, gt=0.0, le=3_600.0)
    """Seconds between two looks at an empty bus."""


class RouteSettings(Value):
    """Which notices go to which targets; a notice goes to every route that fits it."""

    targets: tuple[Slug, ...] = Field(min_length=1)
    """Names out of ``alerts.targets``."""
    kinds: tuple[NoticeKind, ...] = ()
    """Kinds of notice; empty = all."""
    changes: tuple[IncidentKind, ...] = ()
    """Kinds of change; empty = all."""
    cases: tuple[VerdictCase, ...] = ()
    """Verdict cases, compared with the most severe of the incident; empty = all."""
    areas: tuple[Slug, ...] = ()
    """Area ids; empty = all."""
    tags: tuple[str, ...] = ()
    """Tags of which the area has at least one; empty = all areas."""
    min_hectares: float = Field(default=0.0, ge=0.0)
    """Hectares from which an incident is told."""
    suspects_only: bool = False
    """True = only incidents suspected of being illegal."""
    components: tuple[MineComponent, ...] = ()
    """Mining components of which the incident's ground shows at least one; empty = all. An incident whose
    ground no model has seen yet fits any route: nothing is kept back for want of a clear look."""


class AlertSettings(Value):
    """Who hears of what, and how hard groundwatch tries."""

    targets: Mapping[Slug, SecretStr] = {}
    """Apprise URLs by name, never shown; write passwords and tokens as ``${NAME}``."""
    routes: tuple[RouteSettings, ...] = ()
    """Empty = every notice to every target."""
    max_attempts: int = Field(default=10, ge=1, le=100)
    """Tries of one notice to one target before it counts as failed."""
    backoff_s: float = Field(default=60.0, ge=0.0, le=86_400.0)
    """Seconds before the second try; doubles each time."""
    max_backoff_s: float = Field(default=21_600.0, ge=0.0, le=604_800.0)
    """Longest wait between two tries in seconds."""
    max_attachment_mb: float = Field(default=8.0, ge=0.0, le=100.0)
    """Megabytes above which a file is named instead of attached: many mail servers stop at 10."""

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> Self:
        for number, route in enumerate(self.routes):
            for place, name in enumerate(route.targets):
                if name not in self.targets:
                    known = ", ".join(sorted(self.targets)) or "none is defined"
                    raise WrongAt(
                        ("routes", number, "targets", place),
                        f"route names target {name!r}; name one of alerts.targets ({known})",
                    )
        return self


class AreaSettings(Value):
    """An area given in the file, or what is special about an imported one."""

    name: str = Field(default="", max_length=200)
    """What people call it; empty = the id."""
    kind: AreaKind = AreaKind.WATCHED
    """permitted (a mine with permits) or watched (forest, river, reserve)."""
    geometry: AreaGeometry | None = None
    """GeoJSON Polygon or MultiPolygon in EPSG:4326; leave it out for an imported area."""
    buffer_m: float = Field(default=0.0, ge=0.0, le=20_000.0)
    """Metres around the polygon that are watched too."""
    targets: tuple[Target, ...] = (Target.TRANSFORMED, Target.FOREST)
    """What evidence is gathered for."""
    tags: tuple[str, ...] = ()
    """Free words that routes can match."""
    detection: Mapping[str, Any] = {}
    """Any part of ``detection`` that is different here; the rest follows ``detection``."""


class Settings(Value):
    """Everything a person can set."""

    data: Path = Path("groundwatch-data")
    """Folder of the database and the blobs; relative to this file."""
    store: Path | None = None
    """The registry's SQLite file; null = groundwatch.db in ``data``."""
    bus: str | None = Field(default=None, pattern=r"^[a-z0-9+]+://.+$")
    """URL of the bus: kafka://HOST:PORT[,HOST:PORT]/PREFIX; null = the registry's SQLite file."""
    kafka: KafkaSettings = KafkaSettings()
    """The broker, where ``bus`` is a kafka:// URL."""
    blobs: str | None = Field(default=None, pattern=r"^[a-z0-9+]+://.+$")
    """URL of the blobs: file:///FOLDER or s3://BUCKET/PREFIX; null = the folder blobs in ``data``."""
    s3: S3Settings = S3Settings()
    """The S3 service that keeps the blobs, where ``blobs`` is an s3:// URL."""
    log: LogSettings = LogSettings()
    """Log lines on stderr."""
    providers: tuple[ProviderSettings, ...] = (ProviderSettings(name="earth-search"),)
    """STAC APIs to poll."""
    poll: PollSettings = PollSettings()
    """Looking for new passes."""
    http: HttpSettings = HttpSettings()
    """Requests to STAC APIs."""
    read: ReadSettings = ReadSettings()
    """Reading of pixels."""
    work: WorkSettings = WorkSettings()
    """How events are handed to workers."""
    model_cards: tuple[Path, ...] = ()
    """Folders with model cards of your own, searched after the shipped ones; relative to this file."""
    files: FileSettings = FileSettings()
    """Models for files that somebody already has."""
    detection: DetectionSettings = DetectionSettings()
    """Thresholds of detection; an area may override any of them."""
    areas: Mapping[Slug, AreaSettings] = {}
    """Areas given here by id, or what is special about imported ones."""
    alerts: AlertSettings = AlertSettings()
    """Who hears of what."""
    operations: OperationsSettings = OperationsSettings()
    """Metrics and health, for operators."""

    @property
    def store_path(self) -> Path:
        """The registry's SQLite file."""
        return self.store or self.data / "groundwatch.db"

    @property
    def bus_url(self) -> str:
        """The bus; embedded, it shares the registry's file so that rows and events commit together."""
        return self.bus or f"sqlite:///{self.store_path}"

    @property
    def is_embedded(self) -> bool:
        """Whether the bus is the registry's own file: one machine, any number of processes."""
        return self.bus_url == f"sqlite:///{self.store_path}"

    @property
    def blobs_url(self) -> str:
        """The blobs."""
        return self.blobs or f"file://{(self.data / 'blobs').absolute()}"

    @property
    def blob_cache(self) -> Path:
        """Folder of the local copies of blobs that lie in S3."""
        return self.s3.cache or (self.data / "blob-cache").absolute()

    def detection_for(self, area_id: str) -> DetectionSettings:
        """The effective detection settings of an area. Raises ConfigError where its override is bad."""
        area = self.areas.get(area_id)
        if area is None or not area.detection:
            return self.detection
        plain = merged(self.detection.model_dump(mode="json"), area.detection)
        try:
            return DetectionSettings.model_validate(plain)
        except ValidationError as exc:
            raise config_error(exc, DetectionSettings, Document(plain, "settings")) from exc

    def defined_areas(self) -> tuple[Area, ...]:
        """Areas whose polygon stands in the file."""
        return tuple(
            Area(
                id=area_id,
                name=one.name or area_id,
                kind=one.kind,
                geometry=one.geometry,
                buffer_m=one.buffer_m,
                targets=one.targets,
                tags=one.tags,
            )
            for area_id, one in self.areas.items()
            if one.geometry is not None
        )

    @model_validator(mode="after")
    def _provider_names_differ(self) -> Self:
        names = [provider.name for provider in self.providers]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise WrongAt(
                    ("providers", number, "name"),
                    f"provider name {name!r} stands twice; give each its own name",
                )
        return self
