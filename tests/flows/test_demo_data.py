"""The demo company: the same files for the same night and anchor, enough in them, and a realistic
day between nights 1 and 2.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest

from flows.demo.company import CHANGES, SITES
from flows.demo.databases import build_demo
from schemas.load_config import load_config

ANCHOR = date(2026, 3, 2)
DEMO = Path(__file__).parents[2] / "data" / "demo" / "essentry-sync.toml"


def rows(path: Path, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def bookings(path: Path) -> dict[str, tuple]:
    """reference → (title, start, room, owner, status, guests)"""
    people: dict[int, set] = {}
    for instance, guest in rows(
        path,
        "SELECT reservation_instance_id, email FROM reservation_guests UNION ALL SELECT "
        "reservation_instance_id, user_id FROM reservation_users WHERE reservation_user_level > 1",
    ):
        people.setdefault(instance, set()).add(guest)
    found = rows(
        path,
        "SELECT i.reservation_instance_id, i.reference_number, s.title, i.start_date, i.end_date, "
        "r.resource_id, s.owner_id, s.status_id FROM reservation_instances i JOIN "
        "reservation_series s USING (series_id) LEFT JOIN reservation_resources r ON r.series_id "
        "= s.series_id AND r.resource_level_id = 1",
    )
    return {key: (*rest, frozenset(people.get(number, ()))) for number, key, *rest in found}


def test_the_same_night_is_the_same_file(tmp_path) -> None:
    first = {
        name: path.read_bytes()
        for name, path in build_demo(tmp_path / "a", night=1, anchor=ANCHOR).items()
    }
    again = {
        name: path.read_bytes()
        for name, path in build_demo(tmp_path / "b", night=1, anchor=ANCHOR).items()
    }
    second = {
        name: path.read_bytes()
        for name, path in build_demo(tmp_path / "a", night=2, anchor=ANCHOR).items()
    }
    third = {
        name: path.read_bytes()
        for name, path in build_demo(tmp_path / "a", night=3, anchor=ANCHOR).items()
    }
    assert first == again
    assert second == third
    assert first["rooms"] != second["rooms"]
    assert first["hr"] != second["hr"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["hr.sqlite", "rooms.sqlite"]


@pytest.mark.parametrize("anchor", [ANCHOR, date(2026, 10, 1), date(2026, 12, 24)])
def test_enough_to_see_on_any_day(tmp_path, anchor) -> None:
    started = time.perf_counter()
    paths = build_demo(tmp_path, night=1, anchor=anchor)
    assert time.perf_counter() - started < 3
    (future,) = rows(
        paths["rooms"],
        (
            "SELECT count(*), min(start_date), max(start_date) FROM reservation_instances WHERE "
            f"start_date > '{anchor}'"
        ),
    )
    assert future[0] > 2000
    assert future[1] > str(anchor + timedelta(days=1))
    assert future[2] < str(anchor + timedelta(days=90))
    assert rows(paths["hr"], "SELECT count(*) FROM ohrm_job_interview") == [(70,)]
    assert rows(paths["rooms"], "SELECT count(*) FROM custom_attribute_values") == [(40,)]
    statuses = dict(
        rows(
            paths["rooms"], "SELECT status_id, count(*) FROM reservation_series GROUP BY status_id"
        )
    )
    assert min(statuses[2], statuses[3]) >= 15
    assert {zone for (zone,) in rows(paths["rooms"], "SELECT DISTINCT timezone FROM layouts")} == {
        site[1] for site in SITES.values()
    }


def test_every_address_is_fictional(tmp_path) -> None:
    paths = build_demo(tmp_path, night=2, anchor=ANCHOR)
    addresses = [
        email
        for name, sql in (
            ("rooms", "SELECT email FROM users UNION SELECT email FROM reservation_guests"),
            (
                "hr",
                (
                    "SELECT emp_work_email FROM hs_hr_employee UNION SELECT email FROM "
                    "ohrm_job_candidate"
                ),
            ),
        )
        for (email,) in rows(paths[name], sql)
    ]
    assert len(addresses) > 800
    assert {email for email in addresses if not email.endswith(".example")} == {"n/a"}


def test_night_2_is_night_1_and_a_day(tmp_path) -> None:
    before = bookings(build_demo(tmp_path / "1", night=1, anchor=ANCHOR)["rooms"])
    after = bookings(build_demo(tmp_path / "2", night=2, anchor=ANCHOR)["rooms"])
    both = before.keys() & after.keys()
    title, start, _, room, owner, status, guests = (
        [k for k in both if before[k][n] != after[k][n]] for n in range(7)
    )
    assert len(after.keys() - before.keys()) == CHANGES["created"]
    assert len(before.keys() - after.keys()) == CHANGES["deleted"]
    assert len(title) == CHANGES["renamed"]
    assert len(start) == CHANGES["moved"] + 1  # the room booking of an interview moves with it
    assert len(room) == CHANGES["other_room"]
    assert len(owner) == CHANGES["other_host"]
    assert len(status) == CHANGES["cancelled"]
    swapped = [
        key for key in guests if before[key][6] - after[key][6] and after[key][6] - before[key][6]
    ]
    assert len(swapped) == CHANGES["guest_swapped"]
    assert (
        len(guests) == CHANGES["guest_added"] + CHANGES["guest_removed"] + CHANGES["guest_swapped"]
    )


def test_linked_interviews_are_at_the_time_of_their_room(tmp_path) -> None:
    paths = build_demo(tmp_path, night=2, anchor=ANCHOR)
    rooms = rows(
        paths["rooms"],
        "SELECT v.attribute_value, substr(i.start_date, 1, 10), g.email FROM "
        "custom_attribute_values v JOIN reservation_instances i ON i.series_id = v.entity_id JOIN "
        "reservation_guests g USING (reservation_instance_id)",
    )
    hr = rows(
        paths["hr"],
        (
            "SELECT CAST(i.id AS TEXT), interview_date, c.email FROM ohrm_job_interview i JOIN "
            "ohrm_job_candidate c ON c.id = i.candidate_id"
        ),
    )
    assert set(rooms) <= set(hr)


def test_the_configuration_knows_every_site_but_one(tmp_path) -> None:
    config = load_config(DEMO)
    paths = build_demo(tmp_path, night=1, anchor=ANCHOR)
    schedules = {str(key) for (key,) in rows(paths["rooms"], "SELECT schedule_id FROM schedules")}
    assert schedules - set(config.sources["rooms"].sites) == {"7"}
    assert {str(key) for (key,) in rows(paths["hr"], "SELECT id FROM ohrm_location")} == set(
        config.sources["hr"].sites
    )
    zones = {key: SITES[int(key)][1] for key in config.sources["hr"].sites}
    assert {key: site.timezone for key, site in config.sources["hr"].sites.items()} == zones


def test_there_are_three_nights(tmp_path) -> None:
    with pytest.raises(ValueError, match="night 4"):
        build_demo(tmp_path, night=4, anchor=ANCHOR)
