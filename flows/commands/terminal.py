"""What a person sees on the terminal: progress, summaries, tables. No decisions."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import orjson
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from flows.commands.waiting import waiting
from flows.night.session import Result
from transforms.report.problems import describe_problem

console = Console(highlight=False)
errors = Console(highlight=False, stderr=True)


def say(text: str, *, err: bool = False) -> None:
    """One plain line."""
    (errors if err else console).print(text, markup=False, soft_wrap=True)
    waiting.heard()


class Progress:
    """A bar on a terminal, a line every tenth elsewhere, nothing when quiet. Called by the load after each batch, told of each step.

    A step that is silent for long has a line, too.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bar: Bar | None = None
        self.last = 0

    def __enter__(self) -> Self:
        if not self.quiet and sys.stdout.isatty():
            columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Bar(*columns, console=console, transient=True)
        waiting.quiet, waiting.write = self.quiet, say
        waiting.start()
        return self

    def begins(self, step: str) -> None:
        """The night goes on to another step."""
        if self.bar is not None and step != "load":
            self.bar.stop()
        waiting.begins(step)

    def tell(self, text: str) -> None:
        """A line of its own."""
        if not self.quiet:
            say(text)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        waiting.end()
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, done: int, total: int | None, outcomes: Sequence[Any]) -> None:
        if self.quiet:
            return
        if self.bar is not None:
            if not self.bar.tasks:
                self.bar.add_task("sending", total=total)
                self.bar.start()
            self.bar.update(self.bar.tasks[0].id, completed=done)
            waiting.heard()
        elif total and (done * 10 // total > self.last or done == total):
            self.last = done * 10 // total
            say(f"sent {done:,} of {total:,}")


def print_result(result: Result, *, as_json: bool) -> None:
    """The summary of a run."""
    report = result.report
    if as_json:
        sys.stdout.write(orjson.dumps(report, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")
        return
    say("")
    console.print(report["verdict"], style="bold green" if result.exit_code == 0 else "bold yellow", markup=False, soft_wrap=True)
    if "counts" in report:
        counts = {name: count for name, count in report["counts"].items() if count}
        table = Table("events", *counts, box=None, pad_edge=False, header_style="dim")
        table.add_row("in all", *(f"{count:,}" for count in counts.values()))
        for source, actions in report["by_source"].items():
            table.add_row(source, *(f"{actions.get(name, 0):,}" if name in actions else "" for name in counts))
        console.print(table)
        sent = bool(report["load"])
        people = report["people_mailed"] if sent else report["people"]
        say(
            f"people {'mailed' if sent else 'who would be mailed'}: {people['total']:,} "
            f"(invited {people['invited']:,}, updated {people['updated']:,}, cancelled {people['cancelled']:,})"
        )
        if sent:
            say(f"requests: {report['load']['requests']:,}, retries: {report['load']['retries']:,}")
        for group in report["quarantined"]:
            sample = ", ".join(str(item["source_event_id"]) for item in group["samples"][:3])
            say(f"quarantined: {group['rows']:,} {group['source']} {group['part']}: {group['remedy']} ({sample})")
        for finding in report["guards"]:
            say(f"guard {finding['guard']}: {finding['message']}")
            for cause in finding["causes"][:3]:
                say(f"  {cause}")
        approval = report["plan"].get("approval")
        if report["guards"] and approval:
            say(f"released by {approval['by']} (plan {approval['plan_id']}){': ' if approval['reason'] else ''}{approval['reason']}")
        elif commands := report["plan"].get("commands"):
            say(f"to {'release' if report['guards'] else 'send'} it: {', then '.join(commands)}")
        for problem in report["problems"][:10]:
            say(f"{problem['state']}: {problem['source_id']} {describe_problem(problem)}".rstrip())
        for name, text in report["failed_sources"].items():
            say(f"source {name} failed: {text}")
        say("seconds: " + ", ".join(f"{step} {value:.1f}" for step, value in report["seconds"].items()))
    say(f"report: {result.folder / 'report.html'}")


def print_frame(frame: pd.DataFrame, *, as_json: bool, empty: str) -> None:
    """A frame as a table, or as JSON records."""
    if as_json:
        sys.stdout.write(frame.to_json(orient="records", date_format="iso", indent=2, force_ascii=False) + "\n")
    elif frame.empty:
        say(empty)
    else:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in frame.columns:
            table.add_column(column, no_wrap=column == "run_id")
        for row in frame.itertuples(index=False):
            table.add_row(*("" if pd.isna(value) else _cell(value) for value in row))
        console.print(table)


def _cell(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, pd.Timestamp) else str(value).replace("[", "\\[")


def print_checks(checks: Iterable[tuple[bool, str]], *, as_json: bool) -> int:
    """`doctor`'s lines; 2 when one of them failed."""
    lines = list(checks)
    if as_json:
        sys.stdout.write(orjson.dumps([{"ok": ok, "text": text} for ok, text in lines], option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        for ok, text in lines:
            console.print("✓" if ok else "✗", style="green" if ok else "bold red", end=" ")
            say(text)
    return 0 if all(ok for ok, _ in lines) else 2
