"""Read the sources: both SELECTs of one in a single read-only, repeatable-read transaction, any SQLAlchemy database.

PostgreSQL and SQLite are read in bulk by ADBC, every other database, and whatever ADBC does not manage, by SQLAlchemy's server-side streaming. Every
value arrives as text, missing as NA, so that the frames are the same whichever way and whichever database. Nothing is judged here.
"""

from __future__ import annotations

import logging
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flows.bulk_read import BulkReader, BulkReadError, as_text, can_read_in_bulk, open_reader
from flows.source_text import TEXT, to_text, to_text_batch, to_text_column
from schemas.config import Config, SourceConfig
from schemas.errors import ConfigurationError, SourceError, SyncError
from schemas.source import CUSTOM_PREFIX, EVENT_COLUMNS, GUEST_COLUMNS, REQUIRED_EVENT_COLUMNS, REQUIRED_GUEST_COLUMNS
from transforms.threads import take_ahead

CHUNK_ROWS = 20_000
T = TypeVar("T")
_log = logging.getLogger(__name__)
_SELECT = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/|\()*(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Extracted:
    """The canonical columns of one source as text; `read_at` is the UTC instant the transaction began."""

    source: str
    events: pd.DataFrame
    guests: pd.DataFrame
    read_at: datetime


@dataclass(frozen=True)
class Selects:
    """A source's two SELECTs, where they stand, and the values of their parameters."""

    events: str
    guests: str
    events_file: Path
    guests_file: Path
    params: dict[str, Any]


@dataclass(frozen=True)
class Query:
    """One SELECT, ready to be read: its text as written and as SQLAlchemy knows it, and the values of its parameters."""

    part: Literal["events", "guests"]
    sql: str
    text: sa.TextClause
    params: dict[str, Any]
    file: Path


def preset_folder(name: str) -> Path:
    """The shipped preset, in a checkout or in an installed package."""
    here = Path(__file__).resolve().parent
    for base in (here.parent / "data" / "sources", here / "_data" / "sources"):
        if (base / name).is_dir():
            return base / name
    raise ConfigurationError(f"the preset {name!r} is not part of this installation: reinstall essentry-sync")


def complete_source(config: SourceConfig) -> SourceConfig:
    """The source's settings with what its preset knows filled in (`times`, parameters)."""
    if config.preset is None:
        return config
    preset = tomllib.loads((preset_folder(config.preset) / "preset.toml").read_text(encoding="utf-8"))
    known = {name: entry.get("default") for name, entry in preset.get("params", {}).items()}
    unknown = set(config.params) - set(known)
    if unknown:
        raise ConfigurationError(
            f"preset {config.preset} has no parameter {sorted(unknown)[0]!r}: it has {', '.join(sorted(known)) or 'none'}"
        )
    return config.model_copy(update={"times": config.times or preset["times"], "params": {**known, **config.params}})


def complete_config(config: Config) -> Config:
    """The configuration with every source completed from its preset."""
    return config.model_copy(update={"sources": {name: complete_source(entry) for name, entry in config.sources.items()}})


def load_selects(name: str, config: SourceConfig, *, root: Path, dialect: str) -> Selects:
    """Read the SELECTs of a completed source; a preset may have a variant for a dialect (`events.<dialect>.sql`)."""
    files = []
    for part, given in (("events", config.events_sql), ("guests", config.guests_sql)):
        if given is not None:
            files.append(root / given)
        else:
            folder = preset_folder(str(config.preset))
            variant = folder / f"{part}.{dialect}.sql"
            files.append(variant if variant.exists() else folder / f"{part}.sql")
    texts = []
    for file in files:
        try:
            texts.append(file.read_text(encoding="utf-8").strip().rstrip(";"))
        except OSError as error:
            raise ConfigurationError(f"sources.{name}: cannot read {file}: {error.strerror}") from None
    return Selects(texts[0], texts[1], files[0], files[1], dict(config.params))


def source_url(name: str, config: SourceConfig, *, root: Path) -> sa.URL:
    """The database URL of a source; relative SQLite paths start at the configuration's folder."""
    text = config.url
    if config.url_env:
        text = os.environ.get(config.url_env, "").strip()
        if not text:
            raise ConfigurationError(f"sources.{name}: the environment variable {config.url_env} is not set: it must hold the database URL")
    if config.url_block:
        from flows.secrets import read_block

        text = read_block(config.url_block)
    return parse_url(str(text), key=f"sources.{name}.url", root=root)


def parse_url(text: str, *, key: str, root: Path) -> sa.URL:
    """A SQLAlchemy URL; raises ConfigurationError that names the key and never shows the text."""
    try:
        url = sa.make_url(text)
        url.get_dialect()
    except (SQLAlchemyError, ImportError, ValueError):
        raise ConfigurationError(
            f"{key} is no usable database URL: write sqlite:///file, postgresql+psycopg://user@host/name or mysql+pymysql://user@host/name"
        ) from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername in ("mysql", "mariadb"):
        url = url.set(drivername=f"{url.drivername}+pymysql")
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        url = url.set(database=str((root / url.database).resolve()))
    return url


def _check_file(name: str, url: sa.URL) -> None:
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        raise SourceError(f"source {name}: there is no database file {url.database}: correct sources.{name}.url")


@contextmanager
def open_snapshot(name: str, url: sa.URL) -> Iterator[sa.Connection]:
    """A connection in one read-only, repeatable-read transaction. Raises SourceError with the remedy, never the password."""
    backend = url.get_backend_name()
    _check_file(name, url)
    options: dict[str, Any] = {"poolclass": sa.NullPool}
    if backend in ("mysql", "mariadb"):
        options["connect_args"] = {"charset": "utf8mb4", "connect_timeout": 20, "read_timeout": 600}
    elif backend == "postgresql":
        options["connect_args"] = {"connect_timeout": 20}
    engine = sa.create_engine(url, hide_parameters=True, **options)
    try:
        with engine.connect() as connection:
            if backend == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            elif backend in ("mysql", "mariadb"):
                connection.exec_driver_sql("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                connection.exec_driver_sql("SET SESSION time_zone = '+00:00'")
                connection.commit()
                connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            elif backend == "sqlite":
                connection.exec_driver_sql("PRAGMA query_only = ON")
                connection.exec_driver_sql("BEGIN")
            yield connection
            connection.rollback()
    except SyncError:
        raise
    except (SQLAlchemyError, OSError) as error:
        place = url.render_as_string(hide_password=True)
        raise SourceError(
            f"source {name} ({place}): {brief(error)}: check that the database answers, and the URL of sources.{name}"
        ) from None
    finally:
        engine.dispose()


def brief(error: Exception) -> str:
    """The first line of a driver's message, without the statement."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0][:300]


def read_source(name: str, config: SourceConfig, *, root: Path) -> Extracted:
    """Read one completed source. Raises SourceError when it cannot be read, ConfigurationError when a SELECT lacks a column."""
    read_at = datetime.now(UTC)
    events, guests = read_parts(name, config, root=root, consume=lambda _, batches: to_frame(batches))
    return Extracted(name, events, guests, read_at)


def read_parts(
    name: str, config: SourceConfig, *, root: Path, consume: Callable[[Literal["events", "guests"], Iterator[pa.RecordBatch]], T]
) -> tuple[T, T]:
    """Read both SELECTs of a completed source, one after the other in one transaction, and give what `consume` makes of each.

    consume: gets `events` or `guests` and the rows in batches of text columns, at least one batch; it may be called again from the start, when the
    bulk way does not work. Raises as `read_source` does.
    """
    url = source_url(name, config, root=root)
    selects = load_selects(name, config, root=root, dialect=url.get_backend_name())
    events, guests = _prepare(name, selects, "events"), _prepare(name, selects, "guests")
    _check_file(name, url)
    if can_read_in_bulk(url):
        try:
            with open_reader(url) as reader:
                return (
                    consume("events", _check_columns(read_in_bulk(reader, events), events)),
                    consume("guests", _check_columns(read_in_bulk(reader, guests), guests)),
                )
        except BulkReadError as error:
            _log.debug("source %s is read by rows, the bulk way does not work: %s", name, type(error.__cause__).__name__)
    with open_snapshot(name, url) as connection:
        return (
            consume("events", _check_columns(read_by_rows(connection, name, events), events)),
            consume("guests", _check_columns(read_by_rows(connection, name, guests), guests)),
        )


def read_sources(config: Config, *, read: Callable[[str, SourceConfig], T]) -> tuple[dict[str, T], dict[str, str]]:
    """Read all sources at the same time: what `read` gave of each, and the message of each that failed.

    Raises SourceError for the first failure when the policy of that source is to stop; ConfigurationError always.
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


def confirm_absent(name: str, config: SourceConfig, source_event_ids: Sequence[str], *, root: Path) -> set[str]:
    """Which of these keys a fresh transaction still finds (S2): the user's SELECT as a derived table, filtered on its key."""
    url = source_url(name, config, root=root)
    selects = load_selects(name, config, root=root, dialect=url.get_backend_name())
    found: set[str] = set()
    kind = "CHAR" if url.get_backend_name() in ("mysql", "mariadb") else "TEXT"
    key = f"TRIM(CAST(q.source_event_id AS {kind}))"
    with open_snapshot(name, url) as connection:
        for start in range(0, len(source_event_ids), 500):
            wanted = [str(value) for value in source_event_ids[start : start + 500]]
            query = sa.text(f"SELECT {key} FROM (\n{selects.events}\n) AS q WHERE {key} IN :keys").bindparams(
                sa.bindparam("keys", expanding=True)
            )
            rows = connection.execute(query, {**_parameters(query, selects), "keys": wanted})
            found.update(str(row[0]).strip() for row in rows)
    return found


def read_event_rows(name: str, config: SourceConfig, source_event_id: str, *, root: Path) -> pd.DataFrame:
    """The rows of the events SELECT with this key, as text, by a look at that key alone. Raises as `read_source` does."""
    url = source_url(name, config, root=root)
    selects = load_selects(name, config, root=root, dialect=url.get_backend_name())
    kind = "CHAR" if url.get_backend_name() in ("mysql", "mariadb") else "TEXT"
    query = sa.text(f"SELECT * FROM (\n{selects.events}\n) AS q WHERE TRIM(CAST(q.source_event_id AS {kind})) IN :keys").bindparams(
        sa.bindparam("keys", expanding=True)
    )
    with open_snapshot(name, url) as connection:
        result = connection.execute(query, {**_parameters(query, selects), "keys": [source_event_id]})
        columns = [column.lower() for column in result.keys()]  # noqa: SIM118
        rows = [[to_text(value) for value in row] for row in result]
    return pd.DataFrame(rows, columns=columns, dtype="str")


def _parameters(query: sa.TextClause, selects: Selects) -> dict[str, Any]:
    return {name: selects.params.get(name) for name in query.compile().params if name != "keys"}


def _prepare(name: str, selects: Selects, part: Literal["events", "guests"]) -> Query:
    sql, file = (selects.events, selects.events_file) if part == "events" else (selects.guests, selects.guests_file)
    if not _SELECT.match(sql):
        raise ConfigurationError(f"{file} is no SELECT: it must return rows and change nothing")
    text = sa.text(sql)
    wanted = text.compile().params
    missing = [key for key in wanted if key not in selects.params]
    if missing:
        raise ConfigurationError(f"{file} uses the parameter :{missing[0]}: set it in [sources.{name}.params]")
    return Query(part, sql, text, {key: selects.params[key] for key in wanted}, file)


def read_in_bulk(reader: BulkReader, query: Query) -> Iterator[pa.RecordBatch]:
    """The rows of a SELECT in batches of text columns, by ADBC. Raises BulkReadError."""
    text, skipped = query.text, 0
    if reader.backend == "sqlite":
        text, skipped = sa.text(as_text(query.sql, reader.name_columns(query.text, query.params))), 1
    with reader.stream(text, query.params) as batches:
        yield _to_batch(list(batches.schema.names), [])
        for batch in take_ahead(batches):
            try:
                yield to_text_batch(batch.slice(skipped))
            except pa.ArrowException as error:
                raise BulkReadError(str(error)) from error
            skipped = 0


def read_by_rows(connection: sa.Connection, name: str, query: Query) -> Iterator[pa.RecordBatch]:
    """The rows of a SELECT in batches of text columns, by server-side streaming. Raises SourceError, ConfigurationError."""
    try:
        result = connection.execution_options(stream_results=True, max_row_buffer=CHUNK_ROWS).execute(query.text, query.params)
        if not result.returns_rows:
            raise ConfigurationError(f"{query.file} is no SELECT: it must return rows and change nothing")
        columns = list(result.keys())
        yield _to_batch(columns, [])
        for rows in result.partitions(CHUNK_ROWS):
            yield _to_batch(columns, rows)
    except SQLAlchemyError as error:
        raise SourceError(f"source {name}, {query.file}: {brief(error)}") from None


def _to_batch(columns: list[str], rows: Sequence[Any]) -> pa.RecordBatch:
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return pa.RecordBatch.from_arrays([_to_column(column) for column in values], names=[name.lower() for name in columns])


def _to_column(values: Sequence[Any]) -> pa.Array:
    """A driver's values as text: by Arrow where they are of one type, one by one where they are not."""
    try:
        return to_text_column(pa.array(values))
    except (pa.ArrowException, OverflowError):
        return pa.array([to_text(value) for value in values], type=TEXT)


def to_frame(batches: Iterable[pa.RecordBatch]) -> pd.DataFrame:
    """Batches of text columns, at least one, as one frame."""
    table = pa.Table.from_batches(batches).combine_chunks()
    return table.to_pandas(types_mapper={TEXT: pd.StringDtype(na_value=float("nan"))}.get)


def _check_columns(batches: Iterator[pa.RecordBatch], query: Query) -> Iterator[pa.RecordBatch]:
    """The batches, once the first of them shows the canonical columns. Raises ConfigurationError."""
    first = next(batches)
    names, file = first.schema.names, query.file
    known, required = (EVENT_COLUMNS, REQUIRED_EVENT_COLUMNS) if query.part == "events" else (GUEST_COLUMNS, REQUIRED_GUEST_COLUMNS)
    twice = [column for column in names if names.count(column) > 1]
    if twice:
        raise ConfigurationError(f"{file} returns the column {twice[0]} twice: name each column once")
    for column in required:
        if column not in names:
            raise ConfigurationError(f"{file} lacks the column {column}: {known[column] or 'it is compulsory'}")
    for column in names:
        if column not in known and not column.startswith(CUSTOM_PREFIX):
            raise ConfigurationError(
                f"{file} returns an unknown column {column}: rename it, or to {CUSTOM_PREFIX}{column} for a custom field"
            )
    if query.part == "events" and not {"room_key", "site_key"} & set(names):
        raise ConfigurationError(f"{file} returns neither room_key nor site_key: return one of them")
    yield first
    yield from batches
