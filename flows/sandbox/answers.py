"""What the sandbox answers to reads: invitations of a location and check-ins."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flows.sandbox.records import StoredContact, StoredEvent, parse_instant
from flows.sandbox.rules import SandboxState


def list_invitations(
    state: SandboxState,
    location_id: int,
    *,
    ends_after: datetime | None,
    begins_before: datetime | None,
    updated_since: datetime | None,
    limit: int,
    offset: int,
) -> dict[str, Any]:
    """Answer GET /locations/{id}/invitations: live events only, by start, without the sourceIds."""
    with state.lock:
        found = []
        for event in state.events.values():
            fields = event.fields
            if event.deleted_at is not None or fields["locationId"] != location_id:
                continue
            starts_at = parse_instant(fields["startsAt"])
            if ends_after is not None and parse_instant(fields["endsAt"]) <= ends_after:
                continue
            if begins_before is not None and starts_at >= begins_before:
                continue
            for key, guest in event.guests.items():
                changed_at = max(parse_instant(guest.updated_at), parse_instant(event.updated_at))
                if updated_since is None or changed_at >= updated_since:
                    found.append((starts_at, guest.id, event, key))
        found.sort(key=lambda row: row[:2])
        page = [
            _describe_invitation(state, event, key)
            for _, _, event, key in found[offset : offset + limit]
        ]
        return {"invitations": page, "pageInfo": {"totalCount": len(found)}}


def _describe_invitation(state: SandboxState, event: StoredEvent, key: str) -> dict[str, Any]:
    guest, fields = event.guests[key], event.fields
    host = state.employees.get(fields["host"]["email"].strip().casefold(), {})
    return {
        "id": guest.id,
        "event": {
            "id": event.id,
            **{
                name: fields.get(name)
                for name in ("name", "startsAt", "endsAt", "locationId", "description")
            },
            "hostId": host.get("id"),
            "createdAt": event.created_at,
            "updatedAt": event.updated_at,
            "draft": False,
        },
        "contact": _describe_contact(state.contacts[key]),
        "createdAt": guest.created_at,
        "updatedAt": guest.updated_at,
    }


def _describe_contact(contact: StoredContact) -> dict[str, Any]:
    names = ("email", "firstName", "lastName", "companyName", "language")
    return {
        "id": contact.id,
        "birthdate": None,
        **{name: contact.fields.get(name) for name in names},
    }


def list_check_ins(
    state: SandboxState,
    location_id: int,
    *,
    left_after: datetime,
    left_before: datetime,
    limit: int,
    offset: int,
) -> dict[str, Any]:
    """Answer GET /locations/{id}/check-ins; visitors still there as `open_visits` says."""
    with state.lock:
        found = []
        for row in state.check_ins.values():
            if row["locationId"] != location_id:
                continue
            left_at = parse_instant(row["leftAt"]) if row["leftAt"] is not None else None
            listed = left_at is None and state.settings.open_visits == "listed"
            if listed or (left_at is not None and left_after <= left_at < left_before):
                found.append(row)
        page = [describe_check_in(row) for row in found[offset : offset + limit]]
        return {"checkIns": page, "pageInfo": {"totalCount": len(found)}}


def describe_check_in(row: dict[str, Any]) -> dict[str, Any]:
    """Return a check-in as essentry answers it."""
    return {key: value for key, value in row.items() if key != "locationId"}
