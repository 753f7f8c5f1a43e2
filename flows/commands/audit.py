"""The command that compares what essentry holds with what it confirmed. Heavy imports wait until a
command runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.app import DEFAULT_CONFIG, ConfigFile, Json, app, load_settings, show_life

if TYPE_CHECKING:
    from flows.operations.audit import Audited
    from transforms.operations.audit import Finding

_COLUMNS = ["kind", "id", "starts_at", "location_id", "guests", "differs"]


@app.command(rich_help_panel="Operate")
def audit(
    heal: Annotated[
        list[str] | None,
        typer.Option(
            "--heal",
            metavar="ID",
            help="a missing event or invitation that the next run sends again; repeatable",
        ),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Read back what essentry holds and tell what is missing or different. Sends nothing.

    A lost event goes with the next run, through the guards.

    Exit 3 when something is missing or different that was seen often enough (audit.seen), or what
    essentry lists cannot be read, else 0.
    """
    show_life(quiet=as_json)
    from flows.commands.waiting import waiting
    from flows.night.session import open_state
    from flows.operations.audit import audit as read_back

    settings = load_settings(config)
    waiting.begins("read back")
    with open_state(settings) as state:
        done = read_back(settings, state, heal=heal or ())
    waiting.end()
    _print_json(done) if as_json else print_audited(done)
    raise typer.Exit(done.exit_code)


def print_audited(done: Audited) -> None:
    """What an audit found, for a person."""
    import pandas as pd

    from flows.commands.terminal import print_frame, say
    from transforms.operations.audit import COMPARED, NOT_COMPARED, NOT_LISTED
    from transforms.words import plural

    found = done.audit
    say(
        f"{plural(found.events, 'event')} with {plural(found.invitations, 'invitation')} compared: "
        f"{COMPARED}"
    )
    say(
        f"not listed by essentry, so nobody can audit it: {NOT_LISTED}; not compared: "
        f"{NOT_COMPARED}"
    )
    for why, count in done.apart.items():
        say(f"{plural(count, 'event')} not compared: those {why}")
    print_frame(
        pd.DataFrame(_rows(done.told), columns=_COLUMNS),
        as_json=False,
        empty="nothing is missing or different",
        wrap=True,
    )
    if done.fresh:
        say(
            f"{len(done.fresh):,} more seen for the first time: told when the next audit sees the "
            "same"
        )
    if found.ambiguous_events or found.ambiguous_invitations:
        events, invitations = (
            plural(found.ambiguous_events, "event"),
            plural(found.ambiguous_invitations, "invitation"),
        )
        say(
            f"ambiguous, so neither told nor healed: {events}, {invitations} that cannot be told "
            "apart by place, time, title and guests"
        )
    if found.unreadable:
        say(
            f"{plural(found.unreadable, 'listed invitation')} unreadable: without a location, or "
            "with an end or a guest that is none; what starts at the same time is ambiguous"
        )
    for place, count in sorted(found.unknown.items()):
        say(
            f"location {place}: {plural(count, 'invitation')} unknown to us (reception's own, "
            "or another integration's)"
        )
    if done.marked:
        say(f"the next run sends again, through the guards: {', '.join(done.marked)}")
    if done.unhealed:
        say(done.unhealed)
    left = [
        row
        for row in done.told
        if row.kind != "different" and (row.item or row.source_id) not in done.marked
    ]
    if left and not done.unhealed:
        say(
            "the others may have been removed by hand and stay away; to have one sent again: "
            "`essentry-sync audit --heal ID`"
        )


def _print_json(done: Audited) -> None:
    import orjson

    from flows.commands.output import write_json
    from transforms.operations.audit import NOT_COMPARED, NOT_LISTED

    found = done.audit
    told = {
        "run_id": done.run_id, "exit_code": done.exit_code, "events": found.events,
        "invitations": found.invitations,
        "told": [asdict(row) for row in done.told],
        "first_seen": [asdict(row) for row in done.fresh], "marked": done.marked,
        "unknown": {str(place): count for place, count in sorted(found.unknown.items())},
        "not_compared": done.apart, "unhealed": done.unhealed,
        "ambiguous": {"events": found.ambiguous_events, "invitations": found.ambiguous_invitations},
        "unreadable": found.unreadable,
        "cannot_be_audited": f"{NOT_LISTED}; {NOT_COMPARED}",
    }  # fmt: skip
    write_json(orjson.dumps(told, option=orjson.OPT_INDENT_2))


def _rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        {"kind": row.kind, "id": row.item or row.source_id, "starts_at": (
            f"{row.starts_at:%Y-%m-%d %H:%M} UTC"
        ),
         "location_id": row.location_id, "guests": row.guests, "differs": row.fields}
        for row in sorted(findings,
            key=lambda row: (row.kind, row.location_id, row.starts_at, row.source_id, row.item))
    ]  # fmt: skip
