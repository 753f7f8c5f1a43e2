"""Read the sources: both SELECTs of one in a single read-only, repeatable-read transaction, any SQLAlchemy database.

Every value arrives as text, missing as NA, so that SQLite, PostgreSQL and MariaDB give the same frames. Nothing is judged here.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from schemas.config import Config, SourceConfig
from schemas.errors import ConfigurationError, SourceError, SyncError
from schemas.source import CUSTOM_PREFIX, EVENT_COLUMNS, GUEST_COLUMNS, REQUIRED_EVENT_COLUMNS, REQUIRED_GUEST_COLUMNS

CHUNK_ROWS = 20_000
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


@contextmanager
def open_snapshot(name: str, url: sa.URL) -> Iterator[sa.Connection]:
    """A connection in one read-only, repeatable-read transaction. Raises SourceError with the remedy, never the password."""
    backend = url.get_backend_name()
    if backend == "sqlite" and not Path(str(url.database)).is_file():
        raise SourceError(f"source {name}: there is no database file {url.database}: correct sources.{name}.url")
    options: dict[str, Any] = {"poolclass": sa.NullPool}
    if backend in ("mysql", "mariadb"):
        options["connect_args"] = {"charset": "utf8mb4", "connect_timeout": 20, "read_timeout": 600}
    elif backend == "postgresql":
        options["connect_args"] = {"connect_timeout": 20}
    engine = sa.create_engine(url, **options)
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
        raise SourceError(f"source {name} ({url.render_as_string(hide_password=True)}): {brief(error)}") from None
    finally:
        engine.dispose()


def brief(error: Exception) -> str:
    """The first line of a driver's message, without the statement."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0][:300]


def read_source(name: str, config: SourceConfig, *, root: Path) -> Extracted:
    """Read one completed source. Raises SourceError when it cannot be read, ConfigurationError when a SELECT lacks a column."""
    url = source_url(name, config, root=root)
    selects = load_selects(name, config, root=root, dialect=url.get_backend_name())
    read_at = datetime.now(UTC)
    with open_snapshot(name, url) as connection:
        events = _read(connection, name, selects.events, selects.events_file, selects.params)
        guests = _read(connection, name, selects.guests, selects.guests_file, selects.params)
    _check_columns(events, selects.events_file, EVENT_COLUMNS, REQUIRED_EVENT_COLUMNS)
    if not {"room_key", "site_key"} & set(events.columns):
        raise ConfigurationError(f"{selects.events_file} returns neither room_key nor site_key: return one of them")
    _check_columns(guests, selects.guests_file, GUEST_COLUMNS, REQUIRED_GUEST_COLUMNS)
    return Extracted(name, events, guests, read_at)


def read_sources(config: Config) -> tuple[dict[str, Extracted], dict[str, str]]:
    """Read all sources at the same time: what was read, and the message of each that failed.

    Raises SourceError for the first failure when the policy of that source is to stop; ConfigurationError always.
    """
    read: dict[str, Extracted] = {}
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=len(config.sources), thread_name_prefix="source") as pool:
        jobs = {name: pool.submit(read_source, name, entry, root=config.root) for name, entry in config.sources.items()}
        for name, job in jobs.items():
            try:
                read[name] = job.result()
            except SourceError as error:
                if (config.sources[name].on_failure or config.on_source_failure) == "stop":
                    raise
                failed[name] = str(error)
    if not read:
        raise SourceError("no source could be read: " + "; ".join(failed.values()))
    return read, failed


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


def _parameters(query: sa.TextClause, selects: Selects) -> dict[str, Any]:
    return {name: selects.params.get(name) for name in query.compile().params if name != "keys"}


def _read(connection: sa.Connection, name: str, sql: str, file: Path, params: dict[str, Any]) -> pd.DataFrame:
    if not _SELECT.match(sql):
        raise ConfigurationError(f"{file} is no SELECT: it must return rows and change nothing")
    query = sa.text(sql)
    wanted = query.compile().params
    missing = [key for key in wanted if key not in params]
    if missing:
        raise ConfigurationError(f"{file} uses the parameter :{missing[0]}: set it in [sources.{name}.params]")
    try:
        result = connection.execution_options(stream_results=True, max_row_buffer=CHUNK_ROWS).execute(query, {k: params[k] for k in wanted})
        if not result.returns_rows:
            raise ConfigurationError(f"{file} is no SELECT: it must return rows and change nothing")
        columns = [column.lower() for column in result.keys()]  # noqa: SIM118
        twice = [column for column in columns if columns.count(column) > 1]
        if twice:
            raise ConfigurationError(f"{file} returns the column {twice[0]} twice: name each column once")
        chunks = [_to_table(columns, rows) for rows in result.partitions(CHUNK_ROWS)]
    except SQLAlchemyError as error:
        raise SourceError(f"source {name}, {file}: {brief(error)}") from None
    table = pa.concat_tables(chunks) if chunks else _to_table(columns, [])
    return table.to_pandas(types_mapper={pa.large_string(): pd.StringDtype(na_value=float("nan"))}.get)


def _to_table(columns: list[str], rows: Sequence[Any]) -> pa.Table:
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    arrays = [pa.array([to_text(value) for value in column], type=pa.large_string()) for column in values]
    return pa.table(dict(zip(columns, arrays, strict=True)))


def to_text(value: Any) -> str | None:
    """One driver value as text: instants as ISO 8601 (with their offset, if they have one), numbers without a needless .0."""
    if value is None or type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        seconds = int(value.total_seconds())
        return f"{seconds // 3600:02d}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"
    if isinstance(value, (float, Decimal)):
        return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", errors="replace")
    return str(value)


def _check_columns(frame: pd.DataFrame, file: Path, known: dict[str, str], required: tuple[str, ...]) -> None:
    for column in required:
        if column not in frame.columns:
            raise ConfigurationError(f"{file} lacks the column {column}: {known[column] or 'it is compulsory'}")
    for column in frame.columns:
        if column not in known and not column.startswith(CUSTOM_PREFIX):
            raise ConfigurationError(
                f"{file} returns an unknown column {column}: rename it, or to {CUSTOM_PREFIX}{column} for a custom field"
            )
