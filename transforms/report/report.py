"""What a run did, as data: one dictionary, in the form of schemas.report, that HTML, Markdown and
the terminal render from. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from schemas.report import REPORT_VERSION
from transforms.arrow.codes import to_texts
from transforms.arrow.columns import is_among
from transforms.arrow.instants import format_instants
from transforms.diff.clearing import find_field
from transforms.masking import mask_text, mask_value
from transforms.report.changes import choose_listed, count_listed
from transforms.report.history import compare_usual, count_rejected
from transforms.report.holds import count_not_done
from transforms.report.problems import ANSWERED_BADLY, OPEN_STATES
from transforms.report.words import Wording, explain_code
from transforms.words import plural

COUNTED = ("create", "update", "delete", "expire", "held", "dormant", "unchanged", "pilot")
MAX_PROBLEMS = 500


def build_report(
    *,
    run: Mapping[str, Any],
    plan: Mapping[str, Any],
    decisions: pd.DataFrame,
    mails: pd.DataFrame,
    rejects: pd.DataFrame,
    changes: pd.DataFrame,
    findings: Sequence[Mapping[str, Any]],
    balance: Mapping[str, Any],
    notes: Mapping[str, int],
    failed_sources: Mapping[str, str],
    seconds: Mapping[str, float],
    load: Mapping[str, Any] | None,
    error: str | None,
    wording: Wording | None = None,
    odd_times: Sequence[Mapping[str, Any]] = (),
    history: Sequence[Mapping[str, Any]] = (),
    visits: pd.DataFrame | None = None,
    problems: pd.DataFrame | None = None,
    uncleared: Sequence[tuple[str, str | None, str]] = (),
    kept_ids: Mapping[str, str] | None = None,
    readings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The report of one run, without its changes one by one
    (`transforms.report_changes.list_changes`).

    changes: the plan's rows with the ledger's state, code and message. plan: plan_id, digest,
    changes, full, status, approval. mails: a row a guest and event that is mailed when all is sent.
    history: earlier runs, oldest first (`list_history`). visits: starts_at (UTC), events, guests of
    what essentry holds. problems: source_id, action, state, code, message and, where known, tries
    and next_at of what essentry rejected or did not answer; default: those of `changes`. kept_ids:
    built id → id in essentry of events that came back under another key. readings: `audit` and
    `attendance` as the report has them, where essentry was read back.
    """
    wording = wording or Wording()
    sent = changes[changes["action"] != "expire"] if len(changes) else changes
    confirmed = changes.loc[changes["state"] == "confirmed", "source_id"] if len(changes) else []
    if problems is None:
        problems = changes[changes["state"].isin(OPEN_STATES)] if len(changes) else changes
    states = (
        {str(k): int(v) for k, v in to_texts(problems["state"]).value_counts().sort_index().items()}
        if len(problems)
        else {}
    )
    report: dict[str, Any] = {
        "version": REPORT_VERSION,
        "run": dict(run),
        "plan": _tell_plan(plan, findings, changes),
        "status": tell_status(run, findings, changes, load, error, len(problems)),
        "verdict": tell_verdict(
            run,
            findings,
            changes,
            rejects,
            load,
            error,
            states,
            count_not_done(decisions),
            failed=failed_sources,
        ),
        "timezone": wording.timezone,
        "masked": wording.masked,
        "places": {str(key): name for key, name in sorted(wording.locations.items())},
        "counts": {name: int((decisions["action"] == name).sum()) for name in COUNTED},
        "outcomes": {
            str(k): int(v) for k, v in to_texts(sent["state"]).value_counts().sort_index().items()
        }
        if len(sent)
        else {},
        "by_source": _count(changes, "source"),
        "by_location": _count(changes, "location_id"),
        "by_day": _count_days(changes, wording.timezone),
        "deletes_by_reason": _count(changes[changes["action"] == "delete"], "reason", by=None)
        if len(changes)
        else {},
        "held_by_reason": _count(decisions[decisions["action"] == "held"], "reason", by=None),
        "people": _count_people(mails),
        "people_mailed": _count_people(
            mails[is_among(mails["source_id"], confirmed)] if len(confirmed) else mails.iloc[:0]
        ),
        "quarantined": _group_rejects(rejects),
        "problems": _list_problems(problems, changes, wording),
        "problems_total": len(problems),
        "problem_groups": _group_problems(problems),
        "guards": [
            {**finding, "causes": tuple(finding.get("causes") or ())} for finding in findings
        ],
        "balance": dict(balance),
        "notes": dict(notes),
        "odd_times": [dict(row) for row in odd_times],
        "uncleared": [_tell_uncleared(*mark) for mark in uncleared[:MAX_PROBLEMS]],
        "uncleared_total": len(uncleared),
        "kept_ids": dict(kept_ids or {}),
        "failed_sources": dict(failed_sources),
        "load": dict(load) if load else None,
        "error": error,
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
        "visits": _list_visits(visits, wording.timezone),
        "listing": count_listed(changes, choose_listed(changes)),
        **(readings or {}),
    }
    report["history"] = [*history, _this_run(report)]
    report["usual"] = compare_usual(report["history"])
    return report


def _tell_plan(
    plan: Mapping[str, Any], findings: Sequence[Mapping[str, Any]], changes: pd.DataFrame
) -> dict[str, Any]:
    """The plan's facts, and what sends what of it is not sent yet."""
    waiting = int((changes["state"] == "planned").sum()) if len(changes) else 0
    commands = []
    if waiting and plan["status"] in ("waiting", "approved", "partly"):
        approve = (
            [f"essentry-sync approve {plan['plan_id']} --reason '…'"]
            if findings and not plan.get("approval")
            else []
        )
        commands = [*approve, f"essentry-sync apply {plan['plan_id']}"]
    return {
        **{key: value for key, value in plan.items() if key != "status"},
        "waiting": waiting if commands else 0,
        "commands": commands,
    }


def _this_run(report: Mapping[str, Any]) -> dict[str, Any]:
    counts, run = report["counts"], report["run"]
    people = report["people_mailed"] if report["load"] else report["people"]
    return {
        "run_id": run["run_id"],
        "kind": run["kind"],
        "started_at": run["started_at"],
        "status": {"plan": "done", "idle": "done"}.get(report["status"], report["status"]),
        "changes": sum(counts[action] for action in ("create", "update", "delete")),
        **{action: counts[action] for action in ("create", "update", "delete")},
        "people": people["total"],
        "quarantined": sum(group["rows"] for group in report["quarantined"]),
        "rejected": count_rejected(report),
        "seconds": round(sum(report["seconds"].values()), 1),
    }


def build_failure(
    *,
    run: Mapping[str, Any],
    error: str,
    seconds: Mapping[str, float],
    problems: pd.DataFrame,
    wording: Wording,
) -> dict[str, Any]:
    """The report of a run that ended before there was a plan. problems: as in `build_report`."""
    return {
        "version": REPORT_VERSION,
        "run": dict(run),
        "status": "failed",
        "verdict": f"stopped: {error}",
        "error": error,
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
        "problems": _list_problems(problems, pd.DataFrame(), wording),
        "problems_total": len(problems),
        "problem_groups": _group_problems(problems),
        "load": None,
    }


def tell_status(
    run: Mapping[str, Any],
    findings: Sequence[Mapping[str, Any]],
    changes: pd.DataFrame,
    load: Mapping[str, Any] | None,
    error: str | None,
    problems: int,
) -> str:
    """The outcome as one of schemas.report.Status."""
    if error:
        return "failed"
    if run.get("kind") == "plan":
        return "plan"
    if (findings and load is None) or count_waiting(changes, findings):
        return "stopped"
    if problems or (len(changes) and changes["state"].isin(["planned", "sending"]).any()):
        return "incomplete"
    return "done" if len(changes) else "idle"


def tell_verdict(
    run: Mapping[str, Any],
    findings: Sequence[Mapping[str, Any]],
    changes: pd.DataFrame,
    rejects: pd.DataFrame,
    load: Mapping[str, Any] | None,
    error: str | None,
    problems: Mapping[str, int],
    held: int = 0,
    *,
    failed: Iterable[str] = (),
) -> str:
    """The outcome in words. held: events that are not in step, whether they ask a person or not.
    failed: sources that could not be read.
    """
    if error:
        return f"stopped: {error}"
    if run.get("kind") == "plan":
        stop = (
            f"; {plural(len(findings), 'guard would stop it', 'guards would stop it')}"
            if findings
            else ""
        )
        return f"plan of {plural(len(changes), 'change')}; nothing was sent{stop}"
    if findings and load is None:
        return f"stopped by {findings[0]['guard']}: {findings[0]['message']}; nothing was sent"
    waiting = count_waiting(changes, findings)
    if waiting:
        sent = int((changes["state"] == "confirmed").sum())
        back = (
            f"{plural(waiting, 'cancellation')} held back until you approve "
            f"{'it' if waiting == 1 else 'them'}"
        )
        return f"{plural(sent, 'change')} sent; {back}: {findings[0]['message']}"
    tail = _tell_rest(held, len(rejects))
    others = {state: count for state, count in problems.items() if state != "failed"}
    if names := ", ".join(failed):
        also = f"; {_tell_problems(others)}" if any(others.values()) else tail
        return (
            f"done, but the source {names} could not be read: its events stay as they are in "
            f"essentry{also}"
        )
    if any(others.values()):
        return f"done, but {_tell_problems(others)}; they come again until they are solved"
    if changes.empty:
        return f"nothing to send{tail}" if tail else "nothing to do: essentry is in step"
    return f"done: {plural(len(changes), 'change')}{tail}"


def _tell_problems(problems: Mapping[str, int]) -> str:
    """What asks for somebody, by what became of it."""
    answered = sum(problems.get(state, 0) for state in ANSWERED_BADLY)
    parts = [f"{plural(answered, 'event')} rejected or unknown"] if answered else []
    words = {"held": "held back", "quarantined": "quarantined for the first time"}
    for state, count in problems.items():
        if count and state not in ANSWERED_BADLY:
            parts.append(f"{plural(count, 'event')} {words.get(state, state)}")
    return ", ".join(parts)


def _tell_rest(held: int, quarantined: int) -> str:
    """What is not in step and asks nobody (again), as the end of a verdict."""
    parts = [f"{plural(held, 'event')} held back" if held else ""]
    parts += [f"{plural(quarantined, 'row')} quarantined" if quarantined else ""]
    return "".join(f"; {part}" for part in parts if part)


def count_waiting(changes: pd.DataFrame, findings: Sequence[Mapping[str, Any]]) -> int:
    """Deletes that a guard held back while the rest was sent (`on_trip = "hold-deletes"`)."""
    if changes.empty or not findings:
        return 0
    return int(((changes["action"] == "delete") & (changes["state"] == "planned")).sum())


def _count(frame: pd.DataFrame, column: str, by: str | None = "action") -> dict[str, Any]:
    if frame.empty:
        return {}
    if by is None:
        return {
            str(k): int(v) for k, v in to_texts(frame[column]).value_counts().sort_index().items()
        }
    table = frame.groupby([column, by]).size().unstack(fill_value=0)
    return {
        str(key): {str(name): int(value) for name, value in row.items() if value}
        for key, row in table.iterrows()
    }


def _count_people(mails: pd.DataFrame) -> dict[str, int]:
    counts = {
        kind: int(mails.loc[mails["kind"] == kind, "identity"].nunique())
        for kind in ("invited", "updated", "cancelled")
    }
    return counts | {"total": int(mails["identity"].nunique()), "mails": len(mails)}


def _count_days(changes: pd.DataFrame, timezone: str) -> dict[str, dict[str, int]]:
    if changes.empty:
        return {}
    dated = changes.loc[changes["starts_at"].notna(), ["action", "starts_at"]]
    days = _count(
        dated.assign(
            day=dated["starts_at"].dt.tz_convert(timezone).dt.tz_localize(None).dt.floor("D")
        ),
        "day",
    )
    # a day is told once for all of its changes
    return {day[:10]: counts for day, counts in days.items()}


def _list_visits(visits: pd.DataFrame | None, timezone: str) -> list[dict[str, Any]]:
    if visits is None or visits.empty:
        return []
    days = visits.groupby(visits["starts_at"].dt.tz_convert(timezone).dt.strftime("%Y-%m-%d"))[
        ["events", "guests"]
    ].sum()
    return [
        {"day": str(day), "events": int(row["events"]), "guests": int(row["guests"])}
        for day, row in days.iterrows()
    ]


def _list_problems(
    problems: pd.DataFrame, changes: pd.DataFrame, wording: Wording
) -> list[dict[str, Any]]:
    if problems.empty:
        return []
    shown = problems.head(MAX_PROBLEMS)
    about = None
    if len(changes):
        about = (
            changes[is_among(changes["source_id"], shown["source_id"])]
            .drop_duplicates("source_id")
            .set_index("source_id")
        )
    names = about["name"].to_dict() if about is not None else {}
    starts = format_instants(about["starts_at"]).to_dict() if about is not None else {}
    found = []
    for row in shown.to_dict("records"):
        item = {
            key: _plain(row[key]) for key in ("source_id", "action", "state", "code", "message")
        }
        name, next_at = _plain(names.get(item["source_id"])), row.get("next_at")
        meaning, remedy = explain_code(item["code"], item["state"])
        found.append(
            item
            | {
                "message": mask_text(item["message"]) if item["message"] else item["message"],
                "name": mask_value("name", name) if wording.masked else name,
                "starts_at": _plain(starts.get(item["source_id"])),
                "tries": int(row["tries"]) if pd.notna(row.get("tries")) else None,
                "next_at": next_at.isoformat(timespec="seconds")
                if isinstance(next_at, pd.Timestamp) and pd.notna(next_at)
                else None,
                "meaning": meaning,
                "remedy": remedy,
            }
        )
    return found


def _group_problems(problems: pd.DataFrame) -> list[dict[str, Any]]:
    if problems.empty:
        return []
    groups = []
    for (state, code), rows in problems.groupby(["state", problems["code"].fillna("")]):
        meaning, remedy = explain_code(code or None, str(state))
        groups.append(
            {
                "code": code or None,
                "state": state,
                "events": len(rows),
                "meaning": meaning,
                "remedy": remedy,
            }
        )
    return sorted(groups, key=lambda group: -group["events"])


def _tell_uncleared(source_id: str, invitation: str | None, path: str) -> dict[str, Any]:
    """A value that was taken away in the source and may still stand in essentry (S22)."""
    field = find_field(invitation, path)
    return {
        "source_id": source_id,
        "invitation_id": invitation,
        "field": path,
        "grave": field.grave,
        "meaning": field.meaning,
    }


def _group_rejects(rejects: pd.DataFrame) -> list[dict[str, Any]]:
    groups = []
    for keys, rows in rejects.groupby(["source", "part", "check", "remedy"], sort=True):
        source, part, check, remedy = keys
        samples = rows[["source_event_id", "guest_id", "value"]].head(5).to_dict("records")
        samples = [{k: _plain(v) for k, v in sample.items()} for sample in samples]
        groups.append(
            {
                "source": source,
                "part": part,
                "check": check,
                "remedy": remedy,
                "rows": len(rows),
                "samples": samples,
            }
        )
    return sorted(groups, key=lambda group: -group["rows"])


def _plain(value: Any) -> Any:
    return None if pd.isna(value) else value
