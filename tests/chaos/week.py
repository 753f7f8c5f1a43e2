"""A week of hourly runs under the limits that are shipped: what nobody allowed stays below them in
any day, and nothing is lost.

The limits are judged by essentry's mails alone: events that were cancelled, and guests who were,
within any twenty-four hours.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.sandbox.server import SandboxServer
from tests.chaos.company import COLUMNS, Company, Event
from tests.chaos.history import CONFIG, expect
from tests.chaos.night import approve_latest, run_night

HOURS = 168
MOST_DELETES = 6
MOST_MAILS = 9
"""Mails to one guest within a day that nobody allowed."""
LIMITS = {
    "max_deletes": MOST_DELETES,
    "max_mails_per_guest": MOST_MAILS,
    "max_people_mailed": 1000,
    "max_churn": 0,
}


class Week:
    """A company that changes a little every hour, and on some days is emptied bit by bit."""

    def __init__(self, seed: int, folder: Path, sandbox: SandboxServer) -> None:
        self.rng, self.folder, self.sandbox = random.Random(f"week {seed}"), folder, sandbox
        self.company = Company(
            self.rng, datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        )
        self.config = folder / "essentry-sync.toml"
        text = CONFIG.format(
            on_source_failure="stop", base_url=sandbox.base_url, batch_events=50, concurrency=1,
            budget=0.6, guest_list="additive",
            payload="full", invitation_ids="per-event", state="sqlite:///state.sqlite", scale="",
        )  # fmt: skip
        lines = [line for line in text.splitlines() if line.split(" ")[0] not in LIMITS]
        limits = [f"{name} = {value}" for name, value in LIMITS.items()]
        place = lines.index("[guards]") + 1
        self.config.write_text(
            "\n".join([*lines[:place], *limits, *lines[place:]]), encoding="utf-8"
        )
        (folder / "events.sql").write_text(f"SELECT {COLUMNS} FROM events", encoding="utf-8")
        (folder / "guests.sql").write_text("SELECT * FROM guests", encoding="utf-8")
        self.cancelled: list[tuple[datetime, str]] = []
        self.mailed: list[tuple[datetime, str]] = []
        self.seen: Counter[str] = Counter()

    def live(self, hours: int) -> None:
        """Every hour: a change or two, a run, and sometimes somebody who answers what waits."""
        for number in range(30):
            self._book(number % 20)
        asked = 0
        for hour in range(hours):
            as_of = self.company.now + timedelta(hours=hour)
            self._change(emptied=hour // 24 % 3 == 1)
            self.company.write(self.folder, {})
            before = set(self.sandbox.state()["events"])
            seen = len(self.sandbox.mails())
            code = run_night(
                self.config, as_of, seed=str(hour), way=self.rng.choice(["sync", "sync", "apply"])
            )
            expect(code in (0, 3, 4), f"hour {hour} ended with {code}")
            self.seen[f"hour: {code}"] += 1
            self._count(as_of, before, seen)
            self._judge(as_of)
            asked = asked + 1 if code == 4 else 0
            if asked > self.rng.randint(2, 8):
                expect(
                    approve_latest(self.config, as_of) in (0, 3),
                    f"the answer of hour {hour} was not carried out",
                )
                self.seen["hour: answered"] += 1
                asked = 0
        as_of = self.company.now + timedelta(hours=hours)
        self.company.write(self.folder, {})
        if run_night(self.config, as_of) == 4:
            approve_latest(self.config, as_of)
        run_night(self.config, as_of + timedelta(minutes=1))
        held = self.sandbox.state()["events"]
        wanted = {
            event.id
            for event in self.company.events.values()
            if event.guests and event.start > as_of
        }
        coming = {
            key for key, event in held.items() if datetime.fromisoformat(event["startsAt"]) > as_of
        }
        expect(coming == wanted, f"at the end essentry differs: {sorted(coming ^ wanted)}")

    def _book(self, person: int) -> None:
        self.company.next += 1
        start = self.company.now + timedelta(days=30, hours=self.company.next)
        self.company.add(
            Event(self.rng.choice(["rooms", "hr"]), str(self.company.next), start, guests={person})
        )

    def _change(self, *, emptied: bool) -> None:
        rng, events = self.rng, self.company.events
        others = sorted(key for key in events if not key.endswith("-0"))
        for _ in range(rng.randint(0, 2)):
            kind = rng.choice(
                ["delete", "delete", "book", "rename"]
                if emptied
                else ["book", "book", "rename", "delete", "move"]
            )
            event = events[rng.choice(others)] if others else None
            if kind == "book" or event is None or event.id not in events:
                self._book(rng.randrange(20))
            elif kind == "delete":
                others.remove(event.id)
                self.company.gone[event.id] = events.pop(event.id)
            elif kind == "rename":
                event.name = rng.choice(["N", "M", "O"])
            else:
                event.start += timedelta(hours=1)

    def _count(self, as_of: datetime, before: set[str], seen: int) -> None:
        self.cancelled += [
            (as_of, source_id) for source_id in before - set(self.sandbox.state()["events"])
        ]
        requests = {(m["email"], m["event"], m["kind"]) for m in self.sandbox.mails()[seen:]}
        self.mailed += [(as_of, email) for email, _, _ in requests if email]

    def _judge(self, as_of: datetime) -> None:
        """What runs sent by themselves; what somebody answered is not counted, as it was sent after
        the count.
        """
        day = as_of - timedelta(hours=24)
        gone = sum(when > day for when, _ in self.cancelled)
        expect(
            gone <= MOST_DELETES, f"{gone} events were cancelled within a day, and nobody was asked"
        )
        most = Counter(email for when, email in self.mailed if when > day).most_common(1)
        expect(
            not most or most[0][1] <= MOST_MAILS,
            f"{most} mails to one guest within a day, and nobody was asked",
        )


def run_week(seed: int, sandbox: SandboxServer, *, hours: int = HOURS) -> Counter[str]:
    """Live one week; what happened in it."""
    sandbox.reset()
    os.environ["ESSENTRY_TOKEN"], os.environ["ESSENTRY_AGENT_TOKEN"] = (
        sandbox.token,
        sandbox.agent_token,
    )
    with tempfile.TemporaryDirectory() as name:
        week = Week(seed, Path(name), sandbox)
        week.live(hours)
        return week.seen
