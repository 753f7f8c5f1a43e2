"""The benchmark's databases, filled once for each size, and the configuration that reads them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from flows.connections.bulk import connect
from tests.bench import company

POSTGRESQL = os.environ.get("TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:5432")
MARIADB = os.environ.get("TEST_MARIADB_URL", "mysql+pymysql://root@127.0.0.1:3306")


def write_config(folder: Path, url: str, essentry: str) -> Path:
    """The configuration of the company."""
    sites = "".join(
        f'"{site}" = {{ location_id = {100 + site} }}\n' for site in range(1, company.SITES + 1)
    )
    (folder / "events.sql").write_text(company.SELECT_EVENTS)
    (folder / "guests.sql").write_text(company.SELECT_GUESTS)
    path = folder / "essentry-sync.toml"
    path.write_text(
        company.CONFIG.format(url=url, essentry=essentry) + "[sources.rooms.sites]\n" + sites
    )
    return path


def fill_database(url: str, rows: int, read: Callable[[], tuple[pa.Table, pa.Table]]) -> None:
    """Tables of a night with types of their own, once. read: gives its events and guests."""
    engine = sa.create_engine(url)
    name = f"{rows}"
    with engine.connect() as connection:
        if (
            sa.inspect(connection).has_table("filled")
            and connection.execute(sa.text("SELECT size FROM filled")).scalar() == name
        ):
            return
    for part, table in zip(("events", "guests"), read(), strict=True):
        if engine.dialect.name == "mysql":
            _fill_by_rows(engine, part, table)
        else:
            with closing(connect(engine.url, timeout_seconds=60)) as adbc:
                with adbc.cursor() as cursor:
                    cursor.adbc_ingest(part, table, mode="replace")
                adbc.commit()
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS filled")
        connection.exec_driver_sql("CREATE TABLE filled (size VARCHAR(20))")
        connection.execute(sa.text("INSERT INTO filled VALUES (:size)"), {"size": name})


def read_night(folder: Path, night: int) -> tuple[pa.Table, pa.Table]:
    """The events and guests of a saved night."""
    return pq.read_table(folder / f"events{night}.parquet"), pq.read_table(
        folder / f"guests{night}.parquet"
    )


def _fill_by_rows(engine: sa.Engine, part: str, table: pa.Table) -> None:
    instants = {name: sa.DateTime() for name in ("starts_at", "ends_at", "updated_at")}
    texts = {
        name: sa.String(300)
        for name in table.column_names
        if name not in instants and name != "guest_id"
    }
    for start in range(0, table.num_rows, 200_000):
        frame = table.slice(start, 200_000).to_pandas()
        frame = frame.assign(**{c: frame[c].dt.tz_localize(None) for c in instants if c in frame})
        types = {name: kind for name, kind in {**instants, **texts}.items() if name in frame}
        frame.to_sql(
            part,
            engine,
            index=False,
            if_exists="replace" if start == 0 else "append",
            chunksize=20_000,
            dtype=types,
        )


def database_url(kind: str, rows: int, folder: Path, *, night: int = 1) -> str:
    """The URL of the benchmark's own database of that size and night; made when it is not there."""
    if kind == "sqlite":
        return f"sqlite:///{folder / 'source.sqlite'}"
    server = POSTGRESQL if kind == "postgresql" else MARIADB
    name = f"essentry_bench_{rows}" + ("" if night == 1 else f"_{night}")
    engine = sa.create_engine(
        f"{server}/postgres" if kind == "postgresql" else f"{server}/", isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        there = sa.inspect(engine).get_schema_names() if kind == "mariadb" else None
        if kind == "mariadb" and name not in (there or []):
            connection.exec_driver_sql(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        if (
            kind == "postgresql"
            and not connection.execute(
                sa.text("SELECT 1 FROM pg_database WHERE datname = :n"), {"n": name}
            ).scalar()
        ):
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return f"{server}/{name}" + ("?charset=utf8mb4" if kind == "mariadb" else "")
