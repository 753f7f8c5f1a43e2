"""Commands that look back: reports, the history, what was set aside. None of them sends anything.

Heavy imports wait until a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_app import DEFAULT_CONFIG, ConfigFile, Json, app, load_settings
from schemas.errors import ConfigurationError


@app.command(rich_help_panel="Look back")
def report(
    run: Annotated[str, typer.Argument(metavar="[RUN]")] = "latest", config: ConfigFile = DEFAULT_CONFIG, as_json: Json = False
) -> None:
    """Print the report of a run."""
    from flows.nightly import open_state

    with open_state(load_settings(config), migrate=False) as state:
        runs = state.runs()
    chosen = runs if run == "latest" else runs[runs["run_id"].str.startswith(run)]
    chosen = chosen[chosen["report_dir"].notna()]
    if chosen.empty:
        raise ConfigurationError(f"there is no report of the run {run!r}: `essentry-sync runs` lists them")
    folder = Path(chosen.sort_values("started_at").iloc[-1]["report_dir"])
    file = folder / ("report.json" if as_json else "report.md")
    if not file.exists():
        raise ConfigurationError(f"the report {file} is gone")
    typer.echo(file.read_text(encoding="utf-8"))


@app.command(rich_help_panel="Look back")
def runs(config: ConfigFile = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """List the runs."""
    from flows.nightly import open_state
    from flows.terminal import print_runs

    with open_state(load_settings(config), migrate=False) as state:
        print_runs(state.runs(), as_json=as_json)


@app.command(rich_help_panel="Look back")
def quarantine(
    run: Annotated[str, typer.Argument(metavar="[RUN]")] = "latest", config: ConfigFile = DEFAULT_CONFIG, as_json: Json = False
) -> None:
    """List the rows that were set aside, why, and what to do."""
    from flows.nightly import open_state
    from flows.terminal import print_frame

    with open_state(load_settings(config), migrate=False) as state:
        history = state.runs().sort_values("started_at")
        chosen = history if run == "latest" else history[history["run_id"].str.startswith(run)]
        if chosen.empty:
            raise ConfigurationError(f"there is no run {run!r}: `essentry-sync runs` lists them")
        frame = state.quarantine(chosen.iloc[-1]["run_id"])
    print_frame(
        frame[["source", "part", "source_event_id", "guest_id", "check", "value", "remedy"]],
        as_json=as_json,
        empty="nothing is quarantined",
    )
