"""Commands that look back: reports, the history, what was set aside. None of them sends anything.

Heavy imports wait until a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.app import DEFAULT_CONFIG, ConfigFile, Json, app, load_settings
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from flows.state.store import State
    from schemas.config import Config


@app.command(rich_help_panel="Look back")
def report(
    run: Annotated[str, typer.Argument(metavar="[RUN]")] = "latest",
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
    open_page: Annotated[
        bool, typer.Option("--open", help="open report.html in the browser instead of printing")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="print the JSON Schema of report.json and nothing else")
    ] = False,
) -> None:
    """Print the report of a run, or open its page: what changed, who was mailed, what needs you."""
    if schema:
        import json

        from schemas.report import read_schema

        typer.echo(json.dumps(read_schema(), indent=2))
        return
    from flows.commands.output import write_json
    from flows.operations.history import find_report

    with _read_state(config) as state:
        folder = find_report(state, run)
    file = folder / ("report.html" if open_page else "report.json" if as_json else "report.md")
    if not file.exists():
        raise ConfigurationError(
            f"the report {file} is gone: reports older than state.keep_runs_days are removed"
        )
    if open_page:
        typer.echo(str(file))
        typer.launch(file.as_uri())
        return
    text = file.read_text(encoding="utf-8")
    write_json(text) if as_json else typer.echo(text)


@app.command(rich_help_panel="Look back")
def runs(
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
    forget_clock: Annotated[
        bool,
        typer.Option(
            "--forget-clock",
            help=(
                "after nights by a clock that was ahead: show what they ended too early, "
                "and take it back"
            ),
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="with --forget-clock: do not ask")] = False,
) -> None:
    """List the runs, and how their numbers went."""
    from flows.commands.history_tables import print_runs

    if forget_clock:
        _forget_clock(load_settings(config), yes=yes)
        return
    with _read_state(config) as state:
        print_runs(state.runs(), as_json=as_json)


@app.command(rich_help_panel="Look back")
def show(
    source_id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="essentry's sourceId, or the event's key as its source has it"
        ),
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Tell the life of one event or invitation.

    What its source says now, what essentry holds, and every change so far.
    """
    from flows.commands.history_tables import print_trace
    from flows.operations.history import trace_event

    settings = load_settings(config)
    with _read_state(config) as state:
        print_trace(trace_event(state, settings, source_id), as_json=as_json)


@app.command(rich_help_panel="Look back")
def diff(
    run_a: Annotated[str, typer.Argument(metavar="RUN_A")],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B")],
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """Compare two runs: their numbers, and the events that both, or only one of them, changed."""
    from flows.commands.history_tables import print_comparison
    from flows.operations.history import compare_runs

    settings = load_settings(config)
    with _read_state(config) as state:
        print_comparison(compare_runs(state, settings, run_a, run_b), as_json=as_json)


@app.command(rich_help_panel="Look back")
def quarantine(
    run: Annotated[str, typer.Argument(metavar="[RUN]")] = "latest",
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """List the rows that were set aside, why, and what to do."""
    from flows.commands.terminal import print_frame
    from flows.operations.history import find_run

    with _read_state(config) as state:
        frame = state.quarantine(find_run(state, run)["run_id"])
    columns = ["source", "part", "source_event_id", "guest_id", "check", "value", "remedy"]
    print_frame(frame[columns], as_json=as_json, empty="nothing is quarantined", wrap=True)


@app.command(rich_help_panel="Look back")
def forget(
    guest: Annotated[
        str,
        typer.Option(
            "--guest", metavar="E-MAIL", help="the guest's e-mail address, as the source has it"
        ),
    ],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Take a guest out of the state and all reports. Nobody is mailed.

    A meeting that is not over keeps its guest.
    """
    from flows.commands.history_tables import print_forgotten
    from flows.operations.forget import forget_person

    settings = load_settings(config)
    with _read_state(config) as state:
        raise typer.Exit(
            print_forgotten(
                forget_person(settings, state, guest), settings.state.keep_inactive_days
            )
        )


def _forget_clock(settings: Config, *, yes: bool) -> None:
    from flows.commands.decide import _agreed
    from flows.commands.terminal import say
    from flows.night.session import open_state
    from flows.operations.clock import find_clock_ahead, forget_clock
    from transforms.words import plural

    with open_state(settings, migrate=False) as state:
        found = find_clock_ahead(settings, state)
        for line in found.describe():
            say(line)
        if found.runs.empty and found.events.empty:
            return
        _agreed(
            "forget that clock, and have these events count as held by essentry again?",
            yes=yes,
            kept="nothing was changed",
        )
        count = forget_clock(settings, state)
    say(
        f"{plural(count, 'event')} count as held by essentry again; the next run compares them "
        "with their sources; essentry was not called"
    )


def _read_state(config: Path) -> State:
    from flows.night.session import open_state

    return open_state(load_settings(config), migrate=False)
