"""The command line. It alone catches errors: one readable message and the exit code of
schemas.errors, never a traceback.

Commands that need no engine do not import Prefect; every heavy import waits until its command runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands import audit, badges, decide, look_back, operate, rehearse, visits
from flows.commands.app import (
    DEFAULT_CONFIG,
    AsOf,
    ConfigFile,
    Json,
    Listed,
    app,
    end_with,
    load_settings,
    quieten_engine,
    read_clock,
    show_life,
)
from flows.commands.called import spell_commands
from flows.commands.ending import die_of_it, leave_soon, was_terminated
from flows.commands.output import steady_output
from flows.commands.selected import (
    AtLocations,
    Events,
    FromDay,
    Guests,
    OfSources,
    ToDay,
    end_with_selected,
)
from schemas.errors import EXIT_BUG, SyncError

__all__ = [
    "app",
    "audit",
    "badges",
    "decide",
    "look_back",
    "main",
    "operate",
    "rehearse",
    "visits",
]  # importing the other command modules registers their commands


@app.command()
def demo(
    folder: Annotated[
        Path | None, typer.Option("--folder", help="where the demo lives; default data/demo")
    ] = None,
    nights: Annotated[int, typer.Option("--nights", min=1, max=3)] = 3,
) -> None:
    """Run nights of a fictional company against a local sandbox of essentry."""
    quieten_engine()
    show_life()
    from flows.commands.demo import run_demo

    raise typer.Exit(run_demo(folder, nights=nights))


@app.command()
def sync(
    config: ConfigFile = DEFAULT_CONFIG,
    full: Annotated[
        bool,
        typer.Option("--full", help="send every current event again, whatever the snapshot says"),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="plan and report, send nothing")
    ] = False,
    events: Events = None,
    guests: Guests = None,
    sources: OfSources = None,
    locations: AtLocations = None,
    first: FromDay = None,
    last: ToDay = None,
    as_of: AsOf = None,
    as_json: Json = False,
    listed: Listed = None,
) -> None:
    """One night: read, compare, guard, send, report. Or some events alone, explained.

    With --event and its like no other event is touched.
    """
    quieten_engine()
    show_life(quiet=as_json)
    settings, clock = load_settings(config), read_clock(as_of)
    from transforms.guards.restriction import read_restriction

    only = read_restriction(
        events=events, guests=guests, sources=sources, locations=locations, first=first, last=last
    )
    if only:
        end_with_selected(
            settings, only, as_of=clock, full=full, send=not dry_run, as_json=as_json, listed=listed
        )
    from flows.commands.terminal import Progress

    with Progress(quiet=as_json) as progress:
        if dry_run:
            from flows.night.steps import run_plan

            result = run_plan(settings, as_of=clock, full=full, progress=progress)
        else:
            from flows.engine.run import run_night

            result = run_night(settings, as_of=clock, full=full, progress=progress)
    shown = listed if listed is not None else settings.report.list_changes if dry_run else 0
    end_with(result, as_json=as_json, listed=shown)


@app.command()
def plan(
    config: ConfigFile = DEFAULT_CONFIG,
    full: Annotated[
        bool, typer.Option("--full", help="plan to send every current event again")
    ] = False,
    events: Events = None,
    guests: Guests = None,
    sources: OfSources = None,
    locations: AtLocations = None,
    first: FromDay = None,
    last: ToDay = None,
    as_of: AsOf = None,
    as_json: Json = False,
    listed: Listed = None,
) -> None:
    """Compute and store a plan, of a night or of some events alone; send nothing."""
    show_life(quiet=as_json)
    settings = load_settings(config)
    from transforms.guards.restriction import read_restriction

    only = read_restriction(
        events=events, guests=guests, sources=sources, locations=locations, first=first, last=last
    )
    if only:
        end_with_selected(
            settings,
            only,
            as_of=read_clock(as_of),
            full=full,
            send=False,
            as_json=as_json,
            listed=listed,
        )
    from flows.commands.terminal import Progress
    from flows.night.steps import run_plan

    with Progress(quiet=as_json) as progress:
        result = run_plan(settings, as_of=read_clock(as_of), full=full, progress=progress)
    end_with(
        result, as_json=as_json, listed=settings.report.list_changes if listed is None else listed
    )


@app.command()
def apply(
    plan_id: Annotated[str, typer.Argument(metavar="PLAN")],
    config: ConfigFile = DEFAULT_CONFIG,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Send exactly the changes of a stored plan ("latest" for the newest)."""
    show_life(quiet=as_json)
    from flows.commands.app import name_plan
    from flows.commands.terminal import Progress, say
    from flows.connections.secrets import read_tokens
    from flows.night.session import open_state
    from flows.night.steps import run_apply

    settings, clock = load_settings(config), read_clock(as_of)
    read_tokens(settings)  # a missing token ends the command before anything is looked at
    with open_state(settings) as state:
        name = name_plan(state, plan_id)
        head, _ = state.load_plan(name, columns=("seq",))
    if not as_json:
        say(f"plan {head['plan_id']}, digest {head['digest'][:16]}: {head['changes']:,} changes")
    with Progress(quiet=as_json) as progress:
        result = run_apply(settings, head["plan_id"], as_of=clock, progress=progress)
    end_with(result, as_json=as_json)


@app.command()
def sandbox(
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8765,
    host: Annotated[
        str,
        typer.Option("--host", help="address to listen on; this machine only unless you say so"),
    ] = "127.0.0.1",
    keep: Annotated[
        Path | None, typer.Option("--keep", help="SQLite file that keeps the state")
    ] = None,
) -> None:
    """A local essentry for tests: strict about payloads, mails nobody."""
    from flows.commands.terminal import say
    from flows.sandbox.app import SandboxSettings
    from flows.sandbox.server import run_sandbox

    settings = SandboxSettings(persist_path=keep)
    say(
        f"essentry sandbox on http://{host}:{port} (API under /api/v2); token {settings.token}, "
        f"agent token {settings.agent_token}"
    )
    run_sandbox(settings, host=host, port=port)


@app.command()
def init(
    preset: Annotated[
        str, typer.Option("--preset", help="librebooking, mrbs, orangehrm or frappe_hrms")
    ],
    url: Annotated[
        str,
        typer.Option(
            "--url", help="database URL of the source; a password in it is not written down"
        ),
    ],
    source: Annotated[
        str | None, typer.Option("--source", help="name of the source; default: the preset's")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="file to write")] = DEFAULT_CONFIG,
) -> None:
    """Write a first configuration, with the sites and rooms of the source to fill in."""
    from flows.operations.init import write_config

    written = write_config(preset, url, source=source, output=output)
    typer.echo(f"wrote {written.file}: {written.sites:,} sites and {written.rooms:,} rooms")
    for remedy in written.remedies:
        typer.echo(remedy)


@app.command()
def doctor(config: ConfigFile = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Test every connection, SELECT and setting, and say what to mend."""
    from flows.commands.terminal import print_checks
    from flows.operations.doctor import examine

    raise typer.Exit(print_checks(examine(load_settings(config)), as_json=as_json))


def main(arguments: list[str] | None = None) -> Any:
    """Run a command; the process ends with its exit code."""
    steady_output()
    try:
        app(args=arguments, standalone_mode=True)
    except SystemExit as ended:
        if "prefect" in sys.modules:
            leave_soon(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
        raise
    except SyncError as error:
        typer.secho(
            f"essentry-sync: {spell_commands(str(error))}",
            err=True,
            fg="red" if sys.stderr.isatty() else None,
        )
        if "prefect" in sys.modules:
            leave_soon(error.exit_code)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo(
            (
                "essentry-sync: interrupted; what was under way is in the ledger, "
                "the next run goes on from there"
            ),
            err=True,
        )
        if was_terminated():
            die_of_it()
        sys.exit(130)
    except (
        Exception
    ) as error:  # a bug: tell where without a wall of text, and keep the details reachable
        import os

        if os.environ.get("ESSENTRY_SYNC_DEBUG"):
            raise
        kind = type(error).__name__
        typer.echo(
            (
                f"essentry-sync: this is a bug ({kind}: {error}); run again with "
                "ESSENTRY_SYNC_DEBUG=1 and report what it prints"
            ),
            err=True,
        )
        sys.exit(EXIT_BUG)


if __name__ == "__main__":
    main()
