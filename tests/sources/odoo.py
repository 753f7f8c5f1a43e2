"""Odoo's tables, rows with every trap in them, and what essentry should hold. Types: those the
framework gives its fields, 15 to 18.

Char is varchar, Boolean boolean, Datetime timestamp without a zone (in UTC), Many2one integer.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from sqlalchemy import Engine, inspect

from tests.sources.databases import create_tables, insert_rows
from tests.sources.truth import Draft, Row, Tables, Truth, settle, utc

LOG = "create_uid integer, create_date timestamp, write_uid integer, write_date timestamp, "
TABLES = {
    "res_company": "id integer NOT NULL, name varchar NOT NULL, PRIMARY KEY (id)",
    "res_partner": (
        f"id integer NOT NULL, {LOG}name varchar, email varchar, phone varchar, lang varchar, "
        "tz varchar, active boolean, is_company boolean, commercial_company_name varchar, "
        "PRIMARY KEY (id)"
    ),
    "res_users": (
        "id integer NOT NULL, company_id integer NOT NULL, partner_id integer NOT NULL, "
        "active boolean, login varchar NOT NULL, password varchar, share boolean, PRIMARY KEY (id)"
    ),
    "res_users_settings": (
        "id integer NOT NULL, user_id integer NOT NULL, calendar_default_privacy varchar, "
        "PRIMARY KEY (id)"
    ),
    "calendar_event": (
        f"id integer NOT NULL, {LOG}user_id integer, name varchar NOT NULL, description text, "
        "location varchar, privacy varchar, show_as varchar NOT NULL, active boolean, "
        "allday boolean, start timestamp NOT NULL, stop timestamp NOT NULL, start_date date, "
        "stop_date date, recurrency boolean, recurrence_id integer, follow_recurrence boolean, "
        "PRIMARY KEY (id)"
    ),
    "calendar_attendee": (
        f"id integer NOT NULL, {LOG}event_id integer NOT NULL, partner_id integer NOT NULL, "
        "common_name varchar, access_token varchar, state varchar, PRIMARY KEY (id)"
    ),
}
OLD = TABLES | {
    "res_users_settings": "id integer NOT NULL, user_id integer NOT NULL, PRIMARY KEY (id)"
}
VERSIONS: dict[str, tuple[dict[str, str], str, str | None]] = {
    "15": (
        {name: text for name, text in TABLES.items() if name != "res_users_settings"},
        "utf8mb4",
        None,
    ),
    "16": (OLD, "utf8mb4", None),
    "17": (TABLES, "utf8mb4", None),
    "18": (TABLES, "utf8mb4", None),
}
NEWEST = "18"
SITES = {1: (101, 201), 2: (102, 202)}  # company 3 is not mapped
ROOMS = {"Berlin, 2. OG": (101, 212)}
CONFIG = {
    "preset": "odoo",
    "internal_domains": ["corp.example"],
    "sites": {str(key): {"location_id": a, "entrance_id": b} for key, (a, b) in SITES.items()},
    "rooms": {key: {"location_id": a, "entrance_id": b} for key, (a, b) in ROOMS.items()},
}


def create_schema(engine: Engine, *, version: str = NEWEST) -> None:
    """Make the tables of a version."""
    create_tables(engine, VERSIONS[version][0])


def fill(
    engine: Engine,
    *,
    seed: int,
    today: datetime,
    events: int = 1000,
    night: int = 1,
    charset: str = "utf8mb4",
) -> Tables:
    """Replace all rows; returns what was written. The events lie from 5 days before `today` to 100
    after.
    """
    tables = generate(seed=seed, today=today, events=events)
    if night == 2:
        change(tables, random.Random(seed + 1), today)
    insert_rows(engine, as_stored(engine, tables), charset=charset)
    return tables


def as_stored(engine: Engine, tables: Tables) -> Tables:
    """The tables and columns that this database's version has."""
    there = inspect(engine).get_table_names()
    columns = {
        name: {column["name"] for column in inspect(engine).get_columns(name)}
        for name in tables
        if name in there
    }
    return {
        name: [{key: row[key] for key in row if key in columns[name]} for row in tables[name]]
        for name in columns
    }


def generate(*, seed: int, today: datetime, events: int) -> Tables:
    """Rows of night 1: `events` events, those at the start each with a trap."""
    rng = random.Random(seed)
    tables: Tables = {name: [] for name in TABLES}
    tables["res_company"] = [{"id": n, "name": f"Gesellschaft {n}"} for n in (1, 2, 3)]
    for n in range(1, 21):  # employees; 19 has no address, 20 has left
        email = None if n == 19 else f"Staff{n}@corp.example"
        tables["res_partner"].append(_partner(n, f"Jürgen Łoś{n}", email, None))
        tables["res_users"].append(
            {
                "id": n, "company_id": 3 if n == 18 else 1 + n % 2, "partner_id": n,
                "active": n != 20, "login": f"s{n}", "password": "secret",
                "share": False,
            }
        )  # fmt: skip
        tables["res_users_settings"].append(
            {"id": n, "user_id": n, "calendar_default_privacy": "private" if n == 17 else "public"}
        )
    for n in range(101, 301):
        tables["res_partner"].append(
            _partner(n, f"Zoë Gästin{n}", f"gast{n}@visitor.example", "Güest AG")
        )
    tables["res_partner"].append(_partner(301, "Ohne Adresse", None, None))
    tables["res_partner"].append(_partner(302, None, "kein at", None))
    tables["res_partner"].append(_partner(303, None, None, None))
    tables["res_users"].append(  # a customer with a portal account is no employee
        {
            "id": 50,
            "company_id": 1,
            "partner_id": 101,
            "active": True,
            "login": "portal",
            "password": None,
            "share": True,
        }
    )
    for n in range(1, events + 1):
        _add_event(tables, rng, n, today)
    return tables


def _partner(number: int, name: str | None, email: str | None, company: str | None) -> Row:
    return {"id": number, "name": name, "email": email, "phone": None, "lang": "de_DE",
        "tz": "Europe/Berlin", "active": True,
            "is_company": False, "commercial_company_name": company}  # fmt: skip


def _add_event(tables: Tables, rng: random.Random, n: int, today: datetime) -> None:
    start = today + timedelta(days=rng.randint(-5, 100), minutes=15 * rng.randint(24, 72))
    event: Row = {
        "id": n, "user_id": rng.randint(1, 16),
        "name": ("Besuch Müller & Söhne", "=1+1", " ", "Zeile\nzwei", "Tour 🔬")[n % 5],
        "description": "<p>intern</p>",
        "location": rng.choice(("Berlin, 2. OG", " Haus 7 ", "Haus 7")),
        "privacy": rng.choice(("public", None)),
        "show_as": "busy", "active": True, "allday": False, "start": _sql(start),
        "stop": _sql(start + timedelta(minutes=45)),
        "start_date": None, "stop_date": None, "recurrency": n % 5 == 0,
        "recurrence_id": n // 5 if n % 5 == 0 else None,
        "write_date": "2026-01-05 08:00:00",
    }  # fmt: skip
    people = [
        (rng.randint(101, 300), rng.choice(("accepted", "needsAction", "tentative", None)))
        for _ in range(rng.randint(0, 2))
    ]
    if n in TRAPS:
        changes, guests = TRAPS[n]
        event |= changes
        people = people if guests is None else guests
    if n == 14:
        event["stop"] = event["start"]
    if event["user_id"] and n not in TRAPS:
        people.append((event["user_id"], "accepted"))
    tables["calendar_event"].append(event)
    tables["calendar_attendee"] += [
        {
            "id": n * 10 + k,
            "event_id": n,
            "partner_id": who,
            "common_name": "x",
            "access_token": "secret",
            "state": state,
        }
        for k, (who, state) in enumerate(dict(people).items())
    ]


G = [(150, "accepted")]
# event id → what differs, and the attendees (None: as drawn)
TRAPS: dict[int, tuple[Row, list[tuple[int, str | None]] | None]] = {
    1: ({"user_id": None}, G),  # imported from another calendar
    2: ({"user_id": 19}, G),  # no address
    3: ({"user_id": 20}, G),  # has left
    4: ({"user_id": 18, "location": "Haus 9"}, G),  # company is not mapped, nor is Haus 7
    5: ({"active": False}, G),  # archived
    6: ({"location": None}, G),  # a call
    7: ({"location": "  "}, G),
    8: ({"allday": True}, G),
    9: ({"allday": True}, [(3, "accepted")]),  # a day off
    10: ({"privacy": "private"}, G),
    11: ({"privacy": "confidential"}, G),
    12: ({"user_id": 17, "privacy": None}, G),  # by the organizer's default
    13: ({"user_id": 17, "privacy": "public"}, G),
    14: ({}, G),
    15: ({}, [(150, "declined"), (151, "needsAction")]),
    16: ({}, [(150, "declined")]),
    17: ({}, [(301, None)]),  # a name and no address
    18: ({}, [(302, None), (150, None)]),
    19: ({}, [(303, None)]),
    20: ({}, [(101, "accepted")]),  # a portal user
    21: ({"user_id": 2}, [(2, "accepted"), (5, "accepted")]),  # colleagues alone
    22: ({"active": False, "user_id": None, "location": None}, []),
    24: ({"stop": "2020-01-01 00:00:00"}, G),
    25: ({}, [(302, "accepted")]),
    26: ({"user_id": 19, "location": "Berlin, 2. OG"}, G),
    23: ({"user_id": 18, "location": "Berlin, 2. OG"}, G),  # the room is mapped, the company is not
}


def change(tables: Tables, rng: random.Random, today: datetime) -> None:
    """A day of work: moves, other organizers, declined and new attendees, archived, deleted and new
    events.
    """
    chosen = rng.sample([row for row in tables["calendar_event"] if row["id"] > 40], 50)
    for row in chosen[:20]:
        for column in ("start", "stop"):
            row[column] = _sql(datetime.fromisoformat(row[column]) + timedelta(minutes=45))
    for row in chosen[20:26]:
        row["active"] = False
    gone = {row["id"] for row in chosen[26:34]}
    tables["calendar_event"] = [row for row in tables["calendar_event"] if row["id"] not in gone]
    tables["calendar_attendee"] = [
        row for row in tables["calendar_attendee"] if row["event_id"] not in gone
    ]
    no = {row["id"] for row in chosen[34:42]}
    for person in tables["calendar_attendee"]:
        if person["event_id"] in no and person["partner_id"] > 100:
            person["state"] = "declined"
    for row in chosen[42:]:
        row["user_id"] = 1 + row["user_id"] % 16
    for n in range(50_001, 50_013):
        _add_event(tables, rng, n, today)


def truth(tables: Tables, *, as_of: datetime) -> Truth:
    """What essentry should hold, by `CONFIG`."""
    partners = {row["id"]: row for row in tables["res_partner"]}
    users = {row["id"]: row for row in tables["res_users"]}
    defaults = {
        row["user_id"]: row["calendar_default_privacy"] for row in tables["res_users_settings"]
    }
    staff = {row["partner_id"] for row in tables["res_users"] if row["active"] and not row["share"]}
    drafts = {}
    for row in tables["calendar_event"]:
        user = users.get(row["user_id"] or -1, {})
        location = (row["location"] or "").strip()
        drafts[row["id"]] = draft = Draft(
            key=str(row["id"]),
            name=row["name"],
            starts_at=utc(row["start"]),
            ends_at=utc(row["stop"]),
            place=ROOMS.get(location) or SITES.get(user.get("company_id", -1)),
            host=partners.get(user.get("partner_id", -1), {}).get("email"),
            guests=[],
            status="cancelled" if not row["active"] else "pending" if not location else "confirmed",
            private=(row["privacy"] or defaults.get(row["user_id"])) != "public",
        )
        if user and not user["active"]:
            draft.problems.add("host_active")
    for row in tables["calendar_attendee"]:
        if row["state"] != "declined":
            person = partners[row["partner_id"]]
            drafts[row["event_id"]].guests.append(
                (person["email"], person["name"], person["id"] in staff)
            )
            event = (
                next(e for e in tables["calendar_event"] if e["id"] == row["event_id"])
                if row["event_id"] < 40
                else {}
            )
            if event.get("allday") and person["id"] not in staff:
                drafts[row["event_id"]].problems.add("problem")
    return settle(drafts.values(), as_of=as_of)


def _sql(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")
