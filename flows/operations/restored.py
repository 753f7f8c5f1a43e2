"""Tell a state store that it was restored from an older copy. essentry is not called; the next run
sends again, through the guards.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd

from flows.night.lease import hold_lease
from flows.night.restore import Evidence, read_evidence, write_restored
from flows.night.run import new_run
from flows.state.store import State
from schemas.config import Config
from transforms.words import plural


def find_restored(config: Config, state: State) -> Evidence:
    """What is known of the runs between the copy and now."""
    return read_evidence(config, state)


def describe_restored(state: State, evidence: Evidence) -> list[str]:
    """For a person: what was sent since, as far as it is known, and what the next run would
    send.
    """
    known = state.read_fingerprints()
    coming = known[
        (known["state"] == "active") & ~(known["ends_at"] <= pd.Timestamp(datetime.now(UTC)))
    ]
    lines = [
        f"{plural(len(coming), 'event')} to come with "
        f"{plural(int(coming['guests'].sum()), 'guest')}, as this copy knows them, "
        "would be sent again completely: what essentry does with an update of nothing is not "
        "documented, so their guests may be mailed; the guards count them"
    ]
    entries = evidence.missing.entries
    if entries:
        lines.append(
            f"{plural(len(entries), 'run')} since the copy, {entries[0].run_id} to "
            f"{entries[-1].run_id}, with {_touched(evidence)}"
        )
    else:
        lines.append(
            "no run is known of since the copy was made: what came since and is gone again, "
            "`essentry-sync leftovers` finds"
        )
    lines += [
        f"  {entry.run_id}: the ids taken over then are lost; run `adopt` with its file again"
        for entry in entries
        if entry.kind == "adopt"
    ]
    if entries and not evidence.complete:
        lines.append(
            "not all of them left a report: what came since and is gone again, "
            "`essentry-sync leftovers` finds"
        )
    return lines


def _touched(evidence: Evidence) -> str:
    gone = int(
        (
            (evidence.touched["action"] == "delete") & (evidence.touched["state"] == "confirmed")
        ).sum()
    )
    return (
        f"{plural(len(evidence.touched), 'event')} touched by their reports, "
        f"{gone:,} of them cancelled"
    )


def mark_restored(config: Config, state: State, evidence: Evidence) -> int:
    """Write it down; returns how many events are unknown now."""
    run = new_run()
    with hold_lease(state, run, config):
        return write_restored(config, state, run, evidence, everything=True)
