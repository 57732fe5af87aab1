"""Enrolment: one-time tokens and their uses, certificates of devices, and keys that wait for a person."""

import sqlalchemy as sa
from alembic import op

revision = "v0007"
down_revision = "v0006"
branch_labels = None
depends_on = None

NAME = sa.String(64)
BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "certificates",
        sa.Column("id", BIG, primary_key=True),
        sa.Column("number", sa.String(40), nullable=False, unique=True),
        sa.Column("site", NAME, nullable=False),
        sa.Column("gate", NAME, nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("issued_ms", sa.BigInteger, nullable=False),
        sa.Column("ends_ms", sa.BigInteger, nullable=False),
        sa.Column("revoked_ms", sa.BigInteger),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
    )
    op.create_index("certificates_gate", "certificates", ["site", "gate"])
    op.create_index("certificates_device", "certificates", ["device"])
    op.create_table(
        "enrol_tokens",
        sa.Column("id", BIG, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("site", NAME, nullable=False),
        sa.Column("gate", NAME, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
        sa.Column("ends_ms", sa.BigInteger, nullable=False),
    )
    _uses_and_waiting()


def _uses_and_waiting() -> None:
    op.create_table(
        "enrol_uses",
        sa.Column("token", BIG, sa.ForeignKey("enrol_tokens.id"), nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("used_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("token", "public_key"),
    )
    op.create_table(
        "enrol_waiting",
        sa.Column("id", BIG, primary_key=True),
        sa.Column("token", BIG, sa.ForeignKey("enrol_tokens.id")),
        sa.Column("site", NAME, nullable=False),
        sa.Column("gate", NAME, nullable=False),
        sa.Column("kid", sa.String(8), nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("why", sa.String(16), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sa.Column("times", sa.BigInteger, nullable=False),
        sa.Column("allowed_ms", sa.BigInteger),
        sa.Column("allowed_by", sa.Text, nullable=False),
        sa.UniqueConstraint("site", "gate", "public_key", "device"),
    )


def downgrade() -> None:
    """Refuse: which certificates are revoked is not forgotten."""
    raise NotImplementedError("there is no way back to a store without certificates; restore a backup")
