"""A state store that was restored from an older copy: what was sent since is unknown to it, until
it is sent again (S8).

Reports of the runs in between say which events they touched. Where all of them are there, the night
goes on: those events are sent completely, and what was deleted counts as deleted. Where they are
not, the run stops, and `essentry-sync restored` has every event to come sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from flows.night.journal import Missing, find_missing
from flows.night.known import check_sources
from flows.night.run import Run, report_folder
from flows.state.restore import LOST_RUNS
from flows.state.store import State
from schemas.config import Config
from schemas.errors import StateError
from transforms.naming.naming import name_by
from transforms.operations.restore import (
    TOUCHED_COLUMNS,
    find_kept,
    find_touched,
    mark_all,
    rename_sources,
)
from transforms.words import plural

_TOLD = [*TOUCHED_COLUMNS, "source_event_id"]
_WHO = ("sourceId", "email", "firstName", "lastName")
"""What tells who a guest is: one who moves is invited there before being cancelled here (S21)."""


@dataclass(frozen=True)
class Evidence:
    """What the runs in between did. `touched`: TOUCHED_COLUMNS; `unread`: runs of which no report
    tells it. `rekeyed`: built id → id of the events that came back under another key since;
    `returned`: built ids that have given theirs back.
    """

    missing: Missing
    touched: pd.DataFrame
    unread: list[str]
    rekeyed: Mapping[str, str]
    returned: frozenset[str]

    @property
    def complete(self) -> bool:
        """True when every run in between is known, with all that it did."""
        return not self.unread and not self.missing.gap


def settle_restored(config: Config, state: State, run: Run) -> int:
    """How many events are unknown since a restore that this run notices; 0 without one. Call it
    under the lease.

    Raises StateError, with the remedy, when what was sent in between cannot be told.
    """
    evidence = read_evidence(config, state)
    if not evidence.missing.entries:
        return 0
    last = evidence.missing.entries[-1]
    if not evidence.complete:
        raise StateError(
            f"the state store {state.label} is older than the run {last.run_id}: "
            "it was restored from a backup, and what "
            f"{plural(len(evidence.missing.entries), 'run')} since sent to essentry is not told "
            "by a report; run `essentry-sync restored`, which has every event to come sent "
            "again, through the guards"
        )
    return write_restored(config, state, run, evidence)


def read_evidence(config: Config, state: State) -> Evidence:
    """What the runs of the journal that the state does not know have done, by their reports."""
    missing = find_missing(config, state)
    frames, unread = [], []
    told = None
    for entry in missing.entries:
        found = _read_report(report_folder(config, entry.run_id)) if entry.kind != "adopt" else None
        if found is None:
            unread.append(entry.run_id)
        else:
            frames.append(found.changes)
            told = told if found.kept is None else found.kept
    found = pd.concat(frames or [pd.DataFrame(columns=_TOLD)], ignore_index=True)
    naming = name_by(config)
    touched = find_touched(found).reindex(columns=_TOLD)
    if len(touched):
        touched = rename_sources(touched, state.read_fingerprints(), naming)
    kept = find_kept(touched, naming) if told is None else told
    rekeyed = {
        own: source_id
        for own, source_id in kept.items() - state.adopted()["event"].items()
        if naming.find_owner(own) in config.sources
    }
    returned = frozenset() if told is None else frozenset(state.rekeyed()) - set(told)
    return Evidence(missing, touched[TOUCHED_COLUMNS], unread, rekeyed, returned)


def write_restored(
    config: Config, state: State, run: Run, evidence: Evidence, *, everything: bool = False
) -> int:
    """Have what may have moved count as unknown, and the runs in between as known; returns how many
    events are unknown now.

    Raises ConfigurationError for a source that was renamed since: its reports have the new name, so
    the state must have it first.
    """
    check_sources(config, state.read_fingerprints(), name_by(config, state.adopted()))
    # before the plan that this run makes, which is the newest
    now = run.started_at - timedelta(milliseconds=1)
    touched = evidence.touched
    if everything:
        touched = mark_all(state.read_fingerprints(), touched, as_of=run.clock)
    lost = [
        {
            "run_id": entry.run_id, "kind": "lost", "started_at": entry.began.to_pydatetime(),
            "finished_at": now, "as_of": None,
            "status": "failed",
            "report_dir": str(folder) if (folder := report_folder(config,
                entry.run_id)).exists() else None,
            "summary_json": orjson.dumps({"verdict": (
                "its end is not known: the state was restored from an older copy"
            )}).decode(),
        }
        for entry in evidence.missing.entries
    ]  # fmt: skip
    naming = name_by(config)
    sources = {own: naming.find_owner(own) for own in evidence.rekeyed}
    state.keep_rekeyed(evidence.rekeyed, sources, returned=evidence.returned)
    return state.mark_restored(f"{LOST_RUNS}{run.run_id}", touched, lost, now=now)


@dataclass(frozen=True)
class _Told:
    """What a report tells of its run. `changes`: with their guests, of a masked one by their ids
    alone; `kept`: built id → id of every event that stood under another key then, None where it
    does not say.
    """

    changes: pd.DataFrame
    kept: Mapping[str, str] | None


def _read_report(folder: Path) -> _Told | None:
    """What a run did, as its report has it; None when it does not tell all that was sent."""
    try:
        report: dict[str, Any] = orjson.loads((folder / "report.json").read_bytes())
        # it ended before there was a plan, unless the state store failed while it sent
        if "counts" not in report:
            none = pd.DataFrame(columns=_TOLD)
            return None if "load" in report["seconds"] else _Told(none, None)
        if {"create", "update"} & set(report["listing"]["left_out"]):
            return None  # of these no guest is told
        table = pd.read_parquet(folder / "changes.parquet")
        told = ("sourceId",) if report.get("masked") else _WHO
        guests: dict[str, list[dict[str, str]]] = {}
        for change in report.get("changes", []):
            pairs = [*change["added"], *(pair["after"] for pair in change["changed"])]
            guests.setdefault(change["source_id"], []).extend(
                {name: str(guest[name]) for name in told if guest.get(name)}
                for guest in pairs
                if guest.get("sourceId")
            )
        texts = [orjson.dumps(guests.get(key, [])).decode() for key in table["source_id"]]
        changes = table.assign(invitations=pd.Series(texts, index=table.index, dtype="str"))[_TOLD]
        kept = report.get("kept_ids")
        return _Told(changes, None if kept is None else dict(kept))
    except (OSError, ValueError, KeyError, TypeError):
        return None
