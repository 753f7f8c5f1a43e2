"""A small firm for whole nights: one or more SQLite sources, a configuration in memory, and the real sandbox of essentry."""

from __future__ import annotations

import sqlite3
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows.night import steps as nightly
from flows.night.close import finish
from flows.night.session import Result, open_session, open_state
from flows.sandbox.server import SandboxServer
from schemas.config import Config
from schemas.errors import SyncError

NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW + timedelta(days=30)
TABLES = """
CREATE TABLE events (source_event_id TEXT, name TEXT, starts_at TEXT, ends_at TEXT, site_key TEXT, host_email TEXT, status TEXT);
CREATE TABLE guests (source_event_id TEXT, guest_id TEXT, email TEXT, first_name TEXT, last_name TEXT);
"""
EVENTS = "SELECT source_event_id, name, starts_at, ends_at, site_key, host_email, status FROM events"
SITES = {"1": {"location_id": 11}, "2": {"location_id": 12}}


class Firm:
    """`meetings`: source → key → columns and `guests` (key → address, or columns). `sections`: of the configuration, as changed by a test."""

    def __init__(self, folder: Path, sandbox: SandboxServer, **guards: Any) -> None:
        self.folder, self.sandbox = folder, sandbox
        self.meetings: dict[str, dict[str, dict]] = {"rooms": {}}
        self.sections: dict[str, Any] = {"guards": {"approve_first_run": False} | guards}
        self.source_settings: dict[str, dict] = {}
        self.now = NOW
        (folder / "events.sql").write_text(EVENTS)
        (folder / "guests.sql").write_text("SELECT * FROM guests")

    def book(self, key: str, *guests: str, source: str = "rooms", **columns: Any) -> dict:
        """A meeting with guests named by their keys; `g1` is at g1@out.example."""
        plain = {"name": f"Visit {key}", "start": START + timedelta(hours=len(self.meetings[source])), "site": "1", "status": "confirmed"}
        people = {guest: f"{guest}@out.example" for guest in guests or (f"g{key}",)}
        meeting = self.meetings[source][key] = plain | {"host": "host@corp.example", "guests": people} | columns
        return meeting

    def book_many(self, count: int, *, first: int = 0, **columns: Any) -> None:
        """`count` meetings of one guest each."""
        for number in range(first, first + count):
            self.book(f"m{number:03}", **columns)

    def cancel(self, *keys: str, source: str = "rooms") -> None:
        """Take meetings out of the source."""
        for key in keys:
            del self.meetings[source][key]

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        sources = {
            name: {
                "url": f"sqlite:///{name}.sqlite", "events_sql": "events.sql", "guests_sql": "guests.sql", "times": "utc", "sites": SITES,
                **self.source_settings.get(name, {}),
            }
            for name in self.meetings
        }  # fmt: skip
        essentry = {"base_url": self.sandbox.base_url, "timeout_seconds": 5, "retry_budget_seconds": 0.5}
        plain: dict[str, Any] = {"state": {"url": "sqlite:///state.sqlite"}, "report": {"directory": "runs"}}
        sections = plain | self.sections | {"essentry": essentry | self.sections.get("essentry", {})}
        return Config(root=self.folder, sources=sources, **sections)

    def write(self) -> None:
        """The sources as the night finds them."""
        for source, meetings in self.meetings.items():
            path = self.folder / self.source_settings.get(source, {}).get("url", f"sqlite:///{source}.sqlite").removeprefix("sqlite:///")
            path.unlink(missing_ok=True)
            with sqlite3.connect(path) as connection:
                connection.executescript(TABLES)
                for key, meeting in meetings.items():
                    end = meeting["start"] + timedelta(hours=1)
                    row = (key, meeting["name"], meeting["start"].isoformat(), end.isoformat(), meeting["site"], meeting["host"])
                    connection.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?)", (*row, meeting["status"]))
                    for guest, who in meeting["guests"].items():
                        columns = {"email": who} if isinstance(who, str) else who
                        row = (key, guest, columns.get("email"), columns.get("first_name", "F"), columns.get("last_name", guest.upper()))
                        connection.execute("INSERT INTO guests VALUES (?,?,?,?,?)", row)
            connection.close()

    def night(self, *, full: bool = False, kind: str = "sync") -> Result:
        """One night without the engine, an hour of the clock after the last one. Errors that a night reports end in its report."""
        self.write()
        self.now += timedelta(hours=1)
        with open_session(self.config, kind=kind, as_of=self.now) as session:
            try:
                planned = nightly.plan(session, *nightly.extract(session), full=full)
                if kind == "sync":
                    nightly.load(session, planned)
            except SyncError as error:
                return finish(session, error=error)
            return finish(session)

    def approve(self, plan_id: str = "latest", *, by: str = "anna", reason: str = "read") -> bool:
        """The state store's side of `approve`."""
        with open_state(self.config) as state:
            name = state.load_plan(plan_id)[0]["plan_id"]
            return state.approve_plan(name, by=by, reason=reason, now=datetime.now(UTC))

    def apply(self, plan_id: str = "latest") -> Result:
        """`apply PLAN`."""
        return nightly.run_apply(self.config, plan_id, as_of=self.now)

    def plan_of(self, plan_id: str = "latest") -> tuple[dict[str, Any], Any]:
        """A stored plan and its changes."""
        with open_state(self.config) as state:
            return state.load_plan(plan_id)

    def held(self, prefix: str = "") -> dict[str, set[str]]:
        """What the sandbox holds: event → invitation ids."""
        return {key: set(event["guests"]) for key, event in self.sandbox.state()["events"].items() if key.startswith(prefix)}

    def mails(self) -> Counter[str]:
        """Mails so far, by kind."""
        return Counter(mail["kind"] for mail in self.sandbox.mails())

    def puts(self) -> int:
        """Requests so far."""
        return self.sandbox.requests()["puts"]


def guards_of(result: Result) -> set[str]:
    """The guards that tripped in a night."""
    return {finding["guard"] for finding in result.report["guards"]}
