"""A copy of the state store to try things on: a file of its own that is gone afterwards. The store
itself is only read.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flows.state import tables as t
from flows.state.engine import explain
from flows.state.store import State
from schemas.errors import StateError

ROWS = 10_000


@contextmanager
def open_copy(url: sa.URL) -> Iterator[State]:
    """A store of the newest form with everything that the one at `url` holds; of a SQLite file that
    is not there an empty one.

    It has people's names and addresses, lies in a folder that is its owner's alone, and ends with
    the block. Raises StateError.
    """
    with tempfile.TemporaryDirectory(prefix="essentry-sync-copy-") as folder:
        file = Path(folder) / "state.sqlite"
        if url.get_backend_name() == "sqlite":
            _copy_file(Path(str(url.database)), file)
        with State.open(f"sqlite:///{file}") as copy:
            if url.get_backend_name() != "sqlite":
                with State.open(url.render_as_string(hide_password=False), migrate=False) as store:
                    _copy_rows(store, copy)
            yield copy


def _copy_file(source: Path, target: Path) -> None:
    if not source.exists():
        return
    try:
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as store,
            closing(sqlite3.connect(target)) as copy,
        ):
            store.backup(copy)
    except sqlite3.Error as error:
        raise StateError(explain(error, str(source))) from None


def _copy_rows(store: State, copy: State) -> None:
    """Every table, of one moment."""
    quote_from, quote_to = (
        state.engine.dialect.identifier_preparer.quote for state in (store, copy)
    )
    try:
        with store.engine.connect() as connection, copy.engine.begin() as target:
            moment = connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True, stream_results=True
            )
            for table in t.metadata.sorted_tables:
                names = [column.name for column in table.columns]
                rows = moment.exec_driver_sql(
                    f"SELECT {', '.join(map(quote_from, names))} FROM {quote_from(table.name)}"
                )
                insert = (
                    f"INSERT INTO {quote_to(table.name)} ({', '.join(map(quote_to, names))}) "
                    f"VALUES ({', '.join('?' * len(names))})"
                )
                for part in rows.partitions(ROWS):
                    target.exec_driver_sql(insert, [tuple(row) for row in part])
    except SQLAlchemyError as error:
        raise StateError(explain(error, store.label)) from None
