"""The part of the state store that puts right what a clock ahead wrote down. None of it calls
essentry.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import sqlalchemy as sa

from flows.state import tables as t

_STEP = timedelta(milliseconds=1)


class Clocks:
    """Mixed into State, whose transactions it uses."""

    if TYPE_CHECKING:

        def _begin(self) -> AbstractContextManager[sa.Connection]: ...

        def _frame(self, query: sa.Select[Any]) -> pd.DataFrame: ...

    def list_ahead(self, now: datetime) -> pd.DataFrame:
        """Runs that began, or worked by a clock, later than now; oldest first."""
        c = t.runs.c
        return self._frame(
            sa.select(t.runs)
            .where((c.as_of > now) | (c.started_at > now))
            .order_by(c.started_at, c.as_of)
        )

    def list_ended_early(self, now: datetime) -> pd.DataFrame:
        """source_id, name, starts_at, ends_at and confirmed_run of events that were ended as over,
        and are not over yet.
        """
        c = t.snapshot_events.c
        query = sa.select(c.source_id, c.name, c.starts_at, c.ends_at, c.confirmed_run)
        return self._frame(
            query.where(c.state == "expired", c.ends_at > now).order_by(c.starts_at, c.source_id)
        )

    def revive_expired(self, now: datetime) -> int:
        """Have events count as held by essentry again that a clock ahead had ended: essentry was
        not called about them. Returns how many.
        """
        c = t.snapshot_events.c
        early = t.snapshot_events.update().where(c.state == "expired", c.ends_at > now)
        with self._begin() as connection:
            return connection.execute(early.values(state="active", absent_runs=0)).rowcount

    def forget_clock(self, now: datetime) -> int:
        """Take every instant that is still to come for one of now, in the order they had; a plan
        made in the future may no longer be sent.

        Returns how many events count as held again. Without this the newest run, plan and read
        would be those of the wrong clock until it is reached.
        """
        plans, changes, rejections = t.plans, t.plan_changes, t.rejections
        with self._begin() as connection:
            future = plans.c.status.in_(t.WAITING) & (plans.c.created_at > now)
            connection.execute(plans.update().where(future).values(status="superseded"))
            _settle_in_order(connection, t.runs, t.runs.c.started_at, [t.runs.c.run_id], now)
            _settle_in_order(connection, plans, plans.c.created_at, [plans.c.plan_id], now)
            _settle_in_order(
                connection,
                t.source_reads,
                t.source_reads.c.read_at,
                [t.source_reads.c.run_id, t.source_reads.c.source],
                now,
            )
            wait = rejections.update().where(rejections.c.last_at > now)
            connection.execute(wait.values(last_at=now, next_at=now))
            for column in (
                t.runs.c.finished_at, t.runs.c.as_of, plans.c.as_of, plans.c.approved_at,
                changes.c.sent_at, changes.c.answered_at,
                t.snapshot_events.c.confirmed_at, t.identity.c.created_at,
            ):  # fmt: skip
                connection.execute(
                    column.table.update().where(column > now).values({column.name: now})
                )
        return self.revive_expired(now)


def _settle_in_order(
    connection: sa.Connection,
    table: sa.Table,
    column: sa.Column[datetime],
    key: list[sa.Column[Any]],
    now: datetime,
) -> None:
    """Rows of the future end just before now, one after the other; they are few."""
    rows = (
        connection.execute(sa.select(*key).where(column > now).order_by(column, *key))
        .mappings()
        .all()
    )
    for place, row in enumerate(rows):
        match = sa.and_(*(part == row[part.name] for part in key))
        connection.execute(
            table.update().where(match).values({column.name: now - (len(rows) - place) * _STEP})
        )
