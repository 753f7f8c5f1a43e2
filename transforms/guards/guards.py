"""Judge a plan before anything is sent: how many deletes, how many people, which ids. Pure.

The unit is the person who would be mailed. A limit of 0 means none at all. A share of a scope fires only from `min_count` deletes on, so that one
cancelled visit of a small site does not stop the night; the count beside it covers the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from schemas.config import Config, GuardsConfig, PeopleLimit, ScopedLimit
from transforms.arrow.codes import to_texts
from transforms.arrow.columns import is_among
from transforms.diff.changes import Diff
from transforms.diff.unions import spread_sources
from transforms.guards.findings import CAUSES, Finding, count_largest, find_over, tell_largest
from transforms.masking import mask_address, mask_name
from transforms.naming.naming import name_by
from transforms.words import plural

DELETE_COUNT = ScopedLimit(run=50, source=50, location=25)
DELETE_SHARE = ScopedLimit(run=0.1, source=0.1, location=0.25)
PEOPLE_MAILED = 1000
KINDS = ("invited", "updated", "cancelled")


def check_guards(
    diff: Diff,
    snapshot: pd.DataFrame,
    config: Config,
    *,
    as_of: pd.Timestamp,
    first_run: bool = False,
    policy_changed: bool = False,
    policy_changes: Sequence[str] = (),
    full: bool = False,
    churn: Sequence[str] = (),
) -> list[Finding]:
    """Every guard that trips on this plan.

    snapshot: read_fingerprints, for the upcoming events of each scope. churn: the pairs of `find_churn`. policy_changes: which settings
    differ, in words.
    """
    guards = config.guards
    findings = [*_check_deletes(diff, snapshot, config, as_of), *_check_people(diff, guards, full=full), *_check_removals(diff, guards)]
    text = "ids seem to have changed (same start, place, host and guests)"
    findings += find_over("max_churn", "run", len(churn), guards.max_churn, text, causes=lambda: churn)
    if first_run and guards.approve_first_run and len(diff.changes):
        invited = diff.mails[diff.mails["kind"] == "invited"]
        people = invited["identity"].nunique()
        text = f"the first run of an empty state would create {len(diff.changes):,} events and invite {people:,} people"
        sizes = diff.changes.groupby(["source", "location_id"], dropna=False).size()
        sizes.index = pd.Index([f"{source}, location {location}" for source, location in sizes.index], dtype="str")
        causes = tell_largest(sizes, "event")
        findings.append(Finding("approve_first_run", "run", people, 0, f"{text} ({len(invited):,} invitations)", causes=causes))
    if policy_changed and guards.approve_policy_change and len(diff.changes):
        text = f"settings that decide who is invited have changed since the last run; {len(diff.changes):,} changes follow"
        causes = tuple(policy_changes)[:CAUSES]
        findings.append(Finding("approve_policy_change", "run", len(diff.changes), 0, text, causes=causes))
    return findings


def _check_deletes(diff: Diff, snapshot: pd.DataFrame, config: Config, as_of: pd.Timestamp) -> list[Finding]:
    guards, naming = config.guards, name_by(config)
    deletes = diff.changes[diff.changes["action"] == "delete"]
    upcoming = snapshot[(snapshot["state"] == "active") & (snapshot["ends_at"] > as_of)]
    counts, shares = _scoped(guards.max_deletes, DELETE_COUNT), _scoped(guards.max_delete_share, DELETE_SHARE)
    scopes: list[tuple[str, str, pd.DataFrame, int]] = [("run", "run", deletes, len(upcoming))]
    for kind, column in (("source", "source"), ("location", "location_id")):
        # a united meeting is one of every source that has a record of it
        mine, all_there = (spread_sources(frame, naming) if kind == "source" else frame for frame in (deletes, upcoming))
        sizes = all_there[column].value_counts()
        scopes += [(kind, f"{kind} {key}", rows, int(sizes.get(key, 0))) for key, rows in mine.groupby(column)]
    findings: list[Finding] = []
    for kind, scope, rows, size in scopes:
        if rows.empty:
            continue
        size = max(size, len(rows))
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in to_texts(rows["reason"]).value_counts().items())
        causes = partial(_name_largest, rows)
        text = f"cancellations of {size:,} upcoming events ({reasons})"
        findings += find_over("max_deletes", scope, len(rows), counts[kind], text, causes=causes, about_deletes=True)
        limit = shares[kind]
        if len(rows) >= guards.min_count or limit == 0:
            text = f"of the upcoming events would be cancelled ({len(rows):,} of {size:,}: {reasons})"
            findings += find_over("max_delete_share", scope, len(rows) / size, limit, text, causes=causes, about_deletes=True)
    return findings


def _name_largest(deletes: pd.DataFrame) -> list[str]:
    largest = deletes.sort_values(["guests", "source_id"], ascending=[False, True]).head(CAUSES)
    return [f"{r.source_id}: {plural(r.guests, 'guest')}, {r.reason}" for r in largest.itertuples(index=False)]


def _scoped(limit: float | ScopedLimit, default: ScopedLimit) -> dict[str, float | None]:
    """A plain number is the limit of every scope; a scope left out of a table has its default."""
    if isinstance(limit, ScopedLimit):
        return {k: getattr(default, k) if (v := getattr(limit, k)) is None else v for k in ("run", "source", "location")}
    return dict.fromkeys(("run", "source", "location"), limit)


def _without_deletes(diff: Diff) -> pd.DataFrame:
    """The mails that go when the plan's deletes are held back."""
    deleted = is_among(diff.mails["source_id"], diff.changes.loc[diff.changes["action"] == "delete", "source_id"])
    return diff.mails[~deleted] if deleted.any() else diff.mails


def _check_removals(diff: Diff, guards: GuardsConfig) -> list[Finding]:
    mails = _without_deletes(diff)
    removed = mails.loc[mails["kind"] == "cancelled", "source_id"]
    text = "guests would be removed from meetings that stay"
    return find_over(
        "max_guest_removals", "run", len(removed), guards.max_guest_removals, text, causes=lambda: count_largest(removed, "guest")
    )


def _check_people(diff: Diff, guards: GuardsConfig, *, full: bool) -> list[Finding]:
    mails, rest = diff.mails, _without_deletes(diff)
    people = mails["identity"].nunique()
    invited = mails.loc[mails["kind"] == "invited", "source_id"]
    findings = find_over(
        "max_new_invitations",
        "run",
        len(invited),
        guards.max_new_invitations,
        "new invitations",
        causes=lambda: count_largest(invited, "guest"),
    )
    limit = guards.max_people_mailed
    limits = limit if isinstance(limit, PeopleLimit) else PeopleLimit(total=limit)
    for kind, most in (("total", PEOPLE_MAILED if limits.total is None else limits.total), *((k, getattr(limits, k)) for k in KINDS)):
        mine, others = (mails, rest) if kind == "total" else (mails[mails["kind"] == kind], rest[rest["kind"] == kind])
        findings += find_over(
            "max_people_mailed",
            "run" if kind == "total" else kind,
            mine["identity"].nunique(),
            most,
            "people would be mailed" if kind == "total" else f"people would be mailed ({kind})",
            causes=partial(count_largest, mine["source_id"], "mail"),
            about_deletes=most is not None and others["identity"].nunique() <= most,
        )
    top, most = mails["identity"].value_counts(), guards.max_mails_per_guest
    if len(top):
        findings += find_over(
            "max_mails_per_guest",
            "run",
            int(top.iloc[0]),
            most,
            f"mails to one guest ({int((top > most).sum()):,} guests are over it)",
            causes=lambda: [f"{_masked(identity)}: {plural(count, 'mail')}" for identity, count in top.head(CAUSES).items()],
            about_deletes=int(rest["identity"].value_counts().max() if len(rest) else 0) <= most,
        )
    if full:
        text = "people may be mailed by a full re-send"
        findings += find_over(
            "max_full_resend", "run", people, guards.max_full_resend, text, causes=lambda: count_largest(mails["source"], "mail")
        )
    return findings


def _masked(identity: str) -> str:
    return mask_name(identity.removeprefix("name:")) if identity.startswith("name:") else mask_address(identity)
