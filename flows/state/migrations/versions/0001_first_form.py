"""The first form of the state store."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "guest_keys",
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("key_digest", sa.Text(), primary_key=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "identity",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("base_url", sa.Text()),
        sa.Column("agent_token_hash", sa.Text()),
        sa.Column("invitation_ids", sa.Text()),
        sa.Column("policy_digest", sa.Text()),
        sa.Column("policy_json", sa.Text()),
        sa.Column("salt", sa.Text()),
        sa.Column("created_at", sa.BigInteger()),
    )
    op.create_table(
        "lease",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("holder", sa.Text()),
        sa.Column("run_id", sa.Text()),
        sa.Column("acquired_at", sa.BigInteger()),
        sa.Column("expires_at", sa.BigInteger()),
    )
    op.create_table(
        "plan_changes",
        sa.Column("plan_id", sa.Text(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text()),
        sa.Column("location_id", sa.BigInteger()),
        sa.Column("action", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("base_fingerprint", sa.Text()),
        sa.Column("base_run", sa.Text()),
        sa.Column("fingerprint", sa.Text()),
        sa.Column("fingerprint_version", sa.BigInteger()),
        sa.Column("starts_at", sa.BigInteger()),
        sa.Column("ends_at", sa.BigInteger()),
        sa.Column("name", sa.Text()),
        sa.Column("fields_json", sa.Text()),
        sa.Column("guests_json", sa.Text()),
        sa.Column("after", sa.Text()),
        sa.Column("body", sa.Text()),
        sa.Column("members_json", sa.Text()),
        sa.Column("ignore_missing", sa.Boolean()),
        sa.Column("guests", sa.BigInteger()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("code", sa.Text()),
        sa.Column("message", sa.Text()),
        sa.Column("run_id", sa.Text()),
        sa.Column("sent_at", sa.BigInteger()),
        sa.Column("answered_at", sa.BigInteger()),
    )
    op.create_table(
        "plans",
        sa.Column("plan_id", sa.Text(), primary_key=True),
        sa.Column("run_id", sa.Text()),
        sa.Column("digest", sa.Text()),
        sa.Column("created_at", sa.BigInteger()),
        sa.Column("as_of", sa.BigInteger()),
        sa.Column("status", sa.Text()),
        sa.Column("full", sa.Boolean()),
        sa.Column("findings_json", sa.Text()),
        sa.Column("balance_json", sa.Text()),
        sa.Column("policy_digest", sa.Text()),
        sa.Column("changes", sa.BigInteger()),
        sa.Column("approved_by", sa.Text()),
        sa.Column("approved_at", sa.BigInteger()),
        sa.Column("approve_reason", sa.Text()),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("source", sa.Text()),
        sa.Column("part", sa.Text()),
        sa.Column("source_event_id", sa.Text()),
        sa.Column("guest_id", sa.Text()),
        sa.Column("source_id", sa.Text()),
        sa.Column("column", sa.Text()),
        sa.Column("check", sa.Text()),
        sa.Column("value", sa.Text()),
        sa.Column("remedy", sa.Text()),
    )
    op.create_table(
        "rejections",
        sa.Column("source_id", sa.Text(), primary_key=True),
        sa.Column("source", sa.Text()),
        sa.Column("code", sa.Text()),
        sa.Column("message", sa.Text()),
        sa.Column("tries", sa.BigInteger()),
        sa.Column("first_run", sa.Text()),
        sa.Column("last_run", sa.Text()),
        sa.Column("last_at", sa.BigInteger()),
        sa.Column("next_at", sa.BigInteger()),
        sa.Column("fingerprint", sa.Text()),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text()),
        sa.Column("plan_id", sa.Text()),
        sa.Column("started_at", sa.BigInteger()),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("as_of", sa.BigInteger()),
        sa.Column("status", sa.Text()),
        sa.Column("exit_code", sa.BigInteger()),
        sa.Column("summary_json", sa.Text()),
        sa.Column("report_dir", sa.Text()),
    )
    op.create_table(
        "snapshot_events",
        sa.Column("source_id", sa.Text(), primary_key=True),
        sa.Column("source", sa.Text()),
        sa.Column("location_id", sa.BigInteger()),
        sa.Column("name", sa.Text()),
        sa.Column("starts_at", sa.BigInteger()),
        sa.Column("ends_at", sa.BigInteger()),
        sa.Column("fingerprint", sa.Text()),
        sa.Column("fingerprint_version", sa.BigInteger()),
        sa.Column("payload", sa.Text()),
        sa.Column("guests", sa.BigInteger()),
        sa.Column("members_json", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("absent_runs", sa.BigInteger()),
        sa.Column("confirmed_run", sa.Text()),
        sa.Column("confirmed_at", sa.BigInteger()),
    )
    op.create_table(
        "source_reads",
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("events", sa.BigInteger()),
        sa.Column("guests", sa.BigInteger()),
        sa.Column("outside_guests", sa.BigInteger()),
        sa.Column("quarantined", sa.BigInteger()),
        sa.Column("events_healthy", sa.Boolean()),
        sa.Column("guests_healthy", sa.Boolean()),
        sa.Column("read_at", sa.BigInteger()),
    )
    op.create_index("plan_changes_source_id", "plan_changes", ["source_id"])
    is_open = sa.text("state IN ('sending', 'unknown')")
    op.create_index(
        "plan_changes_open",
        "plan_changes",
        ["state"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
