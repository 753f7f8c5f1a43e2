"""Reading sources with SELECTs of one's own: faults are named, nothing is written, and every
database gives the same frame.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine

from flows.connections.urls import parse_url
from flows.sources.ask import confirm_absent
from flows.sources.presets import complete_source
from flows.sources.read import read_source, read_sources
from schemas.config import Config
from schemas.config_source import SourceConfig
from schemas.errors import ConfigurationError, SourceError, SyncError
from tests.sources.databases import database
from transforms.validate.source import validate_source

KINDS = ("sqlite", "postgresql", "mariadb")
SERVERS = ("postgresql", "mariadb")
EVENTS = (
    "SELECT id AS source_event_id, at AS starts_at, room AS room_key, host AS host_email FROM "
    "events"
)
GUESTS = "SELECT event AS source_event_id, mail AS email FROM guests"
PASSWORD = "geheim9"


@pytest.fixture
def engine(request, tmp_path):
    """An empty database of the wanted kind with two small tables."""
    with database(request.param, tmp_path) as made:
        run(
            made,
            (
                "CREATE TABLE events (id integer NOT NULL, at varchar(40), room varchar(20), "
                "host varchar(80))"
            ),
        )
        run(made, "CREATE TABLE guests (event integer, mail varchar(80))")
        run(made, "INSERT INTO events VALUES (1, '2027-01-01 10:00', 'r1', 'a@corp.example')")
        run(made, "INSERT INTO guests VALUES (1, 'g@visitor.example')")
        yield made


every_kind = pytest.mark.parametrize("engine", KINDS, indirect=True)
on_servers = pytest.mark.parametrize("engine", SERVERS, indirect=True)
on_sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(
                statement.replace("%", "%%") if engine.dialect.name != "sqlite" else statement
            )


def count(engine: Engine, table: str = "events") -> int:
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(f"SELECT COUNT(*) FROM {table}").scalar_one())


def source(
    folder: Path, url: str, *, events: str = EVENTS, guests: str = GUESTS, **settings: Any
) -> SourceConfig:
    (folder / "events.sql").write_text(events, encoding="utf-8")
    (folder / "guests.sql").write_text(guests, encoding="utf-8")
    return SourceConfig(
        url=url,
        events_sql=Path("events.sql"),
        guests_sql=Path("guests.sql"),
        times="utc",
        **settings,
    )


def address(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def read(folder: Path, engine: Engine, **settings: Any):
    return read_source("own", source(folder, address(engine), **settings), root=folder)


@on_sqlite
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"events": "SELECT 1 AS source_event_id, 'x' AS host_email, 1 AS room_key"},
            r"events\.sql lacks the column starts_at"),
        ({"events": EVENTS.replace("room AS room_key,", "")},
            r"events\.sql returns neither room_key nor site_key"),
        ({"events": EVENTS.replace("at AS starts_at", "at AS starts_at, 1 AS colour")},
            r"events\.sql returns an unknown column colour: .*custom_"),
        ({"events": EVENTS.replace("at AS starts_at", "at AS starts_at, at AS STARTS_AT")},
            r"events\.sql returns the column starts_at twice"),
        ({"guests": "SELECT mail AS email FROM guests"},
            r"guests\.sql lacks the column source_event_id"),
        ({"guests": GUESTS.replace("email", "mail")},
            r"guests\.sql returns an unknown column mail"),
        ({"events": ""}, r"events\.sql is no SELECT"),
        ({"events": "-- all\n/* of\nthem */ DELETE FROM events"}, r"events\.sql is no SELECT"),
        ({"events": EVENTS + " WHERE room = :room"},
            r"events\.sql uses the parameter :room: set it in \[sources\.own\.params\]"),
    ],
)  # fmt: skip
def test_a_wrong_select_is_named_with_its_file_and_column(
    engine, settings, message, tmp_path
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read(tmp_path, engine, **settings)


@every_kind
def test_a_select_of_what_is_not_there_names_the_file(engine, tmp_path) -> None:
    with pytest.raises(SourceError, match=r"source own, .*guests\.sql: .*nowhere"):
        read(tmp_path, engine, guests="SELECT 1 AS source_event_id FROM nowhere")


@every_kind
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events",
        "UPDATE events SET room = 'x'",
        "INSERT INTO events (id) VALUES (9)",
        "DROP TABLE events",
        "WITH old AS (SELECT 1) DELETE FROM events",
        f"{EVENTS}; DELETE FROM events",
        f"{EVENTS}; COMMIT; DELETE FROM events; COMMIT",
    ],
)
def test_a_select_that_writes_writes_nothing(engine, statement, tmp_path) -> None:
    with pytest.raises(SyncError, match=r"events\.sql"):
        read(tmp_path, engine, events=statement)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT id, room FROM events").fetchall() == [(1, "r1")]


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_select_that_writes_through_a_function_or_a_with_writes_nothing(engine, tmp_path) -> None:
    run(
        engine,
        (
            "CREATE FUNCTION wipe() RETURNS varchar LANGUAGE sql AS 'DELETE FROM events; "
            "SELECT ''r''::varchar'"
        ),
    )
    for events in (
        "SELECT 1 AS source_event_id, '' AS starts_at, wipe() AS room_key, '' AS host_email",
        (
            "WITH gone AS (DELETE FROM events RETURNING *) "
            f"{EVENTS.replace('FROM events', 'FROM gone')}"
        ),
    ):
        with pytest.raises(SourceError, match=r"events\.sql: .*"):
            read(tmp_path, engine, events=events)
        assert count(engine) == 1


@on_sqlite
def test_a_missing_file_is_named(engine, tmp_path) -> None:
    config = source(tmp_path, address(engine))
    (tmp_path / "guests.sql").unlink()
    with pytest.raises(
        ConfigurationError, match=r"sources\.own: cannot read .*guests\.sql: No such file"
    ):
        read_source("own", config, root=tmp_path)


@pytest.mark.parametrize(
    ("url", "package"),
    [
        (f"mssql+pyodbc://u:{PASSWORD}@h/x", "pyodbc"),
        (f"oracle+oracledb://u:{PASSWORD}@h/x", "oracledb"),
        (f"snowflake://u:{PASSWORD}@h/x", "snowflake-sqlalchemy"),
        ("bigquery://project", "sqlalchemy-bigquery"),
    ],
)
def test_a_missing_driver_is_named_with_its_package(url, package, tmp_path) -> None:
    with pytest.raises(
        ConfigurationError,
        match=rf"the driver of this database is not installed: add the package {package} here",
    ) as caught:
        parse_url(url, key="sources.own.url", root=tmp_path)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["nonsense", "oracle9+none://u:geheim9@h/x", f"mysql+nodriver://u:{PASSWORD}@h/x"]
)
def test_a_wrong_url_is_not_shown(url, tmp_path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"sources\.own\.url is no usable database URL"
    ) as caught:
        read_source("own", source(tmp_path, url), root=tmp_path)
    assert PASSWORD not in str(caught.value)


def test_an_absent_database_file_is_named_and_not_made(tmp_path) -> None:
    with pytest.raises(
        SourceError, match=r"there is no database file .*gone\.sqlite: correct sources\.own\.url"
    ):
        read_source("own", source(tmp_path, "sqlite:///gone.sqlite"), root=tmp_path)
    assert not (tmp_path / "gone.sqlite").exists()


def test_a_file_that_is_no_database(tmp_path) -> None:
    (tmp_path / "text.sqlite").write_text("hello" * 1000)
    with pytest.raises(SourceError, match="not a database"):
        read_source("own", source(tmp_path, "sqlite:///text.sqlite"), root=tmp_path)


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_an_unreachable_server_is_told_without_its_password(scheme, tmp_path) -> None:
    with pytest.raises(
        SourceError,
        match=(
            r"source own \(.*127\.0\.0\.1:9/x\).*: check that the database answers, "
            r"and the URL of sources\.own$"
        ),
    ) as caught:
        read_source(
            "own", source(tmp_path, f"{scheme}://user:{PASSWORD}@127.0.0.1:9/x"), root=tmp_path
        )
    assert PASSWORD not in str(caught.value)


def test_a_url_variable_that_is_not_set_is_named(tmp_path) -> None:
    config = source(tmp_path, "sqlite:///x").model_copy(
        update={"url": None, "url_env": "NOT_SET_ANYWHERE"}
    )
    with pytest.raises(ConfigurationError, match="NOT_SET_ANYWHERE is not set"):
        read_source("own", config, root=tmp_path)


@every_kind
def test_an_empty_result_has_its_columns(engine, tmp_path) -> None:
    run(engine, "DELETE FROM events", "DELETE FROM guests")
    result = read(tmp_path, engine)
    assert list(result.events.columns) == ["source_event_id", "starts_at", "room_key", "host_email"]
    assert list(result.guests.columns) == ["source_event_id", "email"]
    assert len(result.events) == len(result.guests) == 0


@every_kind
def test_parameters_are_bound_and_comments_may_stand_anywhere(engine, tmp_path) -> None:
    events = (
        f"-- mine\n{EVENTS} WHERE room = :room AND host LIKE '%@corp.example' -- end; really\n;"
    )
    for room, rows in (("r1", 1), ("r1' OR '1'='1", 0)):
        config = source(tmp_path, address(engine), events=events, params={"room": room})
        assert len(read_source("own", config, root=tmp_path).events) == rows
        assert confirm_absent("own", config, ["1"], root=tmp_path) == ({"1"} if rows else set())


TYPES = {
    "source_event_id": ("bigint", "9007199254740993", "9007199254740993"),
    "name": ("varchar(80)", "'Łódź 🔬 50% :x'", "Łódź 🔬 50% :x"),
    "description": ("text", "'a\nb'", "a\nb"),
    "starts_at": ("{datetime}", "'2027-03-28 02:30:00'", "2027-03-28 02:30:00"),
    "ends_at": ("{date}", "'2027-03-28'", "2027-03-28"),
    "updated_at": ("{time}", "'09:05:00'", "09:05:00"),
    "room_key": ("numeric(10,0)", "42", "42"),
    "site_key": ("numeric(10,2)", "7.25", "7.25"),
    "host_email": ("char(20)", "'a@corp.example      '", None),
    "host_phone": ("smallint", "-3", "-3"),
    "status": ("varchar(10)", "NULL", None),
    "private": ("{double}", "1.0", "1"),
    "custom_x": ("{double}", "0.5", "0.5"),
    "problem": ("varchar(5)", "''", ""),
}
NAMES = {
    "sqlite": {"datetime": "text", "date": "text", "time": "text", "double": "real"},
    "postgresql": {
        "datetime": "timestamp",
        "date": "date",
        "time": "time",
        "double": "double precision",
    },
    "mariadb": {"datetime": "datetime", "date": "date", "time": "time", "double": "double"},
}


def test_every_database_gives_the_same_frame(tmp_path) -> None:
    frames = {}
    for kind in KINDS:
        with database(kind, tmp_path) as engine:
            columns = [f"{c} {t.format(**NAMES[kind])}" for c, (t, _, _) in TYPES.items()]
            run(engine, f"CREATE TABLE types ({', '.join(columns)})")
            run(
                engine,
                f"INSERT INTO types VALUES ({', '.join(value for _, value, _ in TYPES.values())})",
            )
            run(engine, "INSERT INTO types (source_event_id) VALUES (2)")
            result = read(
                tmp_path,
                engine,
                events="SELECT * FROM types ORDER BY host_phone",
                guests="SELECT 1 AS source_event_id",
            )
            frames[kind] = result.events.sort_values(
                "source_event_id", ascending=False
            ).reset_index(drop=True)
    first = {column: expected for column, (_, _, expected) in TYPES.items()}
    for kind, frame in frames.items():
        assert (frame.dtypes == "str").all(), kind
        cells = frame.astype("object").where(frame.notna(), None).to_dict("records")
        # CHAR is padded by some
        assert (cells[0].pop("host_email") or "").strip() == "a@corp.example"
        assert cells[0] == {
            column: value for column, value in first.items() if column != "host_email"
        }, kind
        assert cells[1] == {
            column: "2" if column == "source_event_id" else None for column in TYPES
        }, kind


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_booleans_zoned_times_uuids_and_nan_of_postgresql(engine, tmp_path) -> None:
    events = (
        "SELECT '6f1f8c1e-0000-4000-8000-000000000001'::uuid AS source_event_id, true AS private, "
        "'NaN'::float8 AS custom_n, 'Infinity'::float8 AS custom_i, '2027-01-01 "
        "10:00+02'::timestamptz AS starts_at, 'r' AS room_key, 'h' AS host_email"
    )
    row = read(tmp_path, engine, events=events).events.iloc[0]
    assert row["source_event_id"] == "6f1f8c1e-0000-4000-8000-000000000001"
    assert row["private"] == "true"
    assert pd.Timestamp(row["starts_at"]) == pd.Timestamp("2027-01-01 08:00Z")
    assert (row["custom_n"], row["custom_i"]) == ("nan", "inf")


@pytest.mark.parametrize("engine", ["mariadb"], indirect=True)
def test_zero_dates_long_times_bytes_and_bits_of_mariadb(engine, tmp_path) -> None:
    run(
        engine,
        "SET SESSION sql_mode = ''",
        "CREATE TABLE odd (k varbinary(20), d datetime, t time, f tinyint(1), e enum('a','b'))",
        "INSERT INTO odd VALUES ('K-1', '0000-00-00 00:00:00', '27:30:00', 1, 'b')",
    )
    events = (
        "SELECT k AS source_event_id, d AS starts_at, t AS ends_at, f AS private, e AS room_key, "
        "'h' AS host_email FROM odd"
    )
    row = read(tmp_path, engine, events=events).events.iloc[0].tolist()
    assert row == ["K-1", "0000-00-00 00:00:00", "27:30:00", "1", "b", "h"]


@pytest.mark.parametrize("engine", ["mariadb"], indirect=True)
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "UTC"])
def test_a_timestamp_of_mariadb_is_what_its_user_sees(engine, tmp_path, zone) -> None:
    """An own SELECT means in this session what it means in the account's own, whose zone is the
    database's; one that is said to give UTC gives it.
    """
    at = pd.Timestamp("2027-01-12 09:30", tz=zone)
    offset = at.strftime("%z")
    session = f"SET time_zone = '{offset[:3]}:{offset[3:]}'"
    run(
        engine,
        session,
        "CREATE TABLE stamps (k int, at timestamp NULL, epoch datetime)",
        f"INSERT INTO stamps VALUES (1, '{at:%Y-%m-%d %H:%M:%S}', '{at:%Y-%m-%d %H:%M:%S}')",
    )
    url = engine.url.update_query_dict({"init_command": session}).render_as_string(
        hide_password=False
    )
    for column, times in (
        ("at", "local"),
        ("at", "utc"),
        ("epoch", "local"),
        ("UNIX_TIMESTAMP(at)", "epoch"),
        ("UNIX_TIMESTAMP(epoch)", "epoch"),
    ):
        (tmp_path / "events.sql").write_text(
            f"SELECT k AS source_event_id, {column} AS starts_at, 'r1' AS room_key, "
            "'h@corp.example' AS host_email FROM stamps"
        )
        (tmp_path / "guests.sql").write_text(
            "SELECT 1 AS source_event_id, 'a@out.example' AS email"
        )
        files = {"events_sql": Path("events.sql"), "guests_sql": Path("guests.sql")}
        config = SourceConfig.model_validate(
            {
                "url": url,
                **files,
                "times": times,
                "timezone": zone,
                "rooms": {"r1": {"location_id": 1}},
            }
        )
        read_back = read_source("own", config, root=tmp_path)
        valid = validate_source("own", read_back.events, read_back.guests, config)
        assert valid.events["starts_at"].tolist() == [at.tz_convert("UTC")], column


@on_servers
def test_both_selects_see_one_snapshot(engine, tmp_path) -> None:
    nap = (
        "(SELECT pg_sleep(1.2)::text AS z) nap"
        if engine.dialect.name == "postgresql"
        else "(SELECT SLEEP(1.2) AS z) nap"
    )
    events = EVENTS.replace("FROM events", f"FROM {nap} CROSS JOIN events WHERE nap.z IS NOT NULL")

    def write() -> None:
        time.sleep(0.5)
        run(
            engine,
            "INSERT INTO events VALUES (2, 'x', 'r', 'h')",
            "INSERT INTO guests VALUES (2, 'late@visitor.example')",
        )

    writer = threading.Thread(target=write)
    writer.start()
    began = time.monotonic()
    result = read(tmp_path, engine, events=events)
    writer.join()
    assert time.monotonic() - began > 1.1  # the other connection did commit between the SELECTs
    assert count(engine, "guests") == 2
    assert result.events["source_event_id"].tolist() == ["1"]
    assert result.guests["source_event_id"].tolist() == ["1"]


@every_kind
def test_absent_keys_are_confirmed_by_what_is_still_found(engine, tmp_path) -> None:
    run(engine, "INSERT INTO events SELECT id + 41, at, room, host FROM events")
    config = source(tmp_path, address(engine))
    assert confirm_absent("own", config, ["1", "42", "7", "k'"], root=tmp_path) == {"1", "42"}
    assert confirm_absent("own", config, [str(n) for n in range(2, 1300)], root=tmp_path) == {"42"}
    assert confirm_absent("own", config, [], root=tmp_path) == set()


@every_kind
@pytest.mark.parametrize("key", ["K:1:2", "Ümläut/ß", "a'b", "%41", "  padded ", "0012"])
def test_text_keys_are_found_as_the_run_knows_them(engine, key, tmp_path) -> None:
    quoted = key.replace("'", "''")
    run(
        engine,
        "CREATE TABLE keyed (id varchar(40), at varchar(20))",
        f"INSERT INTO keyed VALUES ('{quoted}', 'x')",
    )
    events = (
        "SELECT id AS source_event_id, at AS starts_at, 'r' AS room_key, "
        "'h' AS host_email FROM keyed"
    )
    config = source(tmp_path, address(engine), events=events)
    assert confirm_absent("own", config, [key.strip(), "other"], root=tmp_path) == {key.strip()}


@on_sqlite
def test_one_failing_source_stops_the_night_unless_others_may_go_on(engine, tmp_path) -> None:
    good = source(tmp_path, address(engine))
    bad = good.model_copy(update={"url": "sqlite:///gone.sqlite"})
    with pytest.raises(SourceError, match="source bad"):
        read_sources(
            Config(root=tmp_path, sources={"bad": bad, "good": good}),
            read=partial(read_source, root=tmp_path),
        )
    read_now, failed = read_sources(
        Config(root=tmp_path, sources={"bad": bad, "good": good}, on_source_failure="others"),
        read=partial(read_source, root=tmp_path),
    )
    assert list(read_now) == ["good"]
    assert "no database file" in failed["bad"]
    with pytest.raises(SourceError, match="no source could be read"):
        read_sources(
            Config(root=tmp_path, sources={"bad": bad}, on_source_failure="others"),
            read=partial(read_source, root=tmp_path),
        )


def test_a_parameter_that_a_preset_does_not_have_is_named() -> None:
    with pytest.raises(
        ConfigurationError,
        match="preset mrbs has no parameter 'colour': it has email_domain, users_internal",
    ):
        complete_source(SourceConfig(url="sqlite:///x", preset="mrbs", params={"colour": 1}))
