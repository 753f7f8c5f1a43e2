"""By which a guest without a key is found again when only the address is known: the name is a part
of the number's own digest.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add guest_keys.address_digest; what stands there already has the address alone as its key."""
    op.add_column("guest_keys", sa.Column("address_digest", sa.Text()))
