"""The words of the report: plurals, dates, places, what a change did, what a code means. Pure.

Words are for a person: a name stands where one is known, and times are those of the report's zone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from schemas.config import Config
from schemas.essentry import STATUS_CANNOT_HOST
from schemas.frames import REMEDIES
from transforms.report.holds import find_hold
from transforms.words import plural

LABELS = {
    "name": "title", "description": "description", "startsAt": "start", "endsAt": "end",
    "locationId": "location", "entranceId": "entrance",
    "host": "host", "creator": "booked by", "customFields": "custom fields",
}  # fmt: skip
MEASURES = {
    "changes": "changes", "create": "new", "update": "updated", "delete": "cancelled",
    "people": "people mailed", "quarantined": "quarantined rows",
    "rejected": "rejected or unknown", "seconds": "seconds",
}  # fmt: skip
_AGAIN = "it comes again when the row changes, else after 1, 2, 4 … nights"
_NEXT = "nothing: the next run sends the event again, completely"

# code → (meaning, remedy); essentry's list of codes is open, one of them is documented
CODES: dict[str, tuple[str, str]] = {
    STATUS_CANNOT_HOST: (
        "the host may not receive guests at this location",
        (
            "let the host receive guests there in essentry, or name another host in the source; "
            f"{_AGAIN}"
        ),
    ),
    "MISSING": ("an audit did not find it in essentry", _NEXT),
    "RESTORED": (
        (
            "the state store was restored from an older copy, so what essentry holds of it is not "
            "known"
        ),
        _NEXT,
    ),
    "SOURCE_NOT_READ": (
        (
            "the source could not be read: what it has new or changed did not reach essentry, "
            "and nothing of it was cancelled"
        ),
        "see that its database answers, and its URL and SELECTs; the next run reads it again",
    ),
    "HTTP_400": (
        "essentry refused the request as malformed",
        f"read the message, correct the row in the source; {_AGAIN}",
    ),
    "HTTP_413": (
        "the request was too large for essentry",
        "shorten the event in the source, or lower essentry.batch_bytes",
    ),
    "HTTP_422": (
        "essentry refused a value of the event",
        f"read the message, correct the row in the source; {_AGAIN}",
    ),
    "HTTP_401": (
        "essentry refused the token",
        "check the token, then apply the plan again or wait for the next run",
    ),
    "HTTP_403": (
        "essentry refused the token",
        "check the integration's rights, then apply the plan again or wait for the next run",
    ),
    "TIMEOUT": ("no answer within the time limit; essentry may have applied it", _NEXT),
    "CONNECTION_LOST": (
        "the connection ended before the answer; essentry may have applied it",
        _NEXT,
    ),
    "INTERRUPTED": ("the run was stopped before the answer; essentry may have applied it", _NEXT),
    "UNREADABLE": ("the answer held no result; essentry may have applied it", _NEXT),
    "NO_STATUS": ("the answer left the event out; essentry may have applied it", _NEXT),
    "CONTRADICTION": ("the answer named the event twice, with different results", _NEXT),
    "WAITS": (
        "another meeting has to be confirmed by essentry before this change may go",
        "see what holds the other meeting, which the message names; the next run tries both again",
    ),
    "UNCLEARED": (
        "a value was taken away in the source, and essentry may still have it",
        (
            "take it away in essentry's dashboard by hand, or set essentry.clearing once you have "
            "tried what takes it away there"
        ),
    ),
    "CHANGED_SINCE": (
        "the source asks for something else since the plan was made, so this change was not sent",
        "nothing: the next run plans it anew; or make a new plan now",
    ),
    "REFUSED_AFTER_LOSS": (
        "essentry refused it after a try without an answer, which may have been applied",
        f"read the message; {_NEXT}",
    ),
    "STILL_THERE": ("its source shows it again, so the cancellation was not sent", "nothing"),
    "RECORD_BACK": (
        "a record of it is back in its source, so what takes its guests away was not sent",
        "nothing: the next run compares anew",
    ),
    "LOOK_FAILED": (
        (
            "the second look at its source failed or showed too little, "
            "so the cancellation was not sent"
        ),
        "read the message, see that the source answers (`doctor`), then wait for the next run",
    ),
    "NOT_CONFIRMED": (
        "a second look at the source did not show it gone, so the cancellation was not sent",
        "nothing, unless it stays so",
    ),
}


DELETE_REASONS = {
    "absent": "gone from the source", "cancelled": "cancelled in the source", "guestless": (
        "no outside guest left"
    ),
    "merged": "now one meeting with another",
}  # fmt: skip


@dataclass(frozen=True)
class Wording:
    """How to write: the report's zone, whether people are masked, names of essentry's locations and
    entrances, how many changes Markdown lists.
    """

    timezone: str = "UTC"
    masked: bool = False
    locations: Mapping[int, str] = field(default_factory=dict)
    entrances: Mapping[int, str] = field(default_factory=dict)
    listed: int = 20
    built: Mapping[str, str] = field(default_factory=dict)
    """Id that was taken over from another integration → the id that is built of the source's
    key.
    """


def name_places(
    config: Config, *, masked: bool, adopted: Mapping[str, str] | None = None
) -> Wording:
    """The wording of a configuration: a site's `name` names its location, a room's names the
    entrance that only the room has.

    adopted: built id → the id of the event that was taken over.
    """
    locations: dict[int, str] = {}
    entrances: dict[int, str] = {}
    built = {taken: own for own, taken in (adopted or {}).items()}
    for source in config.sources.values():
        for entry in source.sites.values():
            if entry.name and entry.location_id is not None:
                locations.setdefault(entry.location_id, entry.name)
        for entry in source.rooms.values():
            if entry.name and entry.entrance_id is not None:
                entrances.setdefault(entry.entrance_id, entry.name)
    return Wording(
        config.report.timezone, masked, locations, entrances, config.report.list_changes, built
    )


def explain_code(code: str | None, state: str) -> tuple[str, str]:
    """What the outcome of an event means, and what to do."""
    if code in CODES:
        return CODES[code]
    if state == "held":
        hold = find_hold(code or "")
        return hold.meaning, hold.remedy
    if state == "quarantined":
        reason, remedy = REMEDIES.get(
            code or "", ("its row cannot be used", "correct it in the source")
        )
        return reason, remedy
    if state == "unknown":
        return "it is not known whether essentry applied it", _NEXT
    if code and code.startswith("HTTP_"):
        return f"essentry answered {code.removeprefix('HTTP_')}", f"read the message; {_AGAIN}"
    return (
        "essentry refused the event; its documentation does not name this code",
        f"look the event up in essentry's dashboard, correct the row in the source; {_AGAIN}",
    )


def show_instant(text: str, timezone: str) -> str:
    """An ISO 8601 instant as `Tue 24 Nov 2026 14:00` in a zone; anything else as it is."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{at.astimezone(ZoneInfo(timezone)):%a %-d %b %Y %H:%M}" if at.tzinfo else text


def describe_move(before: str, after: str, timezone: str) -> str:
    """`14:00 → 15:30` on one day, else with the days."""
    try:
        old, new = (
            datetime.fromisoformat(text).astimezone(ZoneInfo(timezone)) for text in (before, after)
        )
    except ValueError:
        return f"{before} → {after}"
    if old.date() == new.date():
        return f"{old:%H:%M} → {new:%H:%M}"
    return f"{old:%a %-d %b} {old:%H:%M} → {new:%a %-d %b} {new:%H:%M}"


def show_person(person: Mapping[str, Any]) -> str:
    """`Ada Lovelace <ada@example.org>`, as far as there is something."""
    name = f"{person.get('firstName', '')} {person.get('lastName', '')}".strip()
    parts = [
        name,
        f"<{person['email']}>" if name and person.get("email") else str(person.get("email") or ""),
    ]
    return " ".join(part for part in parts if part) or str(person.get("sourceId", ""))


def show_value(name: str, value: Any, wording: Wording, *, with_id: bool = False) -> str:
    """A field's value for a person; `with_id` adds the number behind a place's name."""
    if value is None:
        return "–"
    if name in ("startsAt", "endsAt"):
        return show_instant(str(value), wording.timezone)
    table = {"locationId": wording.locations, "entranceId": wording.entrances}.get(name)
    if table is not None:
        known = table.get(value)
        return f"{known} ({value})" if known and with_id else known or str(value)
    if name in ("host", "creator") and isinstance(value, dict):
        phone = value.get("phoneNumber")
        return show_person(value) + (f", {phone}" if phone else "")
    if isinstance(value, dict):
        return ", ".join(f"{key}: {text}" for key, text in value.items())
    return orjson.dumps(value).decode() if isinstance(value, (dict, list)) else str(value)


def describe_change(change: Mapping[str, Any], wording: Wording) -> str:
    """One change in words, from a record of the report:
    `moved 14:00 → 15:30; +2 guests (…), −1 guest (…)`.
    """
    if change["action"] == "create":
        return f"new, {plural(change['guests'] or 0, 'guest')}"
    if change["action"] == "delete":
        why = DELETE_REASONS.get(change["reason"], change["reason"] or "cancelled")
        return f"{why}; −{plural(len(change['removed']), 'guest')}" + _list_names(change["removed"])
    if change["action"] == "expire":
        return "over, no call"
    fields = {item["field"]: (item["before"], item["after"]) for item in change["fields"]}
    parts = []
    if change["reason"]:
        parts.append(str(change["reason"]))
    start, end = fields.pop("startsAt", None), fields.pop("endsAt", None)
    if start and all(start):
        parts.append("moved " + describe_move(*start, wording.timezone))
        if end is None:
            parts.append("same end")
        elif all(end) and _length(start[0], end[0]) != _length(start[1], end[1]):
            parts.append("ends " + describe_move(*end, wording.timezone))
    elif end and all(end):
        parts.append("ends " + describe_move(*end, wording.timezone))
    for name, (before, after) in fields.items():
        parts.append(_describe_field(name, before, after, wording))
    guests = []
    for kind, sign in (("added", "+"), ("removed", "−")):
        people = change[kind]
        if people:
            guests.append(f"{sign}{plural(len(people), 'guest')}" + _list_names(people))
    if guests:
        parts.append(", ".join(guests))
    if change["changed"]:
        parts.append(f"{plural(len(change['changed']), 'guest')} corrected")
    return "; ".join(parts) or "sent again, nothing differs"


def show_name(guest: Mapping[str, Any]) -> str:
    """A guest by name, else by address."""
    name = f"{guest.get('firstName', '')} {guest.get('lastName', '')}".strip()
    return name or str(guest.get("email") or guest.get("sourceId") or "")


def _list_names(people: Sequence[Mapping[str, Any]]) -> str:
    return (
        f" ({', '.join(show_name(guest) for guest in people[:3])}{'…' if len(people) > 3 else ''})"
        if people
        else ""
    )


def _length(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _describe_field(name: str, before: Any, after: Any, wording: Wording) -> str:
    label = LABELS.get(name, name)
    if name in ("description", "customFields"):
        return f"{label} {'added' if before is None else 'removed' if after is None else 'changed'}"
    if name in ("host", "creator"):
        old, new = (show_name(value) if value else "–" for value in (before, after))
        return f"{label} {old} → {new}" if old != new else f"{label}'s details changed"
    old, new = show_value(name, before, wording), show_value(name, after, wording)
    return f"renamed “{old}” → “{new}”" if name == "name" else f"{label} {old} → {new}"
