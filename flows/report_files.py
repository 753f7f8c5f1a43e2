"""Write a run's report to its folder: report.json, report.md, changes.csv. Files are readable by the owner alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from schemas.errors import ReportError
from transforms.report import describe_change, render_markdown, tell_open

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_report(folder: Path, report: Mapping[str, Any], changes: pd.DataFrame, *, masked: bool, timezone: str = "UTC") -> Path:
    """Write all files of one run, each whole or not at all; returns the folder."""
    with _explain_failure(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(folder / "report.json", orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY, default=str))
        _write(folder / "report.md", render_markdown(report).encode())
        _write(folder / "changes.csv", list_changes(changes, masked=masked, timezone=timezone).to_csv(index=False).encode())
    return folder


def write_failure(folder: Path, report: Mapping[str, Any]) -> None:
    """The report of a run that ended before there was a plan: why, in JSON and in words."""
    run = report["run"]
    lines = [f"# essentry-sync {run['kind']} {run['run_id']}", "", f"**{report['verdict']}**", "", *tell_open(report["problems"])]
    with _explain_failure(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(folder / "report.json", orjson.dumps(report, option=orjson.OPT_INDENT_2))
        _write(folder / "report.md", ("\n".join(lines).rstrip() + "\n").encode())


def remove_report(folder: Path) -> None:
    """Remove the files of a run that is forgotten, and the folder if nothing else is in it."""
    with suppress(OSError):
        for file in [*folder.glob("report.*"), *folder.glob("changes.*")]:
            file.unlink()
        folder.rmdir()


def list_changes(changes: pd.DataFrame, *, masked: bool, timezone: str = "UTC") -> pd.DataFrame:
    """Changes as a person reads them, safe to open in a spreadsheet: a text that looks like a formula gets an apostrophe."""
    if changes.empty:
        return pd.DataFrame(
            columns=["source_id", "action", "reason", "starts_at", "name", "location_id", "what", "state", "code", "message"]
        )
    starts_at = changes["starts_at"].dt.tz_convert(timezone)
    table = changes.assign(starts_at=starts_at, what=[describe_change(row, masked=masked) for row in changes.to_dict("records")])
    table = table[["source_id", "action", "reason", "starts_at", "name", "location_id", "what", "state", "code", "message"]]
    text = table.select_dtypes(include=["str", "object"]).columns
    return table.assign(**{c: table[c].map(lambda v: f"'{v}" if isinstance(v, str) and v.startswith(_FORMULA) else v) for c in text})


@contextmanager
def _explain_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReportError(
            f"the report in {folder} cannot be written ({error.strerror}): make room, correct report.directory or the rights of the folder; "
            "what the run did is in the state store"
        ) from None


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(path.name + ".part")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    draft.replace(path)
