"""The command that brings visits back. Heavy imports wait until it runs."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.app import (
    DEFAULT_CONFIG,
    ConfigFile,
    Json,
    app,
    load_settings,
    read_clock,
    show_life,
)
from schemas.errors import EXIT_DONE, EXIT_INCOMPLETE, ConfigurationError

if TYPE_CHECKING:
    from flows.operations.check_ins import Visits
    from schemas.config import Config
    from transforms.operations.check_ins import Attendance


@app.command(rich_help_panel="Look back")
def checkins(
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="ISO",
            help="read again from here on; default: where the last reading stopped",
        ),
    ] = None,
    day: Annotated[
        str | None,
        typer.Option(
            "--day", metavar="DATE", help="whom to count; default: today, in report.timezone"
        ),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Read back who came: essentry's check-ins, joined to the events they belong to. Sends
    nothing.
    """
    show_life(quiet=as_json)
    from dataclasses import asdict
    from zoneinfo import ZoneInfo

    import orjson

    from flows.commands.output import write_json
    from flows.commands.waiting import waiting
    from flows.night.readings import count_attendance
    from flows.night.session import open_state
    from flows.operations.check_ins import read_visits

    settings, begin, now = (
        load_settings(config),
        read_clock(since, option="--since"),
        datetime.now(UTC),
    )
    if begin is not None and begin > now:
        raise ConfigurationError(f"--since {since!r} is still to come: name an instant of the past")
    chosen = (
        _read_day(day)
        if day is not None
        else now.astimezone(ZoneInfo(settings.report.timezone)).date()
    )
    waiting.begins("read back")
    with open_state(settings, migrate=False) as state:
        done = read_visits(settings, state, now=now, since=begin)
        rows = count_attendance(settings, state, chosen, now=now)
    waiting.end()
    code = EXIT_INCOMPLETE if done.unreadable else EXIT_DONE
    if as_json:
        told = asdict(done) | {
            "day": chosen.isoformat(),
            "attendance": [asdict(row) for row in rows],
        }
        write_json(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        raise typer.Exit(code)
    print_visits(settings, done, chosen, rows)
    raise typer.Exit(code)


def print_visits(settings: Config, done: Visits, day: date, rows: list[Attendance]) -> None:
    """What a reading did, and who came on a day, for a person."""
    from flows.commands.terminal import say
    from transforms.words import plural

    say(
        f"{plural(done.check_ins, 'check-in')} read of {plural(len(done.locations), 'location')}; "
        f"{done.resolved:,} joined to their events, {done.unresolved:,} of no event that is known "
        "here"
    )
    if settings.checkins.wanted:
        say(
            f"{settings.checkins.table}: {plural(done.copied.written, 'visit')} written, "
            f"{done.copied.removed:,} taken out"
        )
    if done.unreadable:
        say(
            f"{plural(done.unreadable, 'check-in')} could not be read whole: "
            "without an id they are left out, without a readable time kept so; "
            "ask essentry what they are"
        )
    _print_attendance(settings, day, rows)


def _read_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"--day {text!r} is no date: write 2026-11-24") from None


def _print_attendance(settings: Config, day: date, rows: list[Attendance]) -> None:
    from flows.commands.tables import print_table
    from flows.commands.terminal import console, say
    from transforms.report.words import name_places, show_value

    if not rows:
        say(f"{day}: nobody was expected, and nobody came")
        return
    wording = name_places(settings, masked=True)
    table = [
        [str(show_value("locationId", row.location_id, wording, with_id=True))]
        + [
            f"{number:,}"
            for number in (row.expected, row.arrived, row.no_shows, row.walk_ins, row.others)
        ]
        for row in rows
    ]
    columns = ["expected", "arrived", "no-shows", "walk-ins", "by other invitations"]
    print_table(console, [f"{day}", *columns], table, right=columns)
    say(
        "no-shows: of events that are over. essentry may tell of a visit only when it has ended: "
        "whoever is inside may count as one until then"
    )
