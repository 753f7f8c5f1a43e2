"""What a person does by hand in essentry's dashboard, or what essentry loses: changes without a
PUT. The sandbox's own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from flows.sandbox.records import StoredContact, StoredEvent, StoredGuest
from flows.sandbox.rules import SandboxState
from schemas.essentry import Instant


class _Edit(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class RemoveGuest(_Edit):
    """A guest is taken off the list, and mailed."""

    kind: Literal["remove_guest"]
    event: str
    guest: str


class Change(_Edit):
    """An event gets another name, time or place; its guests are mailed."""

    kind: Literal["change"]
    event: str
    name: str | None = None
    startsAt: Instant | None = None
    endsAt: Instant | None = None
    locationId: int | None = None


class Rename(_Edit):
    """A guest gets another name or address; he or she is mailed."""

    kind: Literal["rename_guest"]
    guest: str
    firstName: str | None = None
    lastName: str | None = None
    email: str | None = None


class Add(_Edit):
    """A meeting that reception makes itself, or with `event` a guest more for an event that is
    there; the guests are mailed.
    """

    kind: Literal["add"]
    event: str
    name: str = "Reception's own"
    startsAt: Instant | None = None
    endsAt: Instant | None = None
    locationId: int | None = None
    guests: list[dict[str, str]]


class Lose(_Edit):
    """An event is gone as if it had never been, and nobody is mailed."""

    kind: Literal["lose"]
    event: str


Edit = Annotated[RemoveGuest | Change | Rename | Add | Lose, Field(discriminator="kind")]
_EDIT: TypeAdapter[Edit] = TypeAdapter(Edit)


def parse_edit(edit: bytes | dict[str, Any]) -> Edit:
    """Parse an edit; raises ValueError for one that is none."""
    return _EDIT.validate_json(edit) if isinstance(edit, bytes) else _EDIT.validate_python(edit)


def apply_edit(state: SandboxState, edit: Edit, *, now: str) -> None:
    """Do it; its mails carry the request number 0. Raises KeyError for an event or guest that is
    not there.
    """
    with state.change_by_hand() as touched:
        if isinstance(edit, Lose):
            event = state.events.pop(edit.event)
            for key in event.guests:
                state.contacts[key].events.discard(edit.event)
            touched.add(("event", edit.event))
        elif isinstance(edit, RemoveGuest):
            guest = state.events[edit.event].guests.pop(edit.guest)
            state.contacts[edit.guest].events.discard(edit.event)
            state.mail_by_hand("cancelled", edit.event, edit.guest, guest, now)
            touched.add(("event", edit.event))
        elif isinstance(edit, Rename):
            contact = state.contacts[edit.guest]
            contact.fields |= edit.model_dump(exclude={"kind", "guest"}, exclude_none=True)
            touched.add(("contact", edit.guest))
            for key in sorted(contact.events):
                state.mail_by_hand(
                    "updated", key, edit.guest, state.events[key].guests[edit.guest], now
                )
        elif isinstance(edit, Change):
            event = state.events[edit.event]
            event.fields |= edit.model_dump(exclude={"kind", "event"}, exclude_none=True)
            event.updated_at = now
            touched.add(("event", edit.event))
            for key, guest in event.guests.items():
                state.mail_by_hand("updated", edit.event, key, guest, now)
        else:
            _add(state, edit, touched, now)


def _add(state: SandboxState, edit: Add, touched: set[tuple[str, str]], now: str) -> None:
    event = state.events.get(edit.event)
    if event is None:
        fields: dict[str, Any] = edit.model_dump(
            include={"name", "startsAt", "endsAt", "locationId"}, exclude_none=True
        )
        fields["host"] = {"email": "reception@corp.example"}
        event = state.events[edit.event] = StoredEvent(state.new_id(), fields, {}, now, now)
    touched.add(("event", edit.event))
    for number, person in enumerate(edit.guests, len(event.guests) + 1):
        key = f"(by hand) {edit.event} {number}"
        state.contacts[key] = StoredContact(state.new_id(), dict(person), {edit.event})
        event.guests[key] = guest = StoredGuest(state.new_id(), None, {}, now, now)
        touched.add(("contact", key))
        state.mail_by_hand("invited", edit.event, key, guest, now)
