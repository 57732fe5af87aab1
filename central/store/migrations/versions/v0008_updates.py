"""An index by which the records are found that tell of versions."""

import sqlalchemy as sa
from alembic import op

revision = "v0008"
down_revision = "v0007"
branch_labels = None
depends_on = None

VERSIONS = "kind IN ('update', 'gate.started')"


def upgrade() -> None:
    """Make the index."""
    op.create_index(
        "records_versions",
        "records",
        ["stream", "seq"],
        sqlite_where=sa.text(VERSIONS),
        postgresql_where=sa.text(VERSIONS),
    )


def downgrade() -> None:
    """Do without it."""
    op.drop_index("records_versions", "records")
