"""What the gates' state messages said last (`central.states`)."""

import sqlalchemy as sa
from alembic import op

revision = "v0006"
down_revision = "v0005"
branch_labels = None
depends_on = None

NAME = sa.String(64)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "gate_states",
        sa.Column("site", NAME, nullable=False),
        sa.Column("gate", NAME, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("site", "gate"),
    )


def downgrade() -> None:
    """Forget what the gates say of themselves; each says it again on its next connection."""
    op.drop_table("gate_states")
