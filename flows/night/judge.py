"""Judge the sources and the plan by the guards, and look whether a standing approval covers what
they find. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd

from flows.night.known import were_sent
from flows.night.limits import read_earlier, unite_earlier
from flows.night.own_guards import find_own, find_own_beyond, read_views
from flows.state.store import State
from schemas.config import Config
from transforms.arrow.codes import to_texts
from transforms.arrow.columns import is_among
from transforms.diff.changes import Diff
from transforms.guards.approval import Approval, list_exceeding, take_unapproved
from transforms.guards.churn import find_churn, name_those_of
from transforms.guards.findings import Finding, count_largest
from transforms.guards.guards import check_guards
from transforms.guards.left_out import find_left_out
from transforms.guards.policy import (
    choose_asked,
    count_shown,
    digest_policy,
    list_questions,
    name_questions,
    settle_policy,
)
from transforms.guards.strangers import Precedents, find_strangers
from transforms.naming.naming import name_by

if TYPE_CHECKING:
    from flows.night.compare import Compared
    from flows.night.run import Run


@dataclass(frozen=True)
class Judged:
    """Every guard that trips; the approval of an earlier plan if it covers them all; and the policy
    to keep once the plan is sent: digest, JSON.
    """

    findings: list[Finding]
    approval: Approval | None
    policy: tuple[str, str]


def judge_plan(
    config: Config,
    state: State,
    run: Run,
    compared: Compared,
    *,
    full: bool,
    whole: Diff | None = None,
) -> Judged:
    """Judge a plan by the guards, over the hours that limits look back. Its changes are stored: a
    guard of one's own asks for all of them.

    whole: the night's, when this plan is a selection of it.
    """
    diff, snapshot = compared.diff, compared.known.snapshot
    sent = were_sent(snapshot)
    first = not sent.any()  # events that were taken over were never sent
    new_sources = sorted(set(config.sources) - set(snapshot.loc[sent, "source"]))
    saved = state.policy_digest(), state.policy_json()
    questions = [] if first else list_questions(*saved, config)
    shown = (
        count_shown(diff.changes, snapshot, config, name_by(config, state.adopted()))
        if questions
        else {}
    )
    asked = choose_asked(questions, shown, config, saved[1])
    unasked, released = (
        read_earlier(state, run, hours=config.guards.limit_hours, again=diff.changes["source_id"])
        if len(diff.mails)
        else (None, {})
    )
    precedents = _find_precedents(state)

    def check(part: Diff, earlier: Diff | None, hosts: pd.DataFrame, **flags: Any) -> list[Finding]:
        churn = find_churn(
            part if whole is None else whole,
            compared.candidates,
            snapshot,
            compared.known.read_people,
        )
        # an id that has changed is seen in both events, of which one may be left out
        if whole is not None:
            churn = name_those_of(churn, part)
        found = check_guards(
            part, snapshot, config, as_of=run.clock, churn=churn, earlier=earlier, **flags
        )
        return found + find_strangers(part, earlier, hosts, config, precedents, first_run=first)

    flags = {
        "first_run": first,
        "new_sources": new_sources,
        "policy_changed": bool(asked),
        "policy_changes": name_questions(asked, list_prefixes(config)),
        "full": full and not first,
    }
    health = _name_causes(compared.findings, diff, snapshot)
    # a person's no is asked about again, however small it is
    health += find_left_out(state.list_left_out(), diff.changes)
    views = (
        read_views(state, run.run_id, len(diff.changes), diff.mails, as_of=run.clock)
        if config.guards.sql
        else None
    )
    own = [] if views is None else find_own(config, views)
    findings = health + check(diff, unasked, compared.hosts, **flags) + own
    unseen, by_pilot = _list_unseen(config, compared)
    policy = settle_policy(*saved, config, asked=asked, unseen=unseen, left_out=by_pilot)
    standing = (
        state.standing_approval(now=run.started_at, hours=config.guards.plan_max_age_hours)
        if findings
        else None
    )
    if standing is None:
        return Judged(findings, None, policy)
    unapproved = take_unapproved(diff, standing)
    # what the approval released already is a part of what it allowed
    with_released = (
        unite_earlier(
            [part for part in (unasked, released.get(standing.plan_id)) if part is not None]
        )
        if unasked
        else None
    )
    ceiling = health + check(diff, with_released, compared.hosts, **flags) + own
    rest = check(unapproved, unasked, compared.hosts.iloc[:0])
    if views is not None:
        rest += find_own_beyond(
            config, views, own, to_texts(unapproved.changes["source_id"]).tolist()
        )
    too_much = list_exceeding(ceiling, rest, unapproved, standing)
    if standing.policy_digest != digest_policy(config)[0]:
        too_much.insert(0, "the settings have changed since")
    if not too_much:
        return Judged(findings, standing, policy)
    beyond = f"; the approval of {standing.plan_id} does not cover it: {too_much[0]}"
    return Judged(
        [replace(finding, message=finding.message + beyond) for finding in findings], None, policy
    )


def judge_again(
    config: Config,
    state: State,
    run: Run,
    stored: Mapping[str, Any],
    diff: Diff,
    compared: Compared,
) -> list[Finding]:
    """What trips now of a plan that is to be sent, and did not when it was made: other plans were
    sent since, which the limits of a day count with it (S27), a limit was lowered, or an approval
    of another plan left its changes out.

    diff: what is still to be sent of it, and its mails. compared: the sources by now. A plan that a
    person released trips no more: they read just these changes. Guards of one's own are settings:
    under others the plan is refused.
    """
    name = stored["plan_id"]
    released = stored["approved_at"] is not None and stored["approval_of"] in (None, name)
    if released or diff.changes.empty:
        return []
    earlier, _ = read_earlier(
        state, run, hours=config.guards.limit_hours, again=diff.changes["source_id"]
    )
    # shares are of what was to come when it was made: as time goes by, less is
    as_of = pd.Timestamp(stored["as_of"])
    snapshot, full = compared.known.snapshot, bool(stored["full"])
    found = check_guards(diff, snapshot, config, as_of=as_of, full=full, earlier=earlier)
    # hosts are no matter of a day
    hosts = compared.hosts.assign(changed=0)
    precedents, first = _find_precedents(state), not were_sent(snapshot).any()
    found += find_strangers(diff, earlier, hosts, config, precedents, first_run=first)
    found += find_left_out(state.list_left_out(), diff.changes)
    known = {
        (record["guard"], record["scope"]): float(record["number"])
        for record in orjson.loads(stored["findings_json"] or "[]")
    }
    return [row for row in found if row.number > known.get((row.guard, row.scope), -1)]


def _find_precedents(state: State) -> Precedents:
    return Precedents(
        partial(state.count_holding, of="host"), partial(state.count_holding, of="guest")
    )


def list_prefixes(config: Config) -> list[str]:
    """What the ids of each source begin with."""
    return [entry.id_prefix or name for name, entry in config.sources.items()]


def _list_unseen(config: Config, compared: Compared) -> tuple[set[str], set[str]]:
    """The prefixes of sources that were not read or are unhealthy, and of those of which the pilot
    leaves changes out.
    """
    names = dict(zip(config.sources, list_prefixes(config), strict=True))
    healthy = {
        name
        for name, health in compared.health.items()
        if health.read and health.events and health.guests
    }
    decisions = compared.diff.decisions
    left_out = set(
        decisions.loc[
            (decisions["reason"] == "pilot").to_numpy(dtype=bool, na_value=False), "source"
        ]
    )
    unseen = {prefix for name, prefix in names.items() if name not in healthy}
    return unseen, {prefix for name, prefix in names.items() if name in left_out}


def _name_causes(findings: list[Finding], diff: Diff, snapshot: pd.DataFrame) -> list[Finding]:
    """Findings on a source that shrank with the places whose events are held on that account."""
    held = diff.decisions.loc[
        (diff.decisions["action"] == "held") & (diff.decisions["reason"] == "source unhealthy"),
        "source_id",
    ]
    rows = snapshot[is_among(snapshot["source_id"], held)]
    places = rows["source"] + ", location " + rows["location_id"].astype("str")

    def find_causes(source: str) -> tuple[str, ...]:
        return (
            count_largest(places[rows["source"] == source], "event held", "events held")
            if len(rows)
            else ()
        )

    return [f if f.causes else replace(f, causes=find_causes(f.scope.split()[1])) for f in findings]
