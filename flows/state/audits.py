"""The part of the state store that remembers what audits saw, and has what is missing sent again.
None of it calls essentry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
import sqlalchemy as sa

from flows.state import tables as t
from flows.state.restore import write_unknown

CODE = "MISSING"
_WORDS = "an audit did not find this event in essentry: the next run sends it completely"
_SIGHTED = ("source_id", "kind", "item", "fields", "location_id", "starts_at", "guests")


class Audits:
    """Mixed into State, whose transactions it uses."""

    if TYPE_CHECKING:

        def _begin(self) -> AbstractContextManager[sa.Connection]: ...

        def _read(self) -> AbstractContextManager[sa.Connection]: ...

        def _check_lease(self, connection: sa.Connection) -> None: ...

        def _frame(self, query: sa.Select[Any]) -> pd.DataFrame: ...

    def note_sightings(
        self, found: Sequence[Mapping[str, Any]], *, now: datetime
    ) -> dict[tuple[str, str, str], int]:
        """Keep what this audit saw, and forget what it did not see any more; returns by source_id,
        kind and item how many audits in a row saw it.

        found: source_id, kind, item, fields, location_id, starts_at, guests. What differs in
        another way than before starts over.
        """
        c = t.audit_sightings.c
        with self._begin() as connection:
            old = {
                (row.source_id, row.kind, row.item): row
                for row in connection.execute(sa.select(t.audit_sightings))
            }
            rows = []
            for sighting in found:
                before = old.get((sighting["source_id"], sighting["kind"], sighting["item"]))
                known = before is not None and before.fields == sighting["fields"]
                row = {name: sighting[name] for name in _SIGHTED} | {
                    "times": 1,
                    "first_at": now,
                    "last_at": now,
                }
                rows.append(
                    row
                    | (
                        {"times": before.times + 1, "first_at": before.first_at}
                        if before is not None and known
                        else {}
                    )
                )
            connection.execute(t.audit_sightings.delete())
            if rows:
                connection.execute(t.audit_sightings.insert(), rows)
        return {
            (row[c.source_id.name], row[c.kind.name], row[c.item.name]): row[c.times.name]
            for row in rows
        }

    def sightings(self) -> pd.DataFrame:
        """What the last audit saw, by event; `times`: how many audits in a row."""
        c = t.audit_sightings.c
        return self._frame(sa.select(t.audit_sightings).order_by(c.source_id, c.kind, c.item))

    def list_healed(self) -> set[str]:
        """Events that an audit has had sent again, as far back as changes are kept."""
        c = t.plan_changes.c
        with self._read() as connection:
            return set(connection.scalars(sa.select(c.source_id).where(c.code == CODE).distinct()))

    def mark_missing(self, plan_id: str, touched: pd.DataFrame, *, now: datetime) -> None:
        """Have events count as unanswered, so that the next run sends them completely; plans that
        wait and name one of them are superseded.

        touched: TOUCHED_COLUMNS of transforms.operations.restore.
        """
        with self._begin() as connection:
            self._check_lease(connection)
            before = _supersede(connection, touched["source_id"].tolist(), now)
            write_unknown(
                connection, plan_id, touched, code=CODE, words=_WORDS, now=before, states="unknown"
            )

    def make_unknown(self, contents: Mapping[str, tuple[str, str, int]], *, now: datetime) -> None:
        """Have guests count as invited with unknown content, so that the next run sends them; plans
        that wait and name one of the events are superseded.

        contents: source_id → canonical JSON with their ids alone, its fingerprint, and how many
        guests it has.
        """
        table = t.snapshot_events
        with self._begin() as connection:
            self._check_lease(connection)
            _supersede(connection, list(contents), now)
            for source_id, (payload, fingerprint, guests) in contents.items():
                mine = (table.c.source_id == source_id) & (table.c.state == "active")
                connection.execute(
                    table.update()
                    .where(mine)
                    .values(payload=payload, fingerprint=fingerprint, guests=guests)
                )


def _supersede(connection: sa.Connection, source_ids: list[str], now: datetime) -> datetime:
    """No plan that waits may go on with these events; returns an instant before any plan that may:
    `latest` stays what it is.
    """
    plans, changes = t.plans.c, t.plan_changes.c
    for start in range(0, len(source_ids), 500):
        named = sa.select(changes.plan_id).where(
            changes.source_id.in_(source_ids[start : start + 500])
        )
        stale = plans.status.in_(t.WAITING) & plans.plan_id.in_(named)
        connection.execute(t.plans.update().where(stale).values(status="superseded"))
    waits: datetime | None = connection.execute(
        sa.select(sa.func.min(plans.created_at, type_=t.Instant)).where(plans.status.in_(t.WAITING))
    ).scalar()
    return (
        now
        if waits is None or now < waits
        else waits - pd.Timedelta(milliseconds=1).to_pytimedelta()
    )
