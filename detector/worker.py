"""MAIN PATH of the detector: PassFound -> stack -> scores -> ledger -> state -> incidents -> verdicts -> publish.

Every step leaves a blob whose name carries what it depends on, so an event that comes again finds what
is done and goes on from there: the result depends on the passes, never on how often or in which order
they came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np

from detector.evidence import fold
from detector.incidents import update
from detector.ledger import Ledger, LedgerEntry, StateFiles
from detector.models import Card, choose, load_cards, score
from detector.pictures import picture_incidents
from detector.products import write_products
from detector.quality import look_quality
from detector.stack import ReaderSettings, Stack, read_stack
from detector.state import LedgerRow, State, quantise, source_name, start
from detector.verdict import judge_all
from registry.blobs import Blobs
from registry.bus import Bus, Delivery, Topic
from registry.errors import Reject
from registry.events import ChangeFound, Event, PassFound, PermitsChanged, RegistrySnapshot, Task, change_found
from registry.log import bound, get_logger
from registry.models import Incident, Pass, Sensor, Target
from registry.snapshots import load_snapshot

log = get_logger(__name__)

PREVIEW_BANDS = ("B02", "B03", "B04")
"""What true-colour previews, and so pictures, are made of."""


class DetectorWorker:
    """Handles PassFound and PermitsChanged; knows bus, blobs and event, never the store."""

    def __init__(
        self,
        bus: Bus,
        blobs: Blobs,
        *,
        cards: Mapping[str, Card],
        reader: ReaderSettings,
        now: Callable[[], datetime],
    ) -> None:
        self._bus = bus
        self._blobs = blobs
        self._cards = cards
        self._reader = reader
        self._now = now
