"""Compute and store a plan: read the sources, build what essentry should hold, compare, judge.
Sends nothing.

Plain functions; the Prefect flow and the command line both call them: compare_sources → judge_plan
→ store.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pandas as pd

from flows.night.compare import Compared, compare_sources
from flows.night.judge import judge_plan
from flows.night.pages import PlanDigest, merge_pages, seal
from flows.night.restrict import Selected, list_told, narrow_decisions, restrict
from flows.night.run import Night
from flows.parts.shelf import release_memory
from schemas.config import Config
from schemas.frames import REJECT_COLUMNS, empty_frame
from transforms.desired.build import Desired
from transforms.diff.balance import build_balance
from transforms.diff.changes import Diff, SourceHealth
from transforms.diff.pilot import dump_pilot
from transforms.guards.approval import Approval
from transforms.guards.findings import Finding
from transforms.guards.policy import digest_policy
from transforms.naming.naming import Naming
from transforms.validate.source import Validated
from transforms.validate.typed import MAX_ODD


@dataclass
class Planned:
    """Everything a plan rests on, for the report. `desired` and `diff`: as
    flows.night.compare.Compared has them.

    released: an approval, of this plan or of one before it, covers what tripped. stale: seqs of an
    older plan's changes that the sources do not ask for any more as the plan has them. selected:
    what it is restricted to, if it is no whole night.
    """

    plan_id: str
    digest: str
    diff: Diff
    desired: Desired
    findings: list[Finding]
    health: dict[str, SourceHealth]
    failed_sources: dict[str, str]
    rejects: pd.DataFrame
    balance: dict[str, Any]
    reads: dict[str, dict[str, int]] = field(default_factory=dict)
    full: bool = False
    released: bool = False
    odd_times: list[dict[str, str]] = field(default_factory=list)
    stale: list[int] = field(default_factory=list)
    naming: Naming | None = None
    selected: Selected | None = None

    @property
    def waits(self) -> bool:
        """A guard tripped, and no approval covers it."""
        return bool(self.findings) and not self.released

    def holds_deletes(self, config: Config) -> bool:
        """Whether it goes without its deletes: `on_trip` says so, and that answers every guard that
        tripped.
        """
        hold = config.guards.on_trip == "hold-deletes"
        return self.waits and hold and all(finding.about_deletes for finding in self.findings)


def make_plan(
    night: Night, extracted: MutableMapping[str, Any], failed: Mapping[str, str]
) -> Planned:
    """From extracted frames to a stored plan. The state changes by the plan, the numbers of new
    guests and the quarantine alone.
    """
    config, state, run = night.config, night.state, night.run
    if night.watch is not None:
        night.watch.see_read(extracted)
    compared = compare_sources(night, extracted, failed)
    balance = build_balance(
        compared.rows, compared.diff.decisions, compared.known.snapshot, compared.sources
    )
    whole, selected = compared.diff, None
    if night.only:
        compared, selected = restrict(night, compared, failed)
    digest, _ = digest_policy(config)
    plan_id, sealed = run.run_id, PlanDigest()
    for page in merge_pages(compared.pages, compared.order):
        state.save_changes(plan_id, seal(sealed, page))
    judged = judge_plan(
        config, state, run, compared, full=night.full, whole=whole if selected else None
    )
    findings, approval = judged.findings, judged.approval
    rejects = gather_rejects(compared)
    if selected is not None:
        compared = narrow_decisions(compared, selected)
        rejects = rejects[rejects["source_id"].isin(list(selected.ids))].reset_index(drop=True)
        # who has a guest is not known of a source that was not read
        failed = {} if night.only.events else failed
        state.save_conditions(plan_id, list_told(compared, rejects))
    desired, diff, sources = compared.desired, compared.diff, compared.sources
    release_memory()
    state.save_conditions(plan_id, diff.conditions)
    state.save_looks(
        plan_id, {source.source: (source.event_rows, source.sample_keys) for source in sources}
    )
    state.save_plan(
        {
            "plan_id": plan_id,
            "run_id": run.run_id,
            "digest": sealed.hexdigest(),
            "created_at": run.started_at,
            "as_of": run.as_of,
            # what a guard says of a source is answered by an approval, whether the plan has a
            # change or not
            "status": "empty"
            if diff.changes.empty and not findings
            else "waiting"
            if approval is None
            else "approved",
            "full": night.full,
            "findings_json": orjson.dumps([finding.as_record() for finding in findings]).decode(),
            "balance_json": orjson.dumps(balance).decode(),
            "policy_digest": digest,
            # what a selection shows of changed settings answers for no other event
            "policy_json": None if selected else orjson.dumps(judged.policy).decode(),
            "selection": selected.words if selected else None,
            "pilot_json": dump_pilot(config),
            "changes": len(diff.changes),
        }
        | ({} if approval is None else _released_by(approval))
    )
    state.save_quarantine(run.run_id, rejects)
    return Planned(
        plan_id,
        sealed.hexdigest(),
        diff,
        desired,
        findings,
        compared.health,
        dict(failed),
        rejects,
        balance,
        compared.reads,
        night.full,
        approval is not None,
        gather_odd_times(compared),
        naming=compared.naming,
        selected=selected,
    )


def gather_rejects(compared: Compared) -> pd.DataFrame:
    """REJECT_COLUMNS of every source, and of the links between them; with the event's id where its
    key can be read.
    """
    frames = [
        *(_name_rejects(v, compared.naming) for v in compared.sources),
        compared.desired.rejects,
    ]
    return pd.concat(
        [f for f in frames if len(f)] or [empty_frame(REJECT_COLUMNS)], ignore_index=True
    )


def _name_rejects(source: Validated, naming: Naming) -> pd.DataFrame:
    rejects = source.rejects
    keyed = rejects["source_event_id"].notna() & rejects["source_id"].isna()
    if not keyed.any():
        return rejects
    keys = rejects.loc[keyed, "source_event_id"].reset_index(drop=True)
    names = naming.name_events(naming.prefix_of(source.source), keys)
    named = rejects["source_id"].astype("str").copy()
    named[keyed] = names.to_numpy()
    return rejects.assign(source_id=named)


def gather_odd_times(compared: Compared) -> list[dict[str, str]]:
    """Some of the clock times that a change of clocks made ambiguous."""
    return [{"source": v.source, **row} for v in compared.sources for row in v.odd_times][:MAX_ODD]


def _released_by(approval: Approval) -> dict[str, Any]:
    return {
        "approved_by": approval.by,
        "approve_reason": approval.reason,
        "approved_at": approval.at,
        "approval_of": approval.plan_id,
    }
