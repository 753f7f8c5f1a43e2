"""One read-only transaction for both SELECTs of a source."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flows.connections.urls import list_secrets, show_url
from schemas.errors import SourceError, SyncError
from transforms.masking import mask_words

_LENIENT = "utf_8_lenient"
"""A codec that reads bytes that are no UTF-8 as U+FFFD, and writes as UTF-8 does."""


def _is_file(url: sa.URL) -> bool:
    """Whether the database is a file; DuckDB without one reads the files that a SELECT names."""
    return url.get_backend_name() == "sqlite" or (
        url.get_backend_name() == "duckdb" and url.database not in (None, "", ":memory:")
    )


def _check_file(name: str, url: sa.URL) -> None:
    if _is_file(url) and not Path(str(url.database)).is_file():
        raise SourceError(
            f"source {name}: there is no database file {url.database}: correct sources.{name}.url"
        )


@contextmanager
def open_snapshot(name: str, url: sa.URL, *, own_zone: bool = False) -> Iterator[sa.Connection]:
    """A connection in one read-only, repeatable-read transaction. Raises SourceError with the
    remedy, never the password.

    own_zone: of MariaDB and MySQL, the session keeps the zone that the database gives this account,
    so that a TIMESTAMP is the wall clock that people see there; else it is UTC.
    """
    backend = url.get_backend_name()
    _check_file(name, url)
    options: dict[str, Any] = {"poolclass": sa.NullPool}
    if backend in ("mysql", "mariadb"):
        options["connect_args"] = {"charset": "utf8mb4", "connect_timeout": 20, "read_timeout": 600}
    elif backend == "postgresql":
        options["connect_args"] = {"connect_timeout": 20}
    elif backend == "duckdb" and _is_file(url):
        options["connect_args"] = {"read_only": True}
    engine = sa.create_engine(url, hide_parameters=True, **options)
    try:
        with engine.connect() as connection:
            if backend == "postgresql":
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            elif backend in ("mysql", "mariadb"):
                _read_any_bytes(connection)
                connection.exec_driver_sql(
                    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
                )
                if not own_zone:
                    connection.exec_driver_sql("SET SESSION time_zone = '+00:00'")
                connection.commit()
                connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            elif backend == "duckdb":
                connection.exec_driver_sql("SET TimeZone = 'UTC'")
            elif backend == "sqlite":
                # SQLite checks no text: bytes that are none cost their row, in validation, and not
                # the source
                setattr(  # noqa: B010
                    connection.connection.dbapi_connection,
                    "text_factory",
                    lambda raw: raw.decode("utf-8", errors="replace"),
                )
                connection.exec_driver_sql("PRAGMA query_only = ON")
                connection.exec_driver_sql("BEGIN")
            yield connection
            connection.rollback()
    except SyncError:
        raise
    except (SQLAlchemyError, OSError) as error:
        raise SourceError(
            f"source {name} ({show_url(url)}): {_without_secrets(brief(error), url)}: "
            f"check that the database answers, and the URL of sources.{name}"
        ) from None
    finally:
        engine.dispose()


def _read_any_bytes(connection: sa.Connection) -> None:
    """MariaDB keeps lone surrogates in its texts: they cost their row, in validation, and not the
    source.
    """
    driver: Any = connection.connection.dbapi_connection
    # PyMySQL decodes by the name of a codec alone
    if getattr(driver, "encoding", None) in ("utf8", "utf-8"):
        driver.encoding = _LENIENT


def _find_lenient(name: str) -> codecs.CodecInfo | None:
    if name != _LENIENT:
        return None
    return codecs.CodecInfo(
        codecs.utf_8_encode,
        lambda raw, errors="strict": codecs.utf_8_decode(raw, "replace", True),
        name=name,
    )


codecs.register(_find_lenient)


def brief(error: Exception) -> str:
    """The first line of a driver's message, without the statement and without a person: it may
    repeat a value of a row.
    """
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return mask_words(lines[0][:1000])[:300]


def _without_secrets(text: str, url: sa.URL) -> str:
    for secret in list_secrets(url):
        text = text.replace(secret, "***")
    return text
