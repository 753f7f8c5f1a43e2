"""What the sandbox shows: its state as JSON and as a page, and essentry's read-back answers. Changes nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jinja2 import Environment

from flows.sandbox_state import SandboxState, StoredContact, StoredEvent, parse_instant

PAGE_EVENTS = 200

_PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>essentry sandbox</title>
<meta name="viewport" content="width=device-width">
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2530 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #d8dee6 }
.deleted { color: #8a2020; text-decoration: line-through }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem }
dt { color: #566 } dd { margin: 0; font-size: 1.5rem }
</style>
</head>
<body>
<h1>essentry sandbox</h1>
<p>Plays essentry's events API on this machine. Mails are counted, never sent.</p>
<dl>
{% for label, number in figures %}
<div><dt>{{ label }}</dt><dd>{{ number }}</dd></div>
{% endfor %}
</dl>
<h2>Events</h2>
<table>
<thead><tr><th>sourceId</th><th>Name</th><th>Start</th><th>End</th><th>Location</th><th>Host</th><th>Guests</th></tr></thead>
<tbody>
{% for row in rows %}
<tr{% if row.deleted %} class="deleted"{% endif %}>
<td>{{ row.source_id }}</td><td>{{ row.name }}</td>
<td>{{ row.startsAt }}</td><td>{{ row.endsAt }}</td><td>{{ row.locationId }}</td>
<td>{{ row.host }}</td><td>{{ row.guests|join(", ") }}</td></tr>
{% else %}
<tr><td colspan="7">No event yet.</td></tr>
{% endfor %}
</tbody>
</table>
{% if more %}<p>… and {{ more }} more.</p>{% endif %}
</body>
</html>
""")


def describe_state(state: SandboxState) -> dict[str, Any]:
    """Return the whole state as JSON types.

    `events` and `tombstones` map sourceId → the event's wire fields plus `guests`, which maps invitation sourceId →
    contact fields, the guest's own fields and `effectiveCustomFields`; a guest without sourceId is under a key that
    starts with "(no sourceId)". `contacts` map invitation sourceId → fields, `employees` e-mail → fields, `mails`
    kind → count, `requests` what → count.
    """
    with state.lock:
        shown = {key: _describe_event(state, event) for key, event in state.events.items()}
        return {
            "events": {key: row for key, row in shown.items() if state.events[key].deleted_at is None},
            "tombstones": {key: row for key, row in shown.items() if state.events[key].deleted_at is not None},
            "contacts": {key: dict(contact.fields) for key, contact in state.contacts.items()},
            "employees": {key: dict(person) for key, person in state.employees.items()},
            "mails": dict(state.mail_counts),
            "requests": dict(state.counts),
        }


def _describe_event(state: SandboxState, event: StoredEvent) -> dict[str, Any]:
    default = event.fields.get("customFields", {})
    guests = {
        key: state.contacts[key].fields | guest.fields | {"effectiveCustomFields": default | guest.fields.get("customFields", {})}
        for key, guest in event.guests.items()
    }
    row = event.fields | {"guests": guests}
    return row | {"deletedAt": event.deleted_at} if event.deleted_at is not None else row


def describe_mails(state: SandboxState) -> list[dict[str, Any]]:
    """Return the log of mails: kind, event and invitation (sourceIds), email, request (number of the PUT), at."""
    names = ("kind", "event", "invitation", "email", "request", "at")
    with state.lock:
        return [dict(zip(names, mail, strict=True)) for mail in state.mails]


def describe_requests(state: SandboxState) -> dict[str, Any]:
    """Return the counts (puts, gets, events, invitations, rejected, max_concurrent) and `log`, one entry a PUT."""
    with state.lock:
        return {**state.counts, "log": [dict(entry) for entry in state.requests]}


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
        page = [_describe_invitation(state, event, key) for _, _, event, key in found[offset : offset + limit]]
        return {"invitations": page, "pageInfo": {"totalCount": len(found)}}


def _describe_invitation(state: SandboxState, event: StoredEvent, key: str) -> dict[str, Any]:
    guest, fields = event.guests[key], event.fields
    host = state.employees.get(fields["host"]["email"].strip().casefold(), {})
    return {
        "id": guest.id,
        "event": {
            "id": event.id,
            **{name: fields.get(name) for name in ("name", "startsAt", "endsAt", "locationId", "description")},
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
    return {"id": contact.id, "birthdate": None, **{name: contact.fields.get(name) for name in names}}


def list_check_ins(
    state: SandboxState,
    location_id: int,
    *,
    left_after: datetime | None,
    left_before: datetime | None,
    limit: int,
    offset: int,
) -> dict[str, Any]:
    """Answer GET /locations/{id}/check-ins; visitors still there only without bounds (the sandbox's own rule)."""
    with state.lock:
        found = []
        for row in state.check_ins.values():
            left_at = parse_instant(row["leftAt"]) if row["leftAt"] is not None else None
            late = left_after is None or (left_at is not None and left_at >= left_after)
            early = left_before is None or (left_at is not None and left_at < left_before)
            if row["locationId"] == location_id and late and early:
                found.append(describe_check_in(row))
        return {"checkIns": found[offset : offset + limit], "pageInfo": {"totalCount": len(found)}}


def describe_check_in(row: dict[str, Any]) -> dict[str, Any]:
    """Return a check-in as essentry answers it."""
    return {key: value for key, value in row.items() if key != "locationId"}


def render_page(state: SandboxState) -> str:
    """Render the state as a page of HTML; the first events only."""
    with state.lock:
        live = sum(event.deleted_at is None for event in state.events.values())
        figures = [
            ("live events", live),
            ("deleted events", len(state.events) - live),
            ("contacts", len(state.contacts)),
            ("employees", len(state.employees)),
            *((f"mails: {kind}", number) for kind, number in state.mail_counts.items()),
            ("requests", state.counts["puts"]),
        ]
        rows = [
            {
                "source_id": key,
                "deleted": event.deleted_at is not None,
                "host": event.fields["host"]["email"],
                "guests": [_label(state.contacts[name]) or name for name in event.guests],
                **{name: event.fields.get(name, "") for name in ("name", "startsAt", "endsAt", "locationId")},
            }
            for key, event in list(state.events.items())[:PAGE_EVENTS]
        ]
        return _PAGE.render(figures=figures, rows=rows, more=max(0, len(state.events) - PAGE_EVENTS))


def _label(contact: StoredContact) -> str:
    names = (contact.fields.get("firstName", ""), contact.fields.get("lastName", ""))
    return " ".join(name for name in names if name) or contact.fields.get("email", "")
