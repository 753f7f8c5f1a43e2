"""Databases of their own for tests: made empty under a name nobody else uses, filled from plain
rows, dropped afterwards.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from tests.sources.truth import Tables

MARIADB = os.environ.get("TEST_MARIADB_URL", "mysql+pymysql://root@127.0.0.1:3306")
POSTGRESQL = os.environ.get("TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:5432")


_POSTGRESQL = (
    ("tinyint unsigned", "smallint"), ("tinyint", "smallint"), ("int unsigned", "bigint"),
    ("mediumtext", "text"),
    ("timestamp NULL", "timestamptz"),
)  # fmt: skip


@contextmanager
def database(kind: str, folder: Path, *, charset: str = "utf8mb4") -> Iterator[Engine]:
    """An empty database: `kind` is sqlite, mariadb or postgresql. Skips when the server does not
    answer.
    """
    name = f"sources_{uuid.uuid4().hex[:12]}"
    if kind == "sqlite":
        engine = create_engine(f"sqlite:///{folder / name}.sqlite")
        yield engine
        engine.dispose()
        return
    url = MARIADB if kind == "mariadb" else POSTGRESQL
    server = create_engine(
        f"{url}/" if kind == "mariadb" else f"{url}/postgres", isolation_level="AUTOCOMMIT"
    )
    options = f" CHARACTER SET {charset}" if kind == "mariadb" else ""
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}{options}"))
    except OperationalError:
        if os.environ.get("ESSENTRY_SYNC_REQUIRE_DATABASES"):
            raise  # CI has both: there a missing server is a failure
        pytest.skip(f"no {kind} server answers at {url}")
    engine = create_engine(f"{url}/{name}" + ("?charset=utf8mb4" if kind == "mariadb" else ""))
    try:
        yield engine
    finally:
        engine.dispose()
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}"))
        server.dispose()


def create_tables(
    engine: Engine,
    tables: dict[str, str],
    *,
    charset: str = "utf8mb4",
    collation: str | None = None,
    keys: dict[str, str] | None = None,
) -> None:
    """Create tables from MariaDB column texts (types without a width), on the other databases with
    the types they have for them.

    `{c}` in a text stands for the column's charset and collation, which systems write on every
    column. keys: further keys and foreign keys of a table, on MariaDB and PostgreSQL; `insert_rows`
    writes orphans in spite of them, as old installations have some.
    """
    kind = engine.dialect.name
    words = f"CHARACTER SET {charset} COLLATE {collation}" if collation else ""
    suffix = f" ENGINE=InnoDB DEFAULT CHARSET={charset}" if kind == "mysql" else ""
    with engine.begin() as connection:
        for table, columns in tables.items():
            columns = columns.replace("{c}", words if kind == "mysql" else "")
            if kind != "mysql":
                columns = re.sub(
                    r" CHARACTER SET \w+( COLLATE \w+)?| ON UPDATE CURRENT_TIMESTAMP", "", columns
                )
            if keys and table in keys and kind != "sqlite":
                columns += ", " + (keys[table] if kind == "mysql" else _say_keys(keys[table]))
            if kind == "postgresql":
                for old, new in _POSTGRESQL:
                    columns = columns.replace(old, new)
            connection.exec_driver_sql(f"CREATE TABLE {_quoted(engine, table)} ({columns}){suffix}")


def _say_keys(keys: str) -> str:
    """MariaDB's keys of a table in PostgreSQL's words; its plain indexes are no part of a table."""
    every = re.split(r", (?=UNIQUE KEY|KEY|FOREIGN KEY)", keys)
    kept = [key for key in every if not key.startswith("KEY")]
    return ", ".join(re.sub(r"^UNIQUE KEY (\w+)", r"CONSTRAINT \1 UNIQUE", key) for key in kept)


def insert_rows(engine: Engine, tables: Tables, *, charset: str = "utf8mb4") -> None:
    """Replace the content of the tables, foreign keys or not. What the charset lacks becomes `?`,
    in `tables` too.
    """
    if charset in ("latin1", "utf8"):  # MariaDB's utf8 has three bytes a character
        for rows in tables.values():
            for row in rows:
                row.update({k: _kept(v, charset) for k, v in row.items() if isinstance(v, str)})
    with engine.begin() as connection:
        if engine.dialect.name == "mysql":
            # zero dates, as old installations have them
            connection.exec_driver_sql("SET SESSION sql_mode = ''")
            connection.exec_driver_sql("SET SESSION foreign_key_checks = 0")
        elif engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for table, rows in tables.items():
            connection.exec_driver_sql(f"DELETE FROM {_quoted(engine, table)}")
            if rows:
                columns = ", ".join(_quoted(engine, column) for column in rows[0])
                values = ", ".join(f":{column}" for column in rows[0])
                connection.execute(
                    text(f"INSERT INTO {_quoted(engine, table)} ({columns}) VALUES ({values})"),
                    rows,
                )


def _quoted(engine: Engine, name: str) -> str:
    return f'"{name}"' if engine.dialect.name == "postgresql" else f"`{name}`"


def _kept(value: str, charset: str) -> str:
    if charset == "utf8":
        return "".join("?" if ord(letter) > 0xFFFF else letter for letter in value)
    return value.encode("cp1252", "replace").decode("cp1252")
