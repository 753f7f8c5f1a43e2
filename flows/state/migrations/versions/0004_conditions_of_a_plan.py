"""What must hold when a change of a plan is sent: which other change comes first, which records
must be gone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table plan_conditions."""
    op.create_table(
        "plan_conditions",
        sa.Column("plan_id", sa.Text(), primary_key=True),
        sa.Column("source_id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("other_id", sa.Text(), primary_key=True),
    )
