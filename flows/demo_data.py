"""The demo company: a room-booking and an HR database as SQLite files, the same for the same night and anchor.

Nordlicht Optik has six offices in five time zones. `rooms.sqlite` has LibreBooking's tables, `hr.sqlite` OrangeHRM's,
each with the columns the presets read and a few more. Night 1 is the first state, night 2 a working day later, night 3
equals night 2. Everybody is invented, every domain is `.example`. Nothing here knows the pipeline; the clock is an
argument.
"""

from __future__ import annotations

import os
import random
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from flows.demo_people import EMPLOYEES, ORGANISATIONS, TITLES, Person, email_of, outsiders

DAYS = 88
LINK_ATTRIBUTE = 7
# schedule id → name, zone, rooms; the last one is not in the demo's configuration
SITES: dict[int, tuple[str, str, tuple[str, ...]]] = {
    1: ("Berlin Mitte", "Europe/Berlin", ("Spree", "Havel", "Panke", "Müggelsee", "Großer Saal")),
    2: ("München Süd", "Europe/Berlin", ("Isar", "Würm", "Föhn", "Zugspitze")),
    3: ("Zürich", "Europe/Zurich", ("Limmat", "Sihl", "Uetliberg")),
    4: ("London", "Europe/London", ("Thames", "Fleet", "Greenwich")),
    5: ("Łódź", "Europe/Warsaw", ("Wisła", "Warta", "Bałtyk")),
    6: ("New York", "America/New_York", ("Hudson", "Bryant", "Liberty")),
    7: ("Lager Süd", "Europe/Berlin", ("Rampe 3",)),
}
# what night 2 does to night 1, in events; the kinds do not overlap
CHANGES = {
    "moved": 12,
    "renamed": 8,
    "other_room": 5,
    "guest_added": 6,
    "guest_removed": 3,
    "guest_swapped": 1,
    "other_host": 3,
    "interview_moved": 2,
    "created": 12,
    "cancelled": 8,
    "deleted": 4,
}
_SEED = 20_260_104
_ACTIVE, _INACTIVE = 1, 3
_CREATED, _DELETED, _PENDING = 1, 2, 3


@dataclass
class Series:
    """A booking: one or more occurrences that share title, room, owner and status. `link`: an interview's id."""

    id: int
    title: str | None
    owner: int
    room: int | None
    status: int = _CREATED
    link: int | None = None


@dataclass
class Occurrence:
    """One meeting, in UTC. `guests` are addresses, `accounts` are user ids; `ordinary` ones may change in night 2."""

    id: int
    series: Series
    start: datetime
    end: datetime
    guests: list[str] = field(default_factory=list)
    accounts: list[int] = field(default_factory=list)
    ordinary: bool = True

    @property
    def reference(self) -> str:
        return f"nlo{self.id * 2_654_435_761 % 0xFFFFFFFFFFFF:012x}"


@dataclass
class Interview:
    """An interview, in wall-clock time of the interviewer's office."""

    id: int
    candidate: int
    name: str
    day: date
    at: time | None
    interviewers: list[int]
    status: str = "INTERVIEW SCHEDULED"


@dataclass
class Company:
    """Everything the two databases hold, before it is written."""

    users: dict[int, Person]
    candidates: dict[int, Person]
    days: list[date]
    series: list[Series] = field(default_factory=list)
    occurrences: list[Occurrence] = field(default_factory=list)
    interviews: list[Interview] = field(default_factory=list)
    pool: list[str] = field(default_factory=list)
    next_occurrence: int = 1

    @property
    def employees(self) -> list[int]:
        return [key for key, person in self.users.items() if person.site and person.active]

    @property
    def accounts(self) -> list[int]:
        return [key for key, person in self.users.items() if not person.site]

    def book(
        self, title: str | None, *, owner: int, room: int | None, times: list[tuple[datetime, datetime]], **more: Any
    ) -> list[Occurrence]:
        """Add a booking with one occurrence a pair of times; `more` goes to `Series` (status, link)."""
        series = Series(len(self.series) + 1, title, owner, room, **more)
        self.series.append(series)
        made = []
        for start, end in times:
            made.append(Occurrence(self.next_occurrence, series, start, end))
            self.next_occurrence += 1
        self.occurrences.extend(made)
        return made

    def own_series(self, occurrence: Occurrence) -> Series:
        """The occurrence's own booking: an edited occurrence leaves its series and keeps its reference number."""
        old = occurrence.series
        if sum(other.series is old for other in self.occurrences) > 1:
            occurrence.series = Series(len(self.series) + 1, old.title, old.owner, old.room, old.status)
            self.series.append(occurrence.series)
        return occurrence.series


def build_demo(folder: Path, *, night: int, anchor: date) -> dict[str, Path]:
    """Write `rooms.sqlite` and `hr.sqlite` into `folder` (made if missing) and return their paths by source name.

    `night` is 1, 2 or 3; future meetings lie 2 to 88 days after `anchor`. The files are replaced in one step each.
    Raises ValueError for another night.
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


def found_company(anchor: date) -> Company:
    """Night 1: about 2,400 meetings to come, 60 past ones, 70 interviews, and a handful of rows nobody can use."""
    rng = random.Random(_SEED)  # noqa: S311
    users = dict(enumerate(EMPLOYEES, start=1))
    for number, person in enumerate(outsiders(rng, 60), start=201):
        users[number] = person
    candidates = dict(enumerate(outsiders(rng, 70, private=True), start=1))
    days = [day for day in (anchor + timedelta(days=n) for n in range(2, DAYS + 1)) if day.weekday() < 5]
    company = Company(users, candidates, days, pool=[email_of(person) for person in outsiders(rng, 900)])
    _add_recurring(company, rng)
    _add_singles(company, rng, count=1000)
    _add_past(company, rng, anchor)
    _add_interviews(company, rng)
    _add_unusable(company, rng)
    return company


def _slot(rng: random.Random, day: date, site: int) -> tuple[datetime, datetime]:
    zone = ZoneInfo(SITES[site][1])
    local = datetime.combine(day, time(rng.randint(8, 17), rng.choice((0, 15, 30, 30, 0))), tzinfo=zone)
    start = local.astimezone(UTC)
    return start, start + timedelta(minutes=rng.choice((30, 45, 60, 60, 90, 120)))


def _room(rng: random.Random, site: int) -> int:
    return site * 10 + rng.randrange(len(SITES[site][2]))


def _title(rng: random.Random) -> str | None:
    title = rng.choice(TITLES)
    return title.format(organisation=rng.choice(ORGANISATIONS)[0]) if title else None


def _invite(company: Company, rng: random.Random, occurrences: list[Occurrence], *, outside: float) -> None:
    """Give all occurrences of a booking the same guests: by the chance `outside` outsiders, sometimes colleagues."""
    emails, accounts = [], []
    if rng.random() < outside:
        emails = rng.sample(company.pool, rng.choice((0, 1, 1, 1, 2, 2, 3)))
        accounts = rng.sample(company.accounts, rng.choice((0, 1) if emails else (1, 2)))
    if rng.random() < 0.3 or not (emails or accounts):
        owner = occurrences[0].series.owner
        accounts = accounts + [key for key in rng.sample(company.employees, 2) if key != owner]
    for occurrence in occurrences:
        occurrence.guests, occurrence.accounts = list(emails), list(accounts)
        occurrence.ordinary = any(key > 200 for key in accounts) or bool(emails)


def _add_recurring(company: Company, rng: random.Random) -> None:
    for _ in range(140):
        owner = rng.choice(company.employees)
        site = company.users[owner].site
        first = rng.randrange(10)
        weekly = [day for day in company.days[first::5] if day.weekday() == company.days[first].weekday()]
        zone = ZoneInfo(SITES[site][1])
        at, length = time(rng.randint(8, 16), rng.choice((0, 30))), timedelta(minutes=rng.choice((30, 60, 90)))
        starts = [datetime.combine(day, at, tzinfo=zone).astimezone(UTC) for day in weekly[: rng.randint(8, 12)]]
        made = company.book(_title(rng), owner=owner, room=_room(rng, site), times=[(start, start + length) for start in starts])
        _invite(company, rng, made, outside=0.8)


def _add_singles(company: Company, rng: random.Random, *, count: int) -> None:
    for number in range(count):
        owner = rng.choice(company.employees)
        site = company.users[owner].site
        status = _DELETED if number % 33 == 5 else _PENDING if number % 50 == 7 else _CREATED
        made = company.book(
            _title(rng),
            owner=owner,
            room=_room(rng, site),
            times=[_slot(rng, rng.choice(company.days), site)],
            status=status,
        )
        _invite(company, rng, made, outside=0.85)
        if status != _CREATED:
            made[0].ordinary = False


def _add_past(company: Company, rng: random.Random, anchor: date) -> None:
    for number in range(60):
        owner = rng.choice(company.employees)
        site = company.users[owner].site
        day = anchor - timedelta(days=1 + number % 25)
        made = company.book(_title(rng), owner=owner, room=_room(rng, site), times=[_slot(rng, day, site)])
        _invite(company, rng, made, outside=1)
        made[0].ordinary = False


def _add_interviews(company: Company, rng: random.Random) -> None:
    for candidate in company.candidates:
        host = rng.choice([key for key in company.employees if key <= 60])
        site, day, at = (
            company.users[host].site,
            rng.choice(company.days),
            time(rng.randint(9, 16), rng.choice((0, 30))),
        )
        others = rng.sample(range(host + 1, 121), 2) if candidate % 3 == 0 else []
        round_name = rng.choice(("Erstgespräch", "Zweitgespräch", "Fachinterview", "First interview", "Rozmowa kwalifikacyjna"))
        company.interviews.append(Interview(candidate, candidate, round_name, day, at, [*others, host]))
        if candidate <= 40:
            start = datetime.combine(day, at, tzinfo=ZoneInfo(SITES[site][1])).astimezone(UTC)
            times = [(start, start + timedelta(minutes=60))]
            (made,) = company.book("Vorstellungsgespräch", owner=host, room=_room(rng, site), times=times, link=candidate)
            made.guests, made.ordinary = [email_of(company.candidates[candidate])], False
    for interview in company.interviews[60:63]:
        interview.status = "REJECTED"
    company.interviews[-1].at = None
    gone = next(key for key, person in company.users.items() if not person.active)
    company.interviews[-2].interviewers = [gone]


def _add_unusable(company: Company, rng: random.Random) -> None:
    gone = next(key for key, person in company.users.items() if not person.active)

    def add(**changes: Any) -> Occurrence:
        owner, room = changes.get("owner", company.employees[0]), changes.get("room", 10)
        times = [_slot(rng, company.days[20], 1)]
        (made,) = company.book("Besuch " + rng.choice(ORGANISATIONS)[0], owner=owner, room=room, times=times)
        made.guests, made.ordinary = [rng.choice(company.pool)], False
        return made

    add(owner=gone)
    add(room=70)
    add(room=None)
    backwards = add()
    backwards.start, backwards.end = backwards.end, backwards.start
    add().guests.append("n/a")
    add().guests.append("frau.dr.weiß(at)optik.example")


def spend_a_day(company: Company, rng: random.Random) -> None:
    """Turn night 1 into night 2: `CHANGES`, as the booking system's users would have made them."""
    ordinary = [occurrence for occurrence in company.occurrences if occurrence.ordinary]
    lengths: dict[int, int] = {}
    for occurrence in company.occurrences:
        lengths[occurrence.series.id] = lengths.get(occurrence.series.id, 0) + 1
    alone = [occurrence for occurrence in ordinary if lengths[occurrence.series.id] == 1]
    recurring = [occurrence for occurrence in ordinary if lengths[occurrence.series.id] > 1]
    several = [occurrence for occurrence in ordinary if len(occurrence.guests) > 1]
    used: set[int] = set()

    def take(kind: str, among: list[Occurrence]) -> list[Occurrence]:
        chosen = rng.sample([occurrence for occurrence in among if occurrence.id not in used], CHANGES[kind])
        used.update(occurrence.id for occurrence in chosen)
        return chosen

    for occurrence in take("cancelled", alone):
        occurrence.series.status = _DELETED
    deleted = {occurrence.id for occurrence in take("deleted", recurring)}
    company.occurrences = [occurrence for occurrence in company.occurrences if occurrence.id not in deleted]
    for occurrence in take("guest_removed", several):
        occurrence.guests.pop()
    for occurrence in take("guest_swapped", several):
        occurrence.guests[0] = "lena.grünwald@kupferblatt.example"
    for occurrence in take("guest_added", ordinary):
        occurrence.guests.append(rng.choice([email for email in company.pool if email not in occurrence.guests]))
    for occurrence in take("moved", ordinary):
        company.own_series(occurrence)
        later = timedelta(minutes=rng.choice((-30, 30, 60, 90)))
        occurrence.start, occurrence.end = occurrence.start + later, occurrence.end + later
    for occurrence in take("renamed", ordinary):
        series = company.own_series(occurrence)
        series.title = f"{series.title or 'Besprechung'} – neue Agenda"
    for occurrence in take("other_room", ordinary):
        series = company.own_series(occurrence)
        series.room = (series.room or 0) // 10 * 10 + (1 if (series.room or 0) % 10 == 0 else 0)
    for occurrence in take("other_host", ordinary):
        series = company.own_series(occurrence)
        invited = {series.owner, *occurrence.accounts}
        series.owner = rng.choice([key for key in company.employees if key not in invited])
    _move_interviews(company)
    for _ in range(CHANGES["created"]):
        owner = rng.choice(company.employees)
        site = company.users[owner].site
        made = company.book(_title(rng), owner=owner, room=_room(rng, site), times=[_slot(rng, rng.choice(company.days), site)])
        _invite(company, rng, made, outside=1)


def _move_interviews(company: Company) -> None:
    """One interview without a room booking, and one with: both records move."""
    linked = {occurrence.series.link: occurrence for occurrence in company.occurrences if occurrence.series.link}
    for interview in (company.interviews[45], company.interviews[3]):
        later = timedelta(minutes=30)
        if interview.at is not None:
            interview.at = (datetime.combine(interview.day, interview.at) + later).time()
        if booking := linked.get(interview.id):
            booking.start, booking.end = booking.start + later, booking.end + later


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
"""
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
"""
Rows = dict[str, list[tuple[Any, ...]]]


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _room_rows(company: Company, anchor: date) -> Rows:
    made = f"{anchor - timedelta(days=30)} 09:00:00"
    every = company.occurrences
    return {
        "layouts": [(100 + key, zone) for key, (_, zone, _) in SITES.items()],
        "schedules": [(key, name, 100 + key) for key, (name, _, _) in SITES.items()],
        "resources": [(key * 10 + n, room, key) for key, (_, _, rooms) in SITES.items() for n, room in enumerate(rooms)],
        "users": [
            (key, p.first, p.last, email_of(p), p.organisation, p.phone, p.language, _ACTIVE if p.active else _INACTIVE)
            for key, p in company.users.items()
        ],
        "reservation_series": [(s.id, made, None, s.title, None, s.status, s.owner) for s in company.series],
        "reservation_instances": [(o.id, _text(o.start), _text(o.end), o.reference, o.series.id) for o in every],
        "reservation_resources": [(s.id, s.room, 1) for s in company.series if s.room]
        # big meetings take a second room, which must not make a second event
        + [(s.id, s.room + 1, 2) for s in company.series if s.room and s.room % 10 == 0 and s.room < 70 and s.id % 9 == 0],
        "reservation_users": [(o.id, o.series.owner, 1) for o in every]
        + [(o.id, user, 3) for o in every for user in o.accounts if user != o.series.owner],
        "reservation_guests": [(o.id, email, 3) for o in every for email in dict.fromkeys(o.guests)],
        "custom_attribute_values": [(s.id, LINK_ATTRIBUTE, str(s.link), s.id, 1) for s in company.series if s.link],
    }


def _hr_rows(company: Company, anchor: date) -> Rows:
    staff = [(key, person) for key, person in company.users.items() if person.site]
    return {
        "ohrm_location": [(key, name) for key, (name, _, _) in SITES.items() if key < 7],
        "hs_hr_employee": [(key, p.first, p.last, email_of(p), p.phone, None, None if p.active else 1, None) for key, p in staff],
        "hs_hr_emp_locations": [(key, person.site) for key, person in staff],
        "ohrm_job_candidate": [(key, p.first, p.last, email_of(p), p.phone, True) for key, p in company.candidates.items()],
        "ohrm_job_candidate_vacancy": [(i.id + 500, i.candidate, i.status) for i in company.interviews],
        "ohrm_job_interview": [
            (i.id, i.id + 500, i.candidate, i.name, str(i.day), i.at.isoformat() if i.at else None, None) for i in company.interviews
        ],
        "ohrm_job_interview_interviewer": [(i.id, key) for i in company.interviews for key in i.interviewers],
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
