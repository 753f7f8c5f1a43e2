"""What a plan is restricted to: such a plan is no whole night, and is never taken for one."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
# 0008 and 0009 are other branches': the last of them that is there when this is merged belongs here; two heads are refused when a store is opened
down_revision = "0007"


def upgrade() -> None:
    """Add plans.selection; every plan so far was a whole one."""
    op.add_column("plans", sa.Column("selection", sa.Text()))
