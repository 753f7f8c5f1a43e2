"""SELECTs on databases without a server here: what is sent to SQL Server, Oracle, Snowflake and
BigQuery is the user's text alone.

The reading and the second look put no SQL around it, so that only placeholders may differ. Their
texts are compiled for each dialect's way of writing parameters; and a dialect of each name, on a
SQLite file, shows which statements a whole read sends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mssql, oracle, registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine.default import DefaultDialect

from flows.sources.ask import FirstLook, confirm_absent
from flows.sources.read import read_source
from flows.sources.selects import Selects, _prepare
from schemas.config_source import SourceConfig

EVENTS = """-- a percent sign, a cast, a time of day, quotes and an escaped colon are the user's
SELECT b.id AS source_event_id, b.at AS starts_at, b.room AS room_key, b.host AS host_email, 'it''s 100 %, at 10:30' AS name
FROM bookings b WHERE b.room LIKE 'r%' AND b.site = :site AND b.kind <> :kind OR b.site = :site AND 1 = 0"""  # noqa: E501
GUESTS = "SELECT g.id AS source_event_id, g.mail AS email FROM guests g WHERE g.mail LIKE '%@%'"
DIALECTS: dict[str, tuple[Any, dict[str, str]]] = {
    "mssql": (mssql.dialect(paramstyle="qmark"), {":site": "?", ":kind": "?"}),
    "oracle": (oracle.dialect(), {}),
    "snowflake": (
        DefaultDialect(paramstyle="pyformat"),
        {"%": "%%", ":site": "%(site)s", ":kind": "%(kind)s"},
    ),
    "bigquery": (
        DefaultDialect(paramstyle="pyformat"),
        {"%": "%%", ":site": "%(site)s", ":kind": "%(kind)s"},
    ),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_only_the_placeholders_of_a_select_differ(name: str) -> None:
    dialect, written = DIALECTS[name]
    selects = Selects(EVENTS, GUESTS, Path("e.sql"), Path("g.sql"), {"site": "1", "kind": "x"})
    for part in ("events", "guests"):
        query = _prepare("own", selects, part)  # type: ignore[arg-type]
        expected = query.sql
        for ours, theirs in written.items():
            expected = expected.replace(ours, theirs)
        compiled = query.text.compile(dialect=dialect)
        assert str(compiled) == expected
        assert set(compiled.params) == set(query.params)
        if name == "mssql" and part == "events":
            assert compiled.positiontup == ["site", "kind", "site"]


class Lite(SQLiteDialect_pysqlite):
    """A SQLite file under another database's name."""

    driver = "lite"

    def get_default_isolation_level(self, dbapi_conn: Any) -> Any:
        return "SERIALIZABLE"


class LiteMssql(Lite):
    name = "mssql"
    supports_statement_cache = True


class LiteOracle(Lite):
    name = "oracle"
    supports_statement_cache = True


class LiteSnowflake(Lite):
    name = "snowflake"
    supports_statement_cache = True


class LiteBigquery(Lite):
    name = "bigquery"
    supports_statement_cache = True


@pytest.fixture(
    params=[LiteMssql, LiteOracle, LiteSnowflake, LiteBigquery], ids=lambda made: made.name
)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SourceConfig]:
    key = f"{request.param.name}.lite"
    registry.register(key, __name__, request.param.__name__)
    file = tmp_path / "x.db"
    with sqlite3.connect(file) as connection:
        connection.executescript(
            "CREATE TABLE bookings (id, at, room, host, site, kind); CREATE TABLE guests (id, "
            "mail);INSERT INTO bookings VALUES ('K-1', '2027-01-01 10:00', 'r1', "
            "'h@corp.example', '1', 'y'), ('K-2', '2027-01-01 11:00', 'r1', 'h@corp.example', "
            "'1', 'y'), ('K-3', '2027-01-01 11:00', 'q', 'h@corp.example', '1', "
            "'y');INSERT INTO guests VALUES ('K-1', 'a@out.example'), ('K-1', 'none');"
        )
    (tmp_path / "events.sql").write_text(EVENTS)
    (tmp_path / "guests.sql").write_text(GUESTS)
    yield SourceConfig.model_validate(
        {
            "url": f"{request.param.name}+lite:///{file}",
            **{f"{part}_sql": f"{part}.sql" for part in ("events", "guests")},
            "times": "utc",
            "params": {"site": "1", "kind": "x"},
        }
    )
    registry.impls.pop(key, None)


def test_a_read_and_the_second_look_send_the_users_text_alone(
    source: SourceConfig, tmp_path: Path
) -> None:
    sent: list[str] = []

    def note(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        sent.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        rows = read_source("own", source, root=tmp_path)
        found = confirm_absent(
            "own",
            source,
            ["K-1", "K-9", "K-3"],
            root=tmp_path,
            first=FirstLook({"K-1", "K-2"}, rows=2),
        )
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert rows.events["source_event_id"].tolist() == ["K-1", "K-2"]
    assert rows.guests["email"].tolist() == ["a@out.example"]
    assert found == {"K-1"}
    events, guests = (text.replace(":site", "?").replace(":kind", "?") for text in (EVENTS, GUESTS))
    assert sent == [events, guests, events]
