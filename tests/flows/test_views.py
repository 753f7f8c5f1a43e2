"""The documented SQL views: the queries of the documentation on a state of the oldest form that was
brought forward, on both databases.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from flows.state import views
from flows.state.store import State
from schemas.errors import StateError
from tests.flows.test_upgrade import copy_old_form

ROOT = Path(__file__).parents[2]
SECTION = (
    (ROOT / "flows" / "OPERATING.md")
    .read_text(encoding="utf-8")
    .partition("## Questions in SQL")[2]
    .partition("\n## ")[0]
)
QUERIES = {
    re.search(r"v_\w+", query)[0]: query
    for query in re.findall(r"```sql\n(.*?)```", SECTION, flags=re.S)
}  # type: ignore[index]
DEFINED = {1: "82ceab20", 2: "a5e1267b"}
"""Of each version of the views, the beginning of a digest of their definitions."""


@pytest.fixture
def old(url: str, tmp_path: Path) -> str:
    """A state store of the form 0001, as it is before its first upgrade."""
    file = tmp_path / "old.sqlite"
    with sqlite3.connect(file) as connection:
        connection.executescript(
            (ROOT / "tests" / "stored" / "state_0001.sql").read_text(encoding="utf-8")
        )
    connection.close()
    if url.startswith("sqlite"):
        file.replace(tmp_path / "state.sqlite")
    else:
        engine = sa.create_engine(url)
        copy_old_form(file, engine, "0001")
        engine.dispose()
    return url


def ask(url: str, query: str) -> list[tuple]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.exec_driver_sql(query)]
    engine.dispose()
    return rows


def tell(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_every_view_is_documented_with_its_columns_and_a_query(old):
    State.open(old).engine.dispose()
    documented = dict(re.findall(r"^\| `(v_\w+)` \|[^|]*\| (.*) \|$", SECTION, flags=re.M))
    assert set(documented) == set(QUERIES) == set(views.NAMES) - {"v_version"}
    for name, words in documented.items():
        engine = sa.create_engine(old)
        columns = [column["name"] for column in sa.inspect(engine).get_columns(name)]
        engine.dispose()
        assert re.findall(r"`(\w+)`", words) == columns


def test_documented_queries_answer_on_a_migrated_old_store(old):
    State.open(old).engine.dispose()
    last = "20261124-223115-0000"
    tell(
        old,
        "INSERT INTO quarantine (id, run_id, source, part, source_event_id, guest_id, source_id, "
        '"column", "check", value, remedy) VALUES'
        f" (1, '{last}', 'rooms', 'guests', '2', 'eve@out.example', 'rooms-2', 'email', "
        "'address_form', 'e***', 'mend it'),"
        " (1, 'earlier', 'rooms', 'guests', '1', NULL, 'rooms-1', 'email', 'address_form', 'f***', "
        "'mended since')",
        "INSERT INTO source_reads (run_id, source, events, guests, quarantined, "
        f"read_at) VALUES ('earlier', 'rooms', 2, 3, 1, 1900000000000000), ('{last}', 'rooms', 3, "
        "5, 1, 1900000001000000)",
        "INSERT INTO plan_changes (plan_id, seq, source_id, source, action, reason, guests, "
        "state, run_id, answered_at) VALUES ('20261124-223114-5ccc', 5, 'rooms-5', 'rooms', "
        "'delete', 'cancelled', 3, 'confirmed', '20261124-223114-5ccc', 1900000000000000)",
        "INSERT INTO rejections (source_id, source, code, message, tries, last_run, last_at, "
        f"next_at) VALUES ('rooms-3', 'rooms', 'ERROR_X', 'eve@out.example is odd', 2, '{last}', "
        "1900000002999999, 1900000003000000)",
        "INSERT INTO checkins (checkin_id, location_id, state, email, invitation_id, event_id, "
        "reason, starts_at, arrived_at, forgotten) VALUES ('7', 11, 'WAITING', 'eve@out.example', "
        "'rooms-2-a', 'rooms-2', NULL, 1900000003000000, 1900000002000000, FALSE), ('8', 11, "
        "NULL, NULL, NULL, NULL, 'no_invitation', NULL, 1900000002000000, FALSE)",
    )
    answers = {name: ask(old, query) for name, query in QUERIES.items()}
    night = "20261124-223115-055f", "sync", "2026-11-24T22:31:15Z", "failed", 6, 0, 2
    assert answers["v_runs"] == [night]
    assert answers["v_snapshot"] == [("2027-01-23", 11, 4, 5)]
    assert answers["v_changelog"] == [("2030-03", "rooms", "cancelled", 1, 3)]
    assert answers["v_problems"] == [  # nothing of the read before the last
        ("unanswered", "rooms", "CONNECTION_LOST", 2, "2026-11-24T22:31:15Z"),
        ("quarantined", "rooms", "address_form", 1, "2030-03-17T17:46:41Z"),
        ("rejected", "rooms", "ERROR_X", 1, "2030-03-17T17:46:42Z"),
    ]
    ((event, invitation, begins, arrived, left),) = answers["v_visits"]
    ((confirmed,),) = ask(old, "SELECT starts_at FROM v_snapshot WHERE source_id = 'rooms-2'")
    assert (event, invitation, begins, arrived, left) == (
        "rooms-2",
        "rooms-2-a",
        confirmed,
        "2030-03-17T17:46:42Z",
        None,
    )
    assert ask(
        old, "SELECT checkin_id, visit_state, reason, source FROM v_visits ORDER BY checkin_id"
    ) == [
        ("7", "WAITING", None, "rooms"),
        ("8", None, "no_invitation", None),
    ]
    assert ask(old, (
        "SELECT run_id, events_read, guests_read, rows_quarantined, changes_confirmed FROM v_runs "
        "ORDER BY run_id"
    ))[0] == (
        "20261124-223114-5ccc", 4, 5, 0, 5
    )  # fmt: skip


def test_no_view_shows_a_person(old):
    State.open(old).engine.dispose()
    tell(
        old,
        (
            "INSERT INTO rejections (source_id, source, code, message, tries) VALUES ('rooms-9', "
            "'rooms', 'E', 'ada@out.example is odd', 1)"
        ),
    )
    tables = str(
        [
            ask(old, f"SELECT * FROM {name}")
            for name in ("snapshot_events", "plan_changes", "rejections")
        ]
    )
    shown = str([ask(old, f"SELECT * FROM {name}") for name in views.NAMES])
    for person in ("@", "Meeting", "ada", "host"):
        assert person in tables
        assert person not in shown
    assert "rooms-9" in shown


def test_views_are_made_anew_where_one_is_gone_or_older_and_left_where_newer(url):
    State.open(url).engine.dispose()
    tell(url, "DROP VIEW v_problems")
    # who only reads mends nothing, and is not kept from reading
    State.open(url, migrate=False).engine.dispose()
    State.open(url).engine.dispose()
    assert ask(url, "SELECT COUNT(*) FROM v_problems") == [(0,)]
    tell(
        url,
        "DROP VIEW v_version",
        "CREATE VIEW v_version AS SELECT 0 AS version",
        "DROP VIEW v_runs",
        "CREATE VIEW v_runs AS SELECT 7 AS old",
    )
    State.open(url).engine.dispose()
    assert ask(url, "SELECT COUNT(*) FROM v_runs") == [(0,)]
    tell(
        url,
        "DROP VIEW v_version",
        "CREATE VIEW v_version AS SELECT 99 AS version",
        "DROP VIEW v_runs",
        "CREATE VIEW v_runs AS SELECT 8 AS newer",
    )
    State.open(url).engine.dispose()
    assert ask(url, "SELECT * FROM v_runs") == [(8,)]


def test_no_migration_meets_a_view(old):
    """A later form may drop or rename what the views rest on: they are gone before the first
    migration and there after the last.
    """
    tell(
        old,
        "CREATE VIEW v_runs AS SELECT run_id FROM runs",
        "CREATE VIEW v_version AS SELECT 1 AS version",
    )
    State.open(old).engine.dispose()
    assert len(ask(old, "SELECT run_id, changes_confirmed FROM v_runs")) == 2


def test_a_view_of_others_is_not_lost(url):
    State.open(url).engine.dispose()
    tell(url, "CREATE VIEW own AS SELECT run_id FROM v_runs", "DROP VIEW v_problems")
    if url.startswith("sqlite"):
        State.open(url).engine.dispose()
    else:
        with pytest.raises(StateError, match="views of your own rest on its v_ views"):
            State.open(url)
    assert ask(url, "SELECT * FROM own") == []


def test_changed_views_have_a_new_version():
    text = " ".join(
        repr([sorted(views.define_views(dialect).items()) for dialect in ("sqlite", "postgresql")])
        .replace("\\n", " ")
        .split()
    )
    assert hashlib.sha256(text.encode()).hexdigest().startswith(DEFINED[views.VERSION])
