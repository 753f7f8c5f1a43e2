"""Names and addresses made unreadable, in texts and in records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson


def mask_address(address: str) -> str:
    """An address as logs may show it: `a…@corp.example`."""
    local, at, domain = address.partition("@")
    return f"{local[:1]}…@{domain}" if at else mask_name(address)


def mask_name(name: str) -> str:
    """A name as logs may show it: initials."""
    return " ".join(f"{word[0]}…" for word in name.split()) if name.strip() else ""


# it begins where a word begins: tried at every letter of a long word, the work would grow with its
# square
_ADDRESS = re.compile(
    r"(?<![^\s@<>\"'(),;:])[^\s@<>\"'(),;:]++@[^\s@<>\"'(),;:]+\.[^\s@<>\"'(),;:]+"
)


def mask_text(text: str) -> str:
    """A text with the e-mail addresses in it masked."""
    return _ADDRESS.sub(lambda hit: mask_address(hit[0]), text)


# what a database could not take is a cell of a row: `invalid input …: "Ada Lovelace"`, `Key
# (email)=(ada@…)`
_CELL_OF_A_ROW = re.compile(r"(?<=: )([\"'])(.+)\1")
_KEY_OF_A_ROW = re.compile(r"(?<=\)=)\(([^()]*)\)")


def mask_words(text: str, names: Iterable[str] = ()) -> str:
    """What another party says, a database or essentry, without the people in it: addresses, values
    of rows that it repeats, and known names.
    """
    text = _CELL_OF_A_ROW.sub(lambda hit: f"{hit[1]}{mask_name(hit[2])}{hit[1]}", text)
    text = _KEY_OF_A_ROW.sub(lambda hit: f"({mask_name(hit[1])})", text)
    for name in sorted({name for name in names if len(name) > 1}, key=len, reverse=True):
        text = re.sub(
            rf"(?<!\w){re.escape(name)}(?!\w)",
            lambda hit: mask_name(hit[0]),
            text,
            flags=re.IGNORECASE,
        )
    return mask_text(text)


def mask_value(name: str, value: Any) -> Any:
    """A field's value without a person in it: places and times stay."""
    if value is None or name in ("startsAt", "endsAt", "locationId", "entranceId"):
        return value
    if name in ("host", "creator") and isinstance(value, dict):
        return mask_person(value)
    if name == "customFields" and isinstance(value, dict):
        return dict.fromkeys(value, "…")
    return mask_name(str(value)) if name == "name" else "…"


def mask_person(person: Mapping[str, Any]) -> dict[str, Any]:
    """A guest or host with shortened name and address; what does not name a person stays."""
    masked = dict(person)
    for key in masked:
        if key in ("firstName", "lastName"):
            masked[key] = mask_name(str(masked[key]))
        elif key == "email":
            masked[key] = mask_address(str(masked[key]))
        elif key == "sourceId":
            masked[key] = (
                "…" if "~40" in str(masked[key]) or "@" in str(masked[key]) else masked[key]
            )
        elif key == "customFields":
            masked[key] = dict.fromkeys(masked[key], "…")
        elif key in ("phoneNumber", "companyName"):
            masked[key] = "…"
    return masked


def keep_ids(payload: str | None) -> str | None:
    """The canonical JSON of an ended event without people and words: its id, times and place, and
    its guests' ids.
    """
    if not payload:
        return payload
    value = orjson.loads(payload)
    kept = {
        key: value[key]
        for key in ("sourceId", "startsAt", "endsAt", "locationId", "entranceId")
        if key in value
    }
    kept["invitations"] = [
        {"sourceId": guest["sourceId"]} for guest in value.get("invitations", [])
    ]
    return orjson.dumps(kept).decode()


def mask_ledger(
    fields_json: str | None, guests_json: str | None, message: str | None
) -> dict[str, str | None]:
    """A change of the ledger with its people masked: which fields and how many guests stays to be
    seen.
    """
    fields = orjson.loads(fields_json) if fields_json else None
    guests = orjson.loads(guests_json) if guests_json else None
    if fields is not None:
        fields = [
            {
                "field": f["field"],
                **{side: mask_value(f["field"], f[side]) for side in ("before", "after")},
            }
            for f in fields
        ]
    if guests is not None:
        guests = {kind: [_only_id(guest) for guest in people] for kind, people in guests.items()}
    return {
        "fields_json": None if fields is None else orjson.dumps(fields).decode(),
        "guests_json": None if guests is None else orjson.dumps(guests).decode(),
        "message": mask_text(message) if message else message,
    }


def _only_id(guest: Mapping[str, Any]) -> dict[str, Any]:
    if "after" in guest:
        return {side: _only_id(guest[side]) for side in ("before", "after")}
    return {"sourceId": guest["sourceId"]}


def mask_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """A change of report.json with its people masked; `what` is for the caller to say anew."""
    return {
        **record,
        "name": mask_value("name", record["name"]),
        "message": mask_text(record["message"]) if record["message"] else record["message"],
        "fields": [
            {
                "field": f["field"],
                **{side: mask_value(f["field"], f[side]) for side in ("before", "after")},
            }
            for f in record["fields"]
        ],
        "added": [mask_person(guest) for guest in record["added"]],
        "removed": [mask_person(guest) for guest in record["removed"]],
        "changed": [
            {side: mask_person(guest) for side, guest in pair.items()} for pair in record["changed"]
        ],
    }
