"""Sources that could not be read in a run that went on without them: told as problems by name, for
how many runs in a row. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import pandas as pd

from transforms.masking import mask_text
from transforms.report.problems import PROBLEM_COLUMNS
from transforms.words import plural

CODE = "SOURCE_NOT_READ"
STATE = "failed"


def read_failed(summary_json: Any) -> list[str]:
    """The sources that a run could not read, from what the history keeps of it."""
    return (
        list(orjson.loads(summary_json).get("failed_sources") or ())
        if isinstance(summary_json, str)
        else []
    )


def count_failed_runs(
    runs: pd.DataFrame, failed: Iterable[str], *, plan_id: str | None = None
) -> dict[str, int]:
    """In how many runs in a row, the one at work among them, each of these sources could not be
    read.

    runs: the table of runs. plan_id: the plan of the run at work. A run that sent a plan made
    before counts with what that plan had read, and a plan once; one that ended before it had read
    anything neither adds nor ends a row.
    """
    summaries = {
        run: text
        for run, text in zip(runs["run_id"], runs["summary_json"], strict=True)
        if isinstance(text, str)
    }
    ended = runs[
        runs["kind"].isin(["sync", "apply"])
        & runs["plan_id"].notna()
        & (runs["plan_id"] != plan_id)
    ].sort_values("started_at")
    nights = [
        set(read_failed(summaries[plan]))
        for plan in ended["plan_id"].drop_duplicates(keep="last")
        if plan in summaries
    ]
    counts = {}
    for name in failed:
        counts[name] = 1
        for night in reversed(nights):
            if name not in night:
                break
            counts[name] += 1
    return counts


def list_failed_sources(failed: Mapping[str, str], counts: Mapping[str, int]) -> pd.DataFrame:
    """PROBLEM_COLUMNS, a row a source that could not be read; source_id is its name."""
    rows = [
        {
            "source_id": name, "action": "read", "state": STATE, "code": CODE,
            "tries": counts.get(name, 1), "next_at": pd.NaT,
            "message": (
                f"source {name} could not be read ({plural(counts.get(name, 1), 'run')} in a row), "
                "its events stay as they are: "
            )
            + mask_text(text),
        }
        for name, text in failed.items()
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=PROBLEM_COLUMNS)
    texts = ["source_id", "action", "state", "code", "message"]
    return table.astype(dict.fromkeys(texts, "str") | {"tries": "Int64"}).assign(
        next_at=pd.to_datetime(table["next_at"], utc=True).astype("datetime64[us, UTC]")
    )
