"""Files as a source: what DuckDB reads must not be guessed, and must not be written while it is
read.

`duckdb://` has no tables; the SELECT names files (`read_csv('guests.csv', all_varchar = true)`),
relative to the configuration's folder.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from flows.sources.selects import Query
from schemas.errors import ConfigurationError, SourceError

SETTLED_SECONDS = 2.0
"""A file that was changed a shorter time ago may still be written to."""
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_LITERAL = re.compile(r"'((?:[^']|'')*)'")
_GUESSED = re.compile(r"\.(?:csv|tsv|txt|json|jsonl|ndjson)(?:\.gz|\.zst)?$", re.IGNORECASE)
_CALL = re.compile(
    r"\b(?:read_csv(?:_auto)?|sniff_csv|read_(?:nd)?json(?:_auto|_objects)?)\s*\(", re.IGNORECASE
)
_WORKBOOK = re.compile(r"\.xls[xmb]?$", re.IGNORECASE)
_READ_WORKBOOK = re.compile(r"\b(?:read_xlsx|st_read)\s*\(", re.IGNORECASE)
_BARE = re.compile(
    r"\b(?:FROM|JOIN)\s+'((?:[^']|'')*)'|,\s*'((?:[^']|'')*)'\s+(?:AS\s+)?\w+\s*(?:WHERE|,|$)",
    re.IGNORECASE,
)
_TYPED = re.compile(r"\ball_varchar\s*[:=]+\s*(?:true|1)\b|\bcolumns\s*[:=]+\s*\{", re.IGNORECASE)


@contextmanager
def keep_watch(name: str, url: sa.URL, queries: Sequence[Query]) -> Iterator[None]:
    """Read the files of these SELECTs inside of it; of any other database than DuckDB nothing is
    watched.

    Raises ConfigurationError where the types of a file would be guessed from its rows, and
    SourceError where a file changes meanwhile.
    """
    if url.get_backend_name() != "duckdb":
        yield
        return
    for query in queries:
        check_types(query)
    folder = Path(str(url.query.get("file_search_path", ".")))
    before = _look(name, folder, queries)
    youngest = max((changed for _, changed in before.values()), default=0) / 1e9
    wait = SETTLED_SECONDS - (time.time() - youngest)
    if before and 0 < wait <= SETTLED_SECONDS:
        time.sleep(wait)
    yield
    after = _look(name, folder, queries)
    for path in sorted({*before, *after}):
        if before.get(path) != after.get(path):
            raise SourceError(
                f"source {name}: {path} was changed while it was read: "
                "let the export write another file and rename it when it is whole"
            )


def check_types(query: Query) -> None:
    """Refuse a SELECT of an Excel file, or one whose columns would be of the types that the rows of
    this night suggest.

    Else a key 007 would be 7 until one row has a letter.
    """
    text = _COMMENT.sub(" ", query.sql)
    calls = [text[found.end() : _find_end(text, found.end())] for found in _CALL.finditer(text)]
    bare = [found[1] or found[2] for found in _BARE.finditer(text)]
    if _READ_WORKBOOK.search(text) or any(_WORKBOOK.search(file) for file in bare):
        raise ConfigurationError(
            f"{query.file}: Excel files are not read (DuckDB has no reader of its own for them, "
            "and their dates are numbers of days): save the sheet as CSV, "
            "with texts for keys and times, and write read_csv('file.csv', all_varchar = true)"
        )
    if any(not _TYPED.search(call) for call in calls) or any(
        _GUESSED.search(file) for file in bare
    ):
        raise ConfigurationError(
            f"{query.file}: DuckDB would guess the types of a file's columns from its rows, "
            "and a key 007 would be 7 one night and 007 the next: "
            "write read_csv('file.csv', all_varchar = true), or name the columns with columns = {…}"
        )


def _find_end(text: str, start: int) -> int:
    """Where the parenthesis that was opened before `start` is closed; parentheses in texts do not
    count.
    """
    depth, quoted = 1, False
    for place in range(start, len(text)):
        if text[place] == "'":
            quoted = not quoted
        elif not quoted and text[place] in "()":
            depth += 1 if text[place] == "(" else -1
            if depth == 0:
                return place
    return len(text)


def _look(name: str, folder: Path, queries: Sequence[Query]) -> dict[Path, tuple[int, int]]:
    """The files that the SELECTs name or match: size and time of the last change (ns)."""
    found: dict[Path, tuple[int, int]] = {}
    for query in queries:
        for literal in _LITERAL.findall(_COMMENT.sub(" ", query.sql)):
            for path in _match(folder, literal.replace("''", "'")):
                try:
                    facts = path.stat()
                except OSError as error:
                    raise SourceError(
                        f"source {name}: {path} cannot be read ({error.strerror})"
                    ) from None
                found[path] = facts.st_size, facts.st_mtime_ns
    return found


def _match(folder: Path, text: str) -> list[Path]:
    if not text or "\n" in text or "\0" in text or "." not in text:
        return []
    path = folder / text
    try:
        if not re.search(r"[*?\[]", text):
            return [path] if path.is_file() else []
        anchor = Path(path.anchor)
        return [found for found in anchor.glob(str(path.relative_to(anchor))) if found.is_file()]
    except (OSError, ValueError, NotImplementedError):
        return []
