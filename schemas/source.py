"""What a source's two SELECTs return: the canonical columns, whatever the database.

Only the key, the start, a room or site, and the host's e-mail are compulsory; the other columns may be absent. Values arrive as text
(`str`, missing = NA) after extraction; `starts_at`, `ends_at` and `updated_at` are text too: ISO 8601, or epoch seconds.
"""

from __future__ import annotations

EVENT_COLUMNS: dict[str, str] = {
    "source_event_id": "the source's key of the event; unique in the SELECT",
    "name": "title",
    "description": "free text",
    "starts_at": "start, in the form that `times` names",
    "ends_at": "end, same form; missing: start + default_duration_minutes",
    "timezone": "IANA zone of wall-clock times of this row",
    "room_key": "the source's key of the room, looked up in [sources.<name>.rooms]",
    "room_name": "for the report only",
    "site_key": "the source's key of the site, looked up in [sources.<name>.sites]",
    "status": "confirmed, pending or cancelled; missing: confirmed",
    "private": "true: the title is replaced",
    "host_email": "the employee who receives the guests",
    "host_first_name": "",
    "host_last_name": "",
    "host_phone": "",
    "host_active": "false: the host has left the company; the row is quarantined",
    "creator_email": "the employee who made the booking",
    "creator_first_name": "",
    "creator_last_name": "",
    "creator_phone": "",
    "updated_at": "last change, same form as starts_at",
    "linked_source": "name of the source that holds the same meeting",
    "linked_event_id": "its source_event_id there",
    "problem": "a reason, given by the SELECT, why this row cannot be used (a period-mode area); the row is quarantined with it",
}
GUEST_COLUMNS: dict[str, str] = {
    "source_event_id": "the event",
    "guest_id": "the source's own opaque key of the guest; missing: an opaque number is kept for the e-mail or name",
    "email": "",
    "first_name": "",
    "last_name": "",
    "full_name": "one field for both names, split at the last blank, when first_name and last_name are missing",
    "company_name": "",
    "language": "any tag such as de_DE",
    "access_profiles": 'JSON: [{"partitionId": 1, "sourceId": "door"}]',
    "internal": "true: known to the source as an employee or user",
}
REQUIRED_EVENT_COLUMNS = ("source_event_id", "starts_at", "host_email")
REQUIRED_GUEST_COLUMNS = ("source_event_id",)
CUSTOM_PREFIX = "custom_"
STATUSES = ("confirmed", "pending", "cancelled")
