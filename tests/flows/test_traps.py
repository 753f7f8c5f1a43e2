"""What a naive extract gets wrong, each trap through the whole path: rows of a database, a night,
what the sandbox then holds.
"""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from flows.night import steps as nightly
from flows.night.close import finish
from flows.night.session import open_session
from flows.sandbox.server import SandboxServer
from schemas.load_config import load_config
from schemas.source import EVENT_COLUMNS, GUEST_COLUMNS
from tests.firm import ended_well
from tests.sources import librebooking, orangehrm
from tests.sources.databases import database, insert_rows

NOW = datetime(2027, 3, 1, 2, tzinfo=UTC)
GUARDS = """
[guards]
approve_first_run = false
max_outside_hosts = 1000
max_quarantine_share = 1.0
max_shrink_share = 1.0
"""
PLACES = "sites.1 = { location_id = 101 }\nrooms.r2 = { location_id = 102, entrance_id = 202 }\n"


class Town:
    """Sources, a configuration in a folder, and a sandbox."""

    def __init__(self, folder: Path, server: SandboxServer) -> None:
        self.folder, self.server, self.nights = folder, server, 0
        self.sources: dict[str, str] = {}

    def add(self, name: str, engine: Engine, settings: str) -> None:
        url = engine.url.render_as_string(hide_password=False)
        self.sources[name] = (
            f'[sources.{name}]\nurl = "{url}"\ninternal_domains = ["corp.example"]\n{settings}\n'
        )

    def add_own(
        self,
        name: str,
        engine: Engine,
        events: list[dict[str, Any]],
        guests: list[dict[str, Any]],
        settings: str,
    ) -> None:
        """A source with SELECTs of its own; rows name the columns that matter, the others are
        NULL.
        """
        for part, columns, rows in (
            ("events", EVENT_COLUMNS, events),
            ("guests", GUEST_COLUMNS, guests),
        ):
            with engine.begin() as connection:
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {part}")
                connection.exec_driver_sql(
                    f"CREATE TABLE {part} "
                    f"({', '.join(f'{column} varchar(400)' for column in columns)})"
                )
            insert_rows(engine, {part: [dict.fromkeys(columns) | row for row in rows]})
            (self.folder / f"{name}_{part}.sql").write_text(
                f"SELECT * FROM {part}", encoding="utf-8"
            )
        self.add(
            name,
            engine,
            (
                f'events_sql = "{name}_events.sql"\nguests_sql = '
                f'"{name}_guests.sql"\n{settings}\n{PLACES}'
            ),
        )

    def night(self) -> dict[str, Any]:
        """One night, a day after the last; returns the report."""
        file = self.folder / "c.toml"
        file.write_text(
            f'[essentry]\nbase_url = "{self.server.base_url}"\n{GUARDS}'
            + "".join(self.sources.values()),
            encoding="utf-8",
        )
        self.nights += 1
        with open_session(
            load_config(file), kind="sync", as_of=NOW + timedelta(days=self.nights - 1)
        ) as session:
            nightly.load(session, nightly.plan(session, *nightly.extract(session)))
            result = finish(session)
            self.folder_of_report = result.folder
            self.quarantined = {
                (row["source_event_id"], row["check"])
                for row in session.state.quarantine(session.run.run_id).to_dict("records")
            }
        assert ended_well(result), result.report["verdict"]
        return result.report

    def held(self) -> dict[str, dict[str, Any]]:
        """Live events in the sandbox by sourceId."""
        return self.server.state()["events"]

    def mails(self, kind: str) -> list[str]:
        return sorted(mail["email"] or "" for mail in self.server.mails() if mail["kind"] == kind)


@pytest.fixture
def town(tmp_path, monkeypatch):
    with SandboxServer() as server:
        monkeypatch.setenv("ESSENTRY_TOKEN", server.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", server.agent_token)
        yield Town(tmp_path, server)


@pytest.fixture
def lite(tmp_path):
    with database("sqlite", tmp_path) as engine:
        yield engine


@pytest.fixture
def maria(tmp_path):
    with database("mariadb", tmp_path) as engine:
        yield engine


def event(
    key: str, start: str = "2027-03-20 10:00", end: str | None = "2027-03-20 11:00", **more: Any
) -> dict[str, Any]:
    row = {
        "source_event_id": key,
        "name": "Visit",
        "starts_at": start,
        "ends_at": end,
        "site_key": "1",
        "host_email": "host@corp.example",
    }
    return row | more


def guest(key: str, email: str | None = "g@visitor.example", **more: Any) -> dict[str, Any]:
    return {"source_event_id": key, "email": email} | more


def bookings() -> dict[str, list[dict[str, Any]]]:
    """LibreBooking with two plain bookings, B-1 and B-2, of user 1 in room 10, a guest each; users
    live in New York, layouts in Tokyo.
    """
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in librebooking.TABLES}
    tables["layouts"] = [{"layout_id": 5, "timezone": "Asia/Tokyo"}]
    tables["schedules"] = [{"schedule_id": 1, "name": "Haus", "layout_id": 5}]
    tables["resources"] = [
        {"resource_id": n, "name": f"Raum {n}", "schedule_id": 1} for n in (10, 11, 12)
    ]
    tables["users"] = [
        {
            "user_id": n, "fname": f"F{n}", "lname": f"L{n}", "email": (
                f"u{n}@{'corp' if n < 5 else 'visitor'}.example"
            ), "phone": None,
            "organization": None, "timezone": "America/New_York", "language": "de_de",
            "status_id": 1,
        }
        for n in (1, 2, 5, 6)
    ]  # fmt: skip
    for n in (1, 2):
        tables["reservation_series"].append(
            {
                "series_id": n, "date_created": "2027-01-01 00:00:00", "last_modified": None,
                "title": f"Visit {n}", "description": "",
                "type_id": 1, "status_id": 1, "owner_id": 1,
            }
        )  # fmt: skip
        tables["reservation_instances"].append(
            {
                "reservation_instance_id": n, "start_date": "2027-07-01 08:00:00",
                "end_date": "2027-07-01 09:00:00",
                "reference_number": f"B-{n}", "series_id": n,
            }
        )  # fmt: skip
        tables["reservation_resources"].append(
            {"series_id": n, "resource_id": 10, "resource_level_id": 1}
        )
        librebooking.add_guests(tables, n, 1, [f"g{n}@visitor.example"], [])
    return tables


LIBRE = 'preset = "librebooking"\nparams.users_internal = 0\nsites.1 = { location_id = 101 }\n'


def start_libre(town: Town, engine: Engine, tables: dict[str, list[dict[str, Any]]]) -> None:
    librebooking.create_schema(engine)
    insert_rows(engine, tables)
    town.add("rooms", engine, LIBRE)


def test_trap_01_utc_read_as_local_local_as_utc_or_a_zone_of_the_wrong_table(
    town, maria, lite
) -> None:
    start_libre(town, maria, bookings())
    settings = (
        'times = "local"\ntimezone = "Asia/Tokyo"\nsites.9 = { location_id = 109, '
        'timezone = "Europe/Berlin" }'
    )
    rows = [
        event("source", "2027-07-01 18:00", None),
        event("site", "2027-07-01 18:00", None, site_key="9"),
        event("row", "2027-07-01 18:00", None, site_key="9", timezone="America/New_York"),
        event("own", "2027-07-01T18:00:00+05:30", None, site_key="9"),
        event("mars", "2027-07-01 18:00", None, timezone="Mars/Olympus"),
    ]
    town.add_own("hr", lite, rows, [guest(row["source_event_id"]) for row in rows], settings)
    town.night()
    assert {key: row["startsAt"] for key, row in town.held().items()} == {
        "rooms-B~2D1": "2027-07-01T08:00:00Z",
        "rooms-B~2D2": "2027-07-01T08:00:00Z",
        "hr-source": "2027-07-01T09:00:00Z",
        "hr-site": "2027-07-01T16:00:00Z",
        "hr-row": "2027-07-01T22:00:00Z",
        "hr-own": "2027-07-01T12:30:00Z",
    }
    assert town.quarantined == {("mars", "zone")}


def test_trap_02_wall_clock_times_at_a_change_of_clocks(town, lite) -> None:
    rows = [
        event("twice", "2027-10-31 02:30", "2027-10-31 03:30"),
        event("never", "2027-03-28 02:30", "2027-03-28 04:00"),
        event("plain"),
    ]
    settings = 'times = "local"\ntimezone = "Europe/Berlin"'
    town.add_own("hr", lite, rows, [guest(row["source_event_id"]) for row in rows], settings)
    report = town.night()
    held = town.held()
    assert (held["hr-twice"]["startsAt"], held["hr-twice"]["endsAt"]) == (
        "2027-10-31T00:30:00Z",
        "2027-10-31T02:30:00Z",
    )
    assert (held["hr-never"]["startsAt"], held["hr-never"]["endsAt"]) == (
        "2027-03-28T01:30:00Z",
        "2027-03-28T02:00:00Z",
    )
    assert (report["notes"]["ambiguous_times"], report["notes"]["shifted_times"]) == (1, 1)


def test_trap_03_a_missing_end_or_one_not_after_the_start(town, lite) -> None:
    rows = [
        event("none", end=None),
        event("blank", end="  "),
        event("same", end="2027-03-20 10:00"),
        event("before", end="2027-03-20 09:00"),
        event("unreadable", end="later"),
    ]
    town.add_own(
        "hr",
        lite,
        rows,
        [guest(row["source_event_id"]) for row in rows],
        'times = "utc"\ndefault_duration_minutes = 45',
    )
    town.night()
    assert {key: row["endsAt"] for key, row in town.held().items()} == dict.fromkeys(
        ("hr-none", "hr-blank"), "2027-03-20T10:45:00Z"
    )
    assert town.quarantined == {
        ("same", "end_after_start"),
        ("before", "end_after_start"),
        ("unreadable", "end"),
    }


def test_trap_04_changes_that_no_updated_at_shows(town, maria) -> None:
    tables = bookings()
    start_libre(town, maria, tables)
    town.night()
    tables["users"][0]["email"] = "moved@corp.example"  # last_modified stays NULL
    tables["reservation_instances"].pop()
    insert_rows(maria, tables)
    report = town.night()
    assert {key: row["host"]["email"] for key, row in town.held().items()} == {
        "rooms-B~2D1": "moved@corp.example"
    }
    assert list(town.server.state()["tombstones"]) == ["rooms-B~2D2"]
    assert town.mails("cancelled") == ["g2@visitor.example"]
    assert (report["counts"]["update"], report["counts"]["delete"]) == (1, 1)


def test_trap_05_a_missing_room_or_host_row_does_not_look_like_a_deletion(town, maria) -> None:
    tables = bookings()
    tables["reservation_series"][1]["owner_id"] = 2
    tables["reservation_resources"][0]["resource_id"] = 11
    start_libre(town, maria, tables)
    town.night()
    before = town.held()
    tables["resources"] = [row for row in tables["resources"] if row["resource_id"] != 11]
    tables["users"] = [row for row in tables["users"] if row["user_id"] != 2]
    insert_rows(maria, tables)
    town.night()
    assert town.held() == before
    assert len(before) == 2
    assert town.server.state()["tombstones"] == {}
    assert town.quarantined == {("B-1", "place"), ("B-2", "host")}


def test_trap_06_rooms_interviewers_and_participants_do_not_multiply(town, maria, lite) -> None:
    tables = bookings()
    tables["reservation_resources"] += [
        {"series_id": 1, "resource_id": n, "resource_level_id": 2} for n in (11, 12)
    ]
    librebooking.add_guests(tables, 1, 0, ["g3@visitor.example"], [5, 6])
    tables["reservation_users"] = [row for row in tables["reservation_users"] if row["user_id"]]
    start_libre(town, maria, tables)
    orangehrm.create_schema(lite)
    hr = orangehrm.generate(seed=1, today=NOW.replace(hour=0), events=11)
    hr["ohrm_job_interview"][10]["interview_date"] = "2027-03-20"
    insert_rows(lite, hr)
    town.add(
        "hr",
        lite,
        'preset = "orangehrm"\ntimezone = "Europe/Berlin"\n'
        + "".join(f"sites.{n} = {{ location_id = 10{n} }}\n" for n in range(1, 6)),
    )
    town.night()
    held = town.held()
    assert len(held["rooms-B~2D1"]["guests"]) == 4  # g1, g3, users 5 and 6
    assert sorted(guest["email"] for guest in held["rooms-B~2D1"]["guests"].values()) == [
        "g1@visitor.example", "g3@visitor.example", "u5@visitor.example", "u6@visitor.example",
    ]  # fmt: skip
    interviewers = [
        row for row in hr["ohrm_job_interview_interviewer"] if row["interview_id"] == 11
    ]
    assert len(interviewers) == 4
    assert len(held["hr-11"]["guests"]) == 1
    assert held["hr-11"]["host"]["email"] == "boss4@corp.example"  # the lowest number
    assert [key for key in held if key.startswith("rooms-")] == ["rooms-B~2D1", "rooms-B~2D2"]


def test_trap_07_composite_ids_that_meet(town, lite) -> None:
    pairs = [
        ("K:1", "2:3"),
        ("K:1:2", "3"),
        ("K-1", "a"),
        ("K", "1-a"),
        ("K~2D1", "b"),
        ("k", "1-a"),
    ]
    rows = [event(key) for key, _ in pairs]
    people = [
        guest(key, f"p{n}@visitor.example", guest_id=person)
        for n, (key, person) in enumerate(pairs)
    ]
    town.add_own("a", lite, rows, people, 'times = "utc"')
    town.night()
    held = town.held()
    invitations = [key for row in held.values() for key in row["guests"]]
    assert len(held) == len(set(invitations)) == len(invitations) == len(pairs)
    assert sorted(guest["email"] for row in held.values() for guest in row["guests"].values()) == [
        p["email"] for p in people
    ]


def test_trap_08_an_address_is_no_id(town, lite) -> None:
    keys = ("empty", "na", "shared", "case", "unicode")
    people = [
        guest("empty", ""),
        guest("na", "n/a", first_name="Ana", last_name="Ng"),
        guest("shared", "office@visitor.example", first_name="Ana", last_name="Ng"),
        guest("shared", "office@visitor.example", first_name="Bo", last_name="Ek"),
        guest("case", "Jo@Visitor.example "),
        guest("case", " jo@visitor.example"),
        guest("unicode", "MÜLLER@visitor.example"),
        guest("unicode", "müller@visitor.example"),
    ]
    town.add_own("a", lite, [event(key) for key in keys], people, 'times = "utc"')
    town.night()
    guests = {key: list(row["guests"].values()) for key, row in town.held().items()}
    assert {key: len(found) for key, found in guests.items()} == {
        "a-na": 1,
        "a-shared": 2,
        "a-case": 1,
        "a-unicode": 1,
    }
    assert guests["a-na"][0].get("email") is None
    assert guests["a-case"][0]["email"] == "jo@visitor.example"
    assert guests["a-unicode"][0]["email"] == "müller@visitor.example"
    assert sorted(person["firstName"] for person in guests["a-shared"]) == ["Ana", "Bo"]
    assert not any(
        "visitor" in key or "@" in key for row in town.held().values() for key in row["guests"]
    )
    assert town.quarantined == {("empty", "guest_identity")}


def test_trap_09_one_person_as_user_and_guest_and_the_host_as_guest(town, maria) -> None:
    tables = bookings()
    tables["reservation_guests"][0]["email"] = "U5@visitor.example"
    librebooking.add_guests(tables, 1, 1, [], [5])
    tables["reservation_users"] = [
        dict(row) for row in {tuple(row.items()) for row in tables["reservation_users"]}
    ]
    tables["reservation_series"][1]["owner_id"] = 6  # a host with an address from outside
    librebooking.add_guests(tables, 2, 0, ["u6@VISITOR.example"], [])
    tables["reservation_users"] = [row for row in tables["reservation_users"] if row["user_id"]]
    start_libre(town, maria, tables)
    town.night()
    emails = {
        key: sorted(person["email"] for person in row["guests"].values())
        for key, row in town.held().items()
    }
    assert emails == {"rooms-B~2D1": ["u5@visitor.example"], "rooms-B~2D2": ["g2@visitor.example"]}
    assert town.mails("invited") == ["g2@visitor.example", "u5@visitor.example"]


def test_trap_10_private_titles_pending_bookings_and_hosts_who_left(town, maria, lite) -> None:
    tables = bookings()
    tables["reservation_series"][0]["status_id"] = 3
    tables["reservation_series"][1]["owner_id"] = 2
    tables["users"][1]["status_id"] = 3
    start_libre(town, maria, tables)
    rows = [
        event("p", name="Merger with Ltd", description="secret", private="1"),
        event("open", private="0"),
        event("w", status="Pending"),
    ]
    town.add_own("a", lite, rows, [guest(row["source_event_id"]) for row in rows], 'times = "utc"')
    town.night()
    assert {key: row["name"] for key, row in town.held().items()} == {
        "a-p": "Private meeting",
        "a-open": "Visit",
    }
    assert "description" not in town.held()["a-p"]
    assert town.quarantined == {("B-2", "host_active")}


def test_trap_11_titles_of_all_kinds(town, maria) -> None:
    titles = {
        "null": (None, "Meeting"),
        "blank": (" \t ", "Meeting"),
        "long": ("x" * 300, "x" * 254 + "…"),
        "lines": ("one\r\ntwo\nthree", "one two three"),
        "emoji": ("Tour 🔬 Łódź", "Tour 🔬 Łódź"),
        "formula": ("=1+1", "=1+1"),
    }
    rows = [event(key, name=given) for key, (given, _) in titles.items()]
    town.add_own("a", maria, rows, [guest(key) for key in titles], 'times = "utc"')
    town.night()
    assert {key: row["name"] for key, row in town.held().items()} == {
        f"a-{key}": wanted for key, (_, wanted) in titles.items()
    }
    with (town.folder_of_report / "changes.csv").open(encoding="utf-8-sig", newline="") as file:
        names = {row["source_id"]: row["name"] for row in csv.DictReader(file)}
    assert names["a-formula"] == "'=1+1"


def test_trap_12_one_meeting_in_two_systems_invites_once(town, maria, tmp_path) -> None:
    with database("sqlite", tmp_path) as second:
        interview = event("7", name="Interview", site_key="1", room_key=None)
        booking = event("B9", name="Room", room_key="r2", linked_source="hr", linked_event_id="7")
        town.add_own(
            "hr",
            maria,
            [interview],
            [guest("7", "ann@visitor.example", guest_id="c1", first_name="Ann")],
            'times = "utc"',
        )
        town.add_own(
            "rooms",
            second,
            [booking],
            [guest("B9", "Ann@Visitor.example"), guest("B9", "bo@visitor.example")],
            'times = "utc"',
        )
        town.night()
        ((key, held),) = town.held().items()
        assert (key, held["name"], held["locationId"], held["entranceId"]) == (
            "hr-7",
            "Interview",
            102,
            202,
        )
        assert town.mails("invited") == ["ann@visitor.example", "bo@visitor.example"]
        town.night()
        assert len(town.server.mails()) == 2
