"""Random histories and kill points in parallel, and one table at the end; exit code 1 when anything
did not hold.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from tests.chaos.history import Broken, run_history
from tests.chaos.kills import choose_points, kill_once, prepare_night
from tests.chaos.odd import run_odd
from tests.chaos.week import run_week

SHARE = 5
"""Histories a worker lives before it tells."""
WEEKS_EACH = 100
"""One week of hourly runs for so many histories."""
ODD_EACH = 10
"""One night over odd values for so many histories."""
GROUPS = {
    "night": "nights ended",
    "fault": "faults of essentry and of the process",
    "source": "faults of the sources",
    "company": "what happened in the company",
    "hour": "hourly runs of whole weeks, by how they ended",
    "turn": "turns of a life, each with nights of its own",
    "odd": (
        "nights over odd values: engines, state stores, what the rows held and what became of them"
    ),
}


def live_histories(seeds: list[int]) -> tuple[Counter[str], list[str]]:
    """Some histories with a sandbox of their own: what happened, and what did not hold."""
    logging.disable(logging.CRITICAL)  # what a run says of itself is in its report
    seen: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = SandboxSettings(
            on_deleted="resurrect", persist_path=Path(folder) / "sandbox.sqlite"
        )
        with SandboxServer(settings) as sandbox:
            for seed in seeds:
                seen["histories"] += 1
                try:
                    seen += run_history(seed, sandbox)
                    seen["held"] += 1
                except Exception as error:
                    words = (
                        str(error)
                        if isinstance(error, Broken)
                        else "".join(traceback.format_exception(error)[-3:])
                    )
                    failures.append(
                        f"seed {seed}: {words.strip()[:1500]}\n    repeat it: just chaos 1 {seed}"
                    )
    return seen, failures


def live_week(seed: int) -> tuple[Counter[str], list[str]]:
    """One week of hourly runs."""
    logging.disable(logging.CRITICAL)
    with SandboxServer(SandboxSettings(on_deleted="resurrect")) as sandbox:
        try:
            return run_week(seed, sandbox) + Counter({"weeks": 1, "weeks held": 1}), []
        except Exception as error:
            words = (
                str(error)
                if isinstance(error, Broken)
                else "".join(traceback.format_exception(error)[-3:])
            )
            return Counter({"weeks": 1}), [f"week {seed}: {words.strip()[:1500]}"]


def live_odd(seeds: list[int]) -> tuple[Counter[str], list[str]]:
    """Nights over odd values, with a sandbox of their own."""
    logging.disable(logging.CRITICAL)
    seen: Counter[str] = Counter()
    failures: list[str] = []
    with SandboxServer(SandboxSettings()) as sandbox:
        for seed in seeds:
            seen["odd nights"] += 1
            try:
                seen += run_odd(seed, sandbox)
                seen["odd nights held"] += 1
            except Exception as error:
                words = (
                    str(error)
                    if isinstance(error, Broken)
                    else "".join(traceback.format_exception(error)[-3:])
                )
                failures.append(
                    f"odd values {seed}: {words.strip()[:1500]}\n    repeat it: "
                    f"just chaos 0 {seed} --odd 1"
                )
    return seen, failures


def live_kills(most: int | None = None) -> tuple[Counter[str], list[str]]:
    """Every kill point, or the first `most`: what happened, and what did not hold."""
    logging.disable(logging.CRITICAL)
    seen: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as name, SandboxServer(SandboxSettings()) as sandbox:
        os.environ["ESSENTRY_TOKEN"], os.environ["ESSENTRY_AGENT_TOKEN"] = (
            sandbox.token,
            sandbox.agent_token,
        )
        quiet = prepare_night(Path(name), sandbox)
        for point, nth in choose_points(quiet.steps)[:most]:
            seen["kill points"] += 1
            try:
                again = kill_once(quiet, point, nth, Path(name) / "killed", sandbox)
                seen["kill points held"] += 1
                seen["events sent twice after a kill (most in one night)"] = max(
                    seen["events sent twice after a kill (most in one night)"], again
                )
            except Exception as error:
                failures.append(f"killed {point}, time {nth}: {str(error).strip()[:1500]}")
    return seen, failures


def print_table(seen: Counter[str], failures: list[str], first: int, seconds: float) -> None:
    """The result for a person."""
    lines = [
        ("histories lived", seen["histories"]),
        ("  ended in the truth, nobody cancelled by mistake, every failure told", seen["held"]),
    ]
    lines += [
        ("weeks of hourly runs", seen["weeks"]),
        ("  below the limits of a day, ended in the truth", seen["weeks held"]),
    ]
    lines += [("fuzzes of odd values", seen["odd nights"])]
    lines += [("  no exit 1, nothing refused, every row sent or told of", seen["odd nights held"])]
    lines += [
        ("kill points", seen["kill points"]),
        ("  same end as the quiet night, no mail more or less", seen["kill points held"]),
    ]
    name = "events sent twice after a kill (most in one night)"
    lines += [("  " + name, seen[name])] if name in seen else []
    for group, title in GROUPS.items():
        rows = [
            (key.removeprefix(f"{group}: "), count)
            for key, count in sorted(seen.items())
            if key.startswith(f"{group}: ")
        ]
        lines += [
            ("", ""),
            (title, sum(count for _, count in rows)),
            *((f"  {key}", count) for key, count in rows),
        ]
    other = [
        (key, n) for key, n in sorted(seen.items()) if " = " in key or key.startswith("state on")
    ]
    lines += [("", ""), ("settings drawn", ""), *((f"  {key}", count) for key, count in other)]
    width = max(len(label) for label, _ in lines) + 2
    for label, count in lines:
        sys.stdout.write(
            f"{label:{width}}{count:>8,}\n" if isinstance(count, int) else f"{label}\n"
        )
    sys.stdout.write(f"\nfirst seed {first}, {seconds:.0f} seconds\n")
    for failure in failures:
        sys.stdout.write(f"\nDID NOT HOLD  {failure}\n")
    sys.stdout.write("everything held\n" if not failures else f"\n{len(failures)} did not hold\n")


def main() -> int:
    """Run all of it; 0 when everything held."""
    parser = argparse.ArgumentParser(prog="just chaos", description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=500, help="histories (default 500)")
    parser.add_argument("first", nargs="?", type=int, default=0, help="first seed (default 0)")
    parser.add_argument(
        "--odd", type=int, help="fuzzes of odd values (default one for ten histories)"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    seen: Counter[str] = Counter()
    failures: list[str] = []
    start = time.perf_counter()
    if Path("/dev/shm").is_dir():
        # a killed process needs no disk that survives a power cut
        os.environ.setdefault("TMPDIR", "/dev/shm")
    seeds = list(range(options.first, options.first + options.count))
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(live_kills)] if options.count > 1 else []
        jobs += [pool.submit(live_week, seed) for seed in seeds[WEEKS_EACH - 1 :: WEEKS_EACH]]
        fuzzes = range(
            options.first,
            options.first + (options.count // ODD_EACH if options.odd is None else options.odd),
        )
        jobs += [
            pool.submit(live_odd, list(fuzzes[first : first + SHARE]))
            for first in range(0, len(fuzzes), SHARE)
        ]
        jobs += [
            pool.submit(live_histories, seeds[first : first + SHARE])
            for first in range(0, len(seeds), SHARE)
        ]
        for job in as_completed(jobs):
            more, broken = job.result()
            seen += more
            failures += broken
            sys.stderr.write("".join(f"\nDID NOT HOLD  {failure}\n" for failure in broken))
            sys.stderr.write(
                f"\r{seen['histories']} histories, {seen['kill points']} kill points, "
                f"{len(failures)} did not hold "
            )
            sys.stderr.flush()
    sys.stderr.write("\n")
    print_table(seen, sorted(failures), options.first, time.perf_counter() - start)
    return 1 if failures else 0
