"""What a person sees on the terminal: progress, summaries, tables. No decisions."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from flows.commands.called import spell_commands
from flows.commands.output import write_json
from flows.commands.tables import print_table
from flows.commands.waiting import waiting
from transforms.words import plural

if TYPE_CHECKING:
    from flows.operations.doctor import Line

console = Console(highlight=False)
errors = Console(highlight=False, stderr=True)
MARKS = {"fine": ("✓", "green"), "warning": ("!", "bold yellow"), "failed": ("✗", "bold red")}


def say(text: str, *, err: bool = False) -> None:
    """One plain line; a command in it between backticks is spelled as it is to be typed here."""
    (errors if err else console).print(spell_commands(text), markup=False, soft_wrap=True)
    waiting.heard()


class Progress:
    """A bar on a terminal, a line every tenth elsewhere, nothing when quiet. Called by the load
    after each batch, told of each step.

    A step that is silent for long has a line, too.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bar: Bar | None = None
        self.last = 0

    def __enter__(self) -> Self:
        if not self.quiet and sys.stdout.isatty():
            columns = (
                TextColumn("sending"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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


def print_frame(frame: pd.DataFrame, *, as_json: bool, empty: str, wrap: bool = False) -> None:
    """A frame as a table, or as JSON records. wrap: the last column is prose."""
    if as_json:
        write_json(
            str(frame.to_json(orient="records", date_format="iso", indent=2, force_ascii=False))
        )
    elif frame.empty:
        say(empty)
    else:
        rows = [
            ["" if pd.isna(value) else _cell(value) for value in row]
            for row in frame.itertuples(index=False)
        ]
        print_table(console, list(frame.columns), rows, wrap=wrap)
        waiting.heard()


def _cell(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, pd.Timestamp) else str(value)


def print_checks(checks: Iterable[Line], *, as_json: bool) -> int:
    """`doctor`'s lines: ✓ fine, ! a warning, ✗ to be mended; 2 when something is to be mended."""
    lines = [(line, line.level) for line in checks]
    if as_json:
        told = [{"ok": line.fine, "level": level, "text": line.text} for line, level in lines]
        write_json(orjson.dumps(told, option=orjson.OPT_INDENT_2))
    else:
        for line, level in lines:
            mark, style = MARKS[level]
            console.print(mark, style=style, end=" ")
            say(line.text)
        warnings = sum(level == "warning" for _, level in lines)
        if warnings:
            say(
                f"{plural(warnings, 'warning')}: rows that would be set aside, "
                "and what may be on purpose; none of them ends with 2"
            )
    return 2 if any(level == "failed" for _, level in lines) else 0
