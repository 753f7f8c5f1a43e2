"""What essentry should hold, computed from a source's rows by plain Python. Imports nothing of the
project.

Each system's module reads its own tables with dictionaries and loops and hands people and times to
the rules here, which are written from the rules' text a second time, not from `transforms`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unicodedata import normalize
from zoneinfo import ZoneInfo

Row = dict[str, Any]
Tables = dict[str, list[Row]]
Person = tuple[str | None, str | None]

NO_ADDRESS = {"", "n/a", "-", "none"}
INTERNAL_DOMAIN = "corp.example"
UNTITLED, PRIVATE = "Meeting", "Private meeting"


@dataclass(frozen=True)
class Meeting:
    """An event as essentry should hold it; `guests` are (address, name) pairs, None for what is
    unknown.
    """

    name: str
    starts_at: datetime
    ends_at: datetime
    location_id: int
    entrance_id: int | None
    host_email: str
    guests: frozenset[Person]


@dataclass
class Truth:
    """Every key of the source's events, in exactly one of these. `quarantined`: key → why (any of
    the reasons is a right one).
    """

    meetings: dict[str, Meeting] = field(default_factory=dict)
    quarantined: dict[str, set[str]] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)
    past: set[str] = field(default_factory=set)
    beyond: set[str] = field(default_factory=set)
    guestless: set[str] = field(default_factory=set)

    def keys(self) -> list[str]:
        """All keys, with repetitions if a key were in two places."""
        groups = (
            self.meetings,
            self.quarantined,
            self.cancelled,
            self.pending,
            self.past,
            self.beyond,
            self.guestless,
        )
        return [key for group in groups for key in group]


@dataclass
class Draft:
    """One event of a source, joined, before the common rules. Times are instants or None with a
    reason in `problems`.
    """

    key: str
    name: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    place: tuple[int, int | None] | None
    host: str | None
    guests: list[tuple[str | None, str | None, bool]]
    status: str = "confirmed"
    private: bool = False
    problems: set[str] = field(default_factory=set)


def settle(drafts: Iterable[Draft], *, as_of: datetime, days_ahead: int = 365) -> Truth:
    """Apply the common rules. A draft's guests are (address as stored, name, known as employee).

    Events that start more than `days_ahead` days after `as_of` are beyond the window.
    """
    truth = Truth()
    for draft in drafts:
        if draft.status == "cancelled":
            truth.cancelled.add(draft.key)
            continue
        reasons = set(draft.problems)
        host = address(draft.host)
        if host is None:
            reasons.add("host")
        elif not readable(host):
            reasons.add("host_address")
        if draft.starts_at is None:
            reasons.add("start")
        elif draft.ends_at is None:
            reasons.add("end")
        elif draft.ends_at <= draft.starts_at:
            reasons.add("end_after_start")
        if draft.place is None:
            reasons |= {"place", "location"}
        guests, unreadable = sort_guests(draft.guests, host)
        if reasons:
            truth.quarantined[draft.key] = reasons
        elif draft.status == "pending":
            truth.pending.add(draft.key)
        elif draft.ends_at <= as_of:
            truth.past.add(draft.key)
        elif draft.starts_at > as_of + timedelta(days=days_ahead):
            truth.beyond.add(draft.key)
        elif guests:
            name = PRIVATE if draft.private else title(draft.name)
            assert draft.place is not None
            truth.meetings[draft.key] = Meeting(
                name, draft.starts_at, draft.ends_at, *draft.place, host, guests
            )
        elif unreadable:
            truth.quarantined[draft.key] = {"guest_address", "guest_identity"}
        else:
            truth.guestless.add(draft.key)
    return truth


def sort_guests(
    rows: list[tuple[str | None, str | None, bool]], host: str | None
) -> tuple[frozenset[Person], bool]:
    """The outside guests, each once, and whether some row could not be read. A nameless row is the
    person of that address.
    """
    people: list[Person] = []
    unreadable = False
    for stored, name, employee in rows:
        email = address(stored)
        name = normalize("NFC", " ".join(name.split())) if name and name.split() else None
        if (email is None and name is None) or (email is not None and not readable(email)):
            unreadable = True
        elif (
            not employee
            and not (email or "").endswith("@" + INTERNAL_DOMAIN)
            and (email is None or email != host)
        ):
            people.append((email, name))
    named = {email for email, name in people if email and name}
    return frozenset((e, n) for e, n in people if n or e not in named), unreadable


def address(text: str | None) -> str | None:
    """An address as one compares it: no blanks around it, no case."""
    folded = (text or "").strip().lower()
    return None if folded in NO_ADDRESS else folded


def readable(email: str) -> bool:
    """Whether it has the form of an address."""
    return re.fullmatch(r"[^@\s()]+@[^@\s()]+\.[^@\s()]+", email) is not None


def title(text: str | None) -> str:
    """A title on one line, at most 255 characters, never empty."""
    line = normalize("NFC", " ".join((text or "").split()))
    return (line if len(line) <= 255 else line[:254].rstrip() + "…") or UNTITLED


def wall_clock(day: str | None, at: str | None, zone: str) -> datetime | None:
    """Local date and time of day as an instant: the first of two, and moved on by the gap when the
    clock skips it.
    """
    try:
        local = datetime.strptime(f"{day} {str(at)[:8]}", "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return None
    options = [local.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1)]
    exists = [at for at in options if at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local]
    if exists:
        return min(exists)
    before = (local - timedelta(hours=3)).replace(tzinfo=ZoneInfo(zone)).utcoffset()
    assert before is not None
    return (local - before).replace(tzinfo=UTC)


def utc(text: str | None) -> datetime | None:
    """A stored UTC datetime; zero dates are none."""
    try:
        return datetime.strptime(text or "", "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
