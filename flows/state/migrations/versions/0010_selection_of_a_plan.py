"""What a plan is restricted to: such a plan is no whole night, and is never taken for one."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add plans.selection; every plan so far was a whole one."""
    op.add_column("plans", sa.Column("selection", sa.Text()))
