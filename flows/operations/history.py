"""Look back: find a run and its report, follow one event through all runs, compare two runs. Reads
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from flows.night.run import PART
from flows.sources.ask import read_event_rows
from flows.sources.presets import complete_config
from flows.state.store import State
from schemas.config import Config
from schemas.errors import ConfigurationError, SyncError
from transforms.desired.payload import list_guests
from transforms.masking import mask_address, mask_person, mask_text
from transforms.naming.ids import parse_invitation_id
from transforms.naming.naming import Naming, name_by
from transforms.report.changes import list_changes
from transforms.report.history import list_history
from transforms.report.words import MEASURES, Wording, name_places, show_person, show_value
from transforms.validate.people import normalise_key
from transforms.words import plural

_FIRST = 20


def find_run(state: State, run: str) -> dict[str, Any]:
    """The newest run whose id begins like this, or `latest`, of all events; a run that ended before
    it had read anything is the latest only where no other is. Raises ConfigurationError when there
    is none.
    """
    runs = state.runs()
    some = state.list_selections() if run == "latest" else ()
    of_all = ~runs["kind"].isin([PART, "audit"]) & ~runs["plan_id"].isin(list(some))
    chosen = runs[of_all] if run == "latest" else runs[runs["run_id"].str.startswith(run)]
    if run == "latest" and chosen["plan_id"].notna().any():
        chosen = chosen[chosen["plan_id"].notna()]
    if chosen.empty:
        raise ConfigurationError(f"there is no run {run!r}: `essentry-sync runs` lists them")
    if run != "latest" and len(chosen) > 1 and run not in set(chosen["run_id"]):
        raise ConfigurationError(f"{run!r} is the beginning of several runs: write more of it")
    return chosen.sort_values("started_at").iloc[-1].to_dict()


def find_report(state: State, run: str) -> Path:
    """The folder of a run's report. Raises ConfigurationError when it has none."""
    runs = state.runs()
    with_report = runs[runs["report_dir"].notna()].sort_values("started_at")
    if run == "latest":  # of a run that is at work or was killed there may be none
        there = [(Path(folder) / "report.json").exists() for folder in with_report["report_dir"]]
        with_report = with_report[there] if any(there) else with_report
    if run == "latest" and len(with_report):
        return Path(with_report.iloc[-1]["report_dir"])
    found = (
        with_report[with_report["run_id"] == find_run(state, run)["run_id"]]
        if run != "latest"
        else with_report
    )
    if found.empty:
        raise ConfigurationError(
            f"there is no report of the run {run!r}: `essentry-sync runs` lists them"
        )
    return Path(found.iloc[-1]["report_dir"])


def trace_event(state: State, config: Config, source_id: str) -> dict[str, Any]:
    """Where an event or invitation stands, in lines, and its life. People are masked.

    source_id: as essentry has it, or an event's key as its source has it (`K-2026-0010`). Raises
    ConfigurationError for an id that nobody knows, and for a key that several sources have.
    """
    wording = name_places(config, masked=True)
    naming = name_by(config, state.adopted())
    source_id = _find_by_key(state, config, naming, source_id) or source_id
    event, invitation = _split_id(
        state, source_id, shared=config.essentry.invitation_ids == "shared"
    )
    snapshot, life = state.read_standing(event), state.list_life(event)
    source = _ask_source(config, naming, event)
    if snapshot.empty and life.empty and not source["rows"]:
        near = state.find_ids(source_id[: max(8, len(source_id) - 3)])
        hint = (
            f"; similar ones are {', '.join(near[:3])}"
            if near
            else ": ids are <source>-<source_event_id>, as reports show them"
        )
        raise ConfigurationError(f"neither the state nor a source knows {source_id!r}{hint}")
    standing = [source["line"], _tell_snapshot(state, snapshot, event, invitation, wording)]
    standing += (
        _tell_visits(state, event, invitation, wording)
        + _tell_rejections(state, event)
        + _tell_quarantine(state, naming, event)
    )
    standing += _tell_sightings(state, event, invitation)
    records = _tell_life(state, life, wording)
    if invitation:
        records = [
            row | {"what": _of_guest(row, invitation)}
            for row in records
            if _of_guest(row, invitation)
        ]
    keep = ("when", "run_id", "plan_id", "action", "state", "code", "message", "what")
    return {
        "source_id": source_id,
        "event": event,
        "invitation": invitation,
        "standing": standing,
        "life": [{key: row[key] for key in keep} for row in records],
    }


def _find_by_key(state: State, config: Config, naming: Naming, key: str) -> str | None:
    """The id of the event that its source calls so; None where the text is an id itself, or
    nobody's key.
    """
    if not state.read_standing(key).empty or not state.list_life(key).empty:
        return None
    keys = pd.Series([normalise_key(key)], dtype="str")
    named = {
        source: str(naming.name_events(naming.prefix_of(source), keys).iloc[0])
        for source in config.sources
    }
    known = {
        source: name
        for source, name in named.items()
        if not (state.read_standing(name).empty and state.list_life(name).empty)
    }
    known = known or {
        source: name
        for source, name in named.items()
        if len(state.list_quarantined(source, keys[0]))
    }
    if not known and not _names_a_source(naming, key):
        known = {
            source: name
            for source, name in named.items()
            if _ask_source(config, naming, name)["rows"]
        }
    if len(known) > 1:
        raise ConfigurationError(
            f"several sources have an event {key!r}: say which by its id, "
            f"{' or '.join(sorted(known.values()))}"
        )
    return next(iter(known.values()), None)


def _names_a_source(naming: Naming, text: str) -> bool:
    """Whether a text begins as an id of a configured source does."""
    return text.partition("-")[0] in set(naming.prefixes.values())


def _split_id(state: State, source_id: str, *, shared: bool) -> tuple[str, str | None]:
    if not state.read_standing(source_id).empty or not state.list_life(source_id).empty:
        return source_id, None
    if not shared:
        try:
            parse_invitation_id(source_id)
            return source_id.rpartition("-")[0], source_id
        except ValueError:
            pass
    return source_id, None


def _ask_source(config: Config, naming: Naming, event: str) -> dict[str, Any]:
    try:
        parsed = naming.read_event(event)
    except ValueError:
        return {
            "rows": 0,
            "line": "source: the id cannot be read back, so its row cannot be looked up",
        }
    if parsed.source not in config.sources:
        return {"rows": 0, "line": f"source: the configuration has no source {parsed.source!r}"}
    try:
        completed = complete_config(config)
        rows = read_event_rows(
            parsed.source, completed.sources[parsed.source], str(parsed.event), root=config.root
        )
    except SyncError as error:
        return {"rows": 0, "line": f"source: {parsed.source} cannot be asked now ({error})"}
    if rows.empty:
        return {"rows": 0, "line": f"source: {parsed.source} does not show {parsed.event!r}"}
    return {"rows": len(rows), "line": f"source: {tell_rows(parsed.source, parsed.event, rows)}"}


def tell_rows(source: str, key: object, rows: pd.DataFrame) -> str:
    """What a source shows of one event, in words; at least one row. People are masked."""
    row = rows.iloc[0].dropna()
    shown = [
        f"{key} {row[key]}"
        for key in (
            "status",
            "starts_at",
            "ends_at",
            "timezone",
            "room_name",
            "room_key",
            "site_key",
        )
        if key in row
    ]
    host = [f"host {mask_address(str(row['host_email']))}"] if "host_email" in row else []
    many = f" ({len(rows)} rows share the key)" if len(rows) > 1 else ""
    return f"{source} shows {key!r}{many}: {', '.join([*shown, *host])}"


def _tell_snapshot(
    state: State, snapshot: pd.DataFrame, event: str, invitation: str | None, wording: Wording
) -> str:
    if snapshot.empty:
        return "essentry: never confirmed it"
    row = snapshot.iloc[0]
    payload = orjson.loads(state.read_payloads([event]).get(event) or "{}")
    words = {
        "active": "holds it",
        "deleted": "cancelled it",
        "expired": "holds it, and it is over",
    }.get(row["state"], row["state"])
    start = show_value("startsAt", payload.get("startsAt") or row["starts_at"].isoformat(), wording)
    place = (
        show_value("locationId", int(row["location_id"]), wording, with_id=True)
        if pd.notna(row["location_id"])
        else "–"
    )
    line = (
        f"essentry: {words} (confirmed by run {row['confirmed_run']}): {start}, {place}, "
        f"{plural(int(row['guests'] or 0), 'guest')}"
    )
    if invitation:
        guest = list_guests(payload).get(invitation)
        line += (
            f"; this guest: {show_person(mask_person(guest))}"
            if guest
            else "; this guest is not on its list"
        )
    missing = int(row["absent_runs"] or 0) if pd.notna(row["absent_runs"]) else 0
    return line + (f"; gone from its source since {plural(missing, 'run')}" if missing else "")


def _tell_visits(state: State, event: str, invitation: str | None, wording: Wording) -> list[str]:
    """Who arrived when, and left: the check-ins that were read back. People are masked."""
    lines = []
    for row in state.list_visits(event, invitation).astype("object").to_dict("records"):
        given = {
            "firstName": row["first_name"],
            "lastName": row["last_name"],
            "email": row["email"],
        }
        person = {key: value for key, value in given.items() if isinstance(value, str)}
        who = (
            show_person(mask_person(person))
            if person
            else mask_person({"sourceId": row["invitation_id"]})["sourceId"]
        )
        times = [
            f"{word} {show_value('startsAt', row[name].isoformat(), wording)}"
            if pd.notna(row[name])
            else f"has not {word} as far as is known"
            for word, name in (("arrived", "arrived_at"), ("left", "left_at"))
        ]
        said = (
            f" ({mask_text(row['state'])} in essentry's words)"
            if isinstance(row["state"], str)
            else ""
        )
        lines.append(f"visit: {who} {times[0]}, {times[1]}{said}")
    return lines


def _tell_rejections(state: State, event: str) -> list[str]:
    rows = state.rejections()
    rows = rows[rows["source_id"] == event]
    return [
        f"rejected: {row['code']} {row['message'] if pd.notna(row['message']) else ''} "
        f"({plural(int(row['tries']), 'try', 'tries')}, again from "
        f"{row['next_at']:%Y-%m-%d %H:%M} UTC or when it changes)"
        for row in rows.to_dict("records")
    ]


def _tell_quarantine(state: State, naming: Naming, event: str) -> list[str]:
    try:
        parsed = naming.read_event(event)
    except ValueError:
        return []
    rows = state.list_quarantined(parsed.source, str(parsed.event))
    newest = rows[rows["run_id"] == rows["run_id"].max()] if len(rows) else rows
    return [
        f"quarantine: {row['remedy']} (run {row['run_id']}, {row['part']})"
        for row in newest.to_dict("records")
    ]


def _tell_sightings(state: State, event: str, invitation: str | None) -> list[str]:
    rows = state.sightings()
    rows = rows[
        (rows["source_id"] == event)
        & ((rows["item"] == "") | (invitation is None) | (rows["item"] == invitation))
    ]
    return [
        f"audit: {row['kind']} in essentry{' of ' + row['item'] if row['item'] else ''}"
        f"{': ' + row['fields'] if row['fields'] else ''} "
        f"(seen by {plural(int(row['times']), 'audit')} in a row, since "
        f"{row['first_at']:%Y-%m-%d %H:%M} UTC)"
        for row in rows.to_dict("records")
    ]


def _tell_life(state: State, life: pd.DataFrame, wording: Wording) -> list[dict[str, Any]]:
    if life.empty:
        return []
    records = []
    for plan_id, rows in life.groupby("plan_id", sort=False):
        told = list_changes(rows, state.read_contents(str(plan_id), rows["seq"].tolist()), wording)
        for row, record in zip(rows.to_dict("records"), told, strict=True):
            at = row["answered_at"] if pd.notna(row["answered_at"]) else row["created_at"]
            run_id = row["run_id"] if isinstance(row["run_id"], str) else plan_id
            records.append(
                {
                    **record,
                    "when": show_value("startsAt", at.isoformat(), wording),
                    "run_id": run_id,
                    "plan_id": plan_id,
                }
            )
    return records


def _of_guest(row: Mapping[str, Any], invitation: str) -> str:
    """What a change did to one guest; empty when it did nothing."""
    for kind, word in (("added", "invited"), ("removed", "removed")):
        if any(guest.get("sourceId") == invitation for guest in row[kind]):
            return word
    if any(pair["after"].get("sourceId") == invitation for pair in row["changed"]):
        return "corrected"
    return f"the event: {row['what']}" if row["fields"] and row["action"] == "update" else ""


def compare_runs(state: State, config: Config, run_a: str, run_b: str) -> dict[str, Any]:
    """Two runs: their numbers, and the events that both, or only one, changed. People are
    masked.
    """
    wording = name_places(config, masked=True)
    found = [find_run(state, run) for run in (run_a, run_b)]
    runs = state.runs()
    told = {run["run_id"]: run for run in list_history(runs.assign(kind="sync"), limit=len(runs))}
    past = [told[run["run_id"]] for run in found if run["run_id"] in told]
    if len(past) < len(found):
        raise ConfigurationError(
            "one of these runs has not ended yet: `essentry-sync runs` lists them"
        )
    frames = [_changes_of(state, run["plan_id"]) for run in found]
    ids = [set(frame["source_id"]) for frame in frames]
    groups = {
        "both": (frames[1], ids[0] & ids[1]),
        "only_a": (frames[0], ids[0] - ids[1]),
        "only_b": (frames[1], ids[1] - ids[0]),
    }
    return {
        "runs": [p | {"kind": run["kind"]} for p, run in zip(past, found, strict=True)],
        "numbers": [{"measure": m, "a": past[0][m], "b": past[1][m]} for m in MEASURES],
        **{
            key: {"count": len(chosen), "first": _first(frame, chosen, wording)}
            for key, (frame, chosen) in groups.items()
        },
    }


def _changes_of(state: State, plan_id: Any) -> pd.DataFrame:
    return (
        state.load_plan(plan_id)[1]
        if isinstance(plan_id, str)
        else pd.DataFrame({"source_id": pd.Series(dtype="str")})
    )


def _first(frame: pd.DataFrame, chosen: set[str], wording: Wording) -> list[dict[str, str]]:
    rows = frame[frame["source_id"].isin(chosen)].head(_FIRST)
    return [
        {"source_id": r["source_id"], "what": r["what"]} for r in list_changes(rows, {}, wording)
    ]
