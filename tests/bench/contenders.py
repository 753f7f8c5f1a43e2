"""One contender in a process of its own: `python -m tests.bench.contenders NAME ROWS FOLDER URL`
prints seconds by step and peak memory as JSON.

FOLDER holds the nights' Parquet files and, for the diffs, what the contender keeps of night 1.
Reading those files is not counted, but for `extract`.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from flows.night.close import finish
from flows.night.session import open_session
from flows.sources.text import to_text_batch
from tests.bench import company
from tests.bench.databases import database_url, read_night, write_config
from tests.bench.extracts import run_dlt, run_extract
from tests.bench.timing import timed


def load_frames(folder: Path, night: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A night's rows as extraction gives them: text."""
    text = pd.StringDtype(na_value=float("nan"))
    events, guests = (
        table.to_pandas(types_mapper=lambda _: text) for table in read_text(folder, night)
    )
    return events, guests


def read_text(folder: Path, night: int) -> tuple[pa.Table, pa.Table]:
    """The same as Arrow tables."""
    events, guests = (
        pa.Table.from_batches([to_text_batch(table.combine_chunks().to_batches()[0])])
        for table in read_night(folder, night)
    )
    return events, guests


def run_divided(rows: int, folder: Path, url: str, *, night: int) -> dict[str, Any]:
    """A night in 8 parts, or 32 at ten times W, that lie in files, from PostgreSQL; the state of
    the first is kept for the second.
    """
    state = folder / "divided.sqlite"
    source = fill_night(rows, folder, night=night)
    return run_ours(
        rows,
        folder,
        url,
        night=night,
        keep=state if night == 1 else None,
        partitions=8 if rows <= company.W else 32,
        source=source,
    )


def fill_night(rows: int, folder: Path, *, night: int) -> str:
    """The URL of the PostgreSQL database of a night, made once, in a process of its own: a large
    one needs room.
    """
    url = database_url("postgresql", rows, folder, night=night)
    program = (
        "import sys; from pathlib import Path; from tests.bench.databases import fill_database; "
        "from tests.bench.company import build_night\n"
    )
    program += (
        "rows, night = int(sys.argv[1]), int(sys.argv[2]); fill_database(sys.argv[3], rows, "
        "lambda: build_night(rows, night))"
    )
    subprocess.run([sys.executable, "-c", program, str(rows), str(night), url], check=True)
    return url


def run_ours(
    rows: int,
    folder: Path,
    url: str,
    *,
    night: int,
    keep: Path | None = None,
    partitions: int = 1,
    source: str | None = None,
) -> dict[str, Any]:
    """A night of essentry-sync to the report, without an engine; state on SQLite. The rows come as
    frames, or from a source's database when the night is divided into files.
    """
    from flows.night import steps as nightly
    from flows.sources.read import Extracted
    from schemas.load_config import load_config

    os.environ.update(
        {"ESSENTRY_TOKEN": "x", "ESSENTRY_AGENT_TOKEN": "00000000-0000-4000-8000-000000000000"}
    )
    seconds: dict[str, float] = {}
    _count_steps(seconds)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        home = Path(work)
        if partitions > 1:
            os.environ.update(
                {
                    "ESSENTRY_SYNC_SCALE__PARTITIONS": str(partitions),
                    "ESSENTRY_SYNC_SCALE__FOLDER": "parts",
                }
            )
        config = load_config(write_config(home, source or "sqlite:///source.sqlite", url))
        if night == 2 and source:
            # a copy would take minutes
            shutil.move(folder / "divided.sqlite", home / "state.sqlite")
        elif night == 2:
            shutil.copy(folder / "ours.sqlite", home / "state.sqlite")
        clock = company.AS_OF.to_pydatetime()
        with open_session(config, kind="sync", as_of=clock) as session:
            if source is None:
                extracted: Any = {"rooms": Extracted("rooms", *load_frames(folder, night), clock)}
            else:
                with timed(seconds, "extract"):
                    extracted, _ = nightly.extract(session)
            _find_nothing_again()
            with timed(seconds, "plan, whole"):
                planned = nightly.plan(session, extracted, {})
            _tell_memory("plan")
            load = nightly.load(session, planned)
            assert load is not None, [finding.message for finding in planned.findings]
            _tell_memory("load")
            with timed(seconds, "report"):
                result = finish(session)
            seconds["load and snapshot"] = session.seconds["load"]
        assert result.exit_code == 0, result.report["verdict"]
        if keep is not None:
            with sa.create_engine(f"sqlite:///{home / 'state.sqlite'}").connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.move(home / "state.sqlite", keep)
        counts = {
            name: int(result.report["counts"][name]) for name in ("create", "update", "delete")
        }
    return {"seconds": seconds, "counts": counts, "requests": load.requests}


def _count_steps(seconds: dict[str, float]) -> None:
    """Put a clock around the stages of a night."""
    from flows.night import compare, plan

    def count(module: Any, name: str, step: str) -> None:
        work = getattr(module, name)

        @functools.wraps(work)
        def counted(*args: Any, **kwargs: Any) -> Any:
            with timed(seconds, step):
                return work(*args, **kwargs)

        setattr(module, name, counted)

    for module, name, step in (
        (compare, "validate_part", "transform"), (compare, "number_guests", "transform"),
        (compare, "build_part", "transform"),
        (compare, "load_known", "diff"), (compare, "_diff_parts", "diff"),
        (plan, "judge_plan", "guard"), (plan, "build_balance", "guard"),
    ):  # fmt: skip
        count(module, name, step)


def _tell_memory(step: str) -> None:
    sys.stderr.write(
        f"after {step}: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000_000:.2f} GB\n"
    )


def _find_nothing_again() -> None:
    """The company's database is not there when frames come from files: the second look before a
    delete finds nothing.
    """
    from flows.night import apply

    setattr(apply, "find_still_there", lambda *_args: set())  # noqa: B010


def prepare_naive(rows: int, folder: Path, url: str) -> dict[str, Any]:
    """What the naive script knows after its first night, without the sending."""
    from tests.bench.naive import save, transform

    seconds: dict[str, float] = {}
    (folder / "naive.sqlite").unlink(missing_ok=True)
    events, guests = load_frames(folder, 1)
    with timed(seconds, "transform"):
        events, guests = transform(events, guests)
    with timed(seconds, "snapshot"):
        save(sa.create_engine(f"sqlite:///{folder / 'naive.sqlite'}"), events, guests)
    return {"seconds": seconds, "counts": {}}


def run_naive(rows: int, folder: Path, url: str, *, night: int) -> dict[str, Any]:
    """The naive script; its state of night 1 is in naive.sqlite."""
    from tests.bench.naive import run_night

    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=folder) as work:
        state = Path(work) / "naive.sqlite"
        if night == 2:
            shutil.copy(folder / "naive.sqlite", state)
        events, guests = load_frames(folder, night)
        counts = run_night(events, guests, state, url, seconds=seconds)
        if night == 1:
            shutil.move(state, folder / "naive.sqlite")
    return {"seconds": seconds, "counts": counts}


def run_engine(rows: int, folder: Path, url: str, *, night: int) -> dict[str, Any]:
    """DuckDB's whole night; its state of night 1 is in engine.duckdb."""
    from tests.bench.engine import run_night

    seconds: dict[str, float] = {}
    state = folder / "engine.duckdb"
    if night == 1:
        state.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        if night == 2:
            state = Path(shutil.copy(state, work))
        counts = run_night(
            *read_text(folder, night),
            state,
            url,
            as_of=f"{company.AS_OF:%Y-%m-%dT%H:%M:%SZ}",
            seconds=seconds,
        )
    return {"seconds": seconds, "counts": counts}


def run_diff(rows: int, folder: Path, url: str, *, engine: str) -> dict[str, Any]:
    """Both nights' source rows compared by an engine: which events were touched. Loading the files
    is not counted.
    """
    seconds: dict[str, float] = {}
    one, two = (
        {part: pq.read_table(folder / f"{part}{night}.parquet") for part in ("events", "guests")}
        for night in (1, 2)
    )
    if engine == "duckdb":
        import duckdb

        connection = duckdb.connect()
        for night, tables in ((1, one), (2, two)):
            for part, table in tables.items():
                connection.register(f"arrow_{part}{night}", table)
                connection.execute(
                    f"CREATE TABLE {part}{night} AS SELECT * FROM arrow_{part}{night}"
                )
        with timed(seconds, "diff"):
            touched = connection.execute(
                "SELECT count(DISTINCT source_event_id) FROM ((SELECT * FROM events1 EXCEPT ALL "
                "SELECT * FROM events2) UNION ALL (SELECT * FROM events2 EXCEPT ALL SELECT * FROM "
                "events1))"
            ).fetchone()
            guests = connection.execute(
                "SELECT count(DISTINCT coalesce(a.source_event_id, b.source_event_id)) FROM "
                "guests1 a FULL JOIN guests2 b USING (source_event_id, "
                "guest_id) WHERE a IS DISTINCT FROM b"
            ).fetchone()
        counts = {"events": touched[0], "by guests": guests[0]}  # type: ignore[index]
    elif engine == "polars":
        import polars as pl

        frames = [
            {part: pl.from_arrow(table) for part, table in tables.items()} for tables in (one, two)
        ]
        with timed(seconds, "diff"):
            counts = {}
            for part, keys in (
                ("events", ["source_event_id"]),
                ("guests", ["source_event_id", "guest_id"]),
            ):
                joined = frames[0][part].join(
                    frames[1][part], on=keys, how="full", coalesce=True, suffix="_new"
                )  # type: ignore[union-attr]
                columns = [c for c in frames[0][part].columns if c not in keys]  # type: ignore[union-attr]
                differs = pl.any_horizontal(
                    [pl.col(c).ne_missing(pl.col(f"{c}_new")) for c in columns]
                )
                counts[part] = joined.filter(differs)["source_event_id"].n_unique()
    else:
        import datacompy

        left, right = (tables["events"].to_pandas() for tables in (one, two))
        with timed(seconds, "diff"):
            comparison = datacompy.PandasCompare(left, right, join_columns="source_event_id")
            counts = {
                "events": len(comparison.all_mismatch())
                + len(comparison.df1_unq_rows)
                + len(comparison.df2_unq_rows)
            }
    return {"seconds": seconds, "counts": counts}


def run_client(rows: int, folder: Path, url: str) -> dict[str, Any]:
    """The client alone: payloads of night 1 in batches of 100, four requests at once, no ledger."""
    import asyncio

    from flows.essentry.client import EssentryClient
    from flows.essentry.items import Item
    from schemas.config_essentry import EssentryConfig

    body = (
        b'{"sourceId":"rooms-EV~2D%d","name":"Review","startsAt":"2027-01-04T07:00:00Z",'
        b'"endsAt":"2027-01-04T08:00:00Z","locationId":101}'
    )
    batches = [
        [Item(n, f"rooms-EV~2D{n}", body % n, "create", True) for n in range(s, s + 100)]
        for s in range(0, rows, 100)
    ]
    seconds: dict[str, float] = {}

    async def send() -> None:
        client = EssentryClient(
            EssentryConfig(base_url=url),
            token="x",
            agent_token="00000000-0000-4000-8000-000000000000",
        )
        turns = iter(batches)

        async def work() -> None:
            for batch in turns:
                outcomes = await client.put_events(batch)
                assert all(outcome.state == "confirmed" for outcome in outcomes)

        async with client:
            await asyncio.gather(*(work() for _ in range(4)))

    with timed(seconds, "load"):
        asyncio.run(send())
    return {"seconds": seconds, "counts": {"events": rows}}


CONTENDERS: dict[str, Callable[..., dict[str, Any]]] = {
    "ours night 1": lambda *a: run_ours(*a, night=1, keep=a[1] / "ours.sqlite"),
    "ours night 2": lambda *a: run_ours(*a, night=2),
    "ours divided night 1": lambda *a: run_divided(*a, night=1),
    "ours divided night 2": lambda *a: run_divided(*a, night=2),
    "naive night 1": lambda *a: run_naive(*a, night=1),
    "naive night 2": lambda *a: run_naive(*a, night=2),
    "naive prepared": prepare_naive,
    "engine night 1": lambda *a: run_engine(*a, night=1),
    "engine night 2": lambda *a: run_engine(*a, night=2),
    "extract postgresql dlt": run_dlt,
    "client": run_client,
    **{
        f"diff {engine}": (lambda *a, e=engine: run_diff(*a, engine=e))
        for engine in ("duckdb", "polars", "datacompy")
    },
    **{
        f"extract {kind} {way}": (lambda *a, k=kind, w=way: run_extract(*a, kind=k, way=w))
        for kind in ("postgresql", "sqlite", "mariadb")
        for way in ("ours", "adbc", "naive")
        if (kind, way) != ("mariadb", "adbc")
    },
}


if __name__ == "__main__":
    name, rows, folder, essentry = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    told = CONTENDERS[name](rows, folder, essentry)
    peak = max(
        resource.getrusage(who).ru_maxrss / 1_000_000
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    sys.stdout.write("\n" + json.dumps({**told, "peak_gb": round(peak, 2)}) + "\n")
