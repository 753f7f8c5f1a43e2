"""Write a run's report to its folder: report.html, report.json, report.md, changes.csv,
changes.parquet. Files are readable by the owner alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from flows.report.html import render_html
from schemas.errors import ReportError
from transforms.report.changes import list_changes, tabulate_changes
from transforms.report.markdown import render_markdown
from transforms.report.words import Wording

PAGE = "report.html"
_FORMULA = r"^[=+\-@\t\r]"


def write_report(
    folder: Path,
    report: Mapping[str, Any],
    listed: pd.DataFrame,
    changes: Iterable[pd.DataFrame],
    *,
    wording: Wording,
    read_contents: Callable[[Sequence[int]], Mapping[int, str]],
) -> Path:
    """Write all files of one run, each whole or not at all; returns the folder.

    listed: the changes to list one by one, by `choose_listed`; changes: all of them, a part at a
    time. read_contents: seq → canonical JSON of the events that are created, for those that are
    listed.
    """
    created = listed.loc[listed["action"] == "create", "seq"].tolist() if len(listed) else []
    records = list_changes(listed, read_contents(created), wording)
    with _explain_failure(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_pages(folder, {**report, "changes": records}, wording)
        write_tables(folder, (tabulate_changes(part, wording) for part in changes))
    return folder


def write_failure(folder: Path, report: Mapping[str, Any], *, wording: Wording) -> None:
    """The report of a run that ended before there was a plan."""
    with _explain_failure(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_pages(folder, report, wording)


def remove_report(folder: Path) -> None:
    """Remove the files of a run that is forgotten, and the folder if nothing else is in it."""
    with suppress(OSError):
        for file in [*folder.glob("report.*"), *folder.glob("changes.*")]:
            file.unlink()
        folder.rmdir()


def remove_drafts(folder: Path) -> None:
    """Remove what a killed run left half written: drafts, and files without the report.json that
    they could be written anew from.

    Call it while no run can be at work.
    """
    if not (folder / "report.json").exists():
        remove_report(folder)
        return
    with suppress(OSError):
        for file in folder.glob("*.part"):
            file.unlink()


def write_pages(folder: Path, report: Mapping[str, Any], wording: Wording) -> None:
    """report.json, and the pages that render from it alone."""
    _write(
        folder / "report.json",
        orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY),
    )
    _write(folder / "report.md", render_markdown(report, wording).encode())
    _write(folder / PAGE, render_html(report, report.get("changes", []), wording))


def write_tables(folder: Path, tables: Iterable[pd.DataFrame]) -> None:
    """changes.parquet and changes.csv. tables: the rows, a part at a time, at least one part."""
    with (
        _draft(folder / "changes.parquet") as columns,
        _draft(folder / "changes.csv") as lines,
        ExitStack() as stack,
    ):
        writers: list[Any] = []
        for table in tables:
            part = pa.Table.from_pandas(table, preserve_index=False)
            safe = defuse_formulas(part)
            if not writers:
                writers = [
                    stack.enter_context(pq.ParquetWriter(columns, part.schema)),
                    stack.enter_context(csv.CSVWriter(lines, safe.schema)),
                ]
            for writer, rows in zip(writers, (part, safe), strict=True):
                writer.write_table(rows)


def defuse_formulas(table: pa.Table) -> pa.Table:
    """The table, safe to open in a spreadsheet: a text that looks like a formula gets an
    apostrophe; instants are ISO 8601 with their offset.
    """
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_timestamp(column.type):
            column = pc.strftime(
                column.cast(pa.timestamp("s", column.type.tz), safe=False),
                format="%Y-%m-%dT%H:%M:%S%z",
            )
        elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            risky = pc.match_substring_regex(column, _FORMULA)
            column = pc.if_else(
                risky,
                pc.binary_join_element_wise(
                    pa.scalar("'", column.type), column, pa.scalar("", column.type)
                ),
                column,
            )
        columns[name] = column
    return pa.table(columns)


@contextmanager
def _explain_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReportError(
            f"the report in {folder} cannot be written ({error.strerror}): make room, "
            "correct report.directory or the rights of the folder; what the run did is in the "
            "state store"
        ) from None


def _write(path: Path, content: bytes) -> None:
    with _draft(path) as file:
        file.write(content)


@contextmanager
def _draft(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name once it is whole."""
    draft = path.with_name(path.name + ".part")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        yield file
    draft.replace(path)
