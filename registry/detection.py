"""Every threshold of detection, with its unit and its reason: what a person tunes in YAML, what an
event carries, and what the names of ledger and state depend on. See docs/detection.md."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from registry.models import Slug
from registry.values import Value, digest


class QualitySettings(Value):
    """Which pixels of a pass count as seen."""

    scl_bad: tuple[int, ...] = (0, 1, 3, 8, 9, 10, 11)
    """Scene classes that hide the ground: no data, saturated, shadow, clouds, cirrus, snow."""
    scl_weak: tuple[int, ...] = (2, 7)
    """Scene classes that count half: dark, unclassified."""
    cloud_dilation_m: float = Field(default=100.0, ge=0.0, le=500.0)
    shadow_dilation_m: float = Field(default=60.0, ge=0.0, le=500.0)
    edge_erosion_px: int = Field(default=1, ge=0, le=10)
    """Pixels taken off beside no data; 60 m bands end earlier than 10 m bands."""
    min_clear_fraction: float = Field(default=0.0, ge=0.0, le=1.0)
    """A pass with a smaller clear share of the area is recorded but gives no evidence."""
    max_shift_px: float = Field(default=0.5, gt=0.0)
    """A pass that is shifted by more against earlier passes gives no evidence."""


class PartnerSettings(Value):
    """How old the other sensor's pass may be."""

    s1_max_age_days: float = Field(default=24.0, gt=0.0)
    """Oldest Sentinel-1 pass fused with a Sentinel-2 pass."""
    s2_max_age_days: float = Field(default=45.0, gt=0.0)
    """Oldest Sentinel-2 pass fused with a Sentinel-1 pass."""


class SourceWeights(Value):
    """How one sensor's look enters the fold (detection.md section 3)."""

    weight: float = Field(gt=0.0)
    cap: float = Field(gt=0.0)
    """Largest log-likelihood ratio of one look, in nats."""
    outlier: float = Field(gt=0.0, lt=1.0)
    """Share of looks that are missed cloud, haze or shadow."""


class EvidenceSettings(Value):
    """The two-state filter (detection.md sections 2 and 3)."""

    hazard_per_day: float = Field(default=2e-5, gt=0.0, lt=0.1)
    reversal_per_day: float = Field(default=5e-4, gt=0.0, lt=0.1)
    s2: SourceWeights = SourceWeights(weight=1.0, cap=3.5, outlier=0.06)
    s1: SourceWeights = SourceWeights(weight=0.6, cap=1.5, outlier=0.02)
    floor: float = Field(default=-4.0, lt=0.0)
    ceiling: float = Field(default=12.0, gt=0.0)
    min_history: int = Field(default=10, ge=3)
    """Clear looks before a pixel's own history is trusted; until then the class prior stands in."""
    prior_strength: float = Field(default=8.0, gt=0.0)
    """Weight of the sensor's prior variance, in looks."""
    weak_look: float = Field(default=0.5, ge=0.0, le=1.0)
    """What a look through SCL 2 or 7 counts."""


class LifecycleSettings(Value):
    """When a pixel is provisional, confirmed, cleared, reclaimed (detection.md section 4)."""

    provisional_probability: float = Field(default=0.85, gt=0.5, lt=1.0)
    provisional_looks: int = Field(default=2, ge=1)
    confirmed_probability: float = Field(default=0.99, gt=0.5, lt=1.0)
    confirmed_looks: int = Field(default=3, ge=1)
    """Distinct acquisition days with change before anything is confirmed."""
    provisional_max_days: int = Field(default=120, ge=1)
    reclaimed_looks: int = Field(default=5, ge=1)
    reclaimed_days: int = Field(default=180, ge=1)


class ObjectSettings(Value):
    """From pixels to incidents (detection.md section 5)."""

    minimum_mapping_unit_ha: float = Field(default=0.1, gt=0.0)
    match_buffer_m: float = Field(default=25.0, ge=0.0)
    growth_min_ha: float = Field(default=0.1, ge=0.0)
    growth_min_share: float = Field(default=0.10, ge=0.0)
    """Growth is news at the larger of the two."""


class VerdictSettings(Value):
    """The permit rule."""

    grace_m: float = Field(default=20.0, ge=0.0, le=5_000.0)
    """Metres outside a valid permit that are still ``outside_within_grace``."""


class ModelSettings(Value):
    """Which model cards may be used, best first; the first that the pass can feed is taken."""

    transformed: tuple[Slug, ...] = (
        "transformed-spectral-swir-sar",
        "transformed-spectral-swir",
        "transformed-spectral-rgbnir",
    )
    forest: tuple[Slug, ...] = (
        "forest-spectral-swir-sar",
        "forest-spectral-swir",
        "forest-spectral-rgbnir",
    )
    transformed_sar: tuple[Slug, ...] = ("transformed-spectral-sar",)
    forest_sar: tuple[Slug, ...] = ("forest-spectral-sar",)
    """Cards for Sentinel-1 passes, whose evidence must rest on radar alone."""


class DetectionSettings(Value):
    """All of it. An area may override any part; the event carries the effective values."""

    quality: QualitySettings = QualitySettings()
    partner: PartnerSettings = PartnerSettings()
    models: ModelSettings = ModelSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
    objects: ObjectSettings = ObjectSettings()
    verdict: VerdictSettings = VerdictSettings()
    snapshot_every: int = Field(default=10, ge=1)
    """State blobs kept for a re-fold: the latest and every so many passes."""

    @property
    def digest(self) -> str:
        """Identifies the settings in events and names."""
        return digest(self)

    @property
    def fold_digest(self) -> str:
        """Identifies what the state depends on beyond the scores."""
        return digest(
            {
                part: getattr(self, part).model_dump(mode="json")
                for part in ("evidence", "lifecycle", "objects")
            }
        )

    @property
    def score_digest(self) -> str:
        """Identifies what the ledger's scores depend on."""
        return digest(
            {part: getattr(self, part).model_dump(mode="json") for part in ("quality", "partner", "models")}
        )

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Self:
        life = self.lifecycle
        if life.provisional_probability > life.confirmed_probability:
            raise ValueError(
                f"provisional_probability {life.provisional_probability} is above "
                f"confirmed_probability {life.confirmed_probability}; lower it"
            )
        if life.provisional_looks > life.confirmed_looks:
            raise ValueError(
                f"provisional_looks {life.provisional_looks} is above "
                f"confirmed_looks {life.confirmed_looks}; lower it"
            )
        return self
