"""What becomes of an event that essentry holds and that is not due, as data. Pure: no frames, no
I/O, no clock.

An event may be one meeting of several records. Each of them speaks, and the most cautious word
wins: `CAUTION` is the order, the first rule that fits any record decides. Only when none fits may
the event expire or be deleted, for the first of `DELETED` that a record has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

RECORD_STATES = (
    "absent",
    "quarantined",
    "pending",
    "beyond_window",
    "past",
    "guestless",
    "merged",
    "due",
    "joined",
    "cancelled",
)
"""What a record says. `merged`, `due`: now part of another event, as a pointing record or as the
one that gives its content; `joined`: points at another record of this very event."""


class Record(NamedTuple):
    """One record of the event. Each flag is a proof; without it the record is not understood.

    `read`: its source was read to the end. `events`: that read is as usual. `whole`: its SELECT
    limits no rows. `keys`: it has no row without a key. `linked`: no unresolved link points at it.
    `guests`: the guests of its source are read as usual, and none of its own is unreadable.
    `followed`: the event that it is part of now is held by essentry with all its guests, or is sent
    before this one.
    """

    state: str
    read: bool = True
    events: bool = True
    whole: bool = True
    keys: bool = True
    linked: bool = True
    guests: bool = True
    followed: bool = True


class Event(NamedTuple):
    """The event as essentry holds it. `over`: ended by now. `tried`: essentry refused its delete
    lately. `in_pilot`: all its sources may be sent.

    `absent_runs`: complete runs in which it was absent before this one, of `needed_runs`.
    `under_way`: it has begun and is not over. `elsewhere`: a row of another key, of which nothing
    is sent tonight, may be it.
    """

    state: str = "active"
    over: bool = False
    tried: bool = False
    in_pilot: bool = True
    absent_runs: int = 0
    needed_runs: int = 1
    under_way: bool = False
    elsewhere: bool = False


class Rule(NamedTuple):
    """`action` and `reason` for a record of one of these states that lacks this proof (empty: in
    any case). `to_come`: only while the event is.
    """

    reason: str
    action: str
    states: frozenset[str]
    lacks: str = ""
    to_come: bool = True


class Fate(NamedTuple):
    """What is done, and why. `absent`: the run counts as one in which the event was absent."""

    action: str
    reason: str
    absent: bool = False


def _rule(
    reason: str, *states: str, action: str = "held", lacks: str = "", to_come: bool = True
) -> Rule:
    return Rule(reason, action, frozenset(states), lacks, to_come)


CAUTION: tuple[Rule, ...] = (
    _rule("source not read", "absent", lacks="read", to_come=False),
    _rule("quarantined", "quarantined", to_come=False),
    _rule("pending", "pending", to_come=False),
    _rule("source unhealthy", "absent", lacks="events"),
    _rule("the SELECT has a LIMIT", "absent", lacks="whole"),
    _rule("unreadable keys in the source", "absent", lacks="keys"),
    _rule("linked meeting not found", "absent", lacks="linked"),
    # nothing says that it is off: essentry still expects its guests
    _rule("moved into the past", "past"),
    _rule("moved beyond the window", "beyond_window", action="dormant", to_come=False),
    _rule("guests unreadable", "guestless", "merged", "joined", lacks="guests"),
    _rule("waits for the meeting it belongs to", "merged", "due", lacks="followed"),
)
"""The most cautious first."""
DELETED = {
    "absent": "absent", "guestless": "guestless", "merged": "merged", "due": "merged",
    "cancelled": "cancelled", "joined": "merged",
}  # fmt: skip
"""State of a record → reason of the delete, the one that needs most proof first."""


def decide_fate(event: Event, records: Sequence[Record]) -> Fate | None:
    """What becomes of an event by the word of all its records; None when essentry does not hold
    it.
    """
    if event.state != "active":
        return None
    for rule in CAUTION:
        if rule.to_come and event.over:
            continue
        if any(
            record.state in rule.states and not (rule.lacks and getattr(record, rule.lacks))
            for record in records
        ):
            return Fate(rule.action, rule.reason)
    if event.over:
        return Fate("expire", "over")
    reason = next(
        (why for state, why in DELETED.items() if any(record.state == state for record in records)),
        None,
    )
    if reason is None:
        return Fate("held", "no record speaks for it")
    absent = reason == "absent"
    if absent and event.elsewhere:
        return Fate("held", ELSEWHERE)
    if absent and event.absent_runs + 1 < event.needed_runs:
        return Fate(
            "held", f"absent in {event.absent_runs + 1} of {event.needed_runs} runs", absent
        )
    if event.tried:
        return Fate("held", "rejected before", absent)
    if not event.in_pilot:
        return Fate("held", "pilot", absent)
    if event.under_way:
        return Fate("held", UNDER_WAY, absent)
    return Fate("delete", reason, absent)


ELSEWHERE = "may be under another key"
"""Why a meeting whose row is gone stays: a row that waits in the source, or cannot be read, has its
start, place and guests.
"""
UNDER_WAY = "under way"
"""Why nobody is cancelled whose visit has begun: a result that was typed in or a room that was
released does not send a guest home.
"""
_SPEAKING = ("guestless", "merged", "due", "joined", "past", "beyond_window")
DOUBTS: tuple[Rule, ...] = (
    *(
        rule
        for rule in CAUTION
        if rule.states & {"absent", "quarantined", "pending"} and rule.lacks != "linked"
    ),
    _rule("guests unreadable", *_SPEAKING, lacks="guests"),
)
"""Of a meeting that is due: why a record of it may not be believed about the guests that it no
longer names.
"""
MISSING = frozenset({"absent", "quarantined", "pending"})
"""States of a record that gives no content tonight."""


def find_doubt(records: Sequence[Record]) -> str | None:
    """Why no guest may be removed from a meeting that is due, by the word of all its records; None
    when all may be believed.
    """
    for rule in DOUBTS:
        if any(
            record.state in rule.states and not (rule.lacks and getattr(record, rule.lacks))
            for record in records
        ):
            return rule.reason
    return None
