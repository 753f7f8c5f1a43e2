"""OrangeHRM's tables, rows with every trap in them, and what essentry should hold. Types:
dbscript-1.sql, migration 4.2.
"""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta

from sqlalchemy import Engine

from tests.sources.databases import create_tables, insert_rows
from tests.sources.truth import Draft, Tables, Truth, settle, wall_clock

TABLES = {
    "ohrm_location": (
        "id int NOT NULL, name varchar(110) {c} NOT NULL, country_code varchar(3) {c} NOT NULL, "
        "PRIMARY KEY (id)"
    ),
    "hs_hr_employee": (
        "emp_number int NOT NULL, emp_firstname varchar(100) {c} NOT NULL, "
        "emp_lastname varchar(100) {c} NOT NULL, emp_mobile varchar(50) {c}, "
        "emp_work_telephone varchar(50) {c}, emp_work_email varchar(50) {c}, termination_id int, "
        "purged_at timestamp NULL DEFAULT NULL, PRIMARY KEY (emp_number)"
    ),
    "hs_hr_emp_locations": (
        "emp_number int NOT NULL, location_id int NOT NULL, PRIMARY KEY (emp_number, location_id)"
    ),
    "ohrm_job_candidate": (
        "id int NOT NULL, first_name varchar(30) {c} NOT NULL, middle_name varchar(30) {c}, "
        "last_name varchar(30) {c} NOT NULL, email varchar(100) NOT NULL, "
        "contact_number varchar(30) {c}, status int NOT NULL, date_of_application date NOT NULL, "
        "consent_to_keep_data tinyint NOT NULL DEFAULT 0, PRIMARY KEY (id)"
    ),
    "ohrm_job_candidate_vacancy": (
        "id int UNIQUE, candidate_id int NOT NULL, vacancy_id int NOT NULL, "
        "status varchar(100) {c} NOT NULL, applied_date date NOT NULL, PRIMARY KEY (candidate_id, "
        "vacancy_id)"
    ),
    "ohrm_job_interview": (
        "id int NOT NULL, candidate_vacancy_id int, candidate_id int, "
        "interview_name varchar(100) {c} NOT NULL, interview_date date, interview_time time, "
        "note text {c}, PRIMARY KEY (id)"
    ),
    "ohrm_emp_termination": (
        "id int NOT NULL, emp_number int, reason_id int, termination_date date NOT NULL, "
        "note varchar(255) {c}, PRIMARY KEY (id)"
    ),
    "ohrm_job_interview_interviewer": (
        "interview_id int NOT NULL, interviewer_id int NOT NULL, PRIMARY KEY (interview_id, "
        "interviewer_id)"
    ),
}
# of the employee and the termination that point at each other, the one that cascades
KEYS = {
    "ohrm_emp_termination": (
        "FOREIGN KEY (emp_number) REFERENCES hs_hr_employee(emp_number) ON DELETE CASCADE"
    ),
    "ohrm_job_interview": (
        "FOREIGN KEY (candidate_vacancy_id) REFERENCES ohrm_job_candidate_vacancy(id) ON DELETE "
        "SET NULL, FOREIGN KEY (candidate_id) REFERENCES ohrm_job_candidate(id) ON DELETE CASCADE"
    ),
    "ohrm_job_interview_interviewer": (
        "FOREIGN KEY (interview_id) REFERENCES ohrm_job_interview(id) ON DELETE CASCADE, "
        "FOREIGN KEY (interviewer_id) REFERENCES hs_hr_employee(emp_number) ON DELETE CASCADE"
    ),
    "ohrm_job_candidate_vacancy": (
        "FOREIGN KEY (candidate_id) REFERENCES ohrm_job_candidate(id) ON DELETE CASCADE"
    ),
}
# location → essentry and zone; 5 is not mapped
SITES = {
    1: (101, 201, "Europe/Berlin"),
    2: (102, 202, "Europe/London"),
    3: (103, 203, "America/New_York"),
    4: (104, None, "Australia/Lord_Howe"),
}
DURATION = 45
CONFIG = {
    "preset": "orangehrm",
    "internal_domains": ["corp.example"],
    "default_duration_minutes": DURATION,
    "sites": {
        str(key): {"location_id": a, "timezone": zone} | ({"entrance_id": b} if b else {})
        for key, (a, b, zone) in SITES.items()
    },
}
NAMES = (
    "Erstgespräch",
    "Second interview",
    " ",
    "=cmd|' /C calc'!A0",
    "Zeile\r\nzwei",
    "Zażółć gęślą jaźń",
    "Panel 🎯",
    "n" * 100,
)


# utf8 in every version: none of the migrations to 5.7 converts these tables
VERSIONS: dict[str, tuple[dict[str, str], str, str | None]] = {
    "4.2": (TABLES, "utf8", "utf8_general_ci"),
    "5.0": (TABLES, "utf8", "utf8_general_ci"),
    "5.7": (TABLES, "utf8", "utf8_general_ci"),
    "by a host of one's own": (TABLES, "latin1", "latin1_swedish_ci"),
    "converted": (TABLES, "utf8mb4", "utf8mb4_unicode_ci"),
}
NEWEST = "converted"


def create_schema(engine: Engine, *, version: str = NEWEST) -> None:
    """Make the tables of a version."""
    tables, charset, collation = VERSIONS[version]
    create_tables(engine, tables, charset=charset, collation=collation, keys=KEYS)


def fill(
    engine: Engine,
    *,
    seed: int,
    today: datetime,
    events: int = 1000,
    night: int = 1,
    charset: str = "utf8mb4",
) -> Tables:
    """Replace all rows; returns what was written. The interviews lie from 5 days before `today` to
    a year after.
    """
    tables = generate(seed=seed, today=today, events=events)
    if night == 2:
        change(tables, random.Random(seed + 1))
    insert_rows(engine, tables, charset=charset)
    return tables


def generate(*, seed: int, today: datetime, events: int) -> Tables:
    """Rows of night 1: `events` interviews, those at the start each with a trap."""
    rng = random.Random(seed)
    tables: Tables = {name: [] for name in TABLES}
    tables["ohrm_location"] = [
        {"id": n, "name": f"Standort {n}", "country_code": "DE"} for n in range(1, 6)
    ]
    for n in range(1, 51):
        email = {45: None, 46: "", 47: "kein-at.example", 48: "  Boss48@CORP.example "}.get(
            n, f"boss{n}@corp.example"
        )
        tables["hs_hr_employee"].append(
            {
                "emp_number": n, "emp_firstname": f"Jürgen{n}", "emp_lastname": f"Łoś{n}",
                "emp_mobile": "0170 1", "emp_work_telephone": "",
                "emp_work_email": email, "termination_id": 7 if n == 49 else None,
                "purged_at": _stamp(today) if n == 50 else None,
            }
        )  # fmt: skip
        places = {43: (), 44: (5,), 42: (3, 5), 41: (4,)}.get(n, (1 + n % 3,))
        tables["hs_hr_emp_locations"] += [
            {"emp_number": n, "location_id": place} for place in places
        ]
    for n in range(1, events + 1):
        _add_interview(tables, rng, n, today)
    return tables


def _add_interview(tables: Tables, rng: random.Random, n: int, today: datetime) -> None:
    day: str | None = str((today + timedelta(days=rng.randint(-5, 360))).date())
    at: str | None = f"{rng.randint(8, 17):02d}:{rng.choice((0, 15, 30)):02d}:00"
    hosts = sorted(rng.sample(range(1, 42), rng.choice((1, 1, 2, 3))), reverse=True)
    candidate: int | None = n
    vacancy: int | None = n + 5000
    status, email = (
        rng.choice(("INTERVIEW SCHEDULED", "SHORTLISTED", "INTERVIEW PASSED")),
        f"Kandidat{n}@mail.example",
    )
    match n:
        case 1:
            hosts = []
        case 2:
            hosts = [45]
        case 3:
            hosts = [46]
        case 4:
            hosts = [47]
        case 5:
            hosts = [48]  # blanks and capitals: usable
        case 6:
            hosts = [49]  # terminated
        case 7:
            hosts = [50, 51]  # purged, and one that is not there
        case 8:
            hosts = [43]  # at no location
        case 9:
            hosts = [44]  # at a location that is not mapped
        case 10:
            hosts = [42]  # at two: the lower
        case 11:
            hosts = [4, 12, 40, 9]  # the lowest number hosts
        case 12 | 13:
            status = "REJECTED"
        case 14:
            status, hosts, at = "REJECTED", [], None  # cancelled outranks
        case 15:
            vacancy = None  # the application was removed
        case 16:
            at = None
        case 17:
            day = None
        case 18:
            day = "0000-00-00"
        case 19:
            at = "838:59:59"  # the longest TIME
        case 20:
            at = "-01:00:00"
        case 21:
            day, at, hosts = str(_last_sunday(today, 10)), "02:30:00", [3]  # twice in Berlin
        case 22:
            day, at, hosts = str(_last_sunday(today, 3)), "02:30:00", [3]  # never in Berlin
        case 23:
            day, at, hosts = str(_last_sunday(today, 3)), "01:30:00", [1]  # never in London
        case 24:
            email = "n/a"  # has a name
        case 25:
            email = "Kandidat24b@mail.example"
        case 26:
            email = "ohne at"
        case 27:
            email = f"BOSS{hosts[-1]}@corp.example"  # applies from inside: no guest
        case 28:
            candidate = 999_999  # no such candidate
        case 29 | 30:
            email = "familie@mail.example"  # two people, one address
        case 31:
            hosts = [41]  # a zone with half-hour summer time
        case 32:
            day = str((today + timedelta(days=400)).date())  # beyond the window
    tables["ohrm_job_interview"].append(
        {
            "id": n, "candidate_vacancy_id": vacancy, "candidate_id": candidate,
            "interview_name": NAMES[n % len(NAMES)],
            "interview_date": day, "interview_time": at, "note": "vertraulich",
        }
    )  # fmt: skip
    tables["ohrm_job_interview_interviewer"] += [
        {"interview_id": n, "interviewer_id": host} for host in hosts
    ]
    tables["ohrm_job_candidate"].append(
        {
            "id": n, "first_name": "Zoë" if n % 9 else "Zo\u0308e", "middle_name": None,
            "last_name": f"O'Müller-{n}", "email": email,
            "contact_number": None, "status": 1, "date_of_application": str(today.date()),
            "consent_to_keep_data": n % 2,
        }
    )  # fmt: skip
    applied = {
        "id": n + 5000,
        "candidate_id": n,
        "vacancy_id": 1,
        "status": status,
        "applied_date": str(today.date()),
    }
    tables["ohrm_job_candidate_vacancy"].append(applied)


def change(tables: Tables, rng: random.Random) -> None:
    """A day of work: moves, other interviewers, new addresses, rejections, removed candidates, new
    interviews.
    """
    interviews = {row["id"]: row for row in tables["ohrm_job_interview"]}
    chosen = rng.sample([n for n in interviews if n > 40], 50)
    for n in chosen[:20]:
        interviews[n]["interview_time"] = "18:15:00"
    for n in chosen[20:30]:
        tables["ohrm_job_interview_interviewer"] = [
            r for r in tables["ohrm_job_interview_interviewer"] if r["interview_id"] != n
        ]
        tables["ohrm_job_interview_interviewer"].append({"interview_id": n, "interviewer_id": 2})
    for row in tables["ohrm_job_candidate"]:
        if row["id"] in chosen[30:36]:
            row["email"] = f"neu{row['id']}@mail.example"
    for row in tables["ohrm_job_candidate_vacancy"]:
        if row["candidate_id"] in chosen[36:42]:
            row["status"] = "REJECTED"
    gone = set(chosen[42:])
    keys = {"ohrm_job_interview": "id", "ohrm_job_interview_interviewer": "interview_id",
        "ohrm_job_candidate": "id",
            "ohrm_job_candidate_vacancy": "candidate_id"}  # fmt: skip
    for table, key in keys.items():
        tables[table] = [row for row in tables[table] if row[key] not in gone]
    today = datetime.fromisoformat(tables["ohrm_job_candidate"][0]["date_of_application"])
    for n in range(60_001, 60_013):
        _add_interview(tables, rng, n, today)


def truth(tables: Tables, *, as_of: datetime) -> Truth:
    """What essentry should hold, by `CONFIG`."""
    staff = {row["emp_number"]: row for row in tables["hs_hr_employee"]}
    candidates = {row["id"]: row for row in tables["ohrm_job_candidate"]}
    applications = {row["id"]: row["status"] for row in tables["ohrm_job_candidate_vacancy"]}
    homes: dict[int, int] = {}
    for row in tables["hs_hr_emp_locations"]:
        homes[row["emp_number"]] = min(row["location_id"], homes.get(row["emp_number"], 10**9))
    welcoming = {
        number
        for number, person in staff.items()
        if "@" in (person["emp_work_email"] or "")
        and number in homes
        and not (person["termination_id"] or person["purged_at"])
    }
    hosts: dict[int, int] = {}  # the lowest number of those who can host, else of all
    for row in sorted(
        tables["ohrm_job_interview_interviewer"],
        key=lambda row: (row["interviewer_id"] not in welcoming, row["interviewer_id"]),
    ):
        hosts.setdefault(row["interview_id"], row["interviewer_id"])
    drafts = []
    for row in tables["ohrm_job_interview"]:
        host = staff.get(hosts.get(row["id"], -1), {})
        site = SITES.get(homes.get(host.get("emp_number", -1), -1))
        start = wall_clock(row["interview_date"], row["interview_time"], site[2] if site else "UTC")
        application = applications.get(row["candidate_vacancy_id"])
        draft = Draft(
            key=str(row["id"]),
            name=row["interview_name"],
            starts_at=start,
            ends_at=start and start + timedelta(minutes=DURATION),
            place=site and site[:2],
            host=host.get("emp_work_email"),
            guests=[],
            status="cancelled"
            if application == "REJECTED"
            else "confirmed"
            if application
            else "pending",
        )
        if site is None:
            draft.problems.add("zone")
        if row["interview_date"] is None or row["interview_time"] is None:
            draft.problems.add("problem")
        if host.get("termination_id") or host.get("purged_at"):
            draft.problems.add("host_active")
        if row["candidate_id"] is not None:
            candidate = candidates.get(row["candidate_id"])
            name = f"{candidate['first_name']} {candidate['last_name']}" if candidate else None
            draft.guests.append((candidate["email"] if candidate else None, name, False))
        drafts.append(draft)
    return settle(drafts, as_of=as_of)


def _last_sunday(today: datetime, month: int) -> date:
    """The next last Sunday of a month with 31 days, when Europe's clocks change."""
    days = [date(year, month, 31) for year in (today.year, today.year + 1)]
    sundays = [day - timedelta(days=(day.weekday() + 1) % 7) for day in days]
    return next(day for day in sundays if day > today.date())


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")
