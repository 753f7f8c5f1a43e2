"""Both SELECTs, or both tables, of a source: by us, by ADBC alone, by pandas, by dlt."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from tests.bench import company
from tests.bench.databases import database_url, write_config
from tests.bench.timing import timed


def run_extract(rows: int, folder: Path, url: str, *, kind: str, way: str) -> dict[str, Any]:
    """Both SELECTs of night 1: `ours`, `adbc` (to Arrow and pandas, nothing else) or `naive`
    (`pd.read_sql`).
    """
    seconds: dict[str, float] = {}
    source = database_url(kind, rows, folder)
    if way == "ours":
        from flows.sources.read import read_source
        from schemas.config_source import SourceConfig

        write_config(folder, source, url)
        config = SourceConfig(
            url=source, events_sql="events.sql", guests_sql="guests.sql", times="utc"
        )  # type: ignore[arg-type]
        with timed(seconds, "extract"):
            read = read_source("rooms", config, root=folder)
        sizes = len(read.events), len(read.guests)
    else:
        if way == "adbc":
            import adbc_driver_postgresql.dbapi
            import adbc_driver_sqlite.dbapi

            plain = sa.make_url(source)
            if kind == "postgresql":
                connection: Any = adbc_driver_postgresql.dbapi.connect(
                    plain.set(drivername="postgresql").render_as_string(hide_password=False)
                )
            else:
                connection = adbc_driver_sqlite.dbapi.connect(f"file:{plain.database}")
        else:
            connection = sa.create_engine(source)
        with timed(seconds, "extract"):
            sizes = (
                len(pd.read_sql(company.SELECT_EVENTS, connection)),
                len(pd.read_sql(company.SELECT_GUESTS, connection)),
            )
    return {"seconds": seconds, "counts": {"events": sizes[0], "guests": sizes[1]}}


DLT = [
    "dlt[parquet,filesystem,sql_database]==1.31.0",
    "connectorx==0.4.6",
    "psycopg2-binary==2.9.*",
]
"""What its environment holds."""


def run_dlt(rows: int, folder: Path, _essentry: str) -> dict[str, Any]:
    """Both tables of night 1 into Parquet files by dlt, in an environment of its own."""
    source = sa.make_url(database_url("postgresql", rows, folder)).set(drivername="postgresql")
    with tempfile.TemporaryDirectory(dir=folder) as work:
        command = [
            "uv",
            "run",
            "--no-project",
            *(part for name in DLT for part in ("--with", name)),
        ]
        command += ["python", str(Path(__file__).with_name("with_dlt.py"))]
        # not among the arguments: those are for everybody to see
        url = source.render_as_string(hide_password=False)
        environment = os.environ | {"BENCH_SOURCE_URL": url}
        done = subprocess.run(
            [*command, work], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return {"seconds": {"extract": told["seconds"]}, "counts": told["counts"]}
