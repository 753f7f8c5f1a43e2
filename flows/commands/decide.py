"""Commands by which a person decides: release a plan, forget, rename or take over a source. Each is
small in what it does and tells what follows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.app import DEFAULT_CONFIG, ConfigFile, app, load_settings
from schemas.errors import ConfigurationError, StalePlanError

_CHOICE = "source=, location=, action=, event= or reason=; a comma joins two, and both hold"


@app.command(rich_help_panel="Decide")
def approve(
    plan_id: Annotated[str, typer.Argument(metavar="PLAN")],
    by: Annotated[str, typer.Option("--by", help="who approves; default: this account")] = "",
    reason: Annotated[str, typer.Option("--reason", help="why")] = "",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="KIND=VALUE", help=f"{_CHOICE}; of several, what any names"),
    ] = None,
    but: Annotated[
        list[str] | None,
        typer.Option("--except", metavar="KIND=VALUE", help="all but these, which wait; as --only"),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Release one waiting plan, or a part of it; `apply` sends it, or the run that waits."""
    import getpass

    from flows.commands.app import name_plan
    from flows.commands.terminal import say
    from flows.night.apply import check_age
    from flows.night.close import read_findings
    from flows.night.lease import hold_lease
    from flows.night.part import approve_part
    from flows.night.run import new_run
    from flows.night.session import open_state
    from transforms.guards.selection import read_choice
    from transforms.words import plural

    rest = None
    settings = load_settings(config)
    choice = read_choice(only or [], but or [])
    with open_state(settings, migrate=False) as state:
        stored, _ = state.load_plan(name_plan(state, plan_id))
        name, now, who = stored["plan_id"], datetime.now(UTC), by or getpass.getuser()
        check_age(stored, settings, now=now)
        if choice.only or choice.but:
            with hold_lease(state, new_run(), settings):  # a run at work may be sending it
                parted = approve_part(settings, state, name, choice, by=who, reason=reason, now=now)
            stored, rest = parted.part, parted.rest
        elif not state.approve_plan(name, by=who, reason=reason, now=now):
            stored, _ = state.load_plan(name)
            newest, _ = state.load_plan("latest")
            hint = (
                f"; the newest is {newest['plan_id']} ({newest['status']})"
                if newest["plan_id"] != name
                else ""
            )
            raise StalePlanError(
                f"the plan {name} is {stored['status']}: there is nothing to approve{hint}"
            )
        waiting = state.is_waiting(stored["run_id"])
    part = "the chosen part of " if rest else ""
    say(
        f"approved {part}{name}, digest {stored['digest'][:16]}: "
        f"{plural(stored['changes'], 'change')}"
    )
    for finding in read_findings(stored):
        say(f"  {finding['guard']}: {finding['message']}")
    if rest:
        changes = plural(rest["changes"], "change")
        say(
            f"the rest waits as {rest['plan_id']}, digest {rest['digest'][:16]}: {changes}; "
            "it needs an approval of its own"
        )
    if waiting and name == stored["run_id"]:
        say(
            f"the run {stored['run_id']} waits for this and goes on within a minute; "
            f"if it has been killed, `essentry-sync apply {name}`"
        )
    elif rest:
        say(
            f"send the part with `essentry-sync apply {name}`; a new run before that asks again, "
            "for the part as well"
        )
    else:
        say(
            f"send it with `essentry-sync apply {name}`; a new run before that sends no more than "
            "this without asking again"
        )


def _agreed(question: str, *, yes: bool, kept: str) -> None:
    """Ask, unless --yes was given. Raises ConfigurationError when nobody answers, and ends with 0
    at a no.
    """
    from flows.commands.terminal import say

    try:
        agreed = yes or typer.confirm(question)
    except typer.Abort:
        raise ConfigurationError(f"nobody answered; {kept}: answer y, or give --yes") from None
    if not agreed:
        say(kept)
        raise typer.Exit(0)


@app.command(rich_help_panel="Decide")
def retire(
    source: Annotated[str, typer.Argument(metavar="SOURCE")],
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Forget a source without a call: its events stay in essentry, and nobody is mailed."""
    from flows.commands.terminal import say
    from flows.night.known import load_known
    from flows.night.lease import hold_lease
    from flows.night.run import new_run
    from flows.night.session import open_state
    from transforms.diff.unions import find_united_with
    from transforms.words import plural

    settings = load_settings(config)
    if source in settings.sources:
        raise ConfigurationError(
            f"the configuration still names the source {source!r}: remove it first, "
            "or the next run creates its events again"
        )
    with open_state(settings, migrate=False) as state:
        known = load_known(state).snapshot
        united = find_united_with(known, source)
        count = int(((known["source"] == source) | known["source_id"].isin(united)).sum())
        if not count:
            raise ConfigurationError(
                f"the state holds no events of a source {source!r}: it knows "
                f"{', '.join(sorted(set(known['source']))) or 'none'}"
            )
        question = (
            f"forget {plural(count, 'event')} of {source}? essentry keeps them, "
            "and they are no longer updated or cancelled"
        )
        if united:
            question += (
                f"; {plural(len(united), 'meeting')} with another source go on, "
                f"and keep the guests that {source} gave them"
            )
        _agreed(question, yes=yes, kept=f"{source} is kept")
        with hold_lease(state, new_run(), settings):  # a run at work would write its rows again
            state.retire_source(source)
    say(f"{plural(count, 'event')} of {source} are forgotten here; essentry was not called")


@app.command(rich_help_panel="Decide")
def rename(
    old: Annotated[str, typer.Argument(metavar="OLD")],
    new: Annotated[str, typer.Argument(metavar="NEW")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Give a source another name: its ids stay as they are, and nobody is mailed."""
    from flows.commands.terminal import say
    from flows.night.lease import hold_lease
    from flows.night.run import new_run
    from flows.night.session import open_state
    from flows.operations.rename import check_rename
    from transforms.words import plural

    settings = load_settings(config)
    with open_state(settings, migrate=False) as state, hold_lease(state, new_run(), settings):
        check_rename(settings, state, old, new)
        count = state.rename_source(old, new)
    say(
        f"{plural(count, 'event')} of {old} belong to {new} now, under the ids they had; "
        "essentry was not called"
    )


@app.command(rich_help_panel="Decide")
def adopt(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV or JSON: source, source_event_id, event_id, and guest, invitation_id",
        ),
    ],
    yes: Annotated[
        bool,
        typer.Option("--yes", help="take the ids over; without it only what would happen is shown"),
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Take over events that another integration created under its own ids, without a call."""
    from flows.commands.terminal import say
    from flows.operations.adopt import adopt_events

    for line in adopt_events(load_settings(config), file, write=yes):
        say(line)
