"""What a guard of one's own may ask: the columns of the views `plan` and `mails`, with type, unit
and zone.

Types are DuckDB's. Instants are TIMESTAMP WITH TIME ZONE in UTC:
`starts_at AT TIME ZONE 'Europe/Berlin'` is the clock of a site. Columns that end in `_before` are
what essentry confirmed last, and are NULL for an event that is new to it. A column is added, never
renamed or removed.
"""

from __future__ import annotations

from typing import NamedTuple


class ViewColumn(NamedTuple):
    """A column of a view. `unit`: of its values, with the zone of an instant."""

    type: str
    unit: str
    description: str


_INSTANT = "TIMESTAMP WITH TIME ZONE"

PLAN: dict[str, ViewColumn] = {
    "source_id": ViewColumn("VARCHAR", "id", "the event, as essentry knows it; one row each"),
    "source": ViewColumn("VARCHAR", "name", "the source, as [sources] names it"),
    "action": ViewColumn("VARCHAR", "word", "create, update or delete"),
    "reason": ViewColumn(
        "VARCHAR",
        "word",
        "why, for a delete: absent, cancelled, guestless or merged; else mostly NULL",
    ),
    "name": ViewColumn("VARCHAR", "text", "title"),
    "name_before": ViewColumn("VARCHAR", "text", "title that essentry has"),
    "starts_at": ViewColumn(_INSTANT, "UTC", "start; of a delete as essentry has it"),
    "starts_at_before": ViewColumn(_INSTANT, "UTC", "start that essentry has"),
    "ends_at": ViewColumn(_INSTANT, "UTC", "end; of a delete as essentry has it"),
    "ends_at_before": ViewColumn(_INSTANT, "UTC", "end that essentry has"),
    "location_id": ViewColumn(
        "BIGINT", "id", "essentry's location; of a delete as essentry has it"
    ),
    "location_id_before": ViewColumn("BIGINT", "id", "location that essentry has"),
    "host_email": ViewColumn("VARCHAR", "address", "the host; of a delete as essentry has it"),
    "host_email_before": ViewColumn("VARCHAR", "address", "the host that essentry has"),
    "fields": ViewColumn(
        "VARCHAR[]",
        "names",
        "what an update changes, in essentry's names, such as startsAt; else an empty list",
    ),
    "guests": ViewColumn(
        "BIGINT", "people", "guests of the event after the change; of a delete those it had"
    ),
    "invited": ViewColumn("BIGINT", "mails", "guests who would be invited to it"),
    "updated": ViewColumn("BIGINT", "mails", "guests who would be mailed a change of it"),
    "cancelled": ViewColumn(
        "BIGINT", "mails", "guests who would be mailed that it, or their visit, is cancelled"
    ),
    "as_of": ViewColumn(
        _INSTANT, "UTC", "the clock of the run, the same in every row; take it in place of now()"
    ),
}
"""`plan`: one row an event that would be created, updated or deleted."""

MAILS: dict[str, ViewColumn] = {
    "source_id": ViewColumn("VARCHAR", "id", "the event, as in `plan`"),
    "source": ViewColumn("VARCHAR", "name", "the source, as [sources] names it"),
    "action": ViewColumn("VARCHAR", "word", "of the event: create, update or delete"),
    "kind": ViewColumn("VARCHAR", "word", "invited, updated or cancelled"),
    "email": ViewColumn(
        "VARCHAR",
        "address",
        "whom it goes to, in small letters; NULL for a guest with a name alone",
    ),
    "domain": ViewColumn("VARCHAR", "name", "what follows the @ of it"),
}
"""`mails`: one row a guest and event that would be mailed."""

VIEWS: dict[str, dict[str, ViewColumn]] = {"plan": PLAN, "mails": MAILS}
PLAIN_TEXTS = frozenset({"source_id", "source", "action", "reason", "kind", "domain", "fields"})
"""Text columns whose values name no person and are told as they are; every other text is masked."""
