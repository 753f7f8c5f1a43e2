"""What a plan is restricted to: such a plan is no whole night, and is never taken for one."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
# after 0009: one chain, for two heads are refused when a store is opened
down_revision = "0009"


def upgrade() -> None:
    """Add plans.selection; every plan so far was a whole one."""
    op.add_column("plans", sa.Column("selection", sa.Text()))
