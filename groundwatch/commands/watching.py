"""Look: status, incidents, one incident, dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from groundwatch.commands.latency import times_row
from groundwatch.console import Command, Group, Options, pass_options, show_rows, show_value

if TYPE_CHECKING:
    from groundwatch.wiring import App
    from registry.bus import DeadLetter
    from registry.models import Components
    from registry.store import StoredIncident


@click.command(cls=Command)
@pass_options
def status(options: Options) -> None:
    """Show what is watched, the last pass of each area, queues, open incidents, failed deliveries."""
    with options.app() as app:
        found = app.status()
    if options.as_json:
        show_value(options, found)
        return
    areas = found.pop("by_area")
    queues = found.pop("queues")
    alarms = found.pop("alarms")
    show_value(options, found)
    for alarm in alarms:
        click.echo(f"ALARM: {alarm}")
    click.echo()
    show_rows(options, queues, empty="")
    click.echo()
    show_rows(options, areas, empty="no areas yet; add one with `groundwatch area add`")


@click.command(cls=Command)
@click.option("--area", "area_id", help="Only incidents of this area.")
@click.option(
    "--status",
    "wanted",
    type=click.Choice(["provisional", "confirmed", "cleared", "reclaimed", "all"]),
    default="confirmed",
    show_default=True,
    help="What the satellites say.",
)
@pass_options
def incidents(options: Options, area_id: str | None, wanted: str) -> None:
    """List incidents, largest first."""
    from registry.models import IncidentStatus

    with options.app() as app:
        if area_id is not None:
            app.store.area(area_id)
        status_ = None if wanted == "all" else IncidentStatus(wanted)
        found = app.store.incidents(area_id=area_id, status=status_)
    rows = [_incident_row(stored) for stored in found]
    rows.sort(key=lambda row: (-row["ha"], row["id"]))
    if not options.as_json:
        rows = [_for_people(row) for row in rows]
    show_rows(options, rows, empty=f"no {wanted} incidents")


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    """A short id, and the place as it is pasted into a map."""
    lat, lon = row.pop("lat"), row.pop("lon")
    return {**row, "id": row["id"][:8], "lat, lon": f"{lat:.5f}, {lon:.5f}"}


def _incident_row(stored: StoredIncident) -> dict[str, Any]:
    incident = stored.incident
    return {
        "id": incident.id,
        "area": incident.area_id,
        "kind": incident.kind.value,
        "status": incident.status.value,
        "review": stored.review.value,
        "ha": round(incident.hectares, 2),
        "verdict": incident.verdict.case.value if incident.verdict else "",
        "looks_like": _first_component(incident.components),
        "first_seen": incident.first_seen.isoformat(),
        "confirmed_on": incident.confirmed_on.isoformat() if incident.confirmed_on else None,
        "last_seen": incident.last_seen.isoformat(),
        "lat": round(incident.anchor[1], 6),
        "lon": round(incident.anchor[0], 6),
    }


@click.group(cls=Group)
def incident() -> None:
    """Look at one incident."""


@incident.command("show")
@click.argument("incident_id")
@pass_options
def incident_show(options: Options, incident_id: str) -> None:
    """Show one incident: place, dates, growth, verdict, pictures, notices. ID may be shortened."""
    with options.app() as app:
        stored = app.store.incident(incident_id)
        if options.as_json:
            show_value(
                options, {**stored.model_dump(mode="json"), "notices": _plain_times(_notices(app, stored))}
            )
            return
        _show_incident(options, app, stored)


def _notices(app: App, stored: StoredIncident) -> list[dict[str, Any]]:
    return [
        {
            "notice": notice.kind.value,
            "created": f"{notice.created:%Y-%m-%d %H:%M}",
            "target": record.target,
            "delivery": record.status.value,
            "attempts": record.attempts,
            "error": record.error,
            "times": times.get(record.target),
        }
        for notice in app.store.notices(incident_id=stored.incident.id)
        for times in [{one.target: one for one in app.store.notice_times(notice.id)}]
        for record in app.store.deliveries(notice_id=notice.id)
    ]


def _plain_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows, as JSON can hold them."""
    return [{**row, "times": row["times"] and row["times"].model_dump(mode="json")} for row in rows]


def _first_component(found: Components | None) -> str | None:
    """The one that covers most; ``nothing known`` where a model found none, None where none looked."""
    if found is None:
        return None
    return found.shares[0].component if found.shares else "nothing known"


def _looks_like(found: Components | None) -> str | None:
    """``excavation 62 %, settling_pond 18 % (mining-rgbnir-swir, 5 looks)``."""
    if found is None:
        return None
    named = ", ".join(f"{one.component} {one.share:.0%}".replace("%", " %") for one in found.shares)
    return f"{named or 'no part of a mine'} ({found.model}, {found.looks} looks up to {found.newest})"


def _show_incident(options: Options, app: App, stored: StoredIncident) -> None:
    incident = stored.incident
    row = {**_for_people(_incident_row(stored)), "id": incident.id, "gone": stored.gone}
    row["ha"] = f"{incident.hectares:.2f} +- {incident.edge_hectares:.2f} (geodesic, one edge pixel)"
    row["last_clear_before"] = incident.last_clear_before
    row["looks"] = incident.looks
    row["probability"] = f"{incident.probability:.3f}"
    row["looks_like"] = _looks_like(incident.components)
    picture = incident.pictures.side_by_side
    row["picture"] = app.blobs.url(picture) if picture else None
    show_value(options, row)
    if incident.verdict:
        click.echo("\nverdict at the acquisition date")
        show_rows(
            options, [_share(share.model_dump(mode="json")) for share in incident.verdict.shares], empty=""
        )
    if incident.growth:
        click.echo("\ngrowth")
        show_rows(options, [step.model_dump(mode="json") for step in incident.growth], empty="")
    click.echo("\nnotices")
    notices = _notices(app, stored)
    shown = [{name: value for name, value in row.items() if name != "times"} for row in notices]
    show_rows(options, shown, empty="nobody was told yet")
    timed = [row for row in notices if row["times"]]
    if timed:
        click.echo("\nhow long after the satellite passed")
        rows = [
            {"notice": row["notice"], "target": row["target"], **times_row(row["times"])} for row in timed
        ]
        show_rows(options, rows, empty="")


def _share(share: dict[str, Any]) -> dict[str, Any]:
    return {
        "case": share["case"],
        "ha": share["hectares"],
        "permit or zone": share["permit_label"] or share["zone_label"],
        "distance_m": share["distance_m"],
    }


@click.group(cls=Group)
def dead() -> None:
    """Events and deliveries that were given up: look at them, try them again."""


@dead.command("list")
@pass_options
def dead_list(options: Options) -> None:
    """List dead letters and failed deliveries with their reasons."""
    from groundwatch.wiring import failed_name

    with options.app() as app:
        rows = [_dead_row(letter) for bus in app.buses for letter in bus.dead()]
        rows += [
            {
                "id": failed_name(record),
                "what": "delivery",
                "key": record.target,
                "attempts": record.attempts,
                "died": None,
                "reason": record.error,
            }
            for record in app.store.failed_deliveries()
        ]
    show_rows(options, rows, empty="no dead letters, no failed deliveries")


def _dead_row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "what": letter.topic.value,
        "key": letter.key,
        "attempts": letter.attempts,
        "died": f"{letter.died:%Y-%m-%d %H:%M}",
        "reason": letter.reason,
    }


@dead.command("show")
@click.argument("dead_id")
@pass_options
def dead_show(options: Options, dead_id: str) -> None:
    """Show one dead letter with the original event."""
    from registry.errors import NotFound

    with options.app() as app:
        for letter in (letter for bus in app.buses for letter in bus.dead()):
            if letter.id == dead_id:
                show_value(options, letter.model_dump(mode="json"))
                return
    raise NotFound(f"no dead letter {dead_id!r}; see `groundwatch dead list`")


@dead.command("retry")
@click.argument("dead_ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Retry all of them.")
@pass_options
def dead_retry(options: Options, dead_ids: tuple[str, ...], everything: bool) -> None:
    """Put dead letters and failed deliveries back in their queues."""
    if not dead_ids and not everything:
        raise click.UsageError("give ids from `groundwatch dead list`, or --all")
    with options.app() as app:
        revived = app.revive(None if everything else dead_ids)
    click.echo(f"{revived} put back; `groundwatch run` tries them again")


COMMANDS = (status, incidents, incident, dead)
