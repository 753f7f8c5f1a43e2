"""Read SELECTs in bulk by ADBC, from PostgreSQL and SQLite: the driver fills Arrow's columns, and
no value becomes a Python object.

A reader is one transaction, read-only and repeatable. Whatever goes wrong is a `BulkReadError`: the
caller then reads the same by SQLAlchemy, whose way works for every database and whose errors are
worded for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import adbc_driver_manager
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

BATCH_ROWS = 65_536
_DRIVERS = {"postgresql+psycopg": "postgresql", "sqlite": "sqlite", "sqlite+pysqlite": "sqlite"}


class BulkReadError(Exception):
    """The bulk way does not work here; nothing was changed."""


def can_read_in_bulk(url: sa.URL) -> bool:
    """True for databases that have an ADBC driver among the dependencies, and URLs it
    understands.
    """
    return url.drivername in _DRIVERS and not (url.get_backend_name() == "sqlite" and url.query)


class BulkReader:
    """One transaction on one database. `stream` must be read to its end, or closed, before the
    next.
    """

    def __init__(self, connection: Any, backend: str) -> None:
        self._connection, self.backend = connection, backend

    @contextmanager
    def stream(
        self,
        query: sa.TextClause | sa.Select[Any],
        params: Mapping[str, Any] | None = None,
        *,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatchReader]:
        """The rows of a query in batches of Arrow columns. Raises BulkReadError.

        SQLite knows no column types: a batch has the types that its values show, so read `as_text`
        or `with_types` queries there.
        """
        statement, values = self._compile(query, params or {})
        cursor = self._connection.cursor()
        try:
            if self.backend == "sqlite":
                cursor.adbc_statement.set_options(
                    **{"adbc.sqlite.query.batch_rows": str(batch_rows)}
                )
            cursor.execute(statement, values or None)
            with cursor.fetch_record_batch() as reader:
                yield reader
        except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
            raise BulkReadError(str(error)) from error
        finally:
            with suppress(adbc_driver_manager.Error):
                cursor.close()

    def _compile(
        self, query: sa.TextClause | sa.Select[Any], params: Mapping[str, Any]
    ) -> tuple[str, Sequence[Any]]:
        dialect = (
            sqlite.dialect()
            if self.backend == "sqlite"
            else postgresql.dialect(paramstyle="numeric_dollar")
        )
        compiled = query.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        given = {**compiled.params, **params}
        return compiled.string, [given[name] for name in compiled.positiontup or []]

    def name_columns(self, query: sa.TextClause, params: Mapping[str, Any]) -> list[str]:
        """The names of a query's columns, for a query that is not yet read."""
        with self.stream(query, params, batch_rows=1) as reader:
            return list(reader.schema.names)


def as_text(query: str, names: Sequence[str]) -> str:
    """A SQLite query whose every value is text or NULL, whole numbers without `.0`; its first row
    is an empty one, and fixes the types.
    """
    quoted = [name.replace('"', '""') for name in names]
    first = ", ".join(f'char(32) AS "{n}"' for n in quoted)
    rest = ", ".join(
        f'CASE typeof("{n}") WHEN \'real\' THEN CASE WHEN "{n}" = CAST("{n}" AS INTEGER) THEN '
        f'CAST(CAST("{n}" AS INTEGER) AS TEXT) '
        f'ELSE CAST("{n}" AS TEXT) END ELSE CAST("{n}" AS TEXT) END'
        for n in quoted
    )
    return f"SELECT {first} UNION ALL SELECT {rest} FROM (\n{query}\n)"


@contextmanager
def open_reader(url: sa.URL, *, timeout_seconds: int = 20) -> Iterator[BulkReader]:
    """A reader in a read-only, repeatable-read transaction. Raises BulkReadError."""
    backend = _DRIVERS[url.drivername]
    try:
        connection = connect(url, timeout_seconds=timeout_seconds)
    except (adbc_driver_manager.Error, ImportError, OSError) as error:
        raise BulkReadError(str(error)) from error
    try:
        with connection.cursor() as cursor:
            if backend == "postgresql":
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            else:
                cursor.execute(f"PRAGMA busy_timeout = {timeout_seconds * 1000}")
                cursor.execute("PRAGMA query_only = ON")
        yield BulkReader(connection, backend)
        connection.rollback()
    except adbc_driver_manager.Error as error:
        raise BulkReadError(str(error)) from error
    finally:
        with suppress(adbc_driver_manager.Error, RuntimeError):
            connection.close()


def connect(url: sa.URL, *, timeout_seconds: int) -> Any:
    """An ADBC connection with a transaction under way."""
    if url.get_backend_name() == "sqlite":
        import adbc_driver_sqlite.dbapi

        return adbc_driver_sqlite.dbapi.connect(f"file:{quote(str(url.database))}")
    import adbc_driver_postgresql.dbapi

    options = {"connect_timeout": str(timeout_seconds), **url.query}
    return adbc_driver_postgresql.dbapi.connect(
        url.set(drivername="postgresql", query=options).render_as_string(hide_password=False)
    )
