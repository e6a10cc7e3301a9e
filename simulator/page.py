"""The demo's page: what was found, beside what is true, on one page without any outside request."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from PIL import Image
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from registry.models import Incident, IncidentStatus, VerdictCase
from simulator.district import District
from simulator.frame import Frame
from simulator.scoring import Row, Score, largest_told, match

WHITE_AT = 0.24
"""Reflectance drawn as white in true-colour pictures."""

VERDICTS = {
    VerdictCase.PROTECTED_ZONE: "in a protected zone",
    VerdictCase.OUTSIDE: "outside every permit",
    VerdictCase.EXPIRED: "inside an expired permit",
    VerdictCase.NOT_YET_VALID: "inside a permit not yet valid",
    VerdictCase.NOT_GRANTED: "inside a permit not granted",
    VerdictCase.ACTIVITY_NOT_PERMITTED: "activity not permitted",
    VerdictCase.NEAR: "just outside a permit",
    VerdictCase.INSIDE_UNKNOWN_VALIDITY: "inside a permit of unknown validity",
    VerdictCase.INSIDE: "inside a valid permit",
}
"""Verdicts as people read them."""

KINDS = {"forest_loss": "Forest loss", "excavation": "Excavation"}


@dataclass(frozen=True)
class Outline:
    """One shape on the map."""

    path: str
    """SVG path in pixels of the picture."""
    style: str
    """CSS class."""
    title: str


@dataclass(frozen=True)
class Card:
    """One incident as the page shows it."""

    incident: Incident
    title: str
    suspect: bool
    verdict: str
    expected: str
    """What the truth says of it, in words."""
    truth: str
    """True hectares and start, in words."""
    shares: tuple[str, ...]
    """Hectares per case."""
    picture: str | None
    """Data URI."""
    notices: tuple[tuple[str, str], ...]
    """(name, relative link)."""


def write_page(
    path: Path,
    *,
    district: District,
    incidents: Sequence[Incident],
    pictures: Mapping[str, Path],
    notices: Mapping[str, Sequence[tuple[str, Path]]],
) -> Score:
    """Write the page to ``path`` and return the score it shows.

    ``pictures`` and ``notices`` are by incident id; notices are (name, file), linked relative to the page.
    """
    score = match(incidents, district.truth)
    cards = [
        _card(
            one, score, pictures.get(one.id), [_link(*note, path.parent) for note in notices.get(one.id, ())]
        )
        for one in sorted(incidents, key=_rank)
    ]
    first, last = clear_items(district)
    environment = Environment(
        loader=PackageLoader("simulator", "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
    )
    html = environment.get_template("page.html").render(
        score=score,
        cards=cards,
        district=district,
        before=_scene(district, first),
        after=_scene(district, last),
        size=Frame().size,
        outlines=map_outlines(district, incidents),
        delays=_range(score.delays),
        verdicts=VERDICTS,
        kinds=KINDS,
        largest_told=largest_told,
    )
    path.write_text(html, encoding="utf-8")
    return score


def _suspect(incident: Incident) -> bool:
    return incident.verdict is not None and incident.verdict.suspect


def _rank(incident: Incident) -> tuple[bool, bool, date]:
    """What nobody allowed comes first, what was taken back last; the earliest first."""
    return incident.status is IncidentStatus.RECLAIMED, not _suspect(incident), incident.first_seen


def _link(name: str, note: Path, folder: Path) -> tuple[str, str]:
    try:
        return name, note.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return name, note.resolve().as_uri()


def _card(incident: Incident, score: Score, picture: Path | None, notices: Sequence[tuple[str, str]]) -> Card:
    row = next((row for row in score.rows if incident in row.incidents), None)
    case = incident.verdict.case if incident.verdict else None
    shares = incident.verdict.shares if incident.verdict else ()
    return Card(
        incident=incident,
        title=KINDS[incident.kind],
        suspect=_suspect(incident),
        verdict=VERDICTS[case] if case else "not judged",
        expected=_expected(incident, row, score),
        truth=_truth(row),
        shares=tuple(f"{share.hectares:.2f} ha {VERDICTS[share.case]}" for share in shares),
        picture=_data_uri(picture.read_bytes(), "image/png") if picture and picture.is_file() else None,
        notices=tuple(notices),
    )


def _expected(incident: Incident, row: Row | None, score: Score) -> str:
    if row is not None:
        return f"{row.event.name}; expected {VERDICTS[row.event.expected]}"
    if incident in score.also_true:
        return "the same place seen as another kind of change: true as well"
    if incident in score.false_alarms:
        told = f"false alarm: nothing happened here, {largest_told(incident):.2f} ha were told"
        return f"{told}, then taken back" if incident.status is IncidentStatus.RECLAIMED else told
    return "not confirmed, so not counted"


def _truth(row: Row | None) -> str:
    if row is None:
        return "–"
    return f"{row.truth_hectares:.2f} ha by then, begun {row.event.started:%d %b %Y}"


def map_outlines(district: District, incidents: Sequence[Incident]) -> tuple[Outline, ...]:
    """Permits, reserve, truth and incidents as paths over the picture, in drawing order."""
    drawn = [
        *(
            _outline(geometry, *_permit_style(properties))
            for geometry, properties in _papers(district.permits)
        ),
        *(_outline(geometry, "zone", properties["name"]) for geometry, properties in _papers(district.zones)),
        *(_outline(event.footprint, "truth", f"Truth: {event.name}") for event in district.truth),
    ]
    for one in incidents:
        style = "incident suspect" if _suspect(one) else "incident"
        drawn.append(_outline(one.footprint, style, f"{KINDS[one.kind]}, {one.hectares:.2f} ha"))
    return tuple(drawn)


def _permit_style(properties: Mapping[str, Any]) -> tuple[str, str]:
    style = "permit" if properties["status"] == "granted" else "permit lapsed"
    return style, f"Permit {properties['id']}, {properties['holder']} ({properties['status']})"


def _papers(path: Path) -> list[tuple[BaseGeometry, Mapping[str, Any]]]:
    features: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["features"]
    return [(shape(one["geometry"]), one["properties"]) for one in features]


def _outline(geometry: BaseGeometry, style: str, title: str) -> Outline:
    frame = Frame()
    local = frame.grid.from_world(geometry)
    pieces = []
    for polygon in getattr(local, "geoms", [local]):
        for ring in (polygon.exterior, *polygon.interiors):
            points = [f"{(x - frame.left) / 10:.1f} {(frame.top - y) / 10:.1f}" for x, y in ring.coords]
            pieces.append("M" + "L".join(points) + "Z")
    return Outline(path="".join(pieces), style=style, title=title)


@dataclass(frozen=True)
class Scene:
    """One pass as a picture."""

    picture: str
    """Data URI of a JPEG."""
    day: date


def clear_items(district: District) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The first and the last whole Sentinel-2 product that is nearly free of clouds."""
    optical = [item for item in district.items if "blue" in item["assets"]]
    clear = [item for item in optical if item["properties"]["eo:cloud_cover"] < 3.0] or optical
    return clear[0], clear[-1]


def _scene(district: District, item: Mapping[str, Any]) -> Scene:
    picture = Image.fromarray(true_colour(district.folder, item)).resize((900, 900), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=88)
    day = date.fromisoformat(item["properties"]["datetime"][:10])
    return Scene(_data_uri(stream.getvalue(), "image/jpeg"), day)


def _range(delays: Sequence[int]) -> str:
    if not delays:
        return "–"
    return str(delays[0]) if delays[0] == delays[-1] else f"{delays[0]}–{delays[-1]}"


def true_colour(folder: Path, item: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(rows, columns, 3) 8-bit picture of a Sentinel-2 item."""
    bands = []
    for name in ("red", "green", "blue"):
        with rasterio.open(folder / item["assets"][name]["href"]) as file:
            bands.append((file.read(1).astype(np.float32) - 1000.0) / 10_000.0)
    scaled = np.clip(np.stack(bands, axis=-1) / WHITE_AT, 0.0, 1.0) ** (1.0 / 1.35)
    return np.asarray(np.rint(scaled * 255.0), np.uint8)


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
