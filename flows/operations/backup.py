"""Copy the state store while it is in use. SQLite alone: PostgreSQL has pg_dump."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from flows.state.store import State
from schemas.errors import StateError


def back_up(state: State, target: Path) -> int:
    """Write a whole, consistent copy of a SQLite store, its owner's alone; an older one there is
    replaced at once. Returns its bytes.
    """
    url = state.engine.url
    if url.get_backend_name() != "sqlite":
        raise StateError(
            "the state store is on PostgreSQL: back it up with `pg_dump --format=custom "
            f"--file={target} {url.database}`"
        )
    draft = target.with_name(target.name + ".part")
    try:
        if target.exists() and target.samefile(str(url.database)):
            raise StateError(f"{target} is the state store itself: name another file")
        os.close(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        with (
            closing(sqlite3.connect(f"file:{url.database}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(draft)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            if copy.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise StateError(
                    f"the copy of {url.database} is damaged, and so may be the state store: "
                    "keep your older backups"
                )
        draft.replace(target)
        return target.stat().st_size
    except (OSError, sqlite3.Error) as error:
        raise StateError(
            f"the backup {target} cannot be written ({error}): make room, or name another file"
        ) from None
    finally:
        draft.unlink(missing_ok=True)
