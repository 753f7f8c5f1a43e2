"""What the sandbox shows: its state as JSON and as a page, and essentry's read-back answers.
Changes nothing.
"""

from __future__ import annotations

from typing import Any

from jinja2 import Environment

from flows.sandbox.records import StoredContact, StoredEvent
from flows.sandbox.rules import SandboxState

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
""")  # noqa: E501


def describe_state(state: SandboxState) -> dict[str, Any]:
    """Return the whole state as JSON types.

    `events` and `tombstones` map sourceId → the event's wire fields plus `guests`, which maps
    invitation sourceId → contact fields, the guest's own fields and `effectiveCustomFields`; a
    guest without sourceId is under a key that starts with "(no sourceId)". `contacts` map
    invitation sourceId → fields, `employees` e-mail → fields, `mails` kind → count, `requests` what
    → count.
    """
    with state.lock:
        shown = {key: _describe_event(state, event) for key, event in state.events.items()}
        return {
            "events": {
                key: row for key, row in shown.items() if state.events[key].deleted_at is None
            },
            "tombstones": {
                key: row for key, row in shown.items() if state.events[key].deleted_at is not None
            },
            "contacts": {key: dict(contact.fields) for key, contact in state.contacts.items()},
            "employees": {key: dict(person) for key, person in state.employees.items()},
            "mails": dict(state.mail_counts),
            "requests": dict(state.counts),
        }


def _describe_event(state: SandboxState, event: StoredEvent) -> dict[str, Any]:
    default = event.fields.get("customFields", {})
    guests = {
        key: state.contacts[key].fields
        | guest.fields
        | {"effectiveCustomFields": default | guest.fields.get("customFields", {})}
        for key, guest in event.guests.items()
    }
    row = event.fields | {"guests": guests}
    return row | {"deletedAt": event.deleted_at} if event.deleted_at is not None else row


def describe_mails(state: SandboxState) -> list[dict[str, Any]]:
    """Return the log of mails: kind, event and invitation (sourceIds), email, request (number of
    the PUT), at.
    """
    names = ("kind", "event", "invitation", "email", "request", "at")
    with state.lock:
        return [dict(zip(names, mail, strict=True)) for mail in state.mails]


def describe_requests(state: SandboxState) -> dict[str, Any]:
    """Return the counts (puts, gets, events, invitations, rejected, max_concurrent) and `log`, one
    entry a PUT.
    """
    with state.lock:
        return {**state.counts, "log": [dict(entry) for entry in state.requests]}


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
                **{
                    name: event.fields.get(name, "")
                    for name in ("name", "startsAt", "endsAt", "locationId")
                },
            }
            for key, event in list(state.events.items())[:PAGE_EVENTS]
        ]
        return _PAGE.render(
            figures=figures, rows=rows, more=max(0, len(state.events) - PAGE_EVENTS)
        )


def _label(contact: StoredContact) -> str:
    names = (contact.fields.get("firstName", ""), contact.fields.get("lastName", ""))
    return " ".join(name for name in names if name) or contact.fields.get("email", "")
