"""Whether each source's read can be trusted, against its last good one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from flows.sources.limits import find_limits
from schemas.config import Config
from transforms.desired.build import Desired
from transforms.diff.changes import SourceHealth
from transforms.diff.unions import spread_sources
from transforms.guards.findings import Finding
from transforms.guards.health import judge_health
from transforms.naming.naming import name_by
from transforms.validate.source import Validated


def judge_sources(
    sources: list[Validated],
    desired: Desired,
    failed: Mapping[str, str],
    last: Mapping[str, Mapping[str, Any]],
    config: Config,
    upcoming: pd.DataFrame,
) -> tuple[dict[str, SourceHealth], list[Finding], dict[str, dict[str, int]]]:
    """Health of every source against its last good read, what is wrong with it, and the counts to
    remember.

    last: `State.last_good_reads`. upcoming: source and guests of the events to come that essentry
    holds.
    """
    held = upcoming.groupby("source")["guests"].agg(events="size", guests="sum").to_dict("index")
    for name, count in (
        spread_sources(upcoming, name_by(config))["source"].value_counts().items()
    ):  # S21: of every record of a united meeting
        held.setdefault(str(name), {"guests": 0})["events"] = int(count)
    health: dict[str, SourceHealth] = {
        name: SourceHealth(read=False, events=False, guests=False) for name in failed
    }
    findings: list[Finding] = []
    reads: dict[str, dict[str, int]] = {}
    for source in sources:
        outside = desired.outside_guests.get(source.source, 0)
        health[source.source], found = judge_health(
            source,
            last.get(source.source),
            outside,
            config.guards,
            confirmed=held.get(source.source),
            coming_outside=desired.coming_outside.get(source.source),
        )
        findings += found
        limits = find_limits(source.source, config.sources[source.source], root=config.root)
        health[source.source] = replace(
            health[source.source],
            events_limited="events" in limits,
            guests_limited="guests" in limits,
        )
        reads[source.source] = {
            "events": source.event_rows,
            "guests": source.guest_rows,
            "outside_guests": outside,
            "quarantined": source.rejected_events + source.rejected_guests,
            "coming_events": source.coming.get("events", source.event_rows),
            "coming_guests": source.coming.get("guests", source.guest_rows),
            "coming_outside": desired.coming_outside.get(source.source, outside),
        }
    return health, findings, reads
