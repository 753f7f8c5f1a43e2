"""Send a stored plan: check that it still holds, confirm its deletes, send, and write every outcome
down.

The plan is sent exactly as it is stored. It is refused when it is expired, when its digest differs,
or when the state of one of its events has moved since; deletes are confirmed by a fresh look at the
source just before they are sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pandas as pd

from flows.essentry.client import EssentryClient
from flows.essentry.items import Item
from flows.night.confirm import Looks, SecondLook, find_still_there
from flows.night.load import LoadResult, Proven, send_changes
from flows.night.pages import digest_stored, read_pages
from flows.night.run import Run
from flows.state.store import State
from schemas.config import Config
from schemas.errors import GuardTripped, StalePlanError
from schemas.ledger import Outcome
from transforms.arrow.columns import find_positions, is_among, look_up, take_text
from transforms.arrow.rows import pick_rows
from transforms.diff.moves import list_others
from transforms.diff.pilot import dump_pilot
from transforms.guards.policy import digest_policy
from transforms.naming.naming import Naming

_ASKED = (
    "seq",
    "source_id",
    "action",
    "reason",
    "base_fingerprint",
    "base_run",
    "ends_at",
    "state",
)
CHANGED_SINCE = "CHANGED_SINCE"
"""The code of a change of an older plan that the sources no longer ask for as the plan has it."""
CLOCK_HOURS = 0.1
"""So far may two machines' clocks be apart."""


def check_plan(
    plan: dict[str, Any],
    changes: pd.DataFrame,
    state: State,
    config: Config,
    *,
    now: datetime,
    without_deletes: bool = False,
) -> None:
    """Raise StalePlanError when the plan may no longer be sent, GuardTripped when it waits for an
    approval.

    without_deletes: whether its deletes stay planned, which is the answer to some guards.
    """
    name = plan["plan_id"]
    check_open(plan, config, now=now)
    if digest_stored(state, name, len(changes)) != plan["digest"]:
        raise StalePlanError(
            f"the plan {name} does not match its digest: the state store was changed by hand; "
            "make a new one"
        )
    open_rows = pick_rows(changes, (changes["state"] == "planned").to_numpy(dtype=bool))
    current = state.read_bases(open_rows["source_id"])
    place = find_positions(open_rows["source_id"], current["source_id"])
    now_there = {
        c: take_text(current[c], place, open_rows.index).fillna("")
        for c in ("fingerprint", "confirmed_run", "state")
    }
    base, run = open_rows["base_fingerprint"].fillna(""), open_rows["base_run"].fillna("")
    moved = (now_there["fingerprint"] != base) | (
        (now_there["confirmed_run"] != run) & open_rows["base_run"].notna()
    )
    moved &= ~((open_rows["action"] == "create") & (now_there["state"] == "deleted"))
    # a selection that was sent beside a plan that waits: what it asked without an answer, the plan
    # does not know of
    moved |= open_rows["source_id"].isin(state.list_unanswered_since(name, plan["created_at"]))
    if moved.any():
        examples = ", ".join(open_rows.loc[moved, "source_id"].head(3))
        raise StalePlanError(
            f"the plan {name} is stale: {int(moved.sum())} of its events have moved since "
            f"({examples}); make a new one"
        )
    check_released(plan, without_deletes=without_deletes)


def check_released(plan: dict[str, Any], *, without_deletes: bool) -> None:
    """Raise GuardTripped when a guard holds the plan, and neither an approval nor its going without
    deletes answers it.
    """
    name, findings = plan["plan_id"], orjson.loads(plan["findings_json"] or "[]")
    answered = without_deletes and all(finding["about_deletes"] for finding in findings)
    if findings and not plan["approved_at"] and not answered:
        raise GuardTripped(
            f"the plan {name} waits for approval ({findings[0]['message']}): read its report, "
            f"then `essentry-sync approve {name}`"
        )


def check_open(plan: dict[str, Any], config: Config, *, now: datetime) -> None:
    """Raise StalePlanError when the plan is closed, too old, or made under other settings (S17,
    S18, S24).

    GuardTripped while `[pilot] paused` stands: a kill switch is asked before anything else is done.
    """
    name = plan["plan_id"]
    if config.pilot.paused:
        raise GuardTripped(
            "sending is paused ([pilot] paused = true): nothing was sent; set it to false to go on"
        )
    if plan["status"] in ("applied", "superseded"):
        raise StalePlanError(
            f"the plan {name} is {plan['status']}: make a new one with `essentry-sync plan`"
        )
    check_age(plan, config, now=now)
    if plan["pilot_json"] and plan["pilot_json"] != dump_pilot(config):
        raise StalePlanError(f"the plan {name} was made under other [pilot] limits: make a new one")
    if plan["policy_digest"] and plan["policy_digest"] != digest_policy(config)[0]:
        raise StalePlanError(
            f"the plan {name} was made under other settings of who is invited: "
            "make a new one with `essentry-sync plan`"
        )


def check_age(plan: dict[str, Any], config: Config, *, now: datetime) -> None:
    """S17: raise StalePlanError for a plan, or an approval, that is too old, and for a plan from
    the future.
    """
    name, age = plan["plan_id"], (now - plan["created_at"]).total_seconds() / 3600
    if age < -CLOCK_HOURS:
        raise StalePlanError(
            f"the plan {name} was made in the future: this machine's clock has jumped; "
            "correct it and make a new plan"
        )
    if age > config.guards.plan_max_age_hours:
        raise StalePlanError(
            f"the plan {name} is {age:.0f} hours old, over plan_max_age_hours = "
            f"{config.guards.plan_max_age_hours:g}: make a new one"
        )
    if plan["approved_at"] is None:
        return
    # a plan that was made under the approval of an older one goes as long as that one would
    age = (now - plan["approved_at"]).total_seconds() / 3600
    if age > config.guards.plan_max_age_hours:
        raise StalePlanError(
            f"the approval of {plan['approval_of'] or name}, under which the plan {name} goes, is "
            f"{age:.0f} hours old, over plan_max_age_hours = {config.guards.plan_max_age_hours:g}: "
            "make a new plan"
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
    stale: Collection[int] = (),
    naming: Naming | None = None,
) -> LoadResult:
    """Send a plan's open changes. The caller holds the lease; `stop` is asked before each batch and
    each request; true: send no more.

    without_deletes: leave the deletes planned (`on_trip = "hold-deletes"`), for a later approval.
    stale: seqs that a fresh look at the sources does not ask for any more; they are held, with the
    reason in the ledger. Raises as `check_plan` does, and EssentryError when essentry refused or
    could not be reached.
    """
    plan, changes = state.load_plan(plan_id, columns=_ASKED, coded=("action", "reason", "state"))
    check_plan(plan, changes, state, config, now=datetime.now(UTC), without_deletes=without_deletes)
    planned = (changes["state"] == "planned").to_numpy(dtype=bool)
    waiting = planned & (changes["action"] == "delete").to_numpy(dtype=bool) & without_deletes
    passed_by = planned & ~waiting & changes["seq"].isin(stale).to_numpy(dtype=bool)
    open_rows = pick_rows(changes, planned & ~waiting & ~passed_by)
    deletes = open_rows[open_rows["action"] == "delete"]
    reasons = deletes.set_index("seq")["reason"]
    over = set(deletes.loc[deletes["ends_at"] <= run.clock, "seq"])
    _hold(state, plan["plan_id"], run, changes[passed_by])
    state.set_plan_status(plan["plan_id"], "applying")
    conditions = state.read_conditions(plan["plan_id"])
    gone = list_others(conditions, "absent")
    lessened = open_rows[
        ((open_rows["action"] == "update") & open_rows["source_id"].isin(list(gone))).to_numpy(
            dtype=bool
        )
    ]
    absent = {
        source_id: gone.get(source_id, [source_id])
        for seq, source_id in zip(deletes["seq"], deletes["source_id"], strict=True)
        if reasons[seq] == "absent" and seq not in over
    }
    absent |= {source_id: gone[source_id] for source_id in lessened["source_id"]}
    looks = Looks(lambda: find_still_there(config, state, absent, plan["plan_id"], naming))
    kept = _hold_found(state, plan["plan_id"], run, lessened, looks)
    open_rows = open_rows[~open_rows["seq"].isin(kept).to_numpy(dtype=bool)].reset_index(drop=True)

    def confirm(items: Sequence[Item]) -> Proven:
        """S2: an absent event is deleted only when a second look does not find it. S17: what is
        over by now is not cancelled.
        """
        items = [item for item in items if item.seq not in over]
        records = {item.source_id for item in items if reasons.get(item.seq) == "absent"}
        look = looks.now() if records else SecondLook()
        doubts = {
            item.seq: look.tell(item.source_id)
            for item in items
            if item.source_id in records and item.source_id in look
        }
        return Proven({item.seq for item in items} - set(doubts), doubts)

    unanswered = state.list_unanswered()["source_id"].value_counts().to_dict()
    open_rows = open_rows.assign(
        tries=look_up(open_rows["source_id"], unanswered, "Int64").fillna(0)
    )

    def send(rows: pd.DataFrame, before: int) -> LoadResult:
        return send_changes(
            read_pages(state, plan["plan_id"], rows["seq"], rows["tries"]),
            client=EssentryClient(config.essentry, token=token, agent_token=agent_token, stop=stop),
            ledger=state,
            plan_id=plan["plan_id"],
            run_id=run.run_id,
            clock=lambda: datetime.now(UTC),
            config=config.essentry,
            total=len(open_rows),
            progress=None
            if progress is None
            else lambda done, total, outcomes: progress(before + done, total, outcomes),
            stop=stop,
            confirm_delete=confirm,
        )

    after = list_others(conditions, "after")
    first = ~is_among(open_rows["source_id"], list(after))
    result = send(pick_rows(open_rows, first), 0)
    waits = pick_rows(open_rows, ~first)
    while len(waits) and result.error is None and not result.stopped:
        waits, ready, result = _hold_unmet(state, plan["plan_id"], run.run_id, waits, after, result)
        if len(ready):
            result = _add_up(result, send(ready, sum(result.counts.values())))
    whole = result.complete and not passed_by.any() and not kept
    state.set_plan_status(
        plan["plan_id"], "partly" if not whole else "waiting" if waiting.any() else "applied"
    )
    return result


def _hold_found(
    state: State, plan_id: str, run: Run, changes: pd.DataFrame, looks: Looks
) -> set[int]:
    """S23 for a meeting that stays: what loses the guests of a record that is gone is not sent when
    a second look finds the record. Its seqs.
    """
    if changes.empty:
        return set()
    look = looks.now()
    found = [
        (int(seq), source_id)
        for seq, source_id in changes[["seq", "source_id"]].itertuples(index=False)
        if source_id in look
    ]
    if found:
        back = "RECORD_BACK", "a record of it is back, so what takes its guests away was not sent"
        outcomes = [
            Outcome(seq, key, "held", *(look.tell(key) if key in look.failed else back))
            for seq, key in found
        ]
        state.write_down(plan_id, (), outcomes, run_id=run.run_id, now=datetime.now(UTC))
    return {seq for seq, _ in found}


def _hold_unmet(
    state: State,
    plan_id: str,
    run_id: str,
    waits: pd.DataFrame,
    after: Mapping[str, Sequence[str]],
    result: LoadResult,
) -> tuple[pd.DataFrame, pd.DataFrame, LoadResult]:
    """S21: of the changes that wait for others those that still wait, those that may go, and the
    result with those that are held now.

    A change goes when essentry has confirmed every change that it waits for, and is held when one
    of them is settled otherwise.
    """
    ids = waits["source_id"].tolist()
    stands = state.read_states(plan_id, {other for source_id in ids for other in after[source_id]})
    later = set(ids)
    unmet = {key: [o for o in after[key] if stands.get(o) != "confirmed"] for key in ids}
    ready = [not unmet[key] for key in ids]
    hopeless = [any(other not in later for other in unmet[key]) for key in ids]
    if not any(ready) and not any(hopeless):  # they wait for one another
        hopeless = [True] * len(ids)
    held = [
        Outcome(
            seq,
            key,
            "held",
            "WAITS",
            f"not before essentry has confirmed {', '.join(unmet[key][:3])}",
        )
        for seq, key, out in zip(waits["seq"].tolist(), ids, hopeless, strict=True)
        if out
    ]
    if held:
        state.write_down(plan_id, (), held, run_id=run_id, now=datetime.now(UTC))
    counts = Counter(result.counts) + Counter({"held": len(held)})
    goes, rests = np.array(ready), ~np.array(ready) & ~np.array(hopeless)
    return pick_rows(waits, rests), pick_rows(waits, goes), replace(result, counts=dict(counts))


def _add_up(one: LoadResult, other: LoadResult) -> LoadResult:
    counts = dict(Counter(one.counts) + Counter(other.counts))
    return LoadResult(
        counts,
        one.requests + other.requests,
        one.retries + other.retries,
        other.error,
        other.stopped,
    )


def _hold(state: State, plan_id: str, run: Run, changes: pd.DataFrame) -> None:
    """Write down the changes that are not sent because the sources ask for something else by now
    (S24).
    """
    words = "the source asks for something else since the plan was made"
    held = [
        Outcome(int(seq), source_id, "held", CHANGED_SINCE, words)
        for seq, source_id in changes[["seq", "source_id"]].itertuples(index=False)
    ]
    if held:
        state.write_down(plan_id, [], held, run_id=run.run_id, now=datetime.now(UTC))
