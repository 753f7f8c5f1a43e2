"""Bulk reads give the same cells as reads by rows, and whatever they do not manage is read by
rows.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from flows.connections import bulk as bulk_read
from flows.connections.bulk import BulkReadError, open_reader
from flows.sources.read import read_by_rows, read_in_bulk, read_source
from flows.sources.selects import Query
from flows.sources.transaction import open_snapshot
from schemas.config_source import SourceConfig
from tests.sources.databases import database

# literals of each database: whole numbers at the edge, decimals, instants, texts of every kind,
# NULL in the first row and not in a later one
POSTGRESQL = """
SELECT * FROM (VALUES
  (1, NULL::text, 9223372036854775807::bigint, 12.50::numeric(12,2), '2027-03-28 02:30:00+01'::timestamptz, '2027-01-01 10:00:00'::timestamp,
   '2027-01-01'::date, true, 0.1::float8, '{"a": "ü"}'::jsonb, 'a'::"char"::text, '12:30'::time, 3.00::numeric, '\\x4142'::bytea, B'1', B'101'::bit varying),
  (2, 'Ł“emoji 🙂', -1, -0.01, '2027-10-31 02:30:00.123456+00', '2027-01-01 10:00:00.5', NULL, false, 1e20, NULL, '', '00:00:00.25', NULL, NULL, NULL, B'000000001'),
  (3, E'line\\nbreak', NULL, NULL, NULL, NULL, '1999-12-31', NULL, 3, '[1, 2]', NULL, NULL, 100.000, '\\xff', B'0', B'')
) AS t(source_event_id, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o)
"""  # noqa: E501
SQLITE = """
SELECT 1 AS source_event_id, NULL AS a, 9223372036854775807 AS b, 12.5 AS c, '2027-01-01 10:00:00' AS d, 3.0 AS e, x'4142' AS f, '' AS g
UNION ALL SELECT 2, 'Ł“emoji 🙂', -1, 'text among numbers', NULL, 0.25, NULL, 'x'
UNION ALL SELECT 'three', 'line' || char(10) || 'break', 1.5, 7, 7, -0.0, 'b', NULL
"""  # noqa: E501


def _query(sql: str, **params: object) -> Query:
    return Query("events", sql, sa.text(sql), params, Path("events.sql"))


def _both_ways(url: sa.URL, query: Query) -> tuple[pa.Table, pa.Table]:
    with open_reader(url) as reader:
        bulk = pa.Table.from_batches(list(read_in_bulk(reader, query)))
    with open_snapshot("s", url) as connection:
        rows = pa.Table.from_batches(list(read_by_rows(connection, "s", query)))
    return bulk, rows


@pytest.mark.parametrize(("kind", "sql"), [("postgresql", POSTGRESQL), ("sqlite", SQLITE)])
def test_both_ways_give_the_same_cells(kind, sql, tmp_path):
    with database(kind, tmp_path) as engine:
        with engine.connect():  # SQLite: the file is there
            pass
        if kind == "sqlite":
            (tmp_path / "s.sqlite").touch()
            engine = sa.create_engine(f"sqlite:///{tmp_path / 's.sqlite'}")
        bulk, rows = _both_ways(engine.url, _query(sql))
    assert bulk.schema == rows.schema
    assert set(bulk.schema.types) == {pa.large_string()}
    assert bulk.to_pylist() == rows.to_pylist()
    assert bulk.num_rows == 3


MANY = {
    "postgresql": (
        "SELECT n AS source_event_id, repeat('x', 100) || n AS name FROM generate_series(1, "
        "300000) AS n"
    ),
    "sqlite": (
        "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 200000) SELECT n "
        "AS source_event_id, 'x' || n AS name FROM s"
    ),
}


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_many_batches_that_are_read_ahead_come_whole_and_in_order(kind, tmp_path):
    (tmp_path / "s.sqlite").touch()
    with database(kind, tmp_path) as engine:
        url = sa.make_url(f"sqlite:///{tmp_path / 's.sqlite'}") if kind == "sqlite" else engine.url
        with open_reader(url) as reader:
            batches = [
                batch for batch in read_in_bulk(reader, _query(MANY[kind])) if batch.num_rows
            ]
        with open_snapshot("s", url) as connection:
            rows = pa.Table.from_batches(list(read_by_rows(connection, "s", _query(MANY[kind]))))
    assert len(batches) > 2
    assert pa.Table.from_batches(batches).combine_chunks().equals(rows.combine_chunks())


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_an_error_in_a_later_batch_is_told_and_leaves_the_reader_usable(kind, tmp_path):
    (tmp_path / "s.sqlite").touch()
    broken = MANY[kind].replace(
        "AS name",
        (
            "|| 1 / (n - 150000) AS name"
            if kind == "postgresql"
            else "|| abs(CASE n WHEN 150000 THEN -9223372036854775807 - 1 END) AS name"
        ),
    )
    with database(kind, tmp_path) as engine:
        url = sa.make_url(f"sqlite:///{tmp_path / 's.sqlite'}") if kind == "sqlite" else engine.url
        with pytest.raises(BulkReadError), open_reader(url) as reader:
            list(read_in_bulk(reader, _query(broken)))
        with open_reader(url) as reader:
            assert (
                sum(
                    batch.num_rows
                    for batch in read_in_bulk(reader, _query("SELECT 1 AS source_event_id"))
                )
                == 1
            )


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_parameters_and_empty_results(kind, tmp_path):
    (tmp_path / "s.sqlite").touch()
    with database(kind, tmp_path) as engine:
        url = sa.make_url(f"sqlite:///{tmp_path / 's.sqlite'}") if kind == "sqlite" else engine.url
        for query, expected in (
            (
                _query(
                    (
                        "SELECT CAST(:key AS VARCHAR(9)) AS source_event_id, "
                        ":key AS room_key WHERE 1 = :one"
                    ),
                    key="a:'b",
                    one=1,
                ),
                [("a:'b", "a:'b")],
            ),
            (_query("SELECT 1 AS source_event_id, 'x' AS room_key WHERE 1 = 0"), []),
        ):
            bulk, rows = _both_ways(url, query)
            assert [tuple(row.values()) for row in bulk.to_pylist()] == expected
            assert bulk.to_pylist() == rows.to_pylist()


def test_bulk_reader_can_write_nothing(tmp_path):
    path = tmp_path / "s.sqlite"
    with sa.create_engine(f"sqlite:///{path}").begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a)")
    insert = sa.text("INSERT INTO t VALUES (1) RETURNING a")
    with (
        open_reader(sa.make_url(f"sqlite:///{path}")) as reader,
        pytest.raises(BulkReadError),
        reader.stream(insert) as batches,
    ):
        batches.read_all()
    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
    with database("postgresql", tmp_path) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE t (a int)")
        with (
            open_reader(engine.url) as reader,
            reader.stream(
                sa.text("SELECT current_setting('transaction_isolation') AS i")
            ) as batches,
        ):
            assert batches.read_all().to_pylist() == [{"i": "repeatable read"}]
        with (
            pytest.raises(BulkReadError),
            open_reader(engine.url) as reader,
            reader.stream(sa.text("DELETE FROM t RETURNING a")) as batches,
        ):
            batches.read_all()


def test_what_the_bulk_way_does_not_manage_is_read_by_rows(tmp_path, monkeypatch):
    """A row in the middle that ADBC cannot give: the whole source is read again by rows, from the
    start.
    """
    (tmp_path / "events.sql").write_text(
        "SELECT 1 AS source_event_id, 'r' AS room_key, 'h' AS host_email, '2027' AS starts_at"
    )
    (tmp_path / "guests.sql").write_text("SELECT 1 AS source_event_id, 'g' AS guest_id")
    (tmp_path / "s.sqlite").touch()
    config = SourceConfig(
        url=f"sqlite:///{tmp_path / 's.sqlite'}",
        events_sql="events.sql",
        guests_sql="guests.sql",
        times="utc",
    )
    whole = read_source("s", config, root=tmp_path)
    asked = []
    stream = bulk_read.BulkReader.stream

    def fail_on_guests(self, query, params=None, **options):
        asked.append(str(query))
        if "guest_id" in str(query):
            raise BulkReadError("the driver gave up")
        return stream(self, query, params, **options)

    monkeypatch.setattr(bulk_read.BulkReader, "stream", fail_on_guests)
    again = read_source("s", config, root=tmp_path)
    assert any("guest_id" in text for text in asked)
    assert again.events.equals(whole.events)
    assert again.guests.equals(whole.guests)
    assert len(again.guests) == 1
