"""Whether each source's read can be trusted, against its last good one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from flows.sources.limits import find_limits
from flows.state.store import State
from schemas.config import Config
from transforms.desired.build import Desired
from transforms.diff.changes import SourceHealth
from transforms.diff.unions import spread_sources
from transforms.guards.findings import Finding
from transforms.guards.health import judge_health
from transforms.naming.naming import name_by
from transforms.validate.source import Validated


def judge_sources(
    sources: list[Validated], desired: Desired, failed: Mapping[str, str], state: State, config: Config, upcoming: pd.DataFrame
) -> tuple[dict[str, SourceHealth], list[Finding], dict[str, dict[str, int]]]:
    """Health of every source against its last good read, what is wrong with it, and the counts to remember.

    upcoming: source and guests of the events to come that essentry holds.
    """
    last = state.last_good_reads()
    held = upcoming.groupby("source")["guests"].agg(events="size", guests="sum").to_dict("index")
    for name, count in (
        spread_sources(upcoming, name_by(config))["source"].value_counts().items()
    ):  # S21: of every record of a united meeting
        held.setdefault(str(name), {"guests": 0})["events"] = int(count)
    health: dict[str, SourceHealth] = {name: SourceHealth(read=False, events=False, guests=False) for name in failed}
    findings: list[Finding] = []
    reads: dict[str, dict[str, int]] = {}
    for source in sources:
        outside = desired.outside_guests.get(source.source, 0)
        health[source.source], found = judge_health(
            source, last.get(source.source), outside, config.guards, confirmed=held.get(source.source)
        )
        findings += found
        limits = find_limits(source.source, config.sources[source.source], root=config.root)
        health[source.source] = replace(health[source.source], events_limited="events" in limits, guests_limited="guests" in limits)
        reads[source.source] = {
            "events": source.event_rows,
            "guests": source.guest_rows,
            "outside_guests": outside,
            "quarantined": source.rejected_events + source.rejected_guests,
        }
    return health, findings, reads
