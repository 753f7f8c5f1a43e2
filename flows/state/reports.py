"""What reports read of the state store. Only reads; mixed into `State`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Literal, Protocol

import pandas as pd
import sqlalchemy as sa

from flows.state import tables as t
from flows.state.restore import LOST_RUNS

CHUNK = 500
TOLD_ROWS = 50_000
CHANGE_FACTS = tuple(
    column.name for column in t.plan_changes.c if column.name not in ("after", "body")
)
"""Every column of a plan's changes but the two large texts."""
SENT = ("create", "update", "delete")
RECENT_FACTS = (
    "seq",
    "source_id",
    "source",
    "location_id",
    "action",
    "reason",
    "fingerprint",
    "fields_json",
    "guests_json",
    "guests",
    "state",
    "sent_at",
)
_QUARTER = 900 * 1_000_000
"""Microseconds of a quarter of an hour: no zone's days begin in between."""
LIFE_COLUMNS = [
    "plan_id", "seq", "source_id", "source", "location_id", "action", "reason", "starts_at",
    "ends_at", "name", "fields_json", "guests_json",
    "guests", "state", "code", "message", "run_id", "sent_at", "answered_at",
]  # fmt: skip


class Store(Protocol):
    """What a part of `State` needs of the whole."""

    engine: sa.Engine

    def _read(self) -> AbstractContextManager[sa.Connection]: ...

    def _begin(self) -> AbstractContextManager[sa.Connection]: ...

    def _frame(self, query: sa.Select[Any]) -> pd.DataFrame: ...

    def _read_rows(self, query: sa.Select[Any], *, ordered_by: str) -> pd.DataFrame: ...


class ReportReads:
    """Reads for reports and for the commands that look back."""

    def read_contents(self: Store, plan_id: str, seqs: Sequence[int]) -> dict[int, str]:
        """seq → canonical JSON of what a plan's changes make of their events."""
        c = t.plan_changes.c
        found: dict[int, str] = {}
        with self._read() as connection:
            for start in range(0, len(seqs), CHUNK):
                some = [int(seq) for seq in seqs[start : start + CHUNK]]
                query = sa.select(c.seq, sa.func.coalesce(c.after, c.body)).where(
                    c.plan_id == plan_id, c.seq.in_(some)
                )
                found.update((row[0], row[1]) for row in connection.execute(query) if row[1])
        return found

    def read_changes(
        self: Store, plan_id: str, seqs: Sequence[int], *, columns: Sequence[str] = CHANGE_FACTS
    ) -> pd.DataFrame:
        """These columns, `seq` among them, of these changes of a plan, in the order given."""
        c = t.plan_changes.c
        query = sa.select(*(c[name] for name in columns)).where(c.plan_id == plan_id)
        parts = [
            list(map(int, seqs[start : start + CHUNK])) for start in range(0, len(seqs), CHUNK)
        ] or [[]]
        frames = [self._read_rows(query.where(c.seq.in_(part)), ordered_by="seq") for part in parts]
        return (
            pd.concat(frames, ignore_index=True)
            .set_index("seq", drop=False)
            .loc[list(seqs)]
            .reset_index(drop=True)
        )

    def iterate_changes(self: Store, plan_id: str, count: int) -> Iterator[pd.DataFrame]:
        """CHANGE_FACTS of the first `count` changes of a plan, a part at a time; at least one
        part.
        """
        c = t.plan_changes.c
        query = sa.select(*(c[name] for name in CHANGE_FACTS)).where(c.plan_id == plan_id)
        for first in range(1, max(count, 1) + 1, TOLD_ROWS):
            yield self._read_rows(
                query.where(c.seq.between(first, first + TOLD_ROWS - 1)), ordered_by="seq"
            )

    def read_recent(
        self: Store, *, since: datetime, besides: str
    ) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
        """Each plan that runs after `since` sent something of, by their clock, and what of it
        essentry confirmed then or may hold (`state`: no answer is known); oldest first. Of runs
        that a restored state does not know, what their reports tell.
        """
        c, plans = t.plan_changes.c, t.plans.c
        with self._read() as connection:
            runs = connection.execute(
                sa.select(t.runs.c.run_id, t.runs.c.plan_id).where(
                    t.runs.c.as_of > since, t.runs.c.run_id != besides
                )
            ).all()
            lost = sa.select(plans.run_id).where(
                plans.run_id.startswith(LOST_RUNS), plans.as_of > since
            )
            recent = [row.run_id for row in runs] + list(connection.scalars(lost))  # of a day
            query = sa.select(t.plans).where(
                plans.plan_id.in_([row.plan_id for row in runs if row.plan_id])
                | plans.run_id.in_(recent)
            )
            found = [
                dict(row)
                for row in connection.execute(
                    query.order_by(plans.created_at, plans.plan_id)
                ).mappings()
            ]
        for plan in found:
            mine = (
                (c.plan_id == plan["plan_id"])
                & c.run_id.in_(recent)
                & c.state.in_(["confirmed", "sending", "unknown"])
                & c.action.in_(SENT)
            )
            changes = self._read_rows(
                sa.select(*(c[name] for name in RECENT_FACTS)).where(mine), ordered_by="seq"
            )
            if len(changes):
                yield plan, changes

    def count_holding(self: Store, domain: str, most: int, *, of: Literal["host", "guest"]) -> int:
        """How many events, at most so many, essentry has or had of a host, or with a guest, at this
        domain.
        """
        payload = t.snapshot_events.c.payload
        named = domain.replace("/", "//").replace("%", "/%").replace("_", "/_")
        some = sa.select(sa.literal(1)).select_from(t.snapshot_events).limit(most)
        if of == "guest":  # the guests are the last member of the canonical JSON
            some = some.where(payload.like(f'%"invitations":[%@{named}"%', escape="/"))
        else:
            sqlite = self.engine.dialect.name == "sqlite"
            host = (
                sa.func.json_extract(payload, "$.host.email")
                if sqlite
                else sa.cast(payload, sa.JSON)["host"]["email"].as_string()
            )
            some = some.where(
                payload.like(f'%@{named}"%', escape="/"), host.like(f"%@{named}", escape="/")
            )
        with self._read() as connection:
            return int(
                connection.execute(sa.select(sa.func.count()).select_from(some.subquery())).scalar()
                or 0
            )

    def count_visits(self: Store, begin: datetime, end: datetime) -> pd.DataFrame:
        """starts_at (UTC, quarters of an hour), events and guests of the active events that start
        in [begin, end).
        """
        c = t.snapshot_events.c
        quarter = (
            sa.type_coerce(c.starts_at, sa.BigInteger) / sa.literal_column(str(_QUARTER))
        ).label("quarter")
        if self.engine.dialect.name == "postgresql":
            quarter = sa.func.div(
                sa.type_coerce(c.starts_at, sa.BigInteger), sa.literal_column(str(_QUARTER))
            ).label("quarter")
        query = sa.select(quarter, sa.func.count(), sa.func.sum(c.guests)).group_by(quarter)
        with self._read() as connection:
            rows = connection.execute(
                query.where(c.state == "active", c.starts_at >= begin, c.starts_at < end)
            ).all()
        starts = pd.to_datetime(
            pd.Series([int(row[0]) * _QUARTER for row in rows], dtype="int64"), unit="us", utc=True
        )
        counts = {
            "events": [int(row[1]) for row in rows],
            "guests": [int(row[2] or 0) for row in rows],
        }
        return pd.DataFrame({"starts_at": starts.astype("datetime64[us, UTC]"), **counts})

    def list_life(self: Store, source_id: str) -> pd.DataFrame:
        """LIFE_COLUMNS of every change that was ever planned for an event, oldest first, with the
        plan's `created_at`.
        """
        c = t.plan_changes.c
        query = (
            sa.select(*(c[name] for name in LIFE_COLUMNS), t.plans.c.created_at)
            .join(t.plans, t.plans.c.plan_id == c.plan_id)
            .where(c.source_id == source_id)
        )
        return self._frame(query.order_by(t.plans.c.created_at, c.seq))

    def read_standing(self: Store, source_id: str) -> pd.DataFrame:
        """The snapshot's row of an event, or none."""
        columns = [c for c in t.snapshot_events.c if c.name != "payload"]
        return self._frame(sa.select(*columns).where(t.snapshot_events.c.source_id == source_id))

    def list_quarantined(
        self: Store, source: str, source_event_id: str, *, limit: int = 20
    ) -> pd.DataFrame:
        """What was set aside of an event's rows in the newest runs."""
        c = t.quarantine.c
        query = sa.select(t.quarantine).where(
            c.source == source, c.source_event_id == source_event_id
        )
        return self._frame(query.order_by(c.run_id.desc(), c.id).limit(limit))

    def find_ids(self: Store, beginning: str, *, limit: int = 10) -> list[str]:
        """sourceIds of the snapshot that begin like this."""
        c = t.snapshot_events.c.source_id
        with self._read() as connection:
            return list(
                connection.execute(
                    sa.select(c)
                    .where(c.startswith(beginning, autoescape=True))
                    .order_by(c)
                    .limit(limit)
                ).scalars()
            )
