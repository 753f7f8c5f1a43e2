"""A source's two SELECTs with their parameters, checked before any row is read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import sqlalchemy as sa

from flows.connections.urls import source_url
from flows.sources.presets import find_fit
from flows.sources.text import unescape_batch
from flows.sources.transaction import open_snapshot
from schemas.config_source import SourceConfig
from schemas.errors import ConfigurationError
from schemas.source import (
    CUSTOM_PREFIX,
    EVENT_COLUMNS,
    GUEST_COLUMNS,
    REQUIRED_EVENT_COLUMNS,
    REQUIRED_GUEST_COLUMNS,
)

_SELECT = re.compile(
    r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/|\()*(?:SELECT|WITH|VALUES|TABLE)\b",
    re.IGNORECASE | re.DOTALL,
)


# what people typed; keys, times and flags are the system's own
_TYPED = frozenset(
    {
        "name", "description", "room_name", "linked_event_id", "email", "first_name", "last_name",
        "full_name", "company_name",
        *(f"{role}_{part}" for role in ("host", "creator") for part in ("email", "first_name",
            "last_name", "phone")),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Selects:
    """A source's two SELECTs, where they stand, and the values of their parameters. `own`: they are
    the user's, none of a preset, and give wall-clock times or epochs, which a session of the
    account's own zone reads as the user does; of what is said to be UTC the session is UTC."""

    events: str
    guests: str
    events_file: Path
    guests_file: Path
    params: dict[str, Any]
    unescape: bool = False
    own: bool = False


@dataclass(frozen=True)
class Query:
    """One SELECT, ready to be read: its text as written and as SQLAlchemy knows it, and the values
    of its parameters.

    `unescape`: what people typed is stored as HTML, with `&amp;` for `&`. `own`: the SELECT is the
    user's, and read in a session as the user's.
    """

    part: Literal["events", "guests"]
    sql: str
    text: sa.TextClause
    params: dict[str, Any]
    file: Path
    unescape: bool = False
    own: bool = False


def load_selects(name: str, config: SourceConfig, *, root: Path, dialect: str) -> Selects:
    """Read the SELECTs of a completed source: its own, or those of its preset that fit the tables
    the database shows.

    Raises ConfigurationError for a file that cannot be read; of a preset SourceError when the
    database does not answer or is none it knows.
    """
    texts, files = {}, {}
    if config.events_sql is None or config.guests_sql is None:
        with open_snapshot(name, source_url(name, config, root=root)) as connection:
            fit = find_fit(name, str(config.preset), connection, params=config.params)
        texts = {part: fit.read(part) for part in ("events", "guests")}
        files = dict(fit.files)
    for part, given in (("events", config.events_sql), ("guests", config.guests_sql)):
        if given is not None:
            files[part] = root / given
            try:
                texts[part] = files[part].read_text(encoding="utf-8").strip().rstrip(";")
            except OSError as error:
                raise ConfigurationError(
                    f"sources.{name}: cannot read {files[part]}: {error.strerror}"
                ) from None
    return Selects(
        texts["events"],
        texts["guests"],
        files["events"],
        files["guests"],
        dict(config.params),
        config.unescape == "html",
        config.preset is None and config.times != "utc",
    )


def _parameters(query: sa.TextClause, selects: Selects) -> dict[str, Any]:
    return {name: selects.params.get(name) for name in query.compile().params if name != "keys"}


def _prepare(name: str, selects: Selects, part: Literal["events", "guests"]) -> Query:
    sql, file = (
        (selects.events, selects.events_file)
        if part == "events"
        else (selects.guests, selects.guests_file)
    )
    if not _SELECT.match(sql):
        raise ConfigurationError(f"{file} is no SELECT: it must return rows and change nothing")
    text = sa.text(sql)
    wanted = text.compile().params
    missing = [key for key in wanted if key not in selects.params]
    if missing:
        raise ConfigurationError(
            f"{file} uses the parameter :{missing[0]}: set it in [sources.{name}.params]"
        )
    return Query(
        part,
        sql,
        text,
        {key: selects.params[key] for key in wanted},
        file,
        selects.unescape,
        selects.own,
    )


def _check_columns(batches: Iterator[pa.RecordBatch], query: Query) -> Iterator[pa.RecordBatch]:
    """The batches, once the first of them shows the canonical columns, with texts as people typed
    them. Raises ConfigurationError.
    """
    first = next(batches)
    names, file = first.schema.names, query.file
    known, required = (
        (EVENT_COLUMNS, REQUIRED_EVENT_COLUMNS)
        if query.part == "events"
        else (GUEST_COLUMNS, REQUIRED_GUEST_COLUMNS)
    )
    twice = [column for column in names if names.count(column) > 1]
    if twice:
        raise ConfigurationError(
            f"{file} returns the column {twice[0]} twice: name each column once"
        )
    for column in required:
        if column not in names:
            raise ConfigurationError(
                f"{file} lacks the column {column}: {known[column] or 'it is compulsory'}"
            )
    for column in names:
        if column not in known and not column.startswith(CUSTOM_PREFIX):
            raise ConfigurationError(
                f"{file} returns an unknown column {column}: rename it, "
                f"or to {CUSTOM_PREFIX}{column} for a custom field"
            )
    if query.part == "events" and not {"room_key", "site_key"} & set(names):
        raise ConfigurationError(
            f"{file} returns neither room_key nor site_key: return one of them"
        )
    for batch in itertools.chain([first], batches):
        yield unescape_batch(batch, columns=_TYPED) if query.unescape else batch
