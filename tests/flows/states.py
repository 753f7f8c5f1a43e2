"""Plans of a state store, written and confirmed, and what it then holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from flows.state.store import State
from schemas.ledger import Outcome

NOW = datetime(2026, 11, 24, 0, 18, 5, 123456, tzinfo=UTC)
IDENTITY = ("https://app.essentry.com/api/v2", "a" * 64, "per-event")


def changes(*rows: dict[str, Any]) -> pd.DataFrame:
    """Changes as a plan has them: seq from 1, a create unless said otherwise."""
    base = {
        "source": "lb", "location_id": 7, "action": "create", "reason": "new",
        "base_fingerprint": None, "base_run": None, "fingerprint": "f1",
        "fingerprint_version": 1, "starts_at": NOW, "ends_at": NOW + timedelta(hours=1),
        "name": "Besuch – 訪問 % ? 'x'", "fields_json": None,
        "guests_json": None, "after": '{"name":"Besuch"}', "body": '{"name":"Besuch"}',
        "members_json": "[1]", "ignore_missing": False, "guests": 2,
    }  # fmt: skip
    frame = pd.DataFrame([base | {"seq": number} | row for number, row in enumerate(rows, 1)])
    for name in ("starts_at", "ends_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True).astype("datetime64[us, UTC]")
    return frame.astype(
        {
            "location_id": "Int64",
            "ignore_missing": "boolean",
            "base_fingerprint": "str",
            "source_id": "str",
        }
    )


def plan(state: State, plan_id: str, *rows: dict[str, Any], created_at: datetime = NOW) -> None:
    head = {
        "run_id": plan_id,
        "digest": "d",
        "created_at": created_at,
        "as_of": created_at,
        "status": "waiting",
        "full": False,
    }
    state.save_changes(plan_id, changes(*rows))
    state.save_plan({"plan_id": plan_id, "changes": len(rows)} | head)


def settle(state: State, plan_id: str, *outcomes: Outcome, now: datetime = NOW) -> None:
    state.write_down(plan_id, [o.seq for o in outcomes], [], run_id=plan_id, now=now)
    state.write_down(plan_id, [], outcomes, run_id=plan_id, now=now)


def hold(state: State, plan_id: str, *rows: dict[str, Any], now: datetime = NOW) -> None:
    """A plan whose changes are all confirmed."""
    plan(state, plan_id, *rows, created_at=now)
    settle(
        state,
        plan_id,
        *(Outcome(n, row["source_id"], "confirmed") for n, row in enumerate(rows, 1)),
        now=now,
    )


def snapshot(state: State) -> dict[str, dict[str, Any]]:
    return {row["source_id"]: row for row in state.read_fingerprints().to_dict("records")}


def ledger(state: State, plan_id: str) -> dict[str, dict[str, Any]]:
    return {row["source_id"]: row for row in state.load_plan(plan_id)[1].to_dict("records")}
