"""Read the sources: both SELECTs of one in a single read-only, repeatable-read transaction, any
SQLAlchemy database.

PostgreSQL and SQLite are read in bulk by ADBC, every other database, and whatever ADBC does not
manage, by SQLAlchemy's server-side streaming. Every value arrives as text, missing as NA, so that
the frames are the same whichever way and whichever database. Nothing is judged here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flows.connections.bulk import BulkReader, BulkReadError, as_text, can_read_in_bulk, open_reader
from flows.connections.urls import source_url
from flows.sources.files import keep_watch
from flows.sources.selects import Query, _check_columns, _prepare, load_selects
from flows.sources.text import TEXT, to_text, to_text_batch, to_text_column
from flows.sources.transaction import _check_file, brief, open_snapshot
from schemas.config import Config
from schemas.config_source import SourceConfig
from schemas.errors import ConfigurationError, SourceError
from transforms.arrow.threads import take_ahead

CHUNK_ROWS = 20_000
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extracted:
    """The canonical columns of one source as text; `read_at` is the UTC instant the transaction
    began.
    """

    source: str
    events: pd.DataFrame
    guests: pd.DataFrame
    read_at: datetime


def read_source(name: str, config: SourceConfig, *, root: Path) -> Extracted:
    """Read one completed source. Raises SourceError when it cannot be read, ConfigurationError when
    a SELECT lacks a column.
    """
    read_at = datetime.now(UTC)
    events, guests = read_parts(
        name, config, root=root, consume=lambda _, batches: to_frame(batches)
    )
    return Extracted(name, events, guests, read_at)


def read_parts(
    name: str,
    config: SourceConfig,
    *,
    root: Path,
    consume: Callable[[Literal["events", "guests"], Iterator[pa.RecordBatch]], T],
) -> tuple[T, T]:
    """Read both SELECTs of a completed source, one after the other in one transaction, and give
    what `consume` makes of each.

    consume: gets `events` or `guests` and the rows in batches of text columns, at least one batch;
    it may be called again from the start, when the bulk way does not work. Raises as `read_source`
    does.
    """
    events, guests = _read(name, config, ("events", "guests"), root=root, consume=consume)
    return events, guests


def read_events(
    name: str, config: SourceConfig, *, root: Path, consume: Callable[[Iterator[pa.RecordBatch]], T]
) -> T:
    """Read the events SELECT alone, as `read_parts` does, in a transaction of its own."""
    return _read(name, config, ("events",), root=root, consume=lambda _, batches: consume(batches))[
        0
    ]


def _read(
    name: str,
    config: SourceConfig,
    parts: Sequence[Literal["events", "guests"]],
    *,
    root: Path,
    consume: Callable[[Literal["events", "guests"], Iterator[pa.RecordBatch]], T],
) -> list[T]:
    url = source_url(name, config, root=root)
    selects = load_selects(name, config, root=root, dialect=url.get_backend_name())
    return read_queries(
        name, url, [_prepare(name, selects, part) for part in parts], consume=consume
    )


def read_queries(
    name: str,
    url: sa.URL,
    queries: Sequence[Query],
    *,
    consume: Callable[[Literal["events", "guests"], Iterator[pa.RecordBatch]], T],
) -> list[T]:
    """What `consume` makes of each query, one after the other in one transaction. Raises as
    `read_parts` does.
    """
    _check_file(name, url)
    with keep_watch(name, url, queries):
        return _read_queries(name, url, queries, consume=consume)


def _read_queries(
    name: str,
    url: sa.URL,
    queries: Sequence[Query],
    *,
    consume: Callable[[Literal["events", "guests"], Iterator[pa.RecordBatch]], T],
) -> list[T]:
    if can_read_in_bulk(url):
        try:
            with open_reader(url) as reader:
                return [
                    consume(query.part, _check_columns(read_in_bulk(reader, query), query))
                    for query in queries
                ]
        except BulkReadError as error:
            _log.debug(
                "source %s is read by rows, the bulk way does not work: %s",
                name,
                type(error.__cause__).__name__,
            )
    with open_snapshot(name, url, own_zone=any(query.own for query in queries)) as connection:
        return [
            consume(query.part, _check_columns(read_by_rows(connection, name, query), query))
            for query in queries
        ]


def read_sources(
    config: Config, *, read: Callable[[str, SourceConfig], T]
) -> tuple[dict[str, T], dict[str, str]]:
    """Read all sources at the same time: what `read` gave of each, and the message of each that
    failed.

    Raises SourceError for the first failure when the policy of that source is to stop;
    ConfigurationError always.
    """
    done: dict[str, T] = {}
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=len(config.sources), thread_name_prefix="source") as pool:
        jobs = {name: pool.submit(read, name, entry) for name, entry in config.sources.items()}
        for name, job in jobs.items():
            try:
                done[name] = job.result()
            except SourceError as error:
                if (config.sources[name].on_failure or config.on_source_failure) == "stop":
                    raise
                failed[name] = str(error)
    if not done:
        raise SourceError("no source could be read: " + "; ".join(failed.values()))
    return done, failed


def read_in_bulk(reader: BulkReader, query: Query) -> Iterator[pa.RecordBatch]:
    """The rows of a SELECT in batches of text columns, by ADBC. Raises BulkReadError."""
    text, skipped = query.text, 0
    if reader.backend == "sqlite":
        text, skipped = (
            sa.text(as_text(query.sql, reader.name_columns(query.text, query.params))),
            1,
        )
    with reader.stream(text, query.params) as batches:
        yield _to_batch(list(batches.schema.names), [])
        for batch in take_ahead(batches):
            try:
                yield to_text_batch(batch.slice(skipped))
            except pa.ArrowException as error:
                raise BulkReadError(str(error)) from error
            skipped = 0


def read_by_rows(connection: sa.Connection, name: str, query: Query) -> Iterator[pa.RecordBatch]:
    """The rows of a SELECT in batches of text columns, by server-side streaming. Raises
    SourceError, ConfigurationError.
    """
    try:
        result = connection.execution_options(
            stream_results=True, max_row_buffer=CHUNK_ROWS
        ).execute(query.text, query.params)
        if not result.returns_rows:
            raise ConfigurationError(
                f"{query.file} is no SELECT: it must return rows and change nothing"
            )
        columns = list(result.keys())
        yield _to_batch(columns, [])
        for rows in result.partitions(CHUNK_ROWS):
            yield _to_batch(columns, rows)
    except SQLAlchemyError as error:
        raise SourceError(f"source {name}, {query.file}: {brief(error)}") from None


def _to_batch(columns: list[str], rows: Sequence[Any]) -> pa.RecordBatch:
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return pa.RecordBatch.from_arrays(
        [_to_column(column) for column in values], names=[name.lower() for name in columns]
    )


def _to_column(values: Sequence[Any]) -> pa.Array:
    """A driver's values as text: by Arrow where they are of one type, one by one where they are
    not.
    """
    try:
        return to_text_column(pa.array(values))
    except (pa.ArrowException, OverflowError):
        return pa.array([to_text(value) for value in values], type=TEXT)


def to_frame(batches: Iterable[pa.RecordBatch]) -> pd.DataFrame:
    """Batches of text columns, at least one, as one frame."""
    table = pa.Table.from_batches(batches).combine_chunks()
    return table.to_pandas(types_mapper={TEXT: pd.StringDtype(na_value=float("nan"))}.get)
