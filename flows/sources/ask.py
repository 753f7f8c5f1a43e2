"""A source asked again for single events, just before something is sent about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from flows.connections.urls import source_url
from flows.sources.selects import _parameters, load_selects
from flows.sources.text import to_text
from flows.sources.transaction import open_snapshot
from schemas.config import SourceConfig


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


def read_event_rows(name: str, config: SourceConfig, source_event_id: str, *, root: Path) -> pd.DataFrame:
    """The rows of the events SELECT with this key, as text, by a look at that key alone. Raises as `read_source` does."""
    url = source_url(name, config, root=root)
    selects = load_selects(name, config, root=root, dialect=url.get_backend_name())
    kind = "CHAR" if url.get_backend_name() in ("mysql", "mariadb") else "TEXT"
    query = sa.text(f"SELECT * FROM (\n{selects.events}\n) AS q WHERE TRIM(CAST(q.source_event_id AS {kind})) IN :keys").bindparams(
        sa.bindparam("keys", expanding=True)
    )
    with open_snapshot(name, url) as connection:
        result = connection.execute(query, {**_parameters(query, selects), "keys": [source_event_id]})
        columns = [column.lower() for column in result.keys()]  # noqa: SIM118
        rows = [[to_text(value) for value in row] for row in result]
    return pd.DataFrame(rows, columns=columns, dtype="str")
