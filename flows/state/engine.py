"""How the state store is opened, and what its failures mean in words: engines, files, remedies. No
tables.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from flows.connections.urls import check_host, show_url
from schemas.errors import StateError

BUSY_SECONDS = 30
"""How long to wait for another program's write to a SQLite file."""
CHECKPOINT_PAGES = 8_000
"""Pages of SQLite's log (32 MB) before they go into the file: a page that several commits change is
copied once.
"""
READS = {"reads_only": True}
"""Execution options of a transaction that only reads; on SQLite it then waits for no writer."""

_REMEDIES = {
    "locked": "another program holds it; end that program and run again",
    "readonly": "it is read-only: give this user the right to write to it",
    "read-only": "it is read-only: give this user the right to write to it",
    "permission denied": "give this user the right to use it",
    "disk i/o": "the disk fails or is full: make room or mend it, and run again",
    "no space": "the disk is full: make room and run again",
    "full": "the disk is full: make room and run again",
    "malformed": "the file is damaged: put a backup in its place",
    "not a database": (
        "the file is no SQLite database: correct state.url or put a backup in its place"
    ),
    "depend on it": (
        "views of your own rest on its v_ views: drop them, run again, and create them anew"
    ),
    "unable to open": "correct state.url, or give this user the right to open it",
}


def open_engine(url: str, *, create: bool) -> tuple[sa.Engine, str]:
    """An engine for a URL and its name for messages, without secrets. A new SQLite file is its
    owner's alone. Raises StateError.
    """
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except (SQLAlchemyError, ValueError, ImportError):
        raise StateError(
            "state.url is no database URL: write sqlite:///file or "
            "postgresql+psycopg://user@host/name"
        ) from None
    check_host(parsed, key="state.url")
    label = show_url(parsed)
    if backend not in ("sqlite", "postgresql"):
        raise StateError(f"state.url names {backend}: the state store is SQLite or PostgreSQL")
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise StateError(
                "state.url names no file: what essentry confirmed must outlive the run; "
                "write sqlite:///file"
            )
        _prepare_file(Path(str(parsed.database)), create=create)
    wait = {"timeout": BUSY_SECONDS} if backend == "sqlite" else {"connect_timeout": 20}
    try:
        # a connection that died between two transactions is replaced; one that dies within ends the
        # run
        engine = sa.create_engine(
            parsed, connect_args=wait, hide_parameters=True, pool_pre_ping=backend == "postgresql"
        )
    except (SQLAlchemyError, ImportError):
        raise StateError(
            f"no driver for {parsed.drivername}: write sqlite:///file or "
            "postgresql+psycopg://user@host/name"
        ) from None
    if backend == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine, label


def explain(error: Exception, label: str) -> str:
    """What failed, and what to do about it."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    text = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    unknown = "check that the database runs and state.url is right"
    remedy = next((remedy for word, remedy in _REMEDIES.items() if word in text.lower()), unknown)
    return (
        f"the state store {label} cannot be used ({text[:200]}): {remedy}; "
        "nothing was sent that is not written down"
    )


def _prepare_file(path: Path, *, create: bool) -> None:
    """A new state file is readable by its owner alone."""
    try:
        if path.exists():
            return
        if not create:
            raise StateError(
                f"there is no state store at {path} yet: run `essentry-sync plan` or `sync` first"
            )
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StateError(
            f"cannot create the state store {path} ({error.strerror}): "
            "correct state.url or the rights of its folder"
        ) from None


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the begin event opens every transaction
    for pragma in (
        f"busy_timeout = {BUSY_SECONDS * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    """Writers take the lock at once: a transaction that first reads cannot lose what it read."""
    connection.exec_driver_sql(
        "BEGIN" if connection.get_execution_options().get("reads_only") else "BEGIN IMMEDIATE"
    )
