"""What was read back of essentry, as a report tells it: the last audit, and who came the day
before. Nothing of it decides what a night sends, or how it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from flows.state.store import State
from schemas.config import Config
from transforms.masking import mask_person
from transforms.operations.check_ins import Attendance, sum_attendance

LISTED = 100
"""Findings of an audit that a report lists."""


def tell_readings(config: Config, state: State, *, now: datetime) -> dict[str, Any]:
    """`audit` and `attendance` of schemas.report, each where there was one."""
    told = {"audit": _tell_audit(config, state), "attendance": _tell_day(config, state, now)}
    return {name: value for name, value in told.items() if value is not None}


def count_attendance(config: Config, state: State, day: date, *, now: datetime) -> list[Attendance]:
    """Every location on a day of the reports' zone: whom its events expected, and who came."""
    zone = ZoneInfo(config.report.timezone)
    begin, end = (
        datetime.combine(day + timedelta(days=n), time(), zone).astimezone(UTC) for n in (0, 1)
    )
    return sum_attendance(
        state.list_attendance(begin, end), state.count_others(begin, end), now=now
    )


def _tell_day(config: Config, state: State, now: datetime) -> dict[str, Any] | None:
    read_until = state.read_until()
    if read_until is None:
        return None
    day = now.astimezone(ZoneInfo(config.report.timezone)).date() - timedelta(days=1)
    rows = count_attendance(config, state, day, now=now)
    return {
        "day": day.isoformat(),
        "read_until": read_until.isoformat(),
        "locations": [asdict(row) for row in rows],
    }


def _tell_audit(config: Config, state: State) -> dict[str, Any] | None:
    runs = state.runs()
    runs = runs[(runs["kind"] == "audit") & (runs["status"] == "audited")]
    if runs.empty:
        return None
    last = runs.iloc[-1]
    kept: Mapping[str, Any] = orjson.loads(last["summary_json"] or "{}")
    seen = state.sightings()
    seen = seen[seen["times"] >= config.audit.seen]
    return {
        "run_id": str(last["run_id"]),
        "at": last["started_at"].isoformat(),
        "verdict": str(kept.get("verdict", "")),
        "findings_total": len(seen),
        "findings": [_tell_finding(row) for row in seen.head(LISTED).to_dict("records")],
        "unknown": {str(place): int(count) for place, count in kept.get("unknown", {}).items()},
    }


def _tell_finding(row: Mapping[str, Any]) -> dict[str, Any]:
    item = str(row["item"] or "")
    return {
        "kind": row["kind"],
        "source_id": row["source_id"],
        # an id may end in an address, and the report forgets people elsewhere
        "invitation_id": mask_person({"sourceId": item})["sourceId"] if item else None,
        "location_id": int(row["location_id"]),
        "starts_at": row["starts_at"].isoformat(),
        "differs": row["fields"] or "",
        "audits": int(row["times"]),
    }
