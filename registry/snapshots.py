"""Registry snapshots as blobs: written by those who own the store, read by detectors."""

from __future__ import annotations

from contextlib import suppress

from pydantic import ValidationError

from registry.blobs import Blobs
from registry.errors import Exists, InputError, NotFound, Reject
from registry.events import RegistryRef, RegistrySnapshot
from registry.values import canonical_json


def store_snapshot(blobs: Blobs, snapshot: RegistrySnapshot) -> RegistryRef:
    """Make the snapshot durable (a repeat changes nothing) and name it."""
    with suppress(Exists):
        blobs.create(snapshot.blob, canonical_json(snapshot))
    return RegistryRef(version=snapshot.version, blob=snapshot.blob)


def load_snapshot(blobs: Blobs, ref: RegistryRef) -> RegistrySnapshot:
    """The snapshot an event names. Raises Reject where it is gone or is not what the event says."""
    try:
        snapshot = RegistrySnapshot.model_validate_json(blobs.get(ref.blob))
    except InputError as exc:
        raise Reject(f"registry snapshot: {exc}") from exc
    except NotFound as exc:
        raise Reject(f"registry snapshot {ref.blob} does not exist; poll or backfill again") from exc
    except ValidationError as exc:
        raise Reject(f"registry snapshot {ref.blob} is damaged: {exc.errors()[0]['msg']}") from exc
    if snapshot.version != ref.version:
        raise Reject(
            f"registry snapshot {ref.blob} holds version {snapshot.version[:12]}, not {ref.version[:12]}"
        )
    return snapshot
