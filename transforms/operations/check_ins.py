"""Check-ins as essentry answers them → rows that may be kept, and the event that each belongs to.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pandas as pd

from schemas.check_ins import NO_INVITATION, CheckIns
from schemas.essentry import INSTANT_PATTERN
from schemas.frames import INSTANT
from transforms.desired.payload import list_guests
from transforms.masking import mask_name, mask_person
from transforms.naming.ids import parse_invitation_id
from transforms.naming.naming import Naming

NEAR = timedelta(days=2)
"""So far from an invitation's start, or an arrival, may its event be looked for when the id does
not name it.
"""

_FIELDS = {
    "id": "checkin_id", "state": "state", "email": "email", "firstName": "first_name",
    "lastName": "last_name",
    "companyName": "company_name", "arrivedAt": "arrived_at", "leftAt": "left_at",
}  # fmt: skip
_OF_INVITATION = {"sourceId": "invitation_id", "startsAt": "starts_at", "endsAt": "ends_at"}
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Outside lie the placeholders of systems (0001-01-01, 9999-12-31), which are no instants: a visit
that left in the year 1 would be over, and pruned.
"""
_INSTANTS = ("arrived_at", "left_at", "starts_at", "ends_at")


def read_check_ins(answered: Sequence[Any]) -> tuple[pd.DataFrame, int]:
    """The columns of `CheckIns`, a row a check-in, and how many could not be read whole.

    One without an id is left out; of an instant that is none, the rest of its row is kept. Both are
    counted.
    """
    rows: list[dict[str, Any]] = []
    unreadable = 0
    for answer in answered:
        row = _flatten(answer)
        if row is None:
            unreadable += 1
            continue
        whole = True
        for name in _INSTANTS:
            row[name], read = _read_instant(row.get(name))
            whole = whole and read
        unreadable += not whole
        rows.append(row)
    columns = {*_FIELDS.values(), *_OF_INVITATION.values(), *(name for row in rows for name in row)}
    frame = pd.DataFrame(
        {name: _type(name, [row.get(name) for row in rows]) for name in sorted(columns)}
    )
    return CheckIns.validate(frame), unreadable


def _flatten(answer: Any) -> dict[str, Any] | None:
    """Every field of a check-in, those that are kept under their names here."""
    if not isinstance(answer, Mapping):
        return None
    key = answer.get("id")
    if (
        isinstance(key, bool)
        or not isinstance(key, int | str)
        or not 1 <= len(str(key).strip()) <= 255
    ):
        return None
    row = {_FIELDS.get(name, f"essentry.{name}"): value for name, value in answer.items()}
    legitimation = answer.get("legitimation")
    if isinstance(legitimation, Mapping):
        row |= {
            _OF_INVITATION[name]: value
            for name, value in legitimation.items()
            if name in _OF_INVITATION
        }
    return row


def _read_instant(value: Any) -> tuple[datetime | None, bool]:
    """The instant, and whether there was nothing to complain of."""
    if value is None or value == "":
        return None, True
    if not isinstance(value, str) or not re.match(INSTANT_PATTERN, value):
        return None, False
    try:
        at = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None, False
    return (at, True) if _FIRST <= at < _LAST else (None, False)


def _type(name: str, values: list[Any]) -> pd.Series:
    if name in _INSTANTS:
        return pd.to_datetime(pd.Series(values, dtype="object"), utc=True).astype(INSTANT)
    if name in ("email",):
        values = [_text(value, lower=True) for value in values]
    elif name in CheckIns.columns:
        values = [_text(value) for value in values]
    else:
        return pd.Series(values, dtype="object")
    return pd.Series(values, dtype="str")


def _text(value: Any, *, lower: bool = False) -> str | None:
    """A text or a number as a text; nothing for what is blank or neither."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip()
    return (text.casefold() if lower else text) or None


VISIT_COLUMNS = (
    "checkin_id", "source", "source_id", "invitation_id", "location_id", "starts_at", "ends_at",
    "event_state", "visit_state", "first_name", "last_name", "email", "company_name", "arrived_at",
    "left_at", "reason",
)  # fmt: skip
"""Of a visit beside its event, as a table of the user's own has it."""


def mask_visit(visit: Mapping[str, Any]) -> dict[str, Any]:
    """A visit, VISIT_COLUMNS, with shortened names and address, and no id that holds one."""
    spelled = {
        "firstName": "first_name", "lastName": "last_name", "email": "email",
        "sourceId": "invitation_id",
    }  # fmt: skip
    person = mask_person(
        {key: visit[name] for key, name in spelled.items() if visit[name] is not None}
    )
    company = visit["company_name"]
    return {
        **visit,
        **{spelled[key]: value for key, value in person.items()},
        "company_name": company and mask_name(company),
    }


def read_guest_ids(payload: str | None) -> set[str]:
    """The ids of the invitations that a confirmed event has."""
    return set(list_guests(orjson.loads(payload or "{}")))


@dataclass(frozen=True)
class Candidate:
    """An event that an invitation may be of. `listed`: whether it is on the event's confirmed
    list.
    """

    source_id: str
    active: bool
    listed: bool
    starts_at: datetime | None


def name_event(
    invitation_id: str, naming: Naming, built: Mapping[str, str], *, shared: bool
) -> str | None:
    """The sourceId of the event whose id stands in that of the invitation; None where it has none,
    or cannot be read back.

    built: id that was taken over → the id that this configuration builds.
    """
    if shared:
        return None
    try:
        parsed = parse_invitation_id(built.get(invitation_id, invitation_id))
    except (ValueError, UnicodeDecodeError):
        return None
    return str(naming.name_events(parsed.source, pd.Series([parsed.event], dtype="str")).iloc[0])


def choose_event(found: Iterable[Candidate], starts_at: datetime | None) -> tuple[str | None, bool]:
    """The event that a check-in belongs to, and whether there was one at all: (None, True) says
    that several are as near.

    An event that has the invitation on its list comes before one that only the id names, an active
    one before an ended or cancelled one, and one that starts when the invitation says before
    others.
    """
    best: list[Candidate] = []
    for rank in (
        lambda c: c.listed,
        lambda c: c.starts_at is not None and c.starts_at == starts_at,
        lambda c: c.active,
    ):
        best = best or list(found)
        best = [c for c in best if rank(c)] or best
    names = {c.source_id for c in best}
    return (names.pop() if len(names) == 1 else None), bool(best)


@dataclass(frozen=True)
class Attendance:
    """One location on one day. `no_shows`: of events that are over. `others`: came by an invitation
    that belongs to no event here.
    """

    location_id: int
    expected: int
    arrived: int
    no_shows: int
    walk_ins: int
    others: int


def sum_attendance(
    events: pd.DataFrame, others: Iterable[tuple[int, str, int]], *, now: datetime
) -> list[Attendance]:
    """Every location: whom its events expected, and who came.

    events: location_id, state, guests, ends_at, arrived (different invitations); others: location,
    reason and number of the visits without an event.
    """
    events = events[events["location_id"].notna()]
    due = events["state"].isin(["active", "expired"])
    guests = events["guests"].fillna(0).where(due, 0)
    over = (events["ends_at"] <= pd.Timestamp(now)).fillna(False)
    missing = (guests - events["arrived"]).clip(lower=0).where(over, 0)
    table = pd.DataFrame(
        {
            "location_id": events["location_id"],
            "expected": guests,
            "arrived": events["arrived"],
            "no_shows": missing,
        }
    )
    counts: dict[int, dict[str, int]] = {
        int(str(place)): {str(name): int(value) for name, value in row.items()}
        for place, row in table.groupby("location_id").sum().to_dict("index").items()
    }
    empty = {"expected": 0, "arrived": 0, "no_shows": 0}
    beside: dict[int, dict[str, int]] = {}
    for place, reason, count in others:
        kind = "walk_ins" if reason == NO_INVITATION else "others"
        beside.setdefault(place, {"walk_ins": 0, "others": 0})[kind] += count
    none = {"walk_ins": 0, "others": 0}
    return [
        Attendance(place, **counts.get(place, empty), **beside.get(place, none))
        for place in sorted({*counts, *beside})
    ]
