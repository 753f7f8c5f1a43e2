"""The part of the state store that learns it is an older copy: what was sent since is unknown. None
of it calls essentry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd
import sqlalchemy as sa

from flows.state import tables as t
from flows.state.bulk import append_rows

CHUNK = 500
CODE = "RESTORED"
LOST_RUNS = "restored-"
"""How the plan begins that tells what runs did which a restored state does not know."""
_WORDS = (
    "the state store was restored from an older copy: what essentry holds of this event is not "
    "known"
)
_DELETED = "told by the report of a run that the restored state store does not know"


class Restores:
    """Mixed into State, whose transactions it uses."""

    if TYPE_CHECKING:

        def _begin(self) -> AbstractContextManager[sa.Connection]: ...

        def _check_lease(self, connection: sa.Connection) -> None: ...

        def _insert(self, table: sa.Table) -> Any: ...

    def mark_restored(
        self,
        plan_id: str,
        touched: pd.DataFrame,
        lost: Sequence[Mapping[str, Any]],
        *,
        now: datetime,
    ) -> int:
        """Write down what was sent since the copy was made, in one transaction; returns how many
        events are unknown now.

        touched: TOUCHED_COLUMNS of transforms.operations.restore. An event whose last change was a
        confirmed delete counts as deleted, with its reason, any other as an unanswered request,
        which the next run settles. lost: lines of runs that are known from now on. Plans that wait
        are superseded.
        """
        gone = (touched["action"] == "delete") & (touched["state"] == "confirmed")
        deleted, unknown = touched[gone], touched[~gone]
        with self._begin() as connection:
            self._check_lease(connection)
            connection.execute(
                t.plans.update().where(t.plans.c.status.in_(t.WAITING)).values(status="superseded")
            )
            for row in lost:
                connection.execute(self._insert(t.runs).values(**row).on_conflict_do_nothing())
            for source_ids in _parts(deleted["source_id"].tolist()):
                c = t.plan_changes.c
                connection.execute(
                    t.plan_changes.update()
                    .where(c.source_id.in_(source_ids), t.OPEN)
                    .values(state="superseded")
                )
            for row in deleted.to_dict("records"):  # few: what some nights cancelled
                values = {
                    name: _plain(row[name])
                    for name in ("source", "location_id", "name", "starts_at", "ends_at")
                }
                trace = {
                    "state": "deleted",
                    "confirmed_run": plan_id,
                    "confirmed_at": now,
                    "absent_runs": 0,
                }
                new = self._insert(t.snapshot_events).values(
                    source_id=row["source_id"], fingerprint_version=0, guests=0, **values, **trace
                )
                connection.execute(
                    new.on_conflict_do_update(index_elements=["source_id"], set_=trace)
                )
            if len(touched):
                write_unknown(
                    connection, plan_id, touched, now=now,
                    code=touched["code"].astype("object").where(gone, CODE),
                    words=gone.map({True: _DELETED, False: _WORDS}).astype("str"),
                    states=gone.map({True: "confirmed", False: "unknown"}).astype("str"),
                )  # fmt: skip
        return len(unknown)


def write_unknown(
    connection: sa.Connection,
    plan_id: str,
    touched: pd.DataFrame,
    *,
    code: pd.Series | str,
    words: pd.Series | str,
    now: datetime,
    states: pd.Series | str,
) -> None:
    """A plan that was never made, as the head of changes whose outcome is not known. touched:
    TOUCHED_COLUMNS; code, words, states: of each change, or of all.
    """
    append_rows(
        connection,
        t.plan_changes,
        _as_changes(touched, plan_id, now).assign(state=states, code=code, message=words),
    )
    head = {
        "plan_id": plan_id,
        "run_id": plan_id,
        "digest": "",
        "created_at": now,
        "as_of": now,
        "status": "applied",
        "full": False,
    }
    head |= {"findings_json": "[]", "balance_json": "{}", "changes": len(touched)}
    connection.execute(t.plans.insert().values(**head))


def _as_changes(touched: pd.DataFrame, plan_id: str, now: datetime) -> pd.DataFrame:
    bodies = [
        orjson.dumps({"sourceId": source_id, "invitations": orjson.loads(guests)}).decode()
        for source_id, guests in zip(touched["source_id"], touched["invitations"], strict=True)
    ]
    stamp = pd.Timestamp(now).as_unit("us")
    frame = touched.drop(columns=["invitations", "state", "code"]).assign(
        plan_id=plan_id, seq=range(1, len(touched) + 1),
        body=pd.Series(bodies, index=touched.index, dtype="str"),
        run_id=plan_id, ignore_missing=True, sent_at=stamp, answered_at=stamp,
        fingerprint_version=0,
    )  # fmt: skip
    texts = ["source_id", "source", "action", "reason", "name", "plan_id", "run_id"]
    numbers = ["location_id", "guests", "seq", "fingerprint_version"]
    return frame.astype(dict.fromkeys(texts, "str") | dict.fromkeys(numbers, "Int64"))


def _parts(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]


def _plain(value: Any) -> Any:
    return (
        None
        if pd.isna(value)
        else value.to_pydatetime()
        if isinstance(value, pd.Timestamp)
        else value
    )
