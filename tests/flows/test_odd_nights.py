"""S28: a seeded share of the nights over odd values; `just chaos` runs them by the hundred."""

from __future__ import annotations

import pytest

from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from flows.sources.transaction import open_snapshot
from tests.chaos.odd import CELLS, run_odd
from tests.sources.databases import database


@pytest.fixture(scope="module")
def sandbox():
    with SandboxServer(SandboxSettings()) as server:
        yield server


def test_s28_a_text_of_mariadb_that_is_no_unicode_costs_its_row_alone(tmp_path):
    """A lone surrogate: MariaDB stores it as three bytes in its utf8mb4, and Python decodes them by
    no standard codec.
    """
    with database("mariadb", tmp_path) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE events (name longtext) CHARACTER SET utf8mb4")
            connection.exec_driver_sql(
                "INSERT INTO events VALUES ('good'), (CONVERT(x'EDA080' USING utf8mb4)), ('ü🚪')"
            )
            stored = connection.exec_driver_sql("SELECT HEX(name) FROM events").scalars().all()
        assert "EDA080" in stored
        with open_snapshot("rooms", engine.url) as connection:
            read = (
                connection.exec_driver_sql("SELECT name FROM events WHERE name <> 'ö'")
                .scalars()
                .all()
            )
    assert [read[0], read[2]] == ["good", "ü🚪"]
    assert "\ufffd" in read[1]


@pytest.mark.share(6)
# every engine with the state on SQLite (0, 1, 2) and on PostgreSQL (3, 4, 5); 7 once found a defect
@pytest.mark.parametrize("seed", [*range(6), 7])
def test_s28_odd_values_of_any_engine_cost_their_rows_alone(seed, sandbox, monkeypatch):
    monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
    seen = run_odd(seed, sandbox)
    assert seen["odd: nights"] == 2
    assert seen["odd: meetings sent"] > CELLS / 4
    assert seen["odd: meetings or guests quarantined"] > 0
