"""The visits that came of the invitations: check-ins as essentry answers them, and how far each
location has been read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add both tables; nothing of what is there changes."""
    op.create_table(
        "checkins",
        sa.Column("checkin_id", sa.Text(), primary_key=True),
        *(
            sa.Column(name, sa.BigInteger())
            for name in (
                "location_id",
                "arrived_at",
                "left_at",
                "starts_at",
                "ends_at",
                "last_at",
                "read_at",
            )
        ),
        *(
            sa.Column(name, sa.Text())
            for name in ("state", "email", "first_name", "last_name", "company_name")
        ),
        *(
            sa.Column(name, sa.Text())
            for name in ("invitation_id", "event_id", "reason", "looked_run")
        ),
        sa.Column("forgotten", sa.Boolean(), nullable=False),
    )
    op.create_index("checkins_event_id", "checkins", ["event_id"])
    op.create_index("checkins_arrived_at", "checkins", ["arrived_at"])
    op.create_table(
        "checkin_reads",
        sa.Column("location_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("read_until", sa.BigInteger()),
        sa.Column("open_asked_at", sa.BigInteger()),
    )
