"""The sandbox's state file: rows of JSON in SQLite, one transaction a request. Survives a kill, not
a power cut.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson


class SandboxStore:
    """Keyed rows and numbered logs; calls are serialised by the caller."""

    def __init__(self, path: Path) -> None:
        # guests, even if they are made up: its owner's alone
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS rows (kind TEXT, key TEXT, body BLOB, PRIMARY KEY (kind, "
            "key)) WITHOUT ROWID"
        )
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS log (kind TEXT, n INTEGER, body BLOB, PRIMARY KEY (kind, "
            "n)) WITHOUT ROWID"
        )

    def read(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield key and row of one kind."""
        for key, body in self._db.execute("SELECT key, body FROM rows WHERE kind = ?", (kind,)):
            yield key, orjson.loads(body)

    def read_log(self, kind: str) -> list[Any]:
        """Return the entries of one log in order."""
        return [
            orjson.loads(body)
            for (body,) in self._db.execute(
                "SELECT body FROM log WHERE kind = ? ORDER BY n", (kind,)
            )
        ]

    def write(
        self,
        rows: Sequence[tuple[str, str, Any]],
        log: Sequence[tuple[str, int, Any]],
        *,
        lost: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write rows (kind, key, row) and log entries (kind, n, entry), and remove the rows that
        are lost, all or nothing.
        """
        self._db.execute("BEGIN")
        try:
            self._db.executemany("DELETE FROM rows WHERE kind = ? AND key = ?", lost)
            self._db.executemany(
                "REPLACE INTO rows VALUES (?, ?, ?)",
                [(kind, key, orjson.dumps(row)) for kind, key, row in rows],
            )
            self._db.executemany(
                "REPLACE INTO log VALUES (?, ?, ?)",
                [(kind, n, orjson.dumps(entry)) for kind, n, entry in log],
            )
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def clear(self) -> None:
        """Empty the file."""
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM rows")
        self._db.execute("DELETE FROM log")
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()
