"""What an audit did not find in essentry as it was confirmed, and how many audits in a row have
seen it so.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add audit_sightings."""
    op.create_table(
        "audit_sightings",
        sa.Column("source_id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("item", sa.Text(), primary_key=True),
        sa.Column("fields", sa.Text()),
        sa.Column("location_id", sa.BigInteger()),
        sa.Column("starts_at", sa.BigInteger()),
        sa.Column("guests", sa.BigInteger()),
        sa.Column("times", sa.BigInteger()),
        sa.Column("first_at", sa.BigInteger()),
        sa.Column("last_at", sa.BigInteger()),
    )
