"""The access log, and how far records are retired (`central.people.tables`, `central.store.retired`)."""

import sqlalchemy as sa
from alembic import op

from gate.core.chain import HASH_SIZE

revision = "v0005"
down_revision = "v0004"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "retired",
        sa.Column("stream", sa.Integer, sa.ForeignKey("streams.id"), primary_key=True, autoincrement=False),
        sa.Column("upto", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "access_log",
        sa.Column("n", BIG, primary_key=True, autoincrement=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    head = op.create_table(
        "access_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("n", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "n": 0, "hash": bytes(HASH_SIZE)}])


def downgrade() -> None:
    """Refuse: who has looked at whom is not thrown away."""
    raise NotImplementedError("there is no way back to a store without an access log; restore a backup")
