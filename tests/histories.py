"""Random histories of a company and its essentry: nights of changes, with faults in between, checked against the plain truth.

`uv run python -m tests.histories 500` runs many and prints a table; the test suite runs a seeded share.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows import nightly
from flows.sandbox import SandboxServer, SandboxSettings
from schemas.config import load_config
from schemas.errors import SyncError

CONFIG = """
[essentry]
base_url = "{url}"
batch_events = 4
timeout_seconds = 0.25
retry_budget_seconds = 0.3
concurrency = 2
max_rejected_batches = 50
on_reappear = "send"
[state]
url = "sqlite:///state.sqlite"
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
max_deletes = 1000
max_delete_share = 1.0
max_guest_removals = 1000
max_new_invitations = 1000
max_people_mailed = 1000
max_mails_per_guest = 1000
max_quarantine_share = 1.0
max_shrink_share = 0.99
max_churn = 1000
"""
TABLES = """
CREATE TABLE events (source_event_id TEXT, name TEXT, starts_at TEXT, ends_at TEXT, site_key TEXT, host_email TEXT, status TEXT);
CREATE TABLE guests (source_event_id TEXT, guest_id TEXT, email TEXT, first_name TEXT, last_name TEXT);
"""
FAULTS = (
    "429",
    "429 after",
    "500",
    "drop_before",
    "drop_after",
    "hang_after",
    "partial_statuses",
    "shuffle",
    "reject_event",
    "reject_request",
    "garbage",
)


class History:
    """One company over some nights. `truth` is what essentry should hold: event → (name, start, location, {guest: last name})."""

    def __init__(self, seed: int, folder: Path, sandbox: SandboxServer) -> None:
        self.rng, self.folder, self.sandbox = random.Random(seed), folder, sandbox
        self.now = datetime.now(UTC).replace(microsecond=0)
        start = self.now + timedelta(days=60)
        # one meeting that always is: a source that becomes empty for good is rightly stopped by a guard
        self.events: dict[str, dict] = {
            "0": {"key": "0", "name": "N", "start": start, "site": "1", "status": "confirmed", "bad": False, "guests": {"g0": "A"}}
        }
        self.next = 0
        self.unwanted: set[tuple[str, str]] = set()
        self.wanted: set[tuple[str, str]] = set()
        self.seen: Counter[str] = Counter()
        self.error: SyncError | None = None
        self.told = ""
        (folder / "essentry-sync.toml").write_text(CONFIG.format(url=sandbox.base_url))
        columns = "source_event_id, name, starts_at, ends_at, site_key, host_email, status"
        (folder / "events.sql").write_text(f"SELECT {columns} FROM events")
        (folder / "guests.sql").write_text("SELECT * FROM guests")

    def change(self) -> None:
        """A day passes."""
        for _ in range(self.rng.randint(1, 6)):
            kind = self.rng.choice(["create", "create", "move", "rename", "add", "remove", "rewrite", "cancel", "delete", "break", "mend"])
            others = [event for key, event in self.events.items() if key != "0"]
            event = self.rng.choice(others) if others else None
            if kind == "create" or event is None:
                self.next += 1
                start = self.now + timedelta(days=60 + self.rng.randint(0, 20), hours=self.rng.randint(0, 9))
                guests = {f"g{self.rng.randint(1, 30)}": self.rng.choice("ABC") for _ in range(self.rng.randint(1, 3))}
                self.events[str(self.next)] = {
                    "key": str(self.next),
                    "name": "N",
                    "start": start,
                    "site": "1",
                    "status": "confirmed",
                    "bad": False,
                    "guests": guests,
                }
            elif kind == "move":
                event["start"] += timedelta(hours=self.rng.randint(1, 48))
                event["site"] = self.rng.choice("12")
            elif kind == "rename":
                event["name"] = self.rng.choice(["N", "Besprechung – Ü", "=1+1", 'quo"te'])
            elif kind == "add":
                event["guests"][f"g{self.rng.randint(1, 30)}"] = self.rng.choice("ABC")
            elif kind == "remove" and event["guests"]:
                del event["guests"][self.rng.choice(list(event["guests"]))]
            elif kind == "rewrite" and event["guests"]:
                event["guests"][self.rng.choice(list(event["guests"]))] = self.rng.choice("ABC")
            elif kind == "cancel":
                event["status"] = "cancelled"
            elif kind == "delete":
                del self.events[event["key"]]
            elif kind in ("break", "mend"):
                event["bad"] = kind == "break"

    def write(self, *, empty: bool = False) -> None:
        """The source as the night finds it."""
        path = self.folder / "source.sqlite"
        path.unlink(missing_ok=True)
        with sqlite3.connect(path) as connection:
            connection.executescript(TABLES)
            for event in [] if empty else self.events.values():
                start, end = event["start"], event["start"] + timedelta(hours=1)
                host = "no address" if event["bad"] else "host@corp.example"
                row = (event["key"], event["name"], start.isoformat(), end.isoformat(), event["site"], host, event["status"])
                connection.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?)", row)
                for guest, last in event["guests"].items():
                    row = (event["key"], guest, f"{guest}@out.example", "F", last)
                    connection.execute("INSERT INTO guests VALUES (?,?,?,?,?)", row)
        connection.close()
        if not empty:
            now = {(f"rooms-{k}", f"rooms-{k}-{g}") for k, e in self.events.items() if e["status"] == "confirmed" for g in e["guests"]}
            self.unwanted |= self.wanted - now
            self.wanted |= now

    def truth(self) -> dict[str, tuple]:
        """What essentry should hold when every row is readable."""
        return {
            f"rooms-{key}": (
                e["name"],
                e["start"],
                {"1": 11, "2": 12}[e["site"]],
                {f"rooms-{key}-{g}": last for g, last in e["guests"].items()},
            )
            for key, e in self.events.items()
            if e["status"] == "confirmed" and e["guests"]
        }

    def held(self) -> dict[str, tuple]:
        """What the sandbox holds, in the same form."""
        return {
            key: (
                event["name"],
                datetime.fromisoformat(event["startsAt"]),
                event["locationId"],
                {guest: fields["lastName"] for guest, fields in event["guests"].items()},
            )
            for key, event in self.sandbox.state()["events"].items()
        }

    def break_something(self) -> None:
        """Faults for the next night."""
        rules = []
        for _ in range(self.rng.randint(0, 3)):
            kind = self.rng.choice(FAULTS)
            self.seen[kind] += 1
            target = f"rooms-{self.rng.randint(1, max(self.next, 1))}"
            rule = {
                "429": {"kind": "status", "status": 429},
                "429 after": {"kind": "status", "status": 429, "retry_after": 0.05},
                "500": {"kind": "status", "status": 500},
                "hang_after": {"kind": "hang_after", "seconds": 0.4},
                "reject_event": {"kind": "reject_event", "source_id": target, "code": "ERROR_USER_CANNOT_HOST_AT_LOCATION"},
                "reject_request": {"kind": "reject_request", "source_id": target, "status": 400},
            }.get(kind, {"kind": kind})
            rules.append(rule)
        self.sandbox.add_faults(rules)

    def night(self, day: int) -> int:
        """One run of the job; its exit code."""
        try:
            config = load_config(self.folder / "essentry-sync.toml")
            with nightly.open_session(config, kind="sync", as_of=self.now + timedelta(days=day)) as session:
                try:
                    nightly.load(session, nightly.plan(session, *nightly.extract(session)))
                except SyncError as error:
                    self.error = error
                    return nightly.finish(session, error=error).exit_code
                result = nightly.finish(session)
                self.told = result.report["verdict"]
                balance = result.report["balance"]
                assert balance["rows_balanced"], balance
                assert balance["snapshot_balanced"], balance
                return result.exit_code
        except SyncError as error:
            self.error = error
            return error.exit_code


def run_history(seed: int, sandbox: SandboxServer) -> Counter[str]:
    """Live one history and check its end; AssertionError names the seed. Returns the faults that were played and exit codes."""
    sandbox.reset()
    os.environ["ESSENTRY_TOKEN"], os.environ["ESSENTRY_AGENT_TOKEN"] = sandbox.token, sandbox.agent_token
    with tempfile.TemporaryDirectory() as folder:
        history = History(seed, Path(folder), sandbox)
        for day in range(history.rng.randint(2, 5)):
            history.change()
            history.write(empty=history.rng.random() < 0.1)
            history.break_something()
            history.seen[f"exit {history.night(day)}"] += 1
        sandbox.clear_faults()
        for event in history.events.values():
            event["bad"] = False
        history.write()
        code = history.night(20)
        assert code in (0,), f"seed {seed}: the clean run ended with {code}: {history.error or history.told}"
        held, truth = history.held(), history.truth()
        assert held == truth, f"seed {seed}: {sorted(set(held) ^ set(truth))} {[k for k in held if held.get(k) != truth.get(k)]}"
        cancelled = {(m["event"], m["invitation"]) for m in sandbox.mails() if m["kind"] == "cancelled"}
        assert cancelled <= history.unwanted, f"seed {seed}: cancelled though wanted: {cancelled - history.unwanted}"
        history.seen["histories"] += 1
        return history.seen


def main(count: int, first: int = 0) -> None:
    """Run many histories and print a table."""
    totals: Counter[str] = Counter()
    start = time.perf_counter()
    with SandboxServer(SandboxSettings(on_deleted="resurrect")) as sandbox:
        for seed in range(first, first + count):
            totals += run_history(seed, sandbox)
    for name, number in sorted(totals.items()):
        sys.stdout.write(f"{name:20} {number:7,}\n")
    sys.stdout.write(f"{'seconds':20} {time.perf_counter() - start:7.0f}\n")


if __name__ == "__main__":
    main(*([int(argument) for argument in sys.argv[1:]] or [500]))
