"""The tables of the alerts, beside those of the store, in the same database.

    alerts             one row per thing to be told, by its identity
    alert_tasks        what is to be done afterwards, once per visit and rule
    alert_steps        which roles have been called in, and until when they have to answer
    alert_deliveries   to which addresses an alert goes, and how far that is; what is due is read from here
    alert_attempts     the log of what was sent, with its outcome; only grows

Times are unix milliseconds of the centre, but for `event_ms`, which the gate states.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from central.store.tables import NAME, Big, metadata, records

alerts: Final = Table(
    "alerts",
    metadata,
    Column("id", Big, primary_key=True),
    Column("source", String(8), nullable=False),
    Column("site", NAME, nullable=False),
    Column("gate", NAME, nullable=False),
    Column("epoch", NAME, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("severity", String(8), nullable=False),
    Column("zh", Text, nullable=False),
    Column("en", Text, nullable=False),
    Column("rules", Text, nullable=False),  # separated by blanks
    Column("event_ms", BigInteger),
    Column("clock_trusted", Boolean, nullable=False),
    Column("noted_ms", BigInteger, nullable=False),
    Column("acked_by", Text),
    Column("acked_ms", BigInteger),
    Column("closed_ms", BigInteger),
    UniqueConstraint("source", "site", "gate", "epoch", "seq", "kind", name="alerts_identity"),
)
_OPEN: Final = text("closed_ms IS NULL")
Index("alerts_open", alerts.c.id, sqlite_where=_OPEN, postgresql_where=_OPEN)

tasks: Final = Table(
    "alert_tasks",
    metadata,
    Column("id", Big, primary_key=True),
    Column("alert_id", Big, ForeignKey("alerts.id"), nullable=False),
    Column("site", NAME, nullable=False),
    Column("gate", NAME, nullable=False),
    Column("epoch", NAME, nullable=False),
    Column("visit", NAME, nullable=False),
    Column("rule", NAME, nullable=False),
    Column("zh", Text, nullable=False),
    Column("en", Text, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("done_by", Text),
    Column("done_ms", BigInteger),
    UniqueConstraint("site", "gate", "epoch", "visit", "rule", name="alert_tasks_identity"),
)

Index("alert_tasks_alert", tasks.c.alert_id)

steps: Final = Table(
    "alert_steps",
    metadata,
    Column("alert_id", Big, ForeignKey("alerts.id"), primary_key=True, autoincrement=False),
    Column("role", NAME, primary_key=True),
    Column("began_ms", BigInteger, nullable=False),
    Column("escalate_ms", BigInteger),  # NULL: nobody further is called in
)

Index("alert_steps_escalate", steps.c.escalate_ms)

deliveries: Final = Table(
    "alert_deliveries",
    metadata,
    Column("id", Big, primary_key=True),
    Column("alert_id", Big, ForeignKey("alerts.id"), nullable=False),
    Column("role", NAME, nullable=False),
    Column("address", Text, nullable=False),  # without its secrets
    Column("escalated", Boolean, nullable=False),
    Column("state", String(12), nullable=False),  # waiting, delivered, dropped
    Column("tries", Integer, nullable=False),
    Column("next_ms", BigInteger),  # NULL unless waiting
    Column("delivered_ms", BigInteger),
    Column("delay_ms", BigInteger),  # from the event to the delivery; NULL where the gate's clock was unsure
    UniqueConstraint("alert_id", "role", "address", name="alert_deliveries_identity"),
)
Index("alert_deliveries_due", deliveries.c.address, deliveries.c.next_ms)

attempts: Final = Table(
    "alert_attempts",
    metadata,
    Column("id", Big, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),  # when it ended
    Column("took_ms", BigInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("role", NAME, nullable=False),
    Column("about", Text, nullable=False),  # site/gate/kind, or "" for several of them in one message
    Column("alerts", Text, nullable=False),  # ids as ranges: 3,7-12
    Column("count", Integer, nullable=False),
    Column("delivered", Boolean, nullable=False),
    Column("outcome", Text, nullable=False),
)
Index("alert_attempts_recent", attempts.c.address, attempts.c.at_ms)

# What says of itself that it is abnormal has to be found again after a crash between record and alert.
_ABNORMAL: Final = text("abnormal")
Index("records_abnormal", records.c.seen_ms, sqlite_where=_ABNORMAL, postgresql_where=_ABNORMAL)
