"""What a plan answers of the settings once it is sent, and of each read the rows of meetings that
are still to come.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add plans.policy_json, and the counts of coming rows to source_reads."""
    op.add_column("plans", sa.Column("policy_json", sa.Text()))
    for name in ("coming_events", "coming_guests", "coming_outside"):
        op.add_column("source_reads", sa.Column(name, sa.BigInteger()))
