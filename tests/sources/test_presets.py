"""The shipped SELECTs on every database they claim: same rows, one row an event, no event lost,
canonical columns only.
"""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Engine, text

from flows.sources.presets import find_fit
from schemas.config_source import PRESETS, SourceConfig
from schemas.source import (
    EVENT_COLUMNS,
    GUEST_COLUMNS,
    REQUIRED_EVENT_COLUMNS,
    REQUIRED_GUEST_COLUMNS,
)
from tests.sources import frappe_hrms, librebooking, mrbs, odoo, orangehrm
from tests.sources.databases import database

SHIPPED = Path(__file__).parents[2] / "data" / "sources"
SYSTEMS: dict[str, ModuleType] = {
    "librebooking": librebooking,
    "mrbs": mrbs,
    "orangehrm": orangehrm,
    "frappe_hrms": frappe_hrms,
    "odoo": odoo,
}
TODAY = datetime(2026, 3, 2, tzinfo=UTC)
ENGINES = [
    (system, kind, version)
    for system, kinds in {
        "librebooking": ["mariadb"], "orangehrm": ["mariadb"], "frappe_hrms": ["mariadb"],
        "mrbs": ["mariadb", "postgresql"], "odoo": ["postgresql"],
    }.items()
    for kind in kinds
    for version, (_, charset, _) in SYSTEMS[system].VERSIONS.items()
    if kind == "mariadb" or charset == "utf8mb4"
]  # fmt: skip


def read_preset(system: str) -> dict[str, Any]:
    return tomllib.loads((SHIPPED / system / "preset.toml").read_text(encoding="utf-8"))


def select(
    engine: Engine, system: str, part: str, params: dict[str, Any] | None = None
) -> list[dict[str, str | None]]:
    """The rows of one SELECT as text, sorted; parameters that are not given have the preset's
    default.
    """
    defaults = {
        name: entry.get("default") for name, entry in read_preset(system).get("params", {}).items()
    }
    with engine.connect() as connection:
        statement = text(find_fit(system, system, connection, params=params or {}).read(part))
        values = {
            name: value
            for name, value in (defaults | (params or {})).items()
            if name in statement._bindparams
        }
        rows = [
            {key: as_text(value) for key, value in row.items()}
            for row in connection.execute(statement, values).mappings()
        ]
    return sorted(
        rows,
        key=lambda row: (
            [row["source_event_id"] or "", *(value or "" for value in row.values())]
            if "source_event_id" in row
            else []
        ),
    )


def as_text(value: object) -> str | None:
    return None if value is None else str(value)


@pytest.mark.share(2)
@pytest.mark.parametrize(("system", "kind", "version"), ENGINES)
@pytest.mark.parametrize("night", [1, 2])
@pytest.mark.parametrize("given", ["params", "defaults"])
def test_the_same_rows_on_sqlite_and_on_the_systems_database(
    system, kind, version, night, given, tmp_path
) -> None:
    module = SYSTEMS[system]
    params = getattr(module, "PARAMS", {}) if given == "params" else {}
    charset = module.VERSIONS[version][1]
    with database("sqlite", tmp_path) as small, database(kind, tmp_path, charset=charset) as real:
        for engine in (small, real):
            module.create_schema(engine, version=version)
        tables = module.fill(real, seed=5, today=TODAY, events=1000, night=night, charset=charset)
        copy = module.fill(small, seed=5, today=TODAY, events=1000, night=night, charset=charset)
        assert copy == tables
        for part in ("events", "guests", "sites", "rooms"):
            expected, rows = select(small, system, part, params), select(real, system, part, params)
            assert len(rows) == len(expected)
            assert [row for row in rows if row not in expected] == []
            assert [row for row in expected if row not in rows] == []


@pytest.fixture(scope="module", params=PRESETS)
def filled(request, tmp_path_factory):
    """(system, its rows as written, events, guests) on SQLite."""
    module = SYSTEMS[request.param]
    with database("sqlite", tmp_path_factory.mktemp("presets")) as engine:
        module.create_schema(engine)
        tables = module.fill(engine, seed=11, today=TODAY, events=1200)
        params = getattr(module, "PARAMS", {})
        yield (
            request.param,
            tables,
            select(engine, request.param, "events", params),
            select(engine, request.param, "guests", params),
        )


def test_every_event_is_one_row(filled) -> None:
    system, tables, events, _ = filled
    truth = SYSTEMS[system].truth(tables, as_of=TODAY)
    keys = [row["source_event_id"] for row in events]
    assert len(keys) == 1200
    assert len(set(keys)) == len(keys)
    assert sorted(keys) == sorted(truth.keys())


def test_the_truth_has_every_kind_of_row(filled) -> None:
    """Otherwise the traps are not in the data, and the tests that use it show less than they
    say.
    """
    system, tables, _, _ = filled
    truth = SYSTEMS[system].truth(tables, as_of=TODAY)
    assert len(truth.meetings) > 500
    assert len(truth.quarantined) >= 9
    assert len(truth.past) > 5
    assert {"host", "location"} <= set().union(*truth.quarantined.values())
    assert truth.cancelled or system == "mrbs"
    assert truth.pending or system == "frappe_hrms"
    assert truth.guestless


def test_columns_are_canonical(filled) -> None:
    _, _, events, guests = filled
    assert set(events[0]) <= set(EVENT_COLUMNS)
    assert set(events[0]) >= set(REQUIRED_EVENT_COLUMNS)
    assert set(guests[0]) <= set(GUEST_COLUMNS)
    assert set(guests[0]) >= set(REQUIRED_GUEST_COLUMNS)


def test_states_are_the_truths(filled) -> None:
    system, tables, events, _ = filled
    truth = SYSTEMS[system].truth(tables, as_of=TODAY)
    status = {row["source_event_id"]: row["status"] for row in events}
    assert {key for key, value in status.items() if value == "cancelled"} == truth.cancelled
    assert truth.pending <= {key for key, value in status.items() if value == "pending"}
    assert not {key for key, value in status.items() if value == "pending"} & set(truth.meetings)


def test_guests_belong_to_events_and_no_id_is_an_address(filled) -> None:
    _, _, events, guests = filled
    assert {row["source_event_id"] for row in guests} <= {row["source_event_id"] for row in events}
    assert not [row["guest_id"] for row in guests if "@" in (row["guest_id"] or "")]
    keyed = [(row["source_event_id"], row["guest_id"]) for row in guests if row["guest_id"]]
    assert len(keyed) == len(set(keyed))


def test_nothing_is_sent_that_was_meant_for_colleagues(filled) -> None:
    _, _, events, guests = filled
    assert not [
        row
        for row in events + guests
        if any((v or "")[:6] == "intern" or "vertraulich" in (v or "") for v in row.values())
    ]


def test_mrbs_keys_survive_an_edit_that_writes_a_new_row(tmp_path) -> None:
    with database("sqlite", tmp_path) as engine:
        mrbs.create_schema(engine)
        before = mrbs.fill(engine, seed=11, today=TODAY, events=300)
        keys = mrbs.keys(before)
        first = {row["source_event_id"] for row in select(engine, "mrbs", "events", mrbs.PARAMS)}
        edited = [row for row in before["mrbs_entry"] if row["id"] > 60][:20]
        old = {row["id"] for row in edited}
        for row in edited:
            row["id"], row["ical_sequence"] = row["id"] + 70_000, row["ical_sequence"] + 1
        for person in before["mrbs_participants"]:
            if person["entry_id"] in old:
                person["entry_id"] += 70_000
        mrbs.insert_rows(engine, before)
        assert {
            row["source_event_id"] for row in select(engine, "mrbs", "events", mrbs.PARAMS)
        } == first
        assert {keys[n] for n in old} == {mrbs.keys(before)[n + 70_000] for n in old}


def test_mrbs_second_room_of_an_edited_booking_is_no_second_meeting(filled) -> None:
    system, tables, events, guests = filled
    if system != "mrbs":
        pytest.skip("MRBS")
    keys = {row["source_event_id"] for row in events}
    assert {
        "clone@rooms.example",
        "clone@rooms.example//room20",
        "clone2@rooms.example",
        "clone2@rooms.example//room10",
    } <= keys
    truth = mrbs.truth(tables, as_of=TODAY)
    assert {
        "clone@rooms.example//room20",
        "clone2@rooms.example//room10",
    } <= truth.guestless | truth.past
    assert not {row["source_event_id"] for row in guests} & {
        "clone@rooms.example//room20",
        "clone2@rooms.example//room10",
    }


def test_librebooking_links_only_single_bookings(filled) -> None:
    system, tables, events, _ = filled
    if system != "librebooking":
        pytest.skip("LibreBooking")
    linked = {
        row["source_event_id"]: row["linked_event_id"] for row in events if row["linked_event_id"]
    }
    assert linked == librebooking.links(tables)
    assert {row["linked_source"] for row in events if row["linked_event_id"]} == {"hr"}
    assert len(linked) > 5


def test_orangehrm_wall_clock_is_one_text(filled) -> None:
    system, tables, events, _ = filled
    if system != "orangehrm":
        pytest.skip("OrangeHRM")
    by_key = {row["source_event_id"]: row for row in events}
    for row in tables["ohrm_job_interview"]:
        day, at = row["interview_date"], row["interview_time"]
        if row["id"] > 31:
            assert by_key[str(row["id"])]["starts_at"] == f"{day} {at}"
    assert by_key["16"]["starts_at"] is None
    assert by_key["16"]["problem"] == "the interview has no time yet"
    assert by_key["17"]["problem"] == "the interview has no date yet"
    assert by_key["21"]["starts_at"] == "2026-10-25 02:30:00"
    assert by_key["22"]["starts_at"] == "2026-03-29 02:30:00"


@pytest.mark.parametrize("system", PRESETS)
def test_preset_names_what_its_selects_use(system) -> None:
    preset = read_preset(system)
    used = {
        name
        for part in ("events", "guests", "sites", "rooms")
        for name in text((SHIPPED / system / f"{part}.sql").read_text(encoding="utf-8"))._bindparams
    }
    assert used == set(preset.get("params", {}))
    assert preset["times"] in ("utc", "epoch", "local")
    assert all(entry["description"] for entry in preset.get("params", {}).values())
    readme = (SHIPPED / system / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in used)
    SourceConfig(url="sqlite://", **SYSTEMS[system].CONFIG)


@pytest.mark.parametrize("system", PRESETS)
def test_selects_only_select(system) -> None:
    for part in ("events", "guests", "sites", "rooms"):
        sql = re.sub(
            r"--[^\n]*", "", (SHIPPED / system / f"{part}.sql").read_text(encoding="utf-8")
        )
        assert sql.lstrip().startswith("SELECT")
        assert ";" not in sql
        assert "%" not in sql
        assert "||" not in sql
        assert "INNER JOIN" not in sql
