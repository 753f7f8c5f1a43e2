"""The summary of a run on the terminal: the verdict, then what needs somebody, then the rest.
Renders a report, decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from flows.commands.called import spell_command
from flows.commands.output import write_json
from flows.commands.tables import print_table
from flows.commands.terminal import console, say
from flows.night.session import Result
from transforms.report.changes import tell_changes
from transforms.report.problems import describe_problem
from transforms.report.words import Wording
from transforms.words import plural

IDS = 10
"""Ids that are named one by one; the report has all."""


def print_result(result: Result, *, as_json: bool, listed: int = 0) -> None:
    """The summary of a run. listed: how many of its changes are told one by one, cancellations
    first; people are masked.
    """
    report = result.report
    if as_json:
        write_json(orjson.dumps(report, option=orjson.OPT_INDENT_2, default=str))
        return
    say("")
    style = "bold green" if result.exit_code == 0 else "bold yellow"
    console.print(report["verdict"], style=style, markup=False, soft_wrap=True)
    asking = list(_tell_asking(report))
    if asking:
        say("")
        say("what needs somebody:")
        for line in asking:
            say(f"  {line}")
    if "counts" in report:
        if listed:
            _print_changes(result, listed)
        say("")
        _print_numbers(report)
    say(f"report: {result.folder / 'report.html'}")


def _tell_asking(report: Mapping[str, Any]) -> Iterator[str]:
    """Lines of what waits for a person: guards and their release, events by id, sources, then
    quarantine, a line a reason.
    """
    plan = report.get("plan", {})
    approval, guards = plan.get("approval"), report.get("guards", [])
    for finding in guards:
        yield f"guard {finding['guard']}: {finding['message']}"
        yield from (f"  {cause}" for cause in finding["causes"][:3])
    if guards and approval:
        yield (
            f"released by {approval['by']} (plan "
            f"{approval['plan_id']}){': ' if approval['reason'] else ''}{approval['reason']}"
        )
    elif commands := plan.get("commands"):
        yield f"to {'release' if guards else 'send'} it: {', then '.join(commands)}"
    problems = [
        problem
        for problem in report["problems"]
        if problem["state"] not in ("quarantined", "failed")
    ]
    yield from (
        f"{p['state']}: {p['source_id']} {describe_problem(p)}".rstrip() for p in problems[:IDS]
    )
    groups = [
        group
        for group in report["problem_groups"]
        if group["state"] not in ("quarantined", "failed")
    ]
    more = sum(group["events"] for group in groups) - len(problems[:IDS])
    if more > 0:
        yield f"and {plural(more, 'event')} more: the report names them"
    yield from (
        f"source {name} failed: {text}" for name, text in report.get("failed_sources", {}).items()
    )
    yield from _tell_quarantine(report)


def _tell_quarantine(report: Mapping[str, Any]) -> Iterator[str]:
    """A line a reason, most rows first; what no run told of before is named by its id."""
    rows: dict[tuple[str, str], int] = {}
    for group in report.get("quarantined", []):
        key = group["check"], group["remedy"]
        rows[key] = rows.get(key, 0) + group["rows"]
    first: dict[str, list[str]] = {}
    for problem in report["problems"]:
        if problem["state"] == "quarantined":
            first.setdefault(problem["code"], []).append(problem["source_id"])
    told = set()
    for (check, remedy), count in sorted(rows.items(), key=lambda item: -item[1]):
        new = first.get(check, []) if check not in told else []
        told.add(check)
        yield f"quarantined: {plural(count, 'row')}, {remedy}{_name_first(new)}"
    yield from (
        f"quarantined: {check}{_name_first(ids)}"
        for check, ids in first.items()
        if check not in told
    )
    if rows or first:
        run = report["run"]["run_id"]
        yield (
            f"see `{spell_command(f'essentry-sync quarantine {run}')}`: each row, "
            "its value and what to do"
        )


def _name_first(ids: list[str]) -> str:
    shown = ", ".join(ids[:IDS]) + (f" and {len(ids) - IDS:,} more" if len(ids) > IDS else "")
    return f" (for the first time: {shown})" if ids else ""


def _print_numbers(report: Mapping[str, Any]) -> None:
    counts = {name: count for name, count in report["counts"].items() if count}
    table = [["in all", *(f"{count:,}" for count in counts.values())]]
    for source, actions in report["by_source"].items():
        table.append(
            [source, *(f"{actions.get(name, 0):,}" if name in actions else "" for name in counts)]
        )
    print_table(console, ["events", *counts], table, right=list(counts))
    sent = bool(report["load"])
    people = report["people_mailed"] if sent else report["people"]
    say(
        f"people {'mailed' if sent else 'who would be mailed'}: {people['total']:,} (invited "
        f"{people['invited']:,}, updated {people['updated']:,}, cancelled {people['cancelled']:,})"
    )
    if sent:
        say(f"requests: {report['load']['requests']:,}, retries: {report['load']['retries']:,}")
    say("seconds: " + ", ".join(f"{step} {value:.1f}" for step, value in report["seconds"].items()))


def _print_changes(result: Result, listed: int) -> None:
    """What would be sent, from the report's file; the night itself does not keep it in memory."""
    file = result.folder / "report.json"
    total = result.report["listing"]["total"]
    if not total or not file.exists():
        return
    changes = orjson.loads(file.read_bytes()).get("changes", [])
    wording = Wording(
        result.report["timezone"],
        masked=True,
        locations={int(key): name for key, name in result.report["places"].items()},
    )
    rows = tell_changes(changes, wording, limit=listed)
    say("")
    say(f"what {'was' if result.report['load'] else 'would be'} sent, cancellations first:")
    print_table(
        console,
        ["action", "start", "event", "what"],
        [[row[key] for key in ("action", "start", "event", "what")] for row in rows],
    )
    if total > len(rows):
        say(
            f"and {total - len(rows):,} more: the report lists them, and --list N tells N of them "
            "here"
        )
