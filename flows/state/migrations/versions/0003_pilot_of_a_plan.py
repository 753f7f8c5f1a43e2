"""Under which [pilot] limits a plan was made."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add plans.pilot_json."""
    op.add_column("plans", sa.Column("pilot_json", sa.Text()))
