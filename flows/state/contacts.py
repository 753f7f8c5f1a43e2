"""The part of the state store that keeps a shared contact one: what a run sent of it in one event
is what essentry has of it in all.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import sqlalchemy as sa

from flows.state import tables as t
from transforms.desired.payload import OTHER_CONTENT, fingerprint
from transforms.diff.contacts import list_contacts, renew_contacts

_CHANGE, _EVENT = t.plan_changes.c, t.snapshot_events.c
_SENT = (
    sa.select(
        _CHANGE.state == "confirmed", _CHANGE.after, sa.func.coalesce(_CHANGE.body, _CHANGE.after)
    )
    .where(
        _CHANGE.run_id == sa.bindparam("b_run"),
        _CHANGE.action.in_(["create", "update"]),
        _CHANGE.state.in_(["sending", "unknown", "confirmed"]),
        _CHANGE.after.is_not(None),
    )
    .order_by(_CHANGE.answered_at, _CHANGE.seq)
)
_WAITING = (
    sa.select(_CHANGE.source_id, _CHANGE.after)
    .join(t.plans, t.plans.c.plan_id == _CHANGE.plan_id)
    .where(t.plans.c.status.in_(t.WAITING), _CHANGE.state == "planned", _CHANGE.after.is_not(None))
)
_BY_PAGES = {"yield_per": 1_000}
_MINE = t.snapshot_events.update().where(_EVENT.source_id == sa.bindparam("b_id"))
_RENEW = _MINE.values(payload=sa.bindparam("b_payload"), fingerprint_version=OTHER_CONTENT)
_MOVE = _MINE.values(fingerprint=sa.bindparam("b_print"))


class Contacts:
    """Mixed into State, whose transactions it uses."""

    if TYPE_CHECKING:

        def _begin(self) -> AbstractContextManager[sa.Connection]: ...

        def _check_lease(self, connection: sa.Connection) -> None: ...

    def spread_contacts(self, run_id: str, *, settled: Collection[str]) -> int:
        """How many events have other contacts in essentry by what the run sent of other events;
        the next run compares their contents.

        settled: events that the sources want as they are. Neither they nor what the run confirmed
        is written anew: sources that differ about a contact would take turns. A plan that waits is
        stale where it would say otherwise; where not, it goes as it is.
        """
        event = t.snapshot_events.c
        held = sa.select(event.source_id, event.payload).where(
            event.state == "active",
            event.payload.is_not(None),
            event.confirmed_run.is_distinct_from(run_id),
        )
        with self._begin() as connection:
            self._check_lease(connection)
            if connection.execute(held.limit(1)).first() is None:
                return 0  # a first load is large
            sent = connection.execute(_SENT, {"b_run": run_id}, execution_options=_BY_PAGES)
            contacts = list_contacts(sent.tuples())
            if not contacts:
                return 0
            renewed = {
                source_id: text
                for source_id, payload in connection.execute(held, execution_options=_BY_PAGES)
                if source_id not in settled
                and (text := renew_contacts(payload, contacts)) is not None
            }
            if not renewed:
                return 0
            connection.execute(
                _RENEW, [{"b_id": key, "b_payload": text} for key, text in renewed.items()]
            )
            stale = {
                source_id
                for source_id, after in connection.execute(_WAITING)
                if source_id in renewed and renew_contacts(after, contacts) is not None
            }
            for source_id in stale:  # few
                text = fingerprint(renewed[source_id])
                connection.execute(_MOVE, {"b_id": source_id, "b_print": text})
        return len(renewed)
