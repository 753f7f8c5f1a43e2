"""MRBS's tables, rows with every trap in them, and what essentry should hold. Types: tables.my.sql
and tables.pg.sql, 1.12.2.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from tests.sources.databases import create_tables, insert_rows
from tests.sources.truth import Draft, Row, Tables, Truth, settle

# What every version from 1.9.1 (database 77) to the development version (82) has of what is read,
# and the columns around it.
TABLES = {
    "mrbs_area": (
        "id int NOT NULL, disabled tinyint DEFAULT 0 NOT NULL, area_name varchar(30) {c}, "
        "timezone varchar(50) {c}, private_override varchar(32) {c}, approval_enabled tinyint, "
        "enable_periods tinyint, PRIMARY KEY (id)"
    ),
    "mrbs_room": (
        "id int NOT NULL, disabled tinyint DEFAULT 0 NOT NULL, area_id int DEFAULT 0 NOT NULL, "
        "room_name varchar(25) {c} DEFAULT '' NOT NULL, capacity int DEFAULT 0 NOT NULL, "
        "PRIMARY KEY (id)"
    ),
    "mrbs_users": (
        "id int NOT NULL, level smallint DEFAULT 0 NOT NULL, name varchar(30) {c}, "
        "display_name varchar(191) {c}, password_hash varchar(255) {c}, email varchar(75) {c}, "
        "PRIMARY KEY (id)"
    ),
    "mrbs_entry": (
        "id int NOT NULL, start_time int DEFAULT 0 NOT NULL, end_time int DEFAULT 0 NOT NULL, "
        "entry_type int DEFAULT 0 NOT NULL, repeat_id int DEFAULT NULL, "
        "room_id int DEFAULT 1 NOT NULL, timestamp timestamp NULL, create_by varchar(80) {c} "
        "DEFAULT '' NOT NULL, modified_by varchar(80) {c} DEFAULT '' NOT NULL, "
        "name varchar(80) {c} DEFAULT '' NOT NULL, type char DEFAULT 'E' NOT NULL, "
        "description text {c}, status tinyint unsigned NOT NULL DEFAULT 0, "
        "ical_uid varchar(255) {c} DEFAULT '' NOT NULL, ical_sequence smallint DEFAULT 0 NOT "
        "NULL, ical_recur_id varchar(16) {c} DEFAULT NULL, allow_registration tinyint DEFAULT 0 "
        "NOT NULL, PRIMARY KEY (id)"
    ),
    "mrbs_participants": (
        "id int NOT NULL, entry_id int NOT NULL, username varchar(191) {c}, "
        "create_by varchar(255) {c}, registered int, PRIMARY KEY (id)"
    ),
}
KEYS = {
    "mrbs_area": "UNIQUE KEY uq_area_name (area_name)",
    "mrbs_room": "UNIQUE KEY uq_room_name (area_id, room_name), "
    "FOREIGN KEY (area_id) REFERENCES mrbs_area(id) ON UPDATE CASCADE ON DELETE RESTRICT",
    "mrbs_users": "UNIQUE KEY uq_name (name)",
    "mrbs_entry": (
        "KEY idxStartTime (start_time), KEY idxRoomStartEnd (room_id, start_time, end_time), "
        "FOREIGN KEY (room_id) REFERENCES mrbs_room(id) ON UPDATE CASCADE ON DELETE RESTRICT"
    ),
    "mrbs_participants": "UNIQUE KEY uq_entryid_username (entry_id, username), "
    "FOREIGN KEY (entry_id) REFERENCES mrbs_entry(id) ON UPDATE CASCADE ON DELETE CASCADE",
}
# 1.4 had utf8 tables; upgrade 55 converted them, which makes text mediumtext, and later columns
# stand at the end
UPGRADED = TABLES | {
    "mrbs_users": (
        "id int NOT NULL, level smallint DEFAULT 0 NOT NULL, name varchar(30) {c}, "
        "password_hash varchar(255) {c}, email varchar(75) {c}, display_name varchar(191) {c}, "
        "PRIMARY KEY (id)"
    ),
    "mrbs_entry": TABLES["mrbs_entry"].replace("description text", "description mediumtext"),
}
VERSIONS = {
    "1.9.4": (TABLES, "utf8mb4", "utf8mb4_unicode_ci"),
    "1.11": (TABLES, "utf8mb4", "utf8mb4_unicode_ci"),
    "1.12": (TABLES, "utf8mb4", "utf8mb4_unicode_ci"),
    "current": (TABLES, "utf8mb4", "utf8mb4_unicode_ci"),
    "upgraded from 1.4": (UPGRADED, "utf8mb4", "utf8mb4_unicode_ci"),
    "by a host of one's own": (TABLES, "latin1", "latin1_swedish_ci"),
}
NEWEST = "1.12"
DOMAIN = "corp.example"
# area 3 uses periods, area 4 is not mapped, area 5 shows everything as private
SITES = {1: (101, 201), 2: (102, 202)}
PARAMS = {"email_domain": "@" + DOMAIN, "users_internal": 0}
CONFIG = {
    "preset": "mrbs",
    "internal_domains": [DOMAIN],
    "params": PARAMS,
    "sites": {
        str(key): {"location_id": a, "entrance_id": b}
        for key, (a, b) in (SITES | {3: (103, 203), 5: (105, 205)}).items()
    },
}
PRIVATE, AWAITING, TENTATIVE = 1, 2, 4


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
    """Replace all rows; returns what was written. The entries lie from 5 days before `today` to 100
    after.
    """
    tables = generate(seed=seed, today=today, events=events)
    if night == 2:
        change(tables, random.Random(seed + 1))
    insert_rows(engine, tables, charset=charset)
    return tables


def generate(*, seed: int, today: datetime, events: int) -> Tables:
    """Rows of night 1: `events` entries, those at the start each with a trap."""
    rng = random.Random(seed)
    tables: Tables = {name: [] for name in TABLES}
    zones = {1: "Europe/Berlin", 2: None, 3: "Europe/Berlin", 4: "No/Where", 5: "UTC"}
    tables["mrbs_area"] = [
        {
            "id": n, "area_name": f"Gebäude {n}", "timezone": zone,
            "private_override": "private" if n == 5 else "none",
            "enable_periods": 1 if n == 3 else None if n == 2 else 0,
        }
        for n, zone in zones.items()
    ]  # fmt: skip
    tables["mrbs_room"] = [
        {"id": n, "area_id": n // 10, "room_name": f"Raum {n}"}
        for n in (10, 11, 20, 30, 40, 50, 90)
    ]
    for n in range(1, 31):
        staff = n <= 20
        tables["mrbs_users"].append(
            {
                "id": n, "name": f"user{n}",
                "display_name": None if n == 4 else f"Frau Dr. Éva Näme{n}",
                "email": {19: None, 20: "n/a"}.get(
                    n, f"user{n}@{DOMAIN if staff else 'visitor.example'}"
                ),
            }
        )  # fmt: skip
    for n in range(1, events + 1):
        _add_entry(tables, rng, n, today)
    return tables


def _add_entry(tables: Tables, rng: random.Random, n: int, today: datetime) -> None:
    start = int(
        (today + timedelta(days=rng.randint(-5, 100), minutes=15 * rng.randint(24, 72))).timestamp()
    )
    people = [f"user{rng.randint(21, 30)}", f"gast{rng.randint(1, 300)}@visitor.example"][
        : rng.choice((0, 1, 2, 2))
    ]
    names = ("Jour fixe", "", "  ", "Führung Łódź", "=1+1", "Zeile\nzwei", "Tour 🔬", "n" * 80)
    series = n if n % 4 else n - 1
    recurring = n % 4 in (0, 3)
    entry: Row = {
        "id": n, "start_time": start, "end_time": start + 60 * rng.choice((30, 60, 90)),
        "entry_type": 1 if recurring else 0,
        "repeat_id": series if recurring else None, "room_id": rng.choice((10, 11, 20)),
        "timestamp": "2026-01-05 08:00:00",
        "create_by": f"user{rng.randint(1, 18)}", "name": names[n % len(names)],
        "description": "intern", "status": 0,
        "ical_uid": f"MRBS-{series:06x}@rooms.example", "ical_sequence": 0,
        "ical_recur_id": _recur_id(start, n) if recurring else None,
    }  # fmt: skip
    if n in TRAPS:
        changes, guests = TRAPS[n]
        entry |= changes
        people = people if guests is None else guests
    if n == 14:
        entry["end_time"] = entry["start_time"]
    tables["mrbs_entry"].append(entry)
    _register(tables, n, people)


def _recur_id(start: int, n: int) -> str:
    # two occurrences of the generator may fall on one instant, real ones cannot
    return (datetime.fromtimestamp(start, UTC) + timedelta(seconds=n % 60)).strftime(
        "%Y%m%dT%H%M%SZ"
    )


def _register(tables: Tables, entry: int, people: list[str]) -> None:
    tables["mrbs_participants"] += [
        {"id": entry * 10 + k, "entry_id": entry, "username": who, "registered": 1}
        for k, who in enumerate(people)
    ]


G = "gast1@visitor.example"
# entry id → what differs, and the participants (None: as drawn)
TRAPS: dict[int, tuple[Row, list[str] | None]] = {
    1: ({"room_id": 30}, [G]),  # periods
    2: ({"room_id": 40}, [G]),  # area not mapped
    5: ({"room_id": 90}, [G]),  # area is gone
    6: ({"room_id": 99}, [G]),  # room is gone
    9: ({"create_by": "user19"}, [G]),  # account without address: username and domain
    10: ({"create_by": "user20"}, [G]),  # address is n/a
    13: ({"create_by": ""}, [G]),
    14: ({}, [G]),
    17: ({"end_time": 0}, [G]),
    # case and blanks; the host is a participant
    18: ({"create_by": " USER7 "}, ["User21", "user7"]),
    21: ({"create_by": "extern"}, [G]),  # no account: the domain is put behind
    # one person, two ways
    22: ({"create_by": "Extern@Corp.example"}, ["USER22", "user22@visitor.example"]),
    25: ({"status": PRIVATE, "name": "Kündigung"}, [G]),
    26: ({"status": AWAITING}, [G]),
    29: ({"status": TENTATIVE}, [G]),
    30: ({"status": PRIVATE | AWAITING | TENTATIVE}, [G]),
    33: ({"room_id": 50, "name": "Geheim"}, [G]),  # area shows everything as private
    34: ({}, ["user1", "kollege"]),  # colleagues alone
    37: ({"ical_uid": ""}, [G]),  # written by a script
    38: ({"ical_uid": ""}, [G]),
    # an edit that took a second room
    41: ({"ical_uid": "clone@rooms.example", "ical_sequence": 1, "room_id": 10}, [G]),
    42: ({"ical_uid": "clone@rooms.example", "ical_sequence": 0, "room_id": 20}, []),
    45: ({"ical_uid": "clone2@rooms.example", "ical_sequence": 3, "room_id": 10}, []),
    # its guests are on the other
    46: ({"ical_uid": "clone2@rooms.example", "ical_sequence": 1, "room_id": 20}, [G]),
    49: ({"ical_uid": "K:1"}, [G]),
    50: ({"ical_uid": "<uid>"}, [G]),
    53: ({"ical_uid": "k 1-ü"}, [G]),
    54: ({}, [" ", "n/a"]),
    57: ({}, ["Dr. Jane Doe"]),  # registered by a colleague: a name and no account
    58: ({}, [" Łukasz Müller-Lüdenscheidt ", G]),
}


def change(tables: Tables, rng: random.Random) -> None:
    """A day of work as MRBS does it: an edit writes a new row with another id and the same
    ical_uid.
    """
    chosen = rng.sample([row for row in tables["mrbs_entry"] if row["id"] > 60], 50)
    for row in chosen[:30]:
        old, row["id"] = row["id"], row["id"] + 70_000
        row["ical_sequence"] += 1
        for person in tables["mrbs_participants"]:
            if person["entry_id"] == old:
                person["entry_id"] = row["id"]
    for row in chosen[:20]:
        row["start_time"] += 1800
        row["end_time"] += 1800
    for row in chosen[20:25]:
        row["room_id"] = 11 if row["room_id"] == 10 else 10
    for row in chosen[25:30]:
        row["create_by"] = "user18" if row["create_by"] != "user18" else "user17"
    gone = {row["id"] for row in chosen[30:38]}
    tables["mrbs_entry"] = [row for row in tables["mrbs_entry"] if row["id"] not in gone]
    tables["mrbs_participants"] = [
        row for row in tables["mrbs_participants"] if row["entry_id"] not in gone
    ]
    for row in chosen[38:44]:
        tables["mrbs_participants"].append(
            {
                "id": 900_000 + row["id"],
                "entry_id": row["id"],
                "username": f"neu{row['id']}@visitor.example",
                "registered": 1,
            }
        )
    lost = {row["id"] for row in chosen[44:]}
    tables["mrbs_participants"] = [
        row for row in tables["mrbs_participants"] if row["entry_id"] not in lost
    ]
    day = datetime.fromtimestamp(chosen[0]["start_time"], UTC).replace(hour=0, minute=0)
    for n in range(50_001, 50_013):
        _add_entry(tables, rng, n, day)


def keys(tables: Tables) -> dict[int, str]:
    """The key of each entry: uid and occurrence.

    Of entries that share both, the one that somebody registered for first has it, then the lowest
    room; the others carry nobody.
    """
    first: dict[int, int] = {}
    for person in tables["mrbs_participants"]:
        first[person["entry_id"]] = min(
            person["registered"], first.get(person["entry_id"], person["registered"])
        )
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in tables["mrbs_entry"]:
        groups.setdefault((row["ical_uid"], row["ical_recur_id"] or ""), []).append(row)
    result = {}
    for (uid, occurrence), rows in groups.items():
        rows = sorted(
            rows,
            key=lambda row: (
                row["id"] not in first,
                first.get(row["id"], 0),
                row["room_id"],
                row["id"],
            ),
        )
        for n, row in enumerate(rows):
            if not uid:
                result[row["id"]] = f"id/{row['id']}"
            elif n:
                result[row["id"]] = f"{uid}/{occurrence}/room{row['room_id']}"
            else:
                result[row["id"]] = f"{uid}/{occurrence}" if occurrence else uid
    return result


def truth(tables: Tables, *, as_of: datetime) -> Truth:
    """What essentry should hold, by `CONFIG`."""
    key = keys(tables)
    rooms = {row["id"]: row["area_id"] for row in tables["mrbs_room"]}
    areas = {row["id"]: row for row in tables["mrbs_area"]}
    users = {row["name"].strip().lower(): row for row in tables["mrbs_users"]}
    places = SITES | {3: (103, 203), 5: (105, 205)}
    drafts = {}
    for row in tables["mrbs_entry"]:
        area = areas.get(rooms.get(row["room_id"], -1), {})
        site = rooms.get(row["room_id"])
        drafts[row["id"]] = draft = Draft(
            key=key[row["id"]],
            name=row["name"],
            starts_at=datetime.fromtimestamp(row["start_time"], UTC),
            ends_at=datetime.fromtimestamp(row["end_time"], UTC),
            place=places.get(site or -1),
            host=_address(users, row["create_by"]),
            guests=[],
            status="pending" if row["status"] & (AWAITING | TENTATIVE) else "confirmed",
            private=bool(row["status"] & 1) or area.get("private_override") == "private",
        )
        if area.get("enable_periods") == 1:
            draft.problems.add("problem")
    for row in tables["mrbs_participants"]:
        user = users.get(row["username"].strip().lower(), {})
        typed = row["username"].strip() if not user and " " in row["username"].strip() else None
        drafts[row["entry_id"]].guests.append(
            (
                None if typed else _address(users, row["username"]),
                typed or user.get("display_name"),
                False,
            )
        )
    return settle(drafts.values(), as_of=as_of)


def _address(users: dict[str, Row], username: str) -> str | None:
    login = username.strip()
    stored = users.get(login.lower(), {}).get("email")
    return stored or (login if "@" in login or not login else f"{login}@{DOMAIN}")
