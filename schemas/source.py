"""What a source's two SELECTs return: the canonical columns, whatever the database.

Only the key, the start, a room or site, and the host's e-mail are compulsory; the other columns may
be absent. Values arrive as text (`str`, missing = NA) after extraction; `starts_at`, `ends_at` and
`updated_at` are text too: ISO 8601, or epoch seconds.
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
    "private": "yes: the title is replaced; see FLAG_WORDS and PRIVATE_WORDS",
    "host_email": "the employee who receives the guests",
    "host_first_name": "",
    "host_last_name": "",
    "host_phone": "",
    "host_active": (
        "no: the host has left the company; the row is quarantined; see FLAG_WORDS and ACTIVE_WORDS"
    ),
    "creator_email": "the employee who made the booking",
    "creator_first_name": "",
    "creator_last_name": "",
    "creator_phone": "",
    "updated_at": "last change, same form as starts_at",
    "linked_source": "name of the source that holds the same meeting",
    "linked_event_id": "its source_event_id there",
    "problem": (
        "a reason, given by the SELECT, why this row cannot be used (a period-mode area); "
        "the row is quarantined with it"
    ),
}
GUEST_COLUMNS: dict[str, str] = {
    "source_event_id": "the event",
    "guest_id": (
        "the source's own opaque key of the guest; missing: an opaque number is kept for the "
        "e-mail or name"
    ),
    "email": "",
    "first_name": "",
    "last_name": "",
    "full_name": (
        "one field for both names, split at the last blank, when first_name and last_name are "
        "missing"
    ),
    "company_name": "",
    "language": "any tag such as de_DE",
    "access_profiles": 'JSON: [{"partitionId": 1, "sourceId": "door"}]',
    "internal": (
        "yes: known to the source as an employee or user; see FLAG_WORDS and INTERNAL_WORDS"
    ),
}
REQUIRED_EVENT_COLUMNS = ("source_event_id", "starts_at", "host_email")
REQUIRED_GUEST_COLUMNS = ("source_event_id",)
CUSTOM_PREFIX = "custom_"
STATUSES = ("confirmed", "pending", "cancelled")

FLAG_WORDS: dict[str, bool] = dict.fromkeys(
    ("1", "-1", "true", "t", "yes", "y", "on", "x", "ja", "j", "wahr", "oui", "vrai", "si", "sí",
        "sì", "sim", "vero", "tak", "ano", "da", "igen"),
    True,
) | dict.fromkeys(
    ("0", "false", "f", "no", "n", "off", "nein", "falsch", "non", "faux", "nee", "falso", "não",
        "nie", "ne", "nem"), False
)  # fmt: skip
"""The words that every flag knows, in any case; a number that is 0 or 1 is one of them, and so is a
bit. What is no word of a flag quarantines its row: an unknown word is never "no"."""
PRIVATE_WORDS: dict[str, bool] = dict.fromkeys(
    (
        "private",
        "privat",
        "personal",
        "persönlich",
        "confidential",
        "vertraulich",
        "secret",
        "geheim",
        "hidden",
    ),
    True,
) | dict.fromkeys(("public", "öffentlich", "normal", "default", "open"), False)
"""The words of `private` besides (the classes of iCalendar and of Outlook among them). Any number
but 0 is private.
"""
ACTIVE_WORDS: dict[str, bool] = {
    **dict.fromkeys(("active", "aktiv", "enabled", "employed"), True),
    **dict.fromkeys(
        ("inactive", "inaktiv", "disabled", "left", "terminated", "deleted", "resigned"), False
    ),
}
"""The words of `host_active` besides."""
INTERNAL_WORDS: dict[str, bool] = {
    **dict.fromkeys(("internal", "intern", "employee", "staff"), True),
    **dict.fromkeys(("external", "extern", "guest", "visitor"), False),
}
"""The words of `internal` besides."""
