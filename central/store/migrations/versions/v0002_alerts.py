"""Alerts, their tasks and deliveries, and the log of what was sent (`central.alerts.tables`)."""

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
NAME = sa.String(64)


def upgrade() -> None:
    """Make the tables, and an index by which abnormal records are found."""
    _alerts()
    _tasks()
    _deliveries()
    _attempts()
    abnormal = sa.text("abnormal")
    op.create_index(
        "records_abnormal", "records", ["seen_ms"], sqlite_where=abnormal, postgresql_where=abnormal
    )


def downgrade() -> None:
    """Refuse: who was told of what is not thrown away."""
    raise NotImplementedError("there is no way back to a store without alerts; restore a backup")


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", BIG, primary_key=True),
        sa.Column("source", sa.String(8), nullable=False),
        sa.Column("site", NAME, nullable=False),
        sa.Column("gate", NAME, nullable=False),
        sa.Column("epoch", NAME, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("severity", sa.String(8), nullable=False),
        sa.Column("zh", sa.Text, nullable=False),
        sa.Column("en", sa.Text, nullable=False),
        sa.Column("rules", sa.Text, nullable=False),
        sa.Column("event_ms", sa.BigInteger),
        sa.Column("clock_trusted", sa.Boolean, nullable=False),
        sa.Column("noted_ms", sa.BigInteger, nullable=False),
        sa.Column("acked_by", sa.Text),
        sa.Column("acked_ms", sa.BigInteger),
        sa.Column("closed_ms", sa.BigInteger),
        sa.UniqueConstraint("source", "site", "gate", "epoch", "seq", "kind", name="alerts_identity"),
    )
    still_open = sa.text("closed_ms IS NULL")
    op.create_index("alerts_open", "alerts", ["id"], sqlite_where=still_open, postgresql_where=still_open)


def _tasks() -> None:
    op.create_table(
        "alert_tasks",
        sa.Column("id", BIG, primary_key=True),
        sa.Column("alert_id", BIG, sa.ForeignKey("alerts.id"), nullable=False),
        sa.Column("site", NAME, nullable=False),
        sa.Column("gate", NAME, nullable=False),
        sa.Column("epoch", NAME, nullable=False),
        sa.Column("visit", NAME, nullable=False),
        sa.Column("rule", NAME, nullable=False),
        sa.Column("zh", sa.Text, nullable=False),
        sa.Column("en", sa.Text, nullable=False),
        sa.Column("opened_ms", sa.BigInteger, nullable=False),
        sa.Column("done_by", sa.Text),
        sa.Column("done_ms", sa.BigInteger),
        sa.UniqueConstraint("site", "gate", "epoch", "visit", "rule", name="alert_tasks_identity"),
    )
    op.create_index("alert_tasks_alert", "alert_tasks", ["alert_id"])


def _deliveries() -> None:
    op.create_table(
        "alert_steps",
        sa.Column("alert_id", BIG, sa.ForeignKey("alerts.id"), primary_key=True, autoincrement=False),
        sa.Column("role", NAME, primary_key=True),
        sa.Column("began_ms", sa.BigInteger, nullable=False),
        sa.Column("escalate_ms", sa.BigInteger),
    )
    op.create_index("alert_steps_escalate", "alert_steps", ["escalate_ms"])
    op.create_table(
        "alert_deliveries",
        sa.Column("id", BIG, primary_key=True),
        sa.Column("alert_id", BIG, sa.ForeignKey("alerts.id"), nullable=False),
        sa.Column("role", NAME, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("escalated", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_ms", sa.BigInteger),
        sa.Column("delivered_ms", sa.BigInteger),
        sa.Column("delay_ms", sa.BigInteger),
        sa.UniqueConstraint("alert_id", "role", "address", name="alert_deliveries_identity"),
    )
    op.create_index("alert_deliveries_due", "alert_deliveries", ["address", "next_ms"])


def _attempts() -> None:
    op.create_table(
        "alert_attempts",
        sa.Column("id", BIG, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("took_ms", sa.BigInteger, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("role", NAME, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("alerts", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("delivered", sa.Boolean, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
    )
    op.create_index("alert_attempts_recent", "alert_attempts", ["address", "at_ms"])
