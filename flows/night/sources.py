"""What a run writes down and tells of its sources at its end: which were looked at, and which could
not be read.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from flows.night.plan import Planned
from flows.state.store import State
from schemas.config import Config
from schemas.errors import EXIT_INCOMPLETE, SourceError
from transforms.arrow.columns import is_among
from transforms.arrow.rows import pick_rows
from transforms.report.failed_sources import count_failed_runs, list_failed_sources

NOT_LOOKED_FOR = (
    "source not read",
    "source unhealthy",
    "unreadable keys in the source",
    "linked meeting not found",
)
"""Reasons of a hold that mean: whether the event is still in its source could not be seen."""


def count_absences(state: State, planned: Planned) -> None:
    """Runs in which an event was looked for and missing; a run in which it was not looked for
    neither adds nor begins anew.
    """
    counted = state.list_absent()
    looked = [
        name
        for name, seen in planned.health.items()
        if seen.read and seen.events and not seen.unreadable_event_keys
    ]
    decisions = pick_rows(
        planned.diff.decisions, is_among(planned.diff.decisions["source_id"], counted["source_id"])
    )
    held = set(
        decisions.loc[
            (decisions["action"] == "held") & decisions["reason"].isin(NOT_LOOKED_FOR), "source_id"
        ]
    )
    unsure = set(counted.loc[~counted["source"].isin(looked), "source_id"]) | held
    state.count_absent(planned.diff.absent_now, unsure=unsure)


def tell_failed_sources(
    config: Config, state: State, failed: Mapping[str, str], problems: pd.DataFrame, *, plan_id: str
) -> tuple[pd.DataFrame, bool]:
    """The problems with the sources that could not be read before them, and whether one has failed
    for too many runs in a row.
    """
    if not failed:
        return problems, False
    counts = count_failed_runs(state.runs(), failed, plan_id=plan_id)
    told = list_failed_sources(failed, counts)
    frames = [frame for frame in (told, problems) if len(frame)]
    return pd.concat(frames, ignore_index=True), max(counts.values()) >= config.failed_source_nights


def end_code(exit_code: int, *, too_long: bool) -> int:
    """The exit code of a run: one that ended well but for a source that has failed for too long
    ends as if that source had stopped it.
    """
    return SourceError.exit_code if too_long and exit_code == EXIT_INCOMPLETE else exit_code
