"""The sources of several configurations, read at one moment: a SELECT that several have is read
once, those of one database in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa

from flows.connections.urls import source_url
from flows.sources.read import Extracted, read_queries, to_frame
from flows.sources.selects import Query, _prepare, load_selects
from schemas.config import Config
from schemas.errors import SyncError

Key = tuple[Any, ...]


def read_together(
    configs: Sequence[Config], *, trials: Sequence[Config] = ()
) -> tuple[list[dict[str, Extracted]], list[dict[str, Extracted] | None]]:
    """Source → rows, of each completed configuration and of each trial. Raises SourceError and
    ConfigurationError.

    Of a trial that cannot be read, as one whose SELECT lacks a parameter, None.
    """
    read_at = datetime.now(UTC)
    found = [_prepare_all(config) for config in configs]
    tried: list[dict[str, list[_Wanted]] | None] = []
    for config in trials:
        try:
            tried.append(_prepare_all(config))
        except SyncError:
            tried.append(None)
    wanted: dict[str, dict[Key, _Wanted]] = {}
    for one in (
        two for sources in (*found, *tried) if sources for pair in sources.values() for two in pair
    ):
        wanted.setdefault(one.place, {}).setdefault(one.key, one)
    frames: dict[Key, pd.DataFrame] = {}
    for some in wanted.values():
        first = next(iter(some.values()))
        read = read_queries(
            first.source,
            first.url,
            [one.query for one in some.values()],
            consume=lambda _, batches: to_frame(batches),
        )
        frames |= dict(zip(some, read, strict=True))

    def give(sources: dict[str, list[_Wanted]]) -> dict[str, Extracted]:
        return {
            name: Extracted(name, frames[events.key].copy(), frames[guests.key].copy(), read_at)
            for name, (events, guests) in sources.items()
        }

    return [give(sources) for sources in found], [
        None if sources is None else give(sources) for sources in tried
    ]


@dataclass(frozen=True)
class _Wanted:
    """One SELECT of a source, and where it is read. `place`: the database's address, with its
    secrets, and the kind of the session.
    """

    source: str
    place: str
    url: sa.URL
    query: Query

    @property
    def key(self) -> Key:
        """What makes two of them the same."""
        query = self.query
        return (
            self.place,
            query.part,
            query.sql,
            tuple(sorted((name, repr(value)) for name, value in query.params.items())),
            query.unescape,
        )


def _prepare_all(config: Config) -> dict[str, list[_Wanted]]:
    found = {}
    for name, entry in config.sources.items():
        url = source_url(name, entry, root=config.root)
        selects = load_selects(name, entry, root=config.root, dialect=url.get_backend_name())
        place = url.render_as_string(hide_password=False) + (" as its user" if selects.own else "")
        found[name] = [
            _Wanted(name, place, url, _prepare(name, selects, part))
            for part in ("events", "guests")
        ]
    return found
