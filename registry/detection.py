"""Every threshold of detection, with its unit and its reason: what a person tunes in YAML, what an
event carries, and what the names of ledger and state depend on. See docs/detection.md."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from registry.models import Slug
from registry.values import Value, WrongAt, digest


class QualitySettings(Value):
    """Which pixels of a pass count as seen."""

    scl_bad: tuple[int, ...] = (0, 1, 3, 8, 9, 10, 11)
    """Scene classes that hide the ground: no data, saturated, shadow, clouds, cirrus, snow."""
    scl_weak: tuple[int, ...] = (2, 7)
    """Scene classes that count half: dark, unclassified."""
    cloud_dilation_m: float = Field(default=100.0, ge=0.0, le=500.0)
    """Metres around clouds that count as hidden: the scene classes miss thin edges of one to ten pixels."""
    shadow_dilation_m: float = Field(default=60.0, ge=0.0, le=500.0)
    """Metres around cloud shadows that count as hidden; their edges are sharper than those of clouds."""
    edge_erosion_px: int = Field(default=1, ge=0, le=10)
    """Pixels taken off beside no data; 60 m bands end earlier than 10 m bands."""
    min_clear_fraction: float = Field(default=0.0, ge=0.0, le=1.0)
    """A pass with a smaller clear share of the area is recorded but gives no evidence."""


class PartnerSettings(Value):
    """How old the other sensor's pass may be."""

    s1_max_age_days: float = Field(default=24.0, gt=0.0)
    """Oldest Sentinel-1 pass fused with a Sentinel-2 pass."""
    s2_max_age_days: float = Field(default=45.0, gt=0.0)
    """Oldest Sentinel-2 pass fused with a Sentinel-1 pass."""


class SourceWeights(Value):
    """How one sensor's look enters the fold (detection.md section 3)."""

    weight: float = Field(gt=0.0)
    """Factor on the log-likelihood ratio of one look: radar looks repeat each other's speckle, so below 1."""
    cap: float = Field(gt=0.0)
    """Largest log-likelihood ratio of one look, in nats."""
    outlier: float = Field(gt=0.0, lt=1.0)
    """Share of looks that are missed cloud, haze or shadow."""
    sigma: float = Field(default=0.8, gt=0.0)
    """Prior spread of an unchanged pixel's score about its own season, in logits."""
    changed_mean: float = Field(default=0.7)
    """Score towards change, in logits, that a changed pixel at least centres on; 0.7 is two to one for it."""
    changed_sigma: float = Field(default=1.2, gt=0.0)
    """Spread of a changed pixel's score, in logits."""


class EvidenceSettings(Value):
    """The two-state filter (detection.md sections 2 and 3)."""

    hazard_per_day: float = Field(default=2e-5, gt=0.0, lt=0.1)
    """Chance per day that an untouched pixel changes; 2e-5 is 0.7 percent a year."""
    reversal_per_day: float = Field(default=5e-4, gt=0.0, lt=0.1)
    """Chance per day that a changed pixel is as before; 5e-4 forgets a change in about five years."""
    s2: SourceWeights = SourceWeights(weight=1.0, cap=2.8, outlier=0.06)
    """How a Sentinel-2 look counts; six in a hundred are missed cloud, haze or shadow."""
    s1: SourceWeights = SourceWeights(weight=0.6, cap=1.5, outlier=0.02)
    """How a Sentinel-1 look counts: less than an optical one."""
    floor: float = Field(default=-4.0, lt=0.0)
    """Lowest log odds in nats: after years of nothing, a few looks must still be able to tell of a change."""
    ceiling: float = Field(default=12.0, gt=0.0)
    """Highest log odds in nats, so that a reclaimed pixel can come back."""
    min_history: int = Field(default=10, ge=3)
    """Looks, weak ones in part, before a pixel's own history is trusted; until then it gives no evidence."""
    prior_strength: float = Field(default=8.0, gt=0.0)
    """Weight of the sensor's prior variance, in looks."""
    weak_look: float = Field(default=0.5, ge=0.0, le=1.0)
    """What a look through SCL 2 or 7 counts; it never counts as one of the looks that confirm."""
    ridge: float = Field(default=1.0, gt=0.0)
    """Pull of the seasonal terms towards none, in looks: a short history may not invent a season."""
    memory_looks: float = Field(default=60.0, ge=10.0)
    """Looks that a history remembers; older ones fade, so that it follows slow growth."""
    robust: float = Field(default=2.0, gt=0.0)
    """Sigmas towards change beyond which a look teaches the history less."""
    caution: float = Field(default=1.5, ge=1.0)
    """Factor on the spread of an unchanged pixel: the errors of neighbouring dates are alike."""
    positive: float = Field(default=0.5, gt=0.0)
    """Nats that a look must give to count as one with, or one without, change."""
    before_probability: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Least yearly mean probability of what can be lost: forest, or ground not yet transformed."""
    shift_max: float = Field(default=1.5, ge=0.0)
    """Logits taken off all pixels of a look, at most, for what they share: late spring, drought, haze."""
    shift_min_pixels: int = Field(default=200, ge=1)
    """Unchanged pixels that must be seen for that; a smaller area relies on its own pixels' history alone."""


class LifecycleSettings(Value):
    """When a pixel is provisional, confirmed, cleared, reclaimed (detection.md section 4)."""

    provisional_probability: float = Field(default=0.85, gt=0.5, lt=1.0)
    """Probability of change from which a pixel is provisional."""
    provisional_looks: int = Field(default=2, ge=1)
    """Distinct acquisition days with change before a pixel is provisional."""
    confirmed_probability: float = Field(default=0.99, gt=0.5, lt=1.0)
    """Probability of change from which a pixel is confirmed; people are told of nothing less."""
    confirmed_looks: int = Field(default=3, ge=1)
    """Distinct acquisition days with change before anything is confirmed."""
    provisional_max_days: int = Field(default=120, ge=1)
    """Days after its first look within which a change must be confirmed, or it is dropped."""
    cleared_log_odds: float = Field(default=-2.0, lt=0.0)
    """Log odds, in nats, below which a change counts as not there (any more)."""
    """Days after which a provisional pixel that was never confirmed is cleared."""
    reclaimed_looks: int = Field(default=5, ge=1)
    """Clear looks without change before a confirmed pixel counts as reclaimed."""
    reclaimed_days: int = Field(default=180, ge=1)
    """Days those looks must span: one green season is not a recovery."""


class ObjectSettings(Value):
    """From pixels to incidents (detection.md section 5)."""

    minimum_mapping_unit_ha: float = Field(default=0.1, gt=0.0)
    """Smallest incident in hectares: ten pixels of 10 m, below which edges and mixed pixels rule."""
    confirmed_min_ha: float = Field(default=0.05, ge=0.0)
    """Hectares of it that must be confirmed before people are told of an object; the rest may be likely."""
    lone_below_ha: float = Field(default=0.2, ge=0.0)
    """An object smaller than this with no other within ``match_buffer_m`` is lone: it must be surer."""
    lone_min_log_odds: float = Field(default=5.0)
    """Mean log odds, in nats, that a lone small object needs (a confirmed pixel has about 4.6)."""
    match_buffer_m: float = Field(default=25.0, ge=0.0)
    """Metres around an earlier footprint within which a change belongs to the same incident."""
    growth_min_ha: float = Field(default=0.1, ge=0.0)
    """Hectares of growth that are news."""
    growth_min_share: float = Field(default=0.10, ge=0.0)
    """Share of the size last told that is news; growth is news at the larger of the two."""


class VerdictSettings(Value):
    """The permit rule."""

    grace_m: float = Field(default=20.0, ge=0.0, le=5_000.0)
    """Metres outside a valid permit that are still ``outside_within_grace``."""


class ComponentSettings(Value):
    """What stands on an incident's ground: named by the mining models, never decided by them."""

    models: tuple[Slug, ...] = ("mining-rgbnir-swir", "mining-rgbnir")
    """Cards with mining components, best first. Empty = incidents name no components."""
    extra_bands: bool = False
    """True = bands are read that nothing else needs, and a pass waits for them as for any other; they change
    no evidence. false = the first card that can do with the others."""
    looks: int = Field(default=5, ge=1, le=50)
    """Clear optical looks whose answers are averaged, the newest ones since the change was first seen."""
    min_share: float = Field(default=0.1, gt=0.0, le=1.0)
    """Share of the footprint from which a component is named."""


class ModelSettings(Value):
    """Which model cards may be used, best first; the first that the pass can feed is taken."""

    transformed: tuple[Slug, ...] = (
        "transformed-spectral-swir-sar",
        "transformed-spectral-swir",
        "transformed-spectral-rgbnir",
    )
    """Cards for total transformed area, for Sentinel-2 passes."""
    forest: tuple[Slug, ...] = (
        "forest-spectral-swir-sar",
        "forest-spectral-swir",
        "forest-spectral-rgbnir",
    )
    """Cards for tree cover, for Sentinel-2 passes."""
    transformed_sar: tuple[Slug, ...] = ("transformed-spectral-sar",)
    """Cards for total transformed area from Sentinel-1 passes, whose evidence must rest on radar alone."""
    forest_sar: tuple[Slug, ...] = ("forest-spectral-sar",)
    """Cards for tree cover from Sentinel-1 passes, whose evidence must rest on radar alone."""


class DetectionSettings(Value):
    """All of it. An area may override any part; the event carries the effective values."""

    quality: QualitySettings = QualitySettings()
    """Which pixels of a pass count as seen."""
    partner: PartnerSettings = PartnerSettings()
    """How old the other sensor's pass may be."""
    models: ModelSettings = ModelSettings()
    """Which model cards may be used, best first; the first that the pass can feed is taken."""
    evidence: EvidenceSettings = EvidenceSettings()
    """How looks add up to a probability of change (docs/detection.md)."""
    lifecycle: LifecycleSettings = LifecycleSettings()
    """When a pixel is provisional, confirmed, cleared, reclaimed."""
    objects: ObjectSettings = ObjectSettings()
    """From pixels to incidents."""
    components: ComponentSettings = ComponentSettings()
    """What stands on an incident's ground: named by the mining models, never decided by them."""
    verdict: VerdictSettings = VerdictSettings()
    """The permit rule."""
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
            raise WrongAt(
                ("lifecycle", "provisional_probability"),
                f"provisional_probability {life.provisional_probability} is above "
                f"confirmed_probability {life.confirmed_probability}; lower it",
            )
        if life.provisional_looks > life.confirmed_looks:
            raise WrongAt(
                ("lifecycle", "provisional_looks"),
                f"provisional_looks {life.provisional_looks} is above "
                f"confirmed_looks {life.confirmed_looks}; lower it",
            )
        return self
