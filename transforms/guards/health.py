"""Judge what the sources returned against what they returned before (S4). Pure."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.config import GuardsConfig
from transforms.diff.changes import SourceHealth
from transforms.guards.findings import Finding, count_largest
from transforms.validate.source import Validated


def judge_health(
    validated: Validated,
    last_good: Mapping[str, int] | None,
    outside_guests: int,
    guards: GuardsConfig,
    *,
    confirmed: Mapping[str, int] | None = None,
) -> tuple[SourceHealth, list[Finding]]:
    """Whether both reads of a source are as usual (S4).

    last_good: events, guests and outside_guests of the last healthy run, or None on the first one. confirmed: upcoming events, and their
    guests, that essentry holds of the source: the measure of "nothing" where there is no last run.
    """
    findings: list[Finding] = []
    ok = {"events": True, "guests": True}

    def trip(guard: str, part: str, share: float, limit: float, text: str, causes: tuple[str, ...] = ()) -> None:
        scope = f"source {validated.source} {part}"
        text += "; nothing is deleted on its account"
        # the deletes of the source are held already: holding the rest of them back answers the doubt
        findings.append(Finding(guard, scope, round(share, 4), limit, text, about_deletes=True, causes=causes))
        ok["events" if part == "events" else "guests"] = False

    for part, rows, rejected in (
        ("events", validated.event_rows, validated.rejected_events),
        ("guests", validated.guest_rows, validated.rejected_guests),
    ):
        before, limit = (last_good or {}).get(part, 0), guards.max_shrink_share
        held = (confirmed or {}).get(part, 0)
        if rows == 0 and before > 0:
            trip("max_shrink_share", part, 1.0, limit, f"the {part} SELECT returned nothing; it had {before:,} rows")
        elif rows == 0 and held > 0:
            trip("max_shrink_share", part, 1.0, limit, f"the {part} SELECT returned nothing; essentry holds {held:,} upcoming {part} of it")
        elif _counts(before - rows, limit, guards) and (before - rows) / before > limit:
            text = f"the {part} SELECT shrank from {before:,} to {rows:,} rows"
            trip("max_shrink_share", part, (before - rows) / before, limit, text)
        limit = guards.max_quarantine_share
        if _counts(rejected, limit, guards) and rejected / max(rows, 1) > limit:
            mine = validated.rejects[validated.rejects["part"] == part] if len(validated.rejects) else validated.rejects
            causes = count_largest(mine["check"], "row") if len(mine) else ()
            text = f"{rejected:,} of {rows:,} rows of the {part} SELECT are quarantined"
            trip("max_quarantine_share", part, rejected / max(rows, 1), limit, text, causes)
    # outside guests per event: rows that lost their address look like employees or like nobody
    before_events, before_outside = (last_good or {}).get("events", 0), (last_good or {}).get("outside_guests", 0)
    if _counts(before_outside, guards.max_shrink_share, guards) and before_events and validated.event_rows and ok["guests"]:
        fallen = 1 - (outside_guests / validated.event_rows) / (before_outside / before_events)
        if round(fallen, 9) > guards.max_shrink_share:
            text = f"outside guests an event fell by {fallen:.0%} ({before_outside:,} before, {outside_guests:,} now)"
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
    """Whether a share is looked at: from `min_count` rows on, and from the first one where the limit is 0."""
    return number >= (1 if limit == 0 else max(guards.min_count, 1))
