"""The options that restrict `sync` and `plan` to some events, and the terminal face of such a run:
each event step by step, then the summary.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from schemas.config import Config
    from transforms.guards.restriction import Restriction

PANEL = "Some events alone"
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        metavar="ID",
        help="this event, by its id or its source's key; repeatable",
        rich_help_panel=PANEL,
    ),
]
Guests = Annotated[
    list[str] | None,
    typer.Option(
        "--guest",
        metavar="E-MAIL",
        help="the events of this guest, by address or invitation id; repeatable",
        rich_help_panel=PANEL,
    ),
]
OfSources = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="NAME",
        help="the events of this source; repeatable",
        rich_help_panel=PANEL,
    ),
]
AtLocations = Annotated[
    list[int] | None,
    typer.Option(
        "--location",
        metavar="NUMBER",
        help="the events at this essentry location; repeatable",
        rich_help_panel=PANEL,
    ),
]
FromDay = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="DAY",
        help="events from this day on, 2026-11-24, in report.timezone",
        rich_help_panel=PANEL,
    ),
]
ToDay = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="DAY", help="events to this day, the day included", rich_help_panel=PANEL
    ),
]


def end_with_selected(
    settings: Config,
    only: Restriction,
    *,
    as_of: datetime | None,
    full: bool,
    send: bool,
    as_json: bool,
    listed: int | None,
) -> None:
    """Run it, explain each event, print the summary, and end with the exit code."""
    import orjson

    from flows.commands.app import end_with
    from flows.commands.output import write_json
    from flows.commands.terminal import Progress
    from flows.commands.waiting import waiting
    from flows.operations.part import run_part

    with Progress(quiet=as_json) as progress:
        found = run_part(settings, only, as_of=as_of, full=full, send=send, progress=progress)
    if as_json:
        waiting.end()
        told = {**found.result.report, "explained": found.explained, "along": found.along}
        write_json(orjson.dumps(told, option=orjson.OPT_INDENT_2, default=str))
        raise typer.Exit(found.result.exit_code)
    print_explained(found.explained, found.along, len(found.selected))
    shown = listed if listed is not None else 0 if send else settings.report.list_changes
    end_with(found.result, as_json=False, listed=shown)


def print_explained(explained: list[dict[str, str]], along: str, events: int) -> None:
    """Each event and its steps. events: how many the run is about."""
    from flows.commands.terminal import say
    from flows.operations.explain import STEPS
    from transforms.words import plural

    if along:
        say(along)
    for event in explained:
        say(event["source_id"])
        for step in STEPS:
            say(f"  {step:9}  {event[step]}")
    if events > len(explained):
        say(f"and {plural(events - len(explained), 'event')} more; the report has every change")
    if not explained:
        say("no event of the selection has a change, and none is held back")
