"""Reports that were handed in, and an index by which records are found that came long after they happened."""

import sqlalchemy as sa
from alembic import op

revision = "v0003"
down_revision = "v0002"
branch_labels = None
depends_on = None

OUT_OF_TIME = "at_ms IS NULL OR at_ms < seen_ms - 3600000 OR at_ms > seen_ms + 3600000"


def upgrade() -> None:
    """Make the table and the index."""
    op.create_table(
        "reports",
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("unit", sa.String(80), nullable=False),
        sa.Column("due_ms", sa.BigInteger, nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
        sa.Column("cut_ms", sa.BigInteger, nullable=False),
        sa.Column("zero", sa.Boolean, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("day", "level", "unit"),
    )
    op.create_index(
        "records_out_of_time",
        "records",
        ["seen_ms"],
        sqlite_where=sa.text(OUT_OF_TIME),
        postgresql_where=sa.text(OUT_OF_TIME),
    )


def downgrade() -> None:
    """Refuse: what was handed in is not thrown away."""
    raise NotImplementedError("there is no way back to a store without reports; restore a backup")
