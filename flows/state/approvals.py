"""The part of the state store that keeps who approved which plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd
import sqlalchemy as sa

from flows.state import tables as t
from transforms.guards.approval import Approval, key_changes

REST = "-rest"
"""The end of the id of what an approval left out of a plan."""
CHUNK = 500
APPROVABLE = ("waiting", "partly")
APPROVED = ("approved", "partly", "applying")


class Approvals:
    """Mixed into State, whose transactions it uses."""

    if TYPE_CHECKING:

        def _begin(self) -> AbstractContextManager[sa.Connection]: ...

        def _read(self) -> AbstractContextManager[sa.Connection]: ...

        def _check_lease(self, connection: sa.Connection) -> None: ...

        def _one(self, query: sa.Select[Any]) -> Any: ...

        def _read_rows(
            self, query: sa.Select[Any], *, ordered_by: str, coded: Collection[str] = ()
        ) -> pd.DataFrame: ...

    def approve_plan(self, plan_id: str, *, by: str, reason: str, now: datetime) -> bool:
        """Release one plan that waits, with who and why. False: it does not wait (any more), and
        nothing was changed.
        """
        waits = (t.plans.c.plan_id == plan_id) & t.plans.c.status.in_(APPROVABLE)
        values = {
            "status": "approved",
            "approved_by": by,
            "approve_reason": reason,
            "approved_at": now,
            "approval_of": plan_id,
        }
        with self._begin() as connection:
            released = connection.execute(t.plans.update().where(waits).values(**values)).rowcount
            if released:  # the read that a person has looked at is the measure of the next ones
                run = (
                    sa.select(t.plans.c.run_id)
                    .where(t.plans.c.plan_id == plan_id)
                    .scalar_subquery()
                )
                seen = t.source_reads.update().where(t.source_reads.c.run_id == run)
                connection.execute(seen.values(events_healthy=True, guests_healthy=True))
        return bool(released)

    def hold_plan(self, plan_id: str, findings_json: str) -> None:
        """Have a plan wait for a person: this trips by now, and no approval of another plan answers
        it.
        """
        with self._begin() as connection:
            self._check_lease(connection)
            connection.execute(
                t.plans.update()
                .where(t.plans.c.plan_id == plan_id)
                .values(
                    status=sa.case(
                        (t.plans.c.status == "approved", "waiting"), else_=t.plans.c.status
                    ),
                    findings_json=findings_json,
                    approved_by=None,
                    approve_reason=None,
                    approved_at=None,
                    approval_of=None,
                )
            )

    def split_plan(
        self,
        plan: Mapping[str, Any],
        rest_seqs: Sequence[int],
        *,
        part: Mapping[str, Any],
        rest: Mapping[str, Any],
    ) -> bool:
        """Part a plan that waits and was not sent: these changes become the plan `rest`, the others
        stay, each numbered from 1 anew.

        part, rest: the columns of both heads that differ. In one transaction: a kill leaves the
        plan as it was. False: it waits no more, or is another one by now, and nothing was changed.
        """
        name, other = plan["plan_id"], rest["plan_id"]
        changes, moving = t.plan_changes, f"{plan['plan_id']}*"
        c = changes.c
        with self._begin() as connection:
            self._check_lease(connection)
            same = (
                (t.plans.c.plan_id == name)
                & (t.plans.c.status == "waiting")
                & (t.plans.c.digest == plan["digest"])
            )
            if not connection.execute(t.plans.update().where(same).values(**part)).rowcount:
                return False
            for start in range(0, len(rest_seqs), CHUNK):
                some = c.seq.in_(list(rest_seqs[start : start + CHUNK]))
                connection.execute(
                    changes.update().where(c.plan_id == name, some).values(plan_id=moving)
                )
            same_columns = [column for column in c if column.name not in ("plan_id", "seq")]
            for old, new in ((moving, other), (name, moving), (moving, name)):
                number = (
                    c.seq
                    if old == moving and new == name
                    else sa.func.row_number().over(order_by=c.seq)
                )
                query = sa.select(sa.literal(new), number, *same_columns).where(c.plan_id == old)
                connection.execute(
                    changes.insert().from_select(
                        ["plan_id", "seq", *(column.name for column in same_columns)], query
                    )
                )
                connection.execute(changes.delete().where(c.plan_id == old))
            conditions, looks = t.plan_conditions, t.plan_looks
            theirs = conditions.c.source_id.in_(sa.select(c.source_id).where(c.plan_id == other))
            connection.execute(
                conditions.update()
                .where(conditions.c.plan_id == name, theirs)
                .values(plan_id=other)
            )
            columns = [column for column in looks.c if column.name != "plan_id"]
            query = sa.select(sa.literal(other), *columns).where(looks.c.plan_id == name)
            connection.execute(
                looks.insert().from_select(["plan_id", *(column.name for column in columns)], query)
            )
            connection.execute(t.plans.insert().values(**{**plan, **rest}))
        return True

    def list_left_out(self) -> pd.DataFrame:
        """source_id and action of the changes that approvals left out, and that nobody has released
        since.

        An event that a full run sends once more only because it is one is no question of another
        night.
        """
        rest, later, c, d = (
            t.plans.alias(),
            t.plans.alias(),
            t.plan_changes.c,
            t.plan_changes.alias().c,
        )
        answered = sa.exists().where(
            later.c.plan_id == d.plan_id, later.c.approval_of == later.c.plan_id,
            later.c.approved_at.is_not(None),
            later.c.created_at > rest.c.created_at, d.source_id == c.source_id,
            d.action == c.action,
        )  # fmt: skip
        query = (
            sa.select(c.source_id, c.action)
            .join_from(t.plan_changes, rest, rest.c.plan_id == c.plan_id)
            .where(
                rest.c.plan_id.endswith(REST),
                rest.c.approved_at.is_(None),
                c.state == "planned",
                c.reason.is_distinct_from("full"),
                ~answered,
            )
            .distinct()
        )
        with self._read() as connection:
            return t.read_frame(connection, query)

    def standing_approval(self, *, now: datetime, hours: float) -> Approval | None:
        """The approval of the newest plan of a whole night, while that is not sent completely and
        the approval no older than `hours`.
        """
        newest = (
            sa.select(t.plans)
            .where(t.plans.c.selection.is_(None))
            .order_by(t.plans.c.created_at.desc())
            .limit(1)
        )
        with self._read() as connection:
            plan = connection.execute(newest).mappings().first()
            if plan is None or plan["approved_at"] is None or plan["status"] not in APPROVED:
                return None
            if now - plan["approved_at"] > timedelta(hours=hours):
                return None
            # a plan that went under an earlier approval passes that one on, never its own numbers
            first = (
                connection.execute(
                    sa.select(t.plans).where(t.plans.c.plan_id == plan["approval_of"])
                )
                .mappings()
                .first()
                or plan
            )
        numbers = {
            (item["guard"], item["scope"]): float(item["number"])
            for item in orjson.loads(first["findings_json"] or "[]")
        }
        return Approval(
            plan_id=first["plan_id"],
            by=plan["approved_by"] or "",
            reason=plan["approve_reason"] or "",
            at=plan["approved_at"],
            policy_digest=first["policy_digest"] or "",
            numbers=numbers,
            changes=self.approved_changes(first["plan_id"]),
        )

    def list_selections(self) -> set[str]:
        """The plans that are no whole night's."""
        with self._read() as connection:
            return set(
                connection.scalars(
                    sa.select(t.plans.c.plan_id).where(t.plans.c.selection.is_not(None))
                )
            )

    def list_passed_over(self, plan: Mapping[str, Any]) -> list[str]:
        """Plans of other changes that were superseded unsent before this one, since the last that
        was settled; newest first.

        A person may have read the report of one of these, and mean it by `latest`.
        """
        c = t.plans.c
        whole = c.selection.is_(None)
        settled = sa.select(sa.func.max(c.created_at)).where(
            c.status.in_(["applied", "partly", "empty"]), whole
        )
        other = (c.status == "superseded") & (c.changes > 0) & (c.digest != plan["digest"])
        sent = sa.exists().where(
            t.plan_changes.c.plan_id == c.plan_id, t.plan_changes.c.sent_at.is_not(None)
        )
        query = sa.select(c.plan_id).where(other, ~sent, whole, c.created_at < plan["created_at"])
        with self._read() as connection:
            last = connection.execute(settled).scalar()
            if last is not None:
                query = query.where(c.created_at > last)
            return list(connection.execute(query.order_by(c.created_at.desc())).scalars())

    def approved_changes(self, plan_id: str) -> pd.Series:
        """`key_changes` of a stored plan."""
        table = t.plan_changes.c
        query = sa.select(table.seq, table.source_id, table.action, table.fingerprint).where(
            table.plan_id == plan_id
        )
        return key_changes(self._read_rows(query, ordered_by="seq", coded=["action"]))

    def plan_approval(self, plan_id: str) -> tuple[str, str, str]:
        """Where a plan stands, who approved it and why."""
        columns = t.plans.c.status, t.plans.c.approved_by, t.plans.c.approve_reason
        with self._read() as connection:
            row = connection.execute(sa.select(*columns).where(t.plans.c.plan_id == plan_id)).one()
        return row.status, row.approved_by or "", row.approve_reason or ""

    def mark_waiting(self, run_id: str, *, waits: bool) -> None:
        """Write down that a run waits for an approval, or does so no more."""
        with self._begin() as connection:
            status = "waiting" if waits else "stopped"
            connection.execute(
                t.runs.update().where(t.runs.c.run_id == run_id).values(status=status)
            )

    def is_waiting(self, run_id: str) -> bool:
        """Whether a run waits for the approval of its plan."""
        return bool(
            self._one(
                sa.select(sa.literal(1)).where(
                    t.runs.c.run_id == run_id, t.runs.c.status == "waiting"
                )
            )
        )
