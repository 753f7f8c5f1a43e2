"""The user's own table of visits: equal to what the state store holds, whatever happened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flows.night.retention import forget_after
from flows.night.session import open_state
from flows.operations.forget import forget_person
from flows.operations.visits_table import describe_table
from schemas.config import CheckInsConfig
from schemas.errors import ConfigurationError
from tests.command import run
from tests.firm import NOW, Firm
from tests.flows.test_checkins import come_and_go, read, write_file
from tests.sources.databases import database

START = NOW - timedelta(hours=2)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    with database(request.param, tmp_path) as engine:
        yield engine


@pytest.fixture
def lobby(firm: Firm, warehouse: sa.Engine) -> Firm:
    """Ada came to her interview; the visits are to go into the warehouse as well."""
    firm.meetings = {"hr": {}}
    firm.now = NOW - timedelta(days=1)
    ada = {"email": "ada@out.example", "first_name": "Ada", "last_name": "Lovelace"}
    firm.book("k1", source="hr", start=START, guests={"ada": ada})
    firm.night()
    url = warehouse.url.render_as_string(hide_password=False)
    firm.sections["checkins"] = {"url": url, "table": "visits"}
    come_and_go(firm, "hr-k1-ada", at=START, firstName="Ada", lastName="Łovelace 🎩")
    return firm


def rows(engine: sa.Engine) -> list[dict[str, Any]]:
    table = describe_table("visits")
    with engine.connect() as connection:
        found = connection.execute(sa.select(table).order_by(table.c.checkin_id)).mappings()
        return [dict(row) for row in found]


def test_a_visit_stands_beside_its_interview(lobby: Firm, warehouse: sa.Engine) -> None:
    done = read(lobby)
    assert (done.copied.written, done.copied.removed) == (1, 0)
    (row,) = rows(warehouse)
    seen = {name: row[name] for name in ("source", "source_id", "invitation_id", "event_state")}
    assert seen == {
        "source": "hr", "source_id": "hr-k1", "invitation_id": "hr-k1-ada",
        "event_state": "active",
    }  # fmt: skip
    assert (row["first_name"], row["last_name"], row["email"]) == (
        "Ada", "Łovelace 🎩", "ada@out.example",
    )  # fmt: skip
    assert [row[name].replace(tzinfo=UTC) for name in ("starts_at", "arrived_at", "left_at")] == [
        START, START, START + timedelta(hours=1),
    ]  # fmt: skip
    again = read(lobby)
    assert (again.check_ins, again.copied.written, again.copied.removed) == (1, 0, 0)


def test_what_was_lost_or_changed_there_comes_back(lobby: Firm, warehouse: sa.Engine) -> None:
    read(lobby)
    before = rows(warehouse)
    table = describe_table("visits")
    with warehouse.begin() as connection:
        connection.execute(table.delete())
    assert read(lobby).copied.written == 1
    table.drop(warehouse)
    assert read(lobby).copied.written == 1
    with warehouse.begin() as connection:  # by another release
        connection.execute(table.update().values(digest="of another form"))
    assert read(lobby).copied.written == 1
    assert rows(warehouse) == before


def test_rows_of_another_integration_stay(lobby: Firm, warehouse: sa.Engine) -> None:
    read(lobby)
    (mine,) = rows(warehouse)
    theirs = [
        mine | {"integration": "another"},
        mine | {"integration": "another", "checkin_id": "other"},
    ]
    table = describe_table("visits")
    with warehouse.begin() as connection:
        connection.execute(table.insert(), theirs)
    read(lobby)
    kept = sorted((row["integration"], row["checkin_id"]) for row in rows(warehouse) if row != mine)
    assert kept == sorted((row["integration"], row["checkin_id"]) for row in theirs)


def test_who_is_forgotten_leaves_the_table_at_once(lobby: Firm, warehouse: sa.Engine) -> None:
    read(lobby)
    with open_state(lobby.config) as state:
        assert forget_person(lobby.config, state, "ada@out.example").visits == 1
    (row,) = rows(warehouse)
    assert [row[name] for name in ("first_name", "last_name", "email")] == [None] * 3
    assert (row["source_id"], row["arrived_at"].replace(tzinfo=UTC)) == ("hr-k1", START)
    read(lobby)  # essentry still names her
    assert rows(warehouse) == [row]


def test_names_go_after_their_days_and_visits_after_theirs(
    lobby: Firm, warehouse: sa.Engine
) -> None:
    read(lobby)
    later = NOW + timedelta(days=lobby.config.report.keep_personal_days + 1)
    with open_state(lobby.config) as state:
        forget_after(lobby.config, state, now=later)
    read(lobby)
    (row,) = rows(warehouse)
    assert (row["first_name"], row["email"], row["source_id"]) == (None, None, "hr-k1")
    with open_state(lobby.config) as state:
        state.prune(NOW + timedelta(days=401), 90, 400)
    lobby.sandbox.reset()
    assert read(lobby).copied.removed == 1
    assert rows(warehouse) == []


def test_a_masked_report_masks_the_table(lobby: Firm, warehouse: sa.Engine) -> None:
    lobby.sections["report"] = {"directory": "runs", "personal_data": "masked"}
    read(lobby)
    (row,) = rows(warehouse)
    assert [row[name] for name in ("first_name", "last_name", "email")] == [
        "A…", "Ł… 🎩…", "a…@out.example",
    ]  # fmt: skip


def test_a_table_that_is_not_ours_is_left_alone(lobby: Firm, warehouse: sa.Engine) -> None:
    with warehouse.begin() as connection:
        connection.execute(sa.text("CREATE TABLE visits (checkin_id VARCHAR(20), note TEXT)"))
        connection.execute(sa.text("INSERT INTO visits VALUES ('1', 'theirs')"))
    with pytest.raises(ConfigurationError, match=r"no column 'integration'.*not ours"):
        read(lobby)
    with warehouse.connect() as connection:
        assert connection.execute(sa.text("SELECT * FROM visits")).all() == [("1", "theirs")]
    with open_state(lobby.config) as state:  # what was read is kept
        assert state.find_reading(11).read_until is not None


def test_thousands_of_visits_come_and_go_in_parts(
    lobby: Firm, warehouse: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.operations.visits_table.ROWS", 4)
    for hour in range(9):
        come_and_go(lobby, "hr-k1-ada", at=START - timedelta(hours=hour + 1))
    assert read(lobby).copied.written == 10
    assert len(rows(warehouse)) == 10
    with open_state(lobby.config) as state:
        state.prune(NOW + timedelta(days=401), 90, 400)
    lobby.sandbox.reset()
    assert read(lobby).copied.removed == 10
    assert rows(warehouse) == []


# --- as a command ---


def command_with(firm: Firm, section: str) -> str:
    firm.meetings["rooms"] = {}
    file = Path(write_file(firm))
    file.write_text(file.read_text() + f"[checkins]\n{section}\n")
    return str(file)


def test_the_command_says_what_it_wrote(firm: Firm) -> None:
    firm.book("a", "x", start=START)
    firm.now = NOW - timedelta(days=1)
    firm.night()
    come_and_go(firm, "rooms-a-x", at=START)
    file = command_with(firm, 'url_env = "WAREHOUSE"')
    done = run("checkins", "--config", file)
    assert (done.returncode, "WAREHOUSE" in done.stderr) == (2, True)
    done = run("checkins", "--config", file, WAREHOUSE="sqlite:///warehouse.sqlite")
    assert (done.returncode, "essentry_visits: 1 visit written, 0 taken out" in done.stdout) == (
        0, True,
    )  # fmt: skip
    assert (firm.folder / "warehouse.sqlite").exists()


def test_a_database_that_is_not_there_is_said_without_its_password(firm: Firm) -> None:
    firm.night()
    file = command_with(firm, 'url_env = "WAREHOUSE"')
    url = "postgresql://writer:geheim4711@127.0.0.1:9/visits"
    done = run("checkins", "--config", file, WAREHOUSE=url)
    assert done.returncode == 2
    assert "essentry_visits" in done.stderr
    assert "writes what is missing" in " ".join(done.stderr.split())
    assert "geheim" not in done.stderr + done.stdout


@pytest.mark.parametrize("given", [{"table": "a;b"}, {"table": ""}, {"url": "x", "url_env": "Y"}])
def test_an_address_or_a_name_that_is_none_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"table|said twice"):
        CheckInsConfig(**given)  # type: ignore[arg-type]


def test_without_a_table_nothing_is_written(firm: Firm) -> None:
    firm.night()
    before = set(os.listdir(firm.folder))
    assert read(firm).copied.written == 0
    assert set(os.listdir(firm.folder)) <= before | {"state.sqlite-wal", "state.sqlite-shm"}
