"""This run against the earlier ones: is it normal? Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pandas as pd

from transforms.report.problems import ANSWERED_BADLY
from transforms.report.words import MEASURES

HISTORY_RUNS = 30
ENOUGH_RUNS = 5
BETTER_LOW = ("quarantined", "rejected", "seconds")
"""Less than usual of these is no news."""
_BARS = "▁▂▃▄▅▆▇█"


def summarise_report(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the history keeps of a report: the numbers but the seconds, with the verdict."""
    if "counts" not in report:
        return {"verdict": report["verdict"]}
    sent = report["load"] is not None
    people = report["people_mailed"] if sent else report["people"]
    return {
        "verdict": report["verdict"],
        "status": report["status"],
        "counts": report["counts"],
        "outcomes": report["outcomes"],
        "people_mailed": report["people_mailed"],
        "people": people["total"],
        "quarantined": sum(group["rows"] for group in report["quarantined"]),
        "rejected": count_rejected(report),
        "failed_sources": sorted(report["failed_sources"]),
    }


def count_rejected(report: Mapping[str, Any]) -> int:
    """Events that essentry rejected or did not answer for; other problems are not essentry's."""
    return sum(g["events"] for g in report["problem_groups"] if g["state"] in ANSWERED_BADLY)


def list_history(
    runs: pd.DataFrame, *, until: str | None = None, limit: int = HISTORY_RUNS
) -> list[dict[str, Any]]:
    """The last ended syncs and applies, oldest first, in the form of schemas.report.PastRun.

    runs: the table of runs; started_at and finished_at UTC. until: a run id; runs from it on are
    left out.
    """
    if runs.empty:
        return []
    if until is not None and (runs["run_id"] == until).any():
        runs = runs[runs["started_at"] < runs.loc[runs["run_id"] == until, "started_at"].iloc[0]]
    runs = (
        runs[runs["kind"].isin(["sync", "apply"]) & (runs["status"] != "running")]
        .sort_values("started_at")
        .tail(limit)
    )
    return [_past(row) for row in runs.to_dict("records")]


def _past(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = orjson.loads(row["summary_json"]) if isinstance(row["summary_json"], str) else {}
    counts = kept.get("counts") or {}
    seconds = (
        (row["finished_at"] - row["started_at"]).total_seconds()
        if pd.notna(row["finished_at"])
        else None
    )
    return {
        "run_id": row["run_id"],
        "kind": row["kind"],
        "started_at": row["started_at"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        "status": row["status"],
        "changes": sum(counts.get(action, 0) for action in ("create", "update", "delete"))
        if counts
        else None,
        **{action: counts.get(action) for action in ("create", "update", "delete")},
        "people": kept.get("people", (kept.get("people_mailed") or {}).get("total")),
        "quarantined": kept.get("quarantined"),
        "rejected": kept.get("rejected"),
        "seconds": None if seconds is None else round(seconds, 1),
    }


def compare_usual(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The last entry of the history against those before it, a measure each; empty with fewer than
    ENOUGH_RUNS of them.

    Unusual is what lies more than one and a half quartile distances outside the quartiles (Tukey's
    fences), a distance of at least a twentieth of the median and at least one.
    """
    done = [run for run in history[:-1] if run["status"] in ("done", "incomplete")]
    if len(done) < ENOUGH_RUNS:
        return []
    table = pd.DataFrame(done)
    found = []
    for measure in MEASURES:
        value, before = (
            history[-1][measure],
            pd.to_numeric(table[measure], errors="coerce").dropna(),
        )
        if value is None or len(before) < ENOUGH_RUNS:
            continue
        low, median, high = (float(before.quantile(q)) for q in (0.25, 0.5, 0.75))
        distance = 1.5 * max(high - low, median / 20, 1.0)
        unusual = bool(
            value > high + distance or (value < low - distance and measure not in BETTER_LOW)
        )
        found.append(
            {
                "measure": measure,
                "value": value,
                "median": median,
                "low": float(before.min()),
                "high": float(before.max()),
                "unusual": unusual,
            }
        )
    return found


def draw_sparkline(values: Sequence[float | None]) -> str:
    """Values as a row of bars, from 0 to the largest; a missing one is a blank."""
    largest = max((value for value in values if value is not None), default=0)
    return "".join(
        " "
        if v is None
        else _BARS[0]
        if largest <= 0
        else _BARS[round(v / largest * (len(_BARS) - 1))]
        for v in values
    )
