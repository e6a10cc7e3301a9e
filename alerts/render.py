"""A notice in words: subject, HTML, plain text, markdown, and the files that go along.

Words live in ``templates/en_*.j2`` (another language is another set of files); here are only facts,
formats and defences. Names of areas, permits and zones come from outside: control characters and line
breaks go, lengths are capped, HTML is escaped, and in markdown whatever could be markup becomes code.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any
from urllib.parse import urlencode

import jinja2
import shapely

from alerts.message import BRIEF_BELOW, Attachment, Channel, Form, Message
from registry.models import Incident, Notice, NoticeKind, Verdict, VerdictCase, VerdictShare
from registry.values import utc_text

INLINE_PICTURE = "before-after.png"
"""What the HTML calls the picture inside the mail."""

MAX_NAME = 120
"""Longest name of an area, permit or zone that is shown; registers hold paragraphs."""

MAX_SHARES = 12
"""Most rows of the verdict table; the GeoJSON has them all."""

MAX_SUBJECT = 180

_SAFE_IN_MARKDOWN = re.compile(r"[^\W_][\w .,'()&/\-]*")
_SEVERITY = {case: rank for rank, case in enumerate(VerdictCase)}


def render(
    notice: Notice, channel: Channel, *, picture: bytes | None = None, earlier: Sequence[Notice] = ()
) -> Message:
    """Write ``notice`` for ``channel``. ``picture`` is the before/after PNG, ``earlier`` what its thread
    was told before, oldest first.
    """
    wanted = _files(notice, picture, channel.form)
    attached = _that_fit(wanted, channel.attachment_bytes)
    seen = {one.data for one in attached}
    facts = _facts(notice, earlier[-1] if earlier else None) | {
        "inline_picture": next((one.name for one in attached if one.inline), None),
        "attached": [one.name for one in attached if not one.inline],
        "left_out": [
            {"name": one.name, "bytes": len(one.data), "stored_as": _stored_as(one, notice)}
            for one in wanted
            if not one.inline and one.data not in seen
        ],
        "picture_missing": picture is None,
        "channel": channel,
    }
    text = _fill("en_message.txt.j2", facts)
    return Message(
        notice_id=notice.id,
        thread_id=(earlier[0] if earlier else notice).incident.id,
        name=file_name(notice),
        subject=clean(_fill("en_subject.txt.j2", facts), MAX_SUBJECT),
        body=_body(channel, facts, text),
        text=text,
        urgent=facts["suspect"] and not facts["closing"],
        attachments=attached,
    )


def _body(channel: Channel, facts: dict[str, Any], text: str) -> str:
    if channel.form in (Form.MAIL, Form.HTML):
        return _fill("en_message.html.j2", facts)
    full = _fill("en_message.md.j2", facts) if channel.form is Form.MARKDOWN else text
    if channel.text_chars < BRIEF_BELOW and len(full) > channel.text_chars:
        return _fill("en_brief.txt.j2", facts)
    return full


def _files(notice: Notice, picture: bytes | None, form: Form) -> tuple[Attachment, ...]:
    """What should go along, the most wanted first."""
    name = file_name(notice)
    files = [Attachment(f"{name}.geojson", "application/geo+json", geojson(notice))]
    if picture is not None and form is Form.MAIL:
        files.append(Attachment(INLINE_PICTURE, "image/png", picture, inline=True))
    if picture is not None:
        files.append(Attachment(f"{name}.png", "image/png", picture))
    return tuple(files)


def _that_fit(files: tuple[Attachment, ...], limit: int) -> tuple[Attachment, ...]:
    used, fitting = 0, []
    for one in files:
        if used + len(one.data) <= limit:
            used += len(one.data)
            fitting.append(one)
    return tuple(fitting)


def _stored_as(file: Attachment, notice: Notice) -> str:
    """Blob of a picture that was left out; an outline is nowhere else."""
    return clean(notice.incident.pictures.side_by_side or "") if file.mime == "image/png" else ""


def file_name(notice: Notice) -> str:
    """Names the notice's files, without ending."""
    incident = notice.incident
    return f"{incident.area_id}_{incident.id[:8]}_r{incident.revision}_{notice.kind.value}"


def geojson(notice: Notice) -> bytes:
    """The incident as an RFC 7946 FeatureCollection of one feature, with all that is known of it."""
    incident = notice.incident
    footprint = shapely.orient_polygons(incident.footprint)
    feature = {
        "type": "Feature",
        "id": incident.id,
        "bbox": list(footprint.bounds),
        "geometry": json.loads(shapely.to_geojson(footprint)),
        "properties": _properties(notice),
    }
    return json.dumps(
        {"type": "FeatureCollection", "features": [feature]}, ensure_ascii=False, allow_nan=False
    ).encode(errors="replace")


def _properties(notice: Notice) -> dict[str, Any]:
    incident = notice.incident
    facts = incident.model_dump(mode="json", exclude={"id", "footprint", "anchor"})
    lon, lat = incident.anchor
    return facts | {
        "incident_id": incident.id,
        "notice_id": notice.id,
        "notice_kind": notice.kind.value,
        "notice_created": utc_text(notice.created),
        "area_name": notice.area_name,
        "area_kind": notice.area_kind.value,
        "longitude": lon,
        "latitude": lat,
        "previous_hectares": notice.previous_hectares,
        "suspected": incident.verdict is not None and incident.verdict.suspect,
        "remark": _fill("en_remark.txt.j2", {}),
    }


def _facts(notice: Notice, previous: Notice | None) -> dict[str, Any]:
    incident = notice.incident
    verdict = incident.verdict
    lon, lat = incident.anchor
    return {
        "notice": notice,
        "incident": incident,
        "verdict": verdict,
        "kind": notice.kind.value,
        "area_name": clean(notice.area_name),
        "suspect": verdict is not None and verdict.suspect,
        "closing": notice.kind in (NoticeKind.WITHDRAWN, NoticeKind.RECLAIMED),
        "coordinates": f"{lat:.5f}, {lon:.5f}",
        "links": map_links(incident),
        "case_hectares": _case_hectares(verdict),
        "permit_shares": _shares(verdict, zones=False),
        "zone_shares": _shares(verdict, zones=True),
        "more_shares": max(0, len(verdict.shares) - MAX_SHARES) if verdict else 0,
        "grown_by": _grown_by(notice),
        "previous_case": _previous_case(previous),
    }


def _grown_by(notice: Notice) -> float | None:
    if notice.previous_hectares is None:
        return None
    return notice.incident.hectares - notice.previous_hectares


def _previous_case(previous: Notice | None) -> str | None:
    verdict = previous.incident.verdict if previous else None
    return verdict.case.value if verdict else None


def _case_hectares(verdict: Verdict | None) -> float:
    if verdict is None:
        return 0.0
    return sum(share.hectares for share in verdict.shares if share.case is verdict.case)


def _shares(verdict: Verdict | None, *, zones: bool) -> list[dict[str, Any]]:
    """Rows of the verdict table, most severe first."""
    shares = sorted(verdict.shares if verdict else (), key=lambda one: (_SEVERITY[one.case], -one.hectares))[
        :MAX_SHARES
    ]
    return [_share(one) for one in shares if (one.zone_id is not None) == zones]


def _share(share: VerdictShare) -> dict[str, Any]:
    return {
        "case": share.case.value,
        "hectares": share.hectares,
        "label": clean(share.zone_label if share.zone_id else share.permit_label),
        "permit_id": clean(share.permit_id or ""),
        "distance_m": share.distance_m,
    }


def map_links(incident: Incident) -> dict[str, str]:
    """Where to look: OpenStreetMap, and the newest image in the Copernicus Browser."""
    lon, lat = incident.anchor
    day = incident.last_seen.isoformat()
    browser = {
        "zoom": 15,
        "lat": f"{lat:.5f}",
        "lng": f"{lon:.5f}",
        "themeId": "DEFAULT-THEME",
        "datasetId": "S2_L2A_CDAS",
        "layerId": "1_TRUE_COLOR",
        "fromTime": f"{day}T00:00:00.000Z",
        "toTime": f"{day}T23:59:59.999Z",
    }
    pin = {"mlat": f"{lat:.5f}", "mlon": f"{lon:.5f}"}
    return {
        "osm": f"https://www.openstreetmap.org/?{urlencode(pin)}#map=15/{lat:.5f}/{lon:.5f}",
        "copernicus": f"https://browser.dataspace.copernicus.eu/?{urlencode(browser)}",
    }


def clean(text: str, longest: int = MAX_NAME) -> str:
    """One line without control or direction-changing characters, at most ``longest`` characters."""
    kept = "".join(" " if unicodedata.category(one) in ("Cc", "Zl", "Zp") else one for one in text)
    kept = "".join(one for one in kept if unicodedata.category(one) not in ("Cf", "Cs", "Co", "Cn"))
    line = " ".join(kept.split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def hectares_text(value: float) -> str:
    """Two digits behind the point below 10 ha, one below 100, none above."""
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:,.{digits}f} ha"


def percent_text(probability: float) -> str:
    """``98.7 %``; never 100, which no model can promise."""
    return "above 99.9 %" if probability > 0.999 else f"{100 * probability:.1f} %"


def markdown_text(text: str) -> str:
    """A name inside markdown: as it is where harmless, else as code, where nothing is markup."""
    if not text or _SAFE_IN_MARKDOWN.fullmatch(text):
        return text
    return "`" + text.replace("`", "'") + "`"


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("alerts"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),  # noqa: S701 - texts must not be
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"ha": hectares_text, "percent": percent_text, "md": markdown_text}
    return environment


def _fill(name: str, facts: dict[str, Any]) -> str:
    return _templates().get_template(name).render(facts).strip() + "\n"
