"""Commands that say beforehand what a change of SELECTs or settings would do. They send nothing,
and the state stays as it is.

Heavy imports wait until a command runs.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.app import (
    DEFAULT_CONFIG,
    AsOf,
    ConfigFile,
    Json,
    app,
    load_settings,
    read_clock,
    show_life,
)
from schemas.errors import EXIT_DIFFERENT, EXIT_DONE, ConfigurationError

PANEL = "Before a change"


@app.command("test", rich_help_panel=PANEL)
def run_tests(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="tests, or folders of them")
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    url: Annotated[
        str | None,
        typer.Option("--url", help="database to test on instead of the source's; it may be empty"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a source's own SELECTs on rows of a test, and compare with what it expects."""
    from flows.commands.terminal import say
    from flows.operations.select_tests import find_tests, run_select_test
    from transforms.words import plural

    settings = load_settings(config)
    done = [run_select_test(settings, file, url=url) for file in find_tests(files)]
    different = sum(len(tested.differences) for tested in done)
    if as_json:
        told = [
            {
                "file": str(one.file),
                "events": one.events,
                "differences": [asdict(d) for d in one.differences],
            }
            for one in done
        ]
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        for tested in done:
            say(
                f"{tested.file}: {plural(tested.events, 'event')}, "
                f"{plural(len(tested.differences), 'difference')}"
            )
            for difference in tested.differences:
                say(f"  {difference}")
    raise typer.Exit(EXIT_DIFFERENT if different else EXIT_DONE)


@app.command(rich_help_panel=PANEL)
def compare(
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="OTHER.toml|git:REV|RUN",
            help="another configuration, this one as git has it, or a run whose plan was not sent",
        ),
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="print Markdown, for a merge request")
    ] = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Say who would fare otherwise by this configuration than by another.

    On the same read of the sources; nothing is sent or stored.
    """
    if markdown and as_json:
        raise ConfigurationError("--markdown and --json are two forms: choose one")
    # ended by SIGTERM, it takes its copy of the state away, too
    show_life(quiet=as_json or markdown)
    from flows.commands.terminal import say
    from flows.commands.waiting import waiting
    from flows.operations.compare import compare_configs, compare_with_plan
    from flows.operations.revision import open_revision
    from transforms.report.comparison import dump_comparison, render_lines, render_markdown

    settings, clock = load_settings(config), read_clock(as_of)
    waiting.begins("extract")
    if against.startswith("git:"):
        with open_revision(settings, against.removeprefix("git:")) as other:
            found = compare_configs(settings, other, as_of=clock)
    elif Path(against).suffix == ".toml" or Path(against).exists():
        found = compare_configs(settings, load_settings(Path(against)), as_of=clock)
    else:
        found = compare_with_plan(settings, against, as_of=clock)
    waiting.end()
    if as_json:
        typer.echo(json.dumps(dump_comparison(found), ensure_ascii=False, indent=2))
    elif markdown:
        typer.echo(render_markdown(found, against))
    else:
        for line in render_lines(found, against):
            say(line)
    raise typer.Exit(EXIT_DONE if found.same else EXIT_DIFFERENT)
