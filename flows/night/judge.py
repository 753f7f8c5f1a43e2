"""Judge the sources and the plan by the guards, and look whether a standing approval covers what they find. Sends nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from flows.state.store import State
from schemas.config import Config
from transforms.arrow.columns import is_among
from transforms.diff.changes import Diff
from transforms.guards.approval import Approval, list_exceeding, take_unapproved
from transforms.guards.churn import find_churn
from transforms.guards.findings import Finding, count_largest
from transforms.guards.guards import check_guards
from transforms.guards.policy import digest_policy, list_policy_changes

if TYPE_CHECKING:
    from flows.night.compare import Compared
    from flows.night.run import Run


def judge_plan(config: Config, state: State, run: Run, compared: Compared, *, full: bool) -> tuple[list[Finding], Approval | None]:
    """Every guard that trips, and the approval of an earlier plan if it covers them all."""
    diff, snapshot = compared.diff, compared.known.snapshot
    digest, policy = digest_policy(config)
    before = state.policy_digest()
    first = snapshot.empty

    def check(part: Diff, **flags: Any) -> list[Finding]:
        churn = find_churn(part, compared.candidates, snapshot, compared.known.payloads)
        return check_guards(part, snapshot, config, as_of=run.clock, churn=churn, **flags)

    findings = _name_causes(compared.findings, diff, snapshot) + check(
        diff,
        first_run=first,
        policy_changed=before is not None and before != digest and not first,
        policy_changes=list_policy_changes(state.policy_json(), policy),
        full=full and not first,
    )
    standing = state.standing_approval(now=run.started_at, hours=config.guards.plan_max_age_hours) if findings else None
    if standing is None:
        return findings, None
    unapproved = take_unapproved(diff, standing)
    too_much = list_exceeding(findings, check(unapproved), unapproved, standing)
    if standing.policy_digest != digest:
        too_much.insert(0, "the settings have changed since")
    if not too_much:
        return findings, standing
    beyond = f"; the approval of {standing.plan_id} does not cover it: {too_much[0]}"
    return [replace(finding, message=finding.message + beyond) for finding in findings], None


def _name_causes(findings: list[Finding], diff: Diff, snapshot: pd.DataFrame) -> list[Finding]:
    """Findings on a source that shrank with the places whose events are held on that account."""
    held = diff.decisions.loc[(diff.decisions["action"] == "held") & (diff.decisions["reason"] == "source unhealthy"), "source_id"]
    rows = snapshot[is_among(snapshot["source_id"], held)]
    places = rows["source"] + ", location " + rows["location_id"].astype("str")

    def find_causes(source: str) -> tuple[str, ...]:
        return count_largest(places[rows["source"] == source], "event held", "events held") if len(rows) else ()

    return [f if f.causes else replace(f, causes=find_causes(f.scope.split()[1])) for f in findings]
