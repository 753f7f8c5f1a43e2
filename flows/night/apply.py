"""Send a stored plan: check that it still holds, confirm its deletes, send, and write every outcome down.

The plan is sent exactly as it is stored. It is refused when it is expired, when its digest differs, or when the state of one of its events
has moved since; deletes are confirmed by a fresh look at the source just before they are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pandas as pd

from flows.essentry.client import EssentryClient
from flows.essentry.items import Item
from flows.night.confirm import Looks, SecondLook, find_confirmed, find_still_there
from flows.night.load import LoadResult, Proven, send_changes
from flows.night.pages import digest_stored, read_pages
from flows.night.run import Run
from flows.state.store import State
from schemas.config import Config
from schemas.errors import GuardTripped, StalePlanError
from schemas.ledger import Outcome
from transforms.arrow.columns import find_positions, look_up, take_text
from transforms.arrow.rows import pick_rows
from transforms.diff.pilot import dump_pilot

_ASKED = ("seq", "source_id", "action", "reason", "base_fingerprint", "base_run", "ends_at", "state")
CLOCK_HOURS = 0.1
"""So far may two machines' clocks be apart."""


def check_plan(
    plan: dict[str, Any], changes: pd.DataFrame, state: State, config: Config, *, now: datetime, without_deletes: bool = False
) -> None:
    """Raise StalePlanError when the plan may no longer be sent, GuardTripped when it waits for an approval.

    without_deletes: whether its deletes stay planned, which is the answer to some guards.
    """
    name = plan["plan_id"]
    if plan["status"] in ("applied", "superseded", "empty"):
        raise StalePlanError(f"the plan {name} is {plan['status']}: make a new one with `essentry-sync plan`")
    check_age(plan, config, now=now)
    if plan["pilot_json"] and plan["pilot_json"] != dump_pilot(config):
        raise StalePlanError(f"the plan {name} was made under other [pilot] limits: make a new one")
    if digest_stored(state, name, len(changes)) != plan["digest"]:
        raise StalePlanError(f"the plan {name} does not match its digest: the state store was changed by hand; make a new one")
    open_rows = pick_rows(changes, (changes["state"] == "planned").to_numpy(dtype=bool))
    current = state.read_bases(open_rows["source_id"])
    place = find_positions(open_rows["source_id"], current["source_id"])
    now_there = {c: take_text(current[c], place, open_rows.index).fillna("") for c in ("fingerprint", "confirmed_run", "state")}
    base, run = open_rows["base_fingerprint"].fillna(""), open_rows["base_run"].fillna("")
    moved = (now_there["fingerprint"] != base) | ((now_there["confirmed_run"] != run) & open_rows["base_run"].notna())
    moved &= ~((open_rows["action"] == "create") & (now_there["state"] == "deleted"))
    if moved.any():
        examples = ", ".join(open_rows.loc[moved, "source_id"].head(3))
        raise StalePlanError(f"the plan {name} is stale: {int(moved.sum())} of its events have moved since ({examples}); make a new one")
    findings = orjson.loads(plan["findings_json"] or "[]")
    answered = without_deletes and all(finding["about_deletes"] for finding in findings)
    if findings and not plan["approved_at"] and not answered:
        raise GuardTripped(
            f"the plan {name} waits for approval ({findings[0]['message']}): read its report, then `essentry-sync approve {name}`"
        )


def check_age(plan: dict[str, Any], config: Config, *, now: datetime) -> None:
    """S17: raise StalePlanError for a plan that is too old, or from the future."""
    name, age = plan["plan_id"], (now - plan["created_at"]).total_seconds() / 3600
    if age < -CLOCK_HOURS:
        raise StalePlanError(f"the plan {name} was made in the future: this machine's clock has jumped; correct it and make a new plan")
    if age > config.guards.plan_max_age_hours:
        raise StalePlanError(
            f"the plan {name} is {age:.0f} hours old, over plan_max_age_hours = {config.guards.plan_max_age_hours:g}: make a new one"
        )


def apply_plan(
    config: Config,
    state: State,
    plan_id: str,
    run: Run,
    *,
    token: str,
    agent_token: str,
    progress: Callable[[int, int | None, Sequence[Outcome]], None] | None = None,
    without_deletes: bool = False,
    stop: Callable[[], bool] | None = None,
) -> LoadResult:
    """Send a plan's open changes. The caller holds the lease; `stop` is asked before each batch and each request; true: send no more.

    without_deletes: leave the deletes planned (`on_trip = "hold-deletes"`), for a later approval. Raises as `check_plan` does, and EssentryError when
    essentry refused or could not be reached.
    """
    if config.pilot.paused:
        raise GuardTripped("sending is paused ([pilot] paused = true): nothing was sent; set it to false to go on")
    plan, changes = state.load_plan(plan_id, columns=_ASKED, coded=("action", "reason", "state"))
    check_plan(plan, changes, state, config, now=datetime.now(UTC), without_deletes=without_deletes)
    planned = (changes["state"] == "planned").to_numpy(dtype=bool)
    waiting = planned & (changes["action"] == "delete").to_numpy(dtype=bool) & without_deletes
    open_rows = pick_rows(changes, planned & ~waiting)
    deletes = open_rows[open_rows["action"] == "delete"]
    reasons = deletes.set_index("seq")["reason"]
    over = set(deletes.loc[deletes["ends_at"] <= run.clock, "seq"])
    doubted: set[str] = set()
    if len(deletes) and plan["run_id"] != run.run_id:  # the sources were read some time ago
        doubted = set(deletes["source_id"]) - find_confirmed(config, state, run, deletes)
    state.set_plan_status(plan["plan_id"], "applying")
    client = EssentryClient(config.essentry, token=token, agent_token=agent_token, stop=stop)

    absent_ids = [
        source_id
        for seq, source_id in zip(deletes["seq"], deletes["source_id"], strict=True)
        if reasons[seq] == "absent" and seq not in over and source_id not in doubted
    ]
    looks = Looks(lambda: find_still_there(config, state, absent_ids, plan["plan_id"]))

    def confirm(items: Sequence[Item]) -> Proven:
        """S2: an absent event is deleted only when a second look does not find it. S17: what is over by now is not cancelled."""
        items = [item for item in items if item.seq not in over and item.source_id not in doubted]
        absent = [item for item in items if reasons.get(item.seq) == "absent"]
        look = looks.now() if absent else SecondLook()
        doubts = {item.seq: look.tell(item.source_id) for item in absent if item.source_id in look}
        return Proven({item.seq for item in items} - set(doubts), doubts)

    tries = look_up(open_rows["source_id"], state.list_unanswered()["source_id"].value_counts().to_dict(), "Int64").fillna(0)
    result = send_changes(
        read_pages(state, plan["plan_id"], open_rows["seq"], tries),
        client=client,
        ledger=state,
        plan_id=plan["plan_id"],
        run_id=run.run_id,
        clock=lambda: datetime.now(UTC),
        config=config.essentry,
        total=len(open_rows),
        progress=progress,
        stop=stop,
        confirm_delete=confirm,
    )
    state.set_plan_status(plan["plan_id"], "partly" if not result.complete else "waiting" if waiting.any() else "applied")
    return result
