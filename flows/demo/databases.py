"""The demo company's two databases, written with the tables of real systems."""

from __future__ import annotations

import os
import random
import sqlite3
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from flows.demo.company import _SEED, LINK_ATTRIBUTE, SITES, Company, found_company, spend_a_day
from flows.demo.people import email_of


def build_demo(folder: Path, *, night: int, anchor: date) -> dict[str, Path]:
    """Write `rooms.sqlite` and `hr.sqlite` into `folder` (made if missing) and return their paths
    by source name.

    `night` is 1, 2 or 3; future meetings lie 2 to 88 days after `anchor`. The files are replaced in
    one step each. Raises ValueError for another night.
    """
    if night not in (1, 2, 3):
        raise ValueError(f"night {night}: the demo has nights 1, 2 and 3")
    company = found_company(anchor)
    if night > 1:
        spend_a_day(company, random.Random(_SEED + 1))  # noqa: S311
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"rooms": folder / "rooms.sqlite", "hr": folder / "hr.sqlite"}
    _write(paths["rooms"], ROOM_TABLES, _room_rows(company, anchor))
    _write(paths["hr"], HR_TABLES, _hr_rows(company, anchor))
    return paths


_ACTIVE, _INACTIVE = 1, 3
ROOM_TABLES = """
CREATE TABLE layouts (layout_id INTEGER PRIMARY KEY, timezone VARCHAR(50) NOT NULL);
CREATE TABLE schedules (schedule_id INTEGER PRIMARY KEY, name VARCHAR(85) NOT NULL, layout_id INTEGER NOT NULL);
CREATE TABLE resources (resource_id INTEGER PRIMARY KEY, name VARCHAR(85) NOT NULL, schedule_id INTEGER NOT NULL);
CREATE TABLE users (
    user_id INTEGER PRIMARY KEY, fname VARCHAR(85), lname VARCHAR(85), email VARCHAR(85) NOT NULL,
    organization VARCHAR(85), phone VARCHAR(85), language VARCHAR(10) NOT NULL, status_id INTEGER NOT NULL);
CREATE TABLE reservation_series (
    series_id INTEGER PRIMARY KEY, date_created DATETIME NOT NULL, last_modified DATETIME,
    title VARCHAR(300), description TEXT, status_id INTEGER NOT NULL, owner_id INTEGER NOT NULL);
CREATE TABLE reservation_instances (
    reservation_instance_id INTEGER PRIMARY KEY, start_date DATETIME NOT NULL, end_date DATETIME NOT NULL,
    reference_number VARCHAR(50) NOT NULL, series_id INTEGER NOT NULL);
CREATE INDEX instances_by_series ON reservation_instances (series_id);
CREATE TABLE reservation_resources (
    series_id INTEGER, resource_id INTEGER, resource_level_id INTEGER NOT NULL,
    PRIMARY KEY (series_id, resource_id));
CREATE TABLE reservation_users (
    reservation_instance_id INTEGER, user_id INTEGER, reservation_user_level INTEGER NOT NULL,
    PRIMARY KEY (reservation_instance_id, user_id));
CREATE TABLE reservation_guests (
    reservation_instance_id INTEGER, email VARCHAR(255), reservation_user_level INTEGER NOT NULL,
    PRIMARY KEY (reservation_instance_id, email));
CREATE TABLE custom_attribute_values (
    custom_attribute_value_id INTEGER PRIMARY KEY, custom_attribute_id INTEGER NOT NULL,
    attribute_value TEXT NOT NULL, entity_id INTEGER NOT NULL, attribute_category INTEGER NOT NULL);
"""  # noqa: E501

HR_TABLES = """
CREATE TABLE ohrm_location (id INTEGER PRIMARY KEY, name VARCHAR(110) NOT NULL);
CREATE TABLE hs_hr_employee (
    emp_number INTEGER PRIMARY KEY, emp_firstname VARCHAR(100), emp_lastname VARCHAR(100),
    emp_work_email VARCHAR(50), emp_work_telephone VARCHAR(50), emp_mobile VARCHAR(50),
    termination_id INTEGER, purged_at DATETIME);
CREATE TABLE hs_hr_emp_locations (emp_number INTEGER, location_id INTEGER, PRIMARY KEY (emp_number, location_id));
CREATE TABLE ohrm_job_candidate (
    id INTEGER PRIMARY KEY, first_name VARCHAR(30) NOT NULL, last_name VARCHAR(30) NOT NULL,
    email VARCHAR(100) NOT NULL, contact_number VARCHAR(30), consent_to_keep_data BOOLEAN NOT NULL);
CREATE TABLE ohrm_job_candidate_vacancy (
    id INTEGER PRIMARY KEY, candidate_id INTEGER NOT NULL, status VARCHAR(100) NOT NULL);
CREATE TABLE ohrm_job_interview (
    id INTEGER PRIMARY KEY, candidate_vacancy_id INTEGER, candidate_id INTEGER,
    interview_name VARCHAR(100) NOT NULL, interview_date DATE, interview_time TIME, note TEXT);
CREATE TABLE ohrm_job_interview_interviewer (
    interview_id INTEGER, interviewer_id INTEGER, PRIMARY KEY (interview_id, interviewer_id));
"""  # noqa: E501

Rows = dict[str, list[tuple[Any, ...]]]


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _room_rows(company: Company, anchor: date) -> Rows:
    made = f"{anchor - timedelta(days=30)} 09:00:00"
    every = company.occurrences
    return {
        "layouts": [(100 + key, zone) for key, (_, zone, _) in SITES.items()],
        "schedules": [(key, name, 100 + key) for key, (name, _, _) in SITES.items()],
        "resources": [
            (key * 10 + n, room, key)
            for key, (_, _, rooms) in SITES.items()
            for n, room in enumerate(rooms)
        ],
        "users": [
            (
                key,
                p.first,
                p.last,
                email_of(p),
                p.organisation,
                p.phone,
                p.language,
                _ACTIVE if p.active else _INACTIVE,
            )
            for key, p in company.users.items()
        ],
        "reservation_series": [
            (s.id, made, None, s.title, None, s.status, s.owner) for s in company.series
        ],
        "reservation_instances": [
            (o.id, _text(o.start), _text(o.end), o.reference, o.series.id) for o in every
        ],
        "reservation_resources": [(s.id, s.room, 1) for s in company.series if s.room]
        # big meetings take a second room, which must not make a second event
        + [
            (s.id, s.room + 1, 2)
            for s in company.series
            if s.room and s.room % 10 == 0 and s.room < 70 and s.id % 9 == 0
        ],
        "reservation_users": [(o.id, o.series.owner, 1) for o in every]
        + [(o.id, user, 3) for o in every for user in o.accounts if user != o.series.owner],
        "reservation_guests": [
            (o.id, email, 3) for o in every for email in dict.fromkeys(o.guests)
        ],
        "custom_attribute_values": [
            (s.id, LINK_ATTRIBUTE, str(s.link), s.id, 1) for s in company.series if s.link
        ],
    }


def _hr_rows(company: Company, anchor: date) -> Rows:
    staff = [(key, person) for key, person in company.users.items() if person.site]
    return {
        "ohrm_location": [(key, name) for key, (name, _, _) in SITES.items() if key < 7],
        "hs_hr_employee": [
            (key, p.first, p.last, email_of(p), p.phone, None, None if p.active else 1, None)
            for key, p in staff
        ],
        "hs_hr_emp_locations": [(key, person.site) for key, person in staff],
        "ohrm_job_candidate": [
            (key, p.first, p.last, email_of(p), p.phone, True)
            for key, p in company.candidates.items()
        ],
        "ohrm_job_candidate_vacancy": [
            (i.id + 500, i.candidate, i.status) for i in company.interviews
        ],
        "ohrm_job_interview": [
            (
                i.id,
                i.id + 500,
                i.candidate,
                i.name,
                str(i.day),
                i.at.isoformat() if i.at else None,
                None,
            )
            for i in company.interviews
        ],
        "ohrm_job_interview_interviewer": [
            (i.id, key) for i in company.interviews for key in i.interviewers
        ],
    }


def _write(path: Path, tables: str, rows: Rows) -> None:
    """Write a whole SQLite database beside `path`, then put it in its place in one step."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    connection = sqlite3.connect(fresh)
    try:
        with connection:
            connection.executescript(tables)
            for table, values in rows.items():
                if values:
                    marks = ", ".join("?" * len(values[0]))
                    connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
    finally:
        connection.close()
    os.replace(fresh, path)
