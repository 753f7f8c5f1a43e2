"""The part of the state store that writes down what is sent and what became of it: the hot path of a load.

Its statements are made once and take runs of neighbouring changes, so that a batch costs a few statements, however many events it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from flows import state_tables as t
from schemas.ledger import Outcome

_COPIED = [
    "source_id", "source", "location_id", "name", "starts_at", "ends_at", "fingerprint", "fingerprint_version", "guests", "members_json",
]  # fmt: skip
_PLAN, _RUN, _NOW = sa.bindparam("b_plan", type_=sa.Text), sa.bindparam("b_run", type_=sa.Text), sa.bindparam("b_now", type_=t.Instant)
_CHANGE = t.plan_changes.c
_MINE = (_CHANGE.plan_id == _PLAN) & _CHANGE.seq.between(sa.bindparam("b_first"), sa.bindparam("b_last"))
_MARK = t.plan_changes.update().where(_MINE).values(state="sending", run_id=_RUN, sent_at=_NOW)
_ANSWER = (
    t.plan_changes.update()
    .where(_MINE)
    .values(state=sa.bindparam("b_state"), code=sa.bindparam("b_code"), message=sa.bindparam("b_message"), answered_at=_NOW, run_id=_RUN)
)


class LedgerWrites:
    """Mixed into State, whose transactions it uses."""

    if TYPE_CHECKING:

        def _begin(self) -> AbstractContextManager[sa.Connection]: ...

        def _check_lease(self, connection: sa.Connection) -> None: ...

        def _insert(self, table: sa.Table) -> Any: ...

    def mark_sending(self, plan_id: str, seqs: Sequence[int], *, run_id: str, now: datetime) -> None:
        """Write down what is about to be sent; committed on return."""
        with self._begin() as connection:
            self._check_lease(connection)
            for run in _list_runs(seqs):
                connection.execute(_MARK, {"b_plan": plan_id, "b_run": run_id, "b_now": now, **run})

    def record_outcomes(self, plan_id: str, outcomes: Sequence[Outcome], *, run_id: str, now: datetime) -> None:
        """Outcomes, the snapshot rows they prove, the end of older intents and the list of rejections, in one transaction."""
        alike: dict[tuple[str, str | None, str | None], list[int]] = {}
        for outcome in outcomes:
            alike.setdefault((outcome.state, outcome.code, outcome.message), []).append(outcome.seq)
        values = {"b_plan": plan_id, "b_run": run_id, "b_now": now}
        with self._begin() as connection:
            self._check_lease(connection)
            for (state, code, message), seqs in alike.items():
                for run in _list_runs(seqs):
                    connection.execute(_ANSWER, {**values, "b_state": state, "b_code": code, "b_message": message, **run})
            for run in _list_runs([o.seq for o in outcomes if o.state == "confirmed"]):
                for statement in _list_confirming(connection.dialect.name):
                    connection.execute(statement, {**values, **run})
            self._reject(connection, plan_id, [o for o in outcomes if o.state == "rejected"], run_id=run_id, now=now)

    def _reject(self, connection: sa.Connection, plan_id: str, outcomes: list[Outcome], *, run_id: str, now: datetime) -> None:
        """Keep why, and when to try again: at once when the content changes, else after 1, 2, 4 … runs' nights, at most a week."""
        for outcome in outcomes:  # few; each has its own number of tries
            row = connection.execute(
                sa.select(_CHANGE.source, _CHANGE.fingerprint).where(_CHANGE.plan_id == plan_id, _CHANGE.seq == outcome.seq)
            ).one()
            old = connection.execute(sa.select(t.rejections).where(t.rejections.c.source_id == outcome.source_id)).mappings().first()
            tries = (old["tries"] if old else 0) + 1
            # the first retry comes with the next nightly run, hence a little under whole days
            wait = timedelta(days=min(2 ** (tries - 1), 7)) - timedelta(hours=4) if tries > 1 else timedelta(0)
            values = {
                "source": row.source, "code": outcome.code, "message": outcome.message, "tries": tries, "last_run": run_id, "last_at": now,
                "next_at": now + wait, "fingerprint": row.fingerprint, "first_run": old["first_run"] if old else run_id,
            }  # fmt: skip
            insert = self._insert(t.rejections).values(source_id=outcome.source_id, **values)
            connection.execute(insert.on_conflict_do_update(index_elements=["source_id"], set_=values))


def _list_runs(seqs: Sequence[int]) -> Iterator[dict[str, int]]:
    """Runs of neighbouring numbers, as parameters."""
    ordered = sorted(int(seq) for seq in seqs)
    first = 0
    for place, seq in enumerate(ordered):
        if place + 1 == len(ordered) or ordered[place + 1] != seq + 1:
            yield {"b_first": ordered[first], "b_last": seq}
            first = place + 1


@cache
def _list_confirming(dialect: str) -> list[sa.sql.expression.Executable]:
    """What a confirmed run of changes does: snapshot rows, traces of what ended, the end of older intents and of rejections."""
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statements: list[sa.sql.expression.Executable] = []
    for actions, state in ((["create", "update"], "active"), (["delete"], "deleted"), (["expire"], "expired")):
        fresh = {"state": sa.literal(state, sa.Text), "confirmed_run": _RUN, "absent_runs": sa.literal(0), "confirmed_at": _NOW}
        held = {"payload": _CHANGE.after} if state == "active" else {}
        names = [*_COPIED, *held, *fresh]
        rows = sa.select(*(_CHANGE[name] for name in _COPIED), *held.values(), *fresh.values()).where(_MINE, _CHANGE.action.in_(actions))
        upsert = insert(t.snapshot_events).from_select(names, rows)
        # what ended keeps the content that essentry confirmed last
        changed = names if held else list(fresh)
        set_ = {name: upsert.excluded[name] for name in changed if name != "source_id"}
        statements.append(upsert.on_conflict_do_update(index_elements=["source_id"], set_=set_))
    mine = t.plan_changes.alias("mine")
    those = (mine.c.plan_id == _PLAN) & mine.c.seq.between(sa.bindparam("b_first"), sa.bindparam("b_last"))
    ids = sa.select(mine.c.source_id).where(those).scalar_subquery()
    is_open = _CHANGE.state.in_(["sending", "unknown"]) & (_CHANGE.plan_id != _PLAN)
    statements.append(t.plan_changes.update().where(_CHANGE.source_id.in_(ids), is_open).values(state="superseded"))
    statements.append(t.rejections.delete().where(t.rejections.c.source_id.in_(ids)))
    return statements
