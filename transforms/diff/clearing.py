"""What becomes of a value that essentry holds and that is wanted no longer (S22). Pure.

A field left out of a request stays as it was, and that is all the API says: whether an empty text,
an empty list or null takes a value away is not documented. So every field has a row in FIELDS, with
the empty value that its type has, if it has one; `[essentry] clearing` says what was proven at the
user's essentry; and what is not cleared for sure is written down with the event, under UNCLEARED,
for as long as essentry may hold it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from transforms.desired.payload import list_guests

UNCLEARED = "uncleared"
"""Member of a stored payload, never sent: [invitation id or "", field, what was sent of it: empty
or kept].
"""


CONTACT = ("sourceId", "email", "firstName", "lastName", "companyName", "language")
"""Of a guest what is the contact's: it is one wherever the invitation's id is, also after a
removal.
"""


class Field(NamedTuple):
    """How a lost value is sent. `part`: event or guest; `empty`: of its type, None where that has
    none; `nullable`: null is tried when it is proven; `grave`: left standing it opens a door, leads
    to a wrong one or mails a wrong person.
    """

    part: str
    path: str
    empty: Any
    nullable: bool
    grave: bool
    meaning: str


FIELDS = (
    # required: the build always has a value, so none is ever lost
    Field("event", "name", None, False, False, "the old title may still stand"),
    Field("event", "startsAt", None, False, True, "the old start may still stand"),
    Field("event", "endsAt", None, False, True, "the old end may still stand"),
    Field("event", "locationId", None, False, True, "the old location may still stand"),
    Field("event", "host.email", None, False, True, "the old host may still stand"),
    Field("event", "description", "", True, False, "the old description may still stand"),
    Field("event", "entranceId", None, True, True, "guests may still be sent to the old entrance"),
    # an employee's name is one for all their meetings, and a directory may own it: it is never
    # blanked
    Field("event", "host.firstName", None, False, False, "the host's old first name stands"),
    Field("event", "host.lastName", None, False, False, "the host's old last name stands"),
    Field(
        "event",
        "host.phoneNumber",
        "",
        True,
        True,
        "the host may still be called at the old number",
    ),
    Field("event", "creator", None, True, False, "the old creator may still stand"),
    Field("event", "creator.email", None, False, False, "the old creator's address stands"),
    Field("event", "creator.firstName", None, False, False, "the creator's old first name stands"),
    Field("event", "creator.lastName", None, False, False, "the creator's old last name stands"),
    Field(
        "event", "creator.phoneNumber", "", True, False, "the creator's old number may still stand"
    ),
    Field(
        "event",
        "customFields",
        "",
        True,
        False,
        "the old value of this custom field may still stand",
    ),
    Field("guest", "email", "", True, True, "mails may still go to the old address"),
    Field("guest", "firstName", "", True, False, "the guest's old first name may still stand"),
    Field("guest", "lastName", "", True, False, "the guest's old last name may still stand"),
    Field("guest", "companyName", "", True, False, "the guest's old company may still stand"),
    Field("guest", "language", None, True, False, "mails may still be in the old language"),
    # a guest's own value wins over the event's: where the event has one, that is sent for the guest
    Field(
        "guest",
        "customFields",
        "",
        True,
        False,
        "the guest's old value of this custom field may still stand",
    ),
    Field(
        "guest", "accessProfiles", [], True, True, "the guest's old door access may still be open"
    ),
)
_FIELDS = {(field.part, field.path): field for field in FIELDS}
_ROLES = ("host", "creator")
_OBJECTS = (*_ROLES, "customFields")


def find_field(invitation_id: str | None, path: str) -> Field:
    """The row of FIELDS of a field as UNCLEARED names it; of a custom field the row of all."""
    base = "customFields" if path.startswith("customFields.") else path
    return _FIELDS["guest" if invitation_id else "event", base]


class Cleared(NamedTuple):
    """`after`: the event as essentry will hold it, with what may still stand under UNCLEARED.
    `values`: invitation id, or "" for the event → field → the empty value that is sent beside the
    fields of `after`.
    """

    after: dict
    values: dict[str, dict[str, Any]]


def clear_lost(
    held: Sequence[dict], after: dict, *, clearing: str, refused: bool = False
) -> Cleared:
    """Decide about every value that may be in essentry and that `after` does not have.

    held: payloads that essentry may hold: the confirmed one, and those of requests without an
    answer. clearing: as configured. refused: essentry refused this event the last time: what is not
    proven is not tried again, and stands by name.
    """
    work = _Clearing(clearing, refused)
    work.settle("", _list_standing(held, after, clearing), _values_of(after))
    guests = []
    for key, guest in list_guests(after).items():
        copies = [old for payload in held if (old := list_guests(payload).get(key)) is not None]
        standing: dict[str, str | None] = {}
        for payload in held:
            standing |= _marks_of(payload, key)
        for old in copies:
            standing |= dict.fromkeys(_values_of(old))
        own = {name for old in copies for name in old.get("customFields", {})}
        own |= {path.partition(".")[2] for path in standing if path.startswith("customFields.")}
        guest = _fall_back(guest, own, after.get("customFields", {}))
        work.settle(key, standing, _values_of(guest))
        guests.append(work.keep_empty(key, guest, own))
    settled = {name: value for name, value in after.items() if name != "invitations"}
    if work.marks:
        settled[UNCLEARED] = [[*place, how] for place, how in sorted(work.marks.items())]
    return Cleared(settled | {"invitations": guests}, work.values)


def _list_standing(held: Iterable[dict], after: dict, clearing: str) -> dict[str, str | None]:
    """Fields of the event that may be in essentry → None, or how they were sent when they were lost
    earlier.
    """
    standing: dict[str, str | None] = {}
    for payload in held:
        found: dict[str, str | None] = {
            **_marks_of(payload, ""),
            **dict.fromkeys(_values_of(payload)),
        }
        for role in _ROLES:
            mine = {path: found.pop(path) for path in list(found) if path.partition(".")[0] == role}
            if role in after:
                if not _are_different(payload.get(role), after[role]):
                    found |= {path: how for path, how in mine.items() if path != role}
            elif mine:
                # the whole person is lost; the details are asked for again when they come back
                found[role] = mine.pop(role, None)
                if clearing != "null":
                    found |= dict.fromkeys(
                        (path for path in mine if path != f"{role}.email"), "kept"
                    )
        for path, how in found.items():
            if path not in standing or how is None:
                standing[path] = how
    return standing


def _are_different(one: dict | None, other: dict | None) -> bool:
    """Whether these are two employees: an e-mail is one."""
    emails = [(person or {}).get("email", "").casefold() for person in (one, other)]
    return "" not in emails and emails[0] != emails[1]


def _marks_of(payload: dict, key: str) -> dict[str, str]:
    return {path: how for guest, path, how in payload.get(UNCLEARED, ()) if guest == key}


def _values_of(part: dict) -> dict[str, Any]:
    """The fields with a value, `host.phoneNumber`, `customFields.7`; of an event without its
    guests.
    """
    found: dict[str, Any] = {}
    for name, value in part.items():
        if name in ("sourceId", "invitations", UNCLEARED):
            continue
        if name in _OBJECTS:
            found |= {
                f"{name}.{key}": item for key, item in value.items() if item not in ("", None)
            }
        elif value not in ("", None, []):
            found[name] = value
    return found


def _fall_back(guest: dict, own: Iterable[str], of_event: Mapping[str, Any]) -> dict:
    """The guest with the event's value of custom fields that were the guest's own, and would win
    over it for ever.
    """
    given = guest.get("customFields", {})
    fallen = {name: of_event[name] for name in own if not given.get(name) and of_event.get(name)}
    return {**guest, "customFields": _in_order({**given, **fallen})} if fallen else guest


def _in_order(fields: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(fields.items(), key=lambda item: (len(item[0]), item[0])))  # ids are numbers


class _Clearing:
    """What is decided, field by field."""

    def __init__(self, clearing: str, refused: bool) -> None:
        self.clearing, self.refused = clearing, refused
        self.marks: dict[tuple[str, str], str] = {}
        self.values: dict[str, dict[str, Any]] = {}

    def settle(
        self, key: str, standing: Mapping[str, str | None], wanted: Mapping[str, Any]
    ) -> None:
        """Decide about the fields that may stand and are not wanted: what was lost earlier is left
        as it was sent, unless it can be cleared for sure by now.
        """
        for path in sorted(set(standing) - set(wanted)):
            field, how = find_field(key or None, path), standing[path]
            form = self._form(field)
            sure = is_sure(form, self.clearing)
            if how is not None and (form == how or not sure):
                self.marks[key, path] = how
                continue
            if form != "kept":
                self.values.setdefault(key, {})[path] = None if form == "null" else field.empty
            if not sure:
                self.marks[key, path] = form

    def _form(self, field: Field) -> str:
        if self.clearing == "null":
            return "null" if field.nullable else "kept"
        return (
            "kept"
            if field.empty is None or (self.refused and self.clearing == "unproven")
            else "empty"
        )

    def keep_empty(self, key: str, guest: dict, own: Iterable[str]) -> dict:
        """The guest with own custom fields that were sent empty: they are known to be the guest's
        when the event gets a value again.
        """
        given, values = guest.get("customFields", {}), self.values.get(key, {})
        paths = {name: f"customFields.{name}" for name in own if name not in given}
        empty = {
            name: ""
            for name, path in paths.items()
            if values.get(path, "") is not None and self.marks.get((key, path)) != "kept"
        }
        return {**guest, "customFields": _in_order({**given, **empty})} if empty else guest


def is_sure(form: str, clearing: str) -> bool:
    """Whether a value that was sent so is gone."""
    return form == "null" or (form == "empty" and clearing == "empty")


def add_values(part: dict, values: Mapping[str, Any]) -> dict:
    """A part of a request with the empty values that are sent beside its fields."""
    sent = {name: value for name, value in part.items() if name != UNCLEARED}
    for path, value in values.items():
        name, _, inner = path.partition(".")
        sent[name] = {**sent.get(name, {}), inner: value} if inner else value
    return sent


def list_uncleared(
    payloads: Mapping[str, str], *, clearing: str
) -> list[tuple[str, str | None, str]]:
    """(source_id, invitation id or None, field) of what is not surely taken away, from stored
    payloads; sorted.
    """
    found = []
    for source_id, text in payloads.items():
        if f'"{UNCLEARED}":' in text:
            found += list_marks(source_id, orjson.loads(text), clearing=clearing)
    return sorted(found, key=lambda item: (item[0], item[1] or "", item[2]))


def list_marks(
    source_id: str, payload: dict, *, clearing: str
) -> list[tuple[str, str | None, str]]:
    """As `list_uncleared`, of one parsed payload; a person who stands as a whole is told once."""
    marks = [
        (key, path) for key, path, how in payload.get(UNCLEARED, ()) if not is_sure(how, clearing)
    ]
    whole = {path for key, path in marks if not key and path in _ROLES}
    return [
        (source_id, key or None, path)
        for key, path in marks
        if key or path in _ROLES or path.partition(".")[0] not in whole
    ]
