"""The check-ins that were read back; mixed into `State`. A page is one transaction, and what a page
says never makes a row older.

Of two answers about one check-in the one with the later instant in it is newer, and of two with the
same the one that was asked for later. No answer is older than STALE: one that was asked for so much
later wins whatever it says, as when a departure is taken back by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from flows.state import tables as t
from flows.state.reports import Store
from schemas.check_ins import NO_INVITATION, PERSONAL, UNKNOWN_INVITATION

STALE = timedelta(minutes=10)
CHUNK = 500
EVENTS = 1_000
"""Events of which the contents are in memory at once."""

_KEPT = (
    "location_id",
    "state",
    "arrived_at",
    "left_at",
    "invitation_id",
    "starts_at",
    "ends_at",
    "last_at",
    "read_at",
)


@dataclass(frozen=True)
class Reading:
    """How far a location is read: everything that left before `read_until` is here. `oldest_open`:
    arrival of whoever is still inside.
    """

    read_until: datetime | None
    open_asked_at: datetime | None
    oldest_open: datetime | None


class CheckIns:
    """Storing, resolving and telling visits."""

    def find_reading(self: Store, location_id: int) -> Reading:
        """How far a location is read."""
        reads, c = t.checkin_reads.c, t.checkins.c
        with self._read() as connection:
            row: Mapping[Any, Any] = (
                connection.execute(
                    sa.select(t.checkin_reads).where(reads.location_id == location_id)
                )
                .mappings()
                .first()
                or {}
            )
            inside = (c.location_id == location_id) & c.left_at.is_(None)
            oldest = connection.execute(
                sa.select(c.arrived_at)
                .where(inside, c.arrived_at.is_not(None))
                .order_by(c.arrived_at)
                .limit(1)
            ).scalar()
        return Reading(row.get("read_until"), row.get("open_asked_at"), oldest)

    def read_until(self: Store) -> datetime | None:
        """The instant that every location which was ever read is read up to; None before the
        first reading.
        """
        query = sa.select(sa.func.min(t.checkin_reads.c.read_until, type_=t.Instant))
        with self._read() as connection:
            until: datetime | None = connection.execute(query).scalar()
        return until

    def save_check_ins(
        self: Store,
        location_id: int,
        page: pd.DataFrame,
        *,
        read_at: datetime,
        personal_since: datetime,
    ) -> None:
        """Store a page of `CheckIns`. read_at: when it was asked for. Names of visits that ended
        before personal_since are left out.
        """
        table = t.checkins
        if page.empty:
            return
        frame = page.astype("object").where(page.notna(), None)
        rows = [
            _complete(row, location_id, read_at, personal_since) for row in frame.to_dict("records")
        ]
        dialect = sqlite if self.engine.dialect.name == "sqlite" else postgresql
        insert: Any = dialect.insert(table)
        new, old = insert.excluded, table.c
        same = old.invitation_id == new.invitation_id
        values = {name: new[name] for name in _KEPT}
        values |= {name: sa.case((old.forgotten, sa.null()), else_=new[name]) for name in PERSONAL}
        values |= {
            "event_id": sa.case((same, old.event_id)),
            "reason": sa.case((same, old.reason), else_=new.reason),
        }
        values |= {
            "forgotten": sa.or_(old.forgotten, new.forgotten),
            "looked_run": sa.case((same, old.looked_run)),
        }
        last = [
            sa.func.coalesce(sa.type_coerce(side.last_at, sa.BigInteger), 0) for side in (old, new)
        ]
        read = [sa.type_coerce(side.read_at, sa.BigInteger) for side in (old, new)]
        newer = (
            (last[1] > last[0])
            | ((last[1] == last[0]) & (read[1] >= read[0]))
            | (read[1] > read[0] + STALE // timedelta(microseconds=1))
        )
        with self._begin() as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["checkin_id"], set_=values, where=newer
                ),
                rows,
            )

    def note_read(
        self: Store, location_id: int, until: datetime, *, open_asked_at: datetime | None = None
    ) -> None:
        """A window is stored whole: what left before `until` is here. It never goes back."""
        table = t.checkin_reads
        dialect = sqlite if self.engine.dialect.name == "sqlite" else postgresql
        insert: Any = dialect.insert(table).values(
            location_id=location_id, read_until=until, open_asked_at=open_asked_at
        )
        later = insert.excluded.read_until > table.c.read_until
        values = {
            "read_until": sa.case((later, insert.excluded.read_until), else_=table.c.read_until),
            "open_asked_at": sa.func.coalesce(insert.excluded.open_asked_at, table.c.open_asked_at),
        }
        with self._begin() as connection:
            connection.execute(
                insert.on_conflict_do_update(index_elements=["location_id"], set_=values)
            )

    def iterate_unresolved(self: Store, looked_run: str) -> Iterator[pd.DataFrame]:
        """checkin_id, invitation_id, starts_at and arrived_at of check-ins without their event,
        CHUNK at a time, the earliest first.

        Those that were looked at since this run are left out. Each part must be resolved before the
        next is asked for.
        """
        c = t.checkins.c
        waits = (
            c.event_id.is_(None)
            & c.invitation_id.is_not(None)
            & (sa.func.coalesce(c.looked_run, "") != looked_run)
        )
        query = sa.select(c.checkin_id, c.invitation_id, c.starts_at, c.arrived_at).where(waits)
        while True:
            part = self._frame(
                query.order_by(sa.func.coalesce(c.starts_at, c.arrived_at), c.checkin_id).limit(
                    CHUNK
                )
            )
            if part.empty:
                return
            yield part

    def resolve_check_ins(
        self: Store, found: Mapping[str, tuple[str | None, str | None]], looked_run: str
    ) -> None:
        """Write down event and reason of check-ins, by their ids; `looked_run`: the newest run that
        this rests on.
        """
        table = t.checkins
        update = table.update().where(table.c.checkin_id == sa.bindparam("b_id"))
        update = update.values(
            event_id=sa.bindparam("b_event"), reason=sa.bindparam("b_reason"), looked_run=looked_run
        )
        rows = [
            {"b_id": key, "b_event": event, "b_reason": reason}
            for key, (event, reason) in found.items()
        ]
        if rows:
            with self._begin() as connection:
                connection.execute(update, rows)

    def iterate_events(
        self: Store,
        *,
        source_ids: Sequence[str] = (),
        between: tuple[datetime, datetime] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """source_id, state, starts_at and payload of these events, or of all that start between two
        instants.
        """
        c = t.snapshot_events.c
        query = sa.select(c.source_id, c.state, c.starts_at, c.payload)
        query = (
            query.where(c.source_id.in_(source_ids))
            if between is None
            else query.where(c.starts_at.between(*between))
        )
        with self._read() as connection:
            for row in connection.execution_options(yield_per=EVENTS).execute(query).mappings():
                yield dict(row)

    def list_locations(self: Store) -> set[int]:
        """The locations of the events that essentry confirmed."""
        c = t.snapshot_events.c.location_id
        with self._read() as connection:
            return set(connection.scalars(sa.select(c).where(c.is_not(None)).distinct()))

    def newest_run(self: Store) -> str:
        """The id of the run that began last, or nothing."""
        with self._read() as connection:
            return str(
                connection.execute(
                    sa.select(t.runs.c.run_id).order_by(t.runs.c.started_at.desc()).limit(1)
                ).scalar()
                or ""
            )

    def list_visits(self: Store, event: str, invitation: str | None) -> pd.DataFrame:
        """The check-ins of an event, or of one invitation to it, in the order of their arrival."""
        c = t.checkins.c
        query = sa.select(
            c.checkin_id,
            c.state,
            c.first_name,
            c.last_name,
            c.email,
            c.arrived_at,
            c.left_at,
            c.invitation_id,
        )
        query = query.where(c.event_id == event)
        return self._frame(
            (query if invitation is None else query.where(c.invitation_id == invitation)).order_by(
                c.arrived_at, c.checkin_id
            )
        )

    def iterate_visits(self: Store, rows: int) -> Iterator[list[dict[str, Any]]]:
        """Every check-in with its event beside it, as VISIT_COLUMNS of
        transforms.operations.check_ins; so many at a time, in the order of their ids.
        """
        c, e = t.checkins.c, t.snapshot_events.c
        query = sa.select(
            c.checkin_id,
            e.source,
            c.event_id.label("source_id"),
            c.invitation_id,
            c.location_id,
            sa.func.coalesce(e.starts_at, c.starts_at, type_=t.Instant).label("starts_at"),
            sa.func.coalesce(e.ends_at, c.ends_at, type_=t.Instant).label("ends_at"),
            e.state.label("event_state"),
            c.state.label("visit_state"),
            c.first_name,
            c.last_name,
            c.email,
            c.company_name,
            c.arrived_at,
            c.left_at,
            c.reason,
        )
        joined = t.checkins.outerjoin(t.snapshot_events, e.source_id == c.event_id)
        query = query.select_from(joined).order_by(c.checkin_id).limit(rows)
        last = ""
        while True:
            with self._read() as connection:
                found = [
                    {str(name): value for name, value in row.items()}
                    for row in connection.execute(query.where(c.checkin_id > last)).mappings()
                ]
            if found:
                yield found
            if len(found) < rows:
                return
            last = found[-1]["checkin_id"]

    def find_check_ins(self: Store, checkin_ids: Sequence[str]) -> set[str]:
        """Those of these ids of which there is a check-in."""
        c = t.checkins.c.checkin_id
        with self._read() as connection:
            return set(connection.scalars(sa.select(c).where(c.in_(checkin_ids))))

    def list_attendance(self: Store, begin: datetime, end: datetime) -> pd.DataFrame:
        """location_id, state, guests, ends_at and `arrived` (different invitations) of each event
        that starts in [begin, end).
        """
        e, c = t.snapshot_events.c, t.checkins.c
        came = sa.select(sa.func.count(c.invitation_id.distinct())).where(
            c.event_id == e.source_id, c.arrived_at.is_not(None)
        )
        query = sa.select(
            e.location_id, e.state, e.guests, e.ends_at, came.scalar_subquery().label("arrived")
        )
        return self._frame(query.where(e.starts_at >= begin, e.starts_at < end)).astype(
            {"arrived": "Int64"}
        )

    def count_others(self: Store, begin: datetime, end: datetime) -> list[tuple[int, str, int]]:
        """Location, reason and number of check-ins without an event that arrived in [begin,
        end).
        """
        c = t.checkins.c
        query = sa.select(c.location_id, c.reason, sa.func.count())
        query = query.where(c.event_id.is_(None), c.arrived_at >= begin, c.arrived_at < end)
        with self._read() as connection:
            rows = connection.execute(query.group_by(c.location_id, c.reason)).all()
        return [(int(row[0]), str(row[1] or UNKNOWN_INVITATION), int(row[2])) for row in rows]


def forget_visitor(connection: sa.Connection, address: str, names: Mapping[str, set[str]]) -> int:
    """Take a guest's name out of every check-in. address: lower case; names: event → names of the
    guest there. How many were changed.

    A check-in with another address, or none, is the guest's when it belongs to one of the events
    and has one of the names. It stays without them when it is read again.
    """
    c = t.checkins.c
    whole = sa.func.trim(
        sa.func.coalesce(c.first_name, "") + " " + sa.func.coalesce(c.last_name, "")
    )
    count = connection.execute(_take_out(c.email == address)).rowcount
    for event, called in names.items():
        full = sorted(name for name in called if " " in name)
        if full:
            count += connection.execute(_take_out((c.event_id == event) & whole.in_(full))).rowcount
    return count


def forget_old_visitors(connection: sa.Connection, before: datetime) -> int:
    """Take the names out of visits that ended before an instant."""
    return connection.execute(_take_out((_ended() < before) & ~t.checkins.c.forgotten)).rowcount


def prune_check_ins(connection: sa.Connection, before: datetime) -> None:
    """Forget visits that ended before an instant."""
    connection.execute(t.checkins.delete().where(_ended() < before))


def _take_out(which: sa.ColumnElement[bool]) -> sa.Update:
    return t.checkins.update().where(which).values(forgotten=True, **dict.fromkeys(PERSONAL))


def _ended() -> Any:
    c = t.checkins.c
    return sa.func.coalesce(c.left_at, c.arrived_at, c.read_at, type_=t.Instant)


def _complete(
    row: dict[str, Any], location_id: int, read_at: datetime, personal_since: datetime
) -> dict[str, Any]:
    """A row of the table. Of an instant that is None nothing is stored."""
    instants = [row[name] for name in ("arrived_at", "left_at") if row[name] is not None]
    old = bool(instants) and max(instants) < personal_since
    if old:
        row |= dict.fromkeys(PERSONAL)
    reason = None if row["invitation_id"] else NO_INVITATION
    known = {"location_id": location_id, "last_at": max(instants, default=None), "read_at": read_at}
    return row | known | {"event_id": None, "reason": reason, "looked_run": None, "forgotten": old}
