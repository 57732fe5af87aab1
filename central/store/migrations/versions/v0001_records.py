"""Records, checkpoints, receipts, alarms: the first version of the store."""

import sqlalchemy as sa
from alembic import op

from gate.core.chain import HASH_SIZE

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
NAME = sa.String(64)


def upgrade() -> None:
    """Make the tables."""
    _gates()
    _what_gates_say()
    _what_was_promised()
    _what_was_wrong()
    _alarms()


def downgrade() -> None:
    """Refuse: records are not thrown away."""
    raise NotImplementedError("there is no way back to a store without records; restore a backup")


def _gates() -> None:
    op.create_table(
        "gate_keys",
        sa.Column("id", BIG, primary_key=True),
        sa.Column("site", NAME, nullable=False),
        sa.Column("gate", NAME, nullable=False),
        sa.Column("kid", sa.String(8), nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("registered_ms", sa.BigInteger, nullable=False),
        sa.Column("revoked_ms", sa.BigInteger),
        sa.UniqueConstraint("site", "gate", "public_key"),
    )
    op.create_table(
        "streams",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("site", NAME, nullable=False),
        sa.Column("gate", NAME, nullable=False),
        sa.Column("epoch", NAME, nullable=False),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("linked", sa.BigInteger, nullable=False),
        sa.Column("linked_hash", sa.LargeBinary, nullable=False),
        sa.Column("proved", sa.BigInteger, nullable=False),
        sa.Column("proved_hash", sa.LargeBinary, nullable=False),
        sa.Column("top", sa.BigInteger, nullable=False),
        sa.Column("head", sa.BigInteger, nullable=False),
        sa.Column("head_at_ms", sa.BigInteger),
        sa.Column("head_clock_trusted", sa.Boolean, nullable=False),
        sa.Column("heard_ms", sa.BigInteger),
        sa.Column("record_ms", sa.BigInteger),
        sa.Column("receipted", sa.BigInteger, nullable=False),
        sa.Column("receipt_ms", sa.BigInteger),
        sa.Column("ended", sa.BigInteger),
        sa.Column("ended_hash", sa.LargeBinary),
        sa.Column("ended_at_ms", sa.BigInteger),
        sa.Column("successor", NAME, nullable=False),
        sa.Column("conflicts", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("site", "gate", "epoch"),
    )


def _what_gates_say() -> None:
    op.create_table(
        "records",
        sa.Column("stream", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger),
        sa.Column("seen_ms", sa.BigInteger, nullable=False),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("abnormal", sa.Boolean, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary),
        sa.Column("sealed", sa.LargeBinary),
        sa.PrimaryKeyConstraint("stream", "seq"),
    )
    op.create_index("records_stream_at", "records", ["stream", "at_ms"])
    op.create_table(
        "attachments",
        sa.Column("stream", sa.Integer, sa.ForeignKey("streams.id"), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("blob", sa.LargeBinary),
        sa.Column("seen_ms", sa.BigInteger, nullable=False),
        sa.Column("erased_ms", sa.BigInteger),
        sa.Column("erased_by", sa.Text, nullable=False),
        sa.Column("erased_why", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("stream", "seq", "digest"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("id", BIG, primary_key=True),
        sa.Column("stream", sa.Integer, sa.ForeignKey("streams.id"), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("came_ms", sa.BigInteger, nullable=False),
        sa.Column("trust", sa.String(16), nullable=False),
        sa.Column("contradicted", sa.Boolean, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("stream", "digest"),
    )
    op.create_index("checkpoints_stream_size", "checkpoints", ["stream", "size"])


def _what_was_promised() -> None:
    op.create_table(
        "receipts",
        sa.Column("stream", sa.Integer, sa.ForeignKey("streams.id"), nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("upto", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("stream", "day"),
    )


def _what_was_wrong() -> None:
    op.create_table(
        "conflicts",
        sa.Column("stream", sa.Integer, sa.ForeignKey("streams.id"), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("why", sa.String(32), nullable=False),
        sa.Column("seen_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("stream", "seq", "digest"),
    )
    op.create_table(
        "rejects",
        sa.Column("id", BIG, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("site", NAME, nullable=False),
        sa.Column("gate", NAME, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("start", sa.LargeBinary, nullable=False),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sa.Column("times", sa.BigInteger, nullable=False),
    )


def _alarms() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", BIG, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("site", NAME, nullable=False),
        sa.Column("gate", NAME, nullable=False),
        sa.Column("epoch", NAME, nullable=False),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("first", sa.BigInteger),
        sa.Column("last", sa.BigInteger),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("raised_ms", sa.BigInteger, nullable=False),
        sa.Column("cleared_ms", sa.BigInteger),
    )
    standing = sa.text("cleared_ms IS NULL")
    op.create_index(
        "alarms_standing",
        "alarms",
        ["site", "gate", "epoch", "kind", "code"],
        unique=True,
        sqlite_where=standing,
        postgresql_where=standing,
    )
    op.create_table(
        "alarm_log",
        sa.Column("n", BIG, primary_key=True, autoincrement=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    head = op.create_table(
        "alarm_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("n", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "n": 0, "hash": bytes(HASH_SIZE)}])
