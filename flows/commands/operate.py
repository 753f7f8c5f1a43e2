"""Commands for the year after the first evening: schedules, backups, a lost state, monitoring.

Heavy imports wait until a command runs.
"""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.app import DEFAULT_CONFIG, ConfigFile, Json, app, end_with, load_settings
from schemas.errors import ConfigurationError, GuardTripped

PANEL = "Operate"


@app.command(rich_help_panel=PANEL)
def serve(
    config: ConfigFile = DEFAULT_CONFIG,
    cron: Annotated[
        list[str] | None,
        typer.Option(
            "--cron",
            metavar="NAME=CRON",
            help='e.g. nightly="0 3 * * *"; hourly= for no schedule; repeatable',
        ),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", help="zone of the schedules, e.g. Europe/Berlin")
    ] = None,
) -> None:
    """Run the deployments of prefect.yaml on this machine, by their schedules, until ended."""
    from flows.engine.deployments import serve_deployments

    given = [item.partition("=") for item in cron or []]
    if any(not sign for _, sign, _ in given):
        raise ConfigurationError('--cron is NAME=CRON, for example nightly="0 3 * * *"')
    serve_deployments(
        config, cron={name.strip(): text.strip() for name, _, text in given}, timezone=timezone
    )


@app.command(rich_help_panel=PANEL)
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE")], config: ConfigFile = DEFAULT_CONFIG
) -> None:
    """Copy the state store, whole and consistent, while it may be in use.

    For SQLite; PostgreSQL has pg_dump.
    """
    from flows.commands.terminal import say
    from flows.night.session import open_state
    from flows.operations.backup import back_up

    with open_state(load_settings(config), migrate=False) as state:
        size = back_up(state, file)
    say(
        f"wrote {file} ({size:,} bytes); to restore it: end all runs, "
        "copy it to the place of the state file, remove its -wal and -shm files, "
        "and run `essentry-sync restored`"
    )


@app.command(rich_help_panel=PANEL)
def restored(
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """After a restore of the state from a backup: the next run sends everything once more.

    Every event to come, through the guards.
    """
    from flows.commands.decide import _agreed
    from flows.commands.terminal import say
    from flows.night.session import open_state
    from flows.operations.restored import describe_restored, find_restored, mark_restored
    from transforms.words import plural

    settings = load_settings(config)
    with open_state(settings) as state:
        evidence = find_restored(settings, state)
        for line in describe_restored(state, evidence):
            say(line)
        _agreed(
            "have the next run send them again, completely?", yes=yes, kept="nothing was changed"
        )
        count = mark_restored(settings, state, evidence)
    say(
        f"{plural(count, 'event')} {'is' if count == 1 else 'are'} unknown until the next run "
        "sends them; essentry was not called"
    )


@app.command(rich_help_panel=PANEL)
def rebuild(
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """For a lost state without a backup: send everything once more, delete nothing.

    Every current event goes, and what may be left over in essentry is listed.
    """
    from flows.commands.terminal import say
    from flows.night.session import open_state
    from flows.operations.leftovers import list_left_over
    from flows.operations.rebuild import apply_rebuild, plan_rebuild

    settings = load_settings(config)
    planned = plan_rebuild(settings)
    say(
        (
            f"{planned.events:,} events with {planned.invitations:,} invitations of "
            f"{planned.people:,} people would be sent again, none deleted"
        ),
        err=True,
    )
    if planned.renumbered:
        why = (
            "have ids whose seals rest on the lost state"
            if planned.sealed == "salt"
            else "have no key in their source"
        )
        say(
            f"{planned.renumbered:,} of these people {why}. "
            "Their invitations get new ids, so essentry invites them AGAIN and keeps the old "
            "invitations beside; a backup of the state, however old, avoids that: "
            "restore one if there is any",
            err=True,
        )
    if planned.sealed == "secret":
        say(
            "all ids are sealed: who was invited before they were, or with another secret, gets a "
            "new one, and is invited AGAIN beside the old invitation",
            err=True,
        )
    waiting = (
        f"the plan {planned.plan_id} waits: `essentry-sync approve {planned.plan_id}`, "
        f"then `essentry-sync apply {planned.plan_id}`"
    )
    try:
        agreed = yes or typer.confirm("send it?", err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise GuardTripped(f"nothing was sent; {waiting}")
    with open_state(settings) as state:
        state.approve_plan(
            planned.plan_id, by=getpass.getuser(), reason="rebuild", now=datetime.now(UTC)
        )
    result = apply_rebuild(settings, planned.plan_id)
    with open_state(settings) as state:
        left = list_left_over(settings, state)
    if not as_json:
        _print_left_over(left, as_json=False)
    end_with(result, as_json=as_json)


@app.command(rich_help_panel=PANEL)
def leftovers(config: ConfigFile = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """List invitations that essentry holds and the state does not explain.

    Orphans of a lost or restored state, or reception's own.
    """
    from flows.night.session import open_state
    from flows.operations.leftovers import list_left_over

    settings = load_settings(config)
    with open_state(settings, migrate=False) as state:
        left = list_left_over(settings, state)
    _print_left_over(left, as_json=as_json)


def _print_left_over(left: list[dict[str, Any]], *, as_json: bool) -> None:
    import pandas as pd

    from flows.commands.terminal import print_frame, say

    if left and not as_json:
        say(
            f"{len(left):,} invitations in essentry that no source row explains; "
            "reception may have made them: decide in essentry, by their id"
        )
    columns = ["location_id", "starts_at", "event", "guest", "invitation"]
    print_frame(
        pd.DataFrame(left, columns=columns).astype({"location_id": "Int64"}),
        as_json=as_json,
        empty="essentry holds nothing that the state does not explain",
    )


@app.command(rich_help_panel=PANEL)
def check(
    max_age: Annotated[
        float,
        typer.Option(
            "--max-age", min=0, metavar="HOURS", help="hours since the last good run began"
        ),
    ] = 26,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """For monitoring: exit 0 when a sync ended well within --max-age hours.

    Else that run's exit code, or 3 when there was none.

    A source that the last run could not read is told by that run's exit code, 3 or 5.
    """
    import orjson

    from flows.commands.output import write_json
    from flows.commands.terminal import say
    from flows.night.session import open_state
    from transforms.report.check import judge_runs

    with open_state(load_settings(config), migrate=False) as state:
        runs = state.runs()
    code, word, text = judge_runs(runs, now=datetime.now(UTC), max_age=timedelta(hours=max_age))
    if as_json:
        write_json(
            orjson.dumps(
                {"ok": code == 0, "exit_code": code, "text": text, "max_age_hours": max_age}
            )
        )
    else:
        say(f"{word}: {text} (a good one is wanted every {max_age:g} hours)")
    raise typer.Exit(code)


@app.command(rich_help_panel=PANEL)
def alerts(
    block: Annotated[
        str,
        typer.Argument(
            metavar="TYPE/NAME",
            help="a notification block of Prefect, e.g. slack-webhook/operations",
        ),
    ],
    max_age: Annotated[
        float,
        typer.Option(
            "--max-age",
            min=0.003,
            metavar="HOURS",
            help="a sync that ended well is wanted so often",
        ),
    ] = 26,
) -> None:
    """Have Prefect tell somebody: a run failed, waits for an approval, or did not happen.

    Replaces earlier alerts.
    """
    from flows.commands.terminal import say
    from flows.engine.alerts import set_up_alerts

    for name in set_up_alerts(block, max_age=timedelta(hours=max_age)):
        say(f"automation {name!r} notifies {block}")
