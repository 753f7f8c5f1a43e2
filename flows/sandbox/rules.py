"""What the sandbox knows and how a request changes it: the rules of the Synchronization API. No
HTTP here.

Where the public documentation is silent, the sandbox takes the reading that hurts the sender most:
whatever differs from the stored value mails. Rules and codes of that kind are marked "the sandbox's
own".
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from flows.sandbox.empties import ERROR_EMPTY_VALUE, EmptyRefused, merge_fields, read_empties
from flows.sandbox.records import (
    Mail,
    SandboxSettings,
    StoredContact,
    StoredEvent,
    StoredGuest,
    parse_instant,
)
from flows.sandbox.store import SandboxStore
from schemas.essentry import (
    STATUS_CANNOT_HOST,
    STATUS_SUCCESS,
    Event,
    EventsRequest,
    EventStatus,
    Invitation,
)

# The sandbox's own codes: essentry documents none of them.
ERROR_NAME_REQUIRED = "ERROR_NAME_REQUIRED"
ERROR_NAME_TOO_LONG = "ERROR_NAME_TOO_LONG"
ERROR_START_REQUIRED = "ERROR_START_REQUIRED"
ERROR_END_REQUIRED = "ERROR_END_REQUIRED"
ERROR_END_NOT_AFTER_START = "ERROR_END_NOT_AFTER_START"
ERROR_LOCATION_REQUIRED = "ERROR_LOCATION_REQUIRED"
ERROR_LOCATION_NOT_FOUND = "ERROR_LOCATION_NOT_FOUND"
ERROR_ENTRANCE_NOT_FOUND = "ERROR_ENTRANCE_NOT_FOUND"
ERROR_HOST_EMAIL_REQUIRED = "ERROR_HOST_EMAIL_REQUIRED"
ERROR_EVENT_NOT_FOUND = "ERROR_EVENT_NOT_FOUND"
ERROR_EVENT_DELETED = "ERROR_EVENT_DELETED"

NAME_MAX = 255
"""Characters; the sandbox's own limit."""


MAIL_KINDS = ("invited", "updated", "cancelled")
_CONTACT_FIELDS = ("email", "firstName", "lastName", "companyName", "language")
_GUEST_FIELDS = ("customFields", "accessProfiles")
_INSTANT_FIELDS = frozenset({"startsAt", "endsAt", "updatedAt"})
_NO_FIELD = frozenset({"sourceId", "invitations"})


class SandboxState:
    """Events, contacts, employees and the log of mails; every public method is safe to call from
    any thread.
    """

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.lock = threading.RLock()
        self._cannot_host = {email.casefold() for email in settings.cannot_host}
        self._clear()
        self._store = (
            SandboxStore(settings.persist_path) if settings.persist_path is not None else None
        )
        if self._store is not None:
            self._load(self._store)

    def _clear(self) -> None:
        self.events: dict[str, StoredEvent] = {}
        self.contacts: dict[str, StoredContact] = {}
        self.employees: dict[str, dict[str, Any]] = {}
        self.mails: list[Mail] = []
        self.mail_counts = dict.fromkeys(MAIL_KINDS, 0)
        self.requests: list[dict[str, Any]] = []
        self.check_ins: dict[int, dict[str, Any]] = {}
        self.counts = {
            "puts": 0,
            "gets": 0,
            "events": 0,
            "invitations": 0,
            "rejected": 0,
            "max_concurrent": 0,
        }
        self._next_id = 0
        self._touched: set[tuple[str, str]] = set()

    def _load(self, store: SandboxStore) -> None:
        for key, row in store.read("event"):
            guests = {name: StoredGuest(*guest) for name, guest in row.pop("guests").items()}
            self.events[key] = StoredEvent(guests=guests, **row)
        self.contacts = {
            key: StoredContact(row["id"], row["fields"]) for key, row in store.read("contact")
        }
        for key, event in self.events.items():
            for name in event.guests:
                self.contacts[name].events.add(key)
        self.employees = dict(store.read("employee"))
        self.check_ins = {int(key): row for key, row in store.read("check_in")}
        for row in store.read_log("mail"):
            self._log_mail(cast(Mail, tuple(row)))
        self.requests = store.read_log("request")
        self.counts.update(dict(store.read("counts")).get("all", {}))
        stored: list[StoredEvent | StoredContact | StoredGuest] = [
            *self.events.values(),
            *self.contacts.values(),
            *(g for e in self.events.values() for g in e.guests.values()),
        ]
        ids = (
            [row.id for row in stored]
            + [row["id"] for row in self.employees.values()]
            + list(self.check_ins)
        )
        self._next_id = max(ids, default=0)

    def reset(self) -> None:
        """Forget everything."""
        with self.lock:
            self._clear()
            if self._store is not None:
                self._store.clear()

    def close(self) -> None:
        """Close the state file; the state in memory stays readable."""
        with self.lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    def open(self) -> None:
        """Open the state file again after `close`, as a restarted server does; without one the
        memory is the state.
        """
        with self.lock:
            if self._store is None and self.settings.persist_path is not None:
                self._clear()
                self._store = SandboxStore(self.settings.persist_path)
                self._load(self._store)

    # --- applying ---

    def apply(
        self,
        request: EventsRequest,
        *,
        ignore_missing: bool,
        rejected: Mapping[str, str],
        number: int,
        now: str,
    ) -> list[EventStatus]:
        """Apply a well-formed request event by event and answer one status each, in order.

        `rejected` maps an event's sourceId to the error code it gets instead; `now` is ISO 8601 in
        UTC.
        """
        with self.lock:
            self.counts["events"] += len(request["events"])
            if self.settings.count_only:
                self.counts["invitations"] += sum(
                    len(event.get("invitations", ())) for event in request["events"]
                )
                return [
                    {"sourceId": event["sourceId"], "status": STATUS_SUCCESS}
                    for event in request["events"]
                ]
            first_mail = len(self.mails)
            statuses: list[EventStatus] = []
            for event in request["events"]:
                source_id = event["sourceId"]
                self.counts["invitations"] += len(event.get("invitations", ()))
                status = rejected.get(source_id) or self._apply_event(
                    event, ignore_missing=ignore_missing, number=number, now=now
                )
                statuses.append({"sourceId": source_id, "status": status})
            self._save(first_mail)
            return statuses

    def _apply_event(self, event: Event, *, ignore_missing: bool, number: int, now: str) -> str:
        source_id = event["sourceId"]
        stored = self.events.get(source_id)
        if "deletedAt" in event:
            return self._delete_event(source_id, stored, number=number, now=now)
        dead = stored is not None and stored.deleted_at is not None
        if dead and self.settings.on_deleted == "error":
            return ERROR_EVENT_DELETED
        try:
            event = read_empties(event, self.settings)
        except EmptyRefused:
            return ERROR_EMPTY_VALUE
        before: dict[str, Any] = stored.fields if stored is not None else {}
        fields = {key: value for key, value in event.items() if key not in _NO_FIELD}
        for role in ("host", "creator"):
            person: Any = fields.get(role)
            if person and role in before and _email_of(person) == _email_of(before[role]):
                fields[role] = before[role] | person
        after = merge_fields(before, fields, self.settings)
        problem = self._find_problem(after)
        if problem is not None:
            return problem

        changed = stored is not None and _differs(before, after)
        if stored is None:
            stored = self.events[source_id] = StoredEvent(self._new_id(), after, {}, now, now)
        elif changed:
            stored.fields, stored.updated_at = after, now
        self._touched.add(("event", source_id))
        for role in ("host", "creator"):
            if role in event and role in after:
                self._store_employee(after[role])
        kept = set(stored.guests)
        added, updated, removed = self._apply_guests(
            source_id, stored, event.get("invitations"), ignore_missing, number, now
        )

        if not dead:
            for key in removed:
                self._mail("cancelled", source_id, key, removed[key], number, now)
            for key in [key for key in stored.guests if key in kept] if changed else updated:
                self._mail("updated", source_id, key, stored.guests[key], number, now)
            for key in added:
                self._mail("invited", source_id, key, stored.guests[key], number, now)
        elif self.settings.on_deleted == "resurrect":
            stored.deleted_at, stored.updated_at = None, now
            for key, guest in stored.guests.items():
                self._mail("invited", source_id, key, guest, number, now)
        return STATUS_SUCCESS

    def _find_problem(self, fields: Mapping[str, Any]) -> str | None:
        """Judge the event as it would be after the request."""
        name = fields.get("name", "")
        if not name.strip():
            return ERROR_NAME_REQUIRED
        if len(name) > NAME_MAX:
            return ERROR_NAME_TOO_LONG
        if "startsAt" not in fields:
            return ERROR_START_REQUIRED
        if "endsAt" not in fields:
            return ERROR_END_REQUIRED
        if parse_instant(fields["endsAt"]) <= parse_instant(fields["startsAt"]):
            return ERROR_END_NOT_AFTER_START
        if "locationId" not in fields:
            return ERROR_LOCATION_REQUIRED
        email = _email_of(fields.get("host", {}))
        if not email:
            return ERROR_HOST_EMAIL_REQUIRED
        locations = self.settings.locations
        if locations is not None:
            if fields["locationId"] not in locations:
                return ERROR_LOCATION_NOT_FOUND
            if (
                "entranceId" in fields
                and fields["entranceId"] not in locations[fields["locationId"]]
            ):
                return ERROR_ENTRANCE_NOT_FOUND
        if email in self._cannot_host:
            return STATUS_CANNOT_HOST
        return None

    def _delete_event(
        self, source_id: str, stored: StoredEvent | None, *, number: int, now: str
    ) -> str:
        if stored is None:
            return ERROR_EVENT_NOT_FOUND
        if stored.deleted_at is not None:
            return ERROR_EVENT_DELETED if self.settings.on_deleted == "error" else STATUS_SUCCESS
        stored.deleted_at = stored.updated_at = now
        self._touched.add(("event", source_id))
        for key, guest in stored.guests.items():
            self._mail("cancelled", source_id, key, guest, number, now)
        return STATUS_SUCCESS

    def _apply_guests(
        self,
        source_id: str,
        stored: StoredEvent,
        invitations: list[Invitation] | None,
        ignore_missing: bool,
        number: int,
        now: str,
    ) -> tuple[list[str], list[str], dict[str, StoredGuest]]:
        """Bring the guests in line; return the added, the updated and the removed ones."""
        added: list[str] = []
        updated: list[str] = []
        removed: dict[str, StoredGuest] = {}
        if invitations is None:
            return added, updated, removed
        guests = stored.guests
        sent: set[str] = set()
        for invitation in invitations:
            key = invitation.get("sourceId") or self._find_guest(guests, invitation)
            # without the parameter deletedAt means nothing
            if ignore_missing and "deletedAt" in invitation:
                if key in guests:
                    removed[key] = guests.pop(key)
                continue
            sent.add(key)
            fresh = self._store_contact(
                key, invitation, elsewhere_than=source_id, number=number, now=now
            )
            own = {name: invitation[name] for name in _GUEST_FIELDS if name in invitation}  # type: ignore[literal-required]
            guest = guests.get(key)
            if guest is None:
                guests[key] = StoredGuest(
                    self._new_id(),
                    invitation.get("sourceId"),
                    merge_fields({}, own, self.settings),
                    now,
                    now,
                )
                added.append(key)
            elif fresh or merge_fields(guest.fields, own, self.settings) != guest.fields:
                guest.fields, guest.updated_at = merge_fields(guest.fields, own, self.settings), now
                updated.append(key)
            self.contacts[key].events.add(source_id)
        if not ignore_missing:
            for key in [key for key in guests if key not in sent]:
                removed[key] = guests.pop(key)
        for key in removed:
            self.contacts[key].events.discard(source_id)
        return added, updated, removed

    def _find_guest(self, guests: Mapping[str, StoredGuest], invitation: Invitation) -> str:
        """Match a guest without sourceId by e-mail and name within the event."""
        person = _person_of(invitation)
        for key in guests:
            if _person_of(self.contacts[key].fields) == person:
                return key
        return "(no sourceId) " + " ".join(person)

    def _store_contact(
        self, key: str, invitation: Invitation, *, elsewhere_than: str, number: int, now: str
    ) -> bool:
        """Create or change the contact; True when it was known and differs. Its other invitations
        are mailed too.
        """
        fields = {name: invitation[name] for name in _CONTACT_FIELDS if name in invitation}  # type: ignore[literal-required]
        contact = self.contacts.get(key)
        if contact is None:
            self.contacts[key] = StoredContact(
                self._new_id(), merge_fields({}, fields, self.settings)
            )
            self._touched.add(("contact", key))
            return False
        if all(contact.fields.get(name) == value for name, value in fields.items()):
            return False
        contact.fields = merge_fields(contact.fields, fields, self.settings)
        self._touched.add(("contact", key))
        for other in sorted(contact.events - {elsewhere_than}):
            if self.events[other].deleted_at is None:
                self._mail("updated", other, key, self.events[other].guests[key], number, now)
        return True

    def _store_employee(self, person: Mapping[str, Any]) -> None:
        email = _email_of(person)
        if email:
            known = self.employees.get(email)
            self.employees[email] = {**(known or {"id": self._new_id()}), **person}
            self._touched.add(("employee", email))

    def _mail(
        self, kind: str, event: str, key: str, guest: StoredGuest, number: int, now: str
    ) -> None:
        email = self.contacts[key].fields.get("email", "")
        if email.strip():  # nobody to mail otherwise
            self._log_mail((kind, event, guest.source_id, email, number, now))

    def _log_mail(self, mail: Mail) -> None:
        self.mails.append(mail)
        self.mail_counts[mail[0]] += 1

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    # --- by hand ---

    @contextmanager
    def change_by_hand(self) -> Iterator[set[tuple[str, str]]]:
        """A change that is no request, saved at its end; what is put into the set (kind, key) has
        changed or is gone.
        """
        with self.lock:
            first_mail = len(self.mails)
            yield self._touched
            self._save(first_mail)

    def mail_by_hand(self, kind: str, event: str, key: str, guest: StoredGuest, now: str) -> None:
        """A mail that no request caused: its number is 0."""
        self._mail(kind, event, key, guest, 0, now)

    def new_id(self) -> int:
        """The next id of essentry's own."""
        return self._new_id()

    # --- check-ins ---

    def find_invitation(self, source_id: str) -> tuple[StoredEvent, StoredContact] | None:
        """Find the invitation with this sourceId in a live event; the first by start when there are
        several.
        """
        with self.lock:
            contact = self.contacts.get(source_id)
            events = [self.events[key] for key in contact.events] if contact is not None else []
            live = [event for event in events if event.deleted_at is None]
            if contact is None or not live:
                return None
            return min(live, key=lambda event: parse_instant(event.fields["startsAt"])), contact

    def check_in(self, source_id: str, *, now: str, **more: Any) -> dict[str, Any] | None:
        """Open a check-in for an invitation; None when no live event has it. more: fields that a
        kiosk fills in besides.
        """
        with self.lock:
            found = self.find_invitation(source_id)
            if found is None:
                return None
            event, contact = found
            guest = event.guests[source_id]
            row = {
                "id": self._new_id(),
                "state": "ARRIVED",
                **{name: contact.fields.get(name) for name in _CONTACT_FIELDS},
                "birthdate": None,
                "arrivedAt": now,
                "leftAt": None,
                "legitimation": {
                    "sourceId": source_id,
                    "startsAt": event.fields["startsAt"],
                    "endsAt": event.fields["endsAt"],
                    "guest": {name: contact.fields.get(name) for name in _CONTACT_FIELDS},
                },
                "trustedId": None,
                "accessControl": None,
                "customFields": event.fields.get("customFields", {})
                | guest.fields.get("customFields", {}),
                "locationId": event.fields["locationId"],
                **more,
            }
            return self._keep_check_in(row)

    def walk_in(self, location_id: int, *, now: str, **more: Any) -> dict[str, Any]:
        """Open a check-in of somebody without an invitation: reception's own. more: who it is, in
        essentry's fields.
        """
        with self.lock:
            person = dict.fromkeys(
                (
                    *_CONTACT_FIELDS,
                    "birthdate",
                    "leftAt",
                    "legitimation",
                    "trustedId",
                    "accessControl",
                )
            )
            row: dict[str, Any] = {
                "id": self._new_id(),
                "state": "ARRIVED",
                **person,
                "arrivedAt": now,
                "customFields": {},
            }
            return self._keep_check_in(row | {"locationId": location_id} | more)

    def _keep_check_in(self, row: dict[str, Any]) -> dict[str, Any]:
        self.check_ins[row["id"]] = row
        self._touched.add(("check_in", str(row["id"])))
        self._save(len(self.mails))
        return row

    def leave(self, check_in_id: int, *, now: str, **more: Any) -> dict[str, Any] | None:
        """Close a check-in; None when it is unknown. more: fields that change with it, such as a
        state of the customer's own.
        """
        with self.lock:
            row = self.check_ins.get(check_in_id)
            if row is not None:
                row.update({"state": "LEFT", "leftAt": now} | more)
                self._touched.add(("check_in", str(check_in_id)))
                self._save(len(self.mails))
            return row

    # --- requests and persistence ---

    def begin_request(self, *, method: str, now: str, concurrent: int) -> dict[str, Any]:
        """Open the log entry of a PUT (kept) or count a read; returns the entry, its `number`
        counts from 1.
        """
        with self.lock:
            if method != "PUT":
                self.counts["gets"] += 1
                return {"number": 0}
            self.counts["puts"] += 1
            self.counts["max_concurrent"] = max(self.counts["max_concurrent"], concurrent)
            entry: dict[str, Any] = {
                "number": self.counts["puts"],
                "at": now,
                "status": None,
                "applied": False,
            }
            if not self.settings.count_only:
                self.requests.append(entry)
            return entry

    def end_request(self, entry: dict[str, Any]) -> None:
        """Count a rejected PUT and keep its log entry over a restart."""
        with self.lock:
            if not entry["applied"]:
                self.counts["rejected"] += 1
            if self._store is not None:
                self._store.write(
                    [("counts", "all", self.counts)], [("request", entry["number"], entry)]
                )

    def _save(self, first_mail: int) -> None:
        """Write what was touched in one transaction."""
        touched, self._touched = self._touched, set()
        if self._store is None:
            return
        lost = [key for kind, key in touched if kind == "event" and key not in self.events]
        rows: list[tuple[str, str, Any]] = [
            (kind, key, self._row(kind, key))
            for kind, key in touched
            if kind != "event" or key not in lost
        ]
        mails = [("mail", first_mail + n, mail) for n, mail in enumerate(self.mails[first_mail:])]
        self._store.write(
            [*rows, ("counts", "all", self.counts)], mails, lost=[("event", key) for key in lost]
        )

    def _row(self, kind: str, key: str) -> dict[str, Any]:
        if kind == "employee":
            return self.employees[key]
        if kind == "check_in":
            return self.check_ins[int(key)]
        if kind == "contact":
            return {"id": self.contacts[key].id, "fields": self.contacts[key].fields}
        event = self.events[key]
        names = ("id", "fields", "created_at", "updated_at", "deleted_at")
        guests = {
            name: (g.id, g.source_id, g.fields, g.created_at, g.updated_at)
            for name, g in event.guests.items()
        }
        return {name: getattr(event, name) for name in names} | {"guests": guests}


def _email_of(person: Mapping[str, Any]) -> str:
    email: str = person.get("email", "")
    return email.strip().casefold()


def _person_of(guest: Mapping[str, Any]) -> tuple[str, str, str]:
    first, last = guest.get("firstName", ""), guest.get("lastName", "")
    return _email_of(guest), first.strip().casefold(), last.strip().casefold()


def _differs(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether any field differs; instants are compared as instants, whatever their offset."""
    for key in {**before, **after}:
        old, value = before.get(key), after.get(key)
        if value != old and not (
            key in _INSTANT_FIELDS and old and value and parse_instant(old) == parse_instant(value)
        ):
            return True
    return False
