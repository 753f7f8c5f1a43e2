"""LibreBooking's tables, rows with every trap in them, and what essentry should hold. Column types:
create-schema.sql, 2.6-2.9.
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy import Engine

from tests.sources.databases import create_tables, insert_rows
from tests.sources.truth import Draft, Tables, Truth, settle, utc

# utf8 up to 2.8; 2.9 made the texts that people read utf8mb4 and left the others, and the tables of
# 4 are written that way
TABLES = {
    "layouts": (
        "layout_id mediumint unsigned NOT NULL, timezone varchar(50) {c} NOT NULL, "
        "PRIMARY KEY (layout_id)"
    ),
    "schedules": (
        "schedule_id smallint unsigned NOT NULL, name varchar(85) {t} NOT NULL, "
        "layout_id mediumint unsigned NOT NULL, PRIMARY KEY (schedule_id)"
    ),
    "resources": (
        "resource_id smallint unsigned NOT NULL, name varchar(85) {t} NOT NULL, "
        "schedule_id smallint unsigned NOT NULL, PRIMARY KEY (resource_id)"
    ),
    "users": (
        "user_id mediumint unsigned NOT NULL, fname varchar(85) {t}, lname varchar(85) {t}, "
        "email varchar(85) {c} NOT NULL, organization varchar(85) {t}, phone varchar(85) {t}, "
        "timezone varchar(85) {c} NOT NULL, language varchar(10) {c} NOT NULL, "
        "status_id tinyint unsigned NOT NULL, PRIMARY KEY (user_id)"
    ),
    "reservation_series": (
        "series_id int unsigned NOT NULL, date_created datetime NOT NULL, last_modified datetime, "
        "title varchar(300) {t}, description text {t}, type_id tinyint unsigned NOT NULL, "
        "status_id tinyint unsigned NOT NULL, owner_id mediumint unsigned NOT NULL, "
        "PRIMARY KEY (series_id)"
    ),
    "reservation_instances": (
        "reservation_instance_id int unsigned NOT NULL, start_date datetime NOT NULL, "
        "end_date datetime NOT NULL, reference_number varchar(50) {c} NOT NULL, "
        "series_id int unsigned NOT NULL, PRIMARY KEY (reservation_instance_id)"
    ),
    "reservation_resources": (
        "series_id int unsigned NOT NULL, resource_id smallint unsigned NOT NULL, "
        "resource_level_id tinyint unsigned NOT NULL, PRIMARY KEY (series_id, resource_id)"
    ),
    "reservation_users": (
        "reservation_instance_id int unsigned NOT NULL, user_id mediumint unsigned NOT NULL, "
        "reservation_user_level tinyint unsigned NOT NULL, PRIMARY KEY (reservation_instance_id, "
        "user_id)"
    ),
    "reservation_guests": (
        "reservation_instance_id int unsigned NOT NULL, email varchar(255) {c} NOT NULL, "
        "reservation_user_level tinyint unsigned NOT NULL, PRIMARY KEY (reservation_instance_id, "
        "email)"
    ),
    "custom_attribute_values": (
        "custom_attribute_value_id int unsigned NOT NULL, custom_attribute_id mediumint unsigned "
        "NOT NULL, attribute_value text {t} NOT NULL, entity_id mediumint unsigned NOT NULL, "
        "attribute_category tinyint unsigned NOT NULL, PRIMARY KEY (custom_attribute_value_id)"
    ),
}
KEYS = {
    "schedules": (
        "INDEX (layout_id), FOREIGN KEY (layout_id) REFERENCES layouts(layout_id) ON UPDATE "
        "CASCADE ON DELETE CASCADE"
    ),
    "resources": (
        "INDEX (schedule_id), FOREIGN KEY (schedule_id) REFERENCES schedules(schedule_id) ON "
        "UPDATE CASCADE ON DELETE CASCADE"
    ),
    "reservation_series": (
        "KEY status_id (status_id), FOREIGN KEY (owner_id) REFERENCES users(user_id) ON DELETE "
        "CASCADE"
    ),
    "reservation_instances": (
        "KEY start_date (start_date), KEY reference_number (reference_number), "
        "KEY series_id (series_id), FOREIGN KEY (series_id) REFERENCES "
        "reservation_series(series_id) ON DELETE CASCADE"
    ),
    "reservation_resources": (
        "INDEX (resource_id), FOREIGN KEY (resource_id) REFERENCES resources(resource_id) ON "
        "DELETE CASCADE, FOREIGN KEY (series_id) REFERENCES reservation_series(series_id) ON "
        "DELETE CASCADE"
    ),
    "reservation_users": (
        "KEY user_id (user_id), KEY reservation_user_level (reservation_user_level), "
        "FOREIGN KEY (user_id) REFERENCES users(user_id) ON DELETE CASCADE"
    ),
    "reservation_guests": (
        "KEY email (email), FOREIGN KEY (reservation_instance_id) REFERENCES "
        "reservation_instances(reservation_instance_id) ON DELETE CASCADE"
    ),
    "custom_attribute_values": (
        "INDEX (custom_attribute_id), INDEX (entity_id), INDEX (attribute_category)"
    ),
}
UTF8 = "CHARACTER SET utf8 COLLATE utf8_general_ci"


def _with_texts(texts: str, others: str) -> dict[str, str]:
    return {
        name: columns.replace("{t}", texts).replace("{c}", others)
        for name, columns in TABLES.items()
    }


VERSIONS: dict[str, tuple[dict[str, str], str, str | None]] = {
    "2.7": (_with_texts(UTF8, UTF8), "utf8", None),
    "2.9": (_with_texts("CHARACTER SET utf8mb4", UTF8), "utf8mb4", None),
    "4": (_with_texts("CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", UTF8), "utf8mb4", None),
    "by a host of one's own": (_with_texts("", ""), "latin1", None),
}
NEWEST = "4"
SITES = {1: (101, 201), 2: (102, 202), 3: (103, 203)}  # schedule 4 is not mapped
ROOMS = {12: (101, 212)}
PARAMS = {"link_attribute": 7, "link_source": "hr", "users_internal": 0}
CONFIG = {
    "preset": "librebooking",
    "internal_domains": ["corp.example"],
    "params": PARAMS,
    "sites": {str(key): {"location_id": a, "entrance_id": b} for key, (a, b) in SITES.items()},
    "rooms": {str(key): {"location_id": a, "entrance_id": b} for key, (a, b) in ROOMS.items()},
}
TITLES = (
    "Besuch Müller & Söhne", "Quarterly review", None, "   ", "x" * 300, "Zeile 1\nZeile 2",
    "Tour 🔬", "=1+1", "Spotkanie Łódź",
    "Contract talks",
)  # fmt: skip
STRANGE_KEYS = ("K", "K:1", "K:1:2", "K-1", "K 1", "Ümläut/ß", "%41", "k'quote")


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
    """Replace all rows; returns what was written. `today` is midnight UTC; the events lie from 5
    days before it to 100 after.
    """
    tables = generate(seed=seed, today=today, events=events)
    if night == 2:
        change(tables, random.Random(seed + 1))
    insert_rows(engine, tables, charset=charset)
    return tables


def generate(*, seed: int, today: datetime, events: int) -> Tables:
    """Rows of night 1: `events` occurrences, those at the start each with a trap."""
    rng = random.Random(seed)
    tables: Tables = {name: [] for name in TABLES}
    zones = ("Europe/Berlin", "America/New_York", "Mars/Olympus")
    tables["layouts"] = [{"layout_id": n + 5, "timezone": zone} for n, zone in enumerate(zones)]
    tables["schedules"] = [
        {"schedule_id": n, "name": f"Haus {n}", "layout_id": 5 + (n - 1) % 3} for n in (1, 2, 3, 4)
    ]
    tables["resources"] = [
        {"resource_id": n, "name": f"Raum {n}", "schedule_id": n // 10}
        for n in (10, 11, 12, 20, 21, 30, 40)
    ]
    for n in range(1, 61):
        staff = n <= 40
        email = f"Host{n}@corp.example" if staff else f"partner{n}@guest.example"
        tables["users"].append(
            {
                "user_id": n, "fname": None if n == 7 else f"Vörname{n}",
                "lname": None if n == 7 else f"Näme{n}",
                "email": " N/A " if n == 38 else "kein.at.zeichen" if n == 37 else email,
                "organization": None if staff else "Güest AG", "phone": None,
                "timezone": "Asia/Tokyo", "language": "de_de",
                "status_id": 3 if n in (39, 40) else 1,
            }
        )  # fmt: skip
    for n in range(1, events + 1):
        _add_event(tables, rng, n, today)
    return tables


def _add_event(tables: Tables, rng: random.Random, n: int, today: datetime) -> None:
    start = today + timedelta(days=rng.randint(-5, 100), minutes=15 * rng.randint(24, 72))
    end = start + timedelta(minutes=rng.choice((30, 60, 90)))
    series = n if n % 4 else n - 1  # every fourth is another occurrence of the series before
    owner, room, status, guests, accounts = (
        rng.randint(1, 36),
        rng.choice((10, 11, 12, 20, 21, 30)),
        1,
        [],
        [],
    )
    if rng.random() < 0.75:
        guests = [
            f"guest{rng.randint(1, 400)}@visitor{rng.randint(1, 5)}.example"
            for _ in range(rng.randint(1, 3))
        ]
    if rng.random() < 0.3:
        accounts = rng.sample(range(1, 61), 2)
    instance = {
        "reservation_instance_id": n, "start_date": _sql(start), "end_date": _sql(end),
        "reference_number": STRANGE_KEYS[n - 101]
        if 100 < n <= 100 + len(STRANGE_KEYS)
        else f"{n * 7919:x}{n:05d}",
        "series_id": series,
    }  # fmt: skip
    match n:
        case 1:
            owner = 39  # left the company
        case 2:
            owner = 999  # no such user
        case 5:
            owner = 38  # address is n/a
        case 6:
            owner = 37  # address is none
        case 9:
            room = 40  # schedule not mapped
        case 10:
            room = 99  # room deleted, its row in reservation_resources left over
        case 13:
            room = 0  # no room at all
        case 14:
            instance["start_date"], instance["end_date"] = (
                instance["end_date"],
                instance["start_date"],
            )
        case 17:
            instance["end_date"] = instance["start_date"]
        case 18:
            instance["start_date"] = "0000-00-00 00:00:00"
        case 21:
            guests = ["n/a"]
        case 22:
            guests = ["n/a", " Guest1@VISITOR1.example", "GUEST2@visitor1.example"]
        case 25:
            # the host is a guest
            owner, guests, accounts = 3, ["host3@corp.example", "guest9@visitor1.example"], [3]
        case 26:
            guests, accounts = ["PARTNER50@guest.example"], [50]  # one person as user and as guest
        case 29:
            # an outsider is host
            owner, guests, accounts = 41, ["guest3@visitor1.example", "partner41@guest.example"], []
        case 30:
            guests, accounts = [], [5, 6]  # colleagues alone
        case 33 | 34 | 37 | 38:
            status = 2
        case 41 | 42 | 45:
            status = 3
        case 46:
            status, owner, room = 2, 999, 0  # cancelled outranks what else is wrong
        case 49:
            guests = ["not an address@@x"]
    tables["reservation_instances"].append(instance)
    if series == n:
        modified = None if n % 3 else _sql(today - timedelta(days=2))
        tables["reservation_series"].append(
            {
                "series_id": series, "date_created": _sql(today - timedelta(days=30)),
                "last_modified": modified,
                "title": TITLES[n % len(TITLES)], "description": "intern: nicht an Gäste",
                "type_id": 1, "status_id": status,
                "owner_id": owner,
            }
        )  # fmt: skip
        if room:
            tables["reservation_resources"].append(
                {"series_id": series, "resource_id": room, "resource_level_id": 1}
            )
        if n % 5 == 0 or n == 13:  # further rooms, lower and higher than the main one
            tables["reservation_resources"] += [
                {"series_id": series, "resource_id": extra, "resource_level_id": 2}
                for extra in (11, 30)
                if extra != room
            ]
    add_guests(tables, n, owner, guests, accounts)
    if n % 50 == 1:
        tables["custom_attribute_values"] += [
            {
                "custom_attribute_value_id": n + k, "custom_attribute_id": attribute,
                "attribute_value": value,
                "entity_id": series, "attribute_category": category,
            }
            for k, (attribute, value,
                category) in enumerate(((7, f" {n} ", 1), (8, "vegan", 1), (7, "9999", 4)))
        ]  # fmt: skip


def add_guests(
    tables: Tables, instance: int, owner: int, guests: list[str], accounts: list[int]
) -> None:
    """Rows of one occurrence's people; level 1 is the owner."""
    tables["reservation_users"] += [
        {
            "reservation_instance_id": instance,
            "user_id": user,
            "reservation_user_level": 1 if user == owner else 2 + user % 2,
        }
        for user in dict.fromkeys([owner, *accounts])
    ]
    # the real key compares without case
    distinct = {guest.strip().lower(): guest for guest in guests}
    tables["reservation_guests"] += [
        {"reservation_instance_id": instance, "email": guest, "reservation_user_level": 3}
        for guest in distinct.values()
    ]


def change(tables: Tables, rng: random.Random) -> None:
    """A day of work: moves, other hosts, guests, cancelled series, deleted and new occurrences."""
    instances = tables["reservation_instances"]
    series = {row["series_id"]: row for row in tables["reservation_series"]}
    plain = [
        row
        for row in instances
        if row["reservation_instance_id"] > 120 and series[row["series_id"]]["status_id"] == 1
    ]
    chosen = rng.sample(plain, 60)
    for row in chosen[:20]:
        for column in ("start_date", "end_date"):
            row[column] = _sql(datetime.fromisoformat(row[column]) + timedelta(minutes=45))
    for row in chosen[20:30]:
        series[row["series_id"]]["owner_id"] = 1 + series[row["series_id"]]["owner_id"] % 36
    for row in chosen[30:36]:
        series[row["series_id"]]["status_id"] = 2
    gone = {row["reservation_instance_id"] for row in chosen[36:42]}
    for table in ("reservation_instances", "reservation_users", "reservation_guests"):
        tables[table] = [row for row in tables[table] if row["reservation_instance_id"] not in gone]
    lost = {row["reservation_instance_id"] for row in chosen[42:48]}
    tables["reservation_guests"] = [
        row for row in tables["reservation_guests"] if row["reservation_instance_id"] not in lost
    ]
    for row in chosen[48:]:
        email = f"new{row['reservation_instance_id']}@visitor9.example"
        tables["reservation_guests"].append(
            {
                "reservation_instance_id": row["reservation_instance_id"],
                "email": email,
                "reservation_user_level": 3,
            }
        )
    start = datetime.fromisoformat(chosen[0]["start_date"]) + timedelta(days=1)
    for n in range(50_001, 50_013):
        _add_event(tables, rng, n, start.replace(hour=0, minute=0))


def truth(tables: Tables, *, as_of: datetime) -> Truth:
    """What essentry should hold, by `CONFIG`, links aside (they need the other source)."""
    series = {row["series_id"]: row for row in tables["reservation_series"]}
    users = {row["user_id"]: row for row in tables["users"]}
    rooms = {row["resource_id"]: row for row in tables["resources"]}
    main = {
        row["series_id"]: row["resource_id"]
        for row in tables["reservation_resources"]
        if row["resource_level_id"] == 1
    }
    drafts = []
    for row in tables["reservation_instances"]:
        booking = series[row["series_id"]]
        host = users.get(booking["owner_id"], {})
        room = rooms.get(main.get(row["series_id"], -1))
        draft = Draft(
            key=row["reference_number"],
            name=booking["title"],
            starts_at=utc(row["start_date"]),
            ends_at=utc(row["end_date"]),
            place=None
            if room is None
            else ROOMS.get(room["resource_id"]) or SITES.get(room["schedule_id"]),
            host=host.get("email"),
            guests=[],
            status={1: "confirmed", 2: "cancelled", 3: "pending"}[booking["status_id"]],
        )
        if host.get("status_id") == 3:
            draft.problems.add("host_active")
        drafts.append(draft)
    by_instance = {
        row["reservation_instance_id"]: draft
        for row, draft in zip(tables["reservation_instances"], drafts, strict=True)
    }
    for row in tables["reservation_guests"]:
        by_instance[row["reservation_instance_id"]].guests.append((row["email"], None, False))
    for row in tables["reservation_users"]:
        if row["reservation_user_level"] != 1:
            user = users[row["user_id"]]
            name = f"{user['fname'] or ''} {user['lname'] or ''}".strip()
            by_instance[row["reservation_instance_id"]].guests.append((user["email"], name, False))
    return settle(drafts, as_of=as_of)


def links(tables: Tables) -> dict[str, str]:
    """Key of each booking that names an interview → the interview; bookings of several occurrences
    name none.
    """
    size = Counter(row["series_id"] for row in tables["reservation_instances"])
    value = {
        row["entity_id"]: row["attribute_value"].strip()
        for row in tables["custom_attribute_values"]
        if row["custom_attribute_id"] == 7 and row["attribute_category"] == 1
    }
    return {
        row["reference_number"]: value[row["series_id"]]
        for row in tables["reservation_instances"]
        if row["series_id"] in value and size[row["series_id"]] == 1
    }


def _sql(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")
