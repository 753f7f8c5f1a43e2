"""Judge a plan before anything is sent: how many deletes, how many people, how healthy the sources. Pure.

The unit is the person who would be mailed. A limit of 0 means none at all. A share of a scope fires only from `min_count` deletes on, so that one
cancelled visit of a small site does not stop the night; the count beside it covers the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256

import orjson
import pandas as pd

from schemas.config import Config, GuardsConfig, PeopleLimit, ScopedLimit
from transforms.diff import Diff, SourceHealth
from transforms.validate import Validated

ABOUT_DELETES = ("max_deletes", "max_delete_share")
DELETE_COUNT = ScopedLimit(run=50, source=50, location=25)
DELETE_SHARE = ScopedLimit(run=0.1, source=0.1, location=0.25)


@dataclass(frozen=True)
class Finding:
    """A guard that tripped: `number` is over `limit` in `scope`. `about_deletes`: holding the deletes back answers it."""

    guard: str
    scope: str
    number: float
    limit: float
    message: str
    about_deletes: bool = False
    causes: tuple[str, ...] = ()

    def as_record(self) -> dict:
        """For the state store and the report."""
        return asdict(self)


def judge_health(
    validated: Validated, last_good: Mapping[str, int] | None, outside_guests: int, guards: GuardsConfig
) -> tuple[SourceHealth, list[Finding]]:
    """Whether both reads of a source are as usual (S4).

    last_good: events, guests and outside_guests of the last healthy run, or None on the first one.
    """
    findings: list[Finding] = []
    events_ok = guests_ok = True
    source = f"source {validated.source}"
    for part, rows, rejected in (
        ("events", validated.event_rows, validated.rejected_events),
        ("guests", validated.guest_rows, validated.rejected_guests),
    ):
        problems = []
        before = (last_good or {}).get(part, 0)
        if rows == 0 and before > 0:
            problems.append(("shrunk", 1.0, guards.max_shrink_share, f"the {part} SELECT returned nothing; it had {before} rows"))
        elif before - rows >= max(guards.min_count, 1) and (before - rows) / before > guards.max_shrink_share:
            problems.append(
                (
                    "shrunk",
                    (before - rows) / before,
                    guards.max_shrink_share,
                    f"the {part} SELECT shrank from {before} to {rows} rows",
                )
            )
        if rejected >= max(guards.min_count, 1) and rejected / max(rows, 1) > guards.max_quarantine_share:
            share = rejected / rows
            problems.append(
                (
                    "quarantine",
                    share,
                    guards.max_quarantine_share,
                    f"{rejected} of {rows} rows of the {part} SELECT are quarantined",
                )
            )
        for kind, number, limit, text in problems:
            guard = "max_shrink_share" if kind == "shrunk" else "max_quarantine_share"
            findings.append(Finding(guard, f"{source} {part}", round(number, 4), limit, text + "; nothing is deleted on its account"))
            events_ok &= part != "events"
            guests_ok &= part != "guests"
    # outside guests per event: rows that lost their address look like employees or like nobody
    before_events, before_outside = (last_good or {}).get("events", 0), (last_good or {}).get("outside_guests", 0)
    if before_outside >= max(guards.min_count, 1) and before_events and validated.event_rows:
        ratio = (outside_guests / validated.event_rows) / (before_outside / before_events)
        if round(1 - ratio, 9) > guards.max_shrink_share and guests_ok:
            text = f"outside guests an event fell by {1 - ratio:.0%} ({before_outside} before, {outside_guests} now)"
            findings.append(Finding("max_shrink_share", f"{source} outside guests", round(1 - ratio, 4), guards.max_shrink_share, text))
            guests_ok = False
    health = SourceHealth(
        read=True,
        events=events_ok,
        guests=guests_ok,
        unreadable_event_keys=validated.unreadable_event_keys,
        unreadable_guest_events=validated.unreadable_guest_events,
    )
    return health, findings


def check_guards(
    diff: Diff,
    snapshot: pd.DataFrame,
    config: Config,
    *,
    as_of: pd.Timestamp,
    first_run: bool,
    policy_changed: bool,
    full: bool,
    contents: Mapping[str, tuple] | None = None,
) -> list[Finding]:
    """Every guard that trips on this plan.

    snapshot: read_fingerprints, for the upcoming events of each scope. contents: source_id → (start, location, host, guests) of created and
    of absent or held events, to find ids that changed.
    """
    guards = config.guards
    findings = [*_check_deletes(diff.changes, snapshot, guards, as_of), *_check_people(diff, guards, full=full)]
    removals = int((diff.mails["kind"] == "cancelled").sum()) - _guests_of_deletes(diff)
    findings += _over(
        "max_guest_removals",
        "run",
        removals,
        guards.max_guest_removals,
        "guests would be removed from meetings that stay",
    )
    findings += _check_churn(diff, contents or {}, guards)
    if first_run and guards.approve_first_run and len(diff.changes):
        invited = int((diff.mails["kind"] == "invited").sum())
        people = diff.mails.loc[diff.mails["kind"] == "invited", "identity"].nunique()
        text = f"the first run of an empty state would create {len(diff.changes)} events and invite {people} people ({invited} invitations)"
        findings.append(Finding("approve_first_run", "run", people, 0, text))
    if policy_changed and guards.approve_policy_change and len(diff.changes):
        text = f"settings that decide who is invited have changed since the last run; {len(diff.changes)} changes follow"
        findings.append(Finding("approve_policy_change", "run", len(diff.changes), 0, text))
    return findings


def _over(guard: str, scope: str, number: float, limit: float | None, text: str, *, causes: tuple[str, ...] = ()) -> list[Finding]:
    if limit is None or number <= limit:
        return []
    shown = f"{number:.1%}" if guard.endswith("share") else f"{number:g}"
    allowed = f"{limit:.1%}" if guard.endswith("share") else f"{limit:g}"
    return [Finding(guard, scope, round(number, 4), limit, f"{shown} {text}, over the limit of {allowed} ({scope})", causes=causes)]


def _check_deletes(changes: pd.DataFrame, snapshot: pd.DataFrame, guards: GuardsConfig, as_of: pd.Timestamp) -> list[Finding]:
    deletes = changes[changes["action"] == "delete"]
    upcoming = snapshot[(snapshot["state"] == "active") & (snapshot["ends_at"] > as_of)]
    counts, shares = _scoped(guards.max_deletes, DELETE_COUNT), _scoped(guards.max_delete_share, DELETE_SHARE)
    scopes: list[tuple[str, str, pd.DataFrame, int]] = [("run", "run", deletes, len(upcoming))]
    for kind, column in (("source", "source"), ("location", "location_id")):
        sizes = upcoming[column].value_counts()
        scopes += [(kind, f"{kind} {key}", rows, int(sizes.get(key, 0))) for key, rows in deletes.groupby(column)]
    findings: list[Finding] = []
    for kind, scope, rows, size in scopes:
        causes = tuple(rows.sort_values("starts_at")["source_id"].head(10))
        findings += _over("max_deletes", scope, len(rows), counts[kind], "cancellations", causes=causes)
        share_limit = shares[kind]
        if len(rows) and (len(rows) >= guards.min_count or share_limit == 0):
            findings += _over(
                "max_delete_share",
                scope,
                len(rows) / max(size, len(rows)),
                share_limit,
                "of the upcoming events would be cancelled",
                causes=causes,
            )
    return findings


def _scoped(limit: float | ScopedLimit, default: ScopedLimit) -> dict[str, float | None]:
    """A plain number is the limit of every scope; a scope left out of a table has its default."""
    if isinstance(limit, ScopedLimit):
        return {k: getattr(default, k) if (v := getattr(limit, k)) is None else v for k in ("run", "source", "location")}
    return dict.fromkeys(("run", "source", "location"), limit)


def _guests_of_deletes(diff: Diff) -> int:
    deleted = diff.changes.loc[diff.changes["action"] == "delete", "source_id"]
    return int(((diff.mails["kind"] == "cancelled") & diff.mails["source_id"].isin(deleted)).sum())


def _check_people(diff: Diff, guards: GuardsConfig, *, full: bool) -> list[Finding]:
    mails = diff.mails
    limit = guards.max_people_mailed if isinstance(guards.max_people_mailed, PeopleLimit) else PeopleLimit(total=guards.max_people_mailed)
    people = mails["identity"].nunique()
    top = mails["identity"].value_counts()
    findings = _over(
        "max_new_invitations",
        "run",
        int((mails["kind"] == "invited").sum()),
        guards.max_new_invitations,
        "new invitations",
    )
    findings += _over("max_people_mailed", "run", people, limit.total, "people would be mailed")
    for kind in ("invited", "updated", "cancelled"):
        count = mails.loc[mails["kind"] == kind, "identity"].nunique()
        findings += _over("max_people_mailed", kind, count, getattr(limit, kind), f"people would be mailed ({kind})")
    if len(top):
        findings += _over("max_mails_per_guest", "run", int(top.iloc[0]), guards.max_mails_per_guest, "mails to one guest")
    if full:
        findings += _over("max_full_resend", "run", people, guards.max_full_resend, "people may be mailed by a full re-send")
    return findings


def _check_churn(diff: Diff, contents: Mapping[str, tuple], guards: GuardsConfig) -> list[Finding]:
    """Created events with the content of absent or held ones: their ids have changed, and everybody would be cancelled and re-invited."""
    created = diff.changes.loc[diff.changes["action"] == "create", "source_id"]
    gone = [key for key in contents if key not in set(created)]
    by_content: dict[tuple, list[str]] = {}
    for key in gone:
        by_content.setdefault(contents[key], []).append(key)
    pairs = []
    for key in created:
        others = by_content.get(contents.get(key, ()), [])
        if others:
            pairs.append(f"{others.pop()} → {key}")
    return _over(
        "max_churn",
        "run",
        len(pairs),
        guards.max_churn,
        "events seem to have changed their id (same start, place, host and guests)",
        causes=tuple(pairs[:10]),
    )


def digest_policy(config: Config) -> tuple[str, str]:
    """Digest and JSON of the settings that decide who is invited to what (S14)."""
    policy = {
        "guest_list": config.essentry.guest_list,
        "window": config.window.days_ahead,
        "sources": {
            name: entry.model_dump(
                mode="json",
                include={
                    "preset",
                    "guests",
                    "internal_domains",
                    "events_without_guests",
                    "pending",
                    "untitled",
                    "private_title",
                    "sites",
                    "rooms",
                    "custom_fields",
                    "times",
                    "timezone",
                },
            )
            for name, entry in sorted(config.sources.items())
        },
    }
    text = orjson.dumps(policy, option=orjson.OPT_SORT_KEYS).decode()
    return sha256(text.encode()).hexdigest(), text
