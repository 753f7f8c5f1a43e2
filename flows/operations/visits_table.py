"""Keep a table of the user's own equal to the visits in the state store (`[checkins]`).

Each row bears a digest of what it was written from, so what differs is found by comparing, never
remembered: a table that was dropped, a run that was killed, a person who was forgotten, all end the
same way, with the next call. Only rows of this integration are ever touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from flows.connections.secrets import hash_token, own_url, read_agent_token
from flows.connections.urls import list_secrets, show_url
from flows.state.store import State
from schemas.config import Config
from schemas.errors import ConfigurationError
from transforms.masking import mask_words
from transforms.operations.check_ins import VISIT_COLUMNS, mask_visit

ROWS = 1_000
"""Rows that are compared, and written in one transaction, at once."""
CONNECT_SECONDS = 20
_TIMEOUTS = {
    "postgresql": {"connect_timeout": CONNECT_SECONDS},
    "mysql": {"connect_timeout": CONNECT_SECONDS},
    "mariadb": {"connect_timeout": CONNECT_SECONDS},
    "sqlite": {"timeout": CONNECT_SECONDS},
}
_INSTANTS = ("starts_at", "ends_at", "arrived_at", "left_at")


@dataclass
class Copied:
    """What a table lacked, and what it had too much."""

    written: int = 0
    removed: int = 0


def describe_table(name: str) -> sa.Table:
    """The table: a row a check-in, its event beside it. Instants are UTC; on MariaDB, MySQL and
    SQLite without saying so.

    integration, checkin_id: together the key; digest: of what the row was written from.
    """
    schema, _, table = name.rpartition(".")
    key = sa.String(255).with_variant(
        mysql.VARCHAR(255, collation="utf8mb4_bin"), "mysql", "mariadb"
    )
    instant = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    kinds: dict[str, Any] = {"location_id": sa.BigInteger(), **dict.fromkeys(_INSTANTS, instant)}
    return sa.Table(
        table,
        sa.MetaData(),
        sa.Column("integration", sa.String(16), primary_key=True),
        sa.Column("checkin_id", key, primary_key=True),
        *(
            sa.Column(column, kinds.get(column, sa.Text()))
            for column in VISIT_COLUMNS
            if column != "checkin_id"
        ),
        sa.Column("digest", sa.String(32), nullable=False),
        schema=schema or None,
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
    )


def copy_visits(config: Config, state: State) -> Copied:
    """Write what the table lacks, and take out what the state store has no more; nothing without
    `[checkins]`.

    Raises ConfigurationError when the table cannot be written, or is not one of ours.
    """
    done = Copied()
    if not config.checkins.wanted:
        return done
    table = describe_table(config.checkins.table)
    mine = hash_token(read_agent_token(config))[:16]
    masked = config.report.personal_data == "masked"
    with _open_table(config, table) as engine:
        for visits in state.iterate_visits(ROWS):
            rows = [_complete(visit, mine, masked=masked) for visit in visits]
            done.written += _write(engine, table, mine, rows)
        done.removed = _remove_gone(engine, table, mine, state)
    return done


@contextmanager
def _open_table(config: Config, table: sa.Table) -> Iterator[sa.Engine]:
    purpose = "the URL of the visits' table"
    url = own_url(config.checkins, key="checkins.url", purpose=purpose, root=config.root)
    try:
        engine = sa.create_engine(
            url, connect_args=_TIMEOUTS.get(url.get_backend_name(), {}), hide_parameters=True
        )
    except (SQLAlchemyError, ImportError) as error:
        raise _explain(url, table, error) from None
    try:
        if sa.inspect(engine).has_table(table.name, schema=table.schema):
            _check_ours(engine, table)
        else:
            table.create(engine, checkfirst=True)
        yield engine
    except (SQLAlchemyError, OSError) as error:
        raise _explain(url, table, error) from None
    finally:
        engine.dispose()


def _check_ours(engine: sa.Engine, table: sa.Table) -> None:
    there = {
        column["name"].lower()
        for column in sa.inspect(engine).get_columns(table.name, schema=table.schema)
    }
    missing = [column.name for column in table.columns if column.name not in there]
    if missing:
        raise ConfigurationError(
            f"checkins.table {table.fullname} is there already and has no column {missing[0]!r}, "
            "so it is not ours: name another table, or drop this one; nothing was written to it"
        )


def _explain(url: sa.URL, table: sa.Table, error: Exception) -> ConfigurationError:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    text = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    for secret in list_secrets(url):
        text = text.replace(secret, "…")
    return ConfigurationError(
        f"checkins.table {table.fullname} in {show_url(url)} cannot be written "
        f"({mask_words(text)[:200]}): correct checkins.url, or give its account the rights to "
        "make, read and write this table; the visits are in the state store, and the next "
        "`essentry-sync checkins` writes what is missing"
    )


def _complete(visit: dict[str, Any], integration: str, *, masked: bool) -> dict[str, Any]:
    row = mask_visit(visit) if masked else visit
    digest = blake2b(orjson.dumps(row, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
    return row | {"integration": integration, "digest": digest}


def _write(engine: sa.Engine, table: sa.Table, integration: str, rows: list[dict[str, Any]]) -> int:
    """Write the rows that the table has otherwise or not at all; returns how many.

    Another run may write the same at the same time: what it wrote is looked at once more.
    """
    ids = [row["checkin_id"] for row in rows]
    for last in (False, True):
        with engine.begin() as connection:
            mine = (table.c.integration == integration) & table.c.checkin_id.in_(ids)
            query = sa.select(table.c.checkin_id, table.c.digest).where(mine)
            known = {row.checkin_id: row.digest for row in connection.execute(query)}
            new = [row for row in rows if known.get(row["checkin_id"]) != row["digest"]]
            old = [row["checkin_id"] for row in new if row["checkin_id"] in known]
            try:
                if old:
                    _delete(connection, table, integration, old)
                if new:
                    connection.execute(table.insert(), new)
                return len(new)
            except IntegrityError:
                if last:
                    raise
                connection.rollback()
    raise AssertionError  # the second time it returns or raises


def _delete(
    connection: sa.Connection, table: sa.Table, integration: str, ids: Sequence[str]
) -> None:
    mine = (table.c.integration == integration) & table.c.checkin_id.in_(ids)
    connection.execute(table.delete().where(mine))


def _remove_gone(engine: sa.Engine, table: sa.Table, integration: str, state: State) -> int:
    """Take out the rows whose visits the state store has no more; returns how many."""
    last, count = "", 0
    key = table.c.checkin_id
    query = sa.select(key).where(table.c.integration == integration).order_by(key).limit(ROWS)
    while True:
        with engine.begin() as connection:
            ids = list(connection.scalars(query.where(key > last)))
            gone = sorted(set(ids) - state.find_check_ins(ids)) if ids else []
            if gone:
                _delete(connection, table, integration, gone)
        count += len(gone)
        if len(ids) < ROWS:
            return count
        last = ids[-1]
