"""The report as Markdown: fits a pull-request comment or a Prefect artifact. People are never
named. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transforms.masking import mask_text
from transforms.report.changes import tell_changes
from transforms.report.problems import describe_problem
from transforms.report.words import MEASURES, Wording
from transforms.words import plural

SAMPLE = 50
_CELL = 300


def render_markdown(report: Mapping[str, Any], wording: Wording | None = None) -> str:
    """The whole report; of a run that ended before there was a plan, the verdict alone. wording:
    lists its first `listed` changes, too.
    """
    run = report["run"]
    title = [
        f"# essentry-sync {run['kind']} {run['run_id']}",
        "",
        f"**{_plain(report['verdict'])}**",
        "",
    ]
    if "counts" not in report:
        return "\n".join([*title, *_problems(report)])
    parts = [
        _numbers(report),
        _attention(report),
        _list_changes(report, wording),
        _changes(report),
        _attendance(report),
        _balance(report),
    ]
    return "\n".join([*title, *(line for part in parts for line in part)])


def list_attention(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """What needs a person as rows: what, how many, what it means, what to do; the first of what is
    meant. People are never named.
    """
    rows = [
        {
            "what": f"guard {guard['guard']}",
            "how many": f"{guard['number']:g}",
            "meaning": mask_text(guard["message"]),
            "do": "read the report",
            "first": "",
        }
        for guard in report.get("guards", [])
    ]
    for group in report.get("problem_groups", []):
        mine = [
            p["source_id"]
            for p in report["problems"]
            if (p["code"], p["state"]) == (group["code"], group["state"])
        ]
        what = f"{group['state']} {group['code'] or ''}".strip()
        rows.append(_row(what, group["events"], group["meaning"], group["remedy"], mine))
    for group in report.get("quarantined", []):
        reason, _, remedy = group["remedy"].partition(": ")
        keys = [sample["source_event_id"] for sample in group["samples"]]
        rows.append(
            _row(
                f"quarantined {group['source']} {group['part']}",
                group["rows"],
                reason,
                remedy,
                keys,
            )
        )
    return rows


def _row(what: str, count: int, meaning: str, remedy: str, first: list[Any]) -> dict[str, str]:
    shown = mask_text(", ".join(str(key) for key in first[:3] if key is not None))
    return {
        "what": what,
        "how many": f"{count:,}",
        "meaning": meaning,
        "do": remedy,
        "first": shown,
    }


def _numbers(report: Mapping[str, Any]) -> list[str]:
    sent = bool(report["load"])
    people, verb = (
        (report["people_mailed"], "mailed") if sent else (report["people"], "who would be mailed")
    )
    lines = [
        "| action | events |",
        "|---|---:|",
        *(f"| {name} | {count:,} |" for name, count in report["counts"].items() if count),
        "",
        (
            f"People {verb}: {people['total']:,} (invited {people['invited']:,}, "
            f"updated {people['updated']:,}, cancelled {people['cancelled']:,})."
        ),
        "",
    ]
    odd = [
        (
            f"{MEASURES[item['measure']]} {item['value']:,g} (before: {item['low']:,g} to "
            f"{item['high']:,g})"
        )
        for item in report["usual"]
        if item["unusual"]
    ]
    lines += [f"Not a usual night: {', '.join(odd)}.", ""] if odd else []
    return lines


def _attention(report: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    if report["guards"]:
        lines += ["## Guards that tripped", ""]
        for guard in report["guards"]:
            lines += [
                f"- `{guard['guard']}` {_plain(guard['message'])}",
                *(f"  - {_cell(cause)}" for cause in guard["causes"]),
            ]
        lines += [""]
    approval = report["plan"]["approval"]
    if approval:
        who = f"{approval['by']} on {approval['at'][:16].replace('T', ' ')} UTC"
        lines += [
            (
                f"Released by {who} (plan {approval['plan_id']}): "
                f"{_cell(approval['reason']) or 'no reason given'}."
            ),
            "",
        ]
    if report["plan"]["commands"]:
        lines += [f"This plan waits, digest `{report['plan']['digest'][:16]}`. To send it:", ""]
        lines += [*(f"    {command}" for command in report["plan"]["commands"]), ""]
    lines += _problems(report)
    if report["quarantined"]:
        lines += [
            "## Quarantined rows",
            "",
            "| source | rows | reason and remedy | first keys |",
            "|---|---:|---|---|",
        ]
        for group in report["quarantined"]:
            keys = ", ".join(
                f"`{_cell(sample['source_event_id'])}`" for sample in group["samples"][:3]
            )
            lines += [
                (
                    f"| {group['source']} {group['part']} | {group['rows']:,} | "
                    f"{_cell(group['remedy'])} | {keys} |"
                )
            ]
        lines += [""]
    if report["uncleared"]:
        lines += ["## What may still stand in essentry though the source has it no more", ""]
        for mark in report["uncleared"][:SAMPLE]:
            where = mark["invitation_id"] or mark["source_id"]
            lines += [f"- `{_cell(where)}` {_cell(mark['field'])}: {_cell(mark['meaning'])}"]
        more = report["uncleared_total"] - SAMPLE
        lines += [*([f"- {more:,} more"] if more > 0 else []), ""]
    if report["odd_times"]:
        keys = ", ".join(
            f"`{_cell(row['source_event_id'])}` {_cell(row['value'])}"
            for row in report["odd_times"][:5]
        )
        lines += [
            (
                "Clock times that a change of clocks made ambiguous: "
                f"{keys}{', …' if len(report['odd_times']) > 5 else ''}"
            ),
            "",
        ]
    lines += [
        f"- source {name} failed: {_plain(text)}" for name, text in report["failed_sources"].items()
    ]
    return lines + _audit(report)


def _audit(report: Mapping[str, Any]) -> list[str]:
    found = report.get("audit")
    if not found:
        return []
    at = found["at"][:16].replace("T", " ")
    lines = [f"## The audit of {at} UTC", "", f"{_plain(found['verdict'])}.", ""]
    lines += [
        f"- {row['kind']} `{_cell(row['invitation_id'] or row['source_id'])}`"
        + (f": {_cell(row['differs'])}" if row["differs"] else "")
        for row in found["findings"][:SAMPLE]
    ]
    more = found["findings_total"] - SAMPLE
    lines += [f"- {more:,} more"] if more > 0 else []
    return [*lines, *([""] if found["findings"] else [])]


def _attendance(report: Mapping[str, Any]) -> list[str]:
    came = report.get("attendance")
    if not came:
        return []
    lines = [
        f"## Who came on {came['day']}",
        "",
        "| location | expected | arrived | no-shows | walk-ins | by other invitations |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in came["locations"][:SAMPLE]:
        key = str(row["location_id"])
        name = report["places"].get(key)
        numbers = [row[name] for name in ("expected", "arrived", "no_shows", "walk_ins", "others")]
        place = f"{_cell(name)} ({key})" if name else key
        lines += [f"| {place} | {' | '.join(f'{number:,}' for number in numbers)} |"]
    return [*lines, *(["| nobody | | | | | |"] if not came["locations"] else []), ""]


def _problems(report: Mapping[str, Any]) -> list[str]:
    # a source is told by its name
    groups = [group for group in report["problem_groups"] if group["state"] != "failed"]
    if not groups:
        return []
    lines = ["## Events that need somebody", ""]
    for group in groups:
        lines += [
            (
                f"- {plural(group['events'], 'event')} `{group['code'] or group['state']}`: "
                f"{group['meaning']}. {_sentence(group['remedy'])}"
            )
        ]
    lines += ["", "| event | action | state | why |", "|---|---|---|---|"]
    lines += [
        (
            f"| `{_cell(p['source_id'])}` | {p['action']} | {p['state']} | "
            f"{_cell(describe_problem(p))} |"
        )
        for p in [problem for problem in report["problems"] if problem["state"] != "failed"][
            :SAMPLE
        ]
    ]
    more = report["problems_total"] - SAMPLE
    return [*lines, *([f"| … | | | {more:,} more |"] if more > 0 else []), ""]


def _list_changes(report: Mapping[str, Any], wording: Wording | None) -> list[str]:
    rows = tell_changes(report.get("changes", []), wording, limit=wording.listed) if wording else []
    if not rows:
        return []
    lines = [
        f"## What {'was' if report['load'] else 'would be'} sent",
        "",
        "| action | start | event | what |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['action']} | {row['start']} | `{_cell(row['event'])}` | {_cell(row['what'])} |"
        for row in rows
    ]
    more = report["listing"]["total"] - len(rows)
    return [*lines, *([f"| … | | | {more:,} more, in changes.csv |"] if more > 0 else []), ""]


def _changes(report: Mapping[str, Any]) -> list[str]:
    if not report["by_location"]:
        return []
    lines = [
        "## Changes by location",
        "",
        "| location | new | updated | cancelled |",
        "|---|---:|---:|---:|",
    ]
    for key, counts in list(report["by_location"].items())[:SAMPLE]:
        name = report["places"].get(key)
        place = f"{_cell(name)} ({key})" if name else key
        lines += [
            (
                f"| {place} | {counts.get('create', 0):,} | {counts.get('update', 0):,} | "
                f"{counts.get('delete', 0):,} |"
            )
        ]
    return [*lines, ""]


def _balance(report: Mapping[str, Any]) -> list[str]:
    balance = report["balance"]
    lines = [
        "## Balance",
        "",
        f"Rows read: {balance['rows_read']:,} = " + (_sum(balance["rows"]) or "0"),
        "",
    ]
    lines += [
        f"Snapshot rows before: {balance['snapshot_before']:,} = "
        + (_sum(balance["snapshot"]) or "0"),
        "",
    ]
    if not balance["rows_balanced"] or not balance["snapshot_balanced"]:
        lines += ["**A sum does not hold: a row was lost. Report this.**", ""]
    if report["notes"]:
        lines += [
            "Notes: "
            + ", ".join(
                f"{key.replace('_', ' ')} {value:,}"
                for key, value in sorted(report["notes"].items())
            ),
            "",
        ]
    return [
        *lines,
        "Seconds: " + ", ".join(f"{step} {value:.2f}" for step, value in report["seconds"].items()),
        "",
    ]


def _sum(parts: Mapping[str, int]) -> str:
    return " + ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in parts.items() if count
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _cell(text: Any) -> str:
    """One line, no table syntax, no markup, no link or picture, no address of a person."""
    return _escape(mask_text(str(text if text is not None else ""))[:_CELL]).replace("`", "'")


def _plain(text: str) -> str:
    """A message of ours, which may quote others and name commands, as text."""
    return _escape(mask_text(text))


def _escape(text: str) -> str:
    return (
        text.replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("[", "\\[")
        .replace("\n", " ")
        .replace("<", "&lt;")
    )
