"""Tests of SELECTs: the documented example, in every dialect, and what makes it red or refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from flows.operations.select_tests import find_tests, run_select_test
from schemas.errors import ConfigurationError
from schemas.load_config import load_config
from tests.command import run
from tests.sources.databases import database

OPERATING = (Path(__file__).parents[2] / "flows" / "OPERATING.md").read_text(encoding="utf-8")
EXAMPLE = re.search(
    r"## Before a change: tests of SELECTs.*?```toml\n(.*?)```", OPERATING, flags=re.S
)[1]  # type: ignore[index]
CONFIG = """
[sources.rooms]
url = "sqlite:///there_is_no_such_file.sqlite"
events_sql = "events.sql"
guests_sql = "guests.sql"
times = "local"
timezone = "Europe/Berlin"
internal_domains = ["corp.example"]
[sources.rooms.sites]
"7" = { location_id = 11 }
"""
EVENTS = """SELECT b.id AS source_event_id, b.title AS name, b.begins AS starts_at, b.room AS site_key, b.host AS host_email,
CASE WHEN b.gone THEN 'cancelled' ELSE 'confirmed' END AS status FROM bookings b"""  # noqa: E501
GUESTS = """SELECT v.booking AS source_event_id, v.mail AS email, v.name AS last_name, c.name AS company_name
FROM visitors v LEFT JOIN companies c ON c.id = v.company"""  # noqa: E501


class Folder:
    """A configuration, its SELECTs, and one test, which is the documented one until a test of ours
    changes it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.url = path, None
        self.write(CONFIG, file="essentry-sync.toml")
        self.write(EVENTS, file="events.sql")
        self.write(GUESTS, file="guests.sql")
        self.write(EXAMPLE)

    def write(self, text: str, *, file: str = "rooms.toml") -> None:
        (self.path / file).write_text(text, encoding="utf-8")

    def differences(self) -> list[str]:
        tested = run_select_test(
            load_config(self.path / "essentry-sync.toml"), self.path / "rooms.toml", url=self.url
        )
        return [str(difference) for difference in tested.differences]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def anywhere(request: pytest.FixtureRequest, folder: Folder):
    """The same on each database; the servers' is empty."""
    if request.param == "sqlite":
        yield folder
        return
    with database(request.param, folder.path) as engine:
        folder.url = engine.url.render_as_string(hide_password=False)
        folder.engine = engine
        yield folder


LOST = "event 1, guest Bob: expected invited, found not invited"


def test_documented_example_is_green_and_an_inner_join_makes_it_red(anywhere):
    assert anywhere.differences() == []
    anywhere.write(GUESTS.replace("LEFT JOIN", "JOIN"), file="guests.sql")
    assert anywhere.differences() == [LOST]


def test_exit_codes_of_the_command(folder):
    command = ("test", str(folder.path), "--config", str(folder.path / "essentry-sync.toml"))
    (folder.path / "essentry-sync.toml").rename(folder.path / "settings.txt")
    command = (*command[:-1], str(folder.path / "settings.txt"))
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert "rooms.toml: 3 events, 0 differences" in done.stdout
    folder.write(GUESTS.replace("LEFT JOIN", "JOIN"), file="guests.sql")
    done = run(*command, "--json")
    assert done.returncode == 10, done.stderr
    (told,) = json.loads(done.stdout)
    assert told["differences"] == [
        {"key": "1", "what": "guest Bob", "expected": "invited", "found": "not invited"}
    ]
    folder.write("SELECT missing FROM visitors", file="guests.sql")
    done = run(*command)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such column: missing" in done.stderr
    assert not list(folder.path.glob("*.sqlite"))  # neither state nor source


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('"Bob"]', '"Bob", "Eve"]', "event 1, guest Eve: expected invited, found not invited"),
        (', "Bob"]', "]", "event 1, guest Bob: expected not invited, found invited"),
        (
            'company_name = "Out" }',
            'company_name = "In" }',
            "event 1, guest ada@out.example, company_name: expected 'In', found 'Out'",
        ),
        (
            "08:00:00Z",
            "09:00:00Z",
            "event 1, starts_at: expected 2026-12-01 09:00:00Z, found 2026-12-01 08:00:00Z",
        ),
        ("location_id = 11", "location_id = 12", "event 1, location_id: expected 12, found 11"),
        (
            'name = "Audit"\nst',
            'name = "Audits"\nst',
            "event 1, name: expected 'Audits', found 'Audit'",
        ),
        (
            'becomes = "cancelled"',
            'becomes = "pending"',
            "event 2, becomes: expected pending, found cancelled",
        ),
        ('check = "location"', 'check = "host"', "event 3, check: expected host, found location"),
        ("room = 9", "room = 7", "event 3, becomes: expected quarantined, found guestless"),
        (
            'key = "3"',
            'key = "4"',
            "event 4, event: expected quarantined, found no row of the events SELECT",
        ),
        (
            'mail = "ada@out.example"',
            'mail = "ada at out"',
            "event -, guest rows set aside: expected 0, found 1 (guest_address)",
        ),
        ("as_of = 2026-11", "as_of = 2027-11", "event 1, becomes: expected due, found past"),
        (
            "{ id = 2,",
            "{ id = 1,",
            "event 1, becomes: expected due, found quarantined (unique_key)",
        ),
        (
            '\n[[events]]\nkey = "2"\nbecomes = "cancelled"\n',
            "",
            "event rooms-2, event: expected none, found cancelled",
        ),
    ],
)
def test_every_difference_is_told(folder, before, after, told):
    assert EXAMPLE.count(before) >= 1
    folder.write(EXAMPLE.replace(before, after, 1))
    assert told in folder.differences()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('source = "rooms"', 'source = "room"', "there is no source 'room': the sources are rooms"),
        ('source = "rooms"\n', "", "source is missing"),
        ("T02:00:00Z\n", "T02:00:00\n", "as_of: Input should have timezone info"),
        (
            'becomes = "cancelled"',
            'becomes = "gone"',
            "events.1.becomes: Input should be 'due', 'cancelled'",
        ),
        ('becomes = "cancelled"', "", "an event that is due has guests"),
        ('key = "2"', 'key = "1"', "names the key '1' twice"),
        ("location_id = 11", "location = 11", "unknown key events.0.location"),
        (
            'companies = [{ id = 1, name = "Out" }]',
            "companies = []",
            "the table 'companies' has no row: name its columns",
        ),
        ('companies = [{ id = 1, name = "Out" }]', "", "no such table: companies"),
        ("[tables]", "[columns]\nplaces = { id = 'text' }\n[tables]", "[columns] names 'places'"),
        ("id = 1,", "id = 99999999999999999999999,", "the rows of bookings make no table"),
        ('"Bob"]', '{ company_name = "Out" }]', "a guest has an email, or a name"),
        ('company_name = "Out" }', 'company = "Out" }', "unknown key events.0.guests.0.company"),
        ("[tables]", "[tables", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_remedy(folder, before, after, told):
    folder.write(EXAMPLE.replace(before, after, 1))
    with pytest.raises(ConfigurationError) as refused:
        folder.differences()
    assert told in str(refused.value)


def test_a_table_may_be_empty(anywhere):
    types = '[columns]\ncompanies = { id = "integer", name = "text" }\n[tables]'
    empty = EXAMPLE.replace('companies = [{ id = 1, name = "Out" }]', "companies = []")
    anywhere.write(empty.replace("[tables]", types))
    assert anywhere.differences() == [
        "event 1, guest ada@out.example, company_name: expected 'Out', found nothing"
    ]


@pytest.mark.parametrize("anywhere", ["postgresql", "mariadb"], indirect=True)
def test_real_rows_are_hidden_and_never_touched(anywhere):
    """A table of the database has the test's name: its types are taken, its rows are neither read
    nor changed, and nothing stays.
    """
    with anywhere.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE visitors (booking varchar(9), mail text, name text, company bigint)"
        )
        connection.exec_driver_sql(
            "INSERT INTO visitors VALUES ('1', 'real@person.example', 'Real', NULL)"
        )
    anywhere.write(EVENTS.replace("b.id AS", "CAST(b.id AS CHAR(1)) AS"), file="events.sql")
    assert anywhere.differences() == []
    with anywhere.engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT * FROM visitors").all() == [
            ("1", "real@person.example", "Real", None)
        ]
        connection.exec_driver_sql("CREATE TABLE companies (id bigint, name text)")
    anywhere.write(re.sub(r"companies = .*\n", "", EXAMPLE))
    with pytest.raises(ConfigurationError, match=r"companies.*\[tables\]"):
        anywhere.differences()


@pytest.mark.parametrize("anywhere", ["postgresql"], indirect=True)
def test_a_select_that_reads_past_the_test_is_refused(anywhere):
    with anywhere.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE visitors (booking int, mail text, name text, company int)"
        )
    anywhere.write(GUESTS.replace("visitors v", "public.visitors v"), file="guests.sql")
    with pytest.raises(
        ConfigurationError, match=r"guests.sql reads public.visitors, of which the test has no rows"
    ):
        anywhere.differences()


def test_a_folder_without_a_test_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="there is no test"):
        find_tests([tmp_path])
