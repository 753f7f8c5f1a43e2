"""Judge a plan before anything is sent: how many deletes, how many people, which ids. Pure.

The unit is the person who would be mailed. A limit of 0 means none at all. A share of a scope fires
only from `min_count` deletes on, so that one cancelled visit of a small site does not stop the
night; the count beside it covers the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd

from schemas.config import Config
from schemas.config_guards import GuardsConfig, PeopleLimit, ScopedLimit
from schemas.frames import MAIL_COLUMNS
from transforms.arrow.codes import to_plain, to_texts, unite_frames
from transforms.arrow.columns import is_among
from transforms.arrow.rows import pick_rows
from transforms.diff.changes import Diff, code_mails
from transforms.diff.unions import spread_sources
from transforms.guards.findings import CAUSES, Finding, count_largest, find_over, tell_largest
from transforms.masking import mask_address, mask_name
from transforms.naming.naming import Naming, name_by
from transforms.words import plural

DELETE_COUNT = ScopedLimit(run=50, source=50, location=25)
DELETE_SHARE = ScopedLimit(run=0.1, source=0.1, location=0.25)
UPDATE_SHARE = ScopedLimit(run=0.5, source=0.5, location=0.75)
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
    new_sources: Sequence[str] = (),
    earlier: Diff | None = None,
) -> list[Finding]:
    """Every guard that trips on this plan.

    snapshot: read_fingerprints, for the upcoming events of each scope. churn: the pairs of
    `find_churn`. policy_changes: which settings differ, in words. new_sources: of which nothing was
    ever sent. earlier: what was sent without a person's word in the hours that limits look back; it
    counts as this plan's own does, where this plan adds to it.
    """
    guards = config.guards
    day = _Day(diff, earlier, guards.limit_hours)
    findings = [
        *_check_deletes(day, snapshot, config, as_of),
        *_check_people(day, guards, full=full),
        *_check_removals(day, guards),
    ]
    if not full:  # which has a limit of its own
        findings += _check_updates(day, snapshot, config, as_of)
    text = "ids seem to have changed (same start, place, host and guests)"
    findings += find_over(
        "max_churn", "run", len(churn), guards.max_churn, text, causes=lambda: churn
    )
    if first_run and guards.approve_first_run and len(diff.changes):
        invited = diff.mails[diff.mails["kind"] == "invited"]
        people = invited["identity"].nunique()
        created = int((diff.changes["action"] == "create").sum())
        text = f"the first run would create {created:,} events and invite {people:,} people"
        sizes = diff.changes.groupby(["source", "location_id"], dropna=False).size()
        sizes.index = pd.Index(
            [f"{source}, location {location}" for source, location in sizes.index], dtype="str"
        )
        causes = tell_largest(sizes, "event")
        findings.append(
            Finding(
                "approve_first_run",
                "run",
                people,
                0,
                f"{text} ({len(invited):,} invitations)",
                causes=causes,
            )
        )
    for source in new_sources if guards.approve_first_run and not first_run else ():
        created = int(
            ((diff.changes["action"] == "create") & (diff.changes["source"] == source)).sum()
        )
        if created >= max(guards.min_count, 1):
            invited = diff.mails[
                (diff.mails["kind"] == "invited") & (diff.mails["source"] == source)
            ]
            text = (
                f"nothing was ever sent of source {source}: {plural(created, 'event')} would be "
                f"created, with {len(invited):,} invitations"
            )
            findings.append(
                Finding(
                    "approve_first_run", f"source {source}", invited["identity"].nunique(), 0, text
                )
            )
    if policy_changed and guards.approve_policy_change and len(diff.changes):
        follow = (
            f"{plural(len(diff.changes), 'change')} "
            f"{'follows' if len(diff.changes) == 1 else 'follow'}"
        )
        text = f"settings that decide who is invited have changed since the last run; {follow}"
        causes = tuple(policy_changes)  # all: an approval answers what it showed (S24)
        findings.append(
            Finding("approve_policy_change", "run", len(diff.changes), 0, text, causes=causes)
        )
    return findings


class _Day:
    """This plan's changes and mails, and those sent earlier that count with them."""

    def __init__(self, diff: Diff, earlier: Diff | None, hours: float) -> None:
        self.diff, self.earlier, self.hours = diff, earlier, hours

    def take_changes(self, action: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Of one action: this plan's, and the earlier ones."""
        now = self.diff.changes[self.diff.changes["action"] == action]
        if self.earlier is None:
            return now, now.iloc[:0]
        before = self.earlier.changes
        return now, before[before["action"] == action]

    def add_earlier(self, mails: pd.DataFrame, *, but_deletes: bool = False) -> pd.DataFrame:
        """Some of this plan's mails and the earlier ones."""
        if self.earlier is None or self.earlier.mails.empty:
            return mails
        before = _without_deletes(self.earlier) if but_deletes else self.earlier.mails
        return unite_frames([_coded(before), _coded(mails)])

    def add_resent(self, mails: pd.DataFrame) -> pd.DataFrame:
        """This plan's mails and the earlier ones of events that were sent again though nothing had
        changed.
        """
        if self.earlier is None or self.earlier.mails.empty:
            return mails
        changes = self.earlier.changes
        again = changes.loc[(to_texts(changes["reason"]) == "full").to_numpy(dtype=bool)]
        before = pick_rows(
            self.earlier.mails, is_among(self.earlier.mails["source_id"], again["source_id"])
        )
        return unite_frames([_coded(before), _coded(mails)]) if len(before) else mails

    def tell(self, count: int) -> str:
        """How many of a number were sent already."""
        return f", {count:,} of them in the {self.hours:g} hours before" if count else ""


def _coded(mails: pd.DataFrame) -> pd.DataFrame:
    coded = all(isinstance(mails[name].dtype, pd.CategoricalDtype) for name in MAIL_COLUMNS)
    return mails[MAIL_COLUMNS] if coded else code_mails(to_plain(mails[MAIL_COLUMNS]))


def _join(before: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    columns = ["source_id", "source", "location_id", "reason", "guests"]
    return pd.concat(
        [to_plain(frame[columns]) for frame in (before, now) if len(frame)] or [now[columns]],
        ignore_index=True,
    )


def _check_deletes(
    day: _Day, snapshot: pd.DataFrame, config: Config, as_of: pd.Timestamp
) -> list[Finding]:
    guards = config.guards
    now, before = day.take_changes("delete")
    counts, shares = (
        _scoped(guards.max_deletes, DELETE_COUNT),
        _scoped(guards.max_delete_share, DELETE_SHARE),
    )
    findings: list[Finding] = []
    # what was deleted earlier was to come, too
    for kind, scope, rows, earlier, coming in _list_scopes(
        now, before, _find_upcoming(snapshot, as_of), name_by(config)
    ):
        size = max(coming + len(earlier), len(rows))
        reasons = ", ".join(
            f"{count:,} {reason}"
            for reason, count in to_texts(rows["reason"]).value_counts().items()
        )
        causes, sent = partial(_name_largest, rows), day.tell(len(earlier))
        text = f"cancellations of {size:,} upcoming events ({reasons}{sent})"
        findings += find_over(
            "max_deletes", scope, len(rows), counts[kind], text, causes=causes, about_deletes=True
        )
        limit = shares[kind]
        if len(rows) >= guards.min_count or limit == 0:
            text = (
                f"of the upcoming events would be cancelled ({len(rows):,} of {size:,}: "
                f"{reasons}{sent})"
            )
            findings += find_over(
                "max_delete_share",
                scope,
                len(rows) / size,
                limit,
                text,
                causes=causes,
                about_deletes=True,
            )
    return findings


def _check_updates(
    day: _Day, snapshot: pd.DataFrame, config: Config, as_of: pd.Timestamp
) -> list[Finding]:
    """Events whose guests are mailed a change: all times moved by an hour mail everybody, and no
    delete guard sees it.
    """
    guards = config.guards
    now, before = (_take_updated(diff) for diff in (day.diff, day.earlier))
    before = pick_rows(before, ~is_among(before["source_id"], now["source_id"]))
    limits, findings = _scoped(guards.max_update_share, UPDATE_SHARE), []
    for kind, scope, rows, earlier, coming in _list_scopes(
        now, before, _find_upcoming(snapshot, as_of), name_by(config)
    ):
        limit, size = limits[kind], max(coming, len(rows))
        if len(rows) >= guards.min_count or limit == 0:
            text = (
                f"of the upcoming events would mail a change to their guests ({len(rows):,} of "
                f"{size:,}{day.tell(len(earlier))})"
            )
            causes = partial(_name_largest, rows.assign(reason="changed"))
            findings += find_over(
                "max_update_share", scope, len(rows) / size, limit, text, causes=causes
            )
    return findings


def _take_updated(diff: Diff | None) -> pd.DataFrame:
    if diff is None:
        return pd.DataFrame(
            {
                name: pd.Series(dtype="str")
                for name in ("source_id", "source", "location_id", "reason", "guests")
            }
        )
    mailed = diff.mails.loc[(diff.mails["kind"] == "updated").to_numpy(dtype=bool), "source_id"]
    return to_plain(
        pick_rows(diff.changes, is_among(diff.changes["source_id"], mailed))
    ).drop_duplicates("source_id")


def _find_upcoming(snapshot: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    return snapshot[(snapshot["state"] == "active") & (snapshot["ends_at"] > as_of)]


def _list_scopes(
    now: pd.DataFrame, before: pd.DataFrame, upcoming: pd.DataFrame, naming: Naming
) -> Iterator[tuple[str, str, pd.DataFrame, pd.DataFrame, int]]:
    """Kind and name of each scope that this plan touches; its rows with the earlier ones, those
    alone, and its upcoming events.
    """
    if now.empty:
        return
    yield "run", "run", _join(before, now), before, len(upcoming)
    for kind, column in (("location", "location_id"), ("source", "source")):
        if kind == "source":  # S21: a united meeting is one of every source that has a record of it
            now, before, upcoming = (
                spread_sources(frame, naming) for frame in (now, before, upcoming)
            )
        sizes = upcoming[column].value_counts()
        for key, rows in now.groupby(column, observed=True):
            earlier = before[(before[column] == key).to_numpy(dtype=bool, na_value=False)]
            yield kind, f"{kind} {key}", _join(earlier, rows), earlier, int(sizes.get(key, 0))


def _name_largest(deletes: pd.DataFrame) -> list[str]:
    largest = deletes.sort_values(["guests", "source_id"], ascending=[False, True]).head(CAUSES)
    return [
        f"{r.source_id}: {plural(r.guests, 'guest')}, {r.reason}"
        for r in largest.itertuples(index=False)
    ]


def _scoped(limit: float | ScopedLimit, default: ScopedLimit) -> dict[str, float | None]:
    """A plain number is the limit of every scope; a scope left out of a table has its default."""
    if isinstance(limit, ScopedLimit):
        return {
            k: getattr(default, k) if (v := getattr(limit, k)) is None else v
            for k in ("run", "source", "location")
        }
    return dict.fromkeys(("run", "source", "location"), limit)


def _without_deletes(diff: Diff) -> pd.DataFrame:
    """The mails that go when the plan's deletes are held back."""
    deleted = is_among(
        diff.mails["source_id"], diff.changes.loc[diff.changes["action"] == "delete", "source_id"]
    )
    return diff.mails[~deleted] if deleted.any() else diff.mails


def _check_removals(day: _Day, guards: GuardsConfig) -> list[Finding]:
    mails = _without_deletes(day.diff)
    now = mails[mails["kind"] == "cancelled"]
    if now.empty:
        return []
    both = day.add_earlier(mails, but_deletes=True)
    removed = both.loc[both["kind"] == "cancelled", "source_id"]
    text = f"guests would be removed from meetings that stay{day.tell(len(removed) - len(now))}"
    return find_over(
        "max_guest_removals",
        "run",
        len(removed),
        guards.max_guest_removals,
        text,
        causes=lambda: count_largest(removed, "guest"),
    )


def _check_people(day: _Day, guards: GuardsConfig, *, full: bool) -> list[Finding]:
    now, without = day.diff.mails, _without_deletes(day.diff)
    people = now["identity"].nunique()
    mails, rest = day.add_earlier(now), day.add_earlier(without)
    findings: list[Finding] = []
    fresh = int((now["kind"] == "invited").sum())
    if fresh:
        invited = mails.loc[mails["kind"] == "invited", "source_id"]
        text = f"new invitations{day.tell(len(invited) - fresh)}"
        findings += find_over(
            "max_new_invitations",
            "run",
            len(invited),
            guards.max_new_invitations,
            text,
            causes=lambda: count_largest(invited, "guest"),
        )
    limit = guards.max_people_mailed
    limits = limit if isinstance(limit, PeopleLimit) else PeopleLimit(total=limit)
    for kind, most in (
        ("total", PEOPLE_MAILED if limits.total is None else limits.total),
        *((k, getattr(limits, k)) for k in KINDS),
    ):
        mine, others, mine_now, others_now = (
            _of_kind(frame, kind) for frame in (mails, rest, now, without)
        )
        if mine_now.empty:
            continue
        count = mine["identity"].nunique()
        findings += find_over(
            "max_people_mailed",
            "run" if kind == "total" else kind,
            count,
            most,
            f"people would be mailed{'' if kind == 'total' else f' ({kind})'}"
            f"{day.tell(count - mine_now['identity'].nunique())}",
            causes=partial(count_largest, mine["source_id"], "mail"),
            about_deletes=most is not None
            and (others_now.empty or others["identity"].nunique() <= most),
        )
    top, most = _count_mails(mails, now), guards.max_mails_per_guest
    if len(top):
        left = _count_mails(rest, without)
        findings += find_over(
            "max_mails_per_guest",
            "run",
            int(top.iloc[0]),
            most,
            "mails to one "
            f"guest{day.tell(int(top.iloc[0]) - _count_mails(now, now).get(top.index[0], 0))} "
            f"({int((top > most).sum()):,} guests are over it)",
            causes=lambda: [
                f"{_masked(identity)}: {plural(count, 'mail')}"
                for identity, count in top.head(CAUSES).items()
            ],
            about_deletes=int(left.iloc[0] if len(left) else 0) <= most,
        )
    if full and people:
        again = day.add_resent(now)
        count = again["identity"].nunique()
        text = f"people may be mailed by a full re-send{day.tell(count - people)}"
        findings += find_over(
            "max_full_resend",
            "run",
            count,
            guards.max_full_resend,
            text,
            causes=lambda: count_largest(again["source"], "mail"),
        )
    return findings


def _of_kind(mails: pd.DataFrame, kind: str) -> pd.DataFrame:
    return mails if kind == "total" else mails[mails["kind"] == kind]


def _count_mails(mails: pd.DataFrame, now: pd.DataFrame) -> pd.Series:
    """Mails to each person whom this plan mails, most first."""
    counts = mails["identity"].value_counts()
    if mails is now or counts.empty:
        return counts
    return counts[
        is_among(
            counts.index.astype("str").to_series(), to_texts(now["identity"].drop_duplicates())
        )
    ]


def _masked(identity: str) -> str:
    return (
        mask_name(identity.removeprefix("name:"))
        if identity.startswith("name:")
        else mask_address(identity)
    )
