"""A report's files without the data of one person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from flows.report.files import write_pages, write_tables
from schemas.config import Config
from transforms.masking import mask_value
from transforms.operations.forget import find_names, forget_guest
from transforms.report.words import describe_change, name_places

_LISTS = ("added", "changed", "removed", "fields")


def _read(folder: Path) -> dict[str, Any]:
    return orjson.loads((folder / "report.json").read_bytes())


def _mentions(folder: Path, words: list[str]) -> bool:
    """Whether a report holds one of these words, in lower case."""
    text = (folder / "report.json").read_bytes().decode().casefold()
    if any(word in text for word in words):
        return True
    table = _read_table(folder)
    if table is None:
        return False
    columns = [
        table[column].dropna().str.casefold() for column in (*_LISTS, "message", "name", "what")
    ]
    return any(column.str.contains(word, regex=False).any() for column in columns for word in words)


def _read_table(folder: Path) -> pd.DataFrame | None:
    file = folder / "changes.parquet"
    return pd.read_parquet(file) if file.exists() else None


def _without(record: Mapping[str, Any], address: str, names: set[str]) -> dict[str, Any]:
    """A change without the guest; names are those of the same person elsewhere in the report, for
    titles of meetings that are over.
    """
    mine = find_names(record, address) or (names if _is_about(record, names) else set())
    return forget_guest(dict(record), address, mine)


def _is_about(record: Mapping[str, Any], names: set[str]) -> bool:
    return any(
        " " in name and name.casefold() in str(record.get("name") or "").casefold()
        for name in names
    )


def _rewrite(
    folder: Path,
    config: Config,
    change: Callable[[Mapping[str, Any]], dict[str, Any]],
    *,
    masked: bool = False,
    words: Callable[[str], str] = lambda text: text,
) -> None:
    """Write a report's files anew from its data: each change through `change`, titles and messages
    of problems through `words`.
    """
    report = _read(folder)
    wording = name_places(config, masked=masked or report.get("masked", False))
    records = [change(record) for record in report.get("changes", [])]
    if masked:
        records = [{**record, "what": describe_change(record, wording)} for record in records]
    if "changes" in report:
        report = {**report, "changes": records, "masked": wording.masked}
        problems = []
        for problem in report["problems"]:
            name = (
                mask_value("name", problem["name"])
                if masked
                else problem["name"] and words(problem["name"])
            )
            problems.append(
                {
                    **problem,
                    "name": name,
                    "message": problem["message"] and words(problem["message"]),
                }
            )
        report["problems"] = problems
    table = _read_table(folder)
    write_pages(folder, report, wording)
    if table is not None:
        write_tables(folder, [_change_table(table, change, wording_masked=masked)])


def _change_table(
    table: pd.DataFrame,
    change: Callable[[Mapping[str, Any]], dict[str, Any]],
    *,
    wording_masked: bool,
) -> pd.DataFrame:
    """changes.parquet's rows through `change`; only rows that hold people are looked at."""
    rows = []
    for row in table[["name", "message", "what", *_LISTS]].to_dict("records"):
        record: dict[str, Any] = {
            key: orjson.loads(row[key]) if isinstance(row[key], str) else [] for key in _LISTS
        }
        record |= {
            key: row[key] if isinstance(row[key], str) else None
            for key in ("name", "message", "what")
        }
        done = change(record)
        if wording_masked and done != record:
            done["what"] = None  # it may name people; fields and guests tell the same, masked
        rows.append(
            {
                **{key: orjson.dumps(done[key]).decode() if done[key] else None for key in _LISTS},
                **{k: done[k] for k in ("name", "message", "what")},
            }
        )
    new = pd.DataFrame(
        rows, columns=["name", "message", "what", *_LISTS], index=table.index
    ).astype("str")
    return table.assign(**{column: new[column] for column in new.columns})
