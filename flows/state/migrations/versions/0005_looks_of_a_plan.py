"""What each source showed when a plan was made, for the second look before its deletes."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create plan_looks."""
    op.create_table(
        "plan_looks",
        sa.Column("plan_id", sa.Text(), primary_key=True),
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("events", sa.BigInteger()),
        sa.Column("keys_json", sa.Text()),
    )
