"""Approve a part of a stored plan: it is released and sealed by itself, and the rest waits as a
plan of its own.

The part keeps the plan's id, so that a run that waits for it goes on; the rest has that id with an
ending. Nothing of the ledger is changed, for only a plan of which nothing was sent can be parted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pandas as pd

from flows.night.limits import read_earlier, read_stored
from flows.night.own_guards import OWN, find_own, read_views
from flows.night.pages import PAGE_ROWS, PlanDigest, digest_stored
from flows.night.run import Run
from flows.state.approvals import REST
from flows.state.store import State
from schemas.config import Config
from schemas.errors import ConfigurationError, StalePlanError
from transforms.diff.changes import Diff
from transforms.guards.findings import Finding
from transforms.guards.guards import check_guards
from transforms.guards.left_out import LEFT_OUT, find_left_out
from transforms.guards.selection import Choice, select_changes
from transforms.naming.naming import name_by

COUNTED = {
    "max_deletes", "max_delete_share", "max_update_share", "max_guest_removals",
    "max_new_invitations", "max_people_mailed",
    "max_mails_per_guest", "max_full_resend", "approve_first_run", "approve_policy_change",
    LEFT_OUT,
}  # fmt: skip
"""Guards whose numbers follow from the stored changes; what the others found holds for the part and
the rest alike.
"""
_ASKED = (
    "seq", "source_id", "source", "location_id", "action", "reason", "guests", "members_json",
    "fields_json", "guests_json", "starts_at",
    "ends_at", "state",
)  # fmt: skip


@dataclass(frozen=True)
class Parted:
    """The part that is approved and the rest that waits: id, digest, number of changes and findings
    of each. No rest: all was chosen.
    """

    part: dict[str, Any]
    rest: dict[str, Any] | None


def approve_part(
    config: Config,
    state: State,
    plan_id: str,
    choice: Choice,
    *,
    by: str,
    reason: str,
    now: datetime,
) -> Parted:
    """Release the chosen changes of a plan that waits. Call it under the lease: no run may be
    sending it.

    Raises StalePlanError when it does not wait, was sent in part or was changed by hand;
    ConfigurationError when the choice names no change, leaves none, or parts what belongs together.
    """
    stored, changes = state.load_plan(plan_id, columns=_ASKED)
    name = stored["plan_id"]
    if stored["status"] != "waiting":
        raise StalePlanError(
            f"the plan {name} is {stored['status']}: there is nothing to choose from"
        )
    if (changes["state"] != "planned").any():
        raise StalePlanError(
            f"the plan {name} was sent in part already: approve the whole of it, or make a new one"
        )
    if digest_stored(state, name, len(changes)) != stored["digest"]:
        raise StalePlanError(
            f"the plan {name} does not match its digest: the state store was changed by hand; "
            "make a new one"
        )
    found = select_changes(
        changes, state.read_conditions(name), choice, name_by(config, state.adopted())
    )
    if found.parted:
        group = found.parted[0]
        more = f" ({len(found.parted) - 1:,} more such groups)" if len(found.parted) > 1 else ""
        raise ConfigurationError(
            f"{', '.join(group[:5])} belong together: guests move between them, "
            f"and nobody is cancelled here who was not invited there{more}; "
            f"take all of them (--only event=…) or none (--except event={group[0]} and so on)"
        )
    if not found.chosen.any():
        raise ConfigurationError(
            f"nothing of the plan {name} is chosen: every change that --only names, "
            "--except takes out again"
        )
    reason = f"{reason} [{choice}]".strip()
    if found.chosen.all():
        if not state.approve_plan(name, by=by, reason=reason, now=now):
            raise StalePlanError(f"the plan {name} waits no more")
        return Parted(stored, None)
    part = _describe(config, state, stored, changes, found.chosen)
    rest = _describe(config, state, stored, changes, ~found.chosen)
    waiting = changes.loc[~found.chosen, ["source_id", "action"]]
    left = [f.as_record() for f in find_left_out(waiting, waiting)]
    rest["findings_json"] = orjson.dumps(
        left + [f for f in orjson.loads(rest["findings_json"]) if f["guard"] != LEFT_OUT]
    ).decode()
    # the question of changed settings stays open until the rest is answered, too
    part |= {
        "status": "approved",
        "approved_by": by,
        "approve_reason": reason,
        "approved_at": now,
        "approval_of": name,
        "policy_json": None,
    }
    # the part stays the newest plan, whose approval stands for the next night
    rest |= {
        "plan_id": f"{name}{REST}",
        "created_at": stored["created_at"] - timedelta(microseconds=1),
    }
    if not state.split_plan(
        stored, changes.loc[~found.chosen, "seq"].tolist(), part=part, rest=rest
    ):
        raise StalePlanError(f"the plan {name} waits no more, or has been parted by somebody else")
    return Parted({**stored, **part}, {**stored, **rest})


def _describe(
    config: Config, state: State, stored: dict[str, Any], changes: pd.DataFrame, chosen: np.ndarray
) -> dict[str, Any]:
    """digest, changes and findings_json of some of a plan's changes, numbered from 1."""
    some = changes[chosen]
    return {
        "digest": _digest(state, stored["plan_id"], some["seq"]),
        "changes": len(some),
        "findings_json": orjson.dumps(
            [finding.as_record() for finding in _count_again(config, state, stored, some)]
        ).decode(),
    }


def _digest(state: State, plan_id: str, seqs: pd.Series) -> str:
    digest = PlanDigest()
    for start in range(0, len(seqs), PAGE_ROWS):
        some = seqs.iloc[start : start + PAGE_ROWS]
        page = state.read_page(plan_id, int(some.iloc[0]), int(some.iloc[-1]))
        page = page[page["seq"].isin(some)].reset_index(drop=True)
        digest.add(page.assign(seq=np.arange(start + 1, start + len(page) + 1)))
    return digest.hexdigest()


def _count_again(
    config: Config, state: State, stored: dict[str, Any], some: pd.DataFrame
) -> list[Finding]:
    """What tripped, by the numbers of these changes alone: they are the ceiling of what the
    approval covers.
    """
    findings = [
        Finding.from_record(record) for record in orjson.loads(stored["findings_json"] or "[]")
    ]
    whole = {(finding.guard, finding.scope): finding for finding in findings}
    run = Run(stored["plan_id"], stored["as_of"], stored["created_at"])
    diff: Diff = read_stored(state, stored["plan_id"], some)
    unasked, _ = read_earlier(state, run, hours=config.guards.limit_hours, again=some["source_id"])
    asked = {finding.guard: finding for finding in findings}
    scopes = [
        finding.scope.removeprefix("source ")
        for finding in findings
        if finding.guard == "approve_first_run"
    ]
    policy = asked.get("approve_policy_change")
    counted = check_guards(
        diff,
        state.read_fingerprints(),
        config,
        as_of=run.clock,
        first_run="run" in scopes,
        new_sources=[scope for scope in scopes if scope != "run"],
        policy_changed=policy is not None,
        policy_changes=policy.causes if policy else (),
        full=bool(stored["full"]),
        earlier=unasked,
    )
    if config.guards.sql:
        counted += find_own(
            config,
            read_views(state, stored["plan_id"], some["seq"].tolist(), diff.mails, as_of=run.clock),
        )
    left = whole.get((LEFT_OUT, "run"))
    counted += find_left_out(state.list_left_out(), some) if left else []
    names = COUNTED | {OWN + name for name in config.guards.sql}
    again = {
        (finding.guard, finding.scope): finding for finding in counted if finding.guard in names
    }
    kept = [finding for finding in findings if finding.guard not in names]
    return kept + list(again.values())
