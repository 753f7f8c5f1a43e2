"""What the commands that look back print: tables, or JSON. No decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pandas as pd
from rich.markup import escape

from flows.commands.output import write_json
from flows.commands.tables import print_table
from flows.commands.terminal import console, print_frame, say
from flows.state.people import Forgotten
from schemas.errors import EXIT_DONE, EXIT_INCOMPLETE
from transforms.report.history import HISTORY_RUNS, draw_sparkline, list_history
from transforms.report.words import MEASURES
from transforms.words import plural

_BARS = ("changes", "people", "quarantined", "rejected", "seconds")
_NUMBERS = ("create", "update", "delete", "people", "quarantined", "rejected", "seconds")


def print_runs(runs: pd.DataFrame, *, as_json: bool) -> None:
    """The history, newest first, and a line of bars for each number of the last runs."""
    rows = runs.sort_values("started_at", ascending=False)
    verdicts = [
        orjson.loads(text).get("verdict", "") if isinstance(text, str) else ""
        for text in rows["summary_json"]
    ]
    if as_json:
        numbers = (
            {run["run_id"]: run for run in list_history(runs, limit=len(runs))} if len(runs) else {}
        )
        table = rows.assign(verdict=verdicts)[
            ["run_id", "kind", "started_at", "status", "exit_code", "verdict"]
        ]
        for name in ("changes", *_NUMBERS):
            table[name] = [numbers.get(run_id, {}).get(name) for run_id in table["run_id"]]
        print_frame(table, as_json=True, empty="no run yet")
        return
    history = list_history(runs)
    if len(history) > 1:
        say(
            f"The last {plural(len(history), 'sync or apply', 'syncs and applies')}, oldest first; "
            "the tallest bar is the largest number."
        )
        table = []
        for measure in _BARS:
            values = [run[measure] for run in history]
            known = [value for value in values if value is not None]
            table.append(
                [
                    MEASURES[measure],
                    draw_sparkline(values),
                    _number(max(known, default=None)),
                    _number(values[-1]),
                ]
            )
        print_table(console, ["", "runs", "largest", "last"], table, right=("largest", "last"))
        say("")
    newest = rows.assign(verdict=verdicts)[
        ["run_id", "kind", "started_at", "status", "exit_code", "verdict"]
    ].head(HISTORY_RUNS)
    print_frame(newest, as_json=False, empty="no run yet", wrap=True)
    if len(rows) > len(newest):
        say(f"… and {len(rows) - len(newest):,} older; --json lists them all")


def print_trace(trace: Mapping[str, Any], *, as_json: bool) -> None:
    """The life of an event or an invitation."""
    if as_json:
        write_json(orjson.dumps(trace, option=orjson.OPT_INDENT_2))
        return
    what = f"invitation of the event {trace['event']}" if trace["invitation"] else "event"
    console.print(f"[bold]{escape(trace['source_id'])}[/] is an {what}", soft_wrap=True)
    for line in trace["standing"]:
        say(f"  {line}")
    say("")
    if trace["life"]:
        say("Its life, oldest first:")
        table = []
        for row in trace["life"]:
            status = row["state"] + (f" {row['code']}" if row["code"] else "")
            table.append(
                [
                    str(text)
                    for text in (row["when"], row["run_id"], row["action"], status, row["what"])
                ]
            )
        print_table(console, ["when", "run", "action", "status", "what"], table, wrap=True)
    else:
        say("No plan ever changed it.")


def print_comparison(comparison: Mapping[str, Any], *, as_json: bool) -> None:
    """Two runs side by side."""
    if as_json:
        write_json(orjson.dumps(comparison, option=orjson.OPT_INDENT_2))
        return
    a, b = comparison["runs"]
    table = [
        ["began", a["started_at"], b["started_at"], ""],
        ["ended", a["status"], b["status"], ""],
    ]
    for row in comparison["numbers"]:
        change = "" if row["a"] is None or row["b"] is None else f"{row['b'] - row['a']:+,.10g}"
        table.append([MEASURES[row["measure"]], _number(row["a"]), _number(row["b"]), change])
    print_table(console, ["", a["run_id"], b["run_id"], "difference"], table)
    for key, words in (
        ("both", "changed by both"),
        ("only_a", f"changed by {a['run_id']} alone"),
        ("only_b", f"changed by {b['run_id']} alone"),
    ):
        events = comparison[key]
        say("")
        say(f"{plural(events['count'], 'event')} {words}{':' if events['first'] else ''}")
        for row in events["first"]:
            say(f"  {row['source_id']}: {row['what']}")
        if events["count"] > len(events["first"]):
            say(
                f"  … and {events['count'] - len(events['first']):,} more; "
                "changes.csv of the runs lists them"
            )


def print_forgotten(found: Forgotten, keep_inactive_days: int) -> int:
    """What `forget` did and what waits; 3 when something waits."""
    if found.complete and not (found.events or found.changes or found.reports or found.visits):
        say(
            "nothing to forget: neither the state nor a report knows this address. "
            "Was it written as the source has it? Backups are yours to clean"
        )
        return EXIT_DONE
    say(
        f"forgotten: {plural(found.events, 'ended event')}, {plural(found.changes, 'change')} of "
        f"the ledger, {plural(found.reports, 'report')}, {plural(found.visits, 'visit')}; "
        "essentry was not called"
    )
    if found.upcoming:
        shown = ", ".join(found.upcoming[:3]) + (", …" if len(found.upcoming) > 3 else "")
        until = f", the last until {found.until:%Y-%m-%d}" if found.until else ""
        say(
            f"waits: {plural(len(found.upcoming), 'meeting')} still to come invite this guest "
            f"({shown}){until}. Take the guest out in the source "
            "first (the next night cancels the invitation), or run this again when they are over"
        )
    if found.waiting:
        say(
            f"waits: {plural(found.waiting, 'change')} of a plan that may still be sent; "
            "run this again after the next night"
        )
    if found.unanswered:
        say(
            f"waits: {plural(found.unanswered, 'request')} whose outcome is unknown; "
            "run this again when a night has settled them"
        )
    if found.numbers and not found.upcoming:
        say(
            "waits: the keyed digest of the address, which keeps the invitation ids of these "
            f"events, for up to {keep_inactive_days} days (state.keep_inactive_days); "
            "run this again then"
        )
    return EXIT_DONE if found.complete else EXIT_INCOMPLETE


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.10g}"
