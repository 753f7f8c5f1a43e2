"""Judge what the sources returned against what they returned before (S4). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.config_guards import GuardsConfig
from transforms.diff.changes import SourceHealth
from transforms.guards.findings import Finding, count_largest
from transforms.validate.source import Validated


def judge_health(
    validated: Validated,
    last_good: Mapping[str, Any] | None,
    outside_guests: int,
    guards: GuardsConfig,
    *,
    confirmed: Mapping[str, int] | None = None,
    coming_outside: int | None = None,
) -> tuple[SourceHealth, list[Finding]]:
    """Whether both reads of a source are as usual (S4), judged by the rows that could be due (S27).

    last_good: events, guests and outside_guests of the last healthy run, and of the rows to come
    coming_events, coming_guests and coming_outside, or None on the first one; where one has no
    counts of coming rows, all rows are compared. confirmed: upcoming events, and their guests, that
    essentry holds of the source: the measure of "nothing" where there is no last run.
    coming_outside: outside guests of meetings to come.
    """
    findings: list[Finding] = []
    ok = {"events": True, "guests": True}

    def trip(
        guard: str, part: str, share: float, limit: float, text: str, causes: tuple[str, ...] = ()
    ) -> None:
        scope = f"source {validated.source} {part}"
        text += "; nothing is deleted on its account"
        # the deletes of the source are held already: holding the rest of them back answers the
        # doubt
        findings.append(
            Finding(guard, scope, round(share, 4), limit, text, about_deletes=True, causes=causes)
        )
        ok["events" if part == "events" else "guests"] = False

    coming, last = validated.coming, last_good or {}
    by_coming = bool(coming) and last.get("coming_events") is not None
    for part, rows, rejected in (
        ("events", validated.event_rows, validated.rejected_events),
        ("guests", validated.guest_rows, validated.rejected_guests),
    ):
        all_before, limit = last.get(part, 0), guards.max_shrink_share
        held = (confirmed or {}).get(part, 0)
        due = coming.get(part, rows)
        # what was to come then and is over by now went by, and is not missing
        before, now = (
            (max(last[f"coming_{part}"] - coming[f"passed_{part}"], 0), due)
            if by_coming
            else (all_before, rows)
        )
        kind = "rows of meetings to come" if by_coming else "rows"
        if rows == 0 and all_before > 0:
            trip(
                "max_shrink_share",
                part,
                1.0,
                limit,
                f"the {part} SELECT returned nothing; it had {all_before:,} rows",
            )
        elif rows == 0 and held > 0:
            trip(
                "max_shrink_share",
                part,
                1.0,
                limit,
                (
                    f"the {part} SELECT returned nothing; essentry holds {held:,} upcoming {part} "
                    "of it"
                ),
            )
        elif due == 0 and last_good is None and held > 0 and _counts(held, limit, guards):
            text = (
                f"the {part} SELECT returned nothing that is to come; essentry holds {held:,} "
                f"upcoming {part} of it"
            )
            trip("max_shrink_share", part, 1.0, limit, text)
        elif _counts(before - now, limit, guards) and (before - now) / before > limit:
            text = f"the {part} SELECT shrank from {before:,} to {now:,} {kind}"
            trip("max_shrink_share", part, (before - now) / before, limit, text)
        limit = guards.max_quarantine_share
        rejected = coming.get(f"rejected_{part}", rejected)
        if _counts(rejected, limit, guards) and rejected / max(due, 1) > limit:
            mine = (
                validated.rejects[validated.rejects["part"] == part]
                if len(validated.rejects)
                else validated.rejects
            )
            causes = count_largest(mine["check"], "row") if len(mine) else ()
            text = (
                f"{rejected:,} of {due:,} rows of the {part} "
                f"SELECT{' that could be due' if coming else ''} are quarantined"
            )
            trip("max_quarantine_share", part, rejected / max(due, 1), limit, text, causes)
    # outside guests per event: rows that lost their address look like employees or like nobody
    if by_coming and coming_outside is not None:
        before_events, before_outside = last["coming_events"], last["coming_outside"]
        now_events, now_outside = coming["events"], coming_outside
    else:
        before_events, before_outside = last.get("events", 0), last.get("outside_guests", 0)
        now_events, now_outside = validated.event_rows, outside_guests
    if (
        _counts(before_outside, guards.max_shrink_share, guards)
        and before_events
        and now_events
        and ok["guests"]
    ):
        fallen = 1 - (now_outside / now_events) / (before_outside / before_events)
        if round(fallen, 9) > guards.max_shrink_share:
            text = (
                f"outside guests an event fell by {fallen:.0%} ({before_outside:,} before, "
                f"{now_outside:,} now)"
            )
            trip("max_shrink_share", "outside guests", fallen, guards.max_shrink_share, text)
    health = SourceHealth(
        read=True,
        events=ok["events"],
        guests=ok["guests"],
        unreadable_event_keys=validated.unreadable_event_keys,
        unreadable_guest_events=validated.unreadable_guest_events,
    )
    return health, findings


def _counts(number: int, limit: float, guards: GuardsConfig) -> bool:
    """Whether a share is looked at: from `min_count` rows on, and from the first one where the
    limit is 0.
    """
    return number >= (1 if limit == 0 else max(guards.min_count, 1))
