"""What a request said of a shared contact, in the other events that it is invited to. Pure.

With `invitation_ids = "shared"` a contact is one for all of its events: an event that is sent with
new data of a guest has changed the guest in events that are held, refused or not chosen, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from transforms.desired.payload import list_guests
from transforms.diff.body import dump_payload
from transforms.diff.clearing import CONTACT


class Contact(NamedTuple):
    """What was sent of a contact last. `certain`: essentry confirmed it."""

    fields: Mapping[str, Any]
    certain: bool


def list_contacts(sent: Iterable[tuple[bool, str, str]]) -> dict[str, Contact]:
    """Invitation id → its contact, by requests in the order of their answers.

    sent: whether essentry confirmed it, what the event is after it, and what was sent of it.
    """
    found: dict[str, Contact] = {}
    for certain, after, body in sent:
        wanted = list_guests(orjson.loads(after))
        for key, guest in list_guests(orjson.loads(body)).items():
            if "deletedAt" not in guest:
                found[key] = Contact(_pick_contact(wanted.get(key, guest)), certain)
    return found


def renew_contacts(payload: str, contacts: Mapping[str, Contact]) -> str | None:
    """The canonical JSON of an event that essentry holds with its guests as they are there now;
    None when that is what it says. Of a guest who may be either the id alone is left.
    """
    event = orjson.loads(payload)
    guests = [_renew(guest, contacts) for guest in event.get("invitations", [])]
    if guests == event.get("invitations", []):
        return None
    return dump_payload(event | {"invitations": guests})


def _renew(guest: dict[str, Any], contacts: Mapping[str, Contact]) -> dict[str, Any]:
    now = contacts.get(guest["sourceId"])
    if now is None or len(guest) == 1 or now.fields == _pick_contact(guest):
        return guest
    if not now.certain:
        return {"sourceId": guest["sourceId"]}
    own = {key: value for key, value in guest.items() if key not in CONTACT}
    return {**own, **now.fields}


def _pick_contact(guest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in guest.items() if key in CONTACT}
