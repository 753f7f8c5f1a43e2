"""A stored plan as it may be sent now: open, made under today's settings, held against a fresh
look.

A run that ends by `apply` reads and compares like any other, so that it can pay what a night owes.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pandas as pd

from flows.night.apply import check_open, check_released
from flows.night.compare import compare_sources
from flows.night.judge import judge_again
from flows.night.plan import Planned, gather_odd_times, gather_rejects
from flows.night.restrict import TOLD, Selected, narrow_decisions
from flows.night.run import Night
from flows.parts.deal import read_night
from transforms.arrow.codes import to_texts, unite_frames
from transforms.arrow.columns import is_among
from transforms.diff.balance import build_balance
from transforms.diff.changes import Diff
from transforms.diff.moves import list_others
from transforms.guards.approval import key_changes
from transforms.guards.findings import Finding
from transforms.guards.restriction import is_of_guests

STORED = (
    "seq",
    "source_id",
    "source",
    "location_id",
    "action",
    "reason",
    "fingerprint",
    "starts_at",
    "guests",
    "state",
)
CODED = ("source", "action", "reason", "state")


def recall_plan(night: Night, plan_id: str) -> Planned:
    """The plan with what the sources say now beside it.

    `diff.changes`: what is still to be sent of it; `stale`: seqs of those that the sources no
    longer ask for exactly so. Raises as `check_open` does, before any source is read, and as the
    reading of sources does.
    """
    state, config = night.state, night.config
    stored, changes = state.load_plan(plan_id, columns=STORED, coded=CODED)
    check_open(stored, config, now=datetime.now(UTC))
    still = changes[to_texts(changes["state"]) == "planned"].reset_index(drop=True)
    # there is something to send without its deletes
    others = bool((to_texts(still["action"]) != "delete").any())
    check_released(stored, without_deletes=others and config.guards.on_trip == "hold-deletes")
    findings = [
        Finding.from_record(record) for record in orjson.loads(stored["findings_json"] or "[]")
    ]
    night = replace(night, full=bool(stored["full"]))
    read, failed = read_night(config, state, night.shelf)
    compared = compare_sources(night, read, failed)
    rejects = gather_rejects(compared)
    state.save_quarantine(night.run.run_id, rejects)
    asked = is_among(key_changes(still), key_changes(compared.diff.changes))
    selected = (
        Selected(
            stored["selection"],
            frozenset(changes["source_id"])
            | list_others(state.read_conditions(stored["plan_id"]), TOLD).keys(),
        )
        if stored["selection"]
        else None
    )
    diff = _narrow(compared.diff, still, still[asked])
    balance = build_balance(
        compared.rows, compared.diff.decisions, compared.known.snapshot, compared.sources
    )
    if selected is not None:
        diff = narrow_decisions(replace(compared, diff=diff), selected).diff
        rejects = rejects[rejects["source_id"].isin(list(selected.ids))].reset_index(drop=True)
        if not is_of_guests(selected.words):
            involved = set(to_texts(changes["source"]))
            failed = {name: why for name, why in failed.items() if name in involved}
    tripped = judge_again(
        config,
        state,
        night.run,
        stored,
        replace(diff, changes=still[asked].reset_index(drop=True)),
        compared,
    )
    if tripped:
        findings = [*findings, *tripped]
        state.hold_plan(
            stored["plan_id"], orjson.dumps([finding.as_record() for finding in findings]).decode()
        )
    return Planned(
        plan_id=stored["plan_id"],
        digest=stored["digest"],
        diff=diff,
        desired=compared.desired,
        findings=findings,
        health=compared.health,
        failed_sources=dict(failed),
        rejects=rejects,
        balance=balance,
        reads=compared.reads,
        full=night.full,
        odd_times=gather_odd_times(compared),
        released=stored["approved_at"] is not None and not tripped,
        naming=compared.naming,
        stale=still.loc[~asked, "seq"].tolist(),
        selected=selected,
    )


def _narrow(now: Diff, still: pd.DataFrame, sent: pd.DataFrame) -> Diff:
    """What the sources ask for now, with the changes of the plan instead of all that would be new.

    Events that changed since the plan was made are another plan's: of them nothing is decided here.
    """
    settled = ~to_texts(now.decisions["action"]).isin(["create", "update", "delete", "expire"])
    mine = is_among(now.decisions["source_id"], still["source_id"])
    others = now.decisions[settled & ~mine].reset_index(drop=True)
    planned = still[["source_id", "source", "action", "reason"]]
    return replace(
        now,
        changes=still,
        decisions=unite_frames([others, planned]),
        mails=now.mails[is_among(now.mails["source_id"], sent["source_id"])].reset_index(drop=True),
    )
