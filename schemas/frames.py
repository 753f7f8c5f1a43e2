"""pandera models of the frames between the steps. Text is pandas' `str`, instants are
datetime64[us, UTC].

`SourceEvents` and `SourceGuests` are what validation holds a source's typed rows against; `Events`
and `Invitations` are what is sent; `Rejects`, `Decisions` and `Mails` are what is reported. Each
check has a name, and `REMEDIES` says what an operator does about it.
"""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa

INSTANT = pd.DatetimeTZDtype("us", "UTC")
MAX_TEXT = 255

# (reason, remedy) of every check, by its name
REMEDIES: dict[str, tuple[str, str]] = {
    "key": ("no key", "give every row a source_event_id"),
    "guest_event_key": (
        "guest of no event",
        "give every guest row the source_event_id of its event",
    ),
    "unique_key": (
        "several rows with one key",
        "make the SELECT return one row an event (a join fans out)",
    ),
    "unique_guest": (
        "several different guests with one key",
        "make guest_id unique within the event, or leave it empty",
    ),
    "problem": (
        "the source says that it cannot be used",
        "see the value; correct the row in the source",
    ),
    "start": ("no readable start", "correct the start in the source, or `times` of the source"),
    "end": ("no readable end", "correct the end in the source, or `times` of the source"),
    "end_after_start": ("ends before it starts", "correct the times in the source"),
    "length": (
        "longer than a visit may be",
        "correct the end in the source, or raise window.longest_hours",
    ),
    "zone": (
        "unknown time zone",
        "use an IANA name such as Europe/Berlin in the row, the site or the source's timezone",
    ),
    "status": ("unknown status", "make the SELECT return confirmed, pending or cancelled"),
    "host": ("no host", "name an employee with an e-mail address as host"),
    "host_address": ("host's e-mail address is malformed", "correct the address in the source"),
    "host_active": ("host has left the company", "name another host in the source"),
    "place": ("no room and no site", "give the event a room or a site in the source"),
    "location": (
        "room and site are not mapped",
        "add the key under [sources.<name>.sites] or .rooms",
    ),
    "guest_address": ("guest's e-mail address is malformed", "correct the address in the source"),
    "guest_identity": (
        "guest without name and e-mail address",
        "give the guest a name or an address",
    ),
    "private_flag": ("private is neither yes nor no", "make the SELECT return 1 or 0"),
    "host_active_flag": ("host_active is neither yes nor no", "make the SELECT return 1 or 0"),
    "internal_flag": ("internal is neither yes nor no", "make the SELECT return 1 or 0"),
    "readable_text": (
        "a column holds bytes that are no text",
        "correct the characters in the source, or the character set of its table or connection",
    ),
    "guest_event_case": (
        "no event has this key, and one has it in other capitals",
        "make both SELECTs return the key in one spelling, such as LOWER(key)",
    ),
    "taken_id": (
        "its id was taken over for another record",
        "give this record another key in the SELECT, such as 'n' || key",
    ),
    "access_profiles": (
        "access_profiles is not the expected JSON",
        'return [{"partitionId": 1, "sourceId": "door"}]',
    ),
    "link": (
        "the linked meeting was not found",
        "correct linked_source and linked_event_id, or remove the link",
    ),
    "link_strangers": (
        "the record it points at is on another day and has none of its guests",
        (
            "correct or clear linked_source and linked_event_id: the link may come from a copy of "
            "another booking"
        ),
    ),
    "link_cycle": ("linked meetings form a circle", "correct linked_source and linked_event_id"),
    "required": (
        "a column that essentry needs is empty",
        "report this: the row passed validation of the source",
    ),
}


def _true(name: str) -> pa.Check:
    return pa.Check(lambda column: column, name=name)


_text = {"nullable": True, "required": False}

SourceEvents = pa.DataFrameSchema(
    {
        "source_event_id": pa.Column(str, description="key; unique"),
        "name": pa.Column(str, **_text),
        "description": pa.Column(str, **_text),
        "starts_at": pa.Column(INSTANT, nullable=True),
        "ends_at": pa.Column(INSTANT, nullable=True),
        "status": pa.Column(
            str,
            pa.Check(
                lambda column: column.isin(["confirmed", "pending", "cancelled"]), name="status"
            ),
        ),
        "host_email": pa.Column(str, nullable=True),
        "key_is_unique": pa.Column(bool, _true("unique_key")),
        "usable": pa.Column(bool, _true("problem")),
        "has_start": pa.Column(bool, _true("start")),
        "has_end": pa.Column(bool, _true("end")),
        "ends_after_start": pa.Column(bool, _true("end_after_start")),
        "short_enough": pa.Column(bool, _true("length")),
        "zone_known": pa.Column(bool, _true("zone")),
        "private_is_read": pa.Column(bool, _true("private_flag")),
        "host_active_is_read": pa.Column(bool, _true("host_active_flag")),
        "text_is_read": pa.Column(bool, _true("readable_text")),
        "has_host": pa.Column(bool, _true("host")),
        "host_address_ok": pa.Column(bool, _true("host_address")),
        "host_is_active": pa.Column(bool, _true("host_active")),
        "has_place": pa.Column(bool, _true("place")),
        "place_mapped": pa.Column(bool, _true("location")),
    },
    name="SourceEvents",
    description=(
        "typed rows of a source's events SELECT, after the rows without a key are set aside"
    ),
)

SourceGuests = pa.DataFrameSchema(
    {
        "source_event_id": pa.Column(str),
        "guest_key": pa.Column(str, nullable=True),
        "email": pa.Column(str, nullable=True),
        "key_is_unique": pa.Column(bool, _true("unique_guest")),
        "identity": pa.Column(str, nullable=True),
        "has_identity": pa.Column(bool, _true("guest_identity")),
        "address_ok": pa.Column(bool, _true("guest_address")),
        "profiles_ok": pa.Column(bool, _true("access_profiles")),
        "internal_is_read": pa.Column(bool, _true("internal_flag")),
        "text_is_read": pa.Column(bool, _true("readable_text")),
    },
    name="SourceGuests",
    description="typed rows of a source's guests SELECT",
)

_PERSON = {
    f"{role}_{part}": pa.Column(
        str, nullable=not (role == "host" and part == "email"), description=f"{role}'s {part}"
    )
    for role in ("host", "creator")
    for part in ("email", "first_name", "last_name", "phone")
}

Events = pa.DataFrameSchema(
    {
        "source_id": pa.Column(
            str, pa.Check.str_length(1, MAX_TEXT), unique=True, description="essentry's sourceId"
        ),
        "source": pa.Column(str),
        "source_event_id": pa.Column(str),
        "site_key": pa.Column(str, nullable=True),
        "name": pa.Column(str, pa.Check.str_length(1, MAX_TEXT)),
        "description": pa.Column(str, nullable=True),
        "starts_at": pa.Column(INSTANT),
        "ends_at": pa.Column(INSTANT),
        "location_id": pa.Column("Int64", nullable=False),
        "entrance_id": pa.Column("Int64", nullable=True),
        **_PERSON,
        "custom_fields": pa.Column(
            str, nullable=True, description="JSON object: custom field id → text"
        ),
        "updated_at": pa.Column(INSTANT, nullable=True),
        "members": pa.Column(
            str,
            nullable=True,
            description="JSON list of sourceIds of records that are this meeting too",
        ),
    },
    strict=True,
    name="Events",
    description="what essentry should hold, an event a row, sorted by source_id",
)

Invitations = pa.DataFrameSchema(
    {
        "source_id": pa.Column(str, description="the event"),
        "invitation_id": pa.Column(
            str, pa.Check.str_length(1, MAX_TEXT), description="essentry's sourceId of the guest"
        ),
        "identity": pa.Column(
            str, description="who it is, for merging and counting: address or name"
        ),
        "email": pa.Column(str, nullable=True),
        "first_name": pa.Column(str, nullable=True),
        "last_name": pa.Column(str, nullable=True),
        "company_name": pa.Column(str, nullable=True),
        "language": pa.Column(str, nullable=True),
        "custom_fields": pa.Column(str, nullable=True),
        "access_profiles": pa.Column(str, nullable=True),
    },
    strict=True,
    unique=["source_id", "invitation_id"],
    name="Invitations",
    description="the guests of `events`, sorted by source_id and invitation_id",
)

REJECT_COLUMNS = [
    "source",
    "part",
    "source_event_id",
    "guest_id",
    "source_id",
    "column",
    "check",
    "value",
    "remedy",
]
DECISION_COLUMNS = ["source_id", "source", "action", "reason"]
MAIL_COLUMNS = ["source_id", "source", "identity", "kind"]


def empty_frame(columns: list[str]) -> pd.DataFrame:
    """A frame of text columns without rows."""
    return pd.DataFrame({column: pd.Series(dtype="str") for column in columns})
