"""How far each collection was read, as text in the store: where the next look begins."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from ingest.answers import Answer, Mark
from registry.errors import ConfigError
from registry.values import utc_text

OVERLAP = timedelta(hours=6)
"""Before the last update seen that is asked for again: items show up some time after their ``updated``,
and several may carry the same one."""

SWEEP = timedelta(days=1)
"""How often the whole look-back window is read although updates can be followed: finds what was touched
with an old date, and what the provider took back."""


@dataclass(frozen=True)
class Cursor:
    """What is known of one collection of one provider."""

    mark: Mark | None = None
    """The item touched last; None where updates cannot be followed."""
    newest: datetime | None = None
    """Newest sensing time seen."""
    swept: datetime | None = None
    """When the look-back window was last read as a whole."""

    def window_start(self, *, start: datetime, lookback: timedelta) -> datetime:
        """Where the look-back window begins: nothing acquired before is asked for again."""
        return start if self.newest is None else max(start, self.newest - lookback)

    def updates_since(self, now: datetime) -> datetime | None:
        """From which update on to ask; None = read the window."""
        if self.mark is None or self.swept is None or now - self.swept >= SWEEP:
            return None
        return self.mark.updated - OVERLAP

    def moved(self, answers: list[Answer], now: datetime) -> Cursor:
        """After these answers, all of one poll. A provider's clock may run ahead; ours bounds it."""
        scenes = [scene for answer in answers for scene in answer.scenes]
        newest = max(
            [*([self.newest] if self.newest else []), *(one.acquired for one in scenes)], default=None
        )
        undated = any(answer.scenes and answer.newest is None for answer in answers)
        marks = [answer.newest for answer in answers if answer.newest] + ([self.mark] if self.mark else [])
        mark = None if undated else max(marks, key=lambda one: one.updated, default=None)
        swept = now if answers and all(answer.complete for answer in answers) else self.swept
        return Cursor(
            mark=mark and Mark(min(mark.updated, now), mark.acquired),
            newest=newest and min(newest, now),
            swept=swept,
        )

    def to_text(self) -> str:
        """The stored form."""
        return json.dumps(
            {
                "updated": self.mark and utc_text(self.mark.updated),
                "updated_of": self.mark and utc_text(self.mark.acquired),
                "newest": self.newest and utc_text(self.newest),
                "swept": self.swept and utc_text(self.swept),
            }
        )

    @classmethod
    def from_text(cls, text: str | None) -> Cursor:
        """A stored cursor; the beginning where there is none. Raises ConfigError where it is damaged."""
        if text is None:
            return cls()
        try:
            plain = json.loads(text)
            times = {name: value and datetime.fromisoformat(value) for name, value in plain.items()}
            mark = Mark(times["updated"], times["updated_of"]) if times["updated"] else None
            return cls(mark=mark, newest=times["newest"], swept=times["swept"])
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise ConfigError(
                f"stored cursor {text[:80]!r} cannot be read; run: groundwatch backfill"
            ) from exc
