"""Rows of a test in place of a source's tables, and its own SELECTs read on them, in the dialect of
the source.

SQLite: a file of its own that has these tables alone. PostgreSQL, MariaDB, MySQL: temporary tables
of one connection, which hide those of the same name and end with it; a column has the type of the
real table where there is one, else the one that the test names, or that of its values. A SELECT
that would read another table is refused.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable

from flows.connections.urls import parse_url, source_url
from flows.sources.read import read_by_rows, read_source, to_frame
from flows.sources.selects import _check_columns, _prepare, load_selects
from flows.sources.text import to_text
from flows.sources.transaction import brief
from schemas.config_source import SourceConfig
from schemas.errors import ConfigurationError
from schemas.select_test import SelectTest

_SERVERS = ("postgresql", "mysql", "mariadb")


def read_fixtures(
    name: str, config: SourceConfig, test: SelectTest, *, root: Path, url: str | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Events and guests, as text, that a completed source's SELECTs give of a test's rows.

    url: the database to use instead of the source's own; it need hold nothing. Raises
    ConfigurationError for rows that make no table, a SELECT that the database refuses or that reads
    a table the test does not have; SourceError when the database does not answer.
    """
    place = (
        source_url(name, config, root=root)
        if url is None
        else parse_url(url, key="--url", root=Path.cwd())
    )
    backend = place.get_backend_name()
    if backend == "sqlite":
        return _read_in_file(name, config, test, root)
    if backend not in _SERVERS:
        raise ConfigurationError(
            f"tests run on SQLite, PostgreSQL, MariaDB and MySQL, not on {backend}: "
            "name such a database with --url"
        )
    given = (
        config
        if url is None
        else config.model_copy(update={"url": url, "url_env": None, "url_block": None})
    )
    selects = load_selects(name, given, root=root, dialect=backend)
    with _open_tables(name, place, test) as connection:
        parts = []
        for query in (_prepare(name, selects, "events"), _prepare(name, selects, "guests")):
            parts.append(to_frame(_check_columns(read_by_rows(connection, name, query), query)))
            if backend == "postgresql":
                _refuse_others(connection, query.file)
        return parts[0], parts[1]


def _read_in_file(
    name: str, config: SourceConfig, test: SelectTest, root: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    with tempfile.TemporaryDirectory(prefix="essentry-sync-test-") as folder:
        file = Path(folder) / "tables.sqlite"
        with closing(sqlite3.connect(file)) as connection, connection:
            try:
                for table, rows in test.tables.items():
                    columns = test.list_columns(table)
                    connection.execute(
                        f"CREATE TABLE {_quote(table)} ({', '.join(map(_quote, columns))})"
                    )
                    values = [[_plain(row.get(column)) for column in columns] for row in rows]
                    marks = ", ".join("?" * len(columns))
                    connection.executemany(f"INSERT INTO {_quote(table)} VALUES ({marks})", values)
            except (sqlite3.Error, OverflowError) as error:
                raise ConfigurationError(f"the rows of {table} make no table: {error}") from None
        own = config.model_copy(
            update={"url": f"sqlite:///{file}", "url_env": None, "url_block": None}
        )
        read = read_source(name, own, root=root)
        return read.events, read.guests


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(value: Any) -> Any:
    """A value as SQLite keeps it: flags as numbers, instants as texts."""
    return (
        int(value)
        if isinstance(value, bool)
        else to_text(value)
        if isinstance(value, (date, time))
        else value
    )


@contextmanager
def _open_tables(name: str, url: sa.URL, test: SelectTest) -> Iterator[sa.Connection]:
    """A connection on which the test's tables hide all others of their names; nothing of them
    stays.
    """
    charset = {"charset": "utf8mb4"} if url.get_backend_name() != "postgresql" else {}
    engine = sa.create_engine(
        url,
        hide_parameters=True,
        poolclass=sa.NullPool,
        connect_args={"connect_timeout": 20, **charset},
    )
    try:
        with engine.connect() as connection:
            inspector = sa.inspect(connection)
            real = {*inspector.get_table_names(), *inspector.get_view_names()}
            others = sorted(real - set(test.tables))
            if url.get_backend_name() != "postgresql":
                connection.exec_driver_sql("SET SESSION time_zone = '+00:00'")
                if others:  # here the database cannot tell which of them a SELECT has read
                    raise ConfigurationError(
                        f"the database {url.database} has tables that the test does not have, "
                        f"as {others[0]}, and their rows could be read: "
                        "name an empty database with --url, or add them to [tables]"
                    )
            for table in test.tables:
                _make_table(connection, table, test, real=inspector if table in real else None)
            yield connection
            connection.rollback()
    except SQLAlchemyError as error:
        raise ConfigurationError(
            f"the test of source {name} cannot be made ({brief(error)}): correct its rows, "
            "let the account create temporary tables, or name another database with --url"
        ) from None
    finally:
        engine.dispose()


def _make_table(
    connection: sa.Connection, name: str, test: SelectTest, *, real: sa.Inspector | None
) -> None:
    names, rows = test.list_columns(name), test.tables[name]
    if real is not None:
        types = {column["name"]: column["type"] for column in real.get_columns(name)}
        unknown = [column for column in names if column not in types]
        if unknown:
            raise ConfigurationError(
                f"the table {name} of the database has no column {unknown[0]}: correct the test"
            )
    else:
        named = test.columns.get(name, {})
        types = {
            column: _KINDS[named[column]]
            if column in named
            else _find_type([row[column] for row in rows if column in row])
            for column in names
        }
    table = sa.Table(
        name,
        sa.MetaData(),
        *(sa.Column(column, kind) for column, kind in types.items()),
        prefixes=["TEMPORARY"],
    )
    connection.execute(CreateTable(table))
    quote = connection.dialect.identifier_preparer.quote
    for row in rows:
        given = {
            column: _naive(value) if connection.dialect.name != "postgresql" else value
            for column, value in row.items()
        }
        columns, marks = ", ".join(map(quote, given)), ", ".join(["%s"] * len(given))
        connection.exec_driver_sql(
            f"INSERT INTO {quote(name)} ({columns}) VALUES ({marks})", tuple(given.values())
        )


def _naive(value: Any) -> Any:
    """MariaDB's instants have no zone: UTC, which is the connection's."""
    return (
        value.astimezone(UTC).replace(tzinfo=None)
        if isinstance(value, datetime) and value.tzinfo
        else value
    )


_KINDS: dict[str, Any] = {
    "text": sa.Text(), "integer": sa.BigInteger(), "number": sa.Double(), "flag": sa.Boolean(),
    "date": sa.Date(), "time": sa.Time(),
    "instant": sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb"),
}  # fmt: skip


def _find_type(values: list[Any]) -> Any:
    """The type of a column by its values; of several types text."""
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        kinds = {float}
    if kinds == {datetime} and any(value.tzinfo for value in values):
        return sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    words = {
        bool: "flag",
        int: "integer",
        float: "number",
        date: "date",
        time: "time",
        datetime: "instant",
    }
    return _KINDS[words.get(kinds.pop(), "text") if len(kinds) == 1 else "text"]


_READ = """
SELECT DISTINCT n.nspname || '.' || c.relname FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.oid <> pg_my_temp_schema()
"""  # noqa: E501


def _refuse_others(connection: sa.Connection, file: Path) -> None:
    """PostgreSQL knows what a transaction has read."""
    others = sorted(connection.exec_driver_sql(_READ).scalars())
    if others:
        raise ConfigurationError(
            f"{file} reads {others[0]}, of which the test has no rows: add it to [tables], "
            "without a schema's name in the SELECT"
        )
