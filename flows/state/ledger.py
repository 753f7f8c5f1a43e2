"""The part of the state store that writes down what is sent and what became of it: the hot path of
a load.

Its statements are made once and take runs of neighbouring changes, so that a write costs a few
statements, however many events and batches it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from flows.state import tables as t
from schemas.ledger import Outcome

_COPIED = (
    "source", "location_id", "name", "starts_at", "ends_at", "fingerprint", "fingerprint_version",
    "guests", "members_json",
)  # fmt: skip
_PLAN, _RUN, _NOW = (
    sa.bindparam("b_plan", type_=sa.Text),
    sa.bindparam("b_run", type_=sa.Text),
    sa.bindparam("b_now", type_=t.Instant),
)
_CHANGE = t.plan_changes.c
_MINE = (_CHANGE.plan_id == _PLAN) & _CHANGE.seq.between(
    sa.bindparam("b_first"), sa.bindparam("b_last")
)
_MARK = t.plan_changes.update().where(_MINE).values(state="sending", run_id=_RUN, sent_at=_NOW)
_ANSWER = (
    t.plan_changes.update()
    .where(_MINE)
    .values(
        state=sa.bindparam("b_state"),
        code=sa.bindparam("b_code"),
        message=sa.bindparam("b_message"),
        answered_at=_NOW,
        run_id=_RUN,
    )
)


def _write_confirming() -> list[sa.TextClause]:
    """What a confirmed run of changes does: snapshot rows, traces of what ended, the end of older
    intents and of rejections.

    As text, which both databases understand: SQLAlchemy would compile an upsert anew each time,
    which took longer than the database.
    """
    mine = "plan_id = :b_plan AND seq BETWEEN :b_first AND :b_last"
    copied = ", ".join(_COPIED)
    # what ended keeps the content that essentry confirmed last
    content = ", ".join(
        (
            f"{name} = CASE WHEN excluded.state = 'active' THEN excluded.{name} ELSE "
            f"snapshot_events.{name} END"
        )
        for name in (*_COPIED, "payload")
    )
    proof = ", ".join(
        f"{name} = excluded.{name}"
        for name in ("state", "confirmed_run", "absent_runs", "confirmed_at")
    )
    sent = "action IN ('create', 'update')"
    ids = f"(SELECT source_id FROM plan_changes WHERE {mine})"
    texts = [
        f"INSERT INTO snapshot_events (source_id, {copied}, payload, state, confirmed_run, "
        f"absent_runs, confirmed_at) SELECT source_id, {copied}, CASE WHEN {sent} THEN after END, "
        f"CASE WHEN {sent} THEN 'active' WHEN action = 'delete' THEN 'deleted' ELSE 'expired' "
        f"END, :b_run, 0, :b_now FROM plan_changes WHERE {mine} AND action IN ('create', "
        f"'update', 'delete', 'expire') ON CONFLICT (source_id) DO UPDATE SET {content}, {proof}",
        (
            f"UPDATE plan_changes SET state = 'superseded' WHERE source_id IN {ids} AND state IN "
            "('sending', 'unknown') AND plan_id <> :b_plan"
        ),
        f"DELETE FROM rejections WHERE source_id IN {ids}",
    ]
    typed = (
        _PLAN,
        _RUN,
        _NOW,
        sa.bindparam("b_first", type_=sa.BigInteger),
        sa.bindparam("b_last", type_=sa.BigInteger),
    )
    return [
        sa.text(text).bindparams(*(bind for bind in typed if f":{bind.key}" in text))
        for text in texts
    ]


_CONFIRM = _write_confirming()


class LedgerWrites:
    """Mixed into State, whose transactions it uses."""

    if TYPE_CHECKING:

        def _begin(self) -> AbstractContextManager[sa.Connection]: ...

        def _check_lease(self, connection: sa.Connection) -> None: ...

        def _insert(self, table: sa.Table) -> Any: ...

    def write_down(
        self,
        plan_id: str,
        sending: Sequence[int],
        outcomes: Sequence[Outcome],
        *,
        run_id: str,
        now: datetime,
    ) -> None:
        """What is about to be sent (seqs) and what became of what was sent, in one transaction that
        is committed on return.

        With an outcome go the snapshot row it proves, the end of older intents and the list of
        rejections. Raises StateError, and LeaseHeld when another run has taken over: then nothing
        of it is written.
        """
        values = {"b_plan": plan_id, "b_run": run_id, "b_now": now}
        with self._begin() as connection:
            self._check_lease(connection)
            if connection.dialect.name == "postgresql":
                # a bitmap scan would look at every index entry that earlier batches left behind,
                # and never clear one away
                connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
            for run in _list_runs(sending):
                connection.execute(_MARK, {**values, **run})
            self._record(connection, values, outcomes)
            self._reject(
                connection,
                plan_id,
                [o for o in outcomes if o.state == "rejected"],
                run_id=run_id,
                now=now,
            )

    def _record(
        self, connection: sa.Connection, values: dict[str, Any], outcomes: Sequence[Outcome]
    ) -> None:
        alike: dict[tuple[str, str | None, str | None], list[int]] = {}
        for outcome in outcomes:
            alike.setdefault((outcome.state, outcome.code, outcome.message), []).append(outcome.seq)
        for (state, code, message), seqs in alike.items():
            for run in _list_runs(seqs):
                connection.execute(
                    _ANSWER,
                    {**values, "b_state": state, "b_code": code, "b_message": message, **run},
                )
        for run in _list_runs([o.seq for o in outcomes if o.state == "confirmed"]):
            for statement in _CONFIRM:
                connection.execute(statement, {**values, **run})

    def _reject(
        self,
        connection: sa.Connection,
        plan_id: str,
        outcomes: list[Outcome],
        *,
        run_id: str,
        now: datetime,
    ) -> None:
        """Keep why, and when to try again: at once when the content changes, else after 1, 2, 4 …
        runs' nights, at most a week.
        """
        for outcome in outcomes:  # few; each has its own number of tries
            row = connection.execute(
                sa.select(_CHANGE.source, _CHANGE.fingerprint).where(
                    _CHANGE.plan_id == plan_id, _CHANGE.seq == outcome.seq
                )
            ).one()
            old = (
                connection.execute(
                    sa.select(t.rejections).where(t.rejections.c.source_id == outcome.source_id)
                )
                .mappings()
                .first()
            )
            tries = (old["tries"] if old else 0) + 1
            # the first retry comes with the next nightly run, hence a little under whole days
            wait = (
                timedelta(days=min(2 ** (tries - 1), 7)) - timedelta(hours=4)
                if tries > 1
                else timedelta(0)
            )
            values = {
                "source": row.source, "code": outcome.code, "message": outcome.message,
                "tries": tries, "last_run": run_id, "last_at": now,
                "next_at": now + wait, "fingerprint": row.fingerprint,
                "first_run": old["first_run"] if old else run_id,
            }  # fmt: skip
            insert = self._insert(t.rejections).values(source_id=outcome.source_id, **values)
            connection.execute(
                insert.on_conflict_do_update(index_elements=["source_id"], set_=values)
            )


def _list_runs(seqs: Sequence[int]) -> Iterator[dict[str, int]]:
    """Runs of neighbouring numbers, as parameters."""
    ordered = sorted(int(seq) for seq in seqs)
    first = 0
    for place, seq in enumerate(ordered):
        if place + 1 == len(ordered) or ordered[place + 1] != seq + 1:
            yield {"b_first": ordered[first], "b_last": seq}
            first = place + 1
