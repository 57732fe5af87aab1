"""Commands to the gates, when each was sent, and an index by which their answers are found."""

import sqlalchemy as sa
from alembic import op

revision = "v0004"
down_revision = "v0003"
branch_labels = None
depends_on = None

NAME = sa.String(64)
ANSWERING = "kind IN ('command', 'policy.adopted', 'anomaly')"


def upgrade() -> None:
    """Make the tables and the index."""
    op.create_table(
        "commands",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("site", NAME, nullable=False),
        sa.Column("gate", NAME, nullable=False),
        sa.Column("epoch", NAME, nullable=False),
        sa.Column("counter", sa.BigInteger, nullable=False),
        sa.Column("after", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("site", "gate", "counter", name="commands_counted"),
    )
    op.create_index("commands_expires", "commands", ["expires_ms"])
    op.create_table(
        "command_sendings",
        sa.Column("command", sa.String(32), sa.ForeignKey("commands.id"), nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("command", "n"),
    )
    op.create_index(
        "records_answering",
        "records",
        ["stream", "seq"],
        sqlite_where=sa.text(ANSWERING),
        postgresql_where=sa.text(ANSWERING),
    )


def downgrade() -> None:
    """Refuse: who commanded what is not thrown away."""
    raise NotImplementedError("there is no way back to a store without commands; restore a backup")
