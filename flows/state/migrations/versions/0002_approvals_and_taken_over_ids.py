"""Whose approval a plan goes under, and the ids of events that another integration created."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add plans.approval_of and the table adopted_ids."""
    op.add_column("plans", sa.Column("approval_of", sa.Text()))
    op.create_table(
        "adopted_ids",
        sa.Column("own_id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("adopted_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
    )
