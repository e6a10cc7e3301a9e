"""What a network looks like, as values: enough to build it, and to check weights against. No torch."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from registry.models import Slug
from registry.values import Value

STRIDE = 16
"""Sides of an input must be multiples of this: half resolution, then three more halvings."""


class Head(Value):
    """One model: disjoint labels, besides background."""

    name: Slug
    labels: tuple[str, ...] = Field(min_length=1)

    @property
    def classes(self) -> int:
        """Labels and background."""
        return len(self.labels) + 1


class Plan(Value):
    """What a network looks like: everything that is needed to build it before its weights are loaded."""

    channels: int = Field(ge=1, le=64)
    """Input channels."""
    width: int = Field(default=24, ge=4, le=256)
    """Channels at half resolution; doubled at each halving, four times at most."""
    blocks: Annotated[int, Field(ge=1, le=6)] = 1
    """Residual blocks per scale."""
    fine: Annotated[int, Field(ge=0, le=128)] = Field(default=0, exclude_if=lambda value: not value)
    """Channels of a last stage at full resolution, which sees the bands once more; 0 = none."""
    heads: tuple[Head, ...] = Field(min_length=1)
    separate: bool = False
    """One whole network per head instead of one trunk for all."""

    @property
    def form(self) -> tuple[int, int, int, bool]:
        """Width, blocks, fine channels, separate: where these are alike, one takes over another's weights."""
        return (self.width, self.blocks, self.fine, self.separate)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [head.name for head in self.heads]
        if len(set(names)) != len(names):
            raise ValueError(f"heads {names} name one twice; name each once")
        return self
