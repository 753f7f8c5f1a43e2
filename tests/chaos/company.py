"""A company whose two databases change every night, and what essentry should hold of it. Computed
from the company alone: none of the project's rules is called here."""

from __future__ import annotations

import random
import re
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

LOCATIONS = {"1": 11, "2": 12}
HOST = "host@corp.example"
COLUMNS = (
    "source_event_id, name, description, starts_at, ends_at, site_key, host_email, status, "
    "linked_source, linked_event_id"
)
TABLES = """
CREATE TABLE events (source_event_id TEXT, name TEXT, starts_at TEXT, ends_at TEXT, site_key TEXT, host_email TEXT, status TEXT,
    linked_source TEXT, linked_event_id TEXT, description TEXT);
CREATE TABLE guests (source_event_id TEXT, guest_id TEXT, email TEXT, first_name TEXT, last_name TEXT);
"""  # noqa: E501
Meeting = tuple[str, datetime, int, frozenset[tuple[str | None, str, str]]]
"""Name, start, location, and the guests as address, first and last name."""


@dataclass
class Person:
    """A guest: with a key of the source's own and an address, with an address alone, or with
    nothing but a name.
    """

    number: int
    kind: str
    email: str | None
    last: str

    @property
    def shown(self) -> tuple[str | None, str, str]:
        return self.email, f"P{self.number}", self.last


@dataclass
class Event:
    """A row of a source. `broken`: how the row is written tonight (host, key, twice); `bad_guests`:
    the same of its guests.

    `key` is the meeting's for ever, `row_key` what its row has today when that is another; `told`:
    its description.
    """

    source: str
    key: str
    start: datetime
    name: str = "N"
    site: str = "1"
    status: str = "confirmed"
    guests: set[int] = field(default_factory=set)
    link: str | None = None
    broken: str | None = None
    bad_guests: dict[int, str] = field(default_factory=dict)
    row_key: str | None = None
    told: str | None = None

    @property
    def id(self) -> str:
        return f"{self.source}-{self.key}"

    @property
    def end(self) -> datetime:
        return self.start + timedelta(hours=1)


class Company:
    """Events of two sources and the people invited. `done` counts what has happened to it."""

    def __init__(self, rng: random.Random, now: datetime, *, people: int = 24) -> None:
        self.rng, self.now = rng, now
        kinds = ["keyed", "keyed", "keyed", "address", "name"]
        self.people = [
            Person(n, kinds[n % 5], f"p{n}@out.example" if n % 5 != 4 else None, "A")
            for n in range(people)
        ]
        self.events: dict[str, Event] = {}
        self.gone: dict[str, Event] = {}
        self.next = 0
        self.done: Counter[str] = Counter()
        self.family_of: dict[str, str] = {}
        self.alias: dict[str, str] = {}
        """Ids under which a meeting may be known besides its own."""
        # pairs of family and person: who may have been cancelled by now, who is wanted, how often
        # that began
        self.may_cancel: set[tuple[str, int]] = set()
        self.wanted: set[tuple[str, int]] = set()
        self.invitations: Counter[tuple[str, int]] = Counter()
        # one meeting that always is: a source that is empty for good is rightly stopped by a guard
        for source in ("rooms", "hr"):
            self.add(Event(source, "0", now + timedelta(days=60), guests={0}))

    def add(self, event: Event) -> Event:
        """A new event."""
        self.events[event.id] = event
        return event

    # -- a day passes ------------------------------------------------------------------------------

    def grow(self, events: int) -> None:
        """Meetings from before the first night."""
        for _ in range(events):
            self._create("create")

    def change(self, times: int) -> None:
        """Some of the things that happen in a company."""
        kinds = (
            "create", "create", "create", "create soon", "move", "rename", "add guest",
            "remove guest", "rename person", "readdress person",
            "cancel", "uncancel", "delete", "delete", "create again", "break host", "break key",
            "write twice", "break guest",
            "lose guest's event", "mend", "pend", "confirm", "link", "unlink", "move far",
            "empty guests",
        )  # fmt: skip
        for _ in range(times):
            kind = self.rng.choice(kinds)
            if self._happen(kind, self._pick()):
                self.done[kind] += 1

    def _pick(self) -> Event | None:
        others = sorted(key for key in self.events if not key.endswith("-0"))
        return self.events[self.rng.choice(others)] if others else None

    def _happen(self, kind: str, event: Event | None) -> bool:
        rng = self.rng
        if kind.startswith("create"):
            return self._create(kind)
        if event is None:
            return False
        person = rng.choice(self.people)
        if kind == "move":
            event.start = max(event.start, self.now + timedelta(days=30)) + timedelta(
                hours=rng.randint(1, 48)
            )
            event.site = rng.choice("12")
        elif kind == "move far":
            event.start = self.now + timedelta(days=rng.randint(400, 500))
        elif kind == "rename":
            event.name = rng.choice(["N", "Besprechung – Ü", "=1+1", 'quo"te'])
        elif kind == "add guest":
            event.guests.add(person.number)
        elif kind == "remove guest" and event.guests:
            event.guests.remove(rng.choice(sorted(event.guests)))
        elif kind == "empty guests":
            event.guests.clear()
        elif kind == "rename person":
            person.last = rng.choice("ABC")
        elif kind == "readdress person" and person.email:
            person.email = f"p{person.number}.{rng.randint(1, 9)}@out.example"
            if person.kind == "address":  # to the source this is somebody else
                again = {(self.family(e.id), person.number) for e in self.events.values()}
                self.may_cancel |= again
                self.invitations.update(again)
        elif kind in ("cancel", "uncancel", "pend", "confirm"):
            event.status = {"cancel": "cancelled", "pend": "pending"}.get(kind, "confirmed")
        elif kind == "delete":
            self.gone[event.id] = self.events.pop(event.id)
        elif kind.startswith("break") and kind != "break guest":
            event.broken = kind.removeprefix("break ")
        elif kind == "write twice":
            event.broken = "twice"
        elif kind in ("break guest", "lose guest's event") and event.guests:
            event.bad_guests[rng.choice(sorted(event.guests))] = kind
        elif kind == "mend":
            event.broken, event.bad_guests = None, {}
        elif kind == "link" and event.source == "rooms":
            targets = [e.key for e in self.events.values() if e.source == "hr" and e.key != "0"]
            if not targets:
                return False
            self._relink(event, rng.choice(sorted(targets)))
            # a room for the interview; otherwise a link that somebody copied
            if event.key[-1] in "0246":
                event.start = self.events[f"hr-{event.link}"].start
        elif kind == "unlink" and event.link:
            self._relink(event, None)
        else:
            return False
        return True

    def _create(self, kind: str) -> bool:
        if kind == "create again":
            if not self.gone:
                return False
            self.add(self.gone.pop(self.rng.choice(sorted(self.gone))))
            return True
        self.next += 1
        start = self.now + timedelta(
            days=60 + self.rng.randint(0, 20), hours=self.rng.randint(0, 9)
        )
        if kind == "create soon":
            start = self.now + timedelta(hours=self.rng.randint(1, 72))
        guests = {self.rng.randrange(len(self.people)) for _ in range(self.rng.randint(1, 3))}
        self.add(
            Event(self.rng.choice(["rooms", "rooms", "hr"]), str(self.next), start, guests=guests)
        )
        return True

    def _relink(self, event: Event, key: str | None) -> None:
        """Two meetings become one, or one two: their guests may hear of it."""
        together = [event.id, *(f"hr-{k}" for k in (event.link, key) if k)]
        self._release(together)
        event.link = key
        first = self.family(together[0])
        for other in together[1:]:
            old = self.family(other)
            members = [m for m in {*self.events, *self.gone, other} if self.family(m) == old]
            self.family_of.update(dict.fromkeys(members, first))
        self._release(together)

    def _release(self, ids: list[str]) -> None:
        """From now on the guests of these meetings may be cancelled once."""
        families = {self.family(source_id) for source_id in ids}
        for event in [*self.events.values(), *self.gone.values()]:
            if self.family(event.id) in families:
                self.may_cancel |= {(self.family(event.id), number) for number in event.guests}
        self.may_cancel |= {
            (self.family(old), number)
            for old, number in self.wanted
            if self.family(old) in families
        }

    @staticmethod
    def read_number(email: str) -> int:
        """The person behind an address."""
        return int(re.split(r"[.@]", email)[0].removeprefix("p"))

    def family(self, source_id: str) -> str:
        """Events that ever were one meeting, by the id of one of them."""
        source_id = self.alias.get(source_id, source_id)
        return self.family_of.get(source_id, source_id)

    def mend(self) -> None:
        """Every row readable again, every link to something, nothing pending."""
        for event in self.events.values():
            event.broken, event.bad_guests = None, {}
            event.status = "confirmed" if event.status == "pending" else event.status
            if event.link and (f"hr-{event.link}" not in self.events or self._is_strange(event)):
                self._relink(event, None)

    def _is_strange(self, event: Event) -> bool:
        """Whether its link is to a meeting of another day and other people."""
        root = self.events[f"hr-{event.link}"]
        return (
            bool(event.guests)
            and not event.guests & root.guests
            and abs(event.start - root.start) >= timedelta(hours=12)
        )

    # -- the databases -----------------------------------------------------------------------------

    def write(self, folder: Path, conditions: dict[str, str]) -> None:
        """Both databases as the night finds them. conditions: source → normal, no events, no
        guests, no answer.
        """
        for source in ("rooms", "hr"):
            path = folder / f"{source}.sqlite"
            path.unlink(missing_ok=True)
            condition = conditions.get(source, "normal")
            if condition == "no answer":
                path.write_text("this is no database " * 100, encoding="utf-8")
                continue
            with sqlite3.connect(path) as connection:
                connection.executescript(TABLES)
                mine = [event for event in self.events.values() if event.source == source]
                events = (
                    [row for event in mine for row in self._event_rows(event)]
                    if condition != "no events"
                    else []
                )
                guests = (
                    [row for event in mine for row in self._guest_rows(event)]
                    if condition not in ("no events", "no guests")
                    else []
                )
                connection.executemany("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?)", events)
                connection.executemany("INSERT INTO guests VALUES (?,?,?,?,?)", guests)
            connection.close()
        self._note_wishes()

    def _event_rows(self, event: Event) -> list[tuple]:
        root = self.events.get(f"hr-{event.link}")
        link = (
            ("hr", (root.row_key if root else None) or event.link) if event.link else (None, None)
        )
        host = "no address" if event.broken == "host" else HOST
        key = None if event.broken == "key" else event.row_key or event.key
        row = (
            key,
            event.name,
            event.start.isoformat(),
            event.end.isoformat(),
            event.site,
            host,
            event.status,
            *link,
            event.told,
        )
        return [row, (row[0], "another name", *row[2:])] if event.broken == "twice" else [row]

    def _guest_rows(self, event: Event) -> list[tuple]:
        rows = []
        for number in sorted(event.guests):
            person, bad = self.people[number], event.bad_guests.get(number)
            email, first, last = person.shown
            key = f"g{number}" if person.kind == "keyed" else None
            rows.append(
                (
                    None if bad == "lose guest's event" else event.row_key or event.key,
                    key,
                    "no address" if bad == "break guest" else email,
                    first,
                    last,
                )
            )
        return rows

    def _note_wishes(self) -> None:
        now = {
            (self.family(e.id), number)
            for e in self.events.values()
            if not self.is_cancelled(e)
            for number in e.guests
        }
        before = {(self.family(old), number) for old, number in self.wanted}
        held = {
            self.family(e.id)
            for e in self.events.values()
            if self._is_held(e) and not self.is_cancelled(e)
        }
        self.may_cancel |= before - now
        self.invitations.update(now - before)
        self.wanted = now | {pair for pair in before if pair[0] in held}

    def _is_held(self, event: Event) -> bool:
        return bool(event.broken or event.bad_guests or event.status == "pending")

    # -- the truth ---------------------------------------------------------------------------------

    def is_cancelled(self, event: Event) -> bool:
        """Called off itself, or by the interview it belongs to."""
        root = self.events.get(f"hr-{event.link}") if event.link else None
        return event.status == "cancelled" or (root is not None and root.status == "cancelled")

    def truth(self) -> dict[str, list[Meeting]]:
        """What essentry should hold of each family when every row is readable; linked records are
        one meeting.
        """
        found: dict[str, list[Meeting]] = {}
        for event in self.events.values():
            if self.is_cancelled(event) or (event.link and f"hr-{event.link}" in self.events):
                continue
            parts = [event]
            if event.source == "hr":
                parts += [
                    e
                    for e in self.events.values()
                    if e.link == event.key and e.status == "confirmed"
                ]
            guests = frozenset(self.people[n].shown for part in parts for n in part.guests)
            if guests:
                meeting = (event.name, event.start, LOCATIONS[event.site], guests)
                found.setdefault(self.family(event.id), []).append(meeting)
        return {family: sorted(meetings, key=repr) for family, meetings in found.items()}

    def unclear(self, as_of: datetime) -> set[str]:
        """Families of which the rules say "leave it as it is": over, far ahead, pending,
        unreadable, or linked to nothing.
        """
        horizon = as_of + timedelta(days=365)
        unclear = set()
        for event in [*self.events.values(), *self.gone.values()]:
            here = event.id in self.events
            dangling = here and event.link is not None and f"hr-{event.link}" not in self.events
            if (
                event.end <= as_of
                or event.start > horizon
                or (here and self._is_held(event))
                or dangling
            ):
                unclear.add(self.family(event.id))
        return unclear

    def expected_rejects(self) -> Counter[tuple[str, str]]:
        """Rows that must be quarantined tonight, by source and part."""
        count: Counter[tuple[str, str]] = Counter()
        for event in self.events.values():
            if event.status == "cancelled" and event.broken != "key":
                continue
            if event.broken:
                count[event.source, "events"] += 2 if event.broken == "twice" else 1
        for event in self.events.values():
            for number, how in event.bad_guests.items():
                if number in event.guests and not (
                    how == "break guest" and event.status == "cancelled"
                ):
                    count[event.source, "guests"] += 1
        return count
