"""A small firm for whole nights: one or more SQLite sources, a configuration in memory, and the
real sandbox of essentry.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson

from flows.night import steps as nightly
from flows.night.apply import CHANGED_SINCE
from flows.night.close import finish
from flows.night.session import Result, Session, open_session, open_state
from flows.sandbox.server import SandboxServer
from schemas.config import Config
from schemas.errors import ConfigurationError, GuardTripped, SyncError

NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW + timedelta(days=30)
EVENT_COLUMNS = [
    "source_event_id", "name", "description", "starts_at", "ends_at", "site_key", "room_key",
    "host_email", "status", "private",
    "linked_source", "linked_event_id", "creator_email", "updated_at", "custom_badge",
]  # fmt: skip
GUEST_COLUMNS = [
    "source_event_id", "guest_id", "email", "first_name", "last_name", "company_name", "language",
    "access_profiles", "internal", "custom_car",
]  # fmt: skip
TABLES = (
    f"CREATE TABLE events ({', '.join(EVENT_COLUMNS)}); CREATE TABLE guests "
    f"({', '.join(GUEST_COLUMNS)});"
)
EVENTS = f"SELECT {', '.join(EVENT_COLUMNS)} FROM events"
SITES = {"1": {"location_id": 11}, "2": {"location_id": 12}}


class Firm:
    """`meetings`: source → key → columns and `guests` (key → address, or columns); what a test adds
    of EVENT_COLUMNS or GUEST_COLUMNS wins.

    `sections`: of the configuration, as changed by a test. `broken`: sources whose database cannot
    be read.
    """

    way = "sync"
    """How a night sends: by `sync`, by `plan` and `apply`, or by a deployment. Whole modules of
    tests are run both of the first ways.
    """

    def __init__(
        self,
        folder: Path,
        sandbox: SandboxServer,
        *,
        sources: Sequence[str] = ("rooms",),
        **guards: Any,
    ) -> None:
        self.folder, self.sandbox = folder, sandbox
        self.meetings: dict[str, dict[str, dict]] = {source: {} for source in sources}
        self.broken: set[str] = set()
        self.sections: dict[str, Any] = {"guards": {"approve_first_run": False} | guards}
        self.source_settings: dict[str, dict] = {}
        self.now = NOW
        self._mails_seen = 0
        (folder / "events.sql").write_text(EVENTS)
        (folder / "guests.sql").write_text("SELECT * FROM guests")

    def book(self, key: str, *guests: str, source: str = "rooms", **columns: Any) -> dict:
        """A meeting with guests named by their keys; `g1` is at g1@out.example."""
        plain = {
            "name": f"Visit {key}",
            "start": START + timedelta(hours=len(self.meetings[source])),
            "site": "1",
            "status": "confirmed",
        }
        people = {guest: f"{guest}@out.example" for guest in guests or (f"g{key}",)}
        meeting = self.meetings[source][key] = (
            plain | {"host": "host@corp.example", "guests": people} | columns
        )
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
                "url": f"sqlite:///{name}.sqlite", "events_sql": "events.sql",
                "guests_sql": "guests.sql", "times": "utc", "sites": SITES,
                **self.source_settings.get(name, {}),
            }
            for name in self.meetings
        }  # fmt: skip
        essentry = {
            "base_url": self.sandbox.base_url,
            "timeout_seconds": 5,
            "retry_budget_seconds": 0.5,
        }
        plain: dict[str, Any] = {
            "state": {"url": "sqlite:///state.sqlite"},
            "report": {"directory": "runs"},
        }
        sections = (
            plain | self.sections | {"essentry": essentry | self.sections.get("essentry", {})}
        )
        return Config(root=self.folder, sources=sources, **sections)

    def write(self) -> None:
        """The sources as the night finds them."""
        for source, meetings in self.meetings.items():
            url = self.source_settings.get(source, {}).get("url", f"sqlite:///{source}.sqlite")
            if url is None:
                continue  # a database that is not the firm's
            path = self.folder / url.removeprefix("sqlite:///")
            path.unlink(missing_ok=True)
            if source in self.broken:
                path.write_text("this is no database " * 100)
                continue
            with sqlite3.connect(path) as connection:
                connection.executescript(TABLES)
                for key, meeting in meetings.items():
                    self._insert(connection, key, meeting)
            connection.close()

    @staticmethod
    def _insert(connection: sqlite3.Connection, key: str, meeting: dict[str, Any]) -> None:
        start = meeting["start"]
        end = meeting.get("end") or start + timedelta(hours=1)
        row = {
            "source_event_id": key,
            "name": meeting["name"],
            "starts_at": _text(start),
            "ends_at": _text(end),
        }
        row |= {
            "site_key": meeting["site"],
            "host_email": meeting["host"],
            "status": meeting["status"],
        }
        row |= {name: value for name, value in meeting.items() if name in EVENT_COLUMNS}
        insert = f"INSERT INTO events VALUES ({', '.join('?' * len(EVENT_COLUMNS))})"
        connection.execute(insert, [row.get(name) for name in EVENT_COLUMNS])
        insert = f"INSERT INTO guests VALUES ({', '.join('?' * len(GUEST_COLUMNS))})"
        for guest, who in meeting["guests"].items():
            plain = {
                "source_event_id": row["source_event_id"],
                "guest_id": guest,
                "first_name": "F",
                "last_name": str(guest).upper(),
            }
            columns = plain | ({"email": who} if isinstance(who, str) else who)
            connection.execute(insert, [columns.get(name) for name in GUEST_COLUMNS])

    def night(
        self, *, full: bool = False, kind: str = "sync", between: Callable[[], object] | None = None
    ) -> Result:
        """One night without the engine, an hour of the clock after the last one. Errors that a
        night reports end in its report.

        between: what happens to the sources after the night has read and before it sends, which is
        then a `sync`.
        """
        self.write()
        self.now += timedelta(hours=1)
        if kind == "sync" and self.way == "apply" and between is None:
            return self._plan_and_apply(full=full)
        if self.way == "deployment" and between is None:
            return self._deploy("full" if full else kind)
        with open_session(self.config, kind=kind, as_of=self.now) as session:
            try:
                planned = nightly.plan(session, *nightly.extract(session), full=full)
                if between is not None:
                    between()
                if kind == "sync":
                    nightly.load(session, planned)
            except SyncError as error:
                return finish(session, error=error)
            return finish(session)

    def _plan_and_apply(self, *, full: bool) -> Result:
        """A night as two commands; a plan that waits for its approval ends as a night that does."""
        try:
            planned = nightly.run_plan(self.config, as_of=self.now, full=full)
            try:
                applied = self.apply(planned.report["plan"]["plan_id"])
                codes = {problem["code"] for problem in applied.report["problems"]}
                assert CHANGED_SINCE not in codes, "nothing has changed since"
                return applied
            except GuardTripped as error:
                verdict = {"verdict": f"stopped: {error}; nothing was sent"}
                return replace(planned, exit_code=error.exit_code, report=planned.report | verdict)
        except ConfigurationError:
            raise
        except SyncError as error:
            with open_state(self.config) as state:
                folder = Path(state.runs().iloc[-1]["report_dir"])
            return Result(
                orjson.loads((folder / "report.json").read_bytes()), folder, error.exit_code
            )

    def _deploy(self, what: str) -> Result:
        """A night as the flow that a deployment starts, on the server that is configured."""
        import flows.sync

        refused: list[SyncError] = []

        @contextmanager
        def opened(config: Config, *, kind: str) -> Iterator[Session]:
            try:
                with open_session(config, kind=kind, as_of=self.now) as session:
                    yield session
            except SyncError as error:
                refused.append(error)
                raise

        with open_state(self.config) as state:
            before = set(state.runs()["run_id"])
        with patch.multiple(flows.sync, load_config=lambda path: self.config, open_session=opened):
            flows.sync.sync("firm.toml", what, return_state=True)
        if refused:
            raise refused[0]
        with open_state(self.config) as state:
            (last,) = (
                row
                for row in state.runs().to_dict("records")
                if row["run_id"] not in before and row["kind"] != "lost"
            )
        folder = Path(last["report_dir"])
        return Result(
            orjson.loads((folder / "report.json").read_bytes()), folder, int(last["exit_code"])
        )

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
        return {
            key: set(event["guests"])
            for key, event in self.sandbox.state()["events"].items()
            if key.startswith(prefix)
        }

    def mails(self) -> Counter[str]:
        """Mails so far, by kind."""
        return Counter(mail["kind"] for mail in self.sandbox.mails())

    def new_mails(self) -> list[tuple[str, str, str, str]]:
        """Mails since the last call: kind, event, invitation, address."""
        mails = self.sandbox.mails()
        new, self._mails_seen = mails[self._mails_seen :], len(mails)
        return [(mail["kind"], mail["event"], mail["invitation"], mail["email"]) for mail in new]

    def puts(self) -> int:
        """Requests so far."""
        return self.sandbox.requests()["puts"]


def _text(instant: Any) -> Any:
    return instant.isoformat() if isinstance(instant, datetime) else instant


def ended_well(result: Result) -> bool:
    """Whether a night sent everything, and asks for somebody about the source's own rows alone:
    unreadable ones, and holds (S19).
    """
    asked = {problem["state"] for problem in result.report["problems"]}
    return result.exit_code == (3 if asked else 0) and asked <= {"quarantined", "held"}


def guards_of(result: Result) -> set[str]:
    """The guards that tripped in a night."""
    return {finding["guard"] for finding in result.report["guards"]}
