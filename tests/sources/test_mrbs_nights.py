"""MRBS as its code writes it: an edit is a new row, further rooms copy the uid, a registration
names an account or is typed.
"""

from __future__ import annotations

from typing import Any

import pytest

from flows.sources.places import read_places
from schemas.errors import SourceError
from tests.flows.test_night import sandbox  # noqa: F401
from tests.sources import mrbs
from tests.sources.databases import create_tables, database, insert_rows
from tests.sources.house import START, House, quarantined
from tests.sources.test_presets import select

AT = int(START.timestamp())


@pytest.fixture(params=["mariadb", "postgresql"])
def house(request, tmp_path, sandbox):  # noqa: F811
    with database(request.param, tmp_path) as engine:
        mrbs.create_schema(engine)
        house = House(mrbs, engine, tmp_path, sandbox)
        house.tables["mrbs_area"] = [
            {
                "id": n,
                "area_name": f"Haus {n}",
                "timezone": None,
                "private_override": "none",
                "enable_periods": 0,
            }
            for n in (1, 2)
        ]
        house.tables["mrbs_room"] = [
            {"id": n, "area_id": n // 10, "room_name": f"Raum {n}"} for n in (10, 11, 20)
        ]
        house.tables["mrbs_users"] = [
            {"id": 1, "name": "host", "display_name": "Hanna Host", "email": "host@corp.example"}
        ]
        yield house


def book(house: House, n: int, *people: str, **columns: Any) -> dict[str, Any]:
    """An entry with registered people; the n-th registration is the n-th in time."""
    entry = {
        "id": n, "start_time": AT, "end_time": AT + 3600, "entry_type": 0, "repeat_id": None,
        "room_id": 10, "create_by": "host",
        "name": "Besuch", "description": None, "status": 0, "ical_uid": "U@rooms",
        "ical_sequence": 0, "ical_recur_id": None,
    } | columns  # fmt: skip
    house.tables["mrbs_entry"].append(entry)
    register(house, n, *people)
    return entry


def register(house: House, entry: int, *people: str) -> None:
    taken = house.tables["mrbs_participants"]
    for who in people:
        number = max((row["id"] for row in taken), default=0) + 1
        taken.append(
            {"id": number, "entry_id": entry, "username": who, "registered": 1_700_000_000 + number}
        )


def edit(house: House, old: int, new: int, **columns: Any) -> None:
    """As MRBS does it: a new row with the next sequence number; the people move to it."""
    entry = next(row for row in house.tables["mrbs_entry"] if row["id"] == old)
    entry |= {"id": new, "ical_sequence": entry["ical_sequence"] + 1, **columns}
    for person in house.tables["mrbs_participants"]:
        if person["entry_id"] == old:
            person["entry_id"] = new


def test_s26_a_registration_in_the_other_room_of_a_booking_changes_no_id(house) -> None:
    book(house, 1, "ann@out.example")
    book(house, 2, room_id=11)
    house.night()
    assert house.new_mails() == [("invited", "ann@out.example")]
    register(house, 2, "bob@out.example")
    house.night()
    assert house.new_mails() == [("invited", "bob@out.example")]
    assert list(house.held().values()) == [{"ann@out.example", "bob@out.example"}]


@pytest.mark.share(2)
@pytest.mark.parametrize("room", [10, 20])
def test_s26_two_edits_of_one_rooms_entry_change_no_id(house, room) -> None:
    book(house, 1, "ann@out.example", room_id=11)
    book(house, 2, room_id=room)
    house.night()
    house.new_mails()
    edit(house, 2, 3, name="Besuch II")
    edit(house, 3, 4)
    house.night()
    assert house.new_mails() == []


@pytest.mark.share(2)
@pytest.mark.parametrize("registers", [False, True])
def test_s26_a_series_renamed_after_an_occurrence_was_moved_changes_no_id(house, registers) -> None:
    """The whole series is written anew with the first starts; the occurrence that was moved stays,
    with the same recurrence id.
    """
    recurrence = START.strftime("%Y%m%dT%H%M%SZ")
    book(
        house,
        1,
        "ann@out.example",
        ical_recur_id=recurrence,
        entry_type=2,
        start_time=AT + 7200,
        end_time=AT + 9000,
        ical_sequence=1,
    )
    house.night()
    assert house.new_mails() == [("invited", "ann@out.example")]
    book(house, 7, ical_recur_id=recurrence, entry_type=1, name="Neuer Name", ical_sequence=5)
    if registers:
        register(house, 7, "bob@out.example")
    result = house.night()
    assert house.new_mails() == []
    assert list(house.held().values()) == [{"ann@out.example"}]
    # people registered at two times are two meetings under one key: it is held and told
    assert quarantined(result) == ([f"U@rooms/{recurrence}"] if registers else [])


def test_s26_a_booking_keeps_its_place_and_guest_whoever_registers_later(house) -> None:
    book(house, 1, "ann@out.example", room_id=20)
    book(house, 2, room_id=10)
    house.night()
    house.new_mails()
    before = [
        (event["locationId"], event["startsAt"])
        for event in house.sandbox.state()["events"].values()
    ]
    register(house, 2, "bob@out.example")
    house.night()
    assert house.new_mails() == [("invited", "bob@out.example")]
    assert [
        (event["locationId"], event["startsAt"])
        for event in house.sandbox.state()["events"].values()
    ] == before


def test_a_visitor_whose_name_was_typed_is_a_guest(house) -> None:
    book(house, 1, "Dr. Jane Doe")
    book(house, 2, "Zoë Müller-Lüdenscheidt", "eve@out.example", ical_uid="V@rooms")
    result = house.night()
    assert result.exit_code == 0
    assert sorted(map(sorted, house.held().values())) == [
        ["Dr. Jane Doe"],
        ["Zoë Müller-Lüdenscheidt", "eve@out.example"],
    ]


def test_one_word_is_a_name_where_no_domain_makes_it_an_address(house) -> None:
    house.settings["params"] = {"email_domain": None}
    book(house, 1, "Meier")
    house.night()
    assert list(house.held().values()) == [{"Meier"}]


@pytest.mark.parametrize("status", [9, 255])
def test_s25_an_unknown_bit_of_the_status_is_quarantined(house, status) -> None:
    book(house, 1, "ann@out.example", status=status)
    result = house.night()
    assert house.new_mails() == []
    assert quarantined(result) == ["U@rooms"]
    assert house.held() == {}


def test_a_prefix_and_a_schema_are_parameters(tmp_path) -> None:
    with database("postgresql", tmp_path) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA haus")
        tables = {
            "haus.book_" + name.removeprefix("mrbs_"): text for name, text in mrbs.TABLES.items()
        }
        with engine.begin() as connection:
            connection.exec_driver_sql("SET search_path = haus")
        for name, columns in tables.items():
            create_tables(engine, {name.partition(".")[2]: columns})
            with engine.begin() as connection:
                connection.exec_driver_sql(
                    f'ALTER TABLE "{name.partition(".")[2]}" SET SCHEMA haus'
                )
        params = {"table_prefix": "book_", "table_schema": "haus"}
        assert select(engine, "mrbs", "events", params) == []
        assert select(engine, "mrbs", "guests", params) == []
        assert len(read_places("rooms", "mrbs", engine.url, params=params).sites) == 0
        with pytest.raises(SourceError, match=r"mrbs_area\.id.*table_prefix"):
            read_places("rooms", "mrbs", engine.url)


def test_a_database_of_another_version_is_refused_with_the_remedy(tmp_path) -> None:
    with database("sqlite", tmp_path) as engine:
        create_tables(
            engine,
            {name: text for name, text in mrbs.TABLES.items() if name != "mrbs_participants"},
        )
        insert_rows(engine, {})
        with pytest.raises(
            SourceError,
            match=(
                r"lacks mrbs_participants\.entry_id.*MRBS 1\.9\.1 to 1\.12.*copy the preset's "
                r"SELECTs"
            ),
        ):
            read_places("rooms", "mrbs", engine.url)
