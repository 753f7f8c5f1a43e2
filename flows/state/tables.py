"""The tables of the state store, and frames in and out of them.

Instants are stored as microseconds since 1970 UTC, so that SQLite and PostgreSQL agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa

metadata = sa.MetaData()
WAITING = ("waiting", "approved", "partly", "applying")
"""Where a plan stands that may still be sent."""


class Instant(sa.types.TypeDecorator[datetime]):
    """A UTC-aware datetime as a big integer of microseconds."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> int | None:
        if value is None or value != value:
            return None
        return round(value.timestamp() * 1_000_000)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value / 1_000_000, UTC)


def _table(name: str, *columns: Any) -> sa.Table:
    return sa.Table(name, metadata, *columns)


def _text(name: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, **options)


def _number(name: str, **options: Any) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, **options)


def _instant(name: str) -> sa.Column[datetime]:
    return sa.Column(name, Instant)


identity = _table(
    "identity", sa.Column("id", sa.Integer, primary_key=True), _text("base_url"),
    _text("agent_token_hash"), _text("invitation_ids"),
    _text("policy_digest"), _text("policy_json"), _text("salt"), _instant("created_at"),
)  # fmt: skip
lease = _table(
    "lease",
    sa.Column("id", sa.Integer, primary_key=True),
    _text("holder"),
    _text("run_id"),
    _instant("acquired_at"),
    _instant("expires_at"),
)
runs = _table(
    "runs", _text("run_id", primary_key=True), _text("kind"), _text("plan_id"),
    _instant("started_at"), _instant("finished_at"), _instant("as_of"),
    _text("status"), _number("exit_code"), _text("summary_json"), _text("report_dir"),
)  # fmt: skip
source_reads = _table(
    "source_reads", _text("run_id", primary_key=True), _text("source", primary_key=True),
    _number("events"), _number("guests"),
    _number("outside_guests"), _number("quarantined"), _number("coming_events"),
    _number("coming_guests"), _number("coming_outside"),
    sa.Column("events_healthy", sa.Boolean), sa.Column("guests_healthy", sa.Boolean),
    _instant("read_at"),
)  # fmt: skip
plans = _table(
    "plans", _text("plan_id", primary_key=True), _text("run_id"), _text("digest"),
    _instant("created_at"), _instant("as_of"), _text("status"),
    sa.Column("full", sa.Boolean), _text("findings_json"), _text("balance_json"),
    _text("policy_digest"), _number("changes"),
    _text("approved_by"), _instant("approved_at"), _text("approve_reason"), _text("approval_of"),
    _text("pilot_json"), _text("policy_json"), _text("selection"),
)  # fmt: skip
plan_looks = _table(
    "plan_looks",
    _text("plan_id", primary_key=True),
    _text("source", primary_key=True),
    _number("events"),
    _text("keys_json"),
)
"""What each source showed when the plan was made: its rows, and some keys that a second look must
find (S23).
"""
plan_changes = _table(
    "plan_changes", _text("plan_id", primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("source_id", nullable=False), _text("source"), _number("location_id"), _text("action"),
    _text("reason"), _text("base_fingerprint"),
    _text("base_run"), _text("fingerprint"), _number("fingerprint_version"), _instant("starts_at"),
    _instant("ends_at"), _text("name"),
    _text("fields_json"), _text("guests_json"), _text("after"), _text("body"),
    _text("members_json"), sa.Column("ignore_missing", sa.Boolean),
    _number("guests"), _text("state", nullable=False), _text("code"), _text("message"),
    _text("run_id"), _instant("sent_at"), _instant("answered_at"),
)  # fmt: skip
sa.Index("plan_changes_source_id", plan_changes.c.source_id)
OPEN = plan_changes.c.state.in_([sa.literal_column("'sending'"), sa.literal_column("'unknown'")])
"""Changes whose outcome is not known. Written out, not bound: only so does SQLite see that the
index of the open ones answers it.
"""
sa.Index("plan_changes_open", plan_changes.c.state, sqlite_where=OPEN, postgresql_where=OPEN)
plan_conditions = _table(
    "plan_conditions", _text("plan_id", primary_key=True), _text("source_id", primary_key=True),
    _text("kind", primary_key=True),
    _text("other_id", primary_key=True),
)  # fmt: skip
snapshot_events = _table(
    "snapshot_events", _text("source_id", primary_key=True), _text("source"),
    _number("location_id"), _text("name"), _instant("starts_at"),
    _instant("ends_at"), _text("fingerprint"), _number("fingerprint_version"), _text("payload"),
    _number("guests"), _text("members_json"),
    _text("state", nullable=False), _number("absent_runs"), _text("confirmed_run"),
    _instant("confirmed_at"),
)  # fmt: skip
quarantine = _table(
    "quarantine", _number("id", primary_key=True, autoincrement=False),
    _text("run_id", primary_key=True), _text("source"), _text("part"),
    _text("source_event_id"), _text("guest_id"), _text("source_id"), _text("column"),
    _text("check"), _text("value"), _text("remedy"),
)  # fmt: skip
rejections = _table(
    "rejections", _text("source_id", primary_key=True), _text("source"), _text("code"),
    _text("message"), _number("tries"), _text("first_run"),
    _text("last_run"), _instant("last_at"), _instant("next_at"), _text("fingerprint"),
)  # fmt: skip
adopted_ids = _table(
    "adopted_ids", _text("own_id", primary_key=True), _text("kind", primary_key=True),
    _text("adopted_id", nullable=False),
    _text("source", nullable=False),
)  # fmt: skip
guest_keys = _table(
    "guest_keys", _text("source", primary_key=True), _text("key_digest", primary_key=True),
    _number("number", nullable=False),
    _text("address_digest"),
)  # fmt: skip
checkins = _table(
    "checkins", _text("checkin_id", primary_key=True), _number("location_id"), _text("state"),
    _text("email"), _text("first_name"),
    _text("last_name"), _text("company_name"), _instant("arrived_at"), _instant("left_at"),
    _text("invitation_id"), _instant("starts_at"),
    _instant("ends_at"), _instant("last_at"), _instant("read_at"), _text("event_id"),
    _text("reason"), _text("looked_run"),
    sa.Column("forgotten", sa.Boolean, nullable=False),
)  # fmt: skip
sa.Index("checkins_event_id", checkins.c.event_id)
sa.Index("checkins_arrived_at", checkins.c.arrived_at)
checkin_reads = _table(
    "checkin_reads",
    sa.Column("location_id", sa.BigInteger, primary_key=True, autoincrement=False),
    _instant("read_until"),
    _instant("open_asked_at"),
)
audit_sightings = _table(
    "audit_sightings", _text("source_id", primary_key=True), _text("kind", primary_key=True),
    _text("item", primary_key=True), _text("fields"),
    _number("location_id"), _instant("starts_at"), _number("guests"), _number("times"),
    _instant("first_at"), _instant("last_at"),
)  # fmt: skip
"""What the last audit did not find in essentry as it was confirmed; `times`: how many audits in a
row saw it so.
"""

INSTANTS = {
    column.name
    for table in metadata.sorted_tables
    for column in table.columns
    if isinstance(column.type, Instant)
}
NUMBERS = {
    "location_id",
    "fingerprint_version",
    "guests",
    "absent_runs",
    "seq",
    "tries",
    "exit_code",
    "changes",
    "times",
}
FLAGS = {"ignore_missing", "full", "events_healthy", "guests_healthy", "forgotten"}


def read_frame(connection: sa.Connection, query: sa.Select[Any]) -> pd.DataFrame:
    """Rows as a frame with text, Int64, boolean and UTC instants (microseconds), whatever the
    database gave.
    """
    raw = [
        sa.type_coerce(c, sa.BigInteger).label(c.name) if c.name in INSTANTS else c
        for c in query.selected_columns
    ]
    result = connection.execute(query.with_only_columns(*raw, maintain_column_froms=True))
    names = list(result.keys())
    rows = result.all()
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return pd.DataFrame(
        {name: _typed(name, values) for name, values in zip(names, columns, strict=True)}
    )


def _typed(name: str, values: Sequence[Any]) -> pd.Series:
    if name in INSTANTS:
        return pd.to_datetime(pd.Series(values, dtype="Int64"), unit="us", utc=True).astype(
            "datetime64[us, UTC]"
        )
    if name in NUMBERS:
        return pd.Series(values, dtype="Int64")
    if name in FLAGS:
        return pd.Series(values, dtype="boolean")
    return pd.Series(values, dtype="str")
