"""`just bench [ROWS …]`: every contender in a process of its own, turn by turn, three rounds; a
table as Markdown and JSON.

Seconds are medians of the rounds; what counts are the ratios of one run. At W and above the naive
script runs one night, once: it takes many minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

from tests.bench.company import W, save_nights
from tests.bench.databases import (
    MARIADB,
    POSTGRESQL,
    database_url,
    fill_database,
    read_night,
)

PORT = 9417
STEPS = (
    "transform",
    "diff",
    "guard",
    "payload",
    "load",
    "load and snapshot",
    "snapshot",
    "report",
    "extract",
)
NAIVE_ONCE_FROM = W


def run(name: str, rows: int, folder: Path) -> dict[str, Any]:
    """One contender, one process."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.bench.contenders",
        name,
        str(rows),
        str(folder),
        f"http://127.0.0.1:{PORT}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    # a long benchmark that is cut short leaves what it measured
    with (folder / "runs.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"name": name, "rows": rows, **told}) + "\n")
    sys.stderr.write(
        f"{rows:>10,}  {name:26} {sum(told['seconds'].values()):9.2f} s  {told['peak_gb']:.2f} GB\n"
    )
    return told


def measure(rows: int, folder: Path, *, rounds: int, naive: bool) -> dict[str, dict[str, Any]]:
    """All contenders at one size: name → seconds by step (medians), counts, peak."""
    divided = (
        ["ours divided night 1", "ours divided night 2"]
        if rows >= W and _answers(POSTGRESQL, "postgresql")
        else []
    )
    if rows > W:  # too large for frames of a whole night
        return {name: _middle([run(name, rows, folder)]) for name in divided}
    contenders = [
        "ours night 2",
        "engine night 2",
        "diff duckdb",
        "diff polars",
        "client",
        "extract sqlite ours",
        "extract sqlite adbc",
    ]
    for kind, server in (("postgresql", POSTGRESQL), ("mariadb", MARIADB)):
        # filling MariaDB by rows takes long
        if _answers(server, kind) and (kind == "postgresql" or rows < NAIVE_ONCE_FROM):
            contenders += [
                f"extract {kind} ours",
                *([f"extract {kind} {way}" for way in ("adbc", "dlt") if kind == "postgresql"]),
            ]
            fill_database(database_url(kind, rows, folder), rows, partial(read_night, folder, 1))
    fill_database(database_url("sqlite", rows, folder), rows, partial(read_night, folder, 1))
    first = "naive night 1" if rows < NAIVE_ONCE_FROM else "naive prepared"
    once = [
        "ours night 1",
        "engine night 1",
        *divided,
        *([first, "diff datacompy", "extract postgresql naive"] if naive else []),
    ]
    results = {name: [run(name, rows, folder)] for name in once}
    if naive and rows < NAIVE_ONCE_FROM:
        contenders.insert(1, "naive night 2")
    elif naive:
        results["naive night 2"] = [run("naive night 2", rows, folder)]
    for _ in range(rounds):
        for name in contenders:
            results.setdefault(name, []).append(run(name, rows, folder))
    return {name: _middle(runs) for name, runs in results.items() if name != "naive prepared"}


def _answers(server: str, kind: str) -> bool:
    import sqlalchemy as sa

    try:
        with sa.create_engine(
            f"{server}/postgres" if kind == "postgresql" else f"{server}/"
        ).connect():
            return True
    except sa.exc.SQLAlchemyError:
        return False


def _middle(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    steps = runs[0]["seconds"]
    seconds = {step: round(median(run["seconds"][step] for run in runs), 3) for step in steps}
    return {
        "seconds": seconds,
        "counts": runs[0]["counts"],
        "peak_gb": max(run["peak_gb"] for run in runs),
        "rounds": len(runs),
    }


def tabulate(results: dict[int, dict[str, dict[str, Any]]]) -> list[str]:
    """The tables and the targets as Markdown lines."""
    lines: list[str] = []
    for rows, table in results.items():
        lines += [
            f"### {rows:,} events, {3 * rows:,} guests",
            "",
            (
                "| step | contender | rows | seconds | rows/s | times as fast as naive | times as "
                "long as the best | peak GB | rounds |"
            ),
            "|---|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for step, names in _list_steps(table):
            seconds = {name: _seconds(table[name], step) for name in names}
            naive = next((taken for name, taken in seconds.items() if "naive" in name), None)
            for name, taken in seconds.items():
                ratio = f"{naive / taken:.1f}" if naive else ""
                against_best = f"{taken / min(seconds.values()):.2f}" if len(seconds) > 1 else ""
                counted = f"{rows:,} | {taken:.2f} | {rows / taken:,.0f}"
                lines += [
                    (
                        f"| {step} | {name} | {counted} | {ratio} | {against_best} | "
                        f"{table[name]['peak_gb']:.2f} | {table[name]['rounds']} |"
                    )
                ]
        lines += [""]
    return lines + _list_targets(results)


WHOLE = "transform → snapshot"
_WHOLE_OURS = ("plan, whole", "load and snapshot")
_WHOLE_NAIVE = ("transform", "diff", "payload", "load", "snapshot")


def _seconds(result: dict[str, Any], step: str) -> float:
    seconds = result["seconds"]
    if step == WHOLE:
        return float(
            sum(
                seconds[name]
                for name in (_WHOLE_OURS if "plan, whole" in seconds else _WHOLE_NAIVE)
            )
        )
    return float(seconds.get(step, 0.0))


def _list_steps(table: dict[str, dict[str, Any]]) -> list[tuple[str, list[str]]]:
    nights = [
        name
        for name in ("ours night 2", "ours divided night 2", "engine night 2", "naive night 2")
        if name in table
    ]
    steps: list[tuple[str, list[str]]] = [(WHOLE, nights)]
    steps += [
        (step, [n for n in nights if step in table[n]["seconds"]])
        for step in STEPS
        if step not in ("extract", "load", "diff")
    ]
    steps += [("diff", [*nights, *(name for name in table if name.startswith("diff "))])]
    # first loads
    steps += [
        (
            WHOLE,
            [
                name
                for name in (
                    "ours night 1",
                    "ours divided night 1",
                    "engine night 1",
                    "naive night 1",
                )
                if name in table
            ],
        )
    ]
    steps += [("load", ["client"] if "client" in table else [])]
    steps += [("extract", [name for name in table if name.startswith("ours divided")])]
    steps += [
        ("extract", [n for n in table if n.startswith(f"extract {kind}")])
        for kind in ("postgresql", "sqlite", "mariadb")
    ]
    return [(step, names) for step, names in steps if names]


def _list_targets(results: dict[int, dict[str, dict[str, Any]]]) -> list[str]:
    """Each target, what was measured, and whether it was met."""
    whole = {rows: table for rows, table in results.items() if "ours night 2" in table}
    found: list[tuple[str, float, str, bool]] = []

    def add(words: str, value: float, unit: str, met: bool) -> None:
        found.append((words, value, unit, met))

    rows = max(whole, default=0)
    table = whole.get(rows, {})
    if table:
        _add_targets(add, rows, table)
    if len(whole) > 1:
        small = min(whole)
        ratio = _seconds(table["ours night 2"], WHOLE) / _seconds(
            whole[small]["ours night 2"], WHOLE
        )
        allowed = 12 * rows / small / 10
        add(
            f"{rows // small} times the rows: at most {allowed:g} times the time",
            ratio,
            "×",
            ratio <= allowed,
        )
    for large, parts in results.items():
        if large > W and parts:
            peak = parts["ours divided night 1"]["peak_gb"]
            add(
                (
                    f"peak memory of a first load of {large:,} events in parts: "
                    "at most 8 GB at ten times W"
                ),
                peak,
                " GB",
                peak <= 8,
            )
    lines = [f"| target at {rows:,} events | measured | |", "|---|---:|---|"]
    return lines + [
        f"| {words} | {value:,.2f}{unit} | {'met' if met else 'missed'} |"
        for words, value, unit, met in found
    ]


def _add_targets(
    add: Callable[[str, float, str, bool], None], rows: int, table: dict[str, dict[str, Any]]
) -> None:
    if "naive night 2" in table:
        ratio = _seconds(table["naive night 2"], WHOLE) / _seconds(table["ours night 2"], WHOLE)
        add(
            "a night, transform → snapshot: at least 15 times as fast as the naive script",
            ratio,
            "×",
            ratio >= 15,
        )
    ratio = _seconds(table["ours night 2"], WHOLE) / _seconds(table["engine night 2"], WHOLE)
    add(
        "a night, transform → snapshot: at most 1.5 times the engine's that owes nothing else",
        ratio,
        "×",
        ratio <= 1.5,
    )
    ratio = table["ours night 2"]["seconds"]["diff"] / table["diff duckdb"]["seconds"]["diff"]
    add("diff: at most 1.5 times DuckDB's", ratio, "×", ratio <= 1.5)
    for kind in ("postgresql", "sqlite"):
        if f"extract {kind} adbc" in table:
            ratio = (
                table[f"extract {kind} ours"]["seconds"]["extract"]
                / table[f"extract {kind} adbc"]["seconds"]["extract"]
            )
            add(f"extract, {kind}: at most 1.2 times ADBC alone", ratio, "×", ratio <= 1.2)
    client = rows / table["client"]["seconds"]["load"]
    add("client on loopback: at least 25,000 events/s", client, " events/s", client >= 25_000)
    speed = (
        table["ours night 1"]["counts"]["create"]
        / table["ours night 1"]["seconds"]["load and snapshot"]
    )
    add(
        "first load with its ledger on SQLite: at least 30,000 events/s",
        speed,
        " events/s",
        speed >= 30_000,
    )
    add(
        "… and at least 0.3 times the client alone",
        speed / client,
        "×",
        speed / client >= 0.3,
    )
    add(
        "peak memory of a night: at most 4 GB at W",
        table["ours night 2"]["peak_gb"],
        " GB",
        table["ours night 2"]["peak_gb"] <= 4,
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="just bench", description=__doc__)
    parser.add_argument(
        "rows",
        nargs="*",
        type=int,
        default=[W // 10, W],
        help="sizes in events; default W/10 and W",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--no-naive", action="store_true", help="leave out the naive script and datacompy"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("data/bench"), help="nights, databases and results"
    )
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    server = subprocess.Popen([sys.executable, "-m", "tests.bench.server", str(PORT)])
    results: dict[int, dict[str, dict[str, Any]]] = {}
    try:
        _wait_for_server()
        for rows in options.rows:
            (folder / str(rows)).mkdir(parents=True, exist_ok=True)
            if rows <= W and not (folder / str(rows) / "guests2.parquet").exists():
                save_nights(rows, folder / str(rows))
            results[rows] = measure(
                rows, folder / str(rows), rounds=options.rounds, naive=not options.no_naive
            )
    finally:
        server.terminate()
    when = datetime.now(UTC)
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{when:%Y-%m-%d}"
    )
    lines = [
        "# Benchmark",
        "",
        f"{machine}; seconds are medians, each contender in a process of its own, turn by turn.",
        "",
        *tabulate(results),
    ]
    (folder / "bench.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "bench.json").write_text(
        json.dumps({"machine": machine, "results": results}, indent=2), encoding="utf-8"
    )
    sys.stdout.write("\n".join(lines) + "\n")


def _wait_for_server() -> None:
    for _ in range(100):
        try:
            with urlopen(f"http://127.0.0.1:{PORT}/"):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the benchmark's server did not start")


if __name__ == "__main__":
    main()
