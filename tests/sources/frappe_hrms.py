"""Frappe HRMS's tables, rows with every trap in them, and what essentry should hold. Types: the
framework's, for 15's doctypes.

Of the framework's type map: Data, Link, Select → varchar(140), Date → date, Time → time(6),
modified → datetime(6).
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from sqlalchemy import Engine, inspect

from tests.sources.databases import create_tables, insert_rows
from tests.sources.truth import Draft, Tables, Truth, settle, wall_clock

DOCUMENT = (
    "name varchar(140) {c} NOT NULL, modified datetime(6), docstatus tinyint NOT NULL DEFAULT 0, "
    "idx int NOT NULL DEFAULT 0, "
)
# the framework's own MariaDB tables are utf8mb4_unicode_ci, with the key `modified`
TABLES = {
    "tabBranch": DOCUMENT + "branch varchar(140) {c}, PRIMARY KEY (name)",
    "tabEmployee": DOCUMENT
    + (
        "first_name varchar(140) {c}, last_name varchar(140) {c}, cell_number varchar(140) {c}, "
        "user_id varchar(140) {c}, status varchar(140) {c} DEFAULT 'Active', "
        "branch varchar(140) {c}, PRIMARY KEY (name)"
    ),
    "tabJob Opening": DOCUMENT
    + "job_title varchar(140) {c}, location varchar(140) {c}, PRIMARY KEY (name)",
    "tabJob Applicant": DOCUMENT
    + (
        "applicant_name varchar(140) {c}, email_id varchar(140) {c}, phone_number varchar(140) "
        "{c}, status varchar(140) {c}, PRIMARY KEY (name)"
    ),
    "tabInterview": DOCUMENT
    + (
        "interview_round varchar(140) {c}, job_applicant varchar(140) {c}, "
        "job_opening varchar(140) {c}, status varchar(140) {c} DEFAULT 'Pending', "
        "scheduled_on date, from_time time(6), to_time time(6), amended_from varchar(140) {c}, "
        "PRIMARY KEY (name)"
    ),
    "tabInterview Detail": DOCUMENT
    + (
        "parent varchar(140) {c}, parentfield varchar(140) {c}, parenttype varchar(140) {c}, "
        "interviewer varchar(140) {c}, PRIMARY KEY (name)"
    ),
}
KEYS = dict.fromkeys(TABLES, "INDEX modified (modified)") | {
    "tabInterview Detail": "INDEX parent (parent)"
}
OPENING_14 = TABLES | {
    "tabJob Opening": TABLES["tabJob Opening"].replace("location varchar(140) {c}, ", "")
}
NEW_16 = TABLES | {
    "tabInterview": TABLES["tabInterview"].replace("interview_round", "interview_type")
}
# an upgrade keeps the column that 16 no longer has
UPGRADED_16 = TABLES | {
    "tabInterview": TABLES["tabInterview"].replace(
        "interview_round", "interview_type varchar(140) {c}, interview_round"
    )
}
ZONE = "Asia/Kolkata"
SITES = {"Pune": (101, 201), "Zürich HQ": (102, 202)}  # Goa is not mapped
CONFIG = {
    "preset": "frappe_hrms",
    "timezone": ZONE,
    "internal_domains": ["corp.example"],
    "sites": {key: {"location_id": a, "entrance_id": b} for key, (a, b) in SITES.items()},
}
STAMP = "2026-01-05 08:00:00.123456"


VERSIONS = {
    "14": (OPENING_14, "utf8mb4", "utf8mb4_unicode_ci"),
    "15.0": (OPENING_14, "utf8mb4", "utf8mb4_unicode_ci"),
    "15.7": (TABLES, "utf8mb4", "utf8mb4_unicode_ci"),
    "16": (NEW_16, "utf8mb4", "utf8mb4_unicode_ci"),
    "16, upgraded": (UPGRADED_16, "utf8mb4", "utf8mb4_unicode_ci"),
}
NEWEST = "15.7"


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
    100 after.
    """
    tables = generate(seed=seed, today=today, events=events)
    if night == 2:
        change(tables, random.Random(seed + 1), today)
    insert_rows(engine, as_stored(engine, tables), charset=charset)
    return tables


def as_stored(engine: Engine, tables: Tables) -> Tables:
    """The rows with the columns that this database's version has: an interview's title is its round
    or, since 16, its type.
    """
    columns = {
        name: {column["name"] for column in inspect(engine).get_columns(name)} for name in tables
    }
    return {
        name: [
            {
                key: value
                for key, value in (row | {"interview_type": row.get("interview_round")}).items()
                if key in columns[name]
            }
            for row in rows
        ]
        for name, rows in tables.items()
    }  # fmt: skip


def generate(*, seed: int, today: datetime, events: int) -> Tables:
    """Rows of night 1: `events` interviews, those at the start each with a trap."""
    rng = random.Random(seed)
    tables: Tables = {name: [] for name in TABLES}
    tables["tabBranch"] = [
        _document(name) | {"branch": name} for name in ("Pune", "Zürich HQ", "Goa")
    ]
    places = {"HR-OPN-1": "Pune", "HR-OPN-2": "Zürich HQ", "HR-OPN-3": "Goa", "HR-OPN-4": None}
    tables["tabJob Opening"] = [
        _document(k) | {"job_title": "Ingenieur:in", "location": v} for k, v in places.items()
    ]
    for n in range(1, 31):
        status = {28: "Left", 29: "Inactive", 30: "Suspended"}.get(n, "Active")
        _employ(tables, f"HR-EMP-{n:05d}", n, status)
    _employ(tables, "HR-EMP-00000", 5, "Left")  # employed twice: the active record counts
    for n in range(1, events + 1):
        _add_interview(tables, rng, n, today)
    return tables


def _document(name: str, *, docstatus: int = 0, idx: int = 0) -> dict:
    return {"name": name, "modified": STAMP, "docstatus": docstatus, "idx": idx}


def _employ(tables: Tables, name: str, n: int, status: str) -> None:
    tables["tabEmployee"].append(
        _document(name)
        | {
            "first_name": f"Asha{n}",
            "last_name": None,
            "cell_number": f"+91 {n}",
            "user_id": f"asha{n}@corp.example",
            "status": status,
            "branch": ("Pune", "Zürich HQ", "Goa", None)[n % 4],
        }
    )


def _add_interview(tables: Tables, rng: random.Random, n: int, today: datetime) -> None:
    key = f"HR-INT-2026-{n:04d}"
    day: str | None = str((today + timedelta(days=rng.randint(-5, 100))).date())
    hour = rng.randint(8, 16)
    start, end = (
        f"{hour:02d}:00:00",
        f"{hour:02d}:45:00.500000" if n % 7 == 0 else f"{hour:02d}:45:00",
    )
    opening = f"HR-OPN-{rng.randint(1, 2)}"
    interviewers: list[tuple[int, str | None]] = [
        (k + 1, f"asha{m}@corp.example") for k, m in enumerate(rng.sample(range(1, 27), 2))
    ]
    status, docstatus = rng.choice(("Pending", "Under Review", "Cleared")), 0
    applicant, name, email = (
        f"bewerber{n}@mail.example",
        f"Jean Paul Åkesson{n}",
        f"Bewerber{n}@mail.example",
    )
    missing = False
    match n:
        case 1:
            interviewers = []
        case 2:
            # order is idx
            interviewers = [
                (2, "asha1@corp.example"),
                (1, "asha9@corp.example"),
                (1, "asha8@corp.example"),
            ]
        case 3:
            interviewers = [(1, "Administrator")]
        case 4:
            interviewers = [(1, None), (2, "asha3@corp.example")]
        case 5:
            interviewers = [(1, "asha28@corp.example")]
        case 6:
            interviewers = [(1, "asha29@corp.example")]
        case 7:
            interviewers = [(1, "asha5@corp.example")]
        case 8:
            interviewers = [(1, "extern@agency.example")]  # a user without an employee record
        case 9:
            opening = "HR-OPN-3"
        case 10:
            opening = "HR-OPN-4"
        case 11:
            opening = "HR-OPN-gone"
        case 12:
            docstatus = 2
        case 13:
            status = "Rejected"
        case 14:
            docstatus, opening, interviewers, day = 2, "HR-OPN-gone", [], None
        case 15:
            start, end = end, start
        case 16:
            end = start
        case 17:
            day = None
        case 18:
            day = "0000-00-00"
        case 19:
            start = "25:30:00"
        case 20:
            end = None  # type: ignore[assignment]
        case 21:
            applicant, email = "HR-APP-2026-00021", "n/a"
        case 22:
            applicant = f"{applicant}-1"  # applied twice
        case 23:
            missing = True
        case 24:
            name, email = "Cher", "ohne at"
        case 25:
            name, email = " ", "namenlos@mail.example"
        case 26:
            email = "asha5@corp.example"  # applies from inside
        case 27:
            applicant = "HR-APP-2026-00027"
    rounds = ("Technische Runde", None, "", "r" * 140, "=HYPERLINK(1)", "Zeile\nzwei", "Runde 🎯")
    tables["tabInterview"].append(
        _document(key, docstatus=docstatus)
        | {
            "interview_round": rounds[n % len(rounds)], "job_applicant": applicant,
            "job_opening": opening, "status": status,
            "scheduled_on": day, "from_time": start, "to_time": end,
        }
    )  # fmt: skip
    tables["tabInterview Detail"] += [
        _document(f"{key}-{k}", idx=idx)
        | {
            "parent": key,
            "parentfield": "interview_details",
            "parenttype": "Interview",
            "interviewer": who,
        }
        for k, (idx, who) in enumerate(interviewers)
    ]
    # a row of another doctype with the same parent is none of ours
    tables["tabInterview Detail"].append(
        _document(f"{key}-x", idx=0)
        | {
            "parent": key,
            "parentfield": "x",
            "parenttype": "Interview Feedback",
            "interviewer": "asha1@corp.example",
        }
    )
    if not missing:
        tables["tabJob Applicant"].append(
            _document(applicant)
            | {"applicant_name": name, "email_id": email, "phone_number": None, "status": "Open"}
        )


def change(tables: Tables, rng: random.Random, today: datetime) -> None:
    """A day of work: moves, other interviewers, new addresses, rejections, deleted and new
    interviews.
    """
    rows = {row["name"]: row for row in tables["tabInterview"]}
    chosen = rng.sample([key for key in rows if int(key[-4:]) > 40], 50)
    for key in chosen[:20]:
        rows[key] |= {
            "from_time": "17:00:00",
            "to_time": "17:30:00",
            "modified": "2026-01-06 08:00:00.000001",
        }
    for row in tables["tabInterview Detail"]:
        if row["parent"] in chosen[20:30] and row["idx"] == 1:
            row["interviewer"] = "asha27@corp.example"
    renamed = {rows[key]["job_applicant"] for key in chosen[30:36]}
    for row in tables["tabJob Applicant"]:
        if row["name"] in renamed:
            row["applicant_name"] = "Neuer Name"
    for key in chosen[36:42]:
        rows[key]["status"] = "Rejected"
    gone = set(chosen[42:])
    tables["tabInterview"] = [row for row in tables["tabInterview"] if row["name"] not in gone]
    tables["tabInterview Detail"] = [
        row for row in tables["tabInterview Detail"] if row["parent"] not in gone
    ]
    for n in range(9001, 9013):
        _add_interview(tables, rng, n, today)


def truth(tables: Tables, *, as_of: datetime) -> Truth:
    """What essentry should hold, by `CONFIG`."""
    places = {row["name"]: row["location"] for row in tables["tabJob Opening"]}
    applicants = {row["name"]: row for row in tables["tabJob Applicant"]}
    active: dict[str, bool] = {}
    for row in tables["tabEmployee"]:
        active[row["user_id"]] = active.get(row["user_id"], False) or row["status"] == "Active"
    hosts: dict[str, tuple[int, str]] = {}
    for row in tables["tabInterview Detail"]:
        if row["parenttype"] == "Interview" and row["interviewer"]:
            mine = (row["idx"], row["interviewer"])
            hosts[row["parent"]] = min(mine, hosts.get(row["parent"], mine))
    drafts = []
    for row in tables["tabInterview"]:
        host = hosts.get(row["name"], (0, None))[1]
        start = wall_clock(row["scheduled_on"], row["from_time"], ZONE)
        end = wall_clock(row["scheduled_on"], row["to_time"], ZONE)
        if row["to_time"] is None and start:
            end = start + timedelta(minutes=60)
        draft = Draft(
            key=row["name"],
            name=row["interview_round"],
            starts_at=start,
            ends_at=end,
            place=SITES.get(places.get(row["job_opening"]) or ""),
            host=host,
            guests=[],
            status="cancelled"
            if row["docstatus"] == 2 or row["status"] == "Rejected"
            else "confirmed",
        )
        if row["scheduled_on"] is None:
            draft.problems.add("problem")
        if host and not active.get(host, True):
            draft.problems.add("host_active")
        person = applicants.get(row["job_applicant"], {})
        draft.guests.append((person.get("email_id"), person.get("applicant_name"), False))
        drafts.append(draft)
    return settle(drafts, as_of=as_of)
