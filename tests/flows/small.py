"""A company of a few meetings in one SQLite file, for tests whose subject is not the size of a
night.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.night import steps as nightly
from flows.night.close import finish
from flows.night.session import Result, open_session
from flows.sandbox.server import SandboxServer
from schemas.config import Config
from schemas.errors import SyncError
from schemas.load_config import load_config

CONFIG = """
[essentry]
base_url = "{url}"
batch_events = 4
timeout_seconds = {timeout}
retry_budget_seconds = {budget}
[state]
url = "sqlite:///state.sqlite"
lease_seconds = 5
[sources.rooms]
url = "sqlite:///source.sqlite"
events_sql = "events.sql"
guests_sql = "guests.sql"
times = "utc"
[sources.rooms.sites]
"1" = {{ location_id = 11 }}
"2" = {{ location_id = 12 }}
[guards]
approve_first_run = false
"""


class Company:
    """Meetings by their key, each with the addresses of its guests: `{"1": ["ada@out.example"]}`.

    Guests have no key of their own in this source, so their ids are numbers of the state store.
    """

    def __init__(
        self,
        folder: Path,
        sandbox: SandboxServer,
        *,
        extra: str = "",
        timeout: float = 5,
        budget: float = 5,
    ) -> None:
        self.folder, self.sandbox = folder, sandbox
        self.now = datetime.now(UTC).replace(microsecond=0)  # the clock of its nights
        self.path = folder / "essentry-sync.toml"
        self.path.write_text(
            CONFIG.format(url=sandbox.base_url, timeout=timeout, budget=budget) + extra
        )
        (folder / "events.sql").write_text("SELECT * FROM events")
        (folder / "guests.sql").write_text("SELECT * FROM guests")

    def write(
        self, meetings: dict[str, list[str]], *, name: str = "Meeting", days: int = 60
    ) -> None:
        """The source as the next night finds it."""
        path = self.folder / "source.sqlite"
        path.unlink(missing_ok=True)
        start = self.now + timedelta(days=days)
        with sqlite3.connect(path) as connection:
            connection.execute(
                "CREATE TABLE events (source_event_id, name, starts_at, ends_at, site_key, "
                "host_email)"
            )
            connection.execute("CREATE TABLE guests (source_event_id, email, last_name)")
            for key, guests in meetings.items():
                row = (
                    key,
                    f"{name} {key}",
                    start.isoformat(),
                    (start + timedelta(hours=1)).isoformat(),
                    "1",
                    "host@corp.example",
                )
                connection.execute("INSERT INTO events VALUES (?,?,?,?,?,?)", row)
                connection.executemany(
                    "INSERT INTO guests VALUES (?,?,?)",
                    [(key, guest, guest[:1].upper()) for guest in guests],
                )
        connection.close()

    def config(self) -> Config:
        """The configuration, read again."""
        return load_config(self.path)

    def night(self, *, full: bool = False) -> Result:
        """One night without the engine."""
        with open_session(self.config(), kind="sync", as_of=self.now) as session:
            try:
                nightly.load(session, nightly.plan(session, *nightly.extract(session), full=full))
            except SyncError as error:
                finish(session, error=error)
                raise
            return finish(session)

    def held(self) -> dict[str, list[str]]:
        """What the sandbox holds now, in the form of `write`."""
        events = self.sandbox.state()["events"]
        return {
            key.removeprefix("rooms-"): sorted(g["email"] for g in e["guests"].values())
            for key, e in events.items()
        }
