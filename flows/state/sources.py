"""The part of the state store that forgets, renames and takes over whole sources. None of it calls essentry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pandas as pd
import sqlalchemy as sa

from flows.state import tables as t
from flows.state.bulk import insert_rows

NAMED = (t.snapshot_events, t.plan_changes, t.rejections, t.source_reads, t.guest_keys, t.quarantine, t.adopted_ids)
"""The tables whose rows name their source."""


class Sources:
    """Mixed into State, whose transactions it uses."""

    if TYPE_CHECKING:

        def _begin(self) -> AbstractContextManager[sa.Connection]: ...

        def _read(self) -> AbstractContextManager[sa.Connection]: ...

    def retire_source(self, source: str) -> int:
        """Forget a source without a call: its events stay in essentry as they are. Returns how many rows it had.

        Plans that wait are superseded: they may name its events. Numbers of its guests stay, so that they never name another guest.
        """
        with self._begin() as connection:
            count = connection.execute(t.snapshot_events.delete().where(t.snapshot_events.c.source == source)).rowcount
            is_open = t.plan_changes.c.state.in_(["sending", "unknown"])
            connection.execute(t.plan_changes.update().where(t.plan_changes.c.source == source, is_open).values(state="superseded"))
            connection.execute(t.rejections.delete().where(t.rejections.c.source == source))
            connection.execute(t.plans.update().where(t.plans.c.status.in_(t.WAITING)).values(status="superseded"))
        return count

    def rename_source(self, old: str, new: str) -> int:
        """Move the rows of a source to another name; their ids stay. Returns how many events it had. Plans that wait are superseded."""
        with self._begin() as connection:
            count = int(connection.execute(sa.select(sa.func.count()).where(t.snapshot_events.c.source == old)).scalar() or 0)
            connection.execute(t.source_reads.delete().where(t.source_reads.c.source == new))  # of a source that has nothing in essentry
            for table in NAMED:
                connection.execute(table.update().where(table.c.source == old).values(source=new))
            connection.execute(t.plans.update().where(t.plans.c.status.in_(t.WAITING)).values(status="superseded"))
        return count

    def knows_source(self, source: str) -> bool:
        """Whether any row but history names the source."""
        tables = (t.snapshot_events, t.guest_keys, t.adopted_ids)
        with self._read() as connection:
            return any(connection.execute(sa.select(sa.literal(1)).where(table.c.source == source).limit(1)).first() for table in tables)

    def adopted(self) -> dict[str, dict[str, str]]:
        """Ids that were taken over: `event` and `guest` → built id → id in essentry."""
        found: dict[str, dict[str, str]] = {"event": {}, "guest": {}}
        with self._read() as connection:
            for kind, own, adopted in connection.execute(
                sa.select(t.adopted_ids.c.kind, t.adopted_ids.c.own_id, t.adopted_ids.c.adopted_id)
            ):
                found[kind][own] = adopted
        return found

    def adopt(self, ids: Sequence[Mapping[str, Any]], events: pd.DataFrame) -> None:
        """Keep ids that are taken over, and the events that essentry has under them, in one transaction. Plans that wait are superseded.

        ids: own_id, kind, adopted_id, source. events: rows of snapshot_events.
        """
        with self._begin() as connection:
            if ids:
                connection.execute(t.adopted_ids.insert(), [dict(row) for row in ids])
            insert_rows(connection, t.snapshot_events, events)
            connection.execute(t.plans.update().where(t.plans.c.status.in_(t.WAITING)).values(status="superseded"))
