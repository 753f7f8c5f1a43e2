"""`python -m tests.bench.librebooking [BOOKINGS]`: how long LibreBooking's SELECTs take on MariaDB,
older ones against today's.

Turn by turn, three rounds, on the system's own tables with their keys; the rows of every SELECT are
compared first. An older SELECT is named by its commit, and read with `git show`.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from sqlalchemy import Engine, text

from tests.sources import librebooking
from tests.sources.databases import database
from tests.sources.truth import Tables

EVENTS = "data/sources/librebooking/events.sql"
FILED = "75fb129"
"""The commit whose SELECT is the one of the issue that asked for a better plan."""
WEEKS = 52
"""Occurrences of a weekly booking; a third of all bookings are such."""


def make_bookings(count: int) -> Tables:
    """`count` bookings with guests: every trap of the tests, weekly series, and a link attribute on
    one series in four.
    """
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    tables = librebooking.generate(seed=14, today=today, events=count)
    rng = random.Random(14)
    weekly = tables["reservation_instances"][count // 3 * 2 :]
    for number, row in enumerate(weekly):
        row["series_id"] = weekly[number - number % WEEKS]["series_id"]
    used = sorted({row["series_id"] for row in tables["reservation_instances"]})
    tables["custom_attribute_values"] += [
        {
            "custom_attribute_value_id": 10_000_000 + number,
            "custom_attribute_id": rng.choice((7, 7, 8)),
            "attribute_value": rng.choice((" ", "", f" {series} ", str(number))),
            "entity_id": series, "attribute_category": 1,
        }
        for number, series in enumerate(rng.choices(used, k=len(used) // 4))
    ]  # fmt: skip
    return tables


def insert(engine: Engine, tables: Tables) -> None:
    """Fill the tables as fast as the driver can."""
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("SET SESSION sql_mode = '', SESSION foreign_key_checks = 0")
        for table, rows in tables.items():
            if rows:
                columns = ", ".join(f"`{column}`" for column in rows[0])
                insert = (
                    f"INSERT INTO `{table}` ({columns}) VALUES ({', '.join(['%s'] * len(rows[0]))})"
                )
                cursor.executemany(insert, [tuple(row.values()) for row in rows])
                cursor.execute(f"ANALYZE TABLE `{table}`")
        connection.connection.commit()


def read(
    engine: Engine, select: str, params: dict[str, object]
) -> tuple[float, list[dict[str, object]]]:
    """Seconds until the last row was fetched, and the rows."""
    with engine.connect() as connection:
        start = time.perf_counter()
        rows = connection.execute(text(select), params).mappings().fetchall()
        seconds = time.perf_counter() - start
    return seconds, [dict(row) for row in rows]


def differing(old: list[dict[str, object]], new: list[dict[str, object]]) -> int:
    """How many rows of the older SELECT are none of the new one's, by the columns of the older."""
    columns = [name for name in old[0] if name in new[0]]
    counts = [Counter(tuple(row[name] for name in columns) for row in rows) for rows in (old, new)]
    return (counts[0] - counts[1]).total()


def main() -> int:
    """Compare and measure. An older SELECT may differ by what was decided since: such rows are
    counted.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bookings", nargs="?", type=int, default=200_000)
    parser.add_argument(
        "--against", nargs="*", default=[FILED], help="commits whose SELECT is measured, too"
    )
    parser.add_argument("--explain", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    selects = {
        commit: subprocess.run(
            ["git", "show", f"{commit}:{EVENTS}"], capture_output=True, text=True, check=True
        ).stdout
        for commit in options.against
    }
    selects["today"] = Path(EVENTS).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, database("mariadb", Path(folder)) as engine:
        librebooking.create_schema(engine)
        insert(engine, make_bookings(options.bookings))
        if options.explain:
            for name, select in selects.items():
                sys.stdout.write(f"-- {name}\n")
                with engine.connect() as connection:
                    for row in connection.execute(text("EXPLAIN " + select), librebooking.PARAMS):
                        sys.stdout.write(" | ".join(map(str, row)) + "\n")
        seconds: dict[str, list[float]] = {name: [] for name in selects}
        rows = {}
        for _ in range(options.rounds):
            for name, select in selects.items():
                took, rows[name] = read(engine, select, librebooking.PARAMS)
                seconds[name].append(took)
                sys.stdout.write(f"{name:12} {took:8.2f} s {len(rows[name]):>9,} rows\n")
                sys.stdout.flush()
    for name in options.against:
        ratio = median(seconds["today"]) / median(seconds[name])
        apart = differing(rows[name], rows["today"])
        sys.stdout.write(
            f"today / {name}: {ratio:.2f} of the time, {apart:,} rows differ in what both select\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
