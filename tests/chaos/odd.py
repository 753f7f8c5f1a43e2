"""A night over odd values: any engine of the source, any type of its columns, either state store,
by `sync` or by `plan` and `apply`.

What must hold: no exit 1, no request that essentry refuses, every good row sent, every odd row
sent, quarantined with a reason or counted by name, a second night that sends nothing, and `doctor`,
`quarantine` and `report` that work.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flows.night.session import open_state
from flows.sandbox.server import SandboxServer
from schemas.load_config import load_config
from tests.chaos.history import expect
from tests.chaos.night import run_night
from tests.chaos.process import run_command
from tests.chaos.values import ODD, Raw, column_types
from tests.firm import EVENT_COLUMNS, GUEST_COLUMNS
from tests.sources.databases import database

CONFIG = """
[essentry]
base_url = "{base_url}"
timeout_seconds = 10
payload = "{payload}"
invitation_ids = "{invitation_ids}"
guest_list = "{guest_list}"
[state]
url = "{state}"
[sources.rooms]
url = "{url}"
events_sql = "events.sql"
guests_sql = "guests.sql"
times = "{times}"
timezone = "Europe/Berlin"
custom_fields = {{ badge = 801, car = 802 }}
[sources.rooms.sites]
"1" = {{ location_id = 11 }}
[guards]
approve_first_run = false
max_people_mailed = 100000
max_new_invitations = 100000
max_mails_per_guest = 100000
max_deletes = 0
max_guest_removals = 0
max_quarantine_share = 1.0
max_host_domain_guests = 100000  # an odd host may be of the guests' domain
[report]
directory = "runs"
"""
ENGINES = ("sqlite", "mariadb", "postgresql")
GOOD = 10
CELLS = 60
NOT_SENT = {
    "past", "pending", "cancelled", "guestless", "beyond", "dormant", "left_out", "merged", "held",
    "no_visit",
}  # fmt: skip
"""Fates that a report counts of rows that are neither sent nor quarantined."""
HOST = "host@corp.example"


class OddNight:
    """One source of good and odd meetings, and what became of them."""

    def __init__(
        self, seed: int, folder: Path, sandbox: SandboxServer, engine: sa.Engine, state: str
    ) -> None:
        self.rng = random.Random(f"odd {seed}")
        self.folder, self.sandbox, self.engine = folder, sandbox, engine
        self.kind = {"mysql": "mariadb"}.get(engine.dialect.name, engine.dialect.name)
        self.now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        self.times = self.rng.choice(["utc", "local", "epoch"])
        self.seen: Counter[str] = Counter({f"odd: source on {self.kind}": 1})
        self.odd: set[str] = set()
        """Ids of meetings with an odd value; those whose key itself is odd are counted alone."""
        self.config = folder / "essentry-sync.toml"
        settings = {
            "base_url": sandbox.base_url,
            "state": state,
            "url": engine.url.render_as_string(hide_password=False),
            "times": self.times,
            "payload": self.rng.choice(["full", "partial"]),
            "invitation_ids": self.rng.choice(["per-event", "per-event", "shared"]),
            "guest_list": self.rng.choice(["additive", "authoritative"]),
        }
        self.config.write_text(CONFIG.format(**settings), encoding="utf-8")
        (folder / "events.sql").write_text(
            f"SELECT {', '.join(EVENT_COLUMNS)} FROM events", encoding="utf-8"
        )
        (folder / "guests.sql").write_text(
            f"SELECT {', '.join(GUEST_COLUMNS)} FROM guests", encoding="utf-8"
        )

    # -- the source --------------------------------------------------------------------------------

    def fill(self) -> None:
        """Tables of drawn types, good meetings, and odd ones."""
        with self.engine.connect() as connection:
            # as old installations have it: what does not fit is made fit, zero dates stay
            if self.kind == "mariadb":
                connection.exec_driver_sql("SET SESSION sql_mode = ''")
            for table, columns in (("events", EVENT_COLUMNS), ("guests", GUEST_COLUMNS)):
                types = {name: self._type(name) for name in columns}
                if table == "events":  # a zone on one side alone would be another time
                    types["ends_at"] = types["starts_at"]
                typed = [f"{name} {type_}" for name, type_ in types.items()]
                connection.exec_driver_sql(f"CREATE TABLE {table} ({', '.join(typed)})")
            connection.commit()
            for number in range(GOOD):
                self._book(connection, 1000 + number)
            for number in range(CELLS):
                self._book_odd(connection, 2000 + number)
            connection.commit()

    def _type(self, column: str) -> str:
        return self.rng.choice(column_types(column, self.kind, times=self.times))

    def _event(self, key: int) -> dict[str, Any]:
        start = self.now + timedelta(days=30, hours=key % 500)
        plain: dict[str, Any] = dict.fromkeys(EVENT_COLUMNS)
        plain |= {
            "source_event_id": str(key),
            "name": f"Visit {key}",
            "site_key": "1",
            "host_email": HOST,
            "status": "confirmed",
        }
        if self.times == "epoch":
            seconds = int(start.timestamp())
            return plain | {"starts_at": str(seconds), "ends_at": str(seconds + 3600)}
        return plain | {
            "starts_at": f"{start:%Y-%m-%d %H:%M:%S}",
            "ends_at": f"{start + timedelta(hours=1):%Y-%m-%d %H:%M:%S}",
        }

    @staticmethod
    def _guest(event: int, number: int) -> dict[str, Any]:
        plain: dict[str, Any] = dict.fromkeys(GUEST_COLUMNS)
        email = f"g{event}x{number}@out.example"
        guest = {
            "guest_id": str(event * 10 + number),
            "email": email,
            "first_name": "F",
            "last_name": "L",
        }
        return plain | {"source_event_id": str(event)} | guest

    def _book(self, connection: sa.Connection, key: int) -> None:
        expect(
            self._insert(connection, "events", self._event(key)),
            "a good row was refused by the database",
        )
        expect(
            self._insert(connection, "guests", self._guest(key, 1)),
            "a good row was refused by the database",
        )

    def _book_odd(self, connection: sa.Connection, key: int) -> None:
        """A meeting with a good guest and one or two odd values, in its own row or in a second
        guest's.
        """
        family = self.rng.choice(sorted(ODD))
        values = [self._value(family) for _ in range(self.rng.choice([1, 1, 2]))]
        table = self.rng.choice(["events", "guests"])
        columns = self.rng.sample(
            EVENT_COLUMNS if table == "events" else GUEST_COLUMNS, len(values)
        )
        cells = dict(zip(columns, values, strict=True))
        meeting, guest = self._event(key), self._guest(key, 2)
        odd = meeting if table == "events" else guest
        written = self._insert(connection, table, odd | cells)
        self.seen[
            "odd: values that the database itself refuses" if not written else f"odd: {family}"
        ] += len(cells)
        if not written and table == "events":
            return
        if table == "guests":
            self._insert(connection, "events", meeting)
        self._insert(connection, "guests", self._guest(key, 1))
        if table == "guests" or "source_event_id" not in cells:
            self.odd.add(f"rooms-{key}")

    def _value(self, family: str) -> Any:
        value = self.rng.choice(ODD[family])
        day = f"{self.now + timedelta(days=30):%Y-%m-%d}"
        return value.replace("{day}", day) if isinstance(value, str) else value

    def _insert(self, connection: sa.Connection, table: str, row: dict[str, Any]) -> bool:
        """Whether the database takes the row."""
        values = {name: self._fit(value) for name, value in row.items()}
        texts = {
            name: f"CAST(:{name} AS TEXT)" if isinstance(row[name], Raw) else f":{name}"
            for name in row
        }
        if self.kind != "sqlite":
            texts = {name: f":{name}" for name in row}
        insert = sa.text(
            f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(texts.values())})"
        )
        try:
            with connection.begin_nested() if connection.in_transaction() else connection.begin():
                connection.execute(insert, values)
        except (SQLAlchemyError, OverflowError, UnicodeError, sqlite3.Error):
            return False
        return True

    def _fit(self, value: Any) -> Any:
        """The value as a driver takes it; SQLite's takes numbers as they are, PostgreSQL's reads
        texts for any type.
        """
        if isinstance(value, Raw):
            return value.value
        if self.kind == "postgresql" and isinstance(value, (int, float)):
            return str(value)
        return value

    # -- what must hold ----------------------------------------------------------------------------

    def live(self) -> None:
        """Two nights and a look at everything."""
        self.fill()
        for number, way in enumerate(
            (self.rng.choice(["sync", "apply"]), self.rng.choice(["sync", "apply"]))
        ):
            mails, puts = len(self.sandbox.mails()), self.sandbox.requests()["puts"]
            code = run_night(
                self.config, self.now + timedelta(minutes=number), seed=str(number), way=way
            )
            expect(code in (0, 3), f"night {number} by {way} ended with {code}")
            self.seen["odd: nights"] += 1
            self._judge(first=not number)
            if number:
                more = (len(self.sandbox.mails()) - mails, self.sandbox.requests()["puts"] - puts)
                expect(
                    more == (0, 0),
                    f"nothing changed, and the second night sent {more} mails and requests",
                )
        self._look_back()

    def _judge(self, *, first: bool) -> None:
        requests = self.sandbox.requests()
        refused = [entry for entry in requests["log"] if entry["status"] != 200]
        expect(
            not refused and not requests["rejected"],
            f"essentry refused {requests['rejected']} events, {refused[:3]}",
        )
        report = self._report()
        balance = report["balance"]
        expect(
            balance["rows_balanced"] and balance["snapshot_balanced"],
            f"rows are not accounted for: {balance}",
        )
        expect(set(report["outcomes"]) <= {"confirmed"}, f"outcomes {report['outcomes']}")
        held = self.sandbox.state()["events"]
        for key in range(1000, 1000 + GOOD):
            expect(
                len(held.get(f"rooms-{key}", {"guests": ()})["guests"]) == 1,
                f"the good meeting {key} is not in essentry as it should be",
            )
        with open_state(load_config(self.config)) as state:
            rejects = state.quarantine(report["run"]["run_id"])
        told = set(rejects["source_id"].dropna())
        expect(rejects["remedy"].astype(bool).all(), "a quarantined row has no reason")
        silent = self.odd - set(held) - told
        fates = {fate: rows for fate, rows in balance["rows"].items() if fate in NOT_SENT}
        expect(
            len(silent) <= sum(fates.values()),
            f"{sorted(silent)} are neither sent nor told of; fates {balance['rows']}",
        )
        if first:
            self.seen["odd: meetings sent"] += len(self.odd & set(held))
            rows = rejects[["part", "source_event_id", "guest_id"]].drop_duplicates()
            self.seen["odd: meetings or guests quarantined"] += len(rows)

    def _look_back(self) -> None:
        """The commands over it, as processes."""
        for command, codes in (
            (("doctor",), (0, 2)),
            (("quarantine", "--json"), (0,)),
            (("report", "--json"), (0,)),
        ):
            done = run_command(*command, "--config", str(self.config))
            expect(done.code in codes, f"{command[0]} ended with {done.code}: {done.err[-500:]}")
            if "--json" in command:
                json.loads(done.out)

    def _report(self) -> dict[str, Any]:
        folders = sorted(
            (self.folder / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime_ns
        )
        for name in ("report.html", "report.md"):
            (folders[-1] / name).read_text(encoding="utf-8")
        report: dict[str, Any] = json.loads(
            (folders[-1] / "report.json").read_text(encoding="utf-8")
        )
        return report


def run_odd(seed: int, sandbox: SandboxServer) -> Counter[str]:
    """Live one; every engine and state store comes in six seeds in a row. What was seen."""
    sandbox.reset()
    os.environ["ESSENTRY_TOKEN"], os.environ["ESSENTRY_AGENT_TOKEN"] = (
        sandbox.token,
        sandbox.agent_token,
    )
    engine, postgres = ENGINES[seed % 3], seed // 3 % 2 == 1
    with (
        tempfile.TemporaryDirectory() as name,
        database(engine, Path(name)) as source,
        _state(postgres, Path(name)) as url,
    ):
        night = OddNight(seed, Path(name), sandbox, source, url)
        night.live()
        night.seen[f"odd: state on {'PostgreSQL' if postgres else 'SQLite'}"] += 1
        return night.seen


@contextlib.contextmanager
def _state(postgres: bool, folder: Path) -> Iterator[str]:
    if not postgres:
        yield "sqlite:///state.sqlite"
        return
    with database("postgresql", folder) as engine:
        yield engine.url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
