"""What the presets decide, case by case, on rows as the systems' own code writes them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from flows.sources.places import read_places
from flows.sources.presets import complete_source, find_fit
from flows.sources.read import read_source
from flows.sources.text import TEXT, unescape_column
from schemas.config_source import SourceConfig
from schemas.errors import ConfigurationError
from tests.flows.test_night import sandbox, sync  # noqa: F401
from tests.sources import frappe_hrms, librebooking, orangehrm
from tests.sources.databases import database, insert_rows
from tests.sources.house import NOW, START, House, quarantined
from tests.sources.test_presets import SYSTEMS, select

DAY = str(START.date())


@pytest.mark.parametrize(
    ("system", "version"),
    [(system, v) for system, module in SYSTEMS.items() for v in module.VERSIONS],
)
def test_each_version_is_known_by_its_tables(system, version, tmp_path) -> None:
    with database("sqlite", tmp_path) as engine:
        SYSTEMS[system].create_schema(engine, version=version)
        title = read_places("source", system, engine.url).versions
    expected = {
        "frappe_hrms": version.partition(",")[0],
        "orangehrm": "5.7",
        "mrbs": "1.12",
        "librebooking": "4",
        "odoo": "15" if version in ("15", "16") else "17",
    }[system]
    assert expected in title


@pytest.fixture
def rooms(tmp_path, sandbox):  # noqa: F811
    """A LibreBooking with one booking of one guest."""
    with database("mariadb", tmp_path, charset="utf8mb4") as engine:
        librebooking.create_schema(engine)
        house = House(librebooking, engine, tmp_path, sandbox, params={})
        house.tables |= {
            "layouts": [{"layout_id": 1, "timezone": "Europe/Berlin"}],
            "schedules": [{"schedule_id": 1, "name": "Haus", "layout_id": 1}],
            "resources": [{"resource_id": 10, "name": "Raum", "schedule_id": 1}],
            "users": [user(1, "host@corp.example"), user(2, "ann@out.example", language="du_be"),
                user(3, "kim@corp.example")],
            "reservation_series": [
                {
                    "series_id": 1, "date_created": f"{DAY} 00:00:00", "title": (
                        "Besuch O&#039;Brien &amp; Co"
                    ), "type_id": 1,
                    "status_id": 1, "owner_id": 1,
                }
            ],
            "reservation_instances": [
                {
                    "reservation_instance_id": 1, "start_date": f"{DAY} 09:00:00",
                    "end_date": f"{DAY} 10:00:00", "reference_number": "a1",
                    "series_id": 1,
                }
            ],
            "reservation_resources": [{"series_id": 1, "resource_id": 10, "resource_level_id": 1}],
            "reservation_users": [{"reservation_instance_id": 1, "user_id": 1,
                "reservation_user_level": 1}],
            "reservation_guests": [{"reservation_instance_id": 1, "email": "ann@out.example",
                "reservation_user_level": 2}],
        }  # fmt: skip
        yield house


def user(number: int, email: str, **columns: Any) -> dict[str, Any]:
    return {
        "user_id": number, "fname": f"V{number}", "lname": f"N{number}", "email": email,
        "organization": None, "phone": None, "timezone": "UTC",
        "language": "de_de", "status_id": 1,
    } | columns  # fmt: skip


def test_a_guest_who_clicks_yes_and_has_an_account_stays_invited(rooms) -> None:
    rooms.night()
    assert rooms.new_mails() == [("invited", "ann@out.example")]
    rooms.tables["reservation_guests"] = []
    rooms.tables["reservation_users"] += [
        {"reservation_instance_id": 1, "user_id": number, "reservation_user_level": 2}
        for number in (2, 3)
    ]  # kim is a colleague: the domain says so
    rooms.night()
    assert [mail for mail in rooms.new_mails() if mail[0] != "updated"] == []
    assert list(rooms.held().values()) == [{"ann@out.example"}]


def test_html_of_the_forms_is_turned_back(rooms) -> None:
    rooms.tables["reservation_guests"] = [
        {
            "reservation_instance_id": 1,
            "email": "p.o&#039;brien@out.example",
            "reservation_user_level": 3,
        }
    ]
    rooms.night()
    events = rooms.sandbox.state()["events"].values()
    assert [event["name"] for event in events] == ["Besuch O'Brien & Co"]
    assert list(rooms.held().values()) == [{"p.o'brien@out.example"}]


def test_entities_are_read_once_and_other_ampersands_stay() -> None:
    column = pa.array(
        ["R&D", "a &amp;amp; b", "&lt;b&gt;", "&nosuch; &#xE4;&uuml;", "x&copy=1", None, "Q&A;"],
        type=TEXT,
    )
    assert unescape_column(column).to_pylist() == [
        "R&D",
        "a &amp; b",
        "<b>",
        "&nosuch; äü",
        "x&copy=1",
        None,
        "Q&A;",
    ]


def test_a_source_of_its_own_is_not_unescaped_unless_it_says_so() -> None:
    assert complete_source(SourceConfig(url="sqlite://", **librebooking.CONFIG)).unescape == "html"
    assert (
        complete_source(
            SourceConfig(url="sqlite://", **{**librebooking.CONFIG, "unescape": "none"})
        ).unescape
        == "none"
    )
    assert complete_source(SourceConfig(url="sqlite://", **orangehrm.CONFIG)).unescape is None


def test_languages_of_librebooking(rooms) -> None:
    rooms.tables["users"] = [
        user(n, f"u{n}@out.example", language=tag)
        for n, tag in enumerate(("du_nl", "du_be", "cz", "de_de"), 2)
    ]
    rooms.tables["users"].append(user(1, "host@corp.example"))
    rooms.tables["reservation_users"] += [
        {"reservation_instance_id": 1, "user_id": n, "reservation_user_level": 3}
        for n in range(2, 6)
    ]
    insert_rows(rooms.engine, rooms.tables)
    rows = select(rooms.engine, "librebooking", "guests")
    assert {row["guest_id"]: row["language"] for row in rows if row["guest_id"]} == {
        "u2": "nl",
        "u3": "nl",
        "u4": "cs",
        "u5": "de_de",
    }


def test_a_reservation_by_a_guest_has_no_host(rooms) -> None:
    rooms.tables["users"][0] |= {"fname": "Guest", "lname": "Guest", "email": "visitor@out.example"}
    result = rooms.night()
    assert quarantined(result) == ["a1"]
    assert rooms.new_mails() == []


@pytest.mark.parametrize(
    ("statement", "mails"),
    [
        # and by foreign keys what the user owns
        ("DELETE FROM users WHERE user_id = 1", [("cancelled", "ann@out.example")]),
        # as with its room
        ("DELETE FROM reservation_series WHERE series_id = 1", [("cancelled", "ann@out.example")]),
        ("UPDATE users SET status_id = 3 WHERE user_id = 1", []),
    ],
)
def test_a_booking_goes_with_its_owner_or_room_and_stays_with_an_inactive_owner(
    rooms, statement, mails
) -> None:
    one, two = rooms.tables["reservation_series"][0], rooms.tables["reservation_instances"][0]
    for n in range(2, 12):
        rooms.tables["reservation_series"].append(one | {"series_id": n, "owner_id": 3})
        rooms.tables["reservation_instances"].append(
            two | {"reservation_instance_id": n, "reference_number": f"b{n}", "series_id": n}
        )
        rooms.tables["reservation_resources"].append(
            {"series_id": n, "resource_id": 10, "resource_level_id": 1}
        )
        rooms.tables["reservation_guests"].append(
            {
                "reservation_instance_id": n,
                "email": f"g{n}@out.example",
                "reservation_user_level": 2,
            }
        )
    rooms.night()
    assert len(rooms.new_mails()) == 11
    with rooms.engine.begin() as connection:
        connection.exec_driver_sql("SET SESSION foreign_key_checks = 1")
        connection.exec_driver_sql(statement)
    sync(rooms.config(), NOW)
    assert rooms.new_mails() == mails


@pytest.mark.parametrize("status", [0, 4, 9])
def test_s25_an_unknown_status_of_librebooking_is_quarantined(rooms, status) -> None:
    rooms.tables["reservation_series"][0]["status_id"] = status
    assert quarantined(rooms.night()) == ["a1"]
    assert rooms.new_mails() == []


def interview(*people: int, **columns: Any) -> dict[str, list[dict[str, Any]]]:
    staff = [
        {
            "emp_number": n, "emp_firstname": f"V{n}", "emp_lastname": f"N{n}",
            "emp_work_email": f"e{n}@corp.example", "termination_id": None,
            "purged_at": None,
        }
        for n in (1, 2, 3)
    ]  # fmt: skip
    return {
        "ohrm_location": [{"id": 1, "name": "Haus", "country_code": "DE"}],
        "hs_hr_employee": staff,
        "hs_hr_emp_locations": [{"emp_number": n, "location_id": 1} for n in (1, 2, 3)],
        "ohrm_emp_termination": [{"id": 7, "emp_number": 1, "termination_date": DAY}],
        "ohrm_job_candidate_vacancy": [{"id": 5, "candidate_id": 1, "vacancy_id": 1,
            "status": "INTERVIEW SCHEDULED", "applied_date": DAY} | columns],
        "ohrm_job_interview": [
            {"id": 1, "candidate_vacancy_id": 5, "candidate_id": 1, "interview_name": "I",
                "interview_date": DAY, "interview_time": "09:00:00"}
        ],
        "ohrm_job_interview_interviewer": [{"interview_id": 1,
            "interviewer_id": n} for n in people],
    }  # fmt: skip


@pytest.fixture
def hr(tmp_path):
    with database("mariadb", tmp_path, charset="utf8") as engine:
        orangehrm.create_schema(engine, version="5.7")
        yield engine


@pytest.mark.parametrize(
    ("change", "host"),
    [
        ({}, "e1@corp.example"),
        ({"emp_work_email": None}, "e2@corp.example"),
        ({"emp_work_email": "no address"}, "e2@corp.example"),
        ({"purged_at": f"{DAY} 00:00:00"}, "e2@corp.example"),
        ({"termination_id": 7}, "e2@corp.example"),
        ({"termination_id": 8}, "e1@corp.example"),  # leaves a day later
        ({"termination_id": 9}, "e2@corp.example"),  # nothing says when
    ],
)
def test_an_interviewer_who_cannot_host_leaves_it_to_the_next(hr, change, host) -> None:
    tables = interview(1, 2)
    tables["hs_hr_employee"][0] |= change
    tables["ohrm_emp_termination"].append(
        {"id": 8, "emp_number": 1, "termination_date": str(START.date() + timedelta(days=1))}
    )
    insert_rows(hr, tables)
    (row,) = select(hr, "orangehrm", "events")
    assert (row["host_email"], row["host_active"], row["site_key"]) == (host, "1", "1")


def test_an_interview_that_nobody_can_host_is_quarantined_for_the_first(hr) -> None:
    tables = interview(1)
    tables["hs_hr_employee"][0]["termination_id"] = 7
    insert_rows(hr, tables)
    (row,) = select(hr, "orangehrm", "events")
    assert (row["host_email"], row["host_active"]) == ("e1@corp.example", "0")


def test_an_interviewer_at_no_location_leaves_it_to_the_next(hr) -> None:
    tables = interview(1, 3)
    tables["hs_hr_emp_locations"] = tables["hs_hr_emp_locations"][1:]
    insert_rows(hr, tables)
    assert [row["host_email"] for row in select(hr, "orangehrm", "events")] == ["e3@corp.example"]


@pytest.mark.parametrize(
    ("status", "read"),
    [("HIRED", "confirmed"), (" rejected ", "cancelled"), ("ON HOLD", "unknown"), ("", "unknown")],
)
def test_s25_states_of_an_application(hr, status, read) -> None:
    insert_rows(hr, interview(1, status=status))
    assert [row["status"] for row in select(hr, "orangehrm", "events")] == [read]


def test_without_the_table_of_terminations_each_counts_at_once(tmp_path) -> None:
    with database("sqlite", tmp_path) as engine:
        orangehrm.create_schema(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE ohrm_emp_termination")
        tables = interview(1, 2)
        del tables["ohrm_emp_termination"]
        tables["hs_hr_employee"][0]["termination_id"] = 8
        insert_rows(engine, tables)
        assert [row["host_email"] for row in select(engine, "orangehrm", "events")] == [
            "e2@corp.example"
        ]
        assert "grant SELECT" in read_places("hr", "orangehrm", engine.url).versions


def frappe(version: str, engine: Any, *people: str, **columns: Any) -> list[dict[str, str | None]]:
    document = {"modified": f"{DAY} 08:00:00", "docstatus": 0, "idx": 0}
    tables = {
        "tabBranch": [document | {"name": "Pune", "branch": "Pune"}],
        "tabEmployee": [
            document | {"name": "E1", "user_id": "left@corp.example", "status": "Left",
                "branch": "Pune", "first_name": "L", "last_name": None},
            document | {"name": "E2", "user_id": "asha@corp.example", "status": "Active",
                "branch": "Pune", "first_name": "A", "last_name": None},
        ],
        "tabJob Opening": [document | {"name": "O1", "location": "Pune"}],
        "tabInterview": [
            document
            | {
                "name": "I1", "interview_round": "Runde", "job_applicant": "a", "job_opening": "O1",
                "status": "Pending",
                "scheduled_on": DAY, "from_time": "09:00:00", "to_time": "10:00:00",
            }
            | columns
        ],
        "tabInterview Detail": [
            document | {"name": f"D{n}", "idx": n, "parent": "I1", "parenttype": "Interview",
                "interviewer": who}
            for n, who in enumerate(people, 1)
        ],
    }  # fmt: skip
    insert_rows(engine, frappe_hrms.as_stored(engine, tables))
    return select(engine, "frappe_hrms", "events")


@pytest.mark.parametrize("version", frappe_hrms.VERSIONS)
def test_frappe_in_each_version(version, tmp_path) -> None:
    with database("mariadb", tmp_path) as engine:
        frappe_hrms.create_schema(engine, version=version)
        (row,) = frappe(version, engine, "Administrator", "left@corp.example", "asha@corp.example")
        assert (row["host_email"], row["host_active"], row["site_key"], row["name"]) == (
            "asha@corp.example",
            "1",
            "Pune",
            "Runde",
        )
        for status, read in {
            "Cancelled": "cancelled",
            "Rejected": "cancelled",
            "Cleared": "confirmed",
            "On Hold": "unknown",
        }.items():
            (row,) = frappe(version, engine, "asha@corp.example", status=status)
            assert row["status"] == read


def test_a_prefix_is_checked_before_it_is_put_into_a_select() -> None:
    source = SourceConfig(
        url="sqlite://", preset="mrbs", params={"table_prefix": "x; DROP TABLE y"}
    )
    with pytest.raises(ConfigurationError, match="table_prefix"):
        complete_source(source)


def test_a_preset_is_read_as_its_variant(tmp_path) -> None:
    with database("sqlite", tmp_path) as engine:
        frappe_hrms.create_schema(engine, version="16")
        frappe("16", engine, "asha@corp.example")
        source = complete_source(SourceConfig(url=str(engine.url), **frappe_hrms.CONFIG))
        assert read_source("hr", source, root=tmp_path).events["name"].tolist() == ["Runde"]
        with engine.connect() as connection:
            assert (
                find_fit("hr", "frappe_hrms", connection, params={}).files["events"].name
                == "events.v16.sql"
            )
