"""What all commands share: the application, its common options, and reading them."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.called import note_config, spell_command
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from flows.night.session import Result
    from flows.state.store import State
    from schemas.config import Config

app = typer.Typer(
    help="Keeps essentry in step with HR and room-booking databases.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        help="configuration file",
        envvar="ESSENTRY_SYNC_CONFIG",
        callback=note_config,
    ),
]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", help="the clock, ISO 8601 with a zone; for tests and re-runs"),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Listed = Annotated[
    int | None,
    typer.Option(
        "--list",
        min=0,
        metavar="N",
        help="changes to tell one by one, cancellations first; default: report.list_changes",
    ),
]
DEFAULT_CONFIG = Path("essentry-sync.toml")


def quieten_engine() -> None:
    """Before Prefect is imported on a terminal: its log goes to its UI, ours is `report.log`, and
    the summary is printed.
    """
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    # of what it does inside
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL", "CRITICAL")


def show_life(*, quiet: bool = False) -> None:
    """From here on the command is never silent for long, however long its imports take, and ends
    soon when it is told to.
    """
    from flows.commands.ending import end_in_time
    from flows.commands.waiting import waiting

    end_in_time()
    waiting.quiet = quiet
    waiting.start()


def load_settings(path: Path) -> Config:
    """The configuration of a command; what it names to copy is spelled as this command was."""
    from schemas.load_config import load_config

    config = load_config(path)
    config.spell_by(spell_command)
    return config


def read_clock(text: str | None, *, option: str = "--as-of") -> datetime | None:
    """An option as a UTC instant."""
    if text is None:
        return None
    try:
        clock = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{option} {text!r} is no ISO 8601 instant: write 2026-11-24T02:00:00+00:00"
        ) from None
    if clock.tzinfo is None:
        raise ConfigurationError(
            f"{option} {text!r} has no zone: add Z or an offset such as +01:00"
        )
    return clock.astimezone(UTC)


def name_plan(state: State, plan: str) -> str:
    """The id that is meant. `latest` is what a person has read only while no newer plan can have
    come in between.

    On a terminal the id is asked for then. Raises ConfigurationError elsewhere, and for an id that
    is typed wrongly.
    """
    if plan != "latest":
        return plan
    stored, _ = state.load_plan("latest")
    newest, others = stored["plan_id"], state.list_passed_over(stored)
    if not others:
        return str(newest)
    words = (
        f"the newest plan is {newest}, and {others[0]} before it was superseded unsent: "
        "which of their reports was read cannot be known from here"
    )
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{words}; write the plan's id instead of latest")
    typed = str(typer.prompt(f"{words}. Type the id of the plan that you have read")).strip()
    if not typed:
        raise ConfigurationError("no id was typed: nothing was done")
    return typed


def end_with(result: Result, *, as_json: bool, listed: int = 0) -> None:
    """Print a run's summary, with so many of its changes, and end with its exit code."""
    from flows.commands.summary import print_result
    from flows.commands.waiting import waiting

    waiting.end()
    print_result(result, as_json=as_json, listed=listed)
    raise typer.Exit(result.exit_code)
