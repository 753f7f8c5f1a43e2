"""Whether the syncs go on as they should, for monitoring. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd

from schemas.errors import EXIT_DONE, EXIT_INCOMPLETE
from transforms.report.failed_sources import read_failed

AHEAD = timedelta(minutes=10)
"""A run that began later than this machine's clock says, by more than this, was one by a wrong
clock, and no proof of anything.
"""


def judge_runs(runs: pd.DataFrame, *, now: datetime, max_age: timedelta) -> tuple[int, str, str]:
    """Exit code, OK, INCOMPLETE, LATE or FAILED, and why.

    runs: the table of runs; one that was killed or is at work has no exit code. A sync that ended
    with 0 or 3 within `max_age` is wanted.
    """
    runs = runs[
        runs["kind"].isin(["sync", "apply"]) & (runs["started_at"] <= now + AHEAD)
    ].sort_values("started_at")
    if runs.empty:
        return EXIT_INCOMPLETE, "LATE", "no sync has run yet"
    recent = runs["started_at"] >= now - max_age
    good = runs[runs["exit_code"].isin([EXIT_DONE, EXIT_INCOMPLETE]).fillna(False) & recent]
    # a run that ended before it had read anything, as a refused `apply`, says nothing of sources
    last, ended = runs.iloc[-1], runs[runs["exit_code"].notna() & runs["plan_id"].notna()]
    text = f"the last run, {last['run_id']}, is {last['status']}"
    if len(good):
        text = f"the last good run began {good.iloc[-1]['started_at']:%Y-%m-%d %H:%M} UTC; {text}"
    failed = read_failed(ended.iloc[-1]["summary_json"]) if len(ended) else []
    if failed and recent[ended.index[-1]]:
        code = int(ended.iloc[-1]["exit_code"]) or EXIT_INCOMPLETE
        return (
            code,
            "INCOMPLETE" if code == EXIT_INCOMPLETE else "FAILED",
            f"the source {', '.join(failed)} could not be read; {text}",
        )
    if len(good):
        return EXIT_DONE, "OK", text
    code = (
        int(last["exit_code"])
        if pd.notna(last["exit_code"]) and recent.iloc[-1]
        else EXIT_INCOMPLETE
    )
    return code, "LATE" if code == EXIT_INCOMPLETE else "FAILED", text
