"""What a run did, as data: one dictionary that JSON, Markdown and the terminal render from. Pure.

`version` names the form; a field is only ever added under the same version. Times are ISO 8601 UTC, durations seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pandas as pd

from transforms.people import mask_address, mask_name
from transforms.problems import describe_problem

REPORT_VERSION = 1
COUNTED = ("create", "update", "delete", "expire", "held", "dormant", "unchanged", "pilot")
SAMPLE = 50


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
    problems: pd.DataFrame,
) -> dict[str, Any]:
    """The report of one run. `changes` carries the ledger's state of each change; problems: see `list_problems`."""
    sent = changes[changes["action"] != "expire"] if len(changes) else changes
    confirmed = set(changes.loc[changes["state"] == "confirmed", "source_id"]) if len(changes) else set()
    return {
        "version": REPORT_VERSION,
        "run": dict(run),
        "plan": dict(plan),
        "verdict": tell_verdict(run, findings, changes, rejects, load, error, len(problems)),
        "counts": {name: int((decisions["action"] == name).sum()) for name in COUNTED},
        "outcomes": {str(k): int(v) for k, v in sent["state"].value_counts().sort_index().items()} if len(sent) else {},
        "by_source": _count(changes, "source"),
        "by_location": _count(changes, "location_id"),
        "deletes_by_reason": _count(changes[changes["action"] == "delete"], "reason", by=None) if len(changes) else {},
        "held_by_reason": _count(decisions[decisions["action"] == "held"], "reason", by=None),
        "people": _count_people(mails),
        "people_mailed": _count_people(mails[mails["source_id"].isin(confirmed)]),
        "quarantined": _group_rejects(rejects),
        "problems": tell_problems(problems),
        "problems_total": len(problems),
        "guards": [dict(finding) for finding in findings],
        "balance": dict(balance),
        "notes": dict(notes),
        "failed_sources": dict(failed_sources),
        "load": dict(load) if load else None,
        "error": error,
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
    }


def tell_verdict(
    run: Mapping[str, Any],
    findings: Sequence[Mapping[str, Any]],
    changes: pd.DataFrame,
    rejects: pd.DataFrame,
    load: Mapping[str, Any] | None,
    error: str | None,
    problems: int,
) -> str:
    """The outcome in words."""
    if error:
        return f"stopped: {error}"
    if run.get("kind") == "plan":
        stop = f"; {_plural(len(findings), 'guard')} would stop it" if findings else ""
        return f"plan of {_plural(len(changes), 'change')}; nothing was sent{stop}"
    if findings and load is None:
        return f"stopped by {findings[0]['guard']}: {findings[0]['message']}; nothing was sent"
    waiting = count_waiting(changes, findings)
    if waiting:
        sent = int((changes["state"] == "confirmed").sum())
        held = f"{_plural(waiting, 'cancellation')} held back until you approve {'it' if waiting == 1 else 'them'}"
        return f"{_plural(sent, 'change')} sent; {held}: {findings[0]['message']}"
    if problems:
        return f"done, but {_plural(problems, 'event')} rejected or unknown; they come again until they are solved"
    if changes.empty:
        return "nothing to do: essentry is in step"
    tail = f"; {_plural(len(rejects), 'row')} quarantined" if len(rejects) else ""
    return f"done: {_plural(len(changes), 'change')}{tail}"


def count_waiting(changes: pd.DataFrame, findings: Sequence[Mapping[str, Any]]) -> int:
    """Deletes that a guard held back while the rest was sent (`on_trip = "hold-deletes"`)."""
    if changes.empty or not findings:
        return 0
    return int(((changes["action"] == "delete") & (changes["state"] == "planned")).sum())


def _plural(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _count(frame: pd.DataFrame, column: str, by: str | None = "action") -> dict[str, Any]:
    if frame.empty:
        return {}
    if by is None:
        return {str(k): int(v) for k, v in frame[column].value_counts().sort_index().items()}
    table = frame.groupby([column, by]).size().unstack(fill_value=0)
    return {str(key): {str(name): int(value) for name, value in row.items() if value} for key, row in table.iterrows()}


def _count_people(mails: pd.DataFrame) -> dict[str, int]:
    counts = {kind: int(mails.loc[mails["kind"] == kind, "identity"].nunique()) for kind in ("invited", "updated", "cancelled")}
    return counts | {"total": int(mails["identity"].nunique()), "mails": len(mails)}


def _group_rejects(rejects: pd.DataFrame) -> list[dict[str, Any]]:
    groups = []
    for keys, rows in rejects.groupby(["source", "part", "check", "remedy"], sort=True):
        source, part, check, remedy = keys
        samples = rows[["source_event_id", "guest_id", "value"]].head(5).to_dict("records")
        samples = [{k: _plain(v) for k, v in sample.items()} for sample in samples]
        groups.append({"source": source, "part": part, "check": check, "remedy": remedy, "rows": len(rows), "samples": samples})
    return sorted(groups, key=lambda group: -group["rows"])


def tell_problems(problems: pd.DataFrame) -> list[dict[str, Any]]:
    """The first 500 problems as plain values."""
    shown = problems.head(500)
    next_at = shown["next_at"].map(lambda at: None if pd.isna(at) else at.isoformat(timespec="seconds")).astype("object")
    return [{k: _plain(v) for k, v in row.items()} for row in shown.assign(next_at=next_at).to_dict("records")]


def _plain(value: Any) -> Any:
    return None if pd.isna(value) else value


def describe_change(row: Mapping[str, Any], *, masked: bool) -> str:
    """One change in words: which fields, which guests."""
    if row["action"] == "create":
        return f"new: {row['name']}, {row['guests']} guests"
    parts = []
    for item in orjson.loads(row["fields_json"]) if isinstance(row["fields_json"], str) else []:
        if item["field"] in ("host", "creator", "customFields", "description") and masked:
            parts.append(f"{item['field']} changed")
        else:
            parts.append(f"{item['field']} {_shown(item['before'])} → {_shown(item['after'])}")
    guests = orjson.loads(row["guests_json"]) if isinstance(row["guests_json"], str) else {}
    for kind, sign in (("added", "+"), ("removed", "−")):
        if guests.get(kind):
            people = ", ".join(_guest(guest, masked=masked) for guest in guests[kind][:3])
            parts.append(f"{sign}{len(guests[kind])} guests ({people}{'…' if len(guests[kind]) > 3 else ''})")
    if guests.get("changed"):
        parts.append(f"{len(guests['changed'])} guests changed")
    if isinstance(row["reason"], str):
        parts.insert(0, row["reason"])
    return "; ".join(parts)


def _shown(value: Any) -> str:
    return "–" if value is None else orjson.dumps(value).decode() if isinstance(value, (dict, list)) else str(value)


def _guest(guest: Mapping[str, Any], *, masked: bool) -> str:
    name = f"{guest.get('firstName', '')} {guest.get('lastName', '')}".strip()
    if masked:
        return mask_address(guest["email"]) if guest.get("email") else mask_name(name)
    return name or str(guest.get("email", ""))


def render_markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown: fits a pull-request comment or an artifact; people are never named."""
    run, people = report["run"], report["people_mailed"] if report["load"] else report["people"]
    verb = "mailed" if report["load"] else "who would be mailed"
    lines = [
        f"# essentry-sync {run['kind']} {run['run_id']}",
        "",
        f"**{report['verdict']}**",
        "",
        "| action | events |",
        "|---|---:|",
        *(f"| {name} | {count:,} |" for name, count in report["counts"].items() if count),
        "",
        f"People {verb}: {people['total']:,} (invited {people['invited']:,}, updated {people['updated']:,}, cancelled {people['cancelled']:,}).",
        "",
    ]
    if report["guards"]:
        lines += ["## Guards that tripped", ""]
        for finding in report["guards"]:
            lines += [f"- `{finding['guard']}` {finding['message']}", *(f"  - {_cell(cause)}" for cause in finding["causes"])]
        approval = report["plan"].get("approval")
        if approval:
            who = f"{approval['by']} on {approval['at'][:16].replace('T', ' ')} UTC"
            lines += ["", f"Released by {who} (plan {approval['plan_id']}): {_cell(approval['reason']) or 'no reason given'}.", ""]
        else:
            lines += [
                "",
                f"Release it with `essentry-sync approve {report['plan']['plan_id']}`, digest `{report['plan']['digest'][:16]}`.",
                "",
            ]
    lines += tell_open(report["problems"], report["problems_total"])
    if report["quarantined"]:
        lines += ["## Quarantined rows", "", "| source | rows | reason and remedy | first keys |", "|---|---:|---|---|"]
        for group in report["quarantined"]:
            keys = ", ".join(f"`{sample['source_event_id']}`" for sample in group["samples"][:3])
            lines += [f"| {group['source']} {group['part']} | {group['rows']:,} | {_cell(group['remedy'])} | {keys} |"]
        lines += [""]
    lines += [f"- source {name} failed: {text}" for name, text in report["failed_sources"].items()]
    balance = report["balance"]
    lines += ["## Balance", "", f"Rows read: {balance['rows_read']:,} = " + _sum(balance["rows"]), ""]
    lines += [f"Snapshot rows before: {balance['snapshot_before']:,} = " + (_sum(balance["snapshot"]) or "0"), ""]
    if report["notes"]:
        lines += ["Notes: " + ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in sorted(report["notes"].items())), ""]
    lines += ["Seconds: " + ", ".join(f"{step} {value:.2f}" for step, value in report["seconds"].items()), ""]
    return "\n".join(lines)


def tell_open(problems: Sequence[Mapping[str, Any]], total: int | None = None) -> list[str]:
    """Lines of Markdown on what is rejected or unknown; none when nothing is."""
    if not problems:
        return []
    lines = ["## Rejected or unknown", "", "| event | action | state | why |", "|---|---|---|---|"]
    lines += [f"| `{p['source_id']}` | {p['action']} | {p['state']} | {_cell(describe_problem(p))} |" for p in problems[:SAMPLE]]
    more = (total or len(problems)) - SAMPLE
    return [*lines, *([f"| … | | | {more:,} more |"] if more > 0 else []), ""]


def _sum(parts: Mapping[str, int]) -> str:
    return " + ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in parts.items() if count)


def _cell(text: Any) -> str:
    return str(text or "").replace("|", "\\|").replace("\n", " ")
